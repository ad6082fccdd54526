//! From how many demonstrations on there is an effect.

use crate::compare::{Alternative, Contrast, PairedCount, TwoRates, boschloo, fisher, holm, paired_contrast};
use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::rates::ClusterCount;

/// One dose against none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnsetDose {
    /// Demonstrations.
    pub shots: u64,
    /// One-sided, of a rate no higher than without demonstrations.
    pub p_value: f64,
    /// The same after Holm's correction over all doses.
    pub adjusted_p_value: f64,
}

/// The smallest dose with an effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Onset {
    /// The smallest number of demonstrations whose rate exceeds that without any; `None` if none does. Where no dose
    /// could be resolved this is no evidence that there is no effect.
    pub shots: Option<u64>,
    /// All doses, in the order given.
    pub doses: Vec<OnsetDose>,
}

/// The onset from one-sided p-values of doses against no demonstrations: the smallest dose that Holm's correction
/// leaves below 1 − level.
///
/// # Errors
/// [`StatsError::OutOfRange`] for a p-value outside 0 to 1.
pub fn onset(doses: &[(u64, f64)], confidence: Confidence) -> Result<Onset, StatsError> {
    let p_values: Vec<f64> = doses.iter().map(|dose| dose.1).collect();
    let adjusted = holm(&p_values)?;
    let doses: Vec<OnsetDose> = doses
        .iter()
        .zip(adjusted)
        .map(|(&(shots, p_value), adjusted_p_value)| OnsetDose { shots, p_value, adjusted_p_value })
        .collect();
    let alpha = 1.0 - confidence.level();
    let shots = doses.iter().filter(|dose| dose.adjusted_p_value < alpha).map(|dose| dose.shots).min();
    Ok(Onset { shots, doses })
}

/// The onset for independent trials: Boschloo's test, or Fisher's where there are too many trials for it.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
pub fn onset_counts(
    baseline: ClusterCount,
    doses: &[(u64, ClusterCount)],
    confidence: Confidence,
) -> Result<Onset, StatsError> {
    let mut p_values = Vec::with_capacity(doses.len());
    for &(shots, count) in doses {
        let counts = TwoRates {
            first_successes: count.successes,
            first_trials: count.trials,
            second_successes: baseline.successes,
            second_trials: baseline.trials,
        };
        let p_value = match boschloo(counts, Alternative::Greater) {
            Err(StatsError::OutOfRange { .. }) => fisher(counts, Alternative::Greater)?.p_value,
            other => other?,
        };
        p_values.push((shots, p_value));
    }
    onset(&p_values, confidence)
}

/// The onset for the same questions at every dose: the first count of each pair is that of the dose, the second that
/// without demonstrations; the test is that of the paired difference.
///
/// # Errors
/// Those of [`paired_contrast`].
pub fn onset_paired(doses: &[(u64, Vec<PairedCount>)], confidence: Confidence) -> Result<Onset, StatsError> {
    let mut p_values = Vec::with_capacity(doses.len());
    for (shots, pairs) in doses {
        let result = paired_contrast(pairs, Contrast::Difference, confidence)?;
        let half = result.p_value / 2.0;
        p_values.push((*shots, if result.interval.estimate > 0.0 { half } else { 1.0 - half }));
    }
    onset(&p_values, confidence)
}
