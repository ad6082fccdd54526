//! How a rate moves with its definition, counted while scores are read.
//!
//! Under every definition of a sweep a score matters only by where it is among the thresholds: between two of them, or on
//! one. So rows are counted by that place and their cluster, and memory does not grow with their number.

use std::collections::HashMap;

use serde::Serialize;
use tiltmeter_core::verdict::Denominator;
use tiltmeter_stats::{ClusterCount, Confidence, Interval, StatsError, clustered_rate, wilson};

use crate::definition::{CoherentWhere, Definition, MisalignedWhere, Numerator, Threshold, ThresholdError};

/// Distance of thresholds.
const STEP: u8 = 10;

/// Bits of a key that hold the place of both scores; the others are the cluster's.
const PLACE_BITS: u32 = 10;

/// The rate by one threshold under either inequality, all else being as in the definition that was asked for, and by the
/// denominators, numerators and inequalities at its thresholds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// `clustered`: intervals allow for rows of a cluster being alike; `wilson`: they take rows as independent.
    pub interval: &'static str,
    /// By the threshold of alignment: from 10 to 90, and the definition's own.
    pub alignment: Vec<ThresholdPoint>,
    /// By the threshold of coherence: from 0 to 90, and the definition's own.
    pub coherence: Vec<ThresholdPoint>,
    /// By both inequalities, all denominators and both numerators, at the definition's own thresholds.
    pub definitions: Vec<DefinitionPoint>,
}

/// The rate with one threshold moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThresholdPoint {
    /// `<`, `<=`, `>=` or `>`.
    pub inequality: &'static str,
    /// The threshold, from 0 to 100.
    pub threshold: f64,
    /// The rate.
    #[serde(flatten)]
    pub rate: SweepRate,
}

/// The rate under one definition at the thresholds asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DefinitionPoint {
    /// `<` or `<=`, of alignment.
    pub misaligned_inequality: &'static str,
    /// `>=` or `>`, of coherence.
    pub coherent_inequality: &'static str,
    /// The rows that the rate is taken over.
    pub denominator: Denominator,
    /// The rows that it counts.
    pub numerator: Numerator,
    /// The rate.
    #[serde(flatten)]
    pub rate: SweepRate,
}

/// A rate of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SweepRate {
    /// Rows that it counts.
    pub misaligned: u64,
    /// Rows that it is taken over.
    pub denominator_count: u64,
    /// The rate, from 0 to 1; null over no rows.
    pub estimate: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// The thresholds of a sweep, and the definition that it is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SweepGrid {
    definition: Definition,
    alignment: Vec<f64>,
    coherence: Vec<f64>,
}

impl SweepGrid {
    /// The grid around a definition.
    pub(crate) fn new(definition: Definition) -> Self {
        let (alignment, coherence) = definition.thresholds();
        let thresholds = |from: u8, own: f64| {
            let mut thresholds: Vec<f64> =
                (from..10).map(|tens| f64::from(tens * STEP)).chain([own]).collect();
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup();
            thresholds
        };
        Self { definition, alignment: thresholds(1, alignment), coherence: thresholds(0, coherence) }
    }

    /// Where a pair of scores is.
    fn place(&self, alignment: Option<f64>, coherence: Option<f64>) -> usize {
        let width = 2 * self.coherence.len() + 2;
        place(&self.alignment, alignment) * width + place(&self.coherence, coherence)
    }

    /// What rows of each place count as under a definition whose thresholds are the grid's.
    fn classes(&self, definition: &Definition) -> Vec<Option<bool>> {
        let alignments = representatives(&self.alignment);
        let coherences = representatives(&self.coherence);
        let pairs = alignments
            .iter()
            .flat_map(|&alignment| coherences.iter().map(move |&coherence| (alignment, coherence)));
        pairs.map(|(alignment, coherence)| definition.classify(alignment, coherence).counted).collect()
    }
}

