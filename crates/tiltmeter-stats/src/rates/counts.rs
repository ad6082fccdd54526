//! Exact, Bayesian and normal intervals of a rate of independent trials.

use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::interval::Interval;
use crate::special::{Tail, beta_point};

use super::wilson::wilson;

/// An interval of a rate of independent trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalMethod {
    /// Wilson's score interval: close to the level on average, short.
    Wilson,
    /// Clopper and Pearson's: at least the level for every rate, wider.
    ClopperPearson,
    /// The central interval of the posterior under Jeffreys' prior.
    Jeffreys,
    /// The normal approximation of textbooks; poor for small counts and for rates near 0 or 1.
    Normal,
}

impl IntervalMethod {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Wilson, Self::ClopperPearson, Self::Jeffreys, Self::Normal];

    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wilson => "wilson",
            Self::ClopperPearson => "clopper-pearson",
            Self::Jeffreys => "jeffreys",
            Self::Normal => "normal",
        }
    }

    /// The interval for `successes` out of `trials`.
    ///
    /// # Errors
    /// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`].
    pub fn interval(
        self,
        successes: u64,
        trials: u64,
        confidence: Confidence,
    ) -> Result<Interval, StatsError> {
        match self {
            Self::Wilson => wilson(successes, trials, confidence),
            Self::ClopperPearson => clopper_pearson(successes, trials, confidence),
            Self::Jeffreys => jeffreys(successes, trials, confidence),
            Self::Normal => normal_interval(successes, trials, confidence),
        }
    }
}

/// Successes and failures as numbers.
fn checked(successes: u64, trials: u64) -> Result<(f64, f64), StatsError> {
    if trials == 0 {
        return Err(StatsError::NoTrials);
    }
    match trials.checked_sub(successes) {
        Some(failures) => Ok((successes as f64, failures as f64)),
        None => Err(StatsError::MoreSuccessesThanTrials { successes, trials }),
    }
}

/// The exact interval, whose coverage is never below the level (Clopper & Pearson, "The use of confidence or
/// fiducial limits illustrated in the case of the binomial", Biometrika 26 (1934) 404–413). Its ends are
/// quantiles of beta distributions; at 0 of n and n of n they have closed forms.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`].
pub fn clopper_pearson(successes: u64, trials: u64, confidence: Confidence) -> Result<Interval, StatsError> {
    let (x, f) = checked(successes, trials)?;
    let (n, tail) = (trials as f64, confidence.tail());
    // 1 − tail^(1/n), without the loss of digits that this has for large n.
    let closed = || (-(tail.ln() / n).exp_m1(), (tail.ln() / n).exp());
    let low = if successes == 0 {
        0.0
    } else if successes == trials {
        closed().1
    } else {
        beta_point(tail, Tail::Lower, x, f + 1.0).0
    };
    let high = if successes == trials {
        1.0
    } else if successes == 0 {
        closed().0
    } else {
        beta_point(tail, Tail::Upper, x + 1.0, f).0
    };
    Ok(Interval { estimate: x / n, low, high })
}

/// The central interval of the beta posterior under Jeffreys' prior Beta(½, ½), closed at 0 of n and n of n
/// (Brown et al., "Interval estimation for a binomial proportion", Statistical Science 16 (2001) 101–133, §4.1.2).
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`].
pub fn jeffreys(successes: u64, trials: u64, confidence: Confidence) -> Result<Interval, StatsError> {
    let (x, f) = checked(successes, trials)?;
    let tail = confidence.tail();
    let estimate = x / trials as f64;
    let (a, b) = (x + 0.5, f + 0.5);
    let low = if successes == 0 { 0.0 } else { beta_point(tail, Tail::Lower, a, b).0 };
    let high = if successes == trials { 1.0 } else { beta_point(tail, Tail::Upper, a, b).0 };
    // For one or two trials and a low level the posterior's middle may miss the estimate.
    Ok(Interval { estimate, low: low.min(estimate), high: high.max(estimate) })
}

/// `p ± z √(p (1 − p) / n)`, cut off at 0 and 1: only for comparison with figures that were got so. At 0 of n and
/// n of n it has no width at all.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`].
pub fn normal_interval(successes: u64, trials: u64, confidence: Confidence) -> Result<Interval, StatsError> {
    let (x, f) = checked(successes, trials)?;
    let n = trials as f64;
    let standard_error = (x / n * (f / n) / n).sqrt();
    Ok(Interval::symmetric(x / n, standard_error, confidence.normal_quantile()).clamped(0.0, 1.0))
}
