//! What holds for all rates, and what is refused.

use proptest::prelude::*;
use tiltmeter_stats::{
    ClusterCount, Confidence, Interval, RateMethod, StatsError, clustered_rate, wilson, wilson_with,
};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

fn counts() -> impl Strategy<Value = (u64, u64)> {
    (1_u64..=10_000_000).prop_flat_map(|trials| (0..=trials, Just(trials)))
}

fn clusters() -> impl Strategy<Value = Vec<ClusterCount>> {
    let cluster = (0_u64..40)
        .prop_flat_map(|trials| (0..=trials, Just(trials)))
        .prop_map(|(successes, trials)| ClusterCount { successes, trials });
    prop::collection::vec(cluster, 1..20)
        .prop_filter("at least one trial", |clusters| clusters.iter().any(|cluster| cluster.trials > 0))
}

fn contains(outer: Interval, inner: Interval) -> bool {
    outer.low <= inner.low + 1e-12 && outer.high >= inner.high - 1e-12
}

proptest! {
    #[test]
    fn wilson_is_ordered_symmetric_and_monotone((successes, trials) in counts(), level in 0.01..0.9999_f64) {
        let confidence = Confidence::new(level).unwrap();
        let interval = wilson(successes, trials, confidence).unwrap();
        prop_assert!(0.0 <= interval.low && interval.low <= interval.estimate);
        prop_assert!(interval.estimate <= interval.high && interval.high <= 1.0);
        let complement = wilson(trials - successes, trials, confidence).unwrap();
        prop_assert!((interval.low - (1.0 - complement.high)).abs() < 1e-12);
        prop_assert!((interval.high - (1.0 - complement.low)).abs() < 1e-12);
        let wider = wilson(successes, trials, Confidence::new(level.midpoint(1.0)).unwrap()).unwrap();
        prop_assert!(contains(wider, interval));
        prop_assert!(wider.width() > interval.width());
    }

    #[test]
    fn a_clustered_interval_contains_wilsons(clusters in clusters(), level in 0.5..0.999_f64) {
        let confidence = Confidence::new(level).unwrap();
        let rate = clustered_rate(&clusters, confidence).unwrap();
        let plain = wilson(rate.successes, rate.trials, confidence).unwrap();
        prop_assert!(contains(rate.interval, plain));
        prop_assert!(0.0 <= rate.interval.low && rate.interval.high <= 1.0);
        prop_assert!(rate.effective_trials <= rate.trials as f64);
        prop_assert_eq!(rate.method == RateMethod::Wilson, rate.interval == plain);

        let complements: Vec<ClusterCount> = clusters
            .iter()
            .map(|&ClusterCount { successes, trials }| ClusterCount { successes: trials - successes, trials })
            .collect();
        let complement = clustered_rate(&complements, confidence).unwrap();
        prop_assert!((rate.interval.low - (1.0 - complement.interval.high)).abs() < 1e-9);
        prop_assert!((rate.interval.high - (1.0 - complement.interval.low)).abs() < 1e-9);

        let wider = clustered_rate(&clusters, Confidence::new(level.midpoint(1.0)).unwrap()).unwrap();
        prop_assert!(contains(wider.interval, rate.interval));
    }
}

#[test]
fn without_a_variance_between_clusters_the_interval_is_wilsons() {
    let cases: [&[(u64, u64)]; 5] =
        [&[(0, 3), (0, 5)], &[(3, 3), (5, 5)], &[(2, 9)], &[(0, 0), (2, 9), (0, 0)], &[(1, 1)]];
    for case in cases {
        let clusters: Vec<ClusterCount> =
            case.iter().map(|&(successes, trials)| ClusterCount { successes, trials }).collect();
        let rate = clustered_rate(&clusters, LEVEL).unwrap();
        assert_eq!(rate.interval, wilson(rate.successes, rate.trials, LEVEL).unwrap(), "{case:?}");
        assert_eq!((rate.method.name(), rate.design_effect), ("wilson", None), "{case:?}");
    }
    let rate = clustered_rate(
        &[(0, 0), (2, 9)].map(|(successes, trials)| ClusterCount { successes, trials }),
        LEVEL,
    );
    assert_eq!(rate.unwrap().clusters, 1);
}

#[test]
fn extreme_levels_give_intervals_too() {
    let clusters = [(1, 4), (3, 4), (0, 9)].map(|(successes, trials)| ClusterCount { successes, trials });
    for level in [0.001, 0.01, 0.99999, 0.999_999] {
        let rate = clustered_rate(&clusters, Confidence::new(level).unwrap()).unwrap();
        let Interval { estimate, low, high } = rate.interval;
        assert!(0.0 <= low && low <= estimate && estimate <= high && high <= 1.0, "{level}: {rate:?}");
    }
}

#[test]
fn an_interval_without_a_rate_is_refused() {
    let clustered = |clusters: &[(u64, u64)]| {
        let clusters: Vec<ClusterCount> =
            clusters.iter().map(|&(successes, trials)| ClusterCount { successes, trials }).collect();
        clustered_rate(&clusters, LEVEL).map(|rate| rate.interval)
    };
    let cases = [
        (wilson(0, 0, LEVEL), "a rate needs at least one trial"),
        (wilson(3, 2, LEVEL), "3 successes in 2 trials: successes are a part of the trials"),
        (clustered(&[]), "a rate needs at least one trial"),
        (clustered(&[(0, 0)]), "a rate needs at least one trial"),
        // Not caught by the sums, which fit.
        (clustered(&[(3, 2), (0, 5)]), "3 successes in 2 trials: successes are a part of the trials"),
        (clustered(&[(1, 0), (0, 5)]), "1 successes in 0 trials: successes are a part of the trials"),
        (clustered(&[(0, u64::MAX), (0, 1)]), "the counts add up to more than 64 bits hold"),
        (wilson_with(f64::NAN, 5.0, 1.96), "rate NaN is not between 0 and 1"),
        (wilson_with(1.5, 5.0, 1.96), "rate 1.5 is not between 0 and 1"),
        (wilson_with(0.5, 0.0, 1.96), "effective number of trials 0 is not a positive, finite number"),
        (
            wilson_with(0.5, f64::INFINITY, 1.96),
            "effective number of trials inf is not a positive, finite number",
        ),
        (wilson_with(0.5, 5.0, f64::NAN), "normal quantile NaN is not a positive, finite number"),
    ];
    for (result, message) in cases {
        assert_eq!(result.unwrap_err().to_string(), message);
    }
    for level in [0.0, f64::MIN_POSITIVE, 1.0_f64.next_down(), 1.0, -0.5, 95.0, f64::NAN] {
        assert!(matches!(Confidence::new(level), Err(StatsError::Confidence(_))), "{level}");
    }
}
