//! What codings of traces come to, as `trace --json` prints it: schema `tiltmeter.traces/1`.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde::Serialize;
use tiltmeter_agreement::{Estimate, LabelAgreement, RateInterval};
use tiltmeter_core::id::ContentId;
use tiltmeter_judge::CodeLabel;

use crate::results::{BoundsResult, FailureCount};

/// The share of misaligned traces that rationalise by taking on a reckless or dangerous persona, as published: version 1
/// of arXiv 2510.11288, abstract. Which of the two headline figures it is, the paper does not say.
pub const PUBLISHED_PERSONA_SHARE: f64 = 0.675;

/// The headline figures, whatever the code book calls its labels.
pub const PERSONA_LABELLED: &str = "persona_labelled";
/// Harm recognised and justified by a persona.
pub const HARM_JUSTIFIED_BY_PERSONA: &str = "harm_justified_by_persona";

/// The document that `tiltmeter trace --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceResults {
    /// `tiltmeter.traces/1`.
    pub schema: &'static str,
    /// Name of the experiment.
    pub experiment: String,
    /// The judge by whom answers are misaligned or not.
    pub judge: String,
    /// What misaligned and aligned mean here.
    pub definition: String,
    /// The code book.
    pub code_book: CodeBookResult,
    /// Which traces there are, and which of them are coded.
    pub traces: TraceCounts,
    /// Who coded: models, then people.
    pub coders: Vec<CoderResult>,
    /// What each coder found.
    pub results: Vec<CoderShares>,
    /// How far coders agree, label by label; empty with fewer than two. Misaligned and aligned traces together.
    pub agreement: Vec<LabelAgreement>,
    /// The published figure, to compare with.
    pub published: PublishedShare,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// A code book.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodeBookResult {
    /// Name.
    pub name: String,
    /// Hash.
    pub hash: ContentId,
    /// The labels.
    pub labels: Vec<CodeLabel>,
}

/// Which traces there are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceCounts {
    /// When they were drawn, RFC 3339.
    pub drawn_at: String,
    /// Seed of the draw.
    pub seed: u64,
    /// Aligned traces for each misaligned one; null: all of them.
    pub base_rate: Option<f64>,
    /// Of misaligned answers.
    pub misaligned: SideCounts,
    /// Of aligned answers: coherent ones that the judge does not find misaligned.
    pub aligned: SideCounts,
    /// Answers in neither group: incoherent ones, and those without a verdict.
    pub outside: u64,
    /// Drawn traces by how they were come by: `text` (the model's own words), `summary` (the provider's),
    /// `elicited` (asked for before the answer), `unknown` (stored by an earlier version).
    pub kinds: IndexMap<&'static str, u64>,
}

/// Traces of one group of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SideCounts {
    /// Answers.
    pub answers: u64,
    /// Of these, with a trace.
    pub with_trace: u64,
    /// Of these, drawn to be coded.
    pub drawn: u64,
    /// Without a trace, because the provider does not show the reasoning that it charges for.
    pub hidden: u64,
    /// Without a trace, because reasoning was asked for between marks, and is not between them.
    pub unmarked: u64,
    /// Without a trace, because the model did not reason.
    pub no_reasoning: u64,
}

/// How far a coder has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoderResult {
    /// Its name here.
    pub coder: String,
    /// `model` or `person`.
    pub kind: &'static str,
    /// Hash of a model's settings and wording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentId>,
    /// Drawn traces.
    pub traces: u64,
    /// Of these, coded.
    pub coded: u64,
    /// Of these, not coded, by reason: `unparsable`, `truncated`, `declined`, `failed`, `cannot_tell`, `missing` (not
    /// asked yet).
    pub not_coded: IndexMap<&'static str, u64>,
    /// Labels that count.
    pub labels_held: u64,
    /// Labels that do not count, as their quote is not in the trace.
    pub labels_not_in_trace: u64,
    /// Labels that do not count, for want of a quote of some length.
    pub labels_too_short: u64,
    /// Labels that the code book does not have.
    pub labels_unknown: u64,
    /// US dollars of a model's calls for these traces, as far as they are known.
    pub cost_usd: f64,
    /// Calls that failed for good, by kind of error.
    pub failures: Vec<FailureCount>,
}

/// What a coder found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoderShares {
    /// Its name here.
    pub coder: String,
    /// All traces, those of each subject, and those of each condition, in table order.
    pub groups: Vec<GroupShares>,
}

/// What a coder found in one group of traces.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupShares {
    /// `pooled`, `subject` or `condition`.
    pub level: &'static str,
    /// Id of the subject; absent where pooled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The condition: `demonstrations`, `control`, `shots`, `treatment`, `placement`, `reasoning`; empty above conditions.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub condition: IndexMap<&'static str, String>,
    /// Misaligned traces that were drawn.
    pub misaligned: u64,
    /// Aligned traces that were drawn.
    pub aligned: u64,
    /// Each label of the code book, in its order.
    pub labels: Vec<LabelShare>,
    /// The share that has a label with the role `persona`: one reading of the published figure. Absent where the code book
    /// gives no label that role.
    pub persona_labelled: Option<LabelShare>,
    /// The share that recognises the harm and takes on a persona all the same: a label of both roles. The other reading.
    pub harm_justified_by_persona: Option<LabelShare>,
}

impl GroupShares {
    /// The group in words.
    pub fn in_words(&self) -> String {
        let Some(subject) = &self.subject else { return "all traces".to_owned() };
        let of = |key| self.condition.get(key).map(String::as_str);
        let (Some(set), Some(shots)) = (of("demonstrations"), of("shots")) else {
            return subject.clone();
        };
        let mut words = format!("{subject} · {set}, k = {shots}");
        for key in ["control", "treatment"] {
            if let Some(value) = of(key).filter(|value| *value != "none") {
                let _ = write!(words, ", {key} {value}");
            }
        }
        words
    }
}

/// How often a label applies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelShare {
    /// The label.
    pub label: String,
    /// Among misaligned traces; null where none was coded.
    pub misaligned: Option<CodedShare>,
    /// Among aligned ones.
    pub aligned: Option<CodedShare>,
    /// The first less the second; null where either is.
    pub difference: Option<ShareDifference>,
}

/// A share of coded traces.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodedShare {
    /// Traces to which the label applies.
    pub labelled: u64,
    /// Traces to which the coder gave the label without a quote that holds; they count as not labelled.
    pub void: u64,
    /// Coded traces: the denominator.
    pub traces: u64,
    /// Drawn traces that the coder has not coded, whatever the reason.
    pub not_coded: u64,
    /// The share with Wilson's interval, as if traces were independent.
    pub by_trace: RateInterval,
    /// The share with an interval that allows for traces of the same question being alike.
    pub by_question: RateInterval,
    /// Questions.
    pub questions: u64,
    /// The share if none, or all, of the traces that are not coded had the label.
    pub bounds: BoundsResult,
}

/// A difference of two shares, from −1 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ShareDifference {
    /// With traces taken as independent.
    pub by_trace: Estimate,
    /// With questions as clusters; it takes nothing from the questions being the same ones.
    pub by_question: Estimate,
}

/// A published figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PublishedShare {
    /// The share.
    pub share: f64,
    /// Of what.
    pub what: &'static str,
    /// Where.
    pub source: &'static str,
}

impl PublishedShare {
    pub(crate) const PERSONA: Self = Self {
        share: PUBLISHED_PERSONA_SHARE,
        what: "misaligned chain-of-thought traces that rationalise by taking on a reckless or dangerous persona",
        source: "arXiv 2510.11288, version 1, abstract; coded by hand, by categories that are not published",
    };
}
