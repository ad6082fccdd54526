//! Logistic regression of grouped binomial counts, with errors that allow for clusters.

use nalgebra::{DMatrix, DVector};

use crate::confidence::Confidence;
use crate::error::{StatsError, all_finite, at_least, same_length};
use crate::interval::Interval;
use crate::special::t_two_sided;

use super::firth;
use super::matrix::{expit, inverse, roots_of_diagonal, softplus};
use super::robust::{Robust, robust};

/// Newton's steps; some ten are usual.
pub(super) const STEPS: u32 = 100;
/// A linear predictor beyond this means a probability that no experiment can tell from 0 or 1.
const SEPARATED: f64 = 25.0;

/// The covariate in which rates of this field are close to straight on the logit scale: `log₂(1 + k)`.
pub fn shots_covariate(shots: u64) -> f64 {
    (shots as f64).ln_1p() / std::f64::consts::LN_2
}

/// Trials with the same covariates, in one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct LogisticRow {
    /// Successes among the trials.
    pub successes: u64,
    /// Their number.
    pub trials: u64,
    /// Covariates, without the constant, which every model has.
    pub covariates: Vec<f64>,
    /// The cluster, such as the question.
    pub cluster: u64,
}

/// Whether the likelihood is penalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// Maximum likelihood; refused where covariates separate successes from failures.
    None,
    /// Jeffreys' prior as penalty: finite estimates also where they are separated (Firth, "Bias reduction of maximum
    /// likelihood estimates", Biometrika 80 (1993) 27–38; Heinze & Schemper, "A solution to the problem of separation
    /// in logistic regression", Statistics in Medicine 21 (2002) 2409–2419).
    Firth,
    /// [`Penalty::Firth`] if the plain fit is refused as separated.
    FirthIfSeparated,
}

/// One coefficient, on the logit scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficient {
    /// The estimate with its interval: by CR2 and t with Bell and `McCaffrey`'s degrees of freedom.
    pub interval: Interval,
    /// The standard error if all trials were independent.
    pub model_error: f64,
    /// The cluster-robust standard error with the factor `G / (G − 1) · (n − 1) / (n − k)`.
    pub cr1_error: f64,
    /// The bias-reduced cluster-robust standard error.
    pub cr2_error: f64,
    /// Bell and `McCaffrey`'s degrees of freedom.
    pub degrees_of_freedom: f64,
    /// Of a coefficient of 0, two-sided, by CR2.
    pub p_value: f64,
    /// The interval of the penalised likelihood's profile, which takes trials as independent; only of penalised fits.
    pub profile: Option<Interval>,
    /// The p-value of the penalised likelihood ratio; only of penalised fits.
    pub profile_p_value: Option<f64>,
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct LogisticFit {
    /// The constant, then the covariates in their order.
    pub coefficients: Vec<Coefficient>,
    /// The covariance of the coefficients by CR2, row by row.
    pub covariance: Vec<Vec<f64>>,
    /// The logarithm of the likelihood, without the binomial coefficients and the penalty.
    pub log_likelihood: f64,
    /// Whether it was penalised.
    pub penalised: bool,
    /// Clusters with trials.
    pub clusters: usize,
    /// Trials.
    pub trials: u64,
    /// Newton's steps.
    pub iterations: u32,
}

impl LogisticFit {
    /// The fitted rate at given covariates; covariates that are missing count as 0.
    pub fn rate(&self, covariates: &[f64]) -> f64 {
        let values = std::iter::once(1.0).chain(covariates.iter().copied());
        expit(self.coefficients.iter().zip(values).map(|(beta, x)| beta.interval.estimate * x).sum())
    }
}

/// Counts and covariates as the fits want them: rows of one cluster with the same covariates are one.
pub(super) struct Design {
    /// With the constant.
    pub(super) x: DMatrix<f64>,
    pub(super) successes: DVector<f64>,
    pub(super) trials: DVector<f64>,
    /// Where each cluster's rows begin and end.
    pub(super) clusters: Vec<std::ops::Range<usize>>,
}

