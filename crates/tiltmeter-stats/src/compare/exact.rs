//! Exact tests of two rates of independent trials, for small counts.

#![expect(clippy::many_single_char_names, reason = "the cells of a table of two rows and two columns")]

use crate::error::StatsError;
use crate::special::binomial_tails;

use super::TwoRates;

/// A probability at most so much larger counts as equal: tied tables differ in their last digits.
const TIE: f64 = 1.0 + 1e-7;
/// Points of the first search for the nuisance rate, and steps of the search between two of them.
const GRID: u32 = 400;
const REFINEMENTS: u32 = 60;

/// The direction that counts as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// The rates differ.
    TwoSided,
    /// The first rate is higher.
    Greater,
    /// The first rate is lower.
    Less,
}

/// Fisher's exact test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fisher {
    /// The p-value: never rejects too often, and with small counts far too rarely.
    pub p_value: f64,
    /// The mid-p value, in which tables as likely as the one observed count half (Lancaster, "Significance tests in
    /// discrete distributions", JASA 56 (1961) 223–234).
    pub mid_p_value: f64,
}

/// Fisher's exact test; two-sided by the probabilities of tables no likelier than the one observed (Fisher,
/// *Statistical Methods for Research Workers*, 5th edition, 1934, §21.02).
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
pub fn fisher(counts: TwoRates, alternative: Alternative) -> Result<Fisher, StatsError> {
    let [a, b, c, d] = counts.cells()?;
    let table = Hypergeometric::new(a, b, c, d);
    let observed = table.density(a);
    let (mut p_value, mut tied) = (0.0, 0.0);
    for (x, density) in table.densities() {
        let (counts_in, is_tied) = match alternative {
            Alternative::TwoSided => {
                (density <= observed * TIE, density <= observed * TIE && density >= observed / TIE)
            }
            Alternative::Greater => (x >= a, x == a),
            Alternative::Less => (x <= a, x == a),
        };
        p_value += if counts_in { density } else { 0.0 };
        tied += if is_tied { density } else { 0.0 };
    }
    Ok(Fisher { p_value: p_value.min(1.0), mid_p_value: (p_value - tied / 2.0).clamp(0.0, 1.0) })
}

/// The probabilities of the first cell given all margins, relative to the likeliest one and normalised.
///
/// They are built outwards from the mode by ratios of neighbours, so that no logarithm of a large factorial costs
/// digits, and left off where they are too small to be numbers.
struct Hypergeometric {
    first: u64,
    densities: Vec<f64>,
}

impl Hypergeometric {
    fn new(a: u64, b: u64, c: u64, d: u64) -> Self {
        let (row, successes, failures) = (a + b, a + c, b + d);
        let (low, high) = (row.saturating_sub(failures), row.min(successes));
        let total = u128::from(row) + u128::from(c) + u128::from(d);
        let mode = (u128::from(row) + 1) * (u128::from(successes) + 1) / (total + 2);
        let mode = u64::try_from(mode).unwrap_or(high).clamp(low, high);
        // density(x + 1) / density(x)
        let ratio = |x: u64| {
            let up = (successes - x) as f64 * (row - x) as f64;
            up / ((x + 1) as f64 * (failures + x + 1 - row) as f64)
        };
        let mut below = Vec::new();
        let (mut x, mut density) = (mode, 1.0);
        while x > low {
            x -= 1;
            density /= ratio(x);
            if density < 1e-300 {
                break;
            }
            below.push(density);
        }
        let first = mode - below.len() as u64;
        below.reverse();
        let mut densities = below;
        densities.push(1.0);
        let (mut x, mut density) = (mode, 1.0);
        while x < high {
            density *= ratio(x);
            x += 1;
            if density < 1e-300 {
                break;
            }
            densities.push(density);
        }
        let sum: f64 = densities.iter().sum();
        for density in &mut densities {
            *density /= sum;
        }
        Self { first, densities }
    }

    fn density(&self, x: u64) -> f64 {
        let position = x.checked_sub(self.first).and_then(|position| usize::try_from(position).ok());
        position.and_then(|position| self.densities.get(position)).copied().unwrap_or(0.0)
    }

