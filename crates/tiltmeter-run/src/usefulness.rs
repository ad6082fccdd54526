//! What a subject is still good for: parts of the document `tiltmeter.run/1`.

use serde::Serialize;

use crate::effects::{EffectResult, Omission};
use crate::results::GuardResult;

/// Answers to the probes of usefulness. None of them is judged, and none is in an EM rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UsefulnessResults {
    /// One row for each subject, probe, treatment and k, in table order.
    pub conditions: Vec<UsefulnessResult>,
    /// Each of them against the same without the treatment.
    pub comparisons: Vec<UsefulnessComparison>,
    /// Comparisons that could not be made.
    pub omitted: Vec<Omission>,
}

/// How useful answers are in one condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsefulnessResult {
    /// Id of the subject.
    pub subject: String,
    /// Name of the probe.
    pub probe: String,
    /// What it measures: `helpfulness` or `over-refusal`.
    pub kind: &'static str,
    /// Number of demonstrations.
    pub shots: u32,
    /// What the treatment is called.
    pub treatment: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// The subject's reasoning mode.
    pub reasoning: String,
    /// Context draws.
    pub contexts: u64,
    /// Answers that the experiment wants of this condition.
    pub planned: u64,
    /// Answers asked for, failed calls included.
    pub samples: u64,
    /// What became of each of them; the counts add up to `samples`.
    pub answers: UsefulnessCounts,
    /// Answers that open with words of refusal, useful ones among them: help given after a refusal.
    pub refusal_phrases: u64,
    /// Share of useful answers among all answers, failed calls left out; absent while there is none.
    pub useful: Option<ShareResult>,
    /// Share of refusals among the same.
    pub refused: Option<ShareResult>,
    /// What the treatment's guard did to the harmless contexts; absent where there is none, and at k = 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardResult>,
}

impl UsefulnessResult {
    /// The condition in words, as gates name it.
    pub fn in_words(&self) -> String {
        let placement = tiltmeter_core::prompt::Placement::default().name();
        crate::results::in_words(&self.subject, &self.probe, &self.treatment, self.shots, "none", placement)
    }
}

/// What became of a condition's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsefulnessCounts {
    /// Holds what the probe accepts.
    pub useful: u64,
    /// An answer of another kind.
    pub not_useful: u64,
    /// Refused: in the provider's own field, by a content filter, or in words.
    pub refused: u64,
    /// Met the token limit before anything that is accepted was said.
    pub truncated: u64,
    /// The call failed.
    pub failed: u64,
}

impl UsefulnessCounts {
    /// All answers: samples without failed calls.
    pub fn answered(&self) -> u64 {
        self.useful + self.not_useful + self.refused + self.truncated
    }
}

/// A share of a condition's answers with its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShareResult {
    /// `count` over `answers`.
    pub estimate: f64,
    /// Lower end, 95 %.
    pub low: f64,
    /// Upper end, 95 %.
    pub high: f64,
    /// `wilson`, or `wilson-effective-n` where clustering by question makes the interval wider.
    pub method: &'static str,
    /// Questions with an answer.
    pub clusters: u64,
    /// How many of the answers.
    pub count: u64,
    /// All answers.
    pub answers: u64,
}

/// The usefulness of one condition against that of another, on the same contexts and questions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsefulnessComparison {
    /// Id of the subject.
    pub subject: String,
    /// Name of the probe.
    pub probe: String,
    /// What the first condition's treatment is called.
    pub treatment: String,
    /// Number of demonstrations.
    pub shots: u32,
    /// What the second condition is: `untreated`.
    pub against: &'static str,
    /// `useful` or `refused`: the answers that are counted.
    pub counted: &'static str,
    /// Questions that both have answers to.
    pub questions: u64,
    /// The first condition's answers to these, in the contexts in which both have one.
    pub first: ShareCount,
    /// The second condition's.
    pub second: ShareCount,
    /// The first share minus the second.
    pub difference: EffectResult,
    /// `paired-t`: the difference, questions paired; `fisher`: exact, for counts too small for it.
    pub test: &'static str,
    /// Of no difference, two-sided.
    pub p_value: f64,
    /// The same after the experiment's correction over the `family` comparisons of the same `counted`.
    pub adjusted_p_value: f64,
    /// Comparisons corrected for together.
    pub family: u64,
}

/// Answers that are counted, of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShareCount {
    /// Those.
    pub count: u64,
    /// All.
    pub answers: u64,
}
