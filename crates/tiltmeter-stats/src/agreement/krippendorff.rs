//! Krippendorff's α for any number of judges, with gaps.
//!
//! `α = 1 − D_o / D_e`, the disagreement observed within items over that expected if values were shuffled over all
//! items (Krippendorff, *Content Analysis*, 4th edition, 2019, chapter 12; Hayes & Krippendorff, "Answering the
//! call for a standard reliability measure for coding data", Communication Methods and Measures 1 (2007) 77–89).

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bootstrap::{BootstrapSettings, index, quantile};
use crate::error::{StatsError, all_finite};
use crate::interval::Interval;

/// How far apart two values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlphaMetric {
    /// Equal or not.
    Nominal,
    /// The squared difference.
    Interval,
}

/// Krippendorff's α.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alpha {
    /// 1 is perfect agreement, 0 what shuffling would give; less is possible.
    pub estimate: f64,
    /// The disagreement observed.
    pub observed_disagreement: f64,
    /// The disagreement expected.
    pub expected_disagreement: f64,
    /// Items with at least two values; the others say nothing of agreement and are left out.
    pub units: usize,
    /// Values in these items.
    pub values: usize,
}

/// α of items, each given as the values that judges gave it (any order; one that was not judged is left out of
/// the list).
///
/// # Errors
/// [`StatsError::NotFiniteAt`] with the item's position; [`StatsError::TooFew`] without an item that has two
/// values; [`StatsError::Undefined`] if all values are the same.
pub fn krippendorff_alpha<Unit: AsRef<[f64]>>(
    units: &[Unit],
    metric: AlphaMetric,
) -> Result<Alpha, StatsError> {
    let summaries = summarise(units, metric)?;
    alpha_of(summaries.iter())
}

/// α with a percentile bootstrap interval over items. Resamples in which all values are equal count as perfect
/// agreement, which is what they show.
///
/// # Errors
/// Those of [`krippendorff_alpha`], and [`StatsError::NoResamples`].
pub fn krippendorff_alpha_interval<Unit: AsRef<[f64]>>(
    units: &[Unit],
    metric: AlphaMetric,
    settings: &BootstrapSettings,
) -> Result<(Alpha, Interval), StatsError> {
    if settings.resamples == 0 {
        return Err(StatsError::NoResamples);
    }
    let summaries = summarise(units, metric)?;
    let alpha = alpha_of(summaries.iter())?;
    let mut generator = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut resampled: Vec<f64> = (0..settings.resamples)
        .map(|_| {
            let drawn = (0..summaries.len()).map(|_| &summaries[index(&mut generator, summaries.len())]);
            alpha_of(drawn).map_or(1.0, |alpha| alpha.estimate)
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    let tail = settings.confidence.tail();
    let (low, high) = (quantile(&resampled, tail), quantile(&resampled, 1.0 - tail));
    let estimate = alpha.estimate;
    Ok((alpha, Interval { estimate, low: low.min(estimate), high: high.max(estimate) }))
}

/// What of an item goes into α.
enum Summary {
    /// Counts by category, as (category, count).
    Nominal(Vec<(usize, f64)>),
    /// Number, sum and sum of squares of values, centred on the mean of all.
    Interval(f64, f64, f64),
}

fn summarise<Unit: AsRef<[f64]>>(units: &[Unit], metric: AlphaMetric) -> Result<Vec<Summary>, StatsError> {
    let units = units.iter().map(AsRef::as_ref);
    for (index, unit) in units.clone().enumerate() {
        if all_finite("the judged items", unit).is_err() {
            return Err(StatsError::NotFiniteAt { what: "the judged items", index });
        }
    }
    let units: Vec<&[f64]> = units.filter(|unit| unit.len() >= 2).collect();
    if units.is_empty() {
        return Err(StatsError::TooFew { what: "items with two or more values", needed: 1, given: 0 });
    }
    Ok(match metric {
        AlphaMetric::Nominal => {
            let mut categories: BTreeMap<u64, usize> = BTreeMap::new();
            units
                .iter()
                .map(|unit| {
                    let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
                    for value in *unit {
                        let next = categories.len();
                        // Adding 0 makes one category of 0 and −0.
                        let category = *categories.entry((value + 0.0).to_bits()).or_insert(next);
                        *counts.entry(category).or_insert(0.0) += 1.0;
                    }
                    Summary::Nominal(counts.into_iter().collect())
                })
                .collect()
        }
        AlphaMetric::Interval => {
            let count: usize = units.iter().map(|unit| unit.len()).sum();
            let mean = units.iter().flat_map(|unit| unit.iter()).sum::<f64>() / count as f64;
            units
                .iter()
                .map(|unit| {
                    let (sum, squares) = unit.iter().fold((0.0, 0.0), |(sum, squares), value| {
                        (sum + (value - mean), squares + (value - mean) * (value - mean))
                    });
                    Summary::Interval(unit.len() as f64, sum, squares)
                })
                .collect()
        }
    })
}

/// Sums over ordered pairs of values: `Σ_i Σ_{j≠i} (x_i − x_j)² = 2 (m Σ x² − (Σ x)²)`.
fn alpha_of<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Result<Alpha, StatsError> {
    let (mut units, mut values, mut within) = (0, 0.0, 0.0);
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut totals: BTreeMap<usize, f64> = BTreeMap::new();
    for summary in summaries {
        units += 1;
        match summary {
            Summary::Nominal(counts) => {
                let m: f64 = counts.iter().map(|(_, count)| count).sum();
                let same: f64 = counts.iter().map(|(_, count)| count * count).sum();
                within += (m * m - same) / (m - 1.0);
                values += m;
                for &(category, count) in counts {
                    *totals.entry(category).or_insert(0.0) += count;
                }
            }
            Summary::Interval(m, unit_sum, unit_squares) => {
                within += 2.0 * (m * unit_squares - unit_sum * unit_sum) / (m - 1.0);
                values += m;
                sum += unit_sum;
                squares += unit_squares;
            }
        }
    }
    let same: f64 = totals.values().map(|count| count * count).sum();
    let between =
        if totals.is_empty() { 2.0 * (values * squares - sum * sum) } else { values * values - same };
    let observed_disagreement = (within / values).max(0.0);
    let expected_disagreement = between / (values * (values - 1.0));
    if expected_disagreement <= 1e-14 * (1.0 + squares / values) {
        let why = "all values are the same";
        return Err(StatsError::Undefined { what: "Krippendorff's alpha", why });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of lengths of lists in memory"
    )]
    let values = values as usize;
    Ok(Alpha {
        estimate: 1.0 - observed_disagreement / expected_disagreement,
        observed_disagreement,
        expected_disagreement,
        units,
        values,
    })
}
