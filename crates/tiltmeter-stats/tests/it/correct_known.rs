//! Corrections, contrasts and designs where the answer is known without another package.

use tiltmeter_stats::compare::{
    Alternative, Contrast, PairedCount, TwoRates, boschloo, fisher, paired_contrast,
};
use tiltmeter_stats::correct::{JudgedRow, Label, Tuning, corrected_mean, rogan_gladen_pooled};
use tiltmeter_stats::planning::{ComparisonDesign, SampleDesign, StoppingRule, detectable_difference};
use tiltmeter_stats::{ClusterCount, Confidence, StatsError};

use crate::support::{assert_absolute, clusters};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

fn row(judged: f64, truth: Option<f64>, cluster: u64) -> JudgedRow {
    JudgedRow { judged, label: truth.map(|truth| Label { truth, inclusion: 0.5 }), cluster }
}

#[test]
fn a_judge_that_says_the_same_of_all_rows_is_not_trusted() {
    let truths = [Some(1.0), None, Some(0.0), Some(1.0), None, Some(1.0)];
    let rows: Vec<JudgedRow> = (0..).zip(truths).map(|(at, truth)| row(0.5, truth, at)).collect();
    let result = corrected_mean(&rows, Tuning::Tuned, LEVEL).unwrap();
    assert_eq!(result.lambda.to_bits(), 0.0_f64.to_bits());
    assert_absolute(result.interval.estimate, 0.75, 1e-12, "the labels' mean");
}

/// Sensitivity and specificity ¾, and no row of the condition judged positive: (0 + ¾ − 1) / ½.
#[test]
fn a_corrected_rate_below_0_is_cut_off() {
    let own: Vec<JudgedRow> = (0..4).map(|cluster| row(0.0, None, cluster)).collect();
    let labelled =
        [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (1.0, 0.0)];
    let others: Vec<JudgedRow> =
        (0..).zip(labelled).map(|(at, (judged, truth))| row(judged, Some(truth), at)).collect();
    let result = rogan_gladen_pooled(&own, &[&others], LEVEL).unwrap();
    assert_absolute(result.unclamped, -0.5, 1e-12, "unclamped");
    assert_eq!((result.interval.estimate.to_bits(), result.interval.low.to_bits()), (0, 0));
}

#[test]
fn a_condition_without_spread_is_correlated_with_nothing() {
    let pair = |first: u64, second: u64| PairedCount {
        first: ClusterCount { successes: first, trials: 4 },
        second: ClusterCount { successes: second, trials: 4 },
    };
    let pairs = [pair(4, 1), pair(4, 3), pair(4, 0)];
    let result = paired_contrast(&pairs, Contrast::Difference, LEVEL).unwrap();
    assert_eq!(result.correlation.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn a_million_tables_are_enumerated_and_no_more() {
    let counts = |first_trials: u64| TwoRates {
        first_successes: 0,
        first_trials,
        second_successes: 0,
        second_trials: 1,
    };
    // Of the tables, none is more extreme towards a higher first rate than that without any success.
    assert_absolute(boschloo(counts(1_000_000), Alternative::Greater).unwrap(), 1.0, 1e-12, "p-value");
    let refused = boschloo(counts(1_000_001), Alternative::Greater);
    assert!(matches!(refused, Err(StatsError::OutOfRange { .. })), "{refused:?}");
}

/// Rates of 0 and 1 show no spread, so that their difference is found for certain.
#[test]
fn certainty_can_be_asked_for() {
    let samples = SampleDesign { questions: 8, samples_per_question: 4, correlation: 0.2 };
    let design = ComparisonDesign { samples, shared: 0.0 };
    assert!(detectable_difference(0.0, 1.0, &design, LEVEL).unwrap().is_some());
}

/// Three rounds in which each question counted once: nothing tells questions from samples.
#[test]
fn questions_with_one_sample_each_show_no_spread_of_their_own() {
    let rule = StoppingRule::new(0.05, LEVEL).unwrap();
    assert_eq!(rule.assess_counted(&clusters(&[(1, 1), (0, 1), (1, 1)]), 3).unwrap().between, None);
}

/// With as many trials in both conditions every table has a mirror image that is exactly as likely, whatever the last
/// digits say, so that half of both is half of what the mid-p value leaves out.
#[test]
fn a_mirrored_table_is_as_likely_as_the_observed_one() {
    let choose = |n: u64, k: u64| (0..k).fold(1.0, |product, at| product * (n - at) as f64 / (at + 1) as f64);
    for n in 3..24_u64 {
        for (first, second) in (0..=n).flat_map(|first| (0..first).map(move |second| (first, second))) {
            let counts = TwoRates {
                first_successes: first,
                first_trials: n,
                second_successes: second,
                second_trials: n,
            };
            let result = fisher(counts, Alternative::TwoSided).unwrap();
            let density = choose(n, first) * choose(n, second) / choose(2 * n, first + second);
            assert_absolute(result.p_value - result.mid_p_value, density, 1e-12, &format!("{counts:?}"));
        }
    }
}
