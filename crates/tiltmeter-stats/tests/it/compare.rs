//! Comparisons against `scipy` and `statsmodels`.

use proptest::prelude::*;
use serde::Deserialize;
use tiltmeter_stats::compare::{
    Alternative, Contrast, PairedCount, TwoRates, benjamini_hochberg, boschloo, clustered_difference,
    equivalence, fisher, holm, mcnemar, newcombe, odds_ratio, paired_contrast, risk_ratio,
};
use tiltmeter_stats::{ClusterCount, Confidence, Interval, StatsError, clustered_rate};

use crate::support::{assert_absolute, assert_relative, fixture};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

#[derive(Deserialize)]
struct TwoRow {
    counts: [u64; 4],
    #[serde(rename = "two-sided")]
    two_sided: [f64; 2],
    greater: [f64; 2],
    less: [f64; 2],
    boschloo: Option<[f64; 3]>,
    newcombe: [f64; 3],
    risk_ratio: [f64; 3],
    odds_ratio: [f64; 3],
}

fn two_rates([first_successes, first_trials, second_successes, second_trials]: [u64; 4]) -> TwoRates {
    TwoRates { first_successes, first_trials, second_successes, second_trials }
}

fn assert_interval(actual: Interval, [estimate, low, high]: [f64; 3], what: &str) {
    assert_absolute(actual.estimate, estimate, 1e-10 * estimate.abs().max(1.0), what);
    assert_absolute(actual.low, low, 1e-10 * low.abs().max(1.0), what);
    assert_absolute(actual.high, high, 1e-10 * high.abs().max(1.0), what);
}

#[test]
fn a_clustered_difference_is_newcombes_with_the_ends_of_clustered_rates() {
    let cluster = |successes, trials| ClusterCount { successes, trials };
    // Without successes the ends are Wilson's, and so all of it is Newcombe's.
    let nothing = clustered_difference(&[cluster(0, 10); 5], &[cluster(0, 20); 5], LEVEL).unwrap();
    assert_eq!(nothing, newcombe(two_rates([0, 50, 0, 100]), LEVEL).unwrap());
    assert!(nothing.low < 0.0 && nothing.high > 0.0);
    let first = [cluster(9, 10), cluster(1, 10), cluster(5, 10), cluster(0, 10)];
    let second = [cluster(1, 10), cluster(0, 10), cluster(2, 10), cluster(0, 10)];
    let (one, other) =
        (clustered_rate(&first, LEVEL).unwrap().interval, clustered_rate(&second, LEVEL).unwrap().interval);
    let result = clustered_difference(&first, &second, LEVEL).unwrap();
    assert_absolute(result.estimate, 15.0 / 40.0 - 3.0 / 40.0, 1e-12, "difference");
    let low = 0.3 - ((0.375 - one.low).powi(2) + (other.high - 0.075).powi(2)).sqrt();
    let high = 0.3 + ((one.high - 0.375).powi(2) + (0.075 - other.low).powi(2)).sqrt();
    assert_absolute(result.low, low, 1e-12, "low");
    assert_absolute(result.high, high, 1e-12, "high");
    // Clustering makes it wider.
    assert!(result.width() > newcombe(two_rates([15, 40, 3, 40]), LEVEL).unwrap().width());
    assert_eq!(clustered_difference(&[], &second, LEVEL), Err(StatsError::NoTrials));
}

#[test]
fn two_rates_match_scipy_and_statsmodels() {
    for row in fixture::<TwoRow>("two_rates.json") {
        let counts = two_rates(row.counts);
        let what = format!("{:?}", row.counts);
        for (alternative, [p_value, mid]) in [
            (Alternative::TwoSided, row.two_sided),
            (Alternative::Greater, row.greater),
            (Alternative::Less, row.less),
        ] {
            let result = fisher(counts, alternative).unwrap();
            assert_absolute(result.p_value, p_value, 1e-10, &what);
            assert_absolute(result.mid_p_value, mid, 1e-10, &what);
        }
        if let Some(values) = row.boschloo {
            let alternatives = [Alternative::Less, Alternative::Greater, Alternative::TwoSided];
            for (alternative, value) in alternatives.into_iter().zip(values) {
                let actual = boschloo(counts, alternative).unwrap();
                // SciPy's search for the nuisance rate is less thorough; ours may be above, never below.
                assert!(actual >= value - 1e-9 && actual <= value + 2e-4, "{what}: {actual}, {value}");
                if alternative != Alternative::TwoSided {
                    assert!(actual <= fisher(counts, alternative).unwrap().p_value + 1e-9, "{what}");
                }
            }
        }
        assert_interval(newcombe(counts, LEVEL).unwrap(), row.newcombe, &what);
        assert_interval(risk_ratio(counts, LEVEL).unwrap(), row.risk_ratio, &what);
        assert_interval(odds_ratio(counts, LEVEL).unwrap(), row.odds_ratio, &what);
    }
}

