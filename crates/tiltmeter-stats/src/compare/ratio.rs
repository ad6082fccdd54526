//! Differences and ratios of two rates of independent trials.

use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::interval::Interval;
use crate::rates::{ClusterCount, clustered_rate, wilson};

use super::TwoRates;

/// The difference of two rates, first minus second, with Newcombe's hybrid score interval ("Interval estimation for
/// the difference between independent proportions: comparison of eleven methods", Statistics in Medicine 17 (1998)
/// 873–890, method 10).
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
pub fn newcombe(counts: TwoRates, confidence: Confidence) -> Result<Interval, StatsError> {
    counts.cells()?;
    let first = wilson(counts.first_successes, counts.first_trials, confidence)?;
    let second = wilson(counts.second_successes, counts.second_trials, confidence)?;
    Ok(difference(first, second))
}

/// The difference of two rates, first minus second, each with several trials of the same question: Newcombe's
/// recovery of variance with the ends of [`clustered_rate`] in place of Wilson's (Zou & Donner, "Construction of
/// confidence limits about effect measures: a general approach", Statistics in Medicine 27 (2008) 1693–1702).
///
/// It takes nothing from the questions being the same ones, and is so the wider one; unlike
/// [`super::paired_contrast`] it has a width also where a condition has no success.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
pub fn clustered_difference(
    first: &[ClusterCount],
    second: &[ClusterCount],
    confidence: Confidence,
) -> Result<Interval, StatsError> {
    let first = clustered_rate(first, confidence)?.interval;
    let second = clustered_rate(second, confidence)?.interval;
    Ok(difference(first, second))
}

/// First minus second, with the distances of the ends added as errors are.
fn difference(first: Interval, second: Interval) -> Interval {
    let estimate = first.estimate - second.estimate;
    let below = (first.estimate - first.low).hypot(second.high - second.estimate);
    let above = (first.high - first.estimate).hypot(second.estimate - second.low);
    Interval { estimate, low: estimate - below, high: estimate + above }
}

/// The first rate over the second with the interval on the logarithm (Katz et al., "Obtaining confidence intervals
/// for the risk ratio in cohort studies", Biometrics 34 (1978) 469–474). Where either condition has no success, ½ is
/// added to every count, and the interval, very wide, is there to be shown with that said.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
pub fn risk_ratio(counts: TwoRates, confidence: Confidence) -> Result<Interval, StatsError> {
    let cells = counts.cells()?;
    let [a, b, c, d] = continued(cells, cells[0] == 0 || cells[2] == 0);
    let variance = 1.0 / a - 1.0 / (a + b) + 1.0 / c - 1.0 / (c + d);
    let logarithm = (a / (a + b) / (c / (c + d))).ln();
    let interval = Interval::symmetric(logarithm, variance.max(0.0).sqrt(), confidence.normal_quantile());
    Ok(interval.map(f64::exp))
}

/// The first odds over the second with the interval on the logarithm (Woolf, "On estimating the relation between
/// blood group and disease", Annals of Human Genetics 19 (1955) 251–253). Where any count is 0, ½ is added to every
/// one (Haldane 1956, Anscombe 1956).
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
pub fn odds_ratio(counts: TwoRates, confidence: Confidence) -> Result<Interval, StatsError> {
    let cells = counts.cells()?;
    let [a, b, c, d] = continued(cells, cells.contains(&0));
    let variance = 1.0 / a + 1.0 / b + 1.0 / c + 1.0 / d;
    let logarithm = (a / b / (c / d)).ln();
    let interval = Interval::symmetric(logarithm, variance.sqrt(), confidence.normal_quantile());
    Ok(interval.map(f64::exp))
}

/// The counts, with ½ added to each where there are zeros that would make a logarithm infinite.
fn continued(cells: [u64; 4], zeros: bool) -> [f64; 4] {
    let added = if zeros { 0.5 } else { 0.0 };
    cells.map(|count| count as f64 + added)
}
