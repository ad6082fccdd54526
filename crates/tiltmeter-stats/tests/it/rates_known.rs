//! Rates where the answer is known without another package.

use tiltmeter_stats::rates::{
    CellCount, MeasuredCoverage, RateResampling, bootstrap_rate, bootstrap_t_rate, robust_rate,
};
use tiltmeter_stats::{BootstrapSettings, Confidence, StatsError, clustered_rate, wilson_with};

use crate::support::{assert_absolute, assert_relative, clusters};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

fn cell(question: u32, context: u32, successes: u64, trials: u64) -> CellCount {
    CellCount { question, context, successes, trials }
}

/// One of one and none of nine: a resample is 1 and 0 with probability ¼ each, and 0.1 with ½, so that its mean is 0.3
/// and its variance 0.25 + 0.005 − 0.09.
#[test]
fn the_standard_error_of_resampled_ratios_is_about_their_own_mean() {
    let table = [cell(0, 0, 1, 1), cell(1, 0, 0, 9)];
    let settings = BootstrapSettings { resamples: 20_000, ..BootstrapSettings::default() };
    let result = bootstrap_rate(&table, RateResampling::Questions, &settings).unwrap().unwrap();
    assert_absolute(result.standard_error, 0.165_f64.sqrt(), 0.01, "standard error");
}

/// Of two questions with one context each, two of sixteen resamples hold nothing and are drawn again; of the others five
/// are ¼, five ¾ and four ½, so that their variance is 10/14 · 1/16.
#[test]
fn a_resample_without_trials_is_drawn_again() {
    let table = [cell(0, 0, 1, 4), cell(1, 1, 3, 4)];
    let settings = BootstrapSettings { resamples: 20_000, ..BootstrapSettings::default() };
    let result = bootstrap_rate(&table, RateResampling::QuestionsAndContexts, &settings).unwrap().unwrap();
    assert_absolute(result.standard_error, (10.0_f64 / 14.0).sqrt() / 4.0, 5e-3, "standard error");
    assert!(result.interval.low < 0.25 && result.interval.high > 0.75, "{result:?}");
}

/// All 256 resamples of four questions of one size, for which CR2 is the variance of the questions' rates over their
/// number. Ends are at the middle of a group of equal pivots, 12 or more standard errors of the share from its ends.
#[test]
fn the_studentised_interval_is_that_of_all_resamples() {
    let (counts, trials) = ([2_u64, 5, 6, 9], 12_u64);
    let rates = counts.map(|count| count as f64 / trials as f64);
    let of = |rates: [f64; 4]| {
        let p = rates.iter().sum::<f64>() / 4.0;
        let cr2 = rates.iter().map(|rate| (rate - p) * (rate - p)).sum::<f64>() / 12.0;
        ((p / (1.0 - p)).ln(), cr2.sqrt() / (p * (1.0 - p)))
    };
    let (centre, error) = of(rates);
    let mut pivots: Vec<f64> = Vec::new();
    for index in 0..256_usize {
        let (logit, own_error) =
            of([index % 4, index / 4 % 4, index / 16 % 4, index / 64].map(|at| rates[at]));
        if own_error > 1e-9 {
            pivots.push((logit - centre) / own_error);
        }
    }
    assert_eq!(pivots.len(), 252);
    pivots.sort_by(f64::total_cmp);
    let confidence = Confidence::new(0.81).unwrap();
    let settings = BootstrapSettings { resamples: 40_000, confidence, ..BootstrapSettings::default() };
    let table = clusters(&counts.map(|count| (count, trials)));
    let interval = bootstrap_t_rate(&table, &settings).unwrap().unwrap();
    let end = |pivot: f64| 1.0 / (1.0 + (pivot * error - centre).exp());
    // 0.905 and 0.095 of 252.
    assert_absolute(interval.low, end(pivots[228]), 1e-9, "low");
    assert_absolute(interval.high, end(pivots[23]), 1e-9, "high");
}

#[test]
fn half_of_the_resamples_of_two_questions_have_no_spread() {
    // Neither 0 nor 1, so that it is the spread alone.
    let settings = BootstrapSettings::default();
    assert_eq!(bootstrap_t_rate(&clusters(&[(1, 4), (3, 4)]), &settings), Ok(None));
}

/// Of four questions one resample in 64 has no spread. Of ten resamples a tenth may have none, so that there is an
/// interval with probability (63/64)¹⁰ + 10 (63/64)⁹ / 64 = 0.990; without any it would be 0.854. The standard error of
/// the share is 0.005.
#[test]
fn a_tenth_of_the_resamples_may_have_no_spread() {
    let table = clusters(&[(2, 12), (5, 12), (6, 12), (9, 12)]);
    let defined = (0..400).filter(|&seed| {
        let settings = BootstrapSettings { resamples: 10, seed, ..BootstrapSettings::default() };
        bootstrap_t_rate(&table, &settings).unwrap().is_some()
    });
    assert_absolute(defined.count() as f64 / 400.0, 0.990, 0.025, "share");
}

#[test]
fn questions_without_trials_change_nothing() {
    let (counts, settings) = ([(6, 6), (0, 6), (1, 6), (0, 6), (2, 5)], BootstrapSettings::default());
    let mut more = counts.to_vec();
    more.extend([(0, 0), (0, 0)]);
    let (counts, more) = (clusters(&counts), clusters(&more));
    assert_eq!(robust_rate(&counts, LEVEL), robust_rate(&more, LEVEL));
    assert_eq!(bootstrap_t_rate(&counts, &settings), bootstrap_t_rate(&more, &settings));
}

/// One question has all the variance, which costs degrees of freedom in both; for clusters of one size the score
/// interval is that of `clustered_rate`.
#[test]
fn the_score_interval_allows_for_one_question_with_all_the_variance() {
    let counts = clusters(&[(6, 6), (0, 6), (1, 6), (0, 6), (0, 6), (1, 6), (0, 6), (1, 6), (0, 6), (0, 6)]);
    let robust = robust_rate(&counts, LEVEL).unwrap().unwrap();
    let plain = clustered_rate(&counts, LEVEL).unwrap();
    assert_relative(robust.score.low, plain.interval.low, 1e-10, "low");
    assert_relative(robust.score.high, plain.interval.high, 1e-10, "high");
    // Questions without trials have no part in that.
    let mut more = counts;
    more.extend(clusters(&[(0, 0), (0, 0)]));
    assert_eq!(robust_rate(&more, LEVEL), Ok(Some(robust)));
}

#[test]
fn coverage_is_poor_below_93_percent() {
    assert!(!MeasuredCoverage { clustered: 0.93, plain: 0.8 }.is_poor());
    assert!(MeasuredCoverage { clustered: 0.929, plain: 0.95 }.is_poor());
}

/// Eight successes, which are few, but all in one question: that they resemble each other is told.
#[test]
fn a_strong_correlation_is_believed_also_of_few_successes() {
    let mut counts = vec![(0, 10); 8];
    counts[3] = (8, 10);
    let assessed = clustered_rate(&clusters(&counts), LEVEL).unwrap().coverage().unwrap();
    assert!(!assessed.is_correlation_assumed && assessed.correlation > 0.5, "{assessed:?}");
}

#[test]
fn a_quantile_is_positive_and_finite() {
    for quantile in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(wilson_with(0.5, 5.0, quantile), Err(StatsError::Quantile(quantile)));
    }
}
