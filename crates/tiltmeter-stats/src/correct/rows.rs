//! Judged rows of which some carry a label, and the variance of what is computed from them.

use std::collections::{BTreeMap, BTreeSet};

use crate::confidence::Confidence;
use crate::error::{StatsError, at_least};
use crate::interval::Interval;
use crate::rates::matched_degrees;

/// A person's label and the probability with which its row was chosen for labelling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// What the person said: 0 or 1 for a decision, any finite number for a score.
    pub truth: f64,
    /// The probability with which the row was chosen: above 0, at most 1. Known by design, not estimated.
    pub inclusion: f64,
}

/// One row that a judge scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgedRow {
    /// What the judge said: 0 or 1 for a decision, any finite number for a score.
    pub judged: f64,
    /// The label, if the row was chosen for labelling.
    pub label: Option<Label>,
    /// The cluster, such as the question. Rows of different clusters are independent.
    pub cluster: u64,
}

impl JudgedRow {
    /// `1 / inclusion` of a labelled row, 0 of others.
    pub(super) fn weight(&self) -> f64 {
        self.label.map_or(0.0, |label| 1.0 / label.inclusion)
    }

    /// The label, or 0 of a row without one, whose weight is 0.
    pub(super) fn truth(&self) -> f64 {
        self.label.map_or(0.0, |label| label.truth)
    }
}

/// A corrected mean or rate with an interval that carries the sampling of rows and of labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorrectedMean {
    /// The estimate with its interval; not cut off at 0 and 1.
    pub interval: Interval,
    /// The cluster-robust standard error.
    pub standard_error: f64,
    /// The factor of the judge's scores: 0 uses labels alone, 1 trusts the judge as far as labels allow.
    pub lambda: f64,
    /// The mean of what the judge said, for comparison.
    pub uncorrected: f64,
    /// Rows.
    pub rows: usize,
    /// Labelled rows.
    pub labelled: usize,
    /// Degrees of freedom of the interval's t: clusters with a label, less one, or fewer where a few clusters have
    /// most of the influence.
    pub degrees_of_freedom: f64,
}

/// Checks the rows; the result is the number of labelled ones and of clusters that have any.
pub(super) fn check(rows: &[JudgedRow]) -> Result<(usize, usize), StatsError> {
    let mut clusters = BTreeSet::new();
    let mut labelled = 0;
    for (index, row) in rows.iter().enumerate() {
        if !row.judged.is_finite() {
            return Err(StatsError::NotFiniteAt { what: "the judged rows", index });
        }
        if let Some(Label { truth, inclusion }) = row.label {
            if !truth.is_finite() {
                return Err(StatsError::NotFiniteAt { what: "the labels", index });
            }
            if !(inclusion > 0.0 && inclusion <= 1.0) {
                let (what, range) = ("an inclusion probability", "above 0, up to 1");
                return Err(StatsError::OutOfRange { what, value: inclusion, range });
            }
            labelled += 1;
            clusters.insert(row.cluster);
        }
    }
    at_least("labelled clusters", 2, clusters.len())?;
    Ok((labelled, clusters.len()))
}

/// The sums over clusters of a value of every row and its position, in the order of the clusters.
pub(super) fn cluster_sums(rows: &[JudgedRow], value: impl Fn(usize, &JudgedRow) -> f64) -> Vec<f64> {
    let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        *sums.entry(row.cluster).or_insert(0.0) += value(index, row);
    }
    sums.into_values().collect()
}

/// `G / (G − 1) Σ u_g²` of sums of influence values, which add up to 0.
fn variance(sums: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = sums.len() as f64;
    count / (count - 1.0) * sums.map(|sum| sum * sum).sum::<f64>()
}

/// The interval with its standard error and degrees of freedom: at most the labelled clusters less one, and fewer
/// where a few clusters have most of the influence, as in [`crate::clustered_rate`].
pub(super) fn interval(
    estimate: f64,
    influences: &[f64],
    labelled_clusters: usize,
    confidence: Confidence,
) -> (Interval, f64, f64) {
    let standard_error = variance(influences.iter().copied()).sqrt();
    let matched = matched_degrees(influences.iter().copied());
    let degrees_of_freedom = matched.min(labelled_clusters as f64 - 1.0);
    let t = confidence.t_quantile_real(degrees_of_freedom);
    (Interval::symmetric(estimate, standard_error, t), standard_error, degrees_of_freedom)
}
