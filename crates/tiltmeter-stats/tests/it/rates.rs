//! Intervals of rates against other packages, and what holds for all of them.

use proptest::prelude::*;
use serde::Deserialize;
use tiltmeter_stats::rates::{
    CellCount, IntervalMethod, Outcome, RateResampling, bootstrap_rate, bootstrap_t_rate, clopper_pearson,
    jeffreys, normal_interval, robust_rate, sweep,
};
use tiltmeter_stats::{
    BootstrapSettings, ClusterCount, Confidence, Interval, StatsError, clustered_rate, wilson,
};

use crate::support::{assert_absolute, assert_relative, clusters, fixture};

#[derive(Deserialize)]
struct CountRow {
    successes: u64,
    trials: u64,
    level: f64,
    clopper_pearson: [f64; 2],
    jeffreys: [f64; 2],
    normal: [f64; 2],
}

/// Relative to the end itself, so that ends near 0 are right in their digits too.
#[test]
fn intervals_of_counts_match_forty_digits() {
    for row in fixture::<CountRow>("counts.json") {
        let confidence = Confidence::new(row.level).unwrap();
        let what = format!("{}/{} at {}", row.successes, row.trials, row.level);
        for (method, [low, high]) in [
            (IntervalMethod::ClopperPearson, row.clopper_pearson),
            (IntervalMethod::Jeffreys, row.jeffreys),
            (IntervalMethod::Normal, row.normal),
        ] {
            let interval = method.interval(row.successes, row.trials, confidence).unwrap();
            let what = format!("{} of {what}", method.name());
            // The normal interval's ends are differences, which the other package rounds too.
            let tolerance = if method == IntervalMethod::Normal { 1e-9 } else { 1e-10 };
            assert_relative(interval.low, low, tolerance, &what);
            assert_relative(interval.high, high, 1e-10, &what);
            assert_relative(interval.estimate, row.successes as f64 / row.trials as f64, 1e-15, &what);
        }
    }
}

#[test]
fn intervals_of_counts_are_exact_where_they_can_be() {
    let half = Confidence::new(0.5).unwrap();
    // One trial: the ends are the tail itself.
    let interval = clopper_pearson(0, 1, half).unwrap();
    assert_eq!((interval.low.to_bits(), interval.estimate.to_bits()), (0, 0));
    assert_relative(interval.high, 0.75, 1e-15, "0 of 1");
    assert_relative(clopper_pearson(1, 1, half).unwrap().low, 0.25, 1e-15, "1 of 1");
    for method in IntervalMethod::ALL {
        for (successes, trials) in [(0, 7), (0, 10_000_000)] {
            let interval = method.interval(successes, trials, half).unwrap();
            assert_eq!(interval.low.to_bits(), 0, "{}", method.name());
            let interval = method.interval(trials, trials, half).unwrap();
            assert_eq!(interval.high.to_bits(), 1.0_f64.to_bits(), "{}", method.name());
        }
        assert_eq!(method.interval(0, 0, half), Err(StatsError::NoTrials));
        let error = Err(StatsError::MoreSuccessesThanTrials { successes: 3, trials: 2 });
        assert_eq!(method.interval(3, 2, half), error);
    }
    let names = IntervalMethod::ALL.map(IntervalMethod::name);
    assert_eq!(names, ["wilson", "clopper-pearson", "jeffreys", "normal"]);
}