#[test]
fn exact_tests_are_exact_where_known() {
    // Two of two against none of two: of 6 tables one is as extreme on either side.
    let counts = two_rates([2, 2, 0, 2]);
    let result = fisher(counts, Alternative::TwoSided).unwrap();
    assert_absolute(result.p_value, 1.0 / 3.0, 1e-15, "two-sided");
    assert_absolute(result.mid_p_value, 1.0 / 6.0, 1e-15, "mid");
    // Boschloo: p²(1 − p)² at ½.
    assert_absolute(boschloo(counts, Alternative::Greater).unwrap(), 1.0 / 16.0, 1e-12, "Boschloo");
    assert_absolute(boschloo(counts, Alternative::Less).unwrap(), 1.0, 1e-12, "Boschloo");
    assert_absolute(boschloo(counts, Alternative::TwoSided).unwrap(), 0.125, 1e-12, "Boschloo");
    // Big tables do not overflow, and far tails are 0.
    let large = two_rates([5_000_000, 10_000_000, 5_010_000, 10_000_000]);
    let p = fisher(large, Alternative::TwoSided).unwrap().p_value;
    assert_relative(p, 7.744e-6, 0.02, "normal approximation");
    let refused = boschloo(large, Alternative::TwoSided).unwrap_err();
    assert!(refused.to_string().starts_with("the product of both numbers of trials of 100000000000000 is"));
    for counts in [[0, 0, 1, 2], [1, 2, 0, 0]] {
        assert_eq!(newcombe(two_rates(counts), LEVEL), Err(StatsError::NoTrials));
        assert_eq!(boschloo(two_rates(counts), Alternative::Less), Err(StatsError::NoTrials));
    }
    let error = StatsError::MoreSuccessesThanTrials { successes: 3, trials: 2 };
    assert_eq!(fisher(two_rates([3, 2, 1, 4]), Alternative::Less), Err(error));
    assert_eq!(risk_ratio(two_rates([1, 2, 3, 2]), LEVEL), Err(error));
    assert_eq!(odds_ratio(two_rates([1, u64::MAX, 1, 2]), LEVEL), Err(StatsError::TooMany));
}

proptest! {
    #[test]
    fn exchanging_conditions_mirrors_comparisons(
        (x1, n1) in (1_u64..30).prop_flat_map(|n| (0..=n, Just(n))),
        (x2, n2) in (1_u64..30).prop_flat_map(|n| (0..=n, Just(n))),
    ) {
        let (there, back) = (two_rates([x1, n1, x2, n2]), two_rates([x2, n2, x1, n1]));
        let (one, other) = (newcombe(there, LEVEL).unwrap(), newcombe(back, LEVEL).unwrap());
        prop_assert!((one.low + other.high).abs() < 1e-12 && (one.high + other.low).abs() < 1e-12);
        let (one, other) = (odds_ratio(there, LEVEL).unwrap(), odds_ratio(back, LEVEL).unwrap());
        prop_assert!((one.low * other.high - 1.0).abs() < 1e-9);
        let less = fisher(there, Alternative::Less).unwrap();
        let greater = fisher(back, Alternative::Greater).unwrap();
        prop_assert!((less.p_value - greater.p_value).abs() < 1e-12);
        prop_assert!((less.mid_p_value - greater.mid_p_value).abs() < 1e-12);
        let two_sided = fisher(there, Alternative::TwoSided).unwrap();
        prop_assert!(two_sided.p_value <= 1.0 && two_sided.mid_p_value <= two_sided.p_value);
    }
}

