//! The bias-reduced cluster-robust variance of a rate, with Bell and `McCaffrey`'s degrees of freedom.
//!
//! For a model with nothing but a constant the general formulas (Bell & `McCaffrey`, "Bias reduction in standard
//! errors for linear regression with multi-stage samples", Survey Methodology 28 (2002) 169–181; Pustejovsky &
//! Tipton, "Small-sample methods for cluster-robust variance estimation", Journal of Business & Economic
//! Statistics 36 (2018) 672–683) come down to sums over clusters. With `x_g` of `n_g` successes in cluster g,
//! `n = Σ n_g`, `p = Σ x_g / n`, `w_g = n_g / n` and `r_g = x_g − p n_g`:
//!
//! - CR0 is `Σ r_g² / n²`, CR1 is `G / (G − 1)` times that, CR2 is `Σ r_g² / (1 − w_g) / n²`;
//! - the degrees of freedom are `1 / (Σ w_g² + Σ_{g≠h} w_g² w_h² / ((1 − w_g)(1 − w_h)))`, which is G − 1 for
//!   clusters of one size and less for unequal ones.

use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::interval::Interval;
use crate::rates::cluster::{ClusterCount, matched_degrees, total};
use crate::rates::wilson::{wilson, wilson_with};

/// A rate with its cluster-robust variance and the intervals that follow from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RobustRate {
    /// The rate over all trials.
    pub estimate: f64,
    /// Clusters with at least one trial.
    pub clusters: usize,
    /// The variance without any correction, `CR0`.
    pub cr0: f64,
    /// The variance with `G / (G − 1)`, `CR1`.
    pub cr1: f64,
    /// The bias-reduced variance, `CR2`.
    pub cr2: f64,
    /// Bell and `McCaffrey`'s degrees of freedom.
    pub degrees_of_freedom: f64,
    /// `p ± t √CR2`, cut off at 0 and 1.
    pub linear: Interval,
    /// `logit p ± t √CR2 / (p (1 − p))`, taken back to rates.
    pub logit: Interval,
    /// Wilson's interval at the effective number of trials `p (1 − p) / CR2 · (z / t)²`, at most the number of
    /// trials, with t at the smaller one of these degrees of freedom and those of [`crate::clustered_rate`]. For
    /// clusters of one size it is that function's interval; for uneven ones it covers a little better.
    pub score: Interval,
}

/// The rate over all clusters with CR2 and its intervals; `None` with fewer than two clusters, or a rate of 0 or
/// 1, where the variance between clusters cannot be had.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
pub fn robust_rate(
    clusters: &[ClusterCount],
    confidence: Confidence,
) -> Result<Option<RobustRate>, StatsError> {
    let (all, count) = total(clusters)?;
    if all.trials == 0 {
        return Err(StatsError::NoTrials);
    }
    if count < 2 || all.successes == 0 || all.successes == all.trials {
        return Ok(None);
    }
    let n = all.trials as f64;
    let p = all.successes as f64 / n;
    let (mut cr0, mut cr2, mut squares, mut products, mut products_squared) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for cluster in clusters.iter().filter(|cluster| cluster.trials > 0) {
        let weight = cluster.trials as f64 / n;
        let residual = (cluster.successes as f64 - p * cluster.trials as f64) / n;
        cr0 += residual * residual;
        cr2 += residual * residual / (1.0 - weight);
        squares += weight * weight;
        let product = weight * weight / (1.0 - weight);
        products += product;
        products_squared += product * product;
    }
    let cr1 = cr0 * count as f64 / (count as f64 - 1.0);
    let degrees_of_freedom = 1.0 / (squares + products * products - products_squared);

    let t = confidence.t_quantile_real(degrees_of_freedom);
    let z = confidence.normal_quantile();
    let standard_error = cr2.sqrt();
    let logit = Interval::symmetric((p / (1.0 - p)).ln(), standard_error / (p * (1.0 - p)), t);
    let residuals = clusters
        .iter()
        .filter(|cluster| cluster.trials > 0)
        .map(|cluster| cluster.successes as f64 - p * cluster.trials as f64);
    let cautious = confidence.t_quantile_real(degrees_of_freedom.min(matched_degrees(residuals)));
    let effective = p * (1.0 - p) / cr2 * (z / cautious) * (z / cautious);
    let score = if effective < n {
        wilson_with(p, effective, z)?
    } else {
        wilson(all.successes, all.trials, confidence)?
    };
    Ok(Some(RobustRate {
        estimate: p,
        clusters: count,
        cr0,
        cr1,
        cr2,
        degrees_of_freedom,
        linear: Interval::symmetric(p, standard_error, t).clamped(0.0, 1.0),
        logit: Interval { estimate: p, ..logit.map(|x| 1.0 / (1.0 + (-x).exp())) },
        score,
    }))
}