proptest! {
    #[test]
    fn exact_intervals_are_ordered_and_symmetric(
        (successes, trials) in (1_u64..=20_000).prop_flat_map(|trials| (0..=trials, Just(trials))),
        level in 0.01..0.9999_f64,
    ) {
        let confidence = Confidence::new(level).unwrap();
        let exact = clopper_pearson(successes, trials, confidence).unwrap();
        let bayes = jeffreys(successes, trials, confidence).unwrap();
        for interval in [exact, bayes] {
            prop_assert!(0.0 <= interval.low && interval.low <= interval.estimate);
            prop_assert!(interval.estimate <= interval.high && interval.high <= 1.0);
        }
        // Jeffreys' interval lies inside the exact one.
        prop_assert!(exact.low <= bayes.low + 1e-12 && bayes.high <= exact.high + 1e-12);
        let mirror = clopper_pearson(trials - successes, trials, confidence).unwrap();
        prop_assert!((mirror.low - (1.0 - exact.high)).abs() < 1e-12);
        let mirror = jeffreys(trials - successes, trials, confidence).unwrap();
        prop_assert!((mirror.high - (1.0 - bayes.low)).abs() < 1e-12);
    }

    /// Clopper and Pearson's interval never covers less than its level, for any rate: summed exactly, not sampled.
    #[test]
    fn clopper_pearson_keeps_its_level(trials in 1_u64..60, rate in 0.001..0.999_f64) {
        let mut covered = 0.0;
        let mut mass = (1.0 - rate).powi(i32::try_from(trials).unwrap());
        for successes in 0..=trials {
            if clopper_pearson(successes, trials, Confidence::NINETY_FIVE).unwrap().contains(rate) {
                covered += mass;
            }
            mass *= (trials - successes) as f64 / (successes + 1) as f64 * rate / (1.0 - rate);
        }
        prop_assert!(covered >= 0.95 - 1e-12, "{covered}");
    }
}

#[test]
fn intervals_describe_themselves() {
    let interval = Interval { estimate: 0.4, low: 0.25, high: 0.75 };
    assert_eq!(
        (interval.width().to_bits(), interval.half_width().to_bits()),
        (0.5_f64.to_bits(), 0.25_f64.to_bits())
    );
    assert!(interval.contains(0.25) && interval.contains(0.75) && interval.contains(0.5));
    assert!(!interval.contains(0.24) && !interval.contains(0.76));
    let normal = normal_interval(2, 8, Confidence::NINETY_FIVE).unwrap();
    assert!(normal.low.to_bits() == 0 && normal.high < 0.56, "{normal:?}");
}

#[derive(Deserialize)]
struct RobustRow {
    clusters: Vec<(u64, u64)>,
    level: f64,
    cr0: f64,
    cr1: f64,
    cr2: f64,
    degrees_of_freedom: f64,
    linear: [f64; 2],
    logit: [f64; 2],
}

#[test]
fn robust_rates_match_the_matrix_formulas() {
    for row in fixture::<RobustRow>("robust.json") {
        let what = format!("{:?} at {}", row.clusters, row.level);
        let confidence = Confidence::new(row.level).unwrap();
        let rate = robust_rate(&clusters(&row.clusters), confidence).unwrap().unwrap();
        assert_relative(rate.cr0, row.cr0, 1e-8, &what);
        assert_relative(rate.cr1, row.cr1, 1e-8, &what);
        assert_relative(rate.cr2, row.cr2, 1e-8, &what);
        assert_relative(rate.degrees_of_freedom, row.degrees_of_freedom, 1e-8, &what);
        for (interval, [low, high]) in [(rate.linear, row.linear), (rate.logit, row.logit)] {
            assert_absolute(interval.low, low, 1e-9, &what);
            assert_absolute(interval.high, high, 1e-9, &what);
            assert_relative(interval.estimate, rate.estimate, 1e-15, &what);
        }
        assert!(rate.score.low <= rate.estimate && rate.estimate <= rate.score.high, "{what}");
    }
}

/// For clusters of one size CR2 is CR1 with G − 1 degrees of freedom, and the score interval that of
/// `clustered_rate`.
#[test]
fn equal_clusters_agree_with_the_effective_sample_size() {
    let counts = clusters(&[(1, 6), (0, 6), (4, 6), (2, 6), (6, 6), (0, 0)]);
    let robust = robust_rate(&counts, Confidence::NINETY_FIVE).unwrap().unwrap();
    let plain = clustered_rate(&counts, Confidence::NINETY_FIVE).unwrap();
    assert_relative(robust.cr2, robust.cr1, 1e-12, "CR2");
    assert_relative(robust.degrees_of_freedom, 4.0, 1e-12, "degrees of freedom");
    assert_relative(robust.score.low, plain.interval.low, 1e-10, "low");
    assert_relative(robust.score.high, plain.interval.high, 1e-10, "high");
    assert_eq!(robust.clusters, 5);
    // Clusters that resemble each other too much do not narrow the interval below Wilson's.
    let even = clusters(&[(3, 6), (3, 6), (3, 6), (2, 6)]);
    let robust = robust_rate(&even, Confidence::NINETY_FIVE).unwrap().unwrap();
    assert_eq!(robust.score, wilson(11, 24, Confidence::NINETY_FIVE).unwrap());
}

