//! Measures how often intervals contain the truth, on data whose truth is known.
//!
//! `cargo run --release -p tiltmeter-stats --example coverage` prints the tables of `docs/statistics.md` as Markdown. The
//! seed is fixed, so that the figures are the same everywhere; simulated shares of 0.95 have a standard error of 0.003
//! where 5,000 tables were drawn, and of 0.007 where 1,000 were. An argument scales the number of tables, such as 0.1
//! for a quick look.

#![expect(clippy::print_stdout, reason = "the tables are the point of this program")]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use tiltmeter_stats::compare::{Contrast, PairedCount, paired_contrast};
use tiltmeter_stats::correct::{JudgedRow, Label, Tuning, corrected_mean, rogan_gladen};
use tiltmeter_stats::planning::{Decision, StoppingRule, mean_sequence, rate_sequence};
use tiltmeter_stats::rates::{
    CellCount, IntervalMethod, RateResampling, bootstrap_rate, bootstrap_t_rate, robust_rate,
};
use tiltmeter_stats::{
    BootstrapSettings, ClusterCount, Confidence, Interval, StatsError, clustered_rate, wilson,
};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

fn main() -> Result<(), StatsError> {
    let scale = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1.0);
    independent()?;
    clustered(scale)?;
    bootstraps(scale)?;
    paired(scale)?;
    corrected(scale)?;
    sequences(scale)
}

fn tables(count: f64, scale: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of tables, far below the largest"
    )]
    let tables = (count * scale).max(10.0) as u32;
    tables
}

/// The share of tables for which `covers` says so, each with a generator of its own.
fn share<const N: usize>(
    tables: u32,
    seed: u64,
    covers: impl Fn(&mut ChaCha8Rng) -> Result<[bool; N], StatsError> + Sync,
) -> Result<[f64; N], StatsError> {
    let counts = (0..tables)
        .into_par_iter()
        .map(|table| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(u64::from(table));
            covers(&mut generator).map(|hits| hits.map(u32::from))
        })
        .try_reduce(|| [0; N], |left, right| Ok(std::array::from_fn(|index| left[index] + right[index])))?;
    Ok(counts.map(|count| f64::from(count) / f64::from(tables)))
}

fn uniform(generator: &mut ChaCha8Rng) -> f64 {
    (f64::from(generator.next_u32()) + 0.5) / 4_294_967_296.0
}

/// A question's successes in `trials` with a rate drawn from a beta distribution with the given mean and the given
/// correlation of two samples, by Pólya's urn, which needs no rate.
fn urn(generator: &mut ChaCha8Rng, trials: u64, mean: f64, correlation: f64) -> u64 {
    let mass = 1.0 / correlation - 1.0;
    let mut successes = 0_u64;
    for drawn in 0..trials {
        let rate = (mean * mass + successes as f64) / (mass + drawn as f64);
        successes += u64::from(uniform(generator) < rate);
    }
    successes
}

/// Independent trials: coverage summed over all outcomes, without any chance.
fn independent() -> Result<(), StatsError> {
    println!("### Independent trials (exact)\n");
    println!(
        "| trials | Wilson mean | Wilson least | Clopper–Pearson mean | least | Jeffreys mean | least | normal mean | least |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for trials in [10_u64, 24, 48, 100, 480, 1000] {
        let mut cells = Vec::new();
        for method in IntervalMethod::ALL {
            let intervals = (0..=trials)
                .map(|successes| method.interval(successes, trials, LEVEL))
                .collect::<Result<Vec<Interval>, StatsError>>()?;
            let (mut sum, mut least) = (0.0, 1.0_f64);
            let rates: Vec<f64> = (1..400).map(|step| f64::from(step) / 400.0).collect();
            for &rate in &rates {
                let mut log_mass = trials as f64 * (1.0 - rate).ln();
                let mut covered = 0.0;
                for (successes, interval) in (0..).zip(&intervals) {
                    covered += if interval.contains(rate) { log_mass.exp() } else { 0.0 };
                    log_mass += ((trials as f64 - f64::from(successes)) / f64::from(successes + 1)).ln()
                        + (rate / (1.0 - rate)).ln();
                }
                sum += covered;
                least = least.min(covered);
            }
            cells.push(format!("{:.3} | {least:.3}", sum / rates.len() as f64));
        }
        println!("| {trials} | {} |", cells.join(" | "));
    }
    println!();
    Ok(())
}

