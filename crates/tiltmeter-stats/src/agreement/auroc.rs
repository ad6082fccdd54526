//! The area under the ROC curve with `DeLong`'s interval.

use crate::confidence::Confidence;
use crate::error::{StatsError, all_finite, at_least, same_length};
use crate::interval::Interval;

/// The area under the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auroc {
    /// The probability that a positive's score is above a negative's, ties counting half, with the normal
    /// interval cut off at 0 and 1.
    pub interval: Interval,
    /// The interval got on the logit scale, which is better near 0 and 1; the same point as the estimate where
    /// that is 0 or 1.
    pub logit: Interval,
    /// `DeLong`'s standard error.
    pub standard_error: f64,
    /// Positives.
    pub positives: usize,
    /// Negatives.
    pub negatives: usize,
}

/// The area under the ROC curve of scores that should be higher for the true ones (`DeLong`, `DeLong` &
/// Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic curves",
/// Biometrics 44 (1988) 837–845; by midranks after Sun & Xu, IEEE Signal Processing Letters 21 (2014)
/// 1389–1393). Scores are taken as independent.
///
/// # Errors
/// [`StatsError::Lengths`], [`StatsError::NotFiniteAt`]; [`StatsError::TooFew`] with fewer than two positives or
/// two negatives.
pub fn auroc(scores: &[f64], truths: &[bool], confidence: Confidence) -> Result<Auroc, StatsError> {
    same_length("scores and truths", scores.len(), truths.len())?;
    all_finite("the scores", scores)?;
    let of = |kind: bool| -> Vec<f64> {
        let mut chosen: Vec<f64> =
            scores.iter().zip(truths).filter(|&(_, &truth)| truth == kind).map(|(&score, _)| score).collect();
        chosen.sort_by(f64::total_cmp);
        chosen
    };
    let (positives, negatives) = (of(true), of(false));
    at_least("positives", 2, positives.len())?;
    at_least("negatives", 2, negatives.len())?;
    // The share of the others that a score beats.
    let above: Vec<f64> = positives.iter().map(|&score| share_below(&negatives, score)).collect();
    let below: Vec<f64> = negatives.iter().map(|&score| 1.0 - share_below(&positives, score)).collect();
    let (area, from_positives) = mean_and_variance(&above);
    let (_, from_negatives) = mean_and_variance(&below);
    let standard_error =
        (from_positives / positives.len() as f64 + from_negatives / negatives.len() as f64).sqrt();
    let z = confidence.normal_quantile();
    let point = Interval { estimate: area, low: area, high: area };
    let logit = if area > 0.0 && area < 1.0 {
        let logit =
            Interval::symmetric((area / (1.0 - area)).ln(), standard_error / (area * (1.0 - area)), z);
        Interval { estimate: area, ..logit.map(|x| 1.0 / (1.0 + (-x).exp())) }
    } else {
        point
    };
    Ok(Auroc {
        interval: Interval::symmetric(area, standard_error, z).clamped(0.0, 1.0),
        logit,
        standard_error,
        positives: positives.len(),
        negatives: negatives.len(),
    })
}

/// The share of sorted values below, ties counting half.
fn share_below(sorted: &[f64], value: f64) -> f64 {
    let below = sorted.partition_point(|&other| other < value);
    let up_to = sorted.partition_point(|&other| other <= value);
    (below + up_to) as f64 / (2.0 * sorted.len() as f64)
}

/// The mean and the unbiased variance of at least two values.
fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, squares / (count - 1.0))
}
