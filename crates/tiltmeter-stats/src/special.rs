//! Distribution functions that keep their digits where intervals need them.
//!
//! The incomplete beta function of common libraries takes `exp(ln Γ(a + b) − ln Γ(a) − ln Γ(b))`, which at a + b
//! of 10⁷ has lost eight digits. Here the power terms come from the saddle-point form of Loader ("Fast and
//! accurate computation of binomial probabilities", 2000), which never subtracts large numbers.

#![expect(clippy::many_single_char_names, reason = "the letters of the formulas in the literature")]

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// The iterations of the continued fraction grow with the root of the larger shape; this is enough for 10¹⁰.
const FRACTION_TERMS: u32 = 200_000;
/// Newton's steps between brackets; some ten are usual.
const SOLVE_STEPS: u32 = 400;

/// Either end of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Lower,
    Upper,
}

/// `ln Γ(n + 1)` minus Stirling's approximation of it, for `n > 0`.
fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        return libm::lgamma(n + 1.0) - (n + 0.5) * n.ln() + n - 0.5 * TAU.ln();
    }
    let square = n * n;
    // Bernoulli numbers B(2j) / (2j (2j − 1)); the sixth term is below 10⁻¹⁵ from 15 on.
    let series = 1.0 / 1680.0 - 1.0 / (1188.0 * square);
    let series = 1.0 / 1260.0 - series / square;
    let series = 1.0 / 360.0 - series / square;
    (1.0 / 12.0 - series / square) / n
}

/// `x ln(x / m) + m − x`, without cancellation where x is close to m.
fn deviance_part(x: f64, m: f64) -> f64 {
    if (x - m).abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() + m - x;
    }
    let v = (x - m) / (x + m);
    let mut sum = (x - m) * v;
    let mut term = 2.0 * x * v;
    for odd in 1..1000_u32 {
        term *= v * v;
        let next = sum + term / f64::from(2 * odd + 1);
        if next.to_bits() == sum.to_bits() {
            break;
        }
        sum = next;
    }
    sum
}

/// `x^a y^b / B(a, b)` for `x + y = 1`, both positive.
fn beta_power_term(x: f64, y: f64, a: f64, b: f64) -> f64 {
    let n = a + b;
    let exponent = stirling_error(n)
        - stirling_error(a)
        - stirling_error(b)
        - deviance_part(a, n * x)
        - deviance_part(b, n * y);
    (a / n * b / TAU).sqrt() * exponent.exp()
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let tiny = 1e-300;
    let guard = |value: f64| if value.abs() < tiny { tiny } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..FRACTION_TERMS {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

/// The probabilities below and above `x` of a beta distribution, where `y = 1 − x` is given because it may carry
/// digits that `x` cannot. Both shapes are positive.
pub(crate) fn beta_tails(x: f64, y: f64, a: f64, b: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    if y <= 0.0 {
        return (1.0, 0.0);
    }
    let power = beta_power_term(x, y, a, b);
    if x * (a + b + 2.0) < a + 1.0 {
        let lower = (power * beta_fraction(x, a, b) / a).clamp(0.0, 1.0);
        (lower, 1.0 - lower)
    } else {
        let upper = (power * beta_fraction(y, b, a) / b).clamp(0.0, 1.0);
        (1.0 - upper, upper)
    }
}

/// The point that has `probability` on the given side, as x and 1 − x; the smaller one has full relative
/// precision. `0 < probability < 1`.
pub(crate) fn beta_point(probability: f64, tail: Tail, a: f64, b: f64) -> (f64, f64) {
    if a > b {
        let other = if tail == Tail::Lower { Tail::Upper } else { Tail::Lower };
        let (y, x) = beta_point(probability, other, b, a);
        return (x, y);
    }
    // Newton's method on the logarithm of the tail, which is concave; what leaves the bracket is halved.
    let (mut low, mut high) = (0.0, 1.0);
    let mut x = a / (a + b);
    for _ in 0..SOLVE_STEPS {
        let y = 1.0 - x;
        let (lower, upper) = beta_tails(x, y, a, b);
        let (value, sign) = if tail == Tail::Lower { (lower, 1.0) } else { (upper, -1.0) };
        if (value > probability) == (tail == Tail::Lower) {
            high = x;
        } else {
            low = x;
        }
        let density = beta_power_term(x, y, a, b) / (x * y);
        let step = sign * value * (value / probability).ln() / density;
        let mut next = x - step;
        if !(next > low && next < high) {
            next = if low > 0.0 { (low * high).sqrt() } else { high / 64.0 };
        }
        let done = (next - x).abs() <= 4.0 * f64::EPSILON * x;
        x = next;
        if done {
            break;
        }
    }
    (x, 1.0 - x)
}

/// The probability that Student's t is further from 0 than `t`.
pub(crate) fn t_two_sided(t: f64, degrees_of_freedom: f64) -> f64 {
    if degrees_of_freedom > 1e9 {
        return normal_two_sided(t);
    }
    let square = t * t;
    if !square.is_finite() {
        return 0.0;
    }
    let total = degrees_of_freedom + square;
    beta_tails(square / total, degrees_of_freedom / total, 0.5, degrees_of_freedom / 2.0).1
}

/// The probability that Student's t is above `t`.
pub(crate) fn t_upper(t: f64, degrees_of_freedom: f64) -> f64 {
    let half = t_two_sided(t, degrees_of_freedom) / 2.0;
    if t >= 0.0 { half } else { 1.0 - half }
}

/// The `t` that Student's t exceeds with a probability of `tail`, for a tail below 1/2.
pub(crate) fn t_point(tail: f64, degrees_of_freedom: f64) -> f64 {
    let (x, y) = beta_point(2.0 * tail, Tail::Upper, 0.5, degrees_of_freedom / 2.0);
    (degrees_of_freedom * x / y).sqrt()
}

/// The probability that a standard normal number is further from 0 than `z`.
pub(crate) fn normal_two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() * FRAC_1_SQRT_2)
}

