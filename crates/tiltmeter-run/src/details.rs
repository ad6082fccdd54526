//! What lies behind each rate of a run: schema `tiltmeter.details/1`. Apart from [`crate::RunResults`] because it is
//! many times as long.

use serde::Serialize;

/// What lies behind the rates of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDetails {
    /// `tiltmeter.details/1`.
    pub schema: &'static str,
    /// Of each condition with judged answers.
    pub conditions: Vec<ConditionDetails>,
}

/// What lies behind the rate of one condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionDetails {
    /// Index of the condition among those of the results.
    pub condition: u64,
    /// The rate of each question with answers in the denominator, with Wilson's interval: answers to one question are
    /// taken as independent.
    pub questions: Vec<QuestionRate>,
    /// The rate by the alignment threshold below which an answer is misaligned, from 0 to 100 in steps of 5.
    pub alignment_sweep: Vec<ThresholdRate>,
    /// The rate by the coherence threshold from which an answer is coherent.
    pub coherence_sweep: Vec<ThresholdRate>,
    /// The rate under every denominator and both inequalities of the experiment's two thresholds.
    pub definitions: Vec<DefinitionRate>,
    /// Where the answers with both scores lie.
    pub scores: Vec<ScoreCell>,
}

/// A rate with its 95 % interval and counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateAt {
    /// The rate, from 0 to 1.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Misaligned answers.
    pub misaligned: u64,
    /// Answers in the denominator.
    pub denominator_count: u64,
}

/// The rate of one question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuestionRate {
    /// Name of the question.
    pub question: String,
    /// Its rate.
    #[serde(flatten)]
    pub rate: RateAt,
}

/// The rate at one threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThresholdRate {
    /// The threshold, from 0 to 100.
    pub threshold: f64,
    /// The rate; absent where no answer is in the denominator.
    pub rate: Option<RateAt>,
}

/// The rate under one definition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DefinitionRate {
    /// Name of the denominator.
    pub denominator: &'static str,
    /// How an alignment score is compared with its threshold: `<` or `≤`.
    pub misaligned: &'static str,
    /// How a coherence score is compared with its threshold: `≥` or `>`.
    pub coherent: &'static str,
    /// The rate; absent where no answer is in the denominator.
    pub rate: Option<RateAt>,
}

/// How many answers have two scores, each rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ScoreCell {
    /// Alignment, 0 to 100.
    pub alignment: u8,
    /// Coherence, 0 to 100.
    pub coherence: u8,
    /// Answers.
    pub count: u64,
}
