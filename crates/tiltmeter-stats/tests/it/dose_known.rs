//! Regressions where the answer is known without another package.

use tiltmeter_stats::dose::{
    DoseCount, LogisticRow, Penalty, PowerLawPoint, compare_slopes, logistic, onset, power_law,
};
use tiltmeter_stats::{Confidence, StatsError};

use crate::support::{assert_absolute, assert_relative};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

fn row(successes: u64, trials: u64, covariates: &[f64], cluster: u64) -> LogisticRow {
    LogisticRow { successes, trials, covariates: covariates.to_vec(), cluster }
}

/// Newton's method without halved steps runs away from these counts. At the maximum the fitted successes, and those
/// times the covariate, add up to the observed ones.
#[test]
fn a_fit_whose_steps_overshoot_arrives() {
    let counts = [(4, 4, -5.92), (3, 5, -25.74), (2, 2, 11.13), (524, 525, 0.26), (17_385, 17_386, -16.78)];
    let rows: Vec<LogisticRow> =
        (0..).zip(counts).map(|(at, (successes, trials, x))| row(successes, trials, &[x], at)).collect();
    let fit = logistic(&rows, Penalty::None, LEVEL).unwrap();
    let (mut of_constant, mut of_slope) = (0.0, 0.0);
    for (successes, trials, x) in counts {
        let miss = successes as f64 - trials as f64 * fit.rate(&[x]);
        of_constant += miss;
        of_slope += miss * x;
    }
    assert_absolute(of_constant, 0.0, 1e-6, "constant");
    assert_absolute(of_slope, 0.0, 1e-5, "slope");
}

/// As above for the penalised likelihood, which falls from the fit in every direction: `ln L + ½ ln (a c − b²)`, with the
/// information's a, b and c.
#[test]
fn penalised_fits_whose_steps_overshoot_arrive() {
    for counts in [
        vec![(31, 41, 0.72), (1, 7, 31.7), (1, 284, -3.13), (1, 136, 2.04)],
        vec![(1, 13, -0.23), (0, 2, -39.57), (1, 19, 4.17)],
        vec![(3, 3, 7.63), (1, 76_855, 0.13), (1, 1703, -1.68)],
        vec![
            (33_660, 35_341, -1.66),
            (9406, 9407, -0.29),
            (12, 14, -244.92),
            (65, 111, -0.11),
            (1, 2, -0.19),
            (2, 3, 0.55),
        ],
    ] {
        let rows: Vec<LogisticRow> = (0..)
            .zip(&counts)
            .map(|(at, &(successes, trials, x))| row(successes, trials, &[x], at))
            .collect();
        let fit = logistic(&rows, Penalty::Firth, LEVEL).unwrap();
        let [constant, slope] = [0, 1].map(|at: usize| fit.coefficients[at].interval.estimate);
        let at_fit = penalised_likelihood(&counts, constant, slope);
        for (of_constant, of_slope) in
            [(1.0, 0.0), (-1.0, 0.0), (0.0, 0.1), (0.0, -0.1), (1.0, 0.1), (1.0, -0.1)]
        {
            let (of_constant, of_slope) = (of_constant * 1e-3, of_slope * 1e-3);
            let beside = penalised_likelihood(&counts, constant + of_constant, slope + of_slope);
            assert!(beside < at_fit, "{counts:?}: {of_constant} {of_slope}");
        }
    }
}

fn penalised_likelihood(counts: &[(u64, u64, f64)], constant: f64, slope: f64) -> f64 {
    let mut likelihood = 0.0;
    let mut information = [0.0; 3];
    for &(successes, trials, x) in counts {
        let rate = 1.0 / (1.0 + (-(constant + slope * x)).exp());
        likelihood += successes as f64 * rate.ln() + (trials - successes) as f64 * (1.0 - rate).ln();
        let weight = trials as f64 * rate * (1.0 - rate);
        for (sum, part) in information.iter_mut().zip([weight, weight * x, weight * x * x]) {
            *sum += part;
        }
    }
    likelihood + 0.5 * (information[0] * information[2] - information[1] * information[1]).ln()
}

/// With a constant alone Firth's penalty is half a success and half a failure more, so that the penalised likelihood is
/// `p^(s + ½) (1 − p)^(f + ½)`; an end of the profile is where its logarithm has fallen by z²/2.
#[test]
fn a_profile_of_one_rate_ends_where_its_likelihood_has_fallen() {
    let rows = [row(3, 10, &[], 0), row(1, 8, &[], 1)];
    for level in [0.5, 0.95, 0.9999] {
        let confidence = Confidence::new(level).unwrap();
        let fit = logistic(&rows, Penalty::Firth, confidence).unwrap();
        let log_likelihood = |logit: f64| {
            let p = 1.0 / (1.0 + (-logit).exp());
            4.5 * p.ln() + 14.5 * (1.0 - p).ln()
        };
        let profile = fit.coefficients[0].profile.unwrap();
        assert_absolute(profile.estimate, (4.5_f64 / 14.5).ln(), 1e-9, "estimate");
        let z = confidence.normal_quantile();
        for end in [profile.low, profile.high] {
            let fall = 2.0 * (log_likelihood(profile.estimate) - log_likelihood(end));
            assert_relative(fall, z * z, 1e-7, &format!("{end} at {level}"));
        }
    }
}

