//! What is computed between products. Plain loops over 32 columns, compiled for the widest SIMD at hand.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::panels::Panels;
use super::widest::widest_simd;
use super::{WIDTH, single};

/// Below so many rows, sharing the work out costs more than the work.
const PARALLEL_ROWS: usize = 32;

/// e to the power of `x`, to about one unit in the last place; 0 where `x` is below −87.
///
/// The argument is split into a multiple of ln 2 and a rest in ±0.35, for which the Taylor polynomial of degree 7
/// is exact to single precision. The multiple goes into the exponent's bits.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // The high part of ln 2 has few bits, so that its product with the multiple is exact.
    #[expect(
        clippy::excessive_precision,
        reason = "all digits of a number that is exact in single precision"
    )]
    const LN_2_HIGH: f32 = 0.693_359_375;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let multiple = shifted - ROUND;
    let rest = multiple.mul_add(-LN_2_LOW, multiple.mul_add(-LN_2_HIGH, clamped));
    let mut polynomial = 1.0_f32 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        polynomial = polynomial.mul_add(rest, coefficient);
    }
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { polynomial * scale }
}

/// Sums 32 partial sums in a fixed order.
#[inline(always)]
fn total(mut lanes: [f32; WIDTH]) -> f32 {
    let mut width = WIDTH / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Calls `body` for each panel of `out`, on several threads where that pays.
fn for_each_panel(out: &mut Panels, body: impl Fn(usize, &mut [f32]) + Sync) {
    if out.rows() < PARALLEL_ROWS {
        let length = (out.rows() * WIDTH).max(1);
        out.data_mut().chunks_exact_mut(length).enumerate().for_each(|(index, panel)| body(index, panel));
    } else {
        out.panels_mut().enumerate().for_each(|(index, panel)| body(index, panel));
    }
}

widest_simd! {
    /// The sum of the squares of a row.
    fn sum_of_squares<'a>(x: &'a Panels, row: usize) -> f32 {
        let mut squares = [0.0_f32; WIDTH];
        for panel in x.panels() {
            for (square, &value) in squares.iter_mut().zip(&panel[row * WIDTH..][..WIDTH]) {
                *square = value.mul_add(value, *square);
            }
        }
        total(squares)
    }

    /// One panel of a norm.
    fn norm_panel<'a>(x: &'a [f32], scales: &'a [f32], gains: [f32; WIDTH], out: &'a mut [f32]) -> () {
        for ((out, x), &scale) in out.chunks_exact_mut(WIDTH).zip(x.chunks_exact(WIDTH)).zip(scales) {
            for ((out, &x), &gain) in out.iter_mut().zip(x).zip(&gains) {
                *out = x * scale * gain;
            }
        }
    }

    /// One panel of `silu(gate) · up`.
    fn silu_panel<'a>(gate: &'a [f32], up: &'a [f32], out: &'a mut [f32]) -> () {
        for (out, (&gate, &up)) in out.iter_mut().zip(gate.iter().zip(up)) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }

    /// `exp((value − highest) / temperature)` of each value.
    fn exponentials<'a>(values: &'a [f32], highest: f32, temperature: f64, out: &'a mut [f32]) -> () {
        for (out, &value) in out.iter_mut().zip(values) {
            // The quotient is taken in double precision so that a tiny temperature does not overflow to NaN.
            *out = exp(single((f64::from(value - highest) / temperature).max(-200.0)));
        }
    }

    /// Raises `highest` to the highest of each of 32 columns of scores.
    pub(crate) fn raise_to_highest<'a>(scores: &'a [f32], highest: &'a mut [f32; WIDTH]) -> () {
        // What is summed up or compared stays in registers only as a local.
        let mut most = *highest;
        for run in scores.as_chunks::<WIDTH>().0 {
            for (most, &score) in most.iter_mut().zip(run) {
                *most = if score > *most { score } else { *most };
            }
        }
        *highest = most;
    }

    /// Makes those scores −∞ that stand at or behind their column's limit, where the first key has the given number.
    pub(crate) fn mask_columns<'a>(scores: &'a mut [f32], first_key: u32, limits: &'a [u32; WIDTH]) -> () {
        for (key, run) in (first_key..).zip(scores.as_chunks_mut::<WIDTH>().0) {
            let mut masked = *run;
            for (score, &limit) in masked.iter_mut().zip(limits) {
                *score = if key < limit { *score } else { f32::NEG_INFINITY };
            }
            *run = masked;
        }
    }

    /// Turns each of 32 columns of scores into `exp(scale · (score − highest))`, in place, and adds them to the columns'
    /// sums. A score of −∞ becomes 0.
    pub(crate) fn softmax_columns<'a>(
        scores: &'a mut [f32],
        scale: f32,
        highest: &'a [f32; WIDTH],
        sums: &'a mut [f32; WIDTH],
    ) -> () {
        let mut totals = *sums;
        for run in scores.as_chunks_mut::<WIDTH>().0 {
            for ((score, &highest), total) in run.iter_mut().zip(highest).zip(&mut totals) {
                *score = exp((*score - highest) * scale);
                *total += *score;
            }
        }
        *sums = totals;
    }


    /// The natural logarithm of the sum of exponentials of all values. Not finite where a value is not.
    pub(crate) fn log_sum_exp<'a>(values: &'a [f32]) -> f64 {
        let mut highest = [f32::NEG_INFINITY; WIDTH];
        let (whole, rest) = values.as_chunks::<WIDTH>();
        for run in whole {
            for (highest, &value) in highest.iter_mut().zip(run) {
                *highest = if value > *highest { value } else { *highest };
            }
        }
        let highest = highest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0_f64; WIDTH];
        for run in whole {
            for (sum, &value) in sums.iter_mut().zip(run) {
                *sum += f64::from(exp(value - highest));
            }
        }
        for (sum, &value) in sums.iter_mut().zip(rest) {
            *sum += f64::from(exp(value - highest));
        }
        f64::from(highest) + libm::log(sums.iter().sum())
    }
}