const QUESTIONS: [u64; 5] = [8, 16, 24, 48, 96];
const RATES: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5];
const CORRELATIONS: [f64; 3] = [0.05, 0.2, 0.5];

/// Ten samples of each question.
fn clustered(scale: f64) -> Result<(), StatsError> {
    println!("### Clustered trials: ten samples of each question\n");
    println!(
        "| questions | correlation | rate | plain Wilson | effective n (`clustered_rate`) | CR2 linear | CR2 logit |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for questions in QUESTIONS {
        for correlation in CORRELATIONS {
            for rate in RATES {
                let found = share(tables(5000.0, scale), 1, |generator| {
                    let counts: Vec<ClusterCount> = (0..questions)
                        .map(|_| ClusterCount {
                            successes: urn(generator, 10, rate, correlation),
                            trials: 10,
                        })
                        .collect();
                    let all: u64 = counts.iter().map(|count| count.successes).sum();
                    let plain = wilson(all, 10 * questions, LEVEL)?;
                    let robust = robust_rate(&counts, LEVEL)?;
                    Ok([
                        plain.contains(rate),
                        clustered_rate(&counts, LEVEL)?.interval.contains(rate),
                        robust.map_or(plain, |robust| robust.linear).contains(rate),
                        robust.map_or(plain, |robust| robust.logit).contains(rate),
                    ])
                })?;
                println!("| {questions} | {correlation} | {rate} | {} |", row(&found));
            }
        }
    }
    println!();
    println!("### Clustered trials of uneven number: 1 to 19 samples of each question, correlation 0.2\n");
    println!("| questions | rate | effective n (`clustered_rate`) | CR2 score | CR2 linear | CR2 logit |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for questions in QUESTIONS {
        for rate in [0.05, 0.1, 0.3, 0.5] {
            let found = share(tables(5000.0, scale), 2, |generator| {
                let counts: Vec<ClusterCount> = (0..questions)
                    .map(|_| {
                        let trials = 1 + u64::from(generator.next_u32() % 19);
                        ClusterCount { successes: urn(generator, trials, rate, 0.2), trials }
                    })
                    .collect();
                let effective = clustered_rate(&counts, LEVEL)?.interval;
                let robust = robust_rate(&counts, LEVEL)?;
                Ok([
                    effective.contains(rate),
                    robust.map_or(effective, |robust| robust.score).contains(rate),
                    robust.map_or(effective, |robust| robust.linear).contains(rate),
                    robust.map_or(effective, |robust| robust.logit).contains(rate),
                ])
            })?;
            println!("| {questions} | {rate} | {} |", row(&found));
        }
    }
    println!();
    Ok(())
}

fn row(shares: &[f64]) -> String {
    shares.iter().map(|share| format!("{share:.3}")).collect::<Vec<_>>().join(" | ")
}

