//! Wilson's score interval for a binomial proportion.
//!
//! Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209–212;
//! recommended over the normal interval by Brown et al., "Interval estimation for a binomial
//! proportion", Statistical Science 16 (2001) 101–133.

use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::interval::Interval;

/// Wilson's interval for `successes` out of `trials`. The closed end at 0 of n is exactly 0, and at n of n
/// exactly 1.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`].
pub fn wilson(successes: u64, trials: u64, confidence: Confidence) -> Result<Interval, StatsError> {
    if trials == 0 {
        return Err(StatsError::NoTrials);
    }
    let Some(failures) = trials.checked_sub(successes) else {
        return Err(StatsError::MoreSuccessesThanTrials { successes, trials });
    };
    let trials = trials as f64;
    Ok(score_interval(
        successes as f64 / trials,
        failures as f64 / trials,
        trials,
        confidence.normal_quantile(),
    ))
}

/// Wilson's interval around a given rate for a number of trials that need not be whole, such as an effective
/// sample size, and a given two-sided normal `quantile`, such as 1.96.
///
/// # Errors
/// [`StatsError::Rate`], [`StatsError::EffectiveTrials`], [`StatsError::Quantile`].
pub fn wilson_with(estimate: f64, effective_trials: f64, quantile: f64) -> Result<Interval, StatsError> {
    if !(0.0..=1.0).contains(&estimate) {
        return Err(StatsError::Rate(estimate));
    }
    if !(effective_trials > 0.0 && effective_trials.is_finite()) {
        return Err(StatsError::EffectiveTrials(effective_trials));
    }
    if !(quantile > 0.0 && quantile.is_finite()) {
        return Err(StatsError::Quantile(quantile));
    }
    Ok(score_interval(estimate, 1.0 - estimate, effective_trials, quantile))
}

/// The ends are the roots of `(1 + z²/n) x² − (2p + z²/n) x + p² = 0`. The upper root is a sum of positive
/// terms; the lower one is taken from the roots' product, because the textbook difference loses its digits where
/// p·n is far below 1, as an effective sample size can make it.
fn score_interval(rate: f64, complement: f64, trials: f64, quantile: f64) -> Interval {
    let shrinkage = quantile * quantile / trials;
    let leading = 1.0 + shrinkage;
    let spread = (shrinkage * (rate * complement + shrinkage / 4.0)).sqrt();
    let upper = (rate + shrinkage / 2.0 + spread) / leading;
    let high = if complement == 0.0 { 1.0 } else { upper.min(1.0) };
    let low = if rate == 0.0 { 0.0 } else { rate * rate / (leading * upper) };
    // Rounding must not put the estimate outside its own interval.
    Interval { estimate: rate, low: low.min(rate), high: high.max(rate) }
}
