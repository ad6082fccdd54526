//! Whether a judge's probability means what it says.

use crate::confidence::Confidence;
use crate::error::{StatsError, at_least, same_length, share};
use crate::interval::Interval;
use crate::rates::wilson;

/// The rows whose probability falls between two edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationBin {
    /// The lower edge, which belongs to the bin.
    pub from: f64,
    /// The upper edge, which belongs to the next bin, but for the last one.
    pub to: f64,
    /// Rows in the bin.
    pub rows: u64,
    /// The mean probability that was given.
    pub predicted: f64,
    /// The share that was true, with Wilson's interval.
    pub observed: Interval,
}

/// A calibration curve with two summaries of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Bins of equal width that hold any rows, in order.
    pub bins: Vec<CalibrationBin>,
    /// The mean distance of predicted and observed, weighted by rows: the expected calibration error (Naeini,
    /// Cooper & Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015). It
    /// depends on the number of bins.
    pub expected_error: f64,
    /// The mean squared distance of probability and outcome (Brier, "Verification of forecasts expressed in terms
    /// of probability", Monthly Weather Review 78 (1950) 1–3). It does not depend on bins.
    pub brier_score: f64,
}

/// The calibration curve in `bins` bins of equal width. A score out of 100 goes in divided by 100.
///
/// # Errors
/// [`StatsError::Lengths`]; [`StatsError::OutOfRange`] for a probability outside 0 to 1; [`StatsError::TooFew`]
/// without bins or rows.
pub fn calibration(
    probabilities: &[f64],
    truths: &[bool],
    bins: usize,
    confidence: Confidence,
) -> Result<Calibration, StatsError> {
    same_length("probabilities and truths", probabilities.len(), truths.len())?;
    at_least("bins", 1, bins)?;
    at_least("probabilities", 1, probabilities.len())?;
    let mut sums = vec![(0_u64, 0.0, 0_u64); bins];
    let mut brier = 0.0;
    for (&probability, &truth) in probabilities.iter().zip(truths) {
        share("probability", probability)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a floor between 0 and the number of bins"
        )]
        let bin = ((probability * bins as f64).floor() as usize).min(bins - 1);
        let (rows, predicted, observed) = &mut sums[bin];
        *rows += 1;
        *predicted += probability;
        *observed += u64::from(truth);
        let miss = probability - f64::from(u8::from(truth));
        brier += miss * miss;
    }
    let total = probabilities.len() as f64;
    let mut curve = Vec::new();
    let mut expected_error = 0.0;
    for (bin, &(rows, predicted, observed)) in sums.iter().enumerate().filter(|(_, sums)| sums.0 > 0) {
        let observed = wilson(observed, rows, confidence)?;
        let predicted = predicted / rows as f64;
        expected_error += rows as f64 / total * (predicted - observed.estimate).abs();
        let (from, to) = (bin as f64 / bins as f64, (bin + 1) as f64 / bins as f64);
        curve.push(CalibrationBin { from, to, rows, predicted, observed });
    }
    Ok(Calibration { bins: curve, expected_error, brier_score: brier / total })
}
