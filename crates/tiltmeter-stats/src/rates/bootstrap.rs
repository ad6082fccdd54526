//! Bootstrap intervals of a rate over questions, and over questions and contexts.
//!
//! The rate is that over all trials, a ratio of two sums, so that a resample of questions also resamples how many
//! trials each had. Percentile intervals are stretched as those of [`crate::bootstrap_mean`] are; the
//! studentised interval needs no stretch.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bootstrap::{BootstrapSettings, expansion, index, quantile};
use crate::error::StatsError;
use crate::interval::Interval;
use crate::rates::cluster::{ClusterCount, total};
use crate::rates::robust::robust_rate;

/// The trials of one question under one context. Contexts are crossed with questions: context 3 is the same for
/// every question. A pair may be given in several parts, which are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellCount {
    /// Index of the question.
    pub question: u32,
    /// Index of the context.
    pub context: u32,
    /// Successes among the trials.
    pub successes: u64,
    /// Their number.
    pub trials: u64,
}

/// What is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateResampling {
    /// Questions with all their trials: the interval holds for these contexts.
    Questions,
    /// Questions and contexts, independently of each other (Owen, "The pigeonhole bootstrap", Annals of Applied
    /// Statistics 1 (2007) 386–411). Errs towards caution.
    QuestionsAndContexts,
}

/// A rate with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateBootstrap {
    /// The rate and its interval, within 0 and 1.
    pub interval: Interval,
    /// Questions with at least one trial.
    pub questions: usize,
    /// Contexts with at least one trial.
    pub contexts: usize,
    /// The standard deviation of the resampled rates.
    pub standard_error: f64,
    /// Resamples.
    pub resamples: u32,
}

/// The percentile interval of a rate, stretched for few clusters; `None` with fewer than two questions (or
/// contexts, where they are resampled), or where the rate is 0 or 1 and a resample could not differ.
///
/// The result depends on the seed but not on the order of the cells.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`],
/// [`StatsError::NoResamples`].
pub fn bootstrap_rate(
    cells: &[CellCount],
    resampling: RateResampling,
    settings: &BootstrapSettings,
) -> Result<Option<RateBootstrap>, StatsError> {
    if settings.resamples == 0 {
        return Err(StatsError::NoResamples);
    }
    let counts: Vec<ClusterCount> =
        cells.iter().map(|&CellCount { successes, trials, .. }| ClusterCount { successes, trials }).collect();
    let (all, _) = total(&counts)?;
    if all.trials == 0 {
        return Err(StatsError::NoTrials);
    }
    let table = Table::new(cells);
    let (questions, contexts) = (table.rows.len(), table.contexts);
    let units = match resampling {
        RateResampling::Questions => questions,
        RateResampling::QuestionsAndContexts => questions.min(contexts),
    };
    if units < 2 || all.successes == 0 || all.successes == all.trials {
        return Ok(None);
    }
    let estimate = all.successes as f64 / all.trials as f64;
    let mut rates = table.resample(resampling, settings);
    let (mean, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), rate| {
        (sum + rate, squares + (rate - estimate) * (rate - estimate))
    });
    let count = rates.len() as f64;
    let mean = mean / count;
    let variance = (squares / count - (mean - estimate) * (mean - estimate)).max(0.0);
    rates.sort_by(f64::total_cmp);
    let expansion = expansion(units, settings.confidence);
    let tail = settings.confidence.tail();
    let below = (estimate - quantile(&rates, tail)).max(0.0) * expansion;
    let above = (quantile(&rates, 1.0 - tail) - estimate).max(0.0) * expansion;
    let interval = Interval { estimate, low: estimate - below, high: estimate + above }.clamped(0.0, 1.0);
    Ok(Some(RateBootstrap {
        interval,
        questions,
        contexts,
        standard_error: variance.sqrt(),
        resamples: settings.resamples,
    }))
}