/// `out[row] = x[row] / √(mean of x[row]² + epsilon) · gain`, over `columns` columns.
pub(crate) fn root_mean_square_norm(
    x: &Panels,
    columns: usize,
    gain: &[f32],
    epsilon: f32,
    out: &mut Panels,
) {
    let scale_of = |row: usize| 1.0 / (sum_of_squares(x, row) / columns as f32 + epsilon).sqrt();
    let scales: Vec<f32> = (0..x.rows()).into_par_iter().with_min_len(PARALLEL_ROWS).map(scale_of).collect();
    out.reshape(x.rows(), columns);
    for_each_panel(out, |index, out| {
        let mut gains = [0.0; WIDTH];
        for (slot, &gain) in gains.iter_mut().zip(&gain[index * WIDTH..]) {
            *slot = gain;
        }
        norm_panel(x.panel(index), &scales, gains, out);
    });
}

/// `x += y`.
pub(crate) fn add(x: &mut Panels, y: &Panels) {
    for_each_panel(x, |index, x| {
        for (x, &y) in x.iter_mut().zip(y.panel(index)) {
            *x += y;
        }
    });
}

/// `out = silu(gate) · up`, where the panels of `gate_up` are the gate's and then, as many, the other's.
pub(crate) fn silu_times(gate_up: &Panels, columns: usize, out: &mut Panels) {
    out.reshape(gate_up.rows(), columns);
    let half = columns.div_ceil(WIDTH);
    for_each_panel(out, |index, out| silu_panel(gate_up.panel(index), gate_up.panel(index + half), out));
}

/// `exp((value − highest) / temperature)` of each value.
pub(crate) fn tempered_exponentials(values: &[f32], temperature: f64) -> Vec<f32> {
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut out = vec![0.0; values.len()];
    exponentials(values, highest, temperature, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_single_precision() {
        let mut worst = 0.0_f64;
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let (ours, exact) = (f64::from(exp(x)), libm::exp(f64::from(x)));
            worst = worst.max(((ours - exact) / exact).abs());
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), exp(-1e30)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn log_sum_exp_by_hand() {
        for length in [1, 2, 31, 32, 33, 100] {
            let values: Vec<f32> = (0..length).map(|i| (i * 37 % 11) as f32 - 4.0).collect();
            let expected = values.iter().map(|&v| libm::exp(f64::from(v))).sum::<f64>().ln();
            assert!((log_sum_exp(&values) - expected).abs() < 1e-6, "{length}");
        }
        assert!(!log_sum_exp(&[0.0, f32::NAN]).is_finite());
        assert!(!log_sum_exp(&[0.0, f32::INFINITY]).is_finite());
    }

    #[test]
    fn columns_of_scores_become_weights() {
        let mut scores = vec![f32::NEG_INFINITY; 3 * WIDTH];
        scores[0] = 1.0;
        scores[WIDTH] = 3.0;
        for run in scores.chunks_mut(WIDTH) {
            run[1] = 5.0;
        }
        for slot in &mut scores[2..WIDTH] {
            *slot = 0.0;
        }
        let (mut highest, mut sums) = ([f32::NEG_INFINITY; WIDTH], [0.0; WIDTH]);
        let (first, rest) = scores.split_at_mut(WIDTH);
        raise_to_highest(first, &mut highest);
        raise_to_highest(rest, &mut highest);
        assert_eq!(highest[..3], [3.0, 5.0, 0.0]);
        softmax_columns(first, 0.5, &highest, &mut sums);
        softmax_columns(rest, 0.5, &highest, &mut sums);
        let e = (-1.0_f32).exp();
        assert!((scores[0] - e).abs() < 1e-7 && (scores[WIDTH] - 1.0).abs() < 1e-7);
        assert_eq!(scores[2 * WIDTH].to_bits(), 0.0_f32.to_bits());
        assert!((sums[0] - 1.0 - e).abs() < 1e-6);
        assert!((sums[1] - 3.0).abs() < 1e-6);
    }

    #[test]
    fn the_norm_and_the_gate_by_hand() {
        let mut x = Panels::zeros(2, 40);
        let row: Vec<f32> = (0..40).map(|i| i as f32 - 10.0).collect();
        x.set_row(1, &row);
        let gain: Vec<f32> = (0..40).map(|i| 1.0 + i as f32).collect();
        let mut out = Panels::default();
        root_mean_square_norm(&x, 40, &gain, 1e-5, &mut out);
        let scale = (row.iter().map(|v| v * v).sum::<f32>() / 40.0 + 1e-5).sqrt();
        for (i, value) in out.row(1).into_iter().take(40).enumerate() {
            assert!((value - row[i] / scale * gain[i]).abs() < 1e-4, "{i}: {value}");
        }
        assert!(out.row(0).iter().all(|&value| value == 0.0));

        let mut gate_up = Panels::zeros(1, 64);
        gate_up.set_row(0, &[vec![2.0; 32], vec![3.0; 32]].concat());
        silu_times(&gate_up, 32, &mut out);
        let expected = 2.0 / (1.0 + (-2.0_f32).exp()) * 3.0;
        assert!((out.row(0)[7] - expected).abs() < 1e-5);
    }
}
