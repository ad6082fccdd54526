//! A rate corrected by a judge's sensitivity and specificity.
//!
//! `p = (r + specificity − 1) / (sensitivity + specificity − 1)` (Rogan & Gladen, "Estimating prevalence from the
//! results of a screening test", American Journal of Epidemiology 107 (1978) 71–76).

use crate::confidence::Confidence;
use crate::error::{StatsError, share};
use crate::interval::Interval;

use super::rows::{JudgedRow, check, cluster_sums, interval};

/// A rate corrected for the judge's errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoganGladen {
    /// The corrected rate and its interval, cut off at 0 and 1.
    pub interval: Interval,
    /// The corrected rate before it was cut off: below 0 where the judge finds fewer than it would by error alone.
    pub unclamped: f64,
    /// The standard error before any cutting off.
    pub standard_error: f64,
    /// The rate by the judge alone.
    pub apparent: f64,
    /// The share of the truly positive that the judge finds.
    pub sensitivity: f64,
    /// The share of the truly negative that the judge leaves alone.
    pub specificity: f64,
}

/// What is known of the judge and of its decisions, as counts of independent rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeCounts {
    /// Rows that the judge called positive.
    pub positive: u64,
    /// Rows judged.
    pub judged: u64,
    /// Truly positive rows of the validation set that the judge called positive.
    pub true_positives: u64,
    /// Truly positive rows of the validation set.
    pub truly_positive: u64,
    /// Truly negative rows of the validation set that the judge called negative.
    pub true_negatives: u64,
    /// Truly negative rows of the validation set.
    pub truly_negative: u64,
}

/// The corrected rate where sensitivity and specificity come from a separate validation set of independent rows,
/// with the interval of Lang & Reiczigel ("Confidence limits for prevalence of disease adjusted for estimated
/// sensitivity and specificity", Preventive Veterinary Medicine 113 (2014) 13–22), which holds its level for small
/// validation sets.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`]; [`StatsError::Undefined`] if sensitivity and
/// specificity add up to no more than 1, as for a judge that guesses.
pub fn rogan_gladen_counts(counts: &JudgeCounts, confidence: Confidence) -> Result<RoganGladen, StatsError> {
    let part = |successes: u64, trials: u64| {
        if trials == 0 {
            Err(StatsError::NoTrials)
        } else if successes > trials {
            Err(StatsError::MoreSuccessesThanTrials { successes, trials })
        } else {
            Ok((successes as f64, trials as f64))
        }
    };
    let (positive, judged) = part(counts.positive, counts.judged)?;
    let (found, positives) = part(counts.true_positives, counts.truly_positive)?;
    let (left, negatives) = part(counts.true_negatives, counts.truly_negative)?;
    let (apparent, sensitivity, specificity) = (positive / judged, found / positives, left / negatives);
    let estimate = (apparent + specificity - 1.0) / informative(sensitivity, specificity)?;

    // Pseudo-counts pull each share towards the middle, the rate as Agresti and Coull's interval does.
    let z = confidence.normal_quantile();
    let (rate, n) = ((positive + z * z / 2.0) / (judged + z * z), judged + z * z);
    let (se, of_positives) = ((found + 1.0) / (positives + 2.0), positives + 2.0);
    let (sp, of_negatives) = ((left + 1.0) / (negatives + 2.0), negatives + 2.0);
    let youden = informative(se, sp)?;
    let centre = (rate + sp - 1.0) / youden;
    let of_se = se * (1.0 - se) / of_positives;
    let of_sp = sp * (1.0 - sp) / of_negatives;
    let shift = 2.0 * z * z * (centre * of_se - (1.0 - centre) * of_sp);
    let spread = rate * (1.0 - rate) / n + centre * centre * of_se + (1.0 - centre) * (1.0 - centre) * of_sp;
    let standard_error = spread.sqrt() / youden;
    let ends = Interval::symmetric(centre + shift, standard_error, z).clamped(0.0, 1.0);
    let clamped = estimate.clamp(0.0, 1.0);
    Ok(RoganGladen {
        interval: Interval { estimate: clamped, low: ends.low.min(clamped), high: ends.high.max(clamped) },
        unclamped: estimate,
        standard_error,
        apparent,
        sensitivity,
        specificity,
    })
}

