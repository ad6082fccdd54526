//! Prediction-powered means: many judged rows, few labelled ones.

use crate::confidence::Confidence;
use crate::error::{StatsError, all_finite, at_least, positive};
use crate::interval::Interval;

use super::rows::{CorrectedMean, JudgedRow, check, cluster_sums, interval};

/// How far the judge is trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tuning {
    /// λ = 1: the original prediction-powered estimate (Angelopoulos et al., "Prediction-powered inference",
    /// Science 382 (2023) 669–674).
    Full,
    /// The λ between 0 and 1 that makes the estimated variance smallest (Angelopoulos, Duchi & Zrnic, "PPI++:
    /// efficient prediction-powered inference", 2023). Never much worse than the labels alone.
    Tuned,
    /// A given λ.
    Fixed(f64),
}

/// A row that a judge and a person scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labelled {
    /// The person's score.
    pub truth: f64,
    /// The judge's.
    pub judged: f64,
    /// A positive weight, such as the inverse of the inclusion probability; only ratios matter.
    pub weight: f64,
}

/// A row that only a judge scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unlabelled {
    /// The judge's score.
    pub judged: f64,
    /// A positive weight; only ratios matter.
    pub weight: f64,
}

/// A prediction-powered mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PpiMean {
    /// The mean with its normal interval.
    pub interval: Interval,
    /// The standard error, from labelled and unlabelled rows.
    pub standard_error: f64,
    /// The factor of the judge's scores.
    pub lambda: f64,
}

/// The prediction-powered mean of two separate samples: `λ Σ f(unlabelled) / N + Σ (y − λ f) / n`, with weights
/// normalised to a mean of 1. Rows are taken as independent and their number as large; for a labelled subset of
/// clustered rows use [`corrected_mean`].
///
/// # Errors
/// [`StatsError::TooFew`] with fewer than two rows of either kind; [`StatsError::NotFiniteAt`];
/// [`StatsError::OutOfRange`] for a weight that is not positive or a λ that is not finite.
pub fn ppi_mean(
    labelled: &[Labelled],
    unlabelled: &[Unlabelled],
    tuning: Tuning,
    confidence: Confidence,
) -> Result<PpiMean, StatsError> {
    at_least("labelled rows", 2, labelled.len())?;
    at_least("unlabelled rows", 2, unlabelled.len())?;
    let weights = normalised(labelled.iter().map(|row| row.weight))?;
    let other_weights = normalised(unlabelled.iter().map(|row| row.weight))?;
    let column = |values: Vec<f64>, what| all_finite(what, &values).map(|()| values);
    let truths = column(labelled.iter().map(|row| row.truth).collect(), "the labels")?;
    let judged = column(labelled.iter().map(|row| row.judged).collect(), "the labelled rows")?;
    let others = column(unlabelled.iter().map(|row| row.judged).collect(), "the unlabelled rows")?;
    let (n, m) = (truths.len() as f64, others.len() as f64);

    let others_weighted: Vec<f64> = others.iter().zip(&other_weights).map(|(f, w)| f * w).collect();
    let rectified = |lambda: f64| -> Vec<f64> {
        truths.iter().zip(&judged).zip(&weights).map(|((y, f), w)| w * (y - lambda * f)).collect()
    };
    let lambda = match tuning {
        Tuning::Full => 1.0,
        Tuning::Fixed(lambda) => {
            all_finite("lambda", &[lambda])?;
            lambda
        }
        Tuning::Tuned => {
            let centre = mean(&others_weighted) + mean(&rectified(1.0));
            let centred = |values: &[f64], weights: &[f64]| -> Vec<f64> {
                values.iter().zip(weights).map(|(value, w)| w * (value - centre)).collect()
            };
            let of_truths = centred(&truths, &weights);
            let of_judged = centred(&judged, &weights);
            let covariance = covariance(&of_truths, &of_judged);
            let mut all = of_judged;
            all.extend(centred(&others, &other_weights));
            let spread = covariance_of_self(&all) * all.len() as f64 / (all.len() as f64 - 1.0);
            if spread > 0.0 { (covariance / ((1.0 + n / m) * spread)).clamp(0.0, 1.0) } else { 0.0 }
        }
    };
    let rectified = rectified(lambda);
    let estimate = lambda * mean(&others_weighted) + mean(&rectified);
    let variance =
        lambda * lambda * covariance_of_self(&others_weighted) / m + covariance_of_self(&rectified) / n;
    let standard_error = variance.sqrt();
    let interval = Interval::symmetric(estimate, standard_error, confidence.normal_quantile());
    Ok(PpiMean { interval, standard_error, lambda })
}

