//! Dose and response against `statsmodels`, and fits whose truth is known.

use serde::Deserialize;
use tiltmeter_stats::compare::PairedCount;
use tiltmeter_stats::dose::{
    DoseCount, LogisticRow, Penalty, PowerLawPoint, compare_slopes, logistic, onset, onset_counts,
    onset_paired, power_law, shots_covariate,
};
use tiltmeter_stats::{ClusterCount, Confidence, StatsError};

use crate::support::{assert_absolute, assert_relative, fixture};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

type Row = (u64, u64, Vec<f64>, u64);

fn rows(rows: &[Row]) -> Vec<LogisticRow> {
    let row = |(successes, trials, covariates, cluster): &Row| LogisticRow {
        successes: *successes,
        trials: *trials,
        covariates: covariates.clone(),
        cluster: *cluster,
    };
    rows.iter().map(row).collect()
}

#[derive(Deserialize)]
struct LogisticCase {
    rows: Vec<Row>,
    coefficients: Vec<f64>,
    model: Vec<f64>,
    cr1: Vec<f64>,
    cr2: Vec<f64>,
    degrees_of_freedom: Vec<f64>,
    p_values: Vec<f64>,
    covariance: Vec<Vec<f64>>,
    log_likelihood: f64,
}

#[test]
fn logistic_regressions_match_statsmodels() {
    for case in fixture::<LogisticCase>("logistic.json") {
        let fit = logistic(&rows(&case.rows), Penalty::None, LEVEL).unwrap();
        assert_eq!(fit.coefficients.len(), case.coefficients.len());
        for (index, coefficient) in fit.coefficients.iter().enumerate() {
            let what = format!("coefficient {index} of {} rows", case.rows.len());
            assert_relative(coefficient.interval.estimate, case.coefficients[index], 1e-8, &what);
            assert_relative(coefficient.model_error, case.model[index], 1e-8, &what);
            assert_relative(coefficient.cr1_error, case.cr1[index], 1e-8, &what);
            assert_relative(coefficient.cr2_error, case.cr2[index], 1e-8, &what);
            assert_relative(coefficient.degrees_of_freedom, case.degrees_of_freedom[index], 1e-7, &what);
            assert_absolute(coefficient.p_value, case.p_values[index], 1e-8, &what);
            let half = LEVEL.t_quantile_real(case.degrees_of_freedom[index]) * case.cr2[index];
            assert_relative(coefficient.interval.half_width(), half, 1e-7, &what);
            assert_eq!((coefficient.profile, coefficient.profile_p_value), (None, None));
            for (other, expected) in case.covariance[index].iter().enumerate() {
                let scale = case.cr2[index] * case.cr2[other];
                assert_absolute(fit.covariance[index][other], *expected, 1e-8 * scale, &what);
            }
        }
        assert_relative(fit.log_likelihood, case.log_likelihood, 1e-10, "likelihood");
        let trials: u64 = case.rows.iter().map(|row| row.1).sum();
        assert_eq!((fit.trials, fit.penalised), (trials, false));
        assert!(fit.iterations < 12);
        // Order and grouping of rows do not matter.
        let mut reversed = rows(&case.rows);
        reversed.reverse();
        let again = logistic(&reversed, Penalty::FirthIfSeparated, LEVEL).unwrap();
        assert_relative(again.coefficients[1].cr2_error, fit.coefficients[1].cr2_error, 1e-10, "reversed");
        assert_eq!(again.clusters, fit.clusters);
        let eta = case.coefficients[0] + 2.0 * case.coefficients[1];
        assert_relative(fit.rate(&[2.0]), 1.0 / (1.0 + (-eta).exp()), 1e-8, "rate");
    }
}

#[derive(Deserialize)]
struct FirthCase {
    rows: Vec<Row>,
    coefficients: Vec<f64>,
    profiles: Vec<[f64; 2]>,
    p_values: Vec<f64>,
}

