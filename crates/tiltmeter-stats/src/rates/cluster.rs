//! The interval of a rate whose trials come in clusters: several samples of the same question.
//!
//! Samples of one question resemble each other, so that n of them say less than n independent trials. With
//! `x_g` successes in `n_g` trials of cluster g, `G` clusters, `n = Σ n_g` and `p = Σ x_g / n`:
//!
//! - the variance of p by linearisation of the ratio, with the small-sample factor, is
//!   `v = G / (G − 1) · Σ (x_g − p n_g)² / n²` (Cochran, *Sampling Techniques*, 1977, chapter 9A; equal to the
//!   cluster-robust variance of the constant in a linear regression of the 0/1 outcomes);
//! - the design effect is `v / (p (1 − p) / n)`;
//! - the effective sample size is `n / design effect · (z / t)²`, where z is the normal quantile and t that of
//!   Student's t with the degrees of freedom below, and never above n (Korn & Graubard, "Confidence intervals for
//!   proportions with small expected number of positive counts estimated from survey data", Survey Methodology
//!   24 (1998) 193–201);
//! - the degrees of freedom are `2 / (2 / (G − 1) + (κ − 3) / G)` with `κ = G Σ r⁴ / (Σ r²)²` of the residuals
//!   `r_g = x_g − p n_g`, at least 1 and at most G − 1: those of the χ² distribution that has the variance of a
//!   variance with that kurtosis (Cramér, *Mathematical Methods of Statistics*, 1946, §27.4; matched as by
//!   Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 2 (1946)
//!   110–114). Where a few questions have all the successes, v itself is known badly, and G − 1 would be too many;
//!   the example `coverage` measures what the interval covers;
//! - it goes into Wilson's interval in place of n (Dean & Pagano, "Evaluating confidence interval methods for
//!   binomial proportions in clustered surveys", Journal of Survey Statistics and Methodology 3 (2015) 484–503).
//!
//! Because Wilson intervals around the same rate are nested in n, the result contains the plain one.

use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::interval::Interval;
use crate::rates::wilson::{wilson, wilson_with};

/// The trials of one cluster, such as all samples of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterCount {
    /// Successes among them.
    pub successes: u64,
    /// Their number; a cluster without any is left out of all counts.
    pub trials: u64,
}

/// How a rate's interval was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateMethod {
    /// Wilson's interval with the trials taken as independent.
    Wilson,
    /// Wilson's interval with the effective sample size.
    WilsonEffectiveN,
}

impl RateMethod {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wilson => "wilson",
            Self::WilsonEffectiveN => "wilson-effective-n",
        }
    }
}

/// A rate with the interval that allows for clustering.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClusteredRate {
    /// The rate over all trials, and its interval.
    pub interval: Interval,
    /// Successes over all clusters.
    pub successes: u64,
    /// Trials over all clusters.
    pub trials: u64,
    /// Clusters with at least one trial.
    pub clusters: usize,
    /// Variance over that of independent trials; `None` where it cannot be had: fewer than two clusters, or a
    /// rate of 0 or 1.
    pub design_effect: Option<f64>,
    /// The number of trials that went into Wilson's interval.
    pub effective_trials: f64,
    /// How the interval was got.
    pub method: RateMethod,
}

/// The rate over all trials with the wider of Wilson's interval and the one with the effective sample size.
///
/// With fewer than two clusters, or a rate of 0 or 1, the variance between clusters cannot be had, and the
/// interval is Wilson's.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`] for any cluster, [`StatsError::TooMany`].
pub fn clustered_rate(
    clusters: &[ClusterCount],
    confidence: Confidence,
) -> Result<ClusteredRate, StatsError> {
    let (ClusterCount { successes, trials }, count) = total(clusters)?;
    let plain = ClusteredRate {
        interval: wilson(successes, trials, confidence)?,
        successes,
        trials,
        clusters: count,
        design_effect: None,
        effective_trials: trials as f64,
        method: RateMethod::Wilson,
    };
    if count < 2 || successes == 0 || successes == trials {
        return Ok(plain);
    }

    let design_effect = design_effect(clusters, successes, trials, count);
    let quantile = confidence.normal_quantile();
    let rate = plain.interval.estimate;
    let residuals = clusters
        .iter()
        .filter(|cluster| cluster.trials > 0)
        .map(|cluster| cluster.successes as f64 - rate * cluster.trials as f64);
    let ratio = quantile / confidence.t_quantile_real(matched_degrees(residuals));
    // A design effect of 0 (every cluster has the same rate) makes this infinite.
    let effective_trials = trials as f64 / design_effect * ratio * ratio;
    if effective_trials >= trials as f64 {
        return Ok(ClusteredRate { design_effect: Some(design_effect), ..plain });
    }
    Ok(ClusteredRate {
        interval: wilson_with(plain.interval.estimate, effective_trials, quantile)?,
        design_effect: Some(design_effect),
        effective_trials,
        method: RateMethod::WilsonEffectiveN,
        ..plain
    })
}

/// The degrees of freedom of a variance estimated from residuals that add up to 0, of which there are at least two;
/// see the module.
pub(crate) fn matched_degrees(residuals: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut squares, mut fourths) = (0.0_f64, 0.0, 0.0);
    for residual in residuals {
        let square = residual * residual;
        count += 1.0;
        squares += square;
        fourths += square * square;
    }
    let most = count - 1.0;
    if squares <= 0.0 {
        return most;
    }
    let kurtosis = count * fourths / (squares * squares);
    (2.0 / (2.0 / most + (kurtosis - 3.0) / count)).clamp(1.0, most.max(1.0))
}

/// The sums over all clusters, and how many clusters have trials.
pub(crate) fn total(clusters: &[ClusterCount]) -> Result<(ClusterCount, usize), StatsError> {
    let mut sum = ClusterCount { successes: 0, trials: 0 };
    let mut count = 0;
    for &ClusterCount { successes, trials } in clusters {
        if successes > trials {
            return Err(StatsError::MoreSuccessesThanTrials { successes, trials });
        }
        // Before the successes, which are at most as many.
        sum.trials = sum.trials.checked_add(trials).ok_or(StatsError::TooMany)?;
        sum.successes += successes;
        count += usize::from(trials > 0);
    }
    Ok((sum, count))
}

/// The linearised cluster variance over the binomial one; the rate is neither 0 nor 1.
fn design_effect(clusters: &[ClusterCount], successes: u64, trials: u64, count: usize) -> f64 {
    let (successes, trials, count) = (successes as f64, trials as f64, count as f64);
    let rate = successes / trials;
    let squares: f64 = clusters
        .iter()
        .map(|cluster| {
            let residual = cluster.successes as f64 - rate * cluster.trials as f64;
            residual * residual
        })
        .sum();
    count / (count - 1.0) * squares / (trials * rate * (1.0 - rate))
}