/// The studentised interval over questions on the logit scale: `(logit p* − logit p) / se*` is resampled with its
/// own CR2 standard error each time (Davison & Hinkley, *Bootstrap Methods and their Application*, 1997, §5.2).
/// `None` where [`robust_rate`] has none, or where more than a tenth of the resamples have no standard error.
///
/// # Errors
/// Those of [`bootstrap_rate`].
pub fn bootstrap_t_rate(
    clusters: &[ClusterCount],
    settings: &BootstrapSettings,
) -> Result<Option<Interval>, StatsError> {
    if settings.resamples == 0 {
        return Err(StatsError::NoResamples);
    }
    let Some(rate) = robust_rate(clusters, settings.confidence)? else {
        return Ok(None);
    };
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let logit_error = |p: f64, variance: f64| variance.sqrt() / (p * (1.0 - p));
    let centre = logit(rate.estimate);
    let standard_error = logit_error(rate.estimate, rate.cr2);
    let clusters: Vec<ClusterCount> = clusters.iter().copied().filter(|cluster| cluster.trials > 0).collect();
    let mut generator = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut pivots = Vec::new();
    let mut drawn = clusters.clone();
    for _ in 0..settings.resamples {
        drawn.fill_with(|| clusters[index(&mut generator, clusters.len())]);
        if let Some((p, cr2)) = rate_and_variance(&drawn) {
            pivots.push((logit(p) - centre) / logit_error(p, cr2));
        }
    }
    if pivots.len() * 10 < settings.resamples as usize * 9 {
        return Ok(None);
    }
    pivots.sort_by(f64::total_cmp);
    let tail = settings.confidence.tail();
    // The upper quantile of the pivot gives the lower end.
    let end = |probability: f64| {
        let x = centre - quantile(&pivots, probability) * standard_error;
        1.0 / (1.0 + (-x).exp())
    };
    let (low, high) = (end(1.0 - tail), end(tail));
    let estimate = rate.estimate;
    Ok(Some(Interval { estimate, low: low.min(estimate), high: high.max(estimate) }))
}

/// The rate and CR2 of clusters that all have trials; `None` where the variance is 0 or the rate 0 or 1.
fn rate_and_variance(clusters: &[ClusterCount]) -> Option<(f64, f64)> {
    let n: f64 = clusters.iter().map(|cluster| cluster.trials as f64).sum();
    let p = clusters.iter().map(|cluster| cluster.successes as f64).sum::<f64>() / n;
    let variance: f64 = clusters
        .iter()
        .map(|cluster| {
            let residual = (cluster.successes as f64 - p * cluster.trials as f64) / n;
            residual * residual / (1.0 - cluster.trials as f64 / n)
        })
        .sum();
    (p > 0.0 && p < 1.0 && variance > 1e-12 / n).then_some((p, variance))
}

/// Successes and trials, question by context.
struct Table {
    rows: Vec<Vec<(f64, f64)>>,
    contexts: usize,
}

impl Table {
    fn new(cells: &[CellCount]) -> Self {
        let mut by_question: BTreeMap<u32, BTreeMap<u32, (f64, f64)>> = BTreeMap::new();
        let mut columns: BTreeMap<u32, usize> = BTreeMap::new();
        for cell in cells.iter().filter(|cell| cell.trials > 0) {
            columns.insert(cell.context, 0);
            let sums =
                by_question.entry(cell.question).or_default().entry(cell.context).or_insert((0.0, 0.0));
            sums.0 += cell.successes as f64;
            sums.1 += cell.trials as f64;
        }
        for (position, column) in columns.values_mut().enumerate() {
            *column = position;
        }
        let contexts = columns.len();
        let rows = by_question
            .into_values()
            .map(|cells| {
                let mut row = vec![(0.0, 0.0); contexts];
                for (context, sums) in cells {
                    if let Some(&column) = columns.get(&context) {
                        row[column] = sums;
                    }
                }
                row
            })
            .collect();
        Self { rows, contexts }
    }

    /// A resample without any trial is drawn again; this ends because every cell with trials can be drawn.
    fn resample(&self, resampling: RateResampling, settings: &BootstrapSettings) -> Vec<f64> {
        let mut generator = ChaCha8Rng::seed_from_u64(settings.seed);
        let sums: Vec<(f64, f64)> = self.rows.iter().map(|row| add(row.iter().copied())).collect();
        let mut columns = vec![0; self.contexts];
        (0..settings.resamples)
            .map(|_| {
                loop {
                    let (successes, trials) = match resampling {
                        RateResampling::Questions => {
                            add((0..sums.len()).map(|_| sums[index(&mut generator, sums.len())]))
                        }
                        RateResampling::QuestionsAndContexts => {
                            columns.fill_with(|| index(&mut generator, self.contexts));
                            add((0..self.rows.len()).map(|_| {
                                let row = &self.rows[index(&mut generator, self.rows.len())];
                                add(columns.iter().map(|&column| row[column]))
                            }))
                        }
                    };
                    if trials > 0.0 {
                        break successes / trials;
                    }
                }
            })
            .collect()
    }
}

fn add(pairs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    pairs.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1))
}