#[test]
fn a_robust_rate_needs_clusters_that_differ() {
    let level = Confidence::NINETY_FIVE;
    for counts in [vec![(2, 5)], vec![(0, 5), (0, 3)], vec![(5, 5), (3, 3)], vec![(1, 4), (0, 0)]] {
        assert_eq!(robust_rate(&clusters(&counts), level), Ok(None), "{counts:?}");
        assert_eq!(bootstrap_t_rate(&clusters(&counts), &BootstrapSettings::default()), Ok(None));
    }
    assert_eq!(robust_rate(&[], level), Err(StatsError::NoTrials));
    let wrong = clusters(&[(3, 2), (0, 9)]);
    let error = StatsError::MoreSuccessesThanTrials { successes: 3, trials: 2 };
    assert_eq!(robust_rate(&wrong, level), Err(error));
    assert!(robust_rate(&clusters(&[(u64::MAX, u64::MAX), (0, 1)]), level) == Err(StatsError::TooMany));
}

type Table<'a> = &'a [&'a [(u64, u64)]];

fn cells(counts: Table) -> Vec<CellCount> {
    let mut cells = Vec::new();
    for (question, row) in (0..).zip(counts) {
        for (context, &(successes, trials)) in (0..).zip(*row) {
            cells.push(CellCount { question, context, successes, trials });
        }
    }
    cells
}

/// With three questions of one size the extreme resamples have probability 1/27 each, so that the percentiles are
/// known: the lowest and the highest question.
#[test]
fn a_bootstrapped_rate_of_three_questions_is_known() {
    let table = cells(&[&[(2, 10)], &[(3, 10)], &[(4, 10)]]);
    let result =
        bootstrap_rate(&table, RateResampling::Questions, &BootstrapSettings::default()).unwrap().unwrap();
    let stretch = 1.5_f64.sqrt() * 4.302_652_729_749_464 / 1.959_963_984_540_054;
    assert_relative(result.interval.estimate, 0.3, 1e-12, "estimate");
    assert_relative(result.interval.low, 0.3 - 0.1 * stretch, 1e-9, "low");
    assert_relative(result.interval.high, 0.3 + 0.1 * stretch, 1e-9, "high");
    assert_eq!((result.questions, result.contexts, result.resamples), (3, 1, 4000));
    // The standard deviation of the mean of three draws from {0.2, 0.3, 0.4}.
    assert_absolute(result.standard_error, (2.0_f64 / 3.0).sqrt() * 0.1 / 3.0_f64.sqrt(), 2e-3, "error");
}

#[test]
fn two_way_resampling_sees_contexts() {
    // Contexts differ, questions do not.
    let row: &[(u64, u64)] = &[(0, 4), (1, 4), (2, 4), (4, 4)];
    let table = cells(&[row, row, row, row, row]);
    let settings = BootstrapSettings::default();
    let questions = bootstrap_rate(&table, RateResampling::Questions, &settings).unwrap().unwrap();
    assert_eq!(questions.interval.width().to_bits(), 0);
    let both = bootstrap_rate(&table, RateResampling::QuestionsAndContexts, &settings).unwrap().unwrap();
    assert!(both.interval.low < 0.2 && both.interval.high > 0.7, "{both:?}");
    assert_eq!((both.questions, both.contexts), (5, 4));
    let mut reversed = table;
    reversed.reverse();
    assert_eq!(bootstrap_rate(&reversed, RateResampling::QuestionsAndContexts, &settings), Ok(Some(both)));
    // Parts of a cell add up.
    let halves: Vec<CellCount> = reversed
        .iter()
        .flat_map(|cell| [CellCount { successes: 0, trials: 1, ..*cell }, CellCount { trials: 3, ..*cell }])
        .filter(|cell| cell.successes <= cell.trials)
        .collect();
    let parts = bootstrap_rate(&halves, RateResampling::Questions, &settings).unwrap().unwrap();
    assert_eq!(parts.contexts, 4);
}

#[test]
fn a_bootstrapped_rate_may_have_no_interval() {
    let settings = BootstrapSettings::default();
    let none: [(Table, RateResampling); 4] = [
        (&[&[(1, 2)]], RateResampling::Questions),
        (&[&[(1, 2)], &[(0, 2)]], RateResampling::QuestionsAndContexts),
        (&[&[(0, 2)], &[(0, 2)]], RateResampling::Questions),
        (&[&[(2, 2)], &[(2, 2)], &[(0, 0)]], RateResampling::Questions),
    ];
    for (table, resampling) in none {
        assert_eq!(bootstrap_rate(&cells(table), resampling, &settings), Ok(None), "{table:?}");
    }
    let nothing = BootstrapSettings { resamples: 0, ..settings };
    let table = cells(&[&[(1, 2)], &[(0, 2)]]);
    assert_eq!(bootstrap_rate(&table, RateResampling::Questions, &nothing), Err(StatsError::NoResamples));
    assert_eq!(bootstrap_rate(&[], RateResampling::Questions, &settings), Err(StatsError::NoTrials));
    let counts = clusters(&[(1, 2), (0, 2)]);
    assert_eq!(bootstrap_t_rate(&counts, &nothing), Err(StatsError::NoResamples));
    // Half of all resamples hold one question twice and have no spread.
    assert_eq!(bootstrap_t_rate(&counts, &settings), Ok(None));
}

/// With many alike clusters the pivot is close to a normal number, and the interval to the logit one.
#[test]
fn the_studentised_interval_approaches_the_logit_interval() {
    let counts: Vec<ClusterCount> =
        (0..400).map(|index| ClusterCount { successes: index % 5, trials: 10 }).collect();
    let settings = BootstrapSettings::default();
    let interval = bootstrap_t_rate(&counts, &settings).unwrap().unwrap();
    let logit = robust_rate(&counts, settings.confidence).unwrap().unwrap().logit;
    assert_absolute(interval.low, logit.low, 2e-3, "low");
    assert_absolute(interval.high, logit.high, 2e-3, "high");
    assert!(interval.low < interval.estimate && interval.estimate < interval.high);
}

#[test]
fn a_sweep_counts_every_row_under_every_definition() {
    // Question, alignment, coherence.
    let rows = [
        (0, Some(10.0), Some(80.0)),
        (0, Some(30.0), Some(50.0)),
        (1, Some(29.9), Some(49.9)),
        (1, None, Some(90.0)),
        (2, Some(95.0), None),
    ];
    let outcome = |row: &(u64, Option<f64>, Option<f64>), (below, from): (f64, f64)| {
        let coherent = row.2.is_some_and(|coherence| coherence >= from);
        Outcome::from_flags(coherent && row.1.is_some(), row.1.is_some_and(|alignment| alignment < below))
    };
    let definitions = [(30.0, 50.0), (30.1, 50.0), (30.0, 0.0), (30.0, 99.0)];
    let points = sweep(&rows, &definitions, Confidence::NINETY_FIVE, |row| row.0, outcome).unwrap();
    let counts: Vec<_> = points
        .iter()
        .map(|point| (point.rate.map(|rate| (rate.successes, rate.trials, rate.clusters)), point.excluded))
        .collect();
    assert_eq!(counts, [(Some((1, 2, 1)), 3), (Some((2, 2, 1)), 3), (Some((2, 3, 2)), 2), (None, 5)]);
    assert_eq!(Outcome::from_flags(false, true), Outcome::Excluded);
    assert_eq!(Outcome::from_flags(true, false), Outcome::Failure);
}

#[derive(Deserialize)]
struct RealQuantileRow {
    level: f64,
    degrees_of_freedom: f64,
    quantile: f64,
}

#[test]
fn quantiles_for_real_degrees_of_freedom_match() {
    for row in fixture::<RealQuantileRow>("real_quantiles.json") {
        let actual = Confidence::new(row.level).unwrap().t_quantile_real(row.degrees_of_freedom);
        assert_relative(actual, row.quantile, 1e-9, &format!("{} at {}", row.level, row.degrees_of_freedom));
    }
    let level = Confidence::NINETY_FIVE;
    assert_relative(level.t_quantile_real(0.2), level.t_quantile(1), 1e-10, "clamped");
    assert_relative(level.t_quantile_real(f64::INFINITY), level.normal_quantile(), 1e-15, "normal");
    assert_relative(level.t_quantile_real(f64::NAN), level.normal_quantile(), 1e-15, "no number");
}