#[derive(Deserialize)]
struct McNemarRow {
    first_only: u64,
    second_only: u64,
    p_value: f64,
    mid_p_value: f64,
}

#[test]
fn mcnemar_matches_statsmodels() {
    for row in fixture::<McNemarRow>("mcnemar.json") {
        for (first, second) in [(row.first_only, row.second_only), (row.second_only, row.first_only)] {
            let result = mcnemar(first, second).unwrap();
            assert_relative(result.p_value, row.p_value, 1e-9, &format!("{first} and {second}"));
            assert_relative(result.mid_p_value, row.mid_p_value, 1e-9, &format!("{first} and {second}"));
        }
    }
    assert_eq!(mcnemar(u64::MAX, 1), Err(StatsError::TooMany));
}

#[derive(Deserialize)]
struct FamilyRow {
    p_values: Vec<f64>,
    holm: Vec<f64>,
    benjamini_hochberg: Vec<f64>,
}

#[test]
fn families_match_statsmodels() {
    for row in fixture::<FamilyRow>("families.json") {
        for (actual, expected) in [
            (holm(&row.p_values).unwrap(), &row.holm),
            (benjamini_hochberg(&row.p_values).unwrap(), &row.benjamini_hochberg),
        ] {
            assert_eq!(actual.len(), expected.len());
            for (one, other) in actual.iter().zip(expected) {
                assert_absolute(*one, *other, 1e-12, &format!("{:?}", row.p_values));
            }
        }
    }
    assert_eq!(holm(&[]), Ok(vec![]));
    assert!(matches!(holm(&[0.5, 1.1]), Err(StatsError::OutOfRange { .. })));
    assert!(matches!(benjamini_hochberg(&[f64::NAN]), Err(StatsError::OutOfRange { .. })));
}

#[derive(Deserialize)]
struct PairedRow {
    table: Vec<[u64; 4]>,
    correlation: f64,
    questions: usize,
    difference: [f64; 6],
    risk_ratio: [f64; 6],
    odds_ratio: [f64; 6],
}

fn paired(table: &[[u64; 4]]) -> Vec<PairedCount> {
    table
        .iter()
        .map(|&[x1, n1, x2, n2]| PairedCount {
            first: ClusterCount { successes: x1, trials: n1 },
            second: ClusterCount { successes: x2, trials: n2 },
        })
        .collect()
}

#[test]
fn paired_contrasts_match_the_robust_regression() {
    for row in fixture::<PairedRow>("paired.json") {
        let pairs = paired(&row.table);
        for (contrast, [estimate, error, unpaired, low, high, p_value]) in [
            (Contrast::Difference, row.difference),
            (Contrast::RiskRatio, row.risk_ratio),
            (Contrast::OddsRatio, row.odds_ratio),
        ] {
            let what = format!("{contrast:?} of {} questions", row.questions);
            let result = paired_contrast(&pairs, contrast, LEVEL).unwrap();
            assert_relative(result.standard_error, error, 1e-8, &what);
            assert_relative(result.unpaired_standard_error, unpaired, 1e-8, &what);
            assert_absolute(result.p_value, p_value, 1e-9, &what);
            assert_absolute(result.correlation, row.correlation, 1e-9, &what);
            let ends = [estimate, low, high];
            let ends = if contrast == Contrast::Difference { ends } else { ends.map(f64::exp) };
            assert_absolute(result.interval.estimate, ends[0], 1e-9 * ends[0].abs().max(1.0), &what);
            assert_absolute(result.interval.low, ends[1], 1e-9 * ends[1].abs().max(1.0), &what);
            assert_absolute(result.interval.high, ends[2], 1e-9 * ends[2].abs().max(1.0), &what);
            assert_eq!(
                (result.questions, result.degrees_of_freedom),
                (row.questions, row.questions as u64 - 1)
            );
        }
    }
}