/// As above, with counts for which a step of the size of z would leave all that can be computed.
#[test]
fn a_profile_of_very_many_trials_is_very_narrow() {
    let rows = [row(30_000_000, 100_000_000, &[], 0), row(10_000_000, 80_000_000, &[], 1)];
    let fit = logistic(&rows, Penalty::Firth, LEVEL).unwrap();
    let profile = fit.coefficients[0].profile.unwrap();
    // The likelihood of so many trials is a normal one: 1 / √(n p (1 − p)).
    let p = 40.0 / 180.0;
    let error = 1.0 / (180e6_f64 * p * (1.0 - p)).sqrt();
    assert_relative(profile.high - profile.low, 2.0 * LEVEL.normal_quantile() * error, 1e-3, "width");
}

/// Two groups: Firth's penalty is half a success and half a failure more in each, whatever the unit of the covariate
/// that tells them apart.
#[test]
fn a_slope_and_its_profile_scale_with_the_covariate() {
    let fit = |unit: f64, penalty: Penalty| {
        let rows =
            [row(1, 10, &[0.0], 0), row(1, 10, &[0.0], 1), row(1, 5, &[unit], 0), row(0, 5, &[unit], 1)];
        logistic(&rows, penalty, LEVEL).unwrap().coefficients[1]
    };
    let profile = fit(1.0, Penalty::Firth).profile.unwrap();
    for unit in [1e-3, 1.0, 1e9] {
        let scaled = fit(unit, Penalty::Firth).profile.unwrap();
        let slope = (1.5_f64 / 9.5).ln() - (2.5_f64 / 18.5).ln();
        assert_relative(scaled.estimate * unit, slope, 1e-7, "estimate");
        assert_relative(scaled.low * unit, profile.low, 1e-6, "low");
        assert_relative(scaled.high * unit, profile.high, 1e-6, "high");
    }
    // Without the penalty: two of ten against two of twenty.
    let rows = |unit: f64| {
        let counts = [(1, 10, 0.0, 0), (1, 10, 0.0, 1), (1, 5, unit, 0), (1, 5, unit, 1)];
        counts.map(|(successes, trials, x, cluster)| row(successes, trials, &[x], cluster))
    };
    for unit in [1e-9, 1.0, 1e9] {
        let slope = logistic(&rows(unit), Penalty::None, LEVEL).unwrap().coefficients[1].interval.estimate;
        assert_relative(slope * unit, (2.0_f64 / 8.0).ln() - (1.0_f64 / 9.0).ln(), 1e-9, "slope");
    }
}

#[test]
fn a_fit_without_residuals_has_no_p_value_and_its_slopes_no_test() {
    let fit = logistic(&[row(2, 4, &[], 0), row(2, 4, &[], 1)], Penalty::None, LEVEL).unwrap();
    let coefficient = fit.coefficients[0];
    assert_eq!((coefficient.interval.estimate.to_bits(), coefficient.cr2_error.to_bits()), (0, 0));
    assert!(coefficient.p_value.is_nan());
    let subject: Vec<DoseCount> = (0..4)
        .flat_map(|cluster| [0, 3].map(|shots| DoseCount { shots, successes: 2, trials: 4, cluster }))
        .collect();
    let compared = compare_slopes(&[subject.clone(), subject], LEVEL);
    assert_eq!(compared, Err(StatsError::Singular("the comparison of slopes")));
}

#[test]
fn a_covariate_of_zeros_is_refused() {
    let rows = [row(1, 4, &[0.0], 0), row(2, 4, &[0.0], 1), row(3, 4, &[0.0], 2)];
    assert_eq!(logistic(&rows, Penalty::None, LEVEL), Err(StatsError::Singular("the logistic regression")));
}

#[test]
fn slopes_need_more_clusters_than_subjects() {
    let subject = |more: u64| -> Vec<DoseCount> {
        let of_cluster = |cluster: u64| {
            [0, 1, 7].map(|shots| DoseCount {
                shots,
                successes: 1 + (shots + cluster + more) % 3,
                trials: 5,
                cluster,
            })
        };
        (0..2).flat_map(of_cluster).collect()
    };
    let refused = compare_slopes(&[subject(0), subject(1)], LEVEL);
    assert_eq!(refused, Err(StatsError::TooFew { what: "clusters", needed: 3, given: 2 }));
}

#[test]
fn a_p_value_of_the_level_itself_is_not_below_it() {
    let alpha = 1.0 - LEVEL.level();
    assert_eq!(onset(&[(4, alpha)], LEVEL).unwrap().shots, None);
    assert_eq!(onset(&[(4, alpha.next_down())], LEVEL).unwrap().shots, Some(4));
}

#[test]
fn a_power_law_is_read_off_between_its_points() {
    let curve = |k: f64| 2.0 * (1.0 + k / 5.0).powf(-0.8) + 0.3;
    let points: Vec<PowerLawPoint> = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
        .map(|shots| PowerLawPoint { shots, value: curve(shots), weight: 1.0 })
        .to_vec();
    let fit = power_law(&points, LEVEL).unwrap();
    for shots in [0.0, 3.0, 50.0, 300.0] {
        assert_absolute(fit.value(shots), curve(shots), 1e-5, "between");
    }
}

/// A line in the logarithm of k is what the law tends to with an exponent that goes to 0; these are 5 − ln(1 + k) with
/// some noise.
#[test]
fn an_exponent_that_tends_to_0_is_at_its_bound() {
    let values = [4.94, 4.15, 3.79, 2.79, 2.22, 1.76, 0.76, 0.29];
    let points: Vec<PowerLawPoint> = [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0]
        .into_iter()
        .zip(values)
        .map(|(shots, value)| PowerLawPoint { shots, value, weight: 1.0 })
        .collect();
    let fit = power_law(&points, LEVEL).unwrap();
    assert!(fit.exponent.estimate < 0.0101 && fit.at_bound, "{fit:?}");
}
