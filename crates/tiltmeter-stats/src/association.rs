//! Statistics of rows that come in clusters, such as samples by question: any statistic with a bootstrap interval over
//! clusters, and the correlation within and across strata.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bootstrap::{BootstrapSettings, expansion, index, quantile};
use crate::error::StatsError;
use crate::interval::Interval;

/// One row of two measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Index of the cluster, such as the question.
    pub cluster: u32,
    /// Index of the stratum, such as the value of k.
    pub stratum: u32,
    /// The first measure.
    pub x: f64,
    /// The second measure.
    pub y: f64,
}

/// What of the two measures is correlated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strata {
    /// The rows as they are, all together.
    Pooled,
    /// What is left of the rows when the mean of their stratum is taken away.
    Within,
    /// What is left when what their stratum and what their cluster add are taken away: the residuals of a regression on
    /// both as factors, as of two-way fixed effects. Where clusters differ by more than what is looked for, such as
    /// questions do, this alone is free of it.
    WithinBoth,
    /// The means of the strata.
    Across,
}

/// A correlation with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// Pearson's r.
    pub estimate: f64,
    /// The lower end; `None` with fewer than three clusters.
    pub low: Option<f64>,
    /// The upper end; `None` with fewer than three clusters.
    pub high: Option<f64>,
    /// Rows, or strata where their means are correlated.
    pub observations: usize,
    /// Clusters.
    pub clusters: usize,
}

/// Rows by cluster, in the order of the clusters.
fn by_cluster(clusters: &[u32]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (row, &cluster) in clusters.iter().enumerate() {
        groups.entry(cluster).or_default().push(row);
    }
    groups.into_values().collect()
}

