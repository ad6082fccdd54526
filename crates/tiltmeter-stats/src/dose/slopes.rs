//! Whether subjects differ in how fast their rate grows with demonstrations.

use nalgebra::{DMatrix, DVector};

use crate::confidence::Confidence;
use crate::error::{StatsError, at_least};
use crate::special::f_upper;

use super::logistic::{Coefficient, LogisticFit, LogisticRow, Penalty, logistic, shots_covariate};
use super::matrix::inverse;

/// Trials of a subject at one dose, in one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoseCount {
    /// Demonstrations.
    pub shots: u64,
    /// Successes among the trials.
    pub successes: u64,
    /// Their number.
    pub trials: u64,
    /// The cluster, such as the question, which is the same one for all subjects.
    pub cluster: u64,
}

/// The slopes of all subjects, and a test that they are one.
#[derive(Clone, Debug, PartialEq)]
pub struct SlopeComparison {
    /// The slope of each subject, in logits per doubling of `1 + k`.
    pub slopes: Vec<Coefficient>,
    /// Wald's statistic of equal slopes over its degrees of freedom.
    pub f_statistic: f64,
    /// Subjects less one.
    pub numerator_degrees: u64,
    /// Clusters less one.
    pub denominator_degrees: u64,
    /// Of equal slopes.
    pub p_value: f64,
    /// The model with a constant and a slope for each subject: the constant, those of the further subjects as
    /// differences from the first, then the slopes.
    pub fit: LogisticFit,
}

/// Fits a constant and a slope in `log₂(1 + k)` for each subject, with questions as clusters, so that subjects asked
/// the same questions are compared on them, and tests the interaction by Wald's statistic with CR2 against F with
/// clusters less one degrees of freedom. Penalised where a subject's data are separated.
///
/// # Errors
/// [`StatsError::TooFew`] with fewer than two subjects, or no more clusters than subjects; those of [`logistic`].
pub fn compare_slopes(
    subjects: &[Vec<DoseCount>],
    confidence: Confidence,
) -> Result<SlopeComparison, StatsError> {
    let count = subjects.len();
    at_least("subjects", 2, count)?;
    let mut rows = Vec::new();
    for (subject, doses) in subjects.iter().enumerate() {
        for dose in doses {
            let mut covariates = vec![0.0; 2 * count - 1];
            if subject > 0 {
                covariates[subject - 1] = 1.0;
            }
            covariates[count - 1 + subject] = shots_covariate(dose.shots);
            let &DoseCount { successes, trials, cluster, .. } = dose;
            rows.push(LogisticRow { successes, trials, covariates, cluster });
        }
    }
    let fit = logistic(&rows, Penalty::FirthIfSeparated, confidence)?;
    at_least("clusters", count + 1, fit.clusters)?;
    let slopes = fit.coefficients[count..].to_vec();
    let restrictions = count - 1;
    let differences = DVector::from_fn(restrictions, |row, _| {
        slopes[row + 1].interval.estimate - slopes[0].interval.estimate
    });
    let covariance = |one: usize, other: usize| fit.covariance[count + one][count + other];
    let of_differences = DMatrix::from_fn(restrictions, restrictions, |row, column| {
        covariance(row + 1, column + 1) - covariance(row + 1, 0) - covariance(0, column + 1)
            + covariance(0, 0)
    });
    let inverted = inverse(&of_differences, "the comparison of slopes")?;
    let f_statistic = differences.dot(&(inverted * &differences)) / restrictions as f64;
    let (numerator_degrees, denominator_degrees) = (restrictions as u64, fit.clusters as u64 - 1);
    Ok(SlopeComparison {
        slopes,
        f_statistic,
        numerator_degrees,
        denominator_degrees,
        p_value: f_upper(f_statistic, numerator_degrees as f64, denominator_degrees as f64),
        fit,
    })
}