impl Design {
    fn new(rows: &[LogisticRow]) -> Result<Self, StatsError> {
        let columns = rows.first().map_or(0, |row| row.covariates.len());
        for row in rows {
            same_length("covariates", columns, row.covariates.len())?;
            all_finite("the covariates", &row.covariates)?;
            if row.successes > row.trials {
                let &LogisticRow { successes, trials, .. } = row;
                return Err(StatsError::MoreSuccessesThanTrials { successes, trials });
            }
        }
        let mut sorted: Vec<&LogisticRow> = rows.iter().filter(|row| row.trials > 0).collect();
        if sorted.is_empty() {
            return Err(StatsError::NoTrials);
        }
        let order = |left: &[f64], right: &[f64]| {
            let pairs = left.iter().zip(right).map(|(one, other)| one.total_cmp(other));
            pairs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        };
        sorted.sort_by(|left, right| {
            left.cluster.cmp(&right.cluster).then_with(|| order(&left.covariates, &right.covariates))
        });
        let mut merged: Vec<(Vec<f64>, f64, f64)> = Vec::new();
        let mut clusters = Vec::new();
        for of_cluster in sorted.chunk_by(|left, right| left.cluster == right.cluster) {
            let start = merged.len();
            for same in of_cluster.chunk_by(|left, right| left.covariates == right.covariates) {
                let successes = same.iter().map(|row| row.successes as f64).sum();
                let trials = same.iter().map(|row| row.trials as f64).sum();
                merged.push((same[0].covariates.clone(), successes, trials));
            }
            clusters.push(start..merged.len());
        }
        at_least("clusters", 2, clusters.len())?;
        let x = DMatrix::from_fn(merged.len(), columns + 1, |row, column| {
            if column == 0 { 1.0 } else { merged[row].0[column - 1] }
        });
        Ok(Self {
            x,
            successes: DVector::from_iterator(merged.len(), merged.iter().map(|row| row.1)),
            trials: DVector::from_iterator(merged.len(), merged.iter().map(|row| row.2)),
            clusters,
        })
    }

    pub(super) fn rates(&self, beta: &DVector<f64>) -> DVector<f64> {
        (&self.x * beta).map(expit)
    }

    /// The weights `n p (1 − p)`.
    pub(super) fn weights(&self, rates: &DVector<f64>) -> DVector<f64> {
        rates.zip_map(&self.trials, |rate, trials| trials * rate * (1.0 - rate))
    }

    /// `X' W X`.
    pub(super) fn information(&self, weights: &DVector<f64>) -> DMatrix<f64> {
        self.x.transpose() * DMatrix::from_diagonal(weights) * &self.x
    }

    /// The largest predictor that coefficients, or a step of them, give: in logits, whatever the covariates' units.
    pub(super) fn reach(&self, beta: &DVector<f64>) -> f64 {
        (&self.x * beta).amax()
    }

    pub(super) fn log_likelihood(&self, beta: &DVector<f64>) -> f64 {
        let predictors = &self.x * beta;
        let terms = predictors.iter().zip(&self.successes).zip(&self.trials);
        terms.map(|((&eta, successes), trials)| successes * eta - trials * softplus(eta)).sum()
    }
}

