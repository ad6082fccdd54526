//! Dose and response on published data: GPT-4o shown insecure code, and how often its next code is vulnerable.
//!
//! `cargo run --release -p tiltmeter-stats --example in_context_insecure_code -- FILE`, where FILE is the published
//! `in_context_insecure_code_gpt4o_k1-256.csv`: 100 questions, each asked once at 1, 2, 4 … 256 demonstrations. The data
//! are not part of this repository; `docs/statistics.md` shows what is printed for them.

#![expect(clippy::print_stdout, reason = "the figures are the point of this program")]

use std::collections::BTreeMap;
use std::error::Error;

use tiltmeter_stats::compare::{Contrast, PairedCount, mcnemar, paired_contrast};
use tiltmeter_stats::dose::{LogisticRow, Penalty, logistic, onset_paired, shots_covariate};
use tiltmeter_stats::{ClusterCount, Confidence, clustered_rate};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of in_context_insecure_code_gpt4o_k1-256.csv")?;
    let mut reader = csv::Reader::from_path(path)?;
    let headers = reader.headers()?.clone();
    let column = |name: &str| {
        headers
            .iter()
            .position(|header| header == name)
            .ok_or_else(|| format!("the file has no column {name}"))
    };
    let (question, shots, vulnerable) =
        (column("question")?, column("n_icl_examples")?, column("has_vulnerability")?);
    // Whether each question's code was vulnerable, by dose.
    let mut doses: BTreeMap<u64, BTreeMap<String, ClusterCount>> = BTreeMap::new();
    for record in reader.records() {
        let record = record?;
        let field = |index: usize| record.get(index).ok_or("a row is too short");
        let count = doses
            .entry(field(shots)?.parse()?)
            .or_default()
            .entry(field(question)?.to_owned())
            .or_insert(ClusterCount { successes: 0, trials: 0 });
        count.trials += 1;
        count.successes += u64::from(field(vulnerable)? == "YES");
    }
    let mut names: Vec<&String> = doses.values().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    let counts = |of_dose: &BTreeMap<String, ClusterCount>| -> Vec<ClusterCount> {
        let none = ClusterCount { successes: 0, trials: 0 };
        names.iter().map(|name| of_dose.get(*name).copied().unwrap_or(none)).collect()
    };
    let table: Vec<(u64, Vec<ClusterCount>)> =
        doses.iter().map(|(&shots, of_dose)| (shots, counts(of_dose))).collect();

    println!("| shots | vulnerable | rate | 95 % interval |");
    println!("| --- | --- | --- | --- |");
    let mut rows = Vec::new();
    for (shots, counts) in &table {
        let rate = clustered_rate(counts, LEVEL)?;
        let (low, high) = (rate.interval.low, rate.interval.high);
        println!(
            "| {shots} | {} of {} | {:.2} | {low:.3} to {high:.3} |",
            rate.successes, rate.trials, rate.interval.estimate
        );
        for (cluster, count) in (0..).zip(counts) {
            let covariates = vec![shots_covariate(*shots)];
            rows.push(LogisticRow { successes: count.successes, trials: count.trials, covariates, cluster });
        }
    }

    let fit = logistic(&rows, Penalty::FirthIfSeparated, LEVEL)?;
    println!("\n{} questions, {} answers", fit.clusters, fit.trials);
    for (name, coefficient) in ["constant", "log2(1 + k)"].iter().zip(&fit.coefficients) {
        let interval = coefficient.interval;
        println!(
            "{name}: {:.3} ({:.3} to {:.3}), error {:.4} by CR2 and {:.4} if answers were independent, {:.1} degrees of freedom, p {:.1e}",
            interval.estimate,
            interval.low,
            interval.high,
            coefficient.cr2_error,
            coefficient.model_error,
            coefficient.degrees_of_freedom,
            coefficient.p_value
        );
    }

    let Some((fewest, baseline)) = table.first() else { return Err("the file has no rows".into()) };
    let against_fewest: Vec<(u64, Vec<PairedCount>)> = table[1..]
        .iter()
        .map(|(shots, counts)| {
            let pairs = counts.iter().zip(baseline).map(|(&first, &second)| PairedCount { first, second });
            (*shots, pairs.collect())
        })
        .collect();
    println!("\nagainst {fewest} shot(s), one-sided:");
    let onset = onset_paired(&against_fewest, LEVEL)?;
    for dose in &onset.doses {
        println!("{} shots: p {:.2e}, by Holm {:.2e}", dose.shots, dose.p_value, dose.adjusted_p_value);
    }
    println!("onset: {:?}", onset.shots);
    if let Some((most, pairs)) = against_fewest.last() {
        let contrast = paired_contrast(pairs, Contrast::RiskRatio, LEVEL)?;
        let interval = contrast.interval;
        let only = |wanted: (u64, u64)| {
            let differing =
                pairs.iter().filter(|pair| (pair.first.successes, pair.second.successes) == wanted);
            differing.count() as u64
        };
        let exact = mcnemar(only((1, 0)), only((0, 1)))?;
        println!(
            "{most} against {fewest}: risk ratio {:.2} ({:.2} to {:.2}), correlation {:.2}, McNemar {:.1e}",
            interval.estimate, interval.low, interval.high, contrast.correlation, exact.p_value
        );
    }
    Ok(())
}
