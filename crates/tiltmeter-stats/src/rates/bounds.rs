//! Bounds on a rate when some outcomes are unknown.

use crate::error::StatsError;

/// What the rate would be if every unknown outcome were a failure, or every one a success. Not a confidence
/// interval: it answers for missing verdicts, not for chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateBounds {
    /// No unknown outcome is a success.
    pub low: f64,
    /// Every unknown outcome is a success.
    pub high: f64,
}

/// Worst-case bounds (Manski, "Nonparametric bounds on treatment effects", AER 80 (1990) 319–323) for
/// `successes` of `known` outcomes with `unknown` further ones: `low = s / (k + u)`, `high = (s + u) / (k + u)`.
/// `None` where there are no outcomes at all.
///
/// # Errors
/// [`StatsError::MoreSuccessesThanTrials`].
pub fn rate_bounds(successes: u64, known: u64, unknown: u64) -> Result<Option<RateBounds>, StatsError> {
    if successes > known {
        return Err(StatsError::MoreSuccessesThanTrials { successes, trials: known });
    }
    let total = known as f64 + unknown as f64;
    if total == 0.0 {
        return Ok(None);
    }
    let successes = successes as f64;
    Ok(Some(RateBounds { low: successes / total, high: (successes + unknown as f64) / total }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_outcomes_count_both_ways() {
        let cases = [
            ((0, 0, 0), Ok(None)),
            ((0, 0, 5), Ok(Some((0.0, 1.0)))),
            ((3, 10, 0), Ok(Some((0.3, 0.3)))),
            ((3, 8, 2), Ok(Some((0.3, 0.5)))),
            ((8, 8, 2), Ok(Some((0.8, 1.0)))),
            ((0, u64::MAX, u64::MAX), Ok(Some((0.0, 0.5)))),
            ((4, 3, 9), Err(StatsError::MoreSuccessesThanTrials { successes: 4, trials: 3 })),
        ];
        for ((successes, known, unknown), expected) in cases {
            let expected = expected.map(|bounds| bounds.map(|(low, high)| RateBounds { low, high }));
            assert_eq!(rate_bounds(successes, known, unknown), expected, "{successes}/{known}+{unknown}");
        }
    }
}
