//! The penalised likelihood `ln L + ½ ln |X' W X|` of a logistic regression.

use nalgebra::{DMatrix, DVector};

use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::interval::Interval;
use crate::special::chi_squared_upper;

use super::logistic::{Design, STEPS};
use super::matrix::{inverse, log_determinant};

const WHAT: &str = "the penalised logistic regression";
/// Doublings of the distance in which an end of a profile is looked for, and halvings of that.
const DOUBLINGS: u32 = 40;
const HALVINGS: u32 = 60;

/// The maximum, over all coefficients or with one of them held at a value.
///
/// The modified score adds `h (½ − p)` to each row's residual, where h is its leverage summed over its trials.
pub(super) fn fit(design: &Design, held: Option<(usize, f64)>) -> Result<(DVector<f64>, u32), StatsError> {
    let columns = design.x.ncols();
    let mut beta = DVector::zeros(columns);
    if let Some((index, value)) = held {
        beta[index] = value;
    }
    let free: Vec<usize> =
        (0..columns).filter(|&column| held.is_none_or(|(index, _)| index != column)).collect();
    let mut likelihood = penalised(design, &beta);
    for iteration in 1..=STEPS {
        let rates = design.rates(&beta);
        let weights = design.weights(&rates);
        let information = design.information(&weights);
        let bread = inverse(&information, WHAT)?;
        let leverages = leverages(design, &weights, &bread);
        let residuals = DVector::from_fn(rates.len(), |row, _| {
            design.successes[row] - design.trials[row] * rates[row] + leverages[row] * (0.5 - rates[row])
        });
        let score = design.x.transpose() * residuals;
        let of_free = information.select_rows(&free).select_columns(&free);
        let step_of_free = if free.is_empty() {
            DVector::zeros(0)
        } else {
            inverse(&of_free, WHAT)? * score.select_rows(&free)
        };
        let mut step = DVector::zeros(columns);
        for (position, &column) in free.iter().enumerate() {
            step[column] = step_of_free[position];
        }
        // Far from the maximum Newton's step is too long.
        let longest = design.reach(&step);
        if longest > 5.0 {
            step *= 5.0 / longest;
        }
        let mut next = &beta + &step;
        let mut improved = penalised(design, &next);
        let slack = 1e-12 * likelihood.abs();
        while (improved.is_nan() || improved < likelihood - slack) && design.reach(&step) > 1e-14 {
            step *= 0.5;
            next = &beta + &step;
            improved = penalised(design, &next);
        }
        (beta, likelihood) = (next, improved);
        if design.reach(&step) <= 1e-10 * (1.0 + design.reach(&beta)) {
            return Ok((beta, iteration));
        }
    }
    Err(StatsError::NotConverged { what: WHAT, iterations: STEPS })
}

/// `n p (1 − p) x' M x` of every row.
fn leverages(design: &Design, weights: &DVector<f64>, bread: &DMatrix<f64>) -> DVector<f64> {
    let through = &design.x * bread;
    DVector::from_fn(weights.len(), |row, _| weights[row] * through.row(row).dot(&design.x.row(row)))
}

fn penalised(design: &Design, beta: &DVector<f64>) -> f64 {
    let weights = design.weights(&design.rates(beta));
    design.log_likelihood(beta) + 0.5 * log_determinant(&design.information(&weights))
}

/// The interval in which twice the profile's fall from its maximum is at most the quantile of χ² with one degree of
/// freedom, and the p-value of a coefficient of 0.
pub(super) fn profile(
    design: &Design,
    beta: &DVector<f64>,
    index: usize,
    error: f64,
    confidence: Confidence,
) -> Result<(Interval, f64), StatsError> {
    let maximum = penalised(design, beta);
    let fall = |value: f64| -> Result<f64, StatsError> {
        let (held, _) = fit(design, Some((index, value)))?;
        Ok(2.0 * (maximum - penalised(design, &held)))
    };
    let z = confidence.normal_quantile();
    let estimate = beta[index];
    let end = |direction: f64| -> Result<f64, StatsError> {
        let (mut within, mut beyond) = (0.0, z * error);
        let mut doublings = 0;
        while fall(estimate + direction * beyond)? < z * z {
            (within, beyond) = (beyond, 2.0 * beyond);
            doublings += 1;
            if doublings == DOUBLINGS {
                return Err(StatsError::NotConverged { what: WHAT, iterations: DOUBLINGS });
            }
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(within, beyond);
            if fall(estimate + direction * middle)? < z * z { within = middle } else { beyond = middle }
        }
        Ok(estimate + direction * within)
    };
    let interval = Interval { estimate, low: end(-1.0)?, high: end(1.0)? };
    Ok((interval, chi_squared_upper(fall(0.0)?.max(0.0), 1.0)))
}
