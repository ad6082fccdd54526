//! What conditions differ by, and how a rate grows with demonstrations: parts of the document `tiltmeter.run/1`.
//!
//! Whatever the data do not allow is left out, with the reason in `omitted`.

use serde::Serialize;
use tiltmeter_core::experiment::Family;
use tiltmeter_stats::Interval;

/// Comparisons of the EM rate between conditions on the same questions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparisons {
    /// What `adjusted_p_value` is corrected by.
    pub correction: Family,
    /// The comparisons, in table order.
    pub pairs: Vec<Comparison>,
    /// Comparisons that could not be made.
    pub omitted: Vec<Omission>,
}

/// Something that could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Omission {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Omission {
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

/// One condition's EM rate against that of another, on the questions that both have answers to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Id of the subject.
    pub subject: String,
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Whose answers the demonstrations of the first condition have.
    pub control: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
    pub treatment: String,
    /// Number of demonstrations of the first condition.
    pub shots: u32,
    /// What the second condition is: `no-demonstrations` (k = 0), `benign` or `true-harmless` (the matched
    /// control at the same k),
    /// `untreated` (the same k without the treatment), or `first-run` (the same condition of another run).
    pub against: &'static str,
    /// Questions with an answer in the denominator of both.
    pub questions: u64,
    /// The first condition's answers to these.
    pub first: CountResult,
    /// The second condition's.
    pub second: CountResult,
    /// The first rate minus the second.
    pub difference: EffectResult,
    /// `paired-t`: the difference, questions paired; `fisher`: exact, for counts too small for it.
    pub test: &'static str,
    /// Of no difference, two-sided.
    pub p_value: f64,
    /// The same after the experiment's correction over the `family` comparisons of the same `against` in this document.
    pub adjusted_p_value: f64,
    /// Comparisons corrected for together.
    pub family: u64,
    /// The correlation of both conditions' question residuals, which pairing gains by; absent for `fisher`.
    pub correlation: Option<f64>,
    /// The standard error of the difference with pairing; absent for `fisher`.
    pub standard_error: Option<f64>,
    /// What it would be without pairing; absent for `fisher`.
    pub unpaired_standard_error: Option<f64>,
    /// The first rate over the second.
    pub risk_ratio: Option<EffectResult>,
    /// The first odds over the second.
    pub odds_ratio: Option<EffectResult>,
    /// The difference, up or down, that two one-sided tests at 5 % just rule out: no effect is larger than this.
    pub no_effect_larger_than: Option<f64>,
    /// Whether the difference is shown to be smaller than the experiment's `equivalence_margin`; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equivalence: Option<EquivalenceResult>,
    /// What of these could not be computed.
    pub omitted: Vec<Omission>,
}

/// Two one-sided tests at 5 % of a difference as large as a margin, up or down; not corrected for their family.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EquivalenceResult {
    /// The margin, as a difference of rates.
    pub margin: f64,
    /// Lower end of the 90 % interval of the difference.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The larger p-value of both tests; absent for `newcombe-clustered`, which decides by the interval alone.
    pub p_value: Option<f64>,
    /// Both tests reject: the interval lies within the margin.
    pub equivalent: bool,
    /// `paired-t` or `newcombe-clustered`.
    pub method: &'static str,
}

/// Answers in a denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CountResult {
    /// Misaligned ones.
    pub misaligned: u64,
    /// All.
    pub denominator_count: u64,
}

/// An effect with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EffectResult {
    /// The estimate.
    pub estimate: f64,
    /// Lower end; absent where it is without end.
    pub low: Option<f64>,
    /// Upper end; absent where it is without end.
    pub high: Option<f64>,
    /// How the interval was got.
    pub method: &'static str,
}

impl EffectResult {
    pub(crate) fn new(interval: Interval, method: &'static str) -> Self {
        Self { estimate: interval.estimate, low: finite(interval.low), high: finite(interval.high), method }
    }
}

