//! The jackknife over clusters, for statistics that have no interval of their own.
//!
//! With `θ` of all rows and `θ₋g` of all but those of group g, the variance is `(G − 1) / G · Σ (θ₋g − θ)²` (Efron,
//! *The Jackknife, the Bootstrap and Other Resampling Plans*, 1982, chapter 3, about the estimate rather than the mean
//! of the replicates, which is never smaller), and the interval Student's t with G − 1 degrees of freedom. Beyond
//! [`MOST_GROUPS`] clusters several make a group, each into the group of its number modulo that of groups (Kott, "The
//! delete-a-group jackknife", Journal of Official Statistics 17 (2001) 521–526), so that the work stays within bounds.

use std::collections::BTreeMap;

use crate::confidence::Confidence;
use crate::interval::Interval;

/// The most groups that are left out in turn.
pub const MOST_GROUPS: usize = 200;

/// Replicates that differ by less do so by rounding.
const ROUNDING: f64 = 1e-12;

/// On which scale the statistic is closest to normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JackknifeScale {
    /// Its own.
    Plain,
    /// Fisher's z, `artanh`, for correlations; the interval stays between −1 and 1.
    Fisher,
}

/// A statistic with its jackknifed interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jackknifed {
    /// Of all rows.
    pub estimate: f64,
    /// `None` with fewer than three groups, or where leaving one out leaves the statistic undefined.
    pub interval: Option<Interval>,
    /// Groups that were left out in turn.
    pub groups: usize,
}

