//! The mean of several effects.

use crate::error::{StatsError, at_least};
use crate::interval::Interval;

/// The mean of effects that were estimated on independent data, each weighing equally. The distances of their ends are
/// added as errors are, on either side by itself (Zou & Donner, "Construction of confidence limits about effect measures: a
/// general approach", Statistics in Medicine 27 (2008) 1693–1702), so that intervals that are not symmetric stay so. All
/// must be of one confidence level, which is then that of the mean.
///
/// # Errors
/// [`StatsError::TooFew`] without any; [`StatsError::NotFiniteAt`] where one is not.
pub fn mean_of_effects(effects: &[Interval]) -> Result<Interval, StatsError> {
    at_least("effects", 1, effects.len())?;
    let count = effects.len() as f64;
    let (mut sum, mut below, mut above) = (0.0, 0.0, 0.0);
    for (index, effect) in effects.iter().enumerate() {
        let Interval { estimate, low, high } = *effect;
        if ![estimate, low, high].into_iter().all(f64::is_finite) {
            return Err(StatsError::NotFiniteAt { what: "effects", index });
        }
        sum += estimate;
        below += (estimate - low).powi(2);
        above += (high - estimate).powi(2);
    }
    let estimate = sum / count;
    Ok(Interval { estimate, low: estimate - below.sqrt() / count, high: estimate + above.sqrt() / count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(estimate: f64, low: f64, high: f64) -> Interval {
        Interval { estimate, low, high }
    }

    #[test]
    fn one_effect_is_its_own_mean_and_several_narrow_as_standard_errors_do() {
        let one = interval(-0.2, -0.5, -0.1);
        let mean = mean_of_effects(&[one]).unwrap();
        for (found, expected) in [(mean.estimate, -0.2), (mean.low, -0.5), (mean.high, -0.1)] {
            assert!((found - expected).abs() < 1e-12);
        }
        let four = mean_of_effects(&[one; 4]).unwrap();
        assert!((four.estimate + 0.2).abs() < 1e-12);
        assert!((four.low + 0.35).abs() < 1e-12 && (four.high + 0.15).abs() < 1e-12);
        let mixed = mean_of_effects(&[interval(0.3, 0.0, 0.6), interval(0.1, -0.3, 0.5)]).unwrap();
        assert!((mixed.low - (0.2 - 0.25)).abs() < 1e-12 && (mixed.high - (0.2 + 0.25)).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_effect_is_refused() {
        assert!(matches!(mean_of_effects(&[]), Err(StatsError::TooFew { .. })));
        let endless = interval(0.0, f64::NEG_INFINITY, 1.0);
        assert!(matches!(mean_of_effects(&[endless]), Err(StatsError::NotFiniteAt { .. })));
    }
}