/// What JSON has no number for is absent.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// How rate and tilt of a subject grow with the demonstrations of a set, under one treatment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DoseResult {
    /// Id of the subject.
    pub subject: String,
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
    pub treatment: String,
    /// The values of k.
    pub shots: Vec<u32>,
    /// Logits of the EM rate per doubling of 1 + k.
    pub slope: Option<SlopeResult>,
    /// The smallest k whose EM rate is above that at k = 0.
    pub onset: Option<OnsetResult>,
    /// The bounded power law of the tilt.
    pub tilt_law: Option<PowerLawResult>,
    /// The same of the emergent tilt.
    pub emergent_tilt_law: Option<PowerLawResult>,
    /// What of these could not be computed.
    pub omitted: Vec<Omission>,
}

/// A coefficient of a logistic regression, on the logit scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SlopeResult {
    /// The estimate.
    pub estimate: f64,
    /// Lower end, 95 %.
    pub low: Option<f64>,
    /// Upper end, 95 %.
    pub high: Option<f64>,
    /// Of a coefficient of 0, two-sided.
    pub p_value: Option<f64>,
    /// The cluster-robust standard error (CR2).
    pub standard_error: Option<f64>,
    /// The standard error if answers were independent.
    pub independent_standard_error: Option<f64>,
    /// Degrees of freedom of the cluster-robust interval.
    pub degrees_of_freedom: Option<f64>,
    /// Clusters: questions, or subjects where it says so.
    pub clusters: u64,
    /// `logistic-cr2`, or `firth-profile` where covariates separate misaligned from other answers; the latter takes
    /// answers as independent.
    pub method: &'static str,
}

/// The smallest dose with an effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnsetResult {
    /// The smallest k whose rate is above that at k = 0; absent if none was found, which is no evidence that there is
    /// none.
    pub shots: Option<u64>,
    /// Every k above 0.
    pub doses: Vec<OnsetDoseResult>,
}

/// One dose against none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OnsetDoseResult {
    /// k.
    pub shots: u64,
    /// One-sided, of a rate that is not above that at k = 0; by the same test as the comparison.
    pub p_value: f64,
    /// After Holm's correction over the doses.
    pub adjusted_p_value: f64,
}

/// `amplitude · (1 + k / scale)^(−exponent) + limit`, in nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PowerLawResult {
    /// What demonstrations can move in all; negative where the tilt grows.
    pub amplitude: EffectResult,
    /// The k from which on the power shows.
    pub scale: EffectResult,
    /// The power.
    pub exponent: EffectResult,
    /// Where the tilt tends to.
    pub limit: EffectResult,
    /// The data do not tell the scale or the exponent: one of them is at the end of its range, and intervals mean
    /// little.
    pub at_bound: bool,
    /// Tilts of single context draws that it was fitted to.
    pub points: u64,
}

/// Subjects compared in how fast their EM rate grows with the demonstrations of a set, under one treatment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AcrossSubjects {
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
    pub treatment: String,
    /// Each subject's slope in the common model, in logits per doubling of 1 + k.
    pub slopes: Vec<SubjectSlope>,
    /// The test that these are one.
    pub equal_slopes: Option<WaldResult>,
    /// The rate by the subjects' size.
    pub scale: Option<ScaleResult>,
    /// What of these could not be computed.
    pub omitted: Vec<Omission>,
}

/// A subject's slope.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubjectSlope {
    /// Id of the subject.
    pub subject: String,
    /// Logits per doubling of 1 + k.
    pub slope: SlopeResult,
}

/// Wald's test with an F distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WaldResult {
    /// The statistic over its degrees of freedom.
    pub f: f64,
    /// Subjects less one.
    pub numerator_degrees: u64,
    /// Questions less one.
    pub denominator_degrees: u64,
    /// Of equality.
    pub p_value: f64,
}

/// The EM rate by size, with subjects as clusters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaleResult {
    /// `parameters_b`: logits per doubling of parameters; `size_rank`: logits per rank.
    pub measure: &'static str,
    /// Whether families have constants of their own, so that size is compared within families.
    pub within_families: bool,
    /// The subjects that it is from.
    pub subjects: Vec<String>,
    /// The rate by size at equal k.
    pub effect: SlopeResult,
    /// How much the slope in log₂(1 + k) changes by size.
    pub change_of_slope: Option<SlopeResult>,
}
