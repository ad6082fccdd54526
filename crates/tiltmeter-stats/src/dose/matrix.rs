//! The little linear algebra that regressions need.

use nalgebra::{DMatrix, DVector};

use crate::error::StatsError;

/// Eigenvalues below this share of the largest count as 0.
const RANK_TOLERANCE: f64 = 1e-11;

/// The inverse of a symmetric, positive definite matrix.
pub(super) fn inverse(matrix: &DMatrix<f64>, what: &'static str) -> Result<DMatrix<f64>, StatsError> {
    let (scale, scaled) = scaled(matrix);
    let eigen = scaled.symmetric_eigen();
    let largest = eigen.eigenvalues.max();
    // Also true where the matrix holds what is not a number.
    if !eigen.eigenvalues.iter().all(|&value| value > RANK_TOLERANCE * largest) {
        return Err(StatsError::Singular(what));
    }
    let inverted = DMatrix::from_diagonal(&eigen.eigenvalues.map(f64::recip));
    Ok(&scale * &eigen.eigenvectors * inverted * eigen.eigenvectors.transpose() * &scale)
}

/// A matrix whose columns are scaled to one size, so that covariates in units of any size are not taken for dependent
/// ones, and the scale, which was applied from both sides.
fn scaled(matrix: &DMatrix<f64>) -> (DMatrix<f64>, DMatrix<f64>) {
    let scales = matrix.diagonal().map(|value| if value > 0.0 { value.sqrt().recip() } else { 0.0 });
    let scale = DMatrix::from_diagonal(&scales);
    let scaled = &scale * matrix * &scale;
    (scale, scaled)
}

/// The inverse of the root of a symmetric matrix with eigenvalues from 0 to 1; directions without any extent stay
/// without.
pub(super) fn inverse_root(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let eigen = matrix.symmetric_eigen();
    let roots = eigen.eigenvalues.map(|value| if value > 1e-10 { value.sqrt().recip() } else { 0.0 });
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

/// The logarithm of the determinant of a symmetric, positive definite matrix; −∞ where it is not.
pub(super) fn log_determinant(matrix: &DMatrix<f64>) -> f64 {
    let logarithm = |value: f64| if value > 0.0 { value.ln() } else { f64::NEG_INFINITY };
    let (_, scaled) = scaled(matrix);
    (scaled.symmetric_eigenvalues().map(logarithm) + matrix.diagonal().map(logarithm)).sum()
}

/// `1 / (1 + e^−x)`.
pub(super) fn expit(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// `ln(1 + e^x)`, without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// A column of a matrix's diagonal, as standard deviations.
pub(super) fn roots_of_diagonal(matrix: &DMatrix<f64>) -> DVector<f64> {
    matrix.diagonal().map(|value| value.max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_predictors_give_rates_of_0_and_1() {
        assert_eq!(expit(0.0).to_bits(), 0.5_f64.to_bits());
        // Beyond 709 an exponential is no number any more.
        assert_eq!(expit(800.0).to_bits(), 1.0_f64.to_bits());
        assert_eq!(expit(-800.0).to_bits(), 0.0_f64.to_bits());
        assert!((expit(3.0_f64.ln()) - 0.75).abs() < 1e-15 && (expit(-(3.0_f64.ln())) - 0.25).abs() < 1e-15);
    }
}
