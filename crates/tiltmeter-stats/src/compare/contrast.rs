//! Two conditions on the same questions.
//!
//! A question that is hard for one condition is mostly hard for the other, so that question effects cancel in the
//! comparison. The variance is that of the linearised contrast over questions: with residuals `r_g = x_g − p n_g`
//! of either condition, question g contributes `r₁g / n₁ − r₂g / n₂` to the difference of rates,
//! `r₁g / (n₁ p₁) − r₂g / (n₂ p₂)` to the logarithm of their ratio, and the same with `p (1 − p)` to that of the
//! odds ratio (Cochran, *Sampling Techniques*, 1977, §6.4 and chapter 9A). The covariance of both conditions is
//! thereby in it. The interval's t has the number of questions, less one, degrees of freedom.

use crate::confidence::Confidence;
use crate::error::{StatsError, at_least};
use crate::interval::Interval;
use crate::rates::ClusterCount;
use crate::special::t_two_sided;

/// The trials of one question under two conditions; either may be without trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairedCount {
    /// Under the first condition.
    pub first: ClusterCount,
    /// Under the second condition.
    pub second: ClusterCount,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contrast {
    /// First rate minus second rate.
    Difference,
    /// First rate over second rate.
    RiskRatio,
    /// First odds over second odds.
    OddsRatio,
}

/// A contrast of two conditions on the same questions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedContrast {
    /// The contrast with its interval; ratios are exponentials of what was computed.
    pub interval: Interval,
    /// The standard error of the difference, or of the logarithm of the ratio.
    pub standard_error: f64,
    /// What the standard error would be with questions drawn afresh for each condition: without the covariance.
    pub unpaired_standard_error: f64,
    /// The correlation of the two conditions' question residuals, as it entered; 0 where either has no spread.
    pub correlation: f64,
    /// Of no difference, two-sided.
    pub p_value: f64,
    /// Questions with trials under either condition.
    pub questions: usize,
    /// Questions less one.
    pub degrees_of_freedom: u64,
}

/// A contrast of rates over all trials of two conditions, with questions as clusters.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`];
/// [`StatsError::TooFew`] with fewer than two questions; [`StatsError::Undefined`] for a ratio with a rate of 0,
/// or an odds ratio with one of 1.
pub fn paired_contrast(
    pairs: &[PairedCount],
    contrast: Contrast,
    confidence: Confidence,
) -> Result<PairedContrast, StatsError> {
    let first = Rate::new(pairs.iter().map(|pair| pair.first))?;
    let second = Rate::new(pairs.iter().map(|pair| pair.second))?;
    let scale = |rate: &Rate| match contrast {
        Contrast::Difference => 1.0,
        Contrast::RiskRatio => rate.p,
        Contrast::OddsRatio => rate.p * (1.0 - rate.p),
    };
    let (of_first, of_second) = (scale(&first), scale(&second));
    if of_first <= 0.0 || of_second <= 0.0 {
        let why = "a rate is 0, or odds are infinite";
        return Err(StatsError::Undefined { what: "the ratio", why });
    }
    let used = pairs.iter().filter(|pair| pair.first.trials > 0 || pair.second.trials > 0);
    let parts: Vec<(f64, f64)> =
        used.map(|pair| (first.part(pair.first) / of_first, second.part(pair.second) / of_second)).collect();
    at_least("questions", 2, parts.len())?;
    let questions = parts.len() as f64;
    let correction = questions / (questions - 1.0);
    let (mut variances, mut covariance) = ((0.0, 0.0), 0.0);
    for (one, other) in &parts {
        variances.0 += correction * one * one;
        variances.1 += correction * other * other;
        covariance += correction * one * other;
    }
    let unpaired = variances.0 + variances.1;
    let standard_error = (unpaired - 2.0 * covariance).max(0.0).sqrt();
    let spread = (variances.0 * variances.1).sqrt();
    let estimate = match contrast {
        Contrast::Difference => first.p - second.p,
        Contrast::RiskRatio => (first.p / second.p).ln(),
        Contrast::OddsRatio => (first.p / (1.0 - first.p) / (second.p / (1.0 - second.p))).ln(),
    };
    let degrees_of_freedom = parts.len() as u64 - 1;
    let interval = Interval::symmetric(estimate, standard_error, confidence.t_quantile(degrees_of_freedom));
    let p_value = if standard_error > 0.0 {
        t_two_sided(estimate / standard_error, degrees_of_freedom as f64)
    } else if estimate.abs() > 0.0 {
        0.0
    } else {
        1.0
    };
    Ok(PairedContrast {
        interval: match contrast {
            Contrast::Difference => interval.clamped(-1.0, 1.0),
            Contrast::RiskRatio | Contrast::OddsRatio => interval.map(f64::exp),
        },
        standard_error,
        unpaired_standard_error: unpaired.sqrt(),
        correlation: if spread > 0.0 { (covariance / spread).clamp(-1.0, 1.0) } else { 0.0 },
        p_value,
        questions: parts.len(),
        degrees_of_freedom,
    })
}

/// The rate of one condition.
struct Rate {
    p: f64,
    trials: f64,
}

impl Rate {
    fn new(counts: impl Iterator<Item = ClusterCount>) -> Result<Self, StatsError> {
        let (sum, _) = crate::rates::total(&counts.collect::<Vec<_>>())?;
        if sum.trials == 0 {
            return Err(StatsError::NoTrials);
        }
        let trials = sum.trials as f64;
        Ok(Self { p: sum.successes as f64 / trials, trials })
    }

    fn part(&self, count: ClusterCount) -> f64 {
        (count.successes as f64 - self.p * count.trials as f64) / self.trials
    }
}
