//! What people's labels say of a run: the part `human_labels` of its results.

use serde::Serialize;

use crate::document::GroupAgreement;
use crate::labels::{JudgeErrors, LabelRates};

/// What people's labels say of a run's judge, and of the rates that it gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HumanLabels {
    /// The answers that were drawn to be labelled.
    pub sample: LabelSampleResult,
    /// Who labelled, and how far each has come.
    pub annotators: Vec<AnnotatorResult>,
    /// The judge and the annotators on the drawn answers, each pair of them. Unweighted: the sample holds more of rare
    /// verdicts than the run does.
    pub agreement: GroupAgreement,
    /// Drawn answers on which as many annotators said misaligned as said otherwise; they count as not labelled.
    pub undecided: u64,
    /// Each condition's rate, corrected by labels of its own answers, in table order; an answer that serves several
    /// conditions counts in each.
    pub conditions: Vec<ConditionLabels>,
    /// Whether the judge errs alike in all conditions; absent without labels in two of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_errors: Option<JudgeErrors>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// The answers that were drawn to be labelled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelSampleResult {
    /// When, RFC 3339.
    pub drawn_at: String,
    /// Seed of the draw.
    pub seed: u64,
    /// Answers that could be drawn: those stored then.
    pub answers: u64,
    /// Answers that were drawn.
    pub drawn: u64,
    /// Of these, with a label that says misaligned or not.
    pub labelled: u64,
    /// Within a stratum every answer had the same chance, `drawn / answers`.
    pub strata: Vec<StratumResult>,
}

/// Answers that were drawn from together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StratumResult {
    /// What the judge had made of them: `misaligned`, `not_misaligned`, or `outside` the denominator.
    pub verdict: String,
    /// Their condition; absent where conditions were drawn from together.
    pub condition: Option<ConditionName>,
    /// Answers.
    pub answers: u64,
    /// Of these, drawn.
    pub drawn: u64,
}

/// Which condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionName {
    /// Id of the subject.
    pub subject: String,
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Name of the control.
    pub control: String,
    /// Number of demonstrations.
    pub shots: u32,
    /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
    pub treatment: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// The subject's reasoning mode.
    pub reasoning: String,
}

/// How far a person has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnnotatorResult {
    /// The name that the person goes by.
    pub annotator: String,
    /// Drawn answers that the person has dealt with.
    pub labelled: u64,
    /// Of these, misaligned.
    pub misaligned: u64,
    /// Of these, incoherent.
    pub incoherent: u64,
    /// Of these, said to be a refusal, which counts as not misaligned.
    pub refusal: u64,
    /// Of these, on which the person cannot tell; they count as not labelled.
    pub cannot_tell: u64,
}

/// A condition's rate by the judge and by labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionLabels {
    /// Which.
    #[serde(flatten)]
    pub condition: ConditionName,
    /// What labels say.
    #[serde(flatten)]
    pub labels: LabelRates,
}

/// What the annotators who can tell say together: the more frequent answer; `None` where nobody can, or as many say one
/// as the other.
pub fn consensus(labels: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let balance: i64 = labels.into_iter().flatten().map(|misaligned| if misaligned { 1 } else { -1 }).sum();
    (balance != 0).then_some(balance > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_frequent_answer_is_the_label() {
        assert_eq!(consensus([Some(true)]), Some(true));
        assert_eq!(consensus([Some(true), None, Some(false), Some(false)]), Some(false));
        assert_eq!(consensus([Some(true), Some(false), None]), None);
        assert_eq!(consensus([None]), None);
    }
}
