//! The bounded power law of a tilt in the number of demonstrations.
//!
//! `y(k) = C (1 + k / k_c)^(−α) + K`: from `C + K` without demonstrations towards `K`, by a power of k from some
//! `k_c` demonstrations on (the form that Anil et al., "Many-shot jailbreaking", `NeurIPS` 2024, give log-likelihoods
//! of demonstrations, with their bounded variant's offset).

use nalgebra::{DMatrix, DVector};

use crate::confidence::Confidence;
use crate::error::{StatsError, all_finite, at_least, positive};
use crate::interval::Interval;

use super::matrix::inverse;

const WHAT: &str = "the power law";
const STEPS: u32 = 500;
/// The ranges of `ln k_c` and `ln α`. Beyond them the curve is a line, a step or an exponential, and its parameters say
/// nothing.
const LOG_SCALE: (f64, f64) = (-4.6, 13.8);
const LOG_EXPONENT: (f64, f64) = (-4.6, 4.0);

/// A value at a number of demonstrations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLawPoint {
    /// Demonstrations.
    pub shots: f64,
    /// The value.
    pub value: f64,
    /// A positive weight, such as the inverse of the value's variance; 1 where none is known.
    pub weight: f64,
}

/// A fitted power law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLaw {
    /// `C`: what demonstrations can move in all, negative where the value grows.
    pub amplitude: Interval,
    /// `k_c`: demonstrations from which on the power shows. Its interval is had on the logarithm.
    pub scale: Interval,
    /// `α`. Its interval is had on the logarithm.
    pub exponent: Interval,
    /// `K`: where the value tends to.
    pub limit: Interval,
    /// The weighted sum of squared residuals.
    pub sum_of_squares: f64,
    /// Whether `k_c` or `α` ran into the end of its range, so that the data do not tell it; intervals then mean
    /// little.
    pub at_bound: bool,
}

impl PowerLaw {
    /// The curve at a number of demonstrations.
    pub fn value(&self, shots: f64) -> f64 {
        let base = 1.0 + shots / self.scale.estimate;
        self.amplitude.estimate * base.powf(-self.exponent.estimate) + self.limit.estimate
    }
}

/// Fits the law by weighted least squares: from the best of a grid of `k_c` and `α`, for each of which `C` and `K` are a
/// straight line's, by the method of Levenberg and Marquardt (Marquardt, "An algorithm for least-squares estimation
/// of nonlinear parameters", SIAM Journal 11 (1963) 431–441). Intervals are the linearised ones with t at n − 4
/// degrees of freedom; four parameters from a handful of doses are mostly told badly, and the intervals show it.
///
/// # Errors
/// [`StatsError::TooFew`] with fewer than five points, or fewer than four different numbers of demonstrations;
/// [`StatsError::NotFiniteAt`], [`StatsError::OutOfRange`]; [`StatsError::Undefined`] if all values are the same;
/// [`StatsError::NotConverged`].
pub fn power_law(points: &[PowerLawPoint], confidence: Confidence) -> Result<PowerLaw, StatsError> {
    at_least("points", 5, points.len())?;
    all_finite("the numbers of demonstrations", &points.iter().map(|point| point.shots).collect::<Vec<_>>())?;
    all_finite("the values", &points.iter().map(|point| point.value).collect::<Vec<_>>())?;
    let mut doses: Vec<f64> = points.iter().map(|point| point.shots).collect();
    doses.sort_by(f64::total_cmp);
    if let Some(&negative) = doses.first().filter(|&&dose| dose < 0.0) {
        return Err(StatsError::OutOfRange { what: "demonstrations", value: negative, range: "0 and more" });
    }
    doses.dedup();
    at_least("different numbers of demonstrations", 4, doses.len())?;
    for point in points {
        positive("a weight", point.weight)?;
    }
    if points.windows(2).all(|two| two[0].value.to_bits() == two[1].value.to_bits()) {
        return Err(StatsError::Undefined { what: WHAT, why: "all values are the same" });
    }
    let start = grid(points);
    let theta = levenberg_marquardt(points, start)?;
    let sum_of_squares = residuals(points, &theta).norm_squared();
    let jacobian = jacobian(points, &theta);
    let freedom = points.len() as u64 - 4;
    let variance = sum_of_squares / freedom as f64;
    let at_end = |value: f64, range: (f64, f64)| value <= range.0 + 1e-6 || value >= range.1 - 1e-6;
    let at_bound = at_end(theta[2], LOG_SCALE) || at_end(theta[3], LOG_EXPONENT);
    // Without a full rank the parameters are not told apart, which intervals without end say.
    let errors = inverse(&(jacobian.transpose() * &jacobian), WHAT).map_or_else(
        |_| DVector::from_element(4, f64::INFINITY),
        |bread| bread.diagonal().map(|value| (value * variance).sqrt()),
    );
    let t = confidence.t_quantile(freedom);
    let interval = |index: usize| Interval::symmetric(theta[index], errors[index], t);
    Ok(PowerLaw {
        amplitude: interval(0),
        limit: interval(1),
        scale: interval(2).map(f64::exp),
        exponent: interval(3).map(f64::exp),
        sum_of_squares,
        at_bound,
    })
}