/// Any statistic of rows, with the percentile bootstrap interval over clusters, stretched for few clusters as that of
/// [`crate::bootstrap_mean`]. `statistic` is given rows, repeated where their cluster was drawn repeatedly; it gives
/// `None` where the rows do not define it. `None` where all rows do not define it; no ends with fewer than three
/// clusters, or where more than a tenth of the resamples do not define it.
///
/// # Errors
/// [`StatsError::NoResamples`].
pub fn clustered_statistic(
    clusters: &[u32],
    settings: &BootstrapSettings,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Result<Option<(f64, Option<Interval>)>, StatsError> {
    if settings.resamples == 0 {
        return Err(StatsError::NoResamples);
    }
    let groups = by_cluster(clusters);
    let all: Vec<usize> = groups.iter().flatten().copied().collect();
    let Some(estimate) = statistic(&all) else { return Ok(None) };
    if groups.len() < 3 {
        return Ok(Some((estimate, None)));
    }
    let mut generator = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut values = Vec::with_capacity(settings.resamples as usize);
    let mut rows = Vec::with_capacity(all.len());
    for _ in 0..settings.resamples {
        rows.clear();
        for _ in 0..groups.len() {
            rows.extend_from_slice(&groups[index(&mut generator, groups.len())]);
        }
        values.extend(statistic(&rows));
    }
    if values.len() * 10 < settings.resamples as usize * 9 {
        return Ok(Some((estimate, None)));
    }
    values.sort_by(f64::total_cmp);
    let expansion = expansion(groups.len(), settings.confidence);
    let tail = settings.confidence.tail();
    let below = (estimate - quantile(&values, tail)).max(0.0) * expansion;
    let above = (quantile(&values, 1.0 - tail) - estimate).max(0.0) * expansion;
    Ok(Some((estimate, Some(Interval { estimate, low: estimate - below, high: estimate + above }))))
}

/// Pearson's correlation with an interval over clusters. `None` where a measure does not vary.
///
/// # Errors
/// [`StatsError::NotFiniteAt`] for a measure that is not finite; [`StatsError::NoResamples`].
pub fn correlation(
    rows: &[Observation],
    strata: Strata,
    settings: &BootstrapSettings,
) -> Result<Option<Correlation>, StatsError> {
    let xs: Vec<f64> = rows.iter().map(|row| row.x).collect();
    let ys: Vec<f64> = rows.iter().map(|row| row.y).collect();
    crate::error::all_finite("the first measure", &xs)?;
    crate::error::all_finite("the second measure", &ys)?;
    let clusters: Vec<u32> = rows.iter().map(|row| row.cluster).collect();
    let of = |chosen: &[usize]| of_strata(chosen.iter().map(|&row| rows[row]), strata);
    let Some((estimate, interval)) = clustered_statistic(&clusters, settings, of)? else { return Ok(None) };
    let count = |of: &dyn Fn(&Observation) -> u32| {
        rows.iter().map(of).collect::<std::collections::BTreeSet<u32>>().len()
    };
    let interval = interval.map(|interval| interval.clamped(-1.0, 1.0));
    Ok(Some(Correlation {
        estimate,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        observations: if strata == Strata::Across { count(&|row| row.stratum) } else { rows.len() },
        clusters: count(&|row| row.cluster),
    }))
}

/// Rounds of taking means away; the deviations shrink by a constant factor with each, at once where every cluster is in
/// every stratum equally often.
const MOST_ROUNDS: usize = 200;

fn of_strata(rows: impl Iterator<Item = Observation>, strata: Strata) -> Option<f64> {
    let rows: Vec<Observation> = rows.collect();
    let mut points: Vec<(f64, f64)> = rows.iter().map(|row| (row.x, row.y)).collect();
    let by = |of: fn(&Observation) -> u32| by_cluster(&rows.iter().map(of).collect::<Vec<_>>());
    match strata {
        Strata::Pooled => return pearson(&points),
        Strata::Across => {
            let means: Vec<_> = by(|row| row.stratum).iter().map(|group| mean(group, &points)).collect();
            return pearson(&means);
        }
        Strata::Within => {
            take_means(&by(|row| row.stratum), &mut points);
        }
        Strata::WithinBoth => {
            let (strata, clusters) = (by(|row| row.stratum), by(|row| row.cluster));
            let sizes = sizes(rows.iter().map(|row| (row.x, row.y)));
            for _ in 0..MOST_ROUNDS {
                take_means(&strata, &mut points);
                let moved = take_means(&clusters, &mut points);
                if moved.0 <= 1e-12 * sizes.0 && moved.1 <= 1e-12 * sizes.1 {
                    break;
                }
            }
        }
    }
    correlated(&points, sizes(rows.iter().map(|row| (row.x, row.y))))
}

/// The mean of some of the points.
fn mean(group: &[usize], points: &[(f64, f64)]) -> (f64, f64) {
    let count = group.len() as f64;
    let sum = group.iter().fold((0.0, 0.0), |sum, &row| (sum.0 + points[row].0, sum.1 + points[row].1));
    (sum.0 / count, sum.1 / count)
}

/// Takes the mean of each group away, and gives the largest one in size, of either measure.
fn take_means(groups: &[Vec<usize>], points: &mut [(f64, f64)]) -> (f64, f64) {
    let mut largest = (0.0_f64, 0.0_f64);
    for group in groups {
        let (x, y) = mean(group, points);
        largest = (largest.0.max(x.abs()), largest.1.max(y.abs()));
        for &row in group {
            points[row].0 -= x;
            points[row].1 -= y;
        }
    }
    largest
}

/// The root mean square of either measure.
fn sizes(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let (mut count, mut squares) = (0.0, (0.0, 0.0));
    for (x, y) in points {
        count += 1.0;
        squares = (squares.0 + x * x, squares.1 + y * y);
    }
    ((squares.0 / f64::max(count, 1.0)).sqrt(), (squares.1 / f64::max(count, 1.0)).sqrt())
}

/// Pearson's product-moment correlation; `None` with fewer than three points, or where one measure does not vary.
pub fn pearson(points: &[(f64, f64)]) -> Option<f64> {
    correlated(points, sizes(points.iter().copied()))
}

/// Pearson's correlation of what was computed from measures of these sizes: what rounding leaves of them is no variation.
fn correlated(points: &[(f64, f64)], sizes: (f64, f64)) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (x, y) = (x / count, y / count);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for point in points {
        let (dx, dy) = (point.0 - x, point.1 - y);
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    let rounding = |size: f64| 1e-24 * count * size * size;
    (xx > rounding(sizes.0) && yy > rounding(sizes.1)).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// Kendall's rank correlation τ-b (Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945) 239–251):
/// pairs in the same order minus pairs turned round, over those that are tied in neither measure on average; `None` with
/// fewer than three points, or where one measure does not vary.
pub fn kendall(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let (mut difference, mut x_untied, mut y_untied) = (0.0, 0.0, 0.0);
    for (index, one) in points.iter().enumerate() {
        for other in &points[..index] {
            let sign =
                |one: f64, other: f64| one.partial_cmp(&other).map_or(0.0, |order| f64::from(order as i8));
            let (x, y) = (sign(one.0, other.0), sign(one.1, other.1));
            difference += x * y;
            x_untied += x * x;
            y_untied += y * y;
        }
    }
    (x_untied > 0.0 && y_untied > 0.0).then(|| difference / (x_untied * y_untied).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cluster: u32, stratum: u32, x: f64, y: f64) -> Observation {
        Observation { cluster, stratum, x, y }
    }

    fn of(rows: &[Observation], strata: Strata) -> Option<f64> {
        let settings = BootstrapSettings { resamples: 200, ..BootstrapSettings::default() };
        correlation(rows, strata, &settings).unwrap().map(|found| found.estimate)
    }

    #[test]
    fn kendall_is_that_of_scipy() {
        // scipy.stats.kendalltau(x, y).statistic, SciPy 1.14
        let of = |x: [f64; 5], y: [f64; 5]| kendall(&x.into_iter().zip(y).collect::<Vec<_>>());
        let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
        assert!(close(of([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 2.0, 5.0, 4.0]), 0.6));
        assert!(close(of([12.0, 2.0, 1.0, 12.0, 2.0], [1.0, 4.0, 7.0, 1.0, 0.0]), -0.471_404_520_791_031_7));
        assert!(close(of([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0]), -1.0));
        assert_eq!(of([1.0; 5], [5.0, 4.0, 3.0, 2.0, 1.0]), None);
        assert_eq!(kendall(&[(1.0, 2.0), (2.0, 3.0)]), None);
    }

    #[test]
    fn pearson_is_that_of_scipy() {
        // scipy.stats.pearsonr([1, 2, 3, 4, 5], [2.1, 3.9, 6.2, 7.8, 10.1]).statistic, SciPy 1.14
        let rows: Vec<Observation> = [2.1, 3.9, 6.2, 7.8, 10.1]
            .into_iter()
            .enumerate()
            .map(|(place, y)| row(u32::try_from(place).unwrap(), 0, place as f64 + 1.0, y))
            .collect();
        assert!((of(&rows, Strata::Pooled).unwrap() - 0.998_651_8).abs() < 1e-6);
        assert_eq!(of(&rows[..2], Strata::Pooled), None);
        let flat: Vec<Observation> = rows.iter().map(|row| Observation { y: 0.1, ..*row }).collect();
        assert_eq!(of(&flat, Strata::Pooled), None);
    }

    /// Within each stratum y falls with x, while the strata's means rise together (Simpson's paradox).
    #[test]
    fn within_and_across_may_differ() {
        let mut rows = Vec::new();
        for stratum in 0..4_u32 {
            for cluster in 0..6_u32 {
                let (s, c) = (f64::from(stratum), f64::from(cluster));
                rows.push(row(cluster, stratum, 10.0 * s + c, 10.0 * s - c));
            }
        }
        assert!((of(&rows, Strata::Within).unwrap() + 1.0).abs() < 1e-9);
        assert!((of(&rows, Strata::Across).unwrap() - 1.0).abs() < 1e-9);
        let pooled = of(&rows, Strata::Pooled).unwrap();
        assert!(pooled > 0.9 && pooled < 1.0, "{pooled}");
    }

    /// What clusters add to both measures makes them all but one; the rest of either goes little along with the other.
    #[test]
    fn what_clusters_add_to_both_is_no_association() {
        let mut rows = Vec::new();
        for stratum in 0..4_u32 {
            for cluster in 0..6_u32 {
                // Not every cluster is in every stratum, as questions of the demonstrations' own domain are not.
                if (cluster + stratum) % 5 == 0 {
                    continue;
                }
                let (s, c) = (f64::from(stratum), f64::from(cluster));
                let noise = f64::from((7 * stratum + 3 * cluster) % 5) - 2.0;
                let other = f64::from((3 * stratum * stratum + cluster * cluster) % 7) - 3.0;
                rows.push(row(cluster, stratum, 50.0 * c + 20.0 * s + noise, -40.0 * c + 9.0 * s + other));
            }
        }
        let within = of(&rows, Strata::Within).unwrap();
        assert!(within < -0.99, "{within}");
        let both = of(&rows, Strata::WithinBoth).unwrap();
        // numpy.linalg.lstsq on indicators of stratum and cluster, numpy.corrcoef of the residuals.
        assert!((both + 0.443_202_630_213_956_4).abs() < 1e-9, "{both}");
        let along: Vec<Observation> = rows
            .iter()
            .map(|row| Observation {
                y: row.y + 3.0 * f64::from((7 * row.stratum + 3 * row.cluster) % 5),
                ..*row
            })
            .collect();
        assert!(of(&along, Strata::WithinBoth).unwrap() > 0.8);
        // Sums of what stratum and cluster add leave nothing.
        let sums: Vec<Observation> = rows
            .iter()
            .map(|row| Observation { x: 0.1 * f64::from(row.cluster) + 0.3 * f64::from(row.stratum), ..*row })
            .collect();
        assert_eq!(of(&sums, Strata::WithinBoth), None);
        // Nor does what rounding leaves of a constant within strata.
        let flat: Vec<Observation> =
            rows.iter().map(|row| Observation { x: 0.1 * f64::from(row.stratum), ..*row }).collect();
        assert_eq!(of(&flat, Strata::Within), None);
    }

    #[test]
    fn the_interval_is_over_clusters() {
        // Twenty copies of each row are no more information than one.
        let once: Vec<Observation> = (0..8_u32)
            .map(|cluster| row(cluster, 0, f64::from(cluster), f64::from(cluster * 7 % 8)))
            .collect();
        let often: Vec<Observation> = once.iter().flat_map(|row| [*row; 20]).collect();
        let settings = BootstrapSettings { resamples: 2000, ..BootstrapSettings::default() };
        let width = |rows: &[Observation]| {
            let found = correlation(rows, Strata::Pooled, &settings).unwrap().unwrap();
            (found.estimate, found.high.unwrap() - found.low.unwrap(), found.clusters)
        };
        let (a, b) = (width(&once), width(&often));
        assert!((a.0 - b.0).abs() < 1e-12 && (a.1 - b.1).abs() < 1e-9 && a.2 == b.2, "{a:?} {b:?}");
        assert!(a.1 > 0.3, "{a:?}");
        // Of three clusters, one resample in nine draws the same one each time, which does not vary.
        let three = correlation(&once[..3], Strata::Pooled, &settings).unwrap().unwrap();
        assert_eq!(three.low, None);
        assert!(correlation(&[row(0, 0, f64::NAN, 0.0)], Strata::Pooled, &settings).is_err());
    }

    #[test]
    fn any_statistic_may_be_undefined_at_times() {
        let clusters = [0, 0, 1, 2, 3];
        let settings = BootstrapSettings { resamples: 500, ..BootstrapSettings::default() };
        let share =
            |rows: &[usize]| Some(rows.iter().filter(|row| **row < 2).count() as f64 / rows.len() as f64);
        let (estimate, interval) = clustered_statistic(&clusters, &settings, share).unwrap().unwrap();
        let interval = interval.unwrap();
        assert!((estimate - 0.4).abs() < 1e-12 && interval.low < 0.4 && interval.high > 0.4);
        // Defined only where the first cluster is drawn, which a third of resamples lack.
        let rare = |rows: &[usize]| rows.contains(&0).then_some(1.0);
        assert_eq!(clustered_statistic(&clusters, &settings, rare).unwrap(), Some((1.0, None)));
        assert_eq!(clustered_statistic(&clusters, &settings, |_| None).unwrap(), None);
    }

    /// With three clusters the lowest of all resamples is drawn with probability 1/27 > 0.025, so that both
    /// percentiles are known: the lowest and the highest cluster.
    #[test]
    fn the_interval_of_three_clusters_is_known() {
        let values = [1.0, 2.0, 6.0];
        let mean =
            |rows: &[usize]| Some(rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64);
        let settings = BootstrapSettings::default();
        let (estimate, interval) = clustered_statistic(&[0, 1, 2], &settings, mean).unwrap().unwrap();
        let interval = interval.unwrap();
        // √(3/2) · t / z, the quantiles by `scipy.stats`.
        let expansion = 1.5_f64.sqrt() * 4.302_652_729_749_464 / 1.959_963_984_540_054;
        assert!((estimate - 3.0).abs() < 1e-12);
        assert!((interval.low - (3.0 - 2.0 * expansion)).abs() < 1e-9, "{interval:?}");
        assert!((interval.high - (3.0 + 3.0 * expansion)).abs() < 1e-9, "{interval:?}");
        assert_eq!(clustered_statistic(&[0, 1, 1], &settings, mean).unwrap().unwrap().1, None);
    }

    #[test]
    fn a_tenth_of_the_resamples_may_be_undefined_but_not_more() {
        let settings = BootstrapSettings { resamples: 100, ..BootstrapSettings::default() };
        for (undefined, has_ends) in [(10, true), (11, false)] {
            // The first call is for all rows.
            let calls = std::cell::Cell::new(0);
            let statistic = |_: &[usize]| {
                calls.set(calls.get() + 1);
                (calls.get() == 1 || calls.get() > 1 + undefined).then_some(1.0)
            };
            let (_, interval) = clustered_statistic(&[0, 1, 2], &settings, statistic).unwrap().unwrap();
            assert_eq!(interval.is_some(), has_ends, "{undefined}");
        }
    }

    #[test]
    fn correlations_have_no_unit_and_count_what_they_correlate() {
        let settings = BootstrapSettings { resamples: 100, ..BootstrapSettings::default() };
        let rows: Vec<Observation> =
            (0..12_u32).map(|at| row(at % 6, at / 4, f64::from(at * at), f64::from(at * 5 % 12))).collect();
        let found = |rows: &[Observation], strata| correlation(rows, strata, &settings).unwrap();
        let pooled = found(&rows, Strata::Pooled).unwrap();
        let tiny: Vec<Observation> =
            rows.iter().map(|row| Observation { x: row.x * 1e-18, y: row.y * 1e-18, ..*row }).collect();
        let scaled = found(&tiny, Strata::Pooled).unwrap();
        assert!((scaled.estimate - pooled.estimate).abs() < 1e-9, "{scaled:?} {pooled:?}");
        assert_eq!((pooled.observations, pooled.clusters), (12, 6));
        assert_eq!(found(&rows, Strata::Within).unwrap().observations, 12);
        assert_eq!(found(&rows, Strata::Across).unwrap().observations, 3);
        // Nothing but zeros does not vary.
        let flat = |x: f64, y: f64| -> Vec<Observation> {
            rows.iter().map(|row| Observation { x: x * row.x, y: y * row.y, ..*row }).collect()
        };
        assert_eq!(found(&flat(0.0, 1.0), Strata::Pooled), None);
        assert_eq!(found(&flat(1.0, 0.0), Strata::Pooled), None);
        // What rounding adds to the mean of many rows is no variation either.
        for count in [1000_u32, 3000, 10_000] {
            let many: Vec<Observation> = (0..count).map(|at| row(at % 2, 0, f64::from(at), 0.1)).collect();
            assert_eq!(found(&many, Strata::Pooled), None, "{count}");
        }
    }
}