#[test]
fn paired_contrasts_at_the_edges() {
    // Every question differs by the same: no spread.
    let constant = paired(&[[1, 4, 2, 4], [2, 4, 3, 4], [0, 4, 1, 4]]);
    let result = paired_contrast(&constant, Contrast::Difference, LEVEL).unwrap();
    assert_absolute(result.interval.estimate, -0.25, 1e-15, "difference");
    assert_absolute(result.interval.width(), 0.0, 1e-7, "width");
    assert!(result.p_value < 1e-6 && result.correlation > 0.999_999);
    let equal = paired(&[[2, 4, 2, 4], [2, 4, 2, 4], [0, 0, 0, 0]]);
    let result = paired_contrast(&equal, Contrast::Difference, LEVEL).unwrap();
    assert_eq!((result.p_value.to_bits(), result.questions), (1.0_f64.to_bits(), 2));
    let apart = paired(&[[4, 4, 0, 4], [4, 4, 0, 4]]);
    let result = paired_contrast(&apart, Contrast::Difference, LEVEL).unwrap();
    assert_eq!((result.p_value.to_bits(), result.interval.high.to_bits()), (0, 1.0_f64.to_bits()));
    for (table, contrast) in [
        (vec![[0, 4, 2, 4], [0, 4, 1, 4]], Contrast::RiskRatio),
        (vec![[1, 4, 0, 4], [2, 4, 0, 4]], Contrast::OddsRatio),
        (vec![[4, 4, 1, 4], [4, 4, 2, 4]], Contrast::OddsRatio),
    ] {
        assert!(matches!(
            paired_contrast(&paired(&table), contrast, LEVEL),
            Err(StatsError::Undefined { .. })
        ));
    }
    assert!(paired_contrast(&paired(&[[4, 4, 1, 4], [4, 4, 2, 4]]), Contrast::RiskRatio, LEVEL).is_ok());
    let alone = paired_contrast(&paired(&[[1, 4, 1, 4]]), Contrast::Difference, LEVEL);
    assert_eq!(alone, Err(StatsError::TooFew { what: "questions", needed: 2, given: 1 }));
    let empty = paired_contrast(&paired(&[[1, 4, 0, 0], [1, 4, 0, 0]]), Contrast::Difference, LEVEL);
    assert_eq!(empty, Err(StatsError::NoTrials));
}

#[derive(Deserialize)]
struct EquivalenceRow {
    estimate: f64,
    standard_error: f64,
    degrees_of_freedom: Option<f64>,
    margin: (f64, f64),
    lower: f64,
    upper: f64,
    interval: (f64, f64),
}

#[test]
fn equivalence_matches_scipy() {
    for row in fixture::<EquivalenceRow>("equivalence.json") {
        let degrees = row.degrees_of_freedom.unwrap_or(f64::INFINITY);
        let result = equivalence(row.estimate, row.standard_error, degrees, row.margin, LEVEL).unwrap();
        assert_absolute(result.lower_p_value, row.lower, 1e-9, "lower");
        assert_absolute(result.upper_p_value, row.upper, 1e-9, "upper");
        assert_absolute(result.p_value, row.lower.max(row.upper), 1e-9, "p");
        assert_absolute(result.interval.low, row.interval.0, 1e-9, "low");
        assert_absolute(result.interval.high, row.interval.1, 1e-9, "high");
        let inside = row.margin.0 < row.interval.0 && row.interval.1 < row.margin.1;
        assert_eq!(result.equivalent, inside);
    }
    let refused = |estimate, error, degrees, margin| {
        equivalence(estimate, error, degrees, margin, LEVEL).unwrap_err().to_string()
    };
    assert!(refused(f64::NAN, 1.0, 5.0, (-1.0, 1.0)).starts_with("value 0 of the estimate"));
    assert!(refused(0.0, 0.0, 5.0, (-1.0, 1.0)).starts_with("the standard error of 0"));
    assert!(refused(0.0, 1.0, f64::NAN, (-1.0, 1.0)).starts_with("degrees of freedom of NaN"));
    assert!(refused(0.0, 1.0, 0.0, (-1.0, 1.0)).starts_with("degrees of freedom of 0"));
    assert!(refused(0.0, 1.0, 5.0, (1.0, 1.0)).starts_with("the lower margin of 1"));
    let low = equivalence(0.0, 1.0, 5.0, (-1.0, 1.0), Confidence::new(0.4).unwrap());
    assert!(matches!(low, Err(StatsError::Confidence(_))));
}
