//! Agreement where the answer is known without another package.

use tiltmeter_stats::agreement::{
    AgreementTable, AlphaMetric, KappaWeights, auroc, calibration, kappa, krippendorff_alpha,
    krippendorff_alpha_interval,
};
use tiltmeter_stats::{BootstrapSettings, Confidence, Interval};

use crate::support::assert_absolute;

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// Seven of ten on the diagonal, two beside it; by chance 0.34 and 0.48.
#[test]
fn observed_and_expected_agreement_are_weighted_by_distance() {
    let table = AgreementTable::from_counts(&[vec![2, 1, 0], vec![0, 3, 1], vec![1, 0, 2]]).unwrap();
    for (weights, beside, apart) in [
        (KappaWeights::None, 0.0, 0.0),
        (KappaWeights::Linear, 0.5, 0.0),
        (KappaWeights::Quadratic, 0.75, 0.0),
    ] {
        let result = kappa(&table, weights, LEVEL).unwrap();
        assert_absolute(result.observed, 0.7 + 0.2 * beside + 0.1 * apart, 1e-12, "observed");
        assert_absolute(result.expected, 0.34 + 0.48 * beside + 0.18 * apart, 1e-12, "expected");
    }
}

/// For values of 0 and 1 the squared difference is that of being equal or not.
#[test]
fn both_metrics_agree_on_two_values() {
    let units = [vec![0.0, 0.0], vec![0.0, 1.0]];
    let settings = BootstrapSettings::default();
    let (alpha, interval) = krippendorff_alpha_interval(&units, AlphaMetric::Interval, &settings).unwrap();
    assert_absolute(alpha.estimate, 0.0, 1e-12, "estimate");
    // As in `the_interval_of_alpha_is_known_for_two_items`.
    assert_absolute(interval.low, -0.5, 1e-12, "low");
    assert_absolute(interval.high, 1.0, 1e-12, "high");
}

#[test]
fn alpha_does_not_depend_on_where_the_scale_begins() {
    let units = [vec![1.0, 2.0, 2.0], vec![4.0, 5.0], vec![3.0, 3.0, 1.0, 2.0], vec![5.0, 4.0]];
    let shifted: Vec<Vec<f64>> =
        units.iter().map(|unit| unit.iter().map(|value| value + 1e9).collect()).collect();
    let alpha = |units: &[Vec<f64>]| krippendorff_alpha(units, AlphaMetric::Interval).unwrap().estimate;
    assert_absolute(alpha(&shifted), alpha(&units), 1e-6, "alpha");
}

#[test]
fn a_judge_that_is_always_wrong_has_an_area_of_0() {
    let result = auroc(&[1.0, 2.0, 3.0, 4.0], &[true, true, false, false], LEVEL).unwrap();
    assert_eq!(result.logit, Interval { estimate: 0.0, low: 0.0, high: 0.0 });
}

#[test]
fn bins_without_rows_are_left_out() {
    let curve = calibration(&[0.1, 0.9], &[false, true], 5, LEVEL).unwrap();
    let ends: Vec<(f64, f64)> = curve.bins.iter().map(|bin| (bin.from, bin.to)).collect();
    assert_eq!(ends, [(0.0, 0.2), (0.8, 1.0)]);
}

/// One resample in four holds the first item alone, whose values are all the same and so agree, far from the mean of all
/// as they are and whatever rounding leaves of their differences.
#[test]
fn resamples_of_one_value_agree() {
    let settings = BootstrapSettings::default();
    for step in 1..40 {
        let value = 7.7 * f64::from(step);
        let units = [vec![value; 3], vec![value + 20.3, value + 40.9]];
        let (_, interval) = krippendorff_alpha_interval(&units, AlphaMetric::Interval, &settings).unwrap();
        assert_absolute(interval.high, 1.0, 1e-9, &format!("{value}"));
    }
}
