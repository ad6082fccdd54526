//! Recall where few negatives may pass.

/// The score that negatives must not pass, so that no more than a share of them does: only what is strictly above it
/// counts as found, ties with it do not. Minus infinity where all may pass; `None` without negatives.
pub fn barrier(negatives: &[f64], rate: f64) -> Option<f64> {
    if negatives.is_empty() {
        return None;
    }
    let mut sorted = negatives.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let count = sorted.len();
    let most = (0..=count).rev().find(|&passed| passed as f64 <= rate * count as f64).unwrap_or(0);
    Some(sorted.get(most).copied().unwrap_or(f64::NEG_INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pass_than_the_rate_allows() {
        let negatives: Vec<f64> = (0..100).map(f64::from).collect();
        let passed = |rate: f64| {
            let barrier = barrier(&negatives, rate).unwrap();
            negatives.iter().filter(|&&score| score > barrier).count()
        };
        assert_eq!([0.0, 0.001, 0.01, 0.05, 0.055, 1.0].map(passed), [0, 0, 1, 5, 5, 100]);
        // Ties with the barrier do not pass, though there would be room for some.
        assert_eq!(barrier(&[0.5; 10], 0.2), Some(0.5));
        assert_eq!(barrier(&[], 0.2), None);
    }
}