#[test]
fn penalised_regressions_match_the_maximised_likelihood() {
    for (number, case) in fixture::<FirthCase>("firth.json").into_iter().enumerate() {
        let fit = logistic(&rows(&case.rows), Penalty::Firth, LEVEL).unwrap();
        assert!(fit.penalised);
        for (index, coefficient) in fit.coefficients.iter().enumerate() {
            let what = format!("coefficient {index} of case {number}");
            assert_absolute(coefficient.interval.estimate, case.coefficients[index], 1e-7, &what);
            let profile = coefficient.profile.unwrap();
            assert_absolute(profile.low, case.profiles[index][0], 1e-5, &what);
            assert_absolute(profile.high, case.profiles[index][1], 1e-5, &what);
            assert_absolute(profile.estimate, case.coefficients[index], 1e-7, &what);
            assert_absolute(coefficient.profile_p_value.unwrap(), case.p_values[index], 1e-6, &what);
        }
        let separated = number < 2;
        let plain = logistic(&rows(&case.rows), Penalty::None, LEVEL);
        assert_eq!(plain == Err(StatsError::Separated), separated, "case {number}");
        let either = logistic(&rows(&case.rows), Penalty::FirthIfSeparated, LEVEL).unwrap();
        assert_eq!(either.penalised, separated);
    }
}

#[test]
fn regressions_may_be_refused() {
    let good = vec![(1, 4, vec![0.0], 1), (3, 4, vec![1.0], 1), (1, 4, vec![0.0], 2), (2, 4, vec![1.0], 2)];
    assert!(logistic(&rows(&good), Penalty::None, LEVEL).is_ok());
    let with = |at: usize, row: Row| {
        let mut changed = good.clone();
        changed[at] = row;
        logistic(&rows(&changed), Penalty::FirthIfSeparated, LEVEL).err()
    };
    assert!(matches!(with(1, (3, 4, vec![], 1)), Some(StatsError::Lengths { what: "covariates", .. })));
    assert!(matches!(with(1, (3, 4, vec![f64::NAN], 1)), Some(StatsError::NotFiniteAt { .. })));
    assert!(matches!(with(1, (5, 4, vec![1.0], 1)), Some(StatsError::MoreSuccessesThanTrials { .. })));
    let alone: Vec<Row> = good.iter().map(|row| (row.0, row.1, row.2.clone(), 1)).collect();
    let few = logistic(&rows(&alone), Penalty::None, LEVEL);
    assert_eq!(few, Err(StatsError::TooFew { what: "clusters", needed: 2, given: 1 }));
    let dependent: Vec<Row> =
        good.iter().map(|row| (row.0, row.1, vec![row.2[0], 2.0 * row.2[0]], row.3)).collect();
    for penalty in [Penalty::None, Penalty::Firth] {
        let singular = logistic(&rows(&dependent), penalty, LEVEL);
        assert!(matches!(singular, Err(StatsError::Singular(_))), "{singular:?}");
    }
    assert_eq!(logistic(&[], Penalty::None, LEVEL), Err(StatsError::NoTrials));
    // A covariate in units of any size is fine.
    let large: Vec<Row> = good.iter().map(|row| (row.0, row.1, vec![1e9 * row.2[0]], row.3)).collect();
    let fit = logistic(&rows(&large), Penalty::None, LEVEL).unwrap();
    let plain = logistic(&rows(&good), Penalty::None, LEVEL).unwrap();
    let (scaled, unscaled) = (fit.coefficients[1].interval.estimate, plain.coefficients[1].interval.estimate);
    assert_relative(scaled * 1e9, unscaled, 1e-6, "scaled");
    assert_absolute(shots_covariate(0), 0.0, 0.0, "no shots");
    assert_relative(shots_covariate(255), 8.0, 1e-14, "255 shots");
}

#[derive(Deserialize)]
struct SlopeCase {
    subjects: Vec<Vec<[u64; 4]>>,
    slopes: Vec<f64>,
    f_statistic: f64,
    p_value: f64,
}