/// The mean over all rows of what people would have said, from the labels of some: the judge's mean, less the
/// judge's error as the labelled rows show it, each weighted by the inverse of its inclusion probability and the
/// weights normalised (Hájek, in *Foundations of Statistical Inference*, 1971; Horvitz & Thompson, "A generalization
/// of sampling without replacement from a finite universe", JASA 47 (1952) 663–685). With λ:
/// `θ = λ mean(f) + Σ w (y − λ f) / Σ w`.
///
/// The variance is the linearised one over clusters with `G / (G − 1)`, the interval's t has at most the
/// number of clusters with a label, less one, degrees of freedom.
///
/// # Errors
/// [`StatsError::TooFew`] with labels in fewer than two clusters; [`StatsError::NotFiniteAt`];
/// [`StatsError::OutOfRange`] for an inclusion probability outside its range.
pub fn corrected_mean(
    rows: &[JudgedRow],
    tuning: Tuning,
    confidence: Confidence,
) -> Result<CorrectedMean, StatsError> {
    let (labelled, labelled_clusters) = check(rows)?;
    let n = rows.len() as f64;
    let total: f64 = rows.iter().map(JudgedRow::weight).sum();
    let judged_mean = rows.iter().map(|row| row.judged).sum::<f64>() / n;
    let weighted = |value: &dyn Fn(&JudgedRow) -> f64| {
        rows.iter().map(|row| row.weight() * value(row)).sum::<f64>() / total
    };
    let truth_mean = weighted(&JudgedRow::truth);
    let labelled_judged_mean = weighted(&|row| row.judged);
    // The influence of a cluster is a + λ b.
    let of_truth = cluster_sums(rows, |_, row| row.weight() / total * (row.truth() - truth_mean));
    let of_judge = cluster_sums(rows, |_, row| {
        (row.judged - judged_mean) / n - row.weight() / total * (row.judged - labelled_judged_mean)
    });
    let lambda = match tuning {
        Tuning::Full => 1.0,
        Tuning::Fixed(lambda) => {
            all_finite("lambda", &[lambda])?;
            lambda
        }
        Tuning::Tuned => {
            let product: f64 = of_truth.iter().zip(&of_judge).map(|(a, b)| a * b).sum();
            let squares: f64 = of_judge.iter().map(|b| b * b).sum();
            if squares > 0.0 { (-product / squares).clamp(0.0, 1.0) } else { 0.0 }
        }
    };
    let estimate = truth_mean + lambda * (judged_mean - labelled_judged_mean);
    let influences: Vec<f64> = of_truth.iter().zip(&of_judge).map(|(a, b)| a + lambda * b).collect();
    let (interval, standard_error, degrees_of_freedom) =
        interval(estimate, &influences, labelled_clusters, confidence);
    Ok(CorrectedMean {
        interval,
        standard_error,
        lambda,
        uncorrected: judged_mean,
        rows: rows.len(),
        labelled,
        degrees_of_freedom,
    })
}

/// The weights divided by their mean.
fn normalised(weights: impl Iterator<Item = f64>) -> Result<Vec<f64>, StatsError> {
    let weights: Vec<f64> = weights.collect();
    for &weight in &weights {
        positive("a weight", weight)?;
    }
    let mean = mean(&weights);
    Ok(weights.iter().map(|weight| weight / mean).collect())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The covariance divided by the number of values, as the method's authors do.
fn covariance(first: &[f64], second: &[f64]) -> f64 {
    let (of_first, of_second) = (mean(first), mean(second));
    let products: f64 = first.iter().zip(second).map(|(a, b)| (a - of_first) * (b - of_second)).sum();
    products / first.len() as f64
}

fn covariance_of_self(values: &[f64]) -> f64 {
    covariance(values, values)
}