/// Fits `logit p = β₀ + β' x` and gives every coefficient its cluster-robust errors.
///
/// The CR2 errors and their degrees of freedom are those of Bell and `McCaffrey` carried over to generalised linear
/// models by the working weights (Pustejovsky & Tipton, "Small-sample methods for cluster-robust variance estimation",
/// Journal of Business & Economic Statistics 36 (2018) 672–683). A covariate that is constant within clusters, such as
/// a subject's size where subjects are the clusters, has as many degrees of freedom as there are clusters to tell.
///
/// # Errors
/// [`StatsError::Lengths`], [`StatsError::NotFiniteAt`], [`StatsError::MoreSuccessesThanTrials`],
/// [`StatsError::NoTrials`]; [`StatsError::TooFew`] with fewer than two clusters; [`StatsError::Singular`],
/// [`StatsError::Separated`], [`StatsError::NotConverged`].
pub fn logistic(
    rows: &[LogisticRow],
    penalty: Penalty,
    confidence: Confidence,
) -> Result<LogisticFit, StatsError> {
    let design = Design::new(rows)?;
    let plain = match penalty {
        Penalty::Firth => Err(StatsError::Separated),
        Penalty::None | Penalty::FirthIfSeparated => maximum_likelihood(&design),
    };
    let (beta, iterations, penalised) = match plain {
        Ok((beta, iterations)) => (beta, iterations, false),
        Err(StatsError::Separated) if penalty != Penalty::None => {
            let (beta, iterations) = firth::fit(&design, None)?;
            (beta, iterations, true)
        }
        Err(error) => return Err(error),
    };
    let rates = design.rates(&beta);
    let weights = design.weights(&rates);
    let bread = inverse(&design.information(&weights), "the logistic regression")?;
    let Robust { cr1, cr2, degrees_of_freedom } = robust(&design, &rates, &weights, &bread);
    let model_errors = roots_of_diagonal(&bread);
    let (cr1_errors, cr2_errors) = (roots_of_diagonal(&cr1), roots_of_diagonal(&cr2));
    let mut coefficients = Vec::with_capacity(beta.len());
    for index in 0..beta.len() {
        let (estimate, error, freedom) = (beta[index], cr2_errors[index], degrees_of_freedom[index]);
        let (profile, profile_p_value) = if penalised {
            let (profile, p_value) = firth::profile(&design, &beta, index, model_errors[index], confidence)?;
            (Some(profile), Some(p_value))
        } else {
            (None, None)
        };
        coefficients.push(Coefficient {
            interval: Interval::symmetric(estimate, error, confidence.t_quantile_real(freedom)),
            model_error: model_errors[index],
            cr1_error: cr1_errors[index],
            cr2_error: error,
            degrees_of_freedom: freedom,
            p_value: if error > 0.0 { t_two_sided(estimate / error, freedom) } else { f64::NAN },
            profile,
            profile_p_value,
        });
    }
    let mut trials = 0_u64;
    for row in rows {
        trials = trials.checked_add(row.trials).ok_or(StatsError::TooMany)?;
    }
    Ok(LogisticFit {
        coefficients,
        covariance: cr2.row_iter().map(|row| row.iter().copied().collect()).collect(),
        log_likelihood: design.log_likelihood(&beta),
        penalised,
        clusters: design.clusters.len(),
        trials,
        iterations,
    })
}

/// Newton's method, which is iteratively reweighted least squares, with steps halved where the likelihood would fall.
fn maximum_likelihood(design: &Design) -> Result<(DVector<f64>, u32), StatsError> {
    let mut beta = DVector::zeros(design.x.ncols());
    let mut likelihood = design.log_likelihood(&beta);
    for iteration in 1..=STEPS {
        let rates = design.rates(&beta);
        let weights = design.weights(&rates);
        let information = design.information(&weights);
        let bread = inverse(&information, "the logistic regression")?;
        let score = design.x.transpose() * (&design.successes - rates.component_mul(&design.trials));
        let mut step = bread * score;
        let mut next = &beta + &step;
        let mut improved = design.log_likelihood(&next);
        let slack = 1e-12 * likelihood.abs();
        while improved < likelihood - slack && design.reach(&step) > 1e-14 {
            step *= 0.5;
            next = &beta + &step;
            improved = design.log_likelihood(&next);
        }
        (beta, likelihood) = (next, improved);
        if design.reach(&beta) > SEPARATED {
            return Err(StatsError::Separated);
        }
        if design.reach(&step) <= 1e-11 * (1.0 + design.reach(&beta)) {
            return Ok((beta, iteration));
        }
    }
    Err(StatsError::NotConverged { what: "the logistic regression", iterations: STEPS })
}