/// Resampled intervals; where there is none the clustered one counts.
fn bootstraps(scale: f64) -> Result<(), StatsError> {
    println!("### Bootstraps: ten samples of each question, correlation 0.2\n");
    println!(
        "| questions | rate | percentile, stretched | bootstrap-t on logits | effective n, for comparison |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for questions in [8_u32, 24, 48] {
        for rate in [0.05, 0.1, 0.3, 0.5] {
            let found = share(tables(1000.0, scale), 3, |generator| {
                let cells: Vec<CellCount> = (0..questions)
                    .map(|question| CellCount {
                        question,
                        context: 0,
                        successes: urn(generator, 10, rate, 0.2),
                        trials: 10,
                    })
                    .collect();
                let counts: Vec<ClusterCount> = cells
                    .iter()
                    .map(|&CellCount { successes, trials, .. }| ClusterCount { successes, trials })
                    .collect();
                let settings = BootstrapSettings {
                    resamples: 999,
                    seed: u64::from(generator.next_u32()),
                    confidence: LEVEL,
                };
                let effective = clustered_rate(&counts, LEVEL)?.interval;
                let percentile = bootstrap_rate(&cells, RateResampling::Questions, &settings)?;
                let studentised = bootstrap_t_rate(&counts, &settings)?;
                Ok([
                    percentile.map_or(effective, |result| result.interval).contains(rate),
                    studentised.unwrap_or(effective).contains(rate),
                    effective.contains(rate),
                ])
            })?;
            println!("| {questions} | {rate} | {} |", row(&found));
        }
    }
    println!();
    Ok(())
}

/// Two conditions on the same questions: the questions' rates are those of one draw, shifted on the logit scale.
fn paired(scale: f64) -> Result<(), StatsError> {
    println!(
        "### Paired contrasts: ten samples of each question and condition, question effects of deviation 1 on logits\n"
    );
    println!("| questions | logits | difference | risk ratio | odds ratio |");
    println!("| --- | --- | --- | --- | --- |");
    for questions in [8, 24, 48] {
        for (first, second) in [(-1.5, -1.5), (-0.5, -1.5), (0.5, -0.5)] {
            let (of_first, of_second) = (marginal(first), marginal(second));
            let odds = |rate: f64| rate / (1.0 - rate);
            let truths = [of_first - of_second, of_first / of_second, odds(of_first) / odds(of_second)];
            let contrasts = [Contrast::Difference, Contrast::RiskRatio, Contrast::OddsRatio];
            let found = share(tables(5000.0, scale), 4, |generator| {
                let pairs: Vec<PairedCount> = (0..questions)
                    .map(|_| {
                        let effect = normal(generator);
                        let mut count = |logit: f64| {
                            let rate = 1.0 / (1.0 + (-(logit + effect)).exp());
                            let successes = (0..10).map(|_| u64::from(uniform(generator) < rate)).sum();
                            ClusterCount { successes, trials: 10 }
                        };
                        PairedCount { first: count(first), second: count(second) }
                    })
                    .collect();
                Ok(std::array::from_fn(|index| {
                    // A ratio that cannot be had is an interval without ends.
                    paired_contrast(&pairs, contrasts[index], LEVEL)
                        .map_or(true, |result| result.interval.contains(truths[index]))
                }))
            })?;
            let found: [f64; 3] = found;
            println!("| {questions} | {first} and {second} | {} |", row(&found));
        }
    }
    println!();
    Ok(())
}

/// The mean rate over normal question effects, by the midpoint rule.
fn marginal(logit: f64) -> f64 {
    let steps = 4000;
    let width = 16.0 / f64::from(steps);
    let sum: f64 = (0..steps)
        .map(|step| {
            let effect = -8.0 + width * (f64::from(step) + 0.5);
            (-effect * effect / 2.0).exp() / (1.0 + (-(logit + effect)).exp())
        })
        .sum();
    sum * width / std::f64::consts::TAU.sqrt()
}

fn normal(generator: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * uniform(generator).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(generator)).cos()
}