/// `(1 + k / k_c)^(−α)`.
fn shape(shots: f64, log_scale: f64, log_exponent: f64) -> f64 {
    (-log_exponent.exp() * (shots * (-log_scale).exp()).ln_1p()).exp()
}

fn residuals(points: &[PowerLawPoint], theta: &DVector<f64>) -> DVector<f64> {
    DVector::from_iterator(
        points.len(),
        points.iter().map(|point| {
            let fitted = theta[0] * shape(point.shots, theta[2], theta[3]) + theta[1];
            point.weight.sqrt() * (point.value - fitted)
        }),
    )
}

/// The derivatives of the fitted values, weighted.
fn jacobian(points: &[PowerLawPoint], theta: &DVector<f64>) -> DMatrix<f64> {
    let exponent = theta[3].exp();
    DMatrix::from_fn(points.len(), 4, |row, column| {
        let PowerLawPoint { shots, weight, .. } = points[row];
        let shape = shape(shots, theta[2], theta[3]);
        let ratio = shots * (-theta[2]).exp();
        weight.sqrt()
            * match column {
                0 => shape,
                1 => 1.0,
                2 => theta[0] * shape * exponent * ratio / (1.0 + ratio),
                _ => -theta[0] * shape * exponent * ratio.ln_1p(),
            }
    })
}

/// The best point of a grid of the two parameters that are not linear.
fn grid(points: &[PowerLawPoint]) -> DVector<f64> {
    let mut best = (f64::INFINITY, DVector::from_vec(vec![0.0, 0.0, 0.0, 0.0]));
    for of_scale in 0..24_u8 {
        for of_exponent in 0..13_u8 {
            let log_scale = -2.0 + 0.5 * f64::from(of_scale);
            let log_exponent = -3.0 + 0.5 * f64::from(of_exponent);
            // The weighted line of values on the shape.
            let (mut weights, mut mean_shape, mut mean_value) = (0.0, 0.0, 0.0);
            for point in points {
                weights += point.weight;
                mean_shape += point.weight * shape(point.shots, log_scale, log_exponent);
                mean_value += point.weight * point.value;
            }
            (mean_shape, mean_value) = (mean_shape / weights, mean_value / weights);
            let (mut products, mut squares) = (0.0, 0.0);
            for point in points {
                let part = shape(point.shots, log_scale, log_exponent) - mean_shape;
                products += point.weight * part * (point.value - mean_value);
                squares += point.weight * part * part;
            }
            let amplitude = if squares > 0.0 { products / squares } else { 0.0 };
            let limit = mean_value - amplitude * mean_shape;
            let theta = DVector::from_vec(vec![amplitude, limit, log_scale, log_exponent]);
            let sum = residuals(points, &theta).norm_squared();
            if sum < best.0 {
                best = (sum, theta);
            }
        }
    }
    best.1
}

fn levenberg_marquardt(points: &[PowerLawPoint], start: DVector<f64>) -> Result<DVector<f64>, StatsError> {
    let mut theta = start;
    let mut sum = residuals(points, &theta).norm_squared();
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        let jacobian = jacobian(points, &theta);
        let normal = jacobian.transpose() * &jacobian;
        let gradient = jacobian.transpose() * residuals(points, &theta);
        let mut moved = false;
        while damping < 1e20 {
            let mut damped = normal.clone();
            for index in 0..4 {
                damped[(index, index)] += damping * normal[(index, index)].max(1e-12);
            }
            let step = damped.cholesky().map(|factor| factor.solve(&gradient));
            if let Some(step) = step {
                let mut next = &theta + &step;
                next[2] = next[2].clamp(LOG_SCALE.0, LOG_SCALE.1);
                next[3] = next[3].clamp(LOG_EXPONENT.0, LOG_EXPONENT.1);
                let new_sum = residuals(points, &next).norm_squared();
                if new_sum <= sum {
                    let change = (&next - &theta).amax();
                    moved = change > 1e-12 * (1.0 + theta.amax());
                    (theta, sum) = (next, new_sum);
                    damping = (damping / 5.0).max(1e-15);
                    break;
                }
            }
            damping *= 4.0;
        }
        if !moved {
            return Ok(theta);
        }
    }
    Err(StatsError::NotConverged { what: WHAT, iterations: STEPS })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve whose parameters are a point of the grid is found by the grid alone, with its line.
    #[test]
    fn the_grid_finds_a_curve_of_its_own() {
        for (log_scale, log_exponent) in [(3.0, 0.0), (-1.5, -2.0), (9.5, 2.5)] {
            let points: Vec<PowerLawPoint> = (0_u8..9)
                .map(|at| {
                    let shots = if at == 0 { 0.0 } else { 2.0_f64.powi(i32::from(at) * 2 - 2) };
                    let curve = (1.0 + shots / f64::exp(log_scale)).powf(-f64::exp(log_exponent));
                    PowerLawPoint { shots, value: 0.7 * curve + 0.2, weight: 1.0 + f64::from(at % 3) }
                })
                .collect();
            let found = grid(&points);
            for (found, expected) in found.iter().zip([0.7, 0.2, log_scale, log_exponent]) {
                assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
            }
        }
    }
}
