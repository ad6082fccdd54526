//! How a rate moves with its definition.
//!
//! Published rates of the same behaviour differ by the threshold, by the inequality and by the denominator. A
//! sweep recomputes the rate under each of many definitions from the same rows, so that a reader sees how much
//! of a difference is a matter of definition.

use std::collections::BTreeMap;

use crate::confidence::Confidence;
use crate::error::StatsError;
use crate::rates::cluster::{ClusterCount, ClusteredRate, clustered_rate};

/// What a row counts as under one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not in the denominator.
    Excluded,
    /// In the denominator only.
    Failure,
    /// In the denominator and the numerator.
    Success,
}

impl Outcome {
    /// The outcome of a row that is in the denominator or not, and in the numerator or not. A row outside the
    /// denominator is never counted.
    pub fn from_flags(in_denominator: bool, in_numerator: bool) -> Self {
        match (in_denominator, in_numerator) {
            (false, _) => Self::Excluded,
            (true, false) => Self::Failure,
            (true, true) => Self::Success,
        }
    }
}

/// The rate under one definition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SweepPoint<D> {
    /// The definition.
    pub definition: D,
    /// Rows that were not in the denominator.
    pub excluded: u64,
    /// The rate with its clustered interval; `None` where no row was in the denominator.
    pub rate: Option<ClusteredRate>,
}

/// The clustered rate of the same rows under every definition, in the order given.
///
/// `outcome` says what a row counts as under a definition, and `cluster` which cluster it belongs to.
///
/// # Errors
/// None that rows can cause; those of [`clustered_rate`] are passed on.
pub fn sweep<R, D: Copy>(
    rows: &[R],
    definitions: &[D],
    confidence: Confidence,
    cluster: impl Fn(&R) -> u64,
    outcome: impl Fn(&R, D) -> Outcome,
) -> Result<Vec<SweepPoint<D>>, StatsError> {
    let mut points = Vec::with_capacity(definitions.len());
    for &definition in definitions {
        let mut counts: BTreeMap<u64, ClusterCount> = BTreeMap::new();
        let mut excluded = 0;
        for row in rows {
            let outcome = outcome(row, definition);
            if outcome == Outcome::Excluded {
                excluded += 1;
                continue;
            }
            let count = counts.entry(cluster(row)).or_insert(ClusterCount { successes: 0, trials: 0 });
            count.trials += 1;
            count.successes += u64::from(outcome == Outcome::Success);
        }
        let counts: Vec<ClusterCount> = counts.into_values().collect();
        let rate = if counts.is_empty() { None } else { Some(clustered_rate(&counts, confidence)?) };
        points.push(SweepPoint { definition, excluded, rate });
    }
    Ok(points)
}
