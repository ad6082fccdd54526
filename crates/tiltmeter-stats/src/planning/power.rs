//! Widths and power that a design gives, with samples of a question resembling each other.
//!
//! With Q questions, m samples of each and a correlation ρ of two samples of one question, the variance of a rate is
//! `p (1 − p) / (Q m) · (1 + (m − 1) ρ)` (Kish, *Survey Sampling*, 1965, §5.4). However large m is, it stays above
//! `p (1 − p) ρ / Q`: more samples cannot replace more questions.

use crate::confidence::Confidence;
use crate::error::{StatsError, positive, share};
use crate::rates::wilson_with;
use crate::special::t_upper;

/// Samples per question beyond which a design counts as out of reach.
const MOST_SAMPLES: u64 = 1 << 40;

/// A number of samples per question that is enough, or the reason why none is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// So many samples of each question are enough.
    Samples(u64),
    /// No number is, with these questions; this is what the design tends to.
    Unreachable {
        /// The half-width, or the power, with samples without end.
        limit: f64,
    },
}

/// Samples of one condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleDesign {
    /// Questions, at least 2.
    pub questions: u64,
    /// Samples of each, at least 1.
    pub samples_per_question: u64,
    /// The correlation of two samples of one question, 0 to 1. Rates of this field have some 0.05 to 0.5.
    pub correlation: f64,
}

impl SampleDesign {
    fn check(&self) -> Result<(), StatsError> {
        crate::error::at_least("questions", 2, usize::try_from(self.questions).unwrap_or(usize::MAX))?;
        positive("the number of samples per question", self.samples_per_question as f64)?;
        share("the correlation within questions", self.correlation)
    }

    /// The variance over that of as many independent samples, `1 + (m − 1) ρ`.
    pub fn design_effect(&self) -> f64 {
        1.0 + (self.samples_per_question as f64 - 1.0) * self.correlation
    }

    /// The number of independent samples that say as much.
    pub fn effective_trials(&self) -> f64 {
        self.questions as f64 * self.samples_per_question as f64 / self.design_effect()
    }

    /// Half the width of the clustered interval, see [`crate::clustered_rate`], that is to be expected at a true
    /// `rate`: Wilson's at the effective number of trials, widened for the questions' few degrees of freedom.
    ///
    /// # Errors
    /// [`StatsError::Rate`]; [`StatsError::TooFew`] with fewer than two questions; [`StatsError::OutOfRange`].
    pub fn expected_half_width(&self, rate: f64, confidence: Confidence) -> Result<f64, StatsError> {
        self.check()?;
        half_width(rate, self.effective_trials(), self.questions, confidence)
    }
}

fn half_width(rate: f64, trials: f64, questions: u64, confidence: Confidence) -> Result<f64, StatsError> {
    let ratio = confidence.normal_quantile() / confidence.t_quantile(questions - 1);
    Ok(wilson_with(rate, trials * ratio * ratio, confidence.normal_quantile())?.half_width())
}

/// The smallest number of samples per question with which the expected half-width at a true `rate` is at most
/// `target`.
///
/// # Errors
/// Those of [`SampleDesign::expected_half_width`]; [`StatsError::OutOfRange`] for a target that is not positive.
pub fn samples_for_half_width(
    rate: f64,
    target: f64,
    questions: u64,
    correlation: f64,
    confidence: Confidence,
) -> Result<Reach, StatsError> {
    positive("the target half-width", target)?;
    let design = |samples_per_question: u64| SampleDesign { questions, samples_per_question, correlation };
    design(1).expected_half_width(rate, confidence)?;
    let limit = if correlation > 0.0 {
        half_width(rate, questions as f64 / correlation, questions, confidence)?
    } else {
        0.0
    };
    smallest(limit, |samples| Ok(design(samples).expected_half_width(rate, confidence)? <= target))
}

