//! Two judges' scores of the same answers, as numbers.

use crate::association::pearson;

/// Cohen's κ with quadratic weights of two scores that need not be whole: `1 − Σ (x − y)² n / Σ_i Σ_j (x_i − y_j)²`,
/// which for whole numbers is κ of their table (Cohen, "Weighted kappa", Psychological Bulletin 70 (1968) 213–220) and
/// for any is Lin's concordance correlation (Lin, "A concordance correlation coefficient to evaluate reproducibility",
/// Biometrics 45 (1989) 255–268). Unlike a correlation it falls where one judge's scores are higher throughout. `None`
/// without pairs, or where all scores of both judges are the same.
pub fn quadratic_kappa(scores: &[(f64, f64)]) -> Option<f64> {
    let count = scores.len() as f64;
    let (x, y) = scores.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    let (x, y) = (x / count, y / count);
    let (mut apart, mut spread) = (0.0, 0.0);
    for pair in scores {
        apart += (pair.0 - pair.1).powi(2);
        spread += (pair.0 - x).powi(2) + (pair.1 - y).powi(2);
    }
    let chance = spread + count * (x - y).powi(2);
    (chance > 1e-24 * count * (x * x + y * y)).then(|| 1.0 - apart / chance)
}

/// Spearman's rank correlation: Pearson's of the midranks (Spearman, "The proof and measurement of association between
/// two things", American Journal of Psychology 15 (1904) 72–101). `None` with fewer than three pairs, or where a score
/// does not vary.
pub fn spearman(scores: &[(f64, f64)]) -> Option<f64> {
    let first = midranks(scores.iter().map(|pair| pair.0));
    let second = midranks(scores.iter().map(|pair| pair.1));
    pearson(&first.into_iter().zip(second).collect::<Vec<_>>())
}

/// The ranks from 1, equal values sharing the mean of theirs.
fn midranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&one, &other| values[one].total_cmp(&values[other]));
    let mut ranks = vec![0.0; values.len()];
    let mut done = 0;
    for tied in order.chunk_by(|&one, &other| values[one].total_cmp(&values[other]).is_eq()) {
        let rank = done as f64 + f64::midpoint(tied.len() as f64, 1.0);
        for &place in tied {
            ranks[place] = rank;
        }
        done += tied.len();
    }
    ranks
}
