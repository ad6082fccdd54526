//! Comparisons of two conditions, and of a family of them.
//!
//! | question | function |
//! | --- | --- |
//! | same questions under both conditions | [`paired_contrast`] as a difference, risk ratio or odds ratio |
//! | the same item once under either | [`mcnemar`] |
//! | the same, too few successes for it | [`clustered_difference`] |
//! | independent trials | [`newcombe`], [`risk_ratio`], [`odds_ratio`] |
//! | independent trials, small counts | [`boschloo`] or [`fisher`] |
//! | many tests at once | [`holm`] to be right throughout, [`benjamini_hochberg`] for screening |
//! | "no effect larger than x" | [`equivalence`] |

mod contrast;
mod equivalence;
mod exact;
mod mcnemar;
mod mean;
mod multiple;
mod ratio;

pub use contrast::{Contrast, PairedContrast, PairedCount, paired_contrast};
pub use equivalence::{Equivalence, equivalence};
pub use exact::{Alternative, Fisher, boschloo, fisher};
pub use mcnemar::{McNemar, mcnemar};
pub use mean::mean_of_effects;
pub use multiple::{benjamini_hochberg, holm};
pub use ratio::{clustered_difference, newcombe, odds_ratio, risk_ratio};

use crate::error::StatsError;

/// Successes and trials of two independent conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoRates {
    /// Successes under the first condition.
    pub first_successes: u64,
    /// Trials under the first condition.
    pub first_trials: u64,
    /// Successes under the second condition.
    pub second_successes: u64,
    /// Trials under the second condition.
    pub second_trials: u64,
}

impl TwoRates {
    /// Successes and failures of both, if the counts make sense.
    fn cells(self) -> Result<[u64; 4], StatsError> {
        let failures = |successes: u64, trials: u64| {
            if trials == 0 {
                return Err(StatsError::NoTrials);
            }
            trials.checked_sub(successes).ok_or(StatsError::MoreSuccessesThanTrials { successes, trials })
        };
        let first = failures(self.first_successes, self.first_trials)?;
        let second = failures(self.second_successes, self.second_trials)?;
        self.first_trials.checked_add(self.second_trials).ok_or(StatsError::TooMany)?;
        Ok([self.first_successes, first, self.second_successes, second])
    }
}
