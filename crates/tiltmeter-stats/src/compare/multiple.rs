//! Corrections for a family of tests.

use crate::error::{StatsError, share};

/// Holm's adjusted p-values, in the order given: rejecting those below α keeps the probability of any false
/// rejection at α, whatever the dependence (Holm, "A simple sequentially rejective multiple test procedure",
/// Scandinavian Journal of Statistics 6 (1979) 65–70).
///
/// # Errors
/// [`StatsError::OutOfRange`] for a p-value outside 0 to 1.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        largest = largest.max((factor * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    Ok(adjusted)
}

/// Benjamini and Hochberg's adjusted p-values, in the order given: rejecting those below q keeps the expected
/// share of false rejections among all at q, for tests that are independent or positively dependent (Benjamini &
/// Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57 (1995) 289–300).
///
/// # Errors
/// [`StatsError::OutOfRange`] for a p-value outside 0 to 1.
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest = 1.0_f64;
    for (rank, &index) in order.iter().enumerate().rev() {
        let factor = p_values.len() as f64 / (rank as f64 + 1.0);
        smallest = smallest.min(factor * p_values[index]);
        adjusted[index] = smallest;
    }
    Ok(adjusted)
}

fn ascending(p_values: &[f64]) -> Result<Vec<usize>, StatsError> {
    for &value in p_values {
        share("a p-value", value)?;
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&left, &right| p_values[left].total_cmp(&p_values[right]));
    Ok(order)
}
