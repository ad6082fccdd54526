//! Coverage measured quickly, against what the library says was measured at length.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tiltmeter_stats::rates::{IntervalMethod, intra_cluster_correlation, measured_coverage};
use tiltmeter_stats::{ClusterCount, Confidence, Interval, StatsError, clustered_rate, wilson};

use crate::support::{assert_absolute, clusters};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// The coverage of independent trials is a sum, so that nothing is left to chance: on average over rates 94 to 96 % for
/// all but the exact interval, which is never below 95 %, and the normal one, which is poor.
#[test]
fn intervals_of_independent_trials_cover_as_they_should() {
    for trials in [24_u32, 100, 300] {
        for method in IntervalMethod::ALL {
            let intervals: Vec<Interval> = (0..=trials)
                .map(|successes| method.interval(u64::from(successes), u64::from(trials), LEVEL).unwrap())
                .collect();
            let (mut mean, mut least) = (0.0, 1.0_f64);
            for step in 1..100 {
                let rate = f64::from(step) / 100.0;
                let mut log_mass = f64::from(trials) * (1.0 - rate).ln();
                let mut covered = 0.0;
                for (successes, interval) in (0..=trials).zip(&intervals) {
                    covered += if interval.contains(rate) { log_mass.exp() } else { 0.0 };
                    let ratio =
                        f64::from(trials - successes) / f64::from(successes + 1) * rate / (1.0 - rate);
                    log_mass += ratio.ln();
                }
                mean += covered / 99.0;
                least = least.min(covered);
            }
            let what = format!("{} of {trials}: {mean}, least {least}", method.name());
            match method {
                IntervalMethod::Wilson | IntervalMethod::Jeffreys => {
                    assert!((0.94..=0.96).contains(&mean), "{what}");
                }
                IntervalMethod::ClopperPearson => assert!(least >= 0.95 && mean < 0.98, "{what}"),
                IntervalMethod::Normal => assert!(least < 0.9 && mean < 0.95, "{what}"),
            }
        }
    }
}

/// 1,500 tables each: a standard error of 0.006 at 0.95 and of 0.012 at 0.6.
#[test]
fn clustered_intervals_cover_what_the_table_says() {
    for (questions, rate, correlation) in
        [(24_usize, 0.1, 0.2), (24, 0.5, 0.5), (8, 0.05, 0.5), (48, 0.2, 0.05)]
    {
        let (mut clustered, mut plain) = (0, 0);
        for table in 0..1500 {
            let mut generator = ChaCha8Rng::seed_from_u64(100_000 + table);
            let counts: Vec<ClusterCount> = (0..questions)
                .map(|_| {
                    let mass = 1.0 / correlation - 1.0;
                    let mut successes = 0;
                    for drawn in 0..10 {
                        let next = (rate * mass + f64::from(successes)) / (mass + f64::from(drawn));
                        let uniform = (f64::from(generator.next_u32()) + 0.5) / 4_294_967_296.0;
                        successes += u32::from(uniform < next);
                    }
                    ClusterCount { successes: u64::from(successes), trials: 10 }
                })
                .collect();
            let result = clustered_rate(&counts, LEVEL).unwrap();
            clustered += u32::from(result.interval.contains(rate));
            plain += u32::from(wilson(result.successes, result.trials, LEVEL).unwrap().contains(rate));
        }
        let known = measured_coverage(questions, rate, correlation).unwrap();
        let what = format!("{questions} questions, {rate}, {correlation}");
        assert_absolute(f64::from(clustered) / 1500.0, known.clustered, 0.03, &what);
        assert_absolute(f64::from(plain) / 1500.0, known.plain, 0.045, &what);
        assert_eq!(known.is_poor(), questions == 8, "{what}");
    }
}

/// From 24 questions on and at rates of 10 to 90 %, at least 93 %: nowhere in the measured table is a warning due.
#[test]
fn coverage_is_good_where_it_is_promised() {
    for questions in [24, 25, 40, 48, 96, 5000] {
        for rate in [0.1, 0.15, 0.3, 0.5, 0.77, 0.9] {
            for correlation in [0.0, 0.05, 0.1, 0.2, 0.4, 0.5] {
                let known = measured_coverage(questions, rate, correlation).unwrap();
                assert!(
                    !known.is_poor() && known.clustered >= 0.93,
                    "{questions} {rate} {correlation}: {known:?}"
                );
            }
        }
    }
}

#[test]
fn lookups_take_the_lowest_neighbour() {
    let at = |questions, rate, correlation| measured_coverage(questions, rate, correlation).unwrap();
    let corner = at(8, 0.05, 0.5);
    assert!(corner.is_poor() && corner.clustered < 0.7 && corner.plain < corner.clustered);
    // Between points, and beyond them.
    assert_eq!(at(9, 0.06, 0.45), corner);
    assert_eq!(at(3, 0.05, 0.8), corner);
    assert_eq!(at(8, 0.95, 0.5), corner);
    assert_eq!(at(200, 0.0, 0.0), at(96, 0.01, 0.05));
    assert_eq!(at(96, 0.3, 0.05), at(1000, 0.7, 0.0));
    assert_ne!(at(24, 0.3, 0.05), at(24, 0.5, 0.05));
    assert!(matches!(measured_coverage(0, 0.5, 0.1), Err(StatsError::TooFew { .. })));
    assert!(measured_coverage(9, 1.5, 0.1).is_err() && measured_coverage(9, 0.5, -0.1).is_err());

    assert_absolute(intra_cluster_correlation(2.8, 240, 24), 0.2, 1e-12, "from a design effect");
    assert_absolute(intra_cluster_correlation(0.5, 240, 24), 0.0, 0.0, "below");
    assert_absolute(intra_cluster_correlation(50.0, 240, 24), 1.0, 0.0, "above");
    assert_absolute(intra_cluster_correlation(1.2, 24, 24), 0.0, 0.0, "one sample each");
    let split = clustered_rate(&clusters(&[(10, 10), (0, 10), (10, 10), (0, 10)]), LEVEL).unwrap();
    let found = intra_cluster_correlation(split.design_effect.unwrap(), split.trials, split.clusters);
    assert_absolute(found, 1.0, 1e-12, "wholly one or the other");
}
