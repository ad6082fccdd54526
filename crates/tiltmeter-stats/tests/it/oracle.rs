//! Figures from `scipy`, `statsmodels` and `mpmath`; see `fixtures/make_wilson.py`.

use serde::Deserialize;
use tiltmeter_stats::{ClusterCount, Confidence, RateMethod, clustered_rate, wilson, wilson_with};

use crate::support::{assert_relative, fixture};

#[derive(Deserialize)]
struct QuantileRow {
    level: f64,
    degrees_of_freedom: Option<u64>,
    quantile: f64,
}

#[test]
fn quantiles_match_scipy() {
    for QuantileRow { level, degrees_of_freedom, quantile } in fixture("quantiles.json") {
        let confidence = Confidence::new(level).unwrap();
        let actual = degrees_of_freedom
            .map_or_else(|| confidence.normal_quantile(), |degrees| confidence.t_quantile(degrees));
        assert_relative(actual, quantile, 1e-10, &format!("{level} at {degrees_of_freedom:?}"));
    }
}

#[derive(Deserialize)]
struct WilsonRow {
    successes: u64,
    trials: u64,
    level: f64,
    low: f64,
    high: f64,
}

/// Relative, so that an end near 0 is right in its digits too, not only in its smallness.
#[test]
fn wilson_matches_fifty_digits() {
    for WilsonRow { successes, trials, level, low, high } in fixture("wilson.json") {
        let interval = wilson(successes, trials, Confidence::new(level).unwrap()).unwrap();
        let what = format!("{successes}/{trials} at {level}");
        assert_relative(interval.low, low, 1e-10, &what);
        assert_relative(interval.high, high, 1e-10, &what);
        // The ends at 0 and 1 are exact, as the tolerance is relative for the one and this for the other.
        assert_eq!(interval.high.to_bits() == 1.0_f64.to_bits(), successes == trials, "{what}");
    }
}

#[derive(Deserialize)]
struct WilsonRealRow {
    rate: f64,
    trials: f64,
    quantile: f64,
    low: f64,
    high: f64,
}

/// Fractions of a trial are what an effective sample size can come to.
#[test]
fn wilson_with_real_trials_matches_fifty_digits() {
    for WilsonRealRow { rate, trials, quantile, low, high } in fixture("wilson_real.json") {
        let interval = wilson_with(rate, trials, quantile).unwrap();
        let what = format!("{rate} of {trials} at {quantile}");
        assert_relative(interval.low, low, 1e-10, &what);
        assert_relative(interval.high, high, 1e-10, &what);
    }
}

#[derive(Deserialize)]
struct ClusterRow {
    clusters: Vec<(u64, u64)>,
    level: f64,
    variance: f64,
    design_effect: f64,
    effective_trials: f64,
    low: f64,
    high: f64,
}

#[test]
fn clustered_rates_match_statsmodels() {
    for row in fixture::<ClusterRow>("clusters.json") {
        let clusters: Vec<ClusterCount> =
            row.clusters.iter().map(|&(successes, trials)| ClusterCount { successes, trials }).collect();
        let confidence = Confidence::new(row.level).unwrap();
        let rate = clustered_rate(&clusters, confidence).unwrap();
        let what = format!("{:?} at {}", row.clusters, row.level);
        let p = rate.interval.estimate;
        let design_effect = rate.design_effect.unwrap();
        let variance = design_effect * p * (1.0 - p) / rate.trials as f64;
        assert!((variance - row.variance).abs() <= 1e-8 * row.variance.max(1e-8), "{what}: {variance}");
        assert!((design_effect - row.design_effect).abs() <= 1e-8 * row.design_effect.max(1e-8), "{what}");
        assert_relative(rate.effective_trials, row.effective_trials, 1e-8, &what);
        assert_relative(rate.interval.low, row.low, 1e-8, &what);
        assert_relative(rate.interval.high, row.high, 1e-8, &what);
        let narrowed = row.effective_trials < rate.trials as f64;
        assert_eq!(rate.method == RateMethod::WilsonEffectiveN, narrowed, "{what}");
        if narrowed {
            let direct = wilson_with(p, rate.effective_trials, confidence.normal_quantile()).unwrap();
            assert_eq!(rate.interval, direct, "{what}");
        }
    }
}