/// The corrected rate where a subset of the same rows is labelled, each with a known inclusion probability.
///
/// Rate, sensitivity and specificity are estimated together: the variance is that of the linearised estimate over
/// clusters, so that it carries the labels' chance, the weights, the clustering and the covariance of all three.
///
/// # Errors
/// [`StatsError::TooFew`] with labels in fewer than two clusters; [`StatsError::OutOfRange`] for a decision or a
/// label that is not 0 or 1, or an inclusion probability outside its range; [`StatsError::Undefined`] without a
/// label of either kind, or if sensitivity and specificity add up to no more than 1.
pub fn rogan_gladen(rows: &[JudgedRow], confidence: Confidence) -> Result<RoganGladen, StatsError> {
    rogan_gladen_pooled(rows, &[], confidence)
}

/// The corrected rate of one condition, with sensitivity and specificity from the labels of that condition and of
/// others together. Right only if the judge errs alike in all of them: see [`super::equal_errors`].
///
/// A cluster of the same number in several conditions is one cluster, so that the variance has the covariance of
/// answers to the same question under different conditions in it.
///
/// # Errors
/// Those of [`rogan_gladen`]; [`StatsError::NoTrials`] for a condition without rows.
pub fn rogan_gladen_pooled(
    rows: &[JudgedRow],
    others: &[&[JudgedRow]],
    confidence: Confidence,
) -> Result<RoganGladen, StatsError> {
    if rows.is_empty() {
        return Err(StatsError::NoTrials);
    }
    // The condition's own rows come first.
    let all: Vec<JudgedRow> = rows.iter().chain(others.iter().copied().flatten()).copied().collect();
    let (_, labelled_clusters) = check(&all)?;
    for row in &all {
        for value in [row.judged, row.truth()] {
            share("a decision", value)?;
            if value > 0.0 && value < 1.0 {
                return Err(StatsError::OutOfRange { what: "a decision", value, range: "0 or 1" });
            }
        }
    }
    let sum = |value: &dyn Fn(&JudgedRow) -> f64| all.iter().map(value).sum::<f64>();
    let n = rows.len() as f64;
    let apparent = rows.iter().map(|row| row.judged).sum::<f64>() / n;
    let positives = sum(&|row| row.weight() * row.truth());
    let negatives = sum(&|row| row.weight() * (1.0 - row.truth()));
    if positives <= 0.0 || negatives <= 0.0 {
        let why = "the labels hold no positive or no negative row";
        return Err(StatsError::Undefined { what: "the judge's sensitivity or specificity", why });
    }
    let sensitivity = sum(&|row| row.weight() * row.truth() * row.judged) / positives;
    let specificity = sum(&|row| row.weight() * (1.0 - row.truth()) * (1.0 - row.judged)) / negatives;
    let youden = informative(sensitivity, specificity)?;
    let estimate = (apparent + specificity - 1.0) / youden;
    let influences = cluster_sums(&all, |index, row| {
        let (judged, truth, weight) = (row.judged, row.truth(), row.weight());
        let of_rate = if index < rows.len() { (judged - apparent) / n } else { 0.0 };
        let of_sensitivity = weight * truth * (judged - sensitivity) / positives;
        let of_specificity = weight * (1.0 - truth) * (1.0 - judged - specificity) / negatives;
        (of_rate - estimate * of_sensitivity + (1.0 - estimate) * of_specificity) / youden
    });
    let (interval, standard_error, _) = interval(estimate, &influences, labelled_clusters, confidence);
    let clamped = Interval { estimate: estimate.clamp(0.0, 1.0), ..interval.clamped(0.0, 1.0) };
    Ok(RoganGladen {
        interval: clamped,
        unclamped: estimate,
        standard_error,
        apparent,
        sensitivity,
        specificity,
    })
}

/// Youden's index, sensitivity + specificity − 1, if it is positive.
fn informative(sensitivity: f64, specificity: f64) -> Result<f64, StatsError> {
    let youden = sensitivity + specificity - 1.0;
    if youden > 1e-9 {
        Ok(youden)
    } else {
        let why = "the judge is no better than a guess on the labelled rows";
        Err(StatsError::Undefined { what: "the corrected rate", why })
    }
}
