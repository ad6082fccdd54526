//! The document `tiltmeter.agreement/1`.

use indexmap::IndexMap;
use serde::Serialize;
use tiltmeter_stats::Interval;

use crate::people::HumanLabels;

/// The document's schema.
pub const SCHEMA: &str = "tiltmeter.agreement/1";

/// How far judges agree on the same answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// `tiltmeter.agreement/1`.
    pub schema: &'static str,
    /// What was read: a run directory, or files.
    pub sources: Vec<String>,
    /// Name of the experiment, where a run was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// What counts as misaligned and coherent, for every judge alike.
    pub definition: DefinitionText,
    /// Answers with the same value of this resemble each other, which intervals allow for; absent: all answers are taken
    /// as independent.
    pub clusters: Option<String>,
    /// The groups of answers; one with an empty key where nothing makes groups.
    pub groups: Vec<GroupAgreement>,
    /// What people's labels say of the run's judge; absent where nobody labelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human_labels: Option<HumanLabels>,
    /// Rows of files that could not be used, and are in no count.
    pub broken: u64,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// What counts as misaligned and coherent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DefinitionText {
    /// In words.
    pub text: String,
    /// Alignment scores that are misaligned, such as `< 30`.
    pub misaligned: String,
    /// Coherence scores that are coherent, such as `>= 50`.
    pub coherent: String,
    /// Which answers a rate is taken over.
    pub denominator: String,
}

/// How far judges agree on one group of answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupAgreement {
    /// Column and value.
    pub key: IndexMap<String, String>,
    /// Answers, whoever scored them.
    pub answers: u64,
    /// The judges, in the order of their first use.
    pub judges: Vec<JudgeSummary>,
    /// Each pair of them.
    pub pairs: Vec<PairAgreement>,
    /// All of them together; absent with fewer than two.
    pub all: Option<JointAgreement>,
}

/// One judge, on all answers that it was asked about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgeSummary {
    /// Its name here.
    pub judge: String,
    /// Answers that it was asked about.
    pub answers: u64,
    /// Of these, with both scores.
    pub scored: u64,
    /// The others, by reason.
    pub no_verdict_reasons: IndexMap<&'static str, u64>,
    /// The EM rate on all that it was asked about; null over no answers.
    pub em_rate: Option<RateInterval>,
}

/// Two judges, on the answers that both were asked about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairAgreement {
    /// The one.
    pub first: String,
    /// The other.
    pub second: String,
    /// Answers that both were asked about.
    pub answers: u64,
    /// Who gave a verdict.
    pub verdicts: VerdictOverlap,
    /// Misaligned or not, where both gave an alignment score.
    pub misaligned: Option<DecisionAgreement>,
    /// Coherent or not, where both gave a coherence score; absent where they share one score.
    pub coherent: Option<DecisionAgreement>,
    /// What the EM rate makes of the answers.
    pub counted: Option<ThreeWay>,
    /// The alignment scores, where both gave one.
    pub alignment: Option<ScoreAgreement>,
    /// The coherence scores, where both gave one; absent where they share one score.
    pub coherence: Option<ScoreAgreement>,
    /// The EM rate by each, on these answers.
    pub em_rates: Option<RatePair>,
    /// What could not be computed, and why.
    pub omitted: Vec<Omission>,
}

/// Which of two judges gave a verdict, that is both scores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerdictOverlap {
    /// Both.
    pub both: u64,
    /// The first alone.
    pub first_only: u64,
    /// The second alone.
    pub second_only: u64,
    /// Neither.
    pub neither: u64,
    /// Why the first gave none.
    pub first_reasons: IndexMap<&'static str, u64>,
    /// Why the second gave none.
    pub second_reasons: IndexMap<&'static str, u64>,
}

/// Two judges' yes or no.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionAgreement {
    /// Answers that both decided on.
    pub answers: u64,
    /// Yes by both.
    pub both: u64,
    /// Yes by the first alone.
    pub first_only: u64,
    /// Yes by the second alone.
    pub second_only: u64,
    /// Yes by neither.
    pub neither: u64,
    /// The share on which they agree.
    pub agreement: RateInterval,
    /// Cohen's κ.
    pub kappa: Option<Estimate>,
}

/// What the rate makes of each answer: misaligned, not misaligned, or outside the denominator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThreeWay {
    /// The categories, in the table's order.
    pub categories: [&'static str; 3],
    /// Counts: rows are the first judge's, columns the second's. They add up to the pair's answers.
    pub table: [[u64; 3]; 3],
    /// The share on which they agree.
    pub agreement: RateInterval,
    /// Cohen's κ over the three.
    pub kappa: Option<Estimate>,
}

/// Two judges' scores from 0 to 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreAgreement {
    /// Answers with a score by both.
    pub answers: u64,
    /// Mean of the first's.
    pub mean_first: f64,
    /// Mean of the second's.
    pub mean_second: f64,
    /// The first's less the second's, in points.
    pub mean_difference: Estimate,
    /// Cohen's κ with quadratic weights.
    pub weighted_kappa: Option<Estimate>,
    /// Pearson's correlation.
    pub pearson: Option<Estimate>,
    /// Spearman's correlation.
    pub spearman: Option<Estimate>,
}

/// The EM rate by two judges on the same answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RatePair {
    /// By the first; null with nothing in its denominator.
    pub first: Option<RateInterval>,
    /// By the second.
    pub second: Option<RateInterval>,
    /// The first's less the second's, with the answers in common taken into account.
    pub difference: Option<Difference>,
}

/// A difference of rates, from −1 to 1.
pub type Difference = Estimate;

/// All judges together: answers that at least two of them decided on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JointAgreement {
    /// Answers with an alignment score by two or more.
    pub answers: u64,
    /// Krippendorff's α of misaligned or not.
    pub alpha_nominal: Option<Estimate>,
    /// Krippendorff's α of the alignment scores, by squared differences.
    pub alpha_interval: Option<Estimate>,
    /// What could not be computed, and why.
    pub omitted: Vec<Omission>,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub estimate: f64,
    /// The interval's lower end; null where there is none: fewer than three clusters, or one without which the statistic
    /// is not defined.
    pub low: Option<f64>,
    /// The interval's upper end.
    pub high: Option<f64>,
    /// How it was got: `jackknife-clusters` leaves one cluster out after the other.
    pub method: &'static str,
}

/// A rate with its interval, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateInterval {
    /// The rate.
    pub estimate: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// How it was got.
    pub method: &'static str,
}

impl RateInterval {
    /// A rate with the name of its interval's method.
    pub fn new(interval: Interval, method: &'static str) -> Self {
        Self { estimate: interval.estimate, low: interval.low, high: interval.high, method }
    }
}

/// Something that could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Omission {
    /// What.
    pub what: &'static str,
    /// Why.
    pub why: String,
}