#[test]
fn comparisons_of_slopes_match_walds_test() {
    for case in fixture::<SlopeCase>("slopes.json") {
        let subjects: Vec<Vec<DoseCount>> = case
            .subjects
            .iter()
            .map(|doses| {
                let dose = |&[shots, successes, trials, cluster]: &[u64; 4]| DoseCount {
                    shots,
                    successes,
                    trials,
                    cluster,
                };
                doses.iter().map(dose).collect()
            })
            .collect();
        let result = compare_slopes(&subjects, LEVEL).unwrap();
        assert_eq!(result.slopes.len(), subjects.len());
        for (slope, expected) in result.slopes.iter().zip(&case.slopes) {
            assert_relative(slope.interval.estimate, *expected, 1e-8, "slope");
        }
        assert_relative(result.f_statistic, case.f_statistic, 1e-7, "F");
        assert_absolute(result.p_value, case.p_value, 1e-8, "p");
        let clusters = result.fit.clusters as u64;
        assert_eq!(
            (result.numerator_degrees, result.denominator_degrees),
            (subjects.len() as u64 - 1, clusters - 1)
        );
        assert!(matches!(
            compare_slopes(&subjects[..1], LEVEL),
            Err(StatsError::TooFew { what: "subjects", .. })
        ));
    }
}

#[test]
fn an_onset_is_the_smallest_dose_that_holms_correction_leaves() {
    let result = onset(&[(1, 0.4), (4, 0.02), (16, 0.03), (64, 0.0001)], LEVEL).unwrap();
    assert_eq!(result.shots, Some(64));
    let adjusted: Vec<f64> = result.doses.iter().map(|dose| dose.adjusted_p_value).collect();
    for (actual, expected) in adjusted.iter().zip([0.4, 0.06, 0.06, 0.0004]) {
        assert_absolute(*actual, expected, 1e-12, "adjusted");
    }
    let result = onset(&[(64, 0.0001), (4, 0.01), (1, 0.4)], LEVEL).unwrap();
    assert_eq!(result.shots, Some(4));
    assert_eq!(onset(&[(1, 0.0501)], LEVEL).unwrap().shots, None);
    assert_eq!(onset(&[], LEVEL).unwrap().shots, None);
    assert!(onset(&[(1, 1.5)], LEVEL).is_err());

    let count = |successes, trials| ClusterCount { successes, trials };
    let doses = [(1, count(1, 40)), (8, count(12, 40)), (64, count(30, 40))];
    let result = onset_counts(count(1, 40), &doses, LEVEL).unwrap();
    assert_eq!(result.shots, Some(8));
    assert!(result.doses[0].p_value > 0.4);
    // Too many for Boschloo's test; a lower rate is no onset.
    let doses = [(4, count(100, 20_000)), (16, count(900, 20_000))];
    let result = onset_counts(count(400, 20_000), &doses, LEVEL).unwrap();
    assert_eq!(result.shots, Some(16));
    assert!(result.doses[0].p_value > 0.999);
    assert_eq!(
        onset_counts(count(1, 0), &doses, LEVEL),
        Err(StatsError::MoreSuccessesThanTrials { successes: 1, trials: 0 }).or(Err(StatsError::NoTrials))
    );

    let pairs = |by: u64| -> Vec<PairedCount> {
        (0..12)
            .map(|q| PairedCount { first: count((q % 3 + by).min(10), 10), second: count((q + 1) % 3, 10) })
            .collect()
    };
    let result = onset_paired(&[(2, pairs(0)), (8, pairs(4)), (32, pairs(6))], LEVEL).unwrap();
    assert_eq!(result.shots, Some(8));
    assert_absolute(result.doses[0].p_value, 0.5, 1e-9, "no difference");
    let reversed: Vec<PairedCount> = pairs(5)
        .into_iter()
        .map(|PairedCount { first, second }| PairedCount { first: second, second: first })
        .collect();
    assert!(onset_paired(&[(2, reversed)], LEVEL).unwrap().doses[0].p_value > 0.999);
}

#[derive(Deserialize)]
struct PowerLawCase {
    points: Vec<(f64, f64, f64)>,
    parameters: [f64; 4],
    errors: [f64; 4],
    sum_of_squares: f64,
}

fn points(points: &[(f64, f64, f64)]) -> Vec<PowerLawPoint> {
    points.iter().map(|&(shots, value, weight)| PowerLawPoint { shots, value, weight }).collect()
}