/// Any statistic of rows that come in clusters, with its interval. `statistic` is given the rows to use, in order, and
/// says `None` where they do not define it. `None` where all rows do not define it.
pub fn jackknife(
    clusters: &[u32],
    scale: JackknifeScale,
    confidence: Confidence,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<Jackknifed> {
    let mut numbers: BTreeMap<u32, usize> = clusters.iter().map(|&cluster| (cluster, 0)).collect();
    for (number, place) in numbers.values_mut().enumerate() {
        *place = number % MOST_GROUPS;
    }
    let groups = numbers.len().min(MOST_GROUPS);
    let group_of: Vec<usize> =
        clusters.iter().map(|cluster| numbers.get(cluster).copied().unwrap_or(0)).collect();
    let mut rows: Vec<usize> = (0..clusters.len()).collect();
    let estimate = statistic(&rows)?;
    let without = |group: usize, rows: &mut Vec<usize>| {
        rows.clear();
        rows.extend((0..clusters.len()).filter(|&row| group_of[row] != group));
        statistic(rows)
    };
    let interval = if groups < 3 {
        None
    } else {
        let replicates: Option<Vec<f64>> = (0..groups).map(|group| without(group, &mut rows)).collect();
        replicates.and_then(|replicates| interval(estimate, &replicates, scale, confidence))
    };
    Some(Jackknifed { estimate, interval, groups })
}

fn interval(
    estimate: f64,
    replicates: &[f64],
    scale: JackknifeScale,
    confidence: Confidence,
) -> Option<Interval> {
    if replicates.iter().all(|replicate| (replicate - estimate).abs() < ROUNDING) {
        return Some(Interval { estimate, low: estimate, high: estimate });
    }
    let onto = |value: f64| match scale {
        JackknifeScale::Plain => value,
        JackknifeScale::Fisher => value.atanh(),
    };
    let count = replicates.len() as f64;
    let centre = onto(estimate);
    let squares: f64 = replicates.iter().map(|&replicate| (onto(replicate) - centre).powi(2)).sum();
    let standard_error = ((count - 1.0) / count * squares).sqrt();
    let t = confidence.t_quantile(replicates.len() as u64 - 1);
    let interval = Interval::symmetric(centre, standard_error, t);
    // Perfect correlation has no end on Fisher's scale.
    if !(interval.low.is_finite() && interval.high.is_finite()) {
        return None;
    }
    Some(match scale {
        JackknifeScale::Plain => interval,
        JackknifeScale::Fisher => Interval { estimate, ..interval.map(f64::tanh) },
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const LEVEL: Confidence = Confidence::NINETY_FIVE;

    fn mean(values: &[f64]) -> impl Fn(&[usize]) -> Option<f64> {
        |rows| {
            let sum: f64 = rows.iter().map(|&row| values[row]).sum();
            (!rows.is_empty()).then(|| sum / rows.len() as f64)
        }
    }

    /// Of a mean of independent rows the jackknife gives the textbook's standard error, so Student's interval.
    #[test]
    fn of_a_mean_it_is_student_s_interval() {
        let values = [3.0, 5.0, 4.0, 8.0, 1.0];
        let found = jackknife(&[0, 1, 2, 3, 4], JackknifeScale::Plain, LEVEL, mean(&values)).unwrap();
        let interval = found.interval.unwrap();
        // Mean 4.2, variance (1.44 + 0.64 + 0.04 + 14.44 + 10.24) / 4 = 6.7, t with 4 degrees of freedom 2.776445.
        let half = 2.776_445_105 * (6.7_f64 / 5.0).sqrt();
        assert!((interval.estimate - 4.2).abs() < 1e-12 && (interval.half_width() - half).abs() < 1e-8);
    }

    #[test]
    fn rows_of_a_cluster_leave_together() {
        let values: Vec<f64> = [3.0, 5.0, 4.0, 8.0].into_iter().flat_map(|value| [value; 6]).collect();
        let clusters: Vec<u32> = (0..4).flat_map(|cluster| [cluster * 7; 6]).collect();
        let often = jackknife(&clusters, JackknifeScale::Plain, LEVEL, mean(&values)).unwrap();
        let once =
            jackknife(&[0, 1, 2, 3], JackknifeScale::Plain, LEVEL, mean(&[3.0, 5.0, 4.0, 8.0])).unwrap();
        assert!((often.interval.unwrap().width() - once.interval.unwrap().width()).abs() < 1e-12);
        assert_eq!(often.groups, 4);
        let two = jackknife(&[0, 1], JackknifeScale::Plain, LEVEL, mean(&[1.0, 2.0])).unwrap();
        assert_eq!((two.estimate.to_bits(), two.interval), (1.5_f64.to_bits(), None));
        assert_eq!(jackknife(&[], JackknifeScale::Plain, LEVEL, mean(&[])), None);
    }

    #[test]
    fn many_clusters_are_left_out_in_groups() {
        // Independent draws: values that repeat with the groups' own period would lie evenly within each.
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        let values: Vec<f64> = (0..1000).map(|_| generator.random::<f64>()).collect();
        let clusters: Vec<u32> = (0..1000).collect();
        let found = jackknife(&clusters, JackknifeScale::Plain, LEVEL, mean(&values)).unwrap();
        assert_eq!(found.groups, MOST_GROUPS);
        // Uniform from 0 to 1: variance 1/12 of each, 1.96 standard errors of the mean. The error that 200 groups tell is right
        // to 5 % (one standard deviation).
        let half = 1.96 * (1.0_f64 / 12.0 / 1000.0).sqrt();
        let ratio = found.interval.unwrap().half_width() / half;
        assert!((0.85..1.15).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_replicate_that_is_not_defined_leaves_no_interval() {
        let rare = |rows: &[usize]| rows.contains(&0).then_some(1.0);
        let found = jackknife(&[0, 1, 2, 3], JackknifeScale::Plain, LEVEL, rare).unwrap();
        assert_eq!((found.estimate.to_bits(), found.interval), (1.0_f64.to_bits(), None));
        // What never moves has an interval of one point, also where Fisher's scale has no number for it.
        let one = jackknife(&[0, 1, 2], JackknifeScale::Fisher, LEVEL, |_| Some(1.0)).unwrap();
        assert_eq!(one.interval.unwrap().width().to_bits(), 0);
        let moves = |rows: &[usize]| Some(if rows.len() == 3 { 1.0 } else { 0.5 });
        assert_eq!(jackknife(&[0, 1, 2], JackknifeScale::Fisher, LEVEL, moves).unwrap().interval, None);
    }
}