    fn densities(&self) -> impl Iterator<Item = (u64, f64)> {
        (self.first..).zip(self.densities.iter().copied())
    }
}

/// The p-value of Boschloo's test: unconditional, with the smaller one-sided p-values of Fisher's test as statistic,
/// at the common rate that makes it largest ("Raised conditional level of significance for the 2 × 2-table when
/// testing the equality of two probabilities", Statistica Neerlandica 24 (1970) 1–9). It keeps its level and is
/// everywhere at least as powerful as Fisher's one-sided test; two-sided is twice the smaller one-sided value.
///
/// Its work grows with the product of both trials; a product above 10⁶ is refused.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`]; [`StatsError::OutOfRange`] for too many
/// trials, for which [`super::newcombe`] serves as well.
pub fn boschloo(counts: TwoRates, alternative: Alternative) -> Result<f64, StatsError> {
    counts.cells()?;
    let product = counts.first_trials as f64 * counts.second_trials as f64;
    if product > 1e6 {
        let (what, range) =
            ("the product of both numbers of trials", "what can be enumerated: up to 1,000,000");
        return Err(StatsError::OutOfRange { what, value: product, range });
    }
    match alternative {
        Alternative::Less => lower_boschloo(counts),
        Alternative::Greater => {
            // The first rate is higher if the first rate of failures is lower.
            lower_boschloo(TwoRates {
                first_successes: counts.first_trials - counts.first_successes,
                second_successes: counts.second_trials - counts.second_successes,
                ..counts
            })
        }
        Alternative::TwoSided => {
            let less = boschloo(counts, Alternative::Less)?;
            let greater = boschloo(counts, Alternative::Greater)?;
            Ok((2.0 * less.min(greater)).min(1.0))
        }
    }
}

/// Boschloo's test of a first rate that is lower.
fn lower_boschloo(counts: TwoRates) -> Result<f64, StatsError> {
    let (n, m) = (counts.first_trials, counts.second_trials);
    let observed = fisher(counts, Alternative::Less)?.p_value * TIE;
    // For every number of successes in the second condition, the first condition's numbers that are at least as
    // extreme are those up to a bound, which only grows.
    let mut bounds: Vec<Option<u64>> = Vec::new();
    for second in 0..=m {
        let extreme = |first: u64| -> Result<bool, StatsError> {
            let table = TwoRates { first_successes: first, second_successes: second, ..counts };
            Ok(fisher(table, Alternative::Less)?.p_value <= observed)
        };
        let mut bound = bounds.last().copied().flatten();
        loop {
            let next = bound.map_or(0, |bound| bound + 1);
            if next > n || !extreme(next)? {
                break;
            }
            bound = Some(next);
        }
        bounds.push(bound);
    }
    let size = |rate: f64| -> f64 {
        if rate <= 0.0 || rate >= 1.0 {
            let end = if rate <= 0.0 { (0, 0) } else { (n, m) };
            let bound = usize::try_from(end.1).ok().and_then(|at| bounds.get(at)).copied().flatten();
            return f64::from(u8::from(bound.is_some_and(|bound| bound >= end.0)));
        }
        let mut sum = 0.0;
        let mut below = 0.0;
        for (second, bound) in (0..=m).zip(&bounds) {
            let (at_most, _) = binomial_tails(second, m, rate);
            if let &Some(bound) = bound {
                sum += (at_most - below) * binomial_tails(bound, n, rate).0;
            }
            below = at_most;
        }
        sum
    };
    let step = 1.0 / f64::from(GRID);
    let (mut best, mut best_at) = (0.0, 0.0);
    for point in 0..=GRID {
        let rate = f64::from(point) * step;
        let value = size(rate);
        if value > best {
            (best, best_at) = (value, rate);
        }
    }
    // Golden section between the neighbours of the best point.
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = ((best_at - step).max(0.0), (best_at + step).min(1.0));
    for _ in 0..REFINEMENTS {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        let (of_left, of_right) = (size(left), size(right));
        best = best.max(of_left).max(of_right);
        if of_left > of_right { high = right } else { low = left }
    }
    Ok(best.min(1.0))
}