/// A judge with errors, and labels of a quarter of the rows it called negative and of half of the others.
fn corrected(scale: f64) -> Result<(), StatsError> {
    println!(
        "### Judge with sensitivity 0.8 and specificity 0.95; ten samples of each question, correlation 0.2\n"
    );
    println!(
        "| questions | rate | judge alone | prediction-powered, tuned | prediction-powered, λ = 1 | Rogan–Gladen |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for questions in [8_u64, 24, 48, 96] {
        for rate in [0.1, 0.3, 0.5] {
            let found = share(tables(5000.0, scale), 5, |generator| {
                let mut rows = Vec::new();
                for cluster in 0..questions {
                    let positives = urn(generator, 10, rate, 0.2);
                    for sample in 0..10 {
                        let truth = sample < positives;
                        let says = uniform(generator) < if truth { 0.8 } else { 0.05 };
                        let inclusion = if says { 0.5 } else { 0.25 };
                        let chosen = uniform(generator) < inclusion;
                        let number = |flag: bool| f64::from(u8::from(flag));
                        let label = chosen.then(|| Label { truth: number(truth), inclusion });
                        rows.push(JudgedRow { judged: number(says), label, cluster });
                    }
                }
                let counts: Vec<ClusterCount> = rows
                    .chunks(10)
                    .map(|rows| ClusterCount {
                        successes: rows.iter().map(|row| u64::from(row.judged > 0.5)).sum(),
                        trials: 10,
                    })
                    .collect();
                let mean = |tuning| {
                    corrected_mean(&rows, tuning, LEVEL).is_ok_and(|result| result.interval.contains(rate))
                };
                Ok([
                    clustered_rate(&counts, LEVEL)?.interval.contains(rate),
                    mean(Tuning::Tuned),
                    mean(Tuning::Full),
                    rogan_gladen(&rows, LEVEL).is_ok_and(|result| result.interval.contains(rate)),
                ])
            })?;
            println!("| {questions} | {rate} | {} |", row(&found));
        }
    }
    println!();
    Ok(())
}

/// A fixed set of questions, looked at after every round.
fn sequences(scale: f64) -> Result<(), StatsError> {
    println!(
        "### Looking after every round: 24 questions, 60 rounds; the share of runs that are right throughout\n"
    );
    println!(
        "| rate | questions' rates | beta-binomial sequence | Bernstein sequence on rounds | Wilson | stopped at ±0.05 | mean rounds | at the fixed end |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let rule = StoppingRule::new(0.05, LEVEL)?;
    for rate in [0.05, 0.2, 0.5] {
        for spread in [false, true] {
            // Half of the questions above the mean and half below.
            let rates: Vec<f64> = (0..24)
                .map(|index| if spread { rate * if index % 2 == 0 { 0.2 } else { 1.8 } } else { rate })
                .collect();
            let rounds_used = std::sync::atomic::AtomicU64::new(0);
            let runs = tables(2000.0, scale);
            let found = share(runs, 6, |generator| {
                let mut counts = vec![ClusterCount { successes: 0, trials: 0 }; rates.len()];
                let mut means = Vec::new();
                let (mut sequence, mut bernstein, mut peeked, mut stopped) = (true, true, true, None);
                let mut round = 0;
                while round < 60 || (stopped.is_none() && round < 400) {
                    round += 1;
                    let mut hits = 0_u32;
                    for (count, &rate) in counts.iter_mut().zip(&rates) {
                        let hit = uniform(generator) < rate;
                        count.trials += 1;
                        count.successes += u64::from(hit);
                        hits += u32::from(hit);
                    }
                    means.push(f64::from(hits) / rates.len() as f64);
                    let successes = counts.iter().map(|count| count.successes).sum();
                    let trials = round * 24;
                    if round <= 60 {
                        sequence &= rate_sequence(successes, trials, LEVEL)?.contains(rate);
                        bernstein &= mean_sequence(&means, LEVEL)?.contains(rate);
                        peeked &= wilson(successes, trials, LEVEL)?.contains(rate);
                    }
                    if stopped.is_none() {
                        let state = rule.assess(&counts)?;
                        if state.decision == Decision::Settled {
                            rounds_used.fetch_add(round, std::sync::atomic::Ordering::Relaxed);
                            stopped = Some(state.interval.contains(rate));
                        }
                    }
                }
                Ok([sequence, bernstein, peeked, stopped.unwrap_or(false)])
            })?;
            let mean = rounds_used.into_inner() as f64 / f64::from(runs);
            let fixed = rule.expected_rounds(0.5, 24, 1);
            let name = if spread { "two kinds" } else { "one" };
            println!("| {rate} | {name} | {} | {mean:.1} | {fixed} |", row(&found));
        }
    }
    println!();
    Ok(())
}
