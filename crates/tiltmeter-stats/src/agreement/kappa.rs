//! Percent agreement and Cohen's κ, plain and weighted, of two judges.

use crate::confidence::Confidence;
use crate::error::{StatsError, same_length};
use crate::interval::Interval;
use crate::rates::wilson;

/// How often the first judge said i and the second j.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementTable {
    /// Row by row; the side is `categories`.
    counts: Vec<u64>,
    categories: usize,
    total: u64,
}

impl AgreementTable {
    /// A table from the category of every item according to either judge, numbered from 0 in the order of the
    /// scale.
    ///
    /// # Errors
    /// [`StatsError::Lengths`]; [`StatsError::OutOfRange`] for a category that is not below `categories`;
    /// [`StatsError::NoObservations`].
    pub fn from_labels(first: &[usize], second: &[usize], categories: usize) -> Result<Self, StatsError> {
        same_length("the judges", first.len(), second.len())?;
        let mut counts = vec![0; categories.saturating_mul(categories)];
        for (&row, &column) in first.iter().zip(second) {
            if row.max(column) >= categories {
                let value = row.max(column) as f64;
                return Err(StatsError::OutOfRange { what: "category", value, range: "the categories" });
            }
            counts[row * categories + column] += 1;
        }
        Self::checked(counts, categories)
    }

    /// A table from its counts, row by row.
    ///
    /// # Errors
    /// [`StatsError::Lengths`] if the table is not square; [`StatsError::NoObservations`],
    /// [`StatsError::TooMany`].
    pub fn from_counts(rows: &[Vec<u64>]) -> Result<Self, StatsError> {
        for row in rows {
            same_length("the rows and columns of a table", rows.len(), row.len())?;
        }
        Self::checked(rows.concat(), rows.len())
    }

    fn checked(counts: Vec<u64>, categories: usize) -> Result<Self, StatsError> {
        let total =
            counts.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count)).ok_or(StatsError::TooMany)?;
        if total == 0 {
            return Err(StatsError::NoObservations);
        }
        Ok(Self { counts, categories, total })
    }

    /// Items that both judges put into the same category, and all items.
    pub fn agreed(&self) -> (u64, u64) {
        let agreed = (0..self.categories).map(|category| self.counts[category * (self.categories + 1)]);
        (agreed.sum(), self.total)
    }

    /// The share of items on which the judges agree, with Wilson's interval.
    ///
    /// # Errors
    /// None for a table that could be made.
    pub fn percent_agreement(&self, confidence: Confidence) -> Result<Interval, StatsError> {
        let (agreed, total) = self.agreed();
        wilson(agreed, total, confidence)
    }

    fn share(&self, row: usize, column: usize) -> f64 {
        self.counts[row * self.categories + column] as f64 / self.total as f64
    }
}

/// What a disagreement costs by the distance of the categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KappaWeights {
    /// Every disagreement is one.
    None,
    /// The distance.
    Linear,
    /// The distance squared.
    Quadratic,
}

/// Cohen's κ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kappa {
    /// κ with the normal interval of its large-sample standard error, cut off at −1 and 1.
    pub interval: Interval,
    /// The large-sample standard error.
    pub standard_error: f64,
    /// The standard error if the judges agreed by chance alone, for a test of κ = 0.
    pub null_standard_error: f64,
    /// The (weighted) agreement that was observed.
    pub observed: f64,
    /// The (weighted) agreement expected by chance.
    pub expected: f64,
}

/// Cohen's κ, `(observed − expected) / (1 − expected)`: agreement beyond what the judges' own shares of categories
/// would give by chance (Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological
/// Measurement 20 (1960) 37–46; "Weighted kappa", Psychological Bulletin 70 (1968) 213–220), with the standard
/// errors of Fleiss, Cohen & Everitt ("Large sample standard errors of kappa and weighted kappa", Psychological
/// Bulletin 72 (1969) 323–327).
///
/// # Errors
/// [`StatsError::Undefined`] if both judges used the same single category, which leaves nothing beyond chance.
pub fn kappa(
    table: &AgreementTable,
    weights: KappaWeights,
    confidence: Confidence,
) -> Result<Kappa, StatsError> {
    let side = table.categories;
    let widest = side.saturating_sub(1).max(1) as f64;
    let weight = |row: usize, column: usize| {
        let distance = row.abs_diff(column) as f64 / widest;
        match weights {
            KappaWeights::None => f64::from(u8::from(row == column)),
            KappaWeights::Linear => 1.0 - distance,
            KappaWeights::Quadratic => 1.0 - distance * distance,
        }
    };
    let sum = |value: &dyn Fn(usize, usize) -> f64| -> f64 {
        (0..side).flat_map(|row| (0..side).map(move |column| (row, column))).map(|(r, c)| value(r, c)).sum()
    };
    let rows: Vec<f64> = (0..side).map(|r| (0..side).map(|c| table.share(r, c)).sum()).collect();
    let columns: Vec<f64> = (0..side).map(|c| (0..side).map(|r| table.share(r, c)).sum()).collect();
    let observed = sum(&|r, c| weight(r, c) * table.share(r, c));
    let expected = sum(&|r, c| weight(r, c) * rows[r] * columns[c]);
    let beyond = 1.0 - expected;
    if beyond < 1e-12 {
        let why = "both judges put everything into one category";
        return Err(StatsError::Undefined { what: "Cohen's kappa", why });
    }
    let estimate = (observed - expected) / beyond;

    let row_weights: Vec<f64> =
        (0..side).map(|r| (0..side).map(|c| weight(r, c) * columns[c]).sum()).collect();
    let column_weights: Vec<f64> =
        (0..side).map(|c| (0..side).map(|r| weight(r, c) * rows[r]).sum()).collect();
    let n = table.total as f64;
    let spread = sum(&|r, c| {
        let part = weight(r, c) - (row_weights[r] + column_weights[c]) * (1.0 - estimate);
        table.share(r, c) * part * part
    });
    let offset = estimate - expected * (1.0 - estimate);
    let variance = (spread - offset * offset).max(0.0) / (n * beyond * beyond);
    let null_spread = sum(&|r, c| {
        let part = weight(r, c) - (row_weights[r] + column_weights[c]);
        rows[r] * columns[c] * part * part
    });
    let null_variance = (null_spread - expected * expected).max(0.0) / (n * beyond * beyond);
    let standard_error = variance.sqrt();
    Ok(Kappa {
        interval: Interval::symmetric(estimate, standard_error, confidence.normal_quantile())
            .clamped(-1.0, 1.0),
        standard_error,
        null_standard_error: null_variance.sqrt(),
        observed,
        expected,
    })
}
