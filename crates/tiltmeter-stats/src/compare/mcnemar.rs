//! The same item once under either condition.

use crate::error::StatsError;
use crate::special::binomial_tails;

/// `McNemar`'s test of matched pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// The exact two-sided p-value.
    pub p_value: f64,
    /// The mid-p value: closer to the level, not guaranteed to keep it.
    pub mid_p_value: f64,
}

/// The exact test of pairs: `first_only` items were a success under the first condition alone and `second_only`
/// under the second alone; items that agree say nothing (`McNemar`, "Note on the sampling error of the difference
/// between correlated proportions or percentages", Psychometrika 12 (1947) 153–157; mid-p as of Fagerland, Lydersen
/// & Laake, BMC Medical Research Methodology 13 (2013) 91). Without any pair that differs both values are 1.
///
/// # Errors
/// [`StatsError::TooMany`].
pub fn mcnemar(first_only: u64, second_only: u64) -> Result<McNemar, StatsError> {
    let differing = first_only.checked_add(second_only).ok_or(StatsError::TooMany)?;
    if first_only == second_only {
        // The middle of a symmetric distribution; half its point is left out of mid-p on either side.
        let (at_most, at_least) =
            if differing == 0 { (1.0, 1.0) } else { binomial_tails(first_only, differing, 0.5) };
        let point = at_most + at_least - 1.0;
        let mid_p_value = if differing == 0 { 1.0 } else { 1.0 - point / 2.0 };
        return Ok(McNemar { p_value: 1.0, mid_p_value });
    }
    let fewer = first_only.min(second_only);
    let (at_most, _) = binomial_tails(fewer, differing, 0.5);
    let below = if fewer == 0 { 0.0 } else { binomial_tails(fewer - 1, differing, 0.5).0 };
    Ok(McNemar { p_value: (2.0 * at_most).min(1.0), mid_p_value: at_most + below })
}