/// The value that an F distribution exceeds with a probability of `tail`.
pub(crate) fn f_point(tail: f64, numerator: f64, denominator: f64) -> f64 {
    let (x, y) = beta_point(tail, Tail::Upper, numerator / 2.0, denominator / 2.0);
    denominator * x / (numerator * y)
}

/// The probability that an F distribution exceeds `value`.
pub(crate) fn f_upper(value: f64, numerator: f64, denominator: f64) -> f64 {
    let part = numerator * value.max(0.0);
    let total = part + denominator;
    beta_tails(part / total, denominator / total, numerator / 2.0, denominator / 2.0).1
}

/// The probability that χ² with the given degrees of freedom exceeds `value`.
pub(crate) fn chi_squared_upper(value: f64, degrees_of_freedom: f64) -> f64 {
    if value <= 0.0 || degrees_of_freedom <= 0.0 {
        return 1.0;
    }
    if !value.is_finite() {
        return 0.0;
    }
    statrs::function::gamma::checked_gamma_ur(degrees_of_freedom / 2.0, value / 2.0).unwrap_or(f64::NAN)
}

/// The probabilities of at most and of at least `successes` of `trials` at a rate `p` strictly between 0 and 1.
pub(crate) fn binomial_tails(successes: u64, trials: u64, p: f64) -> (f64, f64) {
    let failures = (trials - successes) as f64;
    let successes = successes as f64;
    let at_most = if failures > 0.0 { beta_tails(p, 1.0 - p, successes + 1.0, failures).1 } else { 1.0 };
    let at_least = if successes > 0.0 { beta_tails(p, 1.0 - p, successes, failures + 1.0).0 } else { 1.0 };
    (at_most, at_least)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// References are those of mpmath with 40 digits.
    fn is_near(value: f64, reference: f64, relative: f64) -> bool {
        (value - reference).abs() <= relative * reference.abs()
    }

    #[test]
    fn what_stirling_leaves_matches_forty_digits() {
        for (n, expected) in [
            (0.5, 0.153_426_409_720_027_35),
            (3.0, 0.027_677_925_684_998_34),
            (15.0, 0.005_554_733_551_962_801),
            (15.5, 0.005_375_599_032_926_835),
            (16.0, 0.005_207_655_919_609_64),
            (20.0, 0.004_166_319_691_996_922),
            (40.0, 0.002_083_289_938_302_422),
            (1000.0, 8.333_333_055_555_635e-5),
        ] {
            // Up to 15 it is a difference of large numbers.
            let error = if n <= 15.0 { 1e-11 } else { 1e-13 };
            assert!(is_near(stirling_error(n), expected, error), "{n}: {}", stirling_error(n));
        }
    }

    #[test]
    fn a_part_of_the_deviance_matches_forty_digits_near_and_far() {
        for (x, m, expected) in [
            (1.0, 1.25, 0.026_856_448_685_790_245),
            (10.0, 10.5, 0.012_098_358_305_679_97),
            (10.0, 9.5, 0.012_932_943_875_505_335),
            (1.0, 1.5, 0.094_534_891_891_835_61),
            (3.0, 1.0, 1.295_836_866_004_329),
            (1000.0, 1e6, 992_092.244_721_017_9),
            (1e6, 1000.0, 5_908_755.278_982_137),
        ] {
            assert!(is_near(deviance_part(x, m), expected, 1e-13), "{x}, {m}: {}", deviance_part(x, m));
        }
        // The distance itself has lost its last digits here, but not more than those.
        for (x, m, expected) in
            [(1000.0, 1000.001, 4.999_996_666_432_698e-10), (0.05, 0.050_000_01, 9.999_998_656_139_75e-16)]
        {
            assert!(is_near(deviance_part(x, m), expected, 1e-7), "{x}, {m}: {}", deviance_part(x, m));
        }
        assert_eq!(deviance_part(5.0, 5.0).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn tails_are_whole_where_nothing_is_left_out() {
        // 0.7⁵ and 0.3⁵.
        let (at_most, at_least) = binomial_tails(0, 5, 0.3);
        assert!(is_near(at_most, 0.168_07, 1e-13) && at_least.to_bits() == 1.0_f64.to_bits());
        let (at_most, at_least) = binomial_tails(5, 5, 0.3);
        assert!(at_most.to_bits() == 1.0_f64.to_bits() && is_near(at_least, 0.002_43, 1e-13));
        for (value, degrees_of_freedom) in [(0.0, 3.0), (-1.0, 3.0), (5.0, 0.0)] {
            assert_eq!(chi_squared_upper(value, degrees_of_freedom).to_bits(), 1.0_f64.to_bits());
        }
    }
}