/// Two conditions with as many samples each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComparisonDesign {
    /// Questions, samples and the correlation within questions, of either condition.
    pub samples: SampleDesign,
    /// The correlation of question effects between the conditions, 0 to 1: 0 for different questions, near 1 where
    /// the same questions are asked and the conditions shift all of them alike.
    pub shared: f64,
}

impl ComparisonDesign {
    /// The standard error of the difference of two rates.
    fn standard_error(&self, first: f64, second: f64) -> f64 {
        let questions = self.samples.questions as f64;
        let trials = questions * self.samples.samples_per_question as f64;
        let rho = self.samples.correlation;
        let (of_first, of_second) = (first * (1.0 - first), second * (1.0 - second));
        let within = (of_first + of_second) * (1.0 - rho) / trials;
        let between =
            (of_first + of_second - 2.0 * self.shared * (of_first * of_second).sqrt()) * rho / questions;
        (within + between.max(0.0)).sqrt()
    }

    /// The probability that the test of [`crate::compare::paired_contrast`] finds the difference of two true rates,
    /// with t at the questions less one, shifted by the difference (an approximation of the non-central t that is
    /// good to a few hundredths from eight questions on).
    ///
    /// # Errors
    /// [`StatsError::OutOfRange`] for a rate, correlation or number out of range; [`StatsError::TooFew`].
    pub fn power(&self, first: f64, second: f64, confidence: Confidence) -> Result<f64, StatsError> {
        self.samples.check()?;
        share("a rate", first)?;
        share("a rate", second)?;
        share("the correlation between conditions", self.shared)?;
        let difference = (first - second).abs();
        let standard_error = self.standard_error(first, second);
        if standard_error <= 0.0 {
            // Rates of 0 and 1 show no spread: the difference is seen if there is one.
            return Ok(f64::from(u8::from(difference > 0.0)));
        }
        let degrees_of_freedom = self.samples.questions - 1;
        let critical = confidence.t_quantile(degrees_of_freedom);
        let shift = difference / standard_error;
        let freedom = degrees_of_freedom as f64;
        Ok(t_upper(critical - shift, freedom) + t_upper(critical + shift, freedom))
    }
}

/// The smallest number of samples per question and condition with which the difference of two true rates is found
/// with a probability of at least `power`.
///
/// # Errors
/// Those of [`ComparisonDesign::power`].
pub fn samples_for_difference(
    first: f64,
    second: f64,
    power: f64,
    questions: u64,
    correlation: f64,
    shared: f64,
    confidence: Confidence,
) -> Result<Reach, StatsError> {
    share("the power", power)?;
    let design = |samples_per_question: u64| ComparisonDesign {
        samples: SampleDesign { questions, samples_per_question, correlation },
        shared,
    };
    let limit = design(MOST_SAMPLES).power(first, second, confidence)?;
    smallest(limit, |samples| Ok(design(samples).power(first, second, confidence)? >= power))
}

/// The smallest rate above `baseline` that is told from it with a probability of at least `power`; `None` if not even
/// a rate of 1 is.
///
/// # Errors
/// Those of [`ComparisonDesign::power`].
pub fn detectable_difference(
    baseline: f64,
    power: f64,
    design: &ComparisonDesign,
    confidence: Confidence,
) -> Result<Option<f64>, StatsError> {
    share("the power", power)?;
    if design.power(baseline, 1.0, confidence)? < power {
        return Ok(None);
    }
    let (mut low, mut high) = (baseline, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if design.power(baseline, middle, confidence)? < power { low = middle } else { high = middle }
    }
    Ok(Some(high))
}

/// The smallest number that is enough, where more is never worse.
fn smallest(limit: f64, enough: impl Fn(u64) -> Result<bool, StatsError>) -> Result<Reach, StatsError> {
    if !enough(MOST_SAMPLES)? {
        return Ok(Reach::Unreachable { limit });
    }
    let (mut low, mut high) = (0, MOST_SAMPLES);
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if enough(middle)? { high = middle } else { low = middle }
    }
    Ok(Reach::Samples(high))
}