#[test]
fn power_laws_match_scipy() {
    for case in fixture::<PowerLawCase>("power_law.json") {
        let fit = power_law(&points(&case.points), LEVEL).unwrap();
        assert_relative(fit.sum_of_squares, case.sum_of_squares, 1e-7, "squares");
        let [amplitude, limit, log_scale, log_exponent] = case.parameters;
        assert_relative(fit.amplitude.estimate, amplitude, 1e-4, "C");
        assert_relative(fit.limit.estimate, limit, 1e-4, "K");
        assert_relative(fit.scale.estimate, log_scale.exp(), 1e-3, "k_c");
        assert_relative(fit.exponent.estimate, log_exponent.exp(), 1e-3, "α");
        let t = LEVEL.t_quantile(case.points.len() as u64 - 4);
        assert_relative(fit.amplitude.half_width(), t * case.errors[0], 2e-3, "error of C");
        assert_relative(fit.limit.half_width(), t * case.errors[1], 2e-3, "error of K");
        let half = (fit.scale.high / fit.scale.low).ln() / 2.0;
        assert_relative(half, t * case.errors[2], 2e-3, "error of k_c");
        let half = (fit.exponent.high / fit.exponent.low).ln() / 2.0;
        assert_relative(half, t * case.errors[3], 2e-3, "error of α");
        assert!(!fit.at_bound);
        assert_relative(fit.value(0.0), fit.amplitude.estimate + fit.limit.estimate, 1e-12, "at 0");
        // Minimal: moving along any parameter does not improve it.
        let squares = |scale: f64, exponent: f64| -> f64 {
            let shape = |k: f64| (1.0 + k / scale).powf(-exponent);
            case.points
                .iter()
                .map(|&(k, y, w)| w * (y - fit.amplitude.estimate * shape(k) - fit.limit.estimate).powi(2))
                .sum()
        };
        let (scale, exponent) = (fit.scale.estimate, fit.exponent.estimate);
        assert_relative(squares(scale, exponent), fit.sum_of_squares, 1e-9, "squares");
        for (one, other) in [(1.01, 1.0), (0.99, 1.0), (1.0, 1.01), (1.0, 0.99)] {
            assert!(squares(scale * one, exponent * other) > fit.sum_of_squares);
        }
    }
}

#[test]
fn power_laws_may_be_refused_or_at_their_bound() {
    let shots = [0.0, 1.0, 4.0, 16.0, 64.0];
    let exact: Vec<(f64, f64, f64)> =
        shots.iter().map(|&k: &f64| (k, 2.0 * (1.0 + k / 3.0).powf(-0.7) - 1.0, 1.0)).collect();
    let fit = power_law(&points(&exact), LEVEL).unwrap();
    assert_relative(fit.scale.estimate, 3.0, 1e-4, "k_c");
    assert!(fit.sum_of_squares < 1e-14);
    // A straight line in k is no power law that levels off.
    let line: Vec<(f64, f64, f64)> = shots.iter().map(|&k| (k, 0.01 * k, 1.0)).collect();
    assert!(power_law(&points(&line), LEVEL).unwrap().at_bound);
    let refused = |rows: &[(f64, f64, f64)]| power_law(&points(rows), LEVEL).unwrap_err();
    assert_eq!(refused(&exact[..4]), StatsError::TooFew { what: "points", needed: 5, given: 4 });
    let few: Vec<_> = exact.iter().map(|&(k, y, w)| (k.min(4.0), y, w)).collect();
    assert_eq!(
        refused(&few),
        StatsError::TooFew { what: "different numbers of demonstrations", needed: 4, given: 3 }
    );
    let change = |at: usize, row: (f64, f64, f64)| {
        let mut rows = exact.clone();
        rows[at] = row;
        refused(&rows)
    };
    assert!(matches!(change(2, (f64::NAN, 1.0, 1.0)), StatsError::NotFiniteAt { index: 2, .. }));
    assert!(matches!(change(2, (4.0, f64::INFINITY, 1.0)), StatsError::NotFiniteAt { index: 2, .. }));
    assert!(matches!(change(0, (-1.0, 1.0, 1.0)), StatsError::OutOfRange { what: "demonstrations", .. }));
    assert!(matches!(change(0, (0.0, 1.0, 0.0)), StatsError::OutOfRange { what: "a weight", .. }));
    let flat: Vec<_> = exact.iter().map(|&(k, _, w)| (k, 0.5, w)).collect();
    assert!(matches!(refused(&flat), StatsError::Undefined { .. }));
}
