//! Whether a judge errs alike in several conditions, so that their labels may be pooled.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bootstrap::index;
use crate::error::{StatsError, at_least, positive};
use crate::special::chi_squared_upper;

/// A decision of the judge with its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelledDecision {
    /// What the judge said.
    pub judged: bool,
    /// What the person said.
    pub truth: bool,
    /// The inverse of the inclusion probability, or 1.
    pub weight: f64,
}

/// A test of equal shares over conditions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heterogeneity {
    /// `Σ n_c (p_c − p)² / (p (1 − p))`; Pearson's χ² where weights are equal.
    pub statistic: f64,
    /// Conditions with a label, less one.
    pub degrees_of_freedom: u64,
    /// The probability of as much or more if shares are equal; 1 where they cannot differ.
    pub p_value: f64,
}

/// A test of equal sensitivity and specificity over conditions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EqualErrors {
    /// Over truly positive rows.
    pub sensitivity: Heterogeneity,
    /// Over truly negative rows.
    pub specificity: Heterogeneity,
    /// Of both together: the sum of the statistics against χ².
    pub p_value: f64,
    /// The same by permuting conditions among rows of the same truth; the one to use where labels are few.
    pub permutation_p_value: f64,
}

/// Tests whether sensitivity and specificity are the same in all conditions. Weighted shares count with Kish's
/// effective number of rows, `(Σ w)² / Σ w²` (Kish, *Survey Sampling*, 1965).
///
/// Rows are taken as independent; where labels of the same question resemble each other the test rejects too
/// often, which errs towards not pooling. A large p-value from few labels is no evidence of equality.
///
/// # Errors
/// [`StatsError::TooFew`] with fewer than two conditions; [`StatsError::OutOfRange`] for a weight that is not
/// positive; [`StatsError::NoResamples`].
pub fn equal_errors(
    conditions: &[Vec<LabelledDecision>],
    permutations: u32,
    seed: u64,
) -> Result<EqualErrors, StatsError> {
    at_least("conditions", 2, conditions.len())?;
    if permutations == 0 {
        return Err(StatsError::NoResamples);
    }
    for decision in conditions.iter().flatten() {
        positive("a weight", decision.weight)?;
    }
    let rows_of = |truth: bool| -> Vec<Row> {
        let numbered = conditions.iter().enumerate();
        numbered
            .flat_map(|(condition, decisions)| decisions.iter().map(move |decision| (condition, decision)))
            .filter(|(_, decision)| decision.truth == truth)
            .map(|(condition, decision)| Row {
                condition,
                right: decision.judged == truth,
                weight: decision.weight,
            })
            .collect()
    };
    let (mut positives, mut negatives) = (rows_of(true), rows_of(false));
    let sensitivity = heterogeneity(&positives, conditions.len());
    let specificity = heterogeneity(&negatives, conditions.len());
    let statistic = sensitivity.statistic + specificity.statistic;
    let degrees_of_freedom = sensitivity.degrees_of_freedom + specificity.degrees_of_freedom;

    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut as_large = 1_u64;
    for _ in 0..permutations {
        let mut permuted = 0.0;
        for rows in [&mut positives, &mut negatives] {
            for last in (1..rows.len()).rev() {
                let other = index(&mut generator, last + 1);
                let condition = rows[last].condition;
                rows[last].condition = rows[other].condition;
                rows[other].condition = condition;
            }
            permuted += heterogeneity(rows, conditions.len()).statistic;
        }
        as_large += u64::from(permuted >= statistic * (1.0 - 1e-9));
    }
    Ok(EqualErrors {
        sensitivity,
        specificity,
        p_value: chi_squared_upper(statistic, degrees_of_freedom as f64),
        permutation_p_value: as_large as f64 / (f64::from(permutations) + 1.0),
    })
}

struct Row {
    condition: usize,
    right: bool,
    weight: f64,
}

fn heterogeneity(rows: &[Row], conditions: usize) -> Heterogeneity {
    // Weights of the right ones, of all, and squared.
    let mut sums = vec![(0.0, 0.0, 0.0); conditions];
    for row in rows {
        let sum = &mut sums[row.condition];
        sum.0 += if row.right { row.weight } else { 0.0 };
        sum.1 += row.weight;
        sum.2 += row.weight * row.weight;
    }
    sums.retain(|sum| sum.1 > 0.0);
    let parts = sums.iter().map(|&(right, all, squares)| (right / all, all * all / squares));
    let parts: Vec<(f64, f64)> = parts.collect();
    let effective: f64 = parts.iter().map(|part| part.1).sum();
    let pooled = parts.iter().map(|&(share, n)| share * n).sum::<f64>() / effective;
    let degrees_of_freedom = (parts.len() as u64).saturating_sub(1);
    let spread = pooled * (1.0 - pooled);
    if degrees_of_freedom == 0 || spread < 1e-12 {
        return Heterogeneity { statistic: 0.0, degrees_of_freedom: 0, p_value: 1.0 };
    }
    let statistic =
        parts.iter().map(|&(share, n)| n * (share - pooled) * (share - pooled)).sum::<f64>() / spread;
    let p_value = chi_squared_upper(statistic, degrees_of_freedom as f64);
    Heterogeneity { statistic, degrees_of_freedom, p_value }
}