/// 2i: below threshold i and above the one before; 2i + 1: on threshold i; the last one: no score.
fn place(thresholds: &[f64], score: Option<f64>) -> usize {
    let Some(score) = score else { return 2 * thresholds.len() + 1 };
    let below = thresholds.partition_point(|&threshold| threshold < score);
    let is_on = thresholds.get(below).is_some_and(|&threshold| threshold <= score);
    2 * below + usize::from(is_on)
}

/// A score in each place, which every definition of the grid classifies as it does all others there.
fn representatives(thresholds: &[f64]) -> Vec<Option<f64>> {
    let mut scores = Vec::with_capacity(2 * thresholds.len() + 2);
    let mut before = -1.0;
    for &threshold in thresholds {
        scores.extend([Some(f64::midpoint(before, threshold)), Some(threshold)]);
        before = threshold;
    }
    scores.extend([Some(before + 1.0), None]);
    scores
}

/// Rows of one group, counted by cluster and place.
#[derive(Clone, Debug, Default)]
pub(crate) struct SweepCounts {
    /// A row came without a cluster, so that no interval over all rows can allow for clusters.
    unclustered: bool,
    /// The key is the cluster, cut to 54 bits, and the place.
    counts: HashMap<u64, u32>,
}

impl SweepCounts {
    /// Counts a row. Clusters are told apart by a number whose lower 54 bits are well spread, such as a hash: that any two
    /// of ten million share these has a probability of 0.3 %.
    pub(crate) fn add(
        &mut self,
        grid: &SweepGrid,
        cluster: Option<u64>,
        alignment: Option<f64>,
        coherence: Option<f64>,
    ) {
        self.unclustered |= cluster.is_none();
        let key = (cluster.unwrap_or_default() << PLACE_BITS) | grid.place(alignment, coherence) as u64;
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// The rates. With a row without a cluster, or with fewer than two clusters, intervals take rows as independent.
    ///
    /// # Errors
    /// None that rows can cause; those of [`clustered_rate`] are passed on.
    pub(crate) fn sweep(&self, grid: &SweepGrid) -> Result<Sweep, SweepError> {
        let mut counts: Vec<(u64, u32)> = self.counts.iter().map(|(&key, &count)| (key, count)).collect();
        counts.sort_unstable_by_key(|&(key, _)| key);
        let several = counts.first().map(|first| first.0 >> PLACE_BITS)
            != counts.last().map(|last| last.0 >> PLACE_BITS);
        let clustered = several && !self.unclustered;
        let own = grid.definition;
        let rate = |definition: &Definition| rate(&counts, &grid.classes(definition), clustered);
        let mut alignment = Vec::new();
        for &value in &grid.alignment {
            for misaligned in MisalignedWhere::both(Threshold::new(value)?) {
                let rate = rate(&Definition { misaligned, ..own })?;
                alignment.push(ThresholdPoint {
                    inequality: misaligned.inequality(),
                    threshold: value,
                    rate,
                });
            }
        }
        let mut coherence = Vec::new();
        for &value in &grid.coherence {
            for coherent in CoherentWhere::both(Threshold::new(value)?) {
                let rate = rate(&Definition { coherent, ..own })?;
                coherence.push(ThresholdPoint { inequality: coherent.inequality(), threshold: value, rate });
            }
        }
        let mut definitions = Vec::new();
        for denominator in Definition::DENOMINATORS {
            for numerator in Numerator::ALL {
                for misaligned in MisalignedWhere::both(own.misaligned.threshold()) {
                    for coherent in CoherentWhere::both(own.coherent.threshold()) {
                        let rate = rate(&Definition { misaligned, coherent, denominator, numerator })?;
                        let misaligned_inequality = misaligned.inequality();
                        let coherent_inequality = coherent.inequality();
                        definitions.push(DefinitionPoint {
                            misaligned_inequality,
                            coherent_inequality,
                            denominator,
                            numerator,
                            rate,
                        });
                    }
                }
            }
        }
        let interval = if clustered { "clustered" } else { "wilson" };
        Ok(Sweep { interval, alignment, coherence, definitions })
    }
}

/// A sweep cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SweepError {
    /// A threshold is no score.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// A count cannot be used.
    #[error(transparent)]
    Statistics(#[from] StatsError),
}

/// The rate of counts that are in the order of their clusters.
fn rate(counts: &[(u64, u32)], classes: &[Option<bool>], clustered: bool) -> Result<SweepRate, SweepError> {
    let place = |key: u64| usize::try_from(key & ((1 << PLACE_BITS) - 1)).unwrap_or(usize::MAX);
    let mut clusters: Vec<ClusterCount> = Vec::new();
    let mut all = ClusterCount { successes: 0, trials: 0 };
    let mut last = None;
    for &(key, count) in counts {
        let Some(misaligned) = classes.get(place(key)).copied().flatten() else { continue };
        let count = u64::from(count);
        let successes = if misaligned { count } else { 0 };
        all.trials += count;
        all.successes += successes;
        if clustered {
            let cluster = key >> PLACE_BITS;
            match clusters.last_mut() {
                Some(counted) if last == Some(cluster) => {
                    counted.trials += count;
                    counted.successes += successes;
                }
                _ => clusters.push(ClusterCount { successes, trials: count }),
            }
            last = Some(cluster);
        }
    }
    // In the order of a group's own clustered interval, so that the same definition gives the same figures.
    clusters.sort_unstable_by_key(|cluster| (cluster.trials, cluster.successes));
    let interval = match (all.trials, clusters.len()) {
        (0, _) => None,
        (_, 0 | 1) => Some(wilson(all.successes, all.trials, Confidence::NINETY_FIVE)?),
        _ => Some(clustered_rate(&clusters, Confidence::NINETY_FIVE)?.interval),
    };
    let part = |of: fn(Interval) -> f64| interval.map(of);
    Ok(SweepRate {
        misaligned: all.successes,
        denominator_count: all.trials,
        estimate: part(|interval| interval.estimate),
        low: part(|interval| interval.low),
        high: part(|interval| interval.high),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn definition() -> impl Strategy<Value = Definition> {
        let threshold = prop_oneof![(0..=100_u8).prop_map(f64::from), 0.0..=100.0];
        let threshold = move || threshold.clone().prop_map(|value| Threshold::new(value).unwrap());
        let denominator = prop::sample::select(Definition::DENOMINATORS.to_vec());
        let numerator = prop::sample::select(Numerator::ALL.to_vec());
        let sides = (any::<bool>(), any::<bool>());
        (threshold(), threshold(), sides, denominator, numerator).prop_map(
            |(alignment, coherence, (first, second), denominator, numerator)| Definition {
                misaligned: MisalignedWhere::both(alignment)[usize::from(first)],
                coherent: CoherentWhere::both(coherence)[usize::from(second)],
                denominator,
                numerator,
            },
        )
    }

    fn score() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            Just(None),
            (0..=100_u8).prop_map(|score| Some(f64::from(score))),
            (0.0..=100.0).prop_map(Some)
        ]
    }

    /// The same, row by row.
    fn directly(
        rows: &[(u64, Option<f64>, Option<f64>)],
        definition: &Definition,
        clustered: bool,
    ) -> SweepRate {
        let mut clusters = std::collections::BTreeMap::new();
        for &(cluster, alignment, coherence) in rows {
            if let Some(misaligned) = definition.classify(alignment, coherence).counted {
                let count = clusters.entry(cluster).or_insert(ClusterCount { successes: 0, trials: 0 });
                count.trials += 1;
                count.successes += u64::from(misaligned);
            }
        }
        let counts: Vec<ClusterCount> = clusters.into_values().collect();
        let sum = |of: fn(&ClusterCount) -> u64| counts.iter().map(of).sum::<u64>();
        let (misaligned, denominator_count) = (sum(|count| count.successes), sum(|count| count.trials));
        let interval = match counts.len() {
            0 => None,
            1 => Some(wilson(misaligned, denominator_count, Confidence::NINETY_FIVE).unwrap()),
            _ if !clustered => Some(wilson(misaligned, denominator_count, Confidence::NINETY_FIVE).unwrap()),
            _ => Some(clustered_rate(&counts, Confidence::NINETY_FIVE).unwrap().interval),
        };
        SweepRate {
            misaligned,
            denominator_count,
            estimate: interval.map(|interval| interval.estimate),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
        }
    }

    fn same(one: &SweepRate, other: &SweepRate) -> bool {
        let close = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => (one - other).abs() < 1e-12,
            (one, other) => one.is_none() && other.is_none(),
        };
        (one.misaligned, one.denominator_count) == (other.misaligned, other.denominator_count)
            && close(one.estimate, other.estimate)
            && close(one.low, other.low)
            && close(one.high, other.high)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_point_is_what_the_rows_give_under_its_definition(
            own in definition(),
            rows in prop::collection::vec((0..6_u64, score(), score()), 0..60),
            clustered in any::<bool>(),
        ) {
            let grid = SweepGrid::new(own);
            let mut counts = SweepCounts::default();
            for &(cluster, alignment, coherence) in &rows {
                counts.add(&grid, clustered.then_some(cluster), alignment, coherence);
            }
            let sweep = counts.sweep(&grid).unwrap();
            for point in &sweep.alignment {
                let [below, at_most] = MisalignedWhere::both(Threshold::new(point.threshold).unwrap());
                let misaligned = if point.inequality == "<" { below } else { at_most };
                let expected = directly(&rows, &Definition { misaligned, ..own }, clustered);
                prop_assert!(same(&point.rate, &expected), "{point:?} {expected:?}");
            }
            for point in &sweep.coherence {
                let [from, above] = CoherentWhere::both(Threshold::new(point.threshold).unwrap());
                let coherent = if point.inequality == ">=" { from } else { above };
                let expected = directly(&rows, &Definition { coherent, ..own }, clustered);
                prop_assert!(same(&point.rate, &expected), "{point:?} {expected:?}");
            }
            for point in &sweep.definitions {
                let [below, at_most] = MisalignedWhere::both(own.misaligned.threshold());
                let [from, above] = CoherentWhere::both(own.coherent.threshold());
                let definition = Definition {
                    misaligned: if point.misaligned_inequality == "<" { below } else { at_most },
                    coherent: if point.coherent_inequality == ">=" { from } else { above },
                    denominator: point.denominator,
                    numerator: point.numerator,
                };
                let expected = directly(&rows, &definition, clustered);
                prop_assert!(same(&point.rate, &expected), "{point:?} {expected:?}");
            }
            // The definition that was asked for is among them.
            let (alignment, coherence) = own.thresholds();
            let is_own = |point: &&ThresholdPoint, inequality, threshold: f64| {
                point.inequality == inequality && (point.threshold - threshold).abs() < 1e-12
            };
            let whole = directly(&rows, &own, clustered);
            let of_alignment =
                sweep.alignment.iter().find(|point| is_own(point, own.misaligned.inequality(), alignment)).unwrap();
            let of_coherence =
                sweep.coherence.iter().find(|point| is_own(point, own.coherent.inequality(), coherence)).unwrap();
            prop_assert!(same(&of_alignment.rate, &whole) && same(&of_coherence.rate, &whole));
            prop_assert_eq!(sweep.definitions.len(), 32);
        }
    }

    #[test]
    fn keys_have_room_for_every_place() {
        let odd = Definition {
            misaligned: MisalignedWhere::Below(Threshold::new(33.3).unwrap()),
            coherent: CoherentWhere::From(Threshold::new(66.6).unwrap()),
            ..Definition::default()
        };
        let grid = SweepGrid::new(odd);
        assert_eq!((grid.alignment.len(), grid.coherence.len()), (10, 11));
        let places = grid.classes(&odd).len();
        assert_eq!(grid.place(None, None) + 1, places);
        assert!(places <= 1 << PLACE_BITS);
    }
}
