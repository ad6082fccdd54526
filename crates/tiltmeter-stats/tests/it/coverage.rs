//! Coverage measured quickly, against what the library says was measured at length.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tiltmeter_stats::rates::{
    ASSUMED_CORRELATION, IntervalMethod, intra_cluster_correlation, measured_coverage,
};
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
fn an_interval_is_assessed_at_its_own_design() {
    let rate = |counts: &[(u64, u64)]| clustered_rate(&clusters(counts), LEVEL).unwrap();
    // Eight questions, 5 of 80 in two of them: a low rate, and few successes.
    let few = rate(&[(3, 10), (2, 10), (0, 10), (0, 10), (0, 10), (0, 10), (0, 10), (0, 10)]);
    let assessed = few.coverage().unwrap();
    let told = intra_cluster_correlation(few.design_effect.unwrap(), 80, 8);
    let correlation = told.max(ASSUMED_CORRELATION);
    assert_eq!(assessed.coverage, measured_coverage(8, 5.0 / 80.0, correlation).unwrap());
    assert!(assessed.is_poor() && assessed.coverage.plain < assessed.coverage.clustered);
    // Two successes in two questions look as if they had no correlation, which they do not tell.
    let two =
        rate(&[(1, 10), (1, 10), (0, 10), (0, 10), (0, 10), (0, 10), (0, 10), (0, 10)]).coverage().unwrap();
    assert!(two.is_correlation_assumed && two.is_poor());
    assert_absolute(two.correlation, ASSUMED_CORRELATION, 0.0, "assumed");
    // The same holds for failures.
    let nearly = rate(&[(9, 10), (9, 10), (10, 10), (10, 10), (10, 10), (10, 10), (10, 10), (10, 10)]);
    assert_eq!(nearly.coverage(), Some(two));
    let none = rate(&[(0, 10); 48]).coverage().unwrap();
    assert_eq!(none.coverage, measured_coverage(48, 0.0, ASSUMED_CORRELATION).unwrap());
    assert!(none.is_correlation_assumed && none.to_string().contains("taken as 0.20"), "{none}");
    // With enough of both the data tell it: here that there is none.
    let like = rate(&[(5, 10); 48]).coverage().unwrap();
    assert!(!like.is_correlation_assumed && !like.is_poor());
    assert_absolute(like.correlation, 0.0, 0.0, "told");
    assert_eq!(
        like.to_string(),
        "the 95 % interval covers 95.0 %, Wilson's 89.9 % of like cases (correlation 0.00)"
    );
    // Exactly ten successes are enough.
    let ten = |successes| rate(&[&[(1, 10); 10][..], &[(successes, 10); 14]].concat()).coverage().unwrap();
    assert!(!ten(0).is_correlation_assumed);
    let nine = rate(&[&[(1, 10); 9][..], &[(0, 10); 15]].concat()).coverage().unwrap();
    assert!(nine.is_correlation_assumed);
    // Independent trials need no such assessment.
    assert_eq!(rate(&[(0, 1), (1, 1), (1, 1)]).coverage(), None);
    assert_eq!(rate(&[(3, 10)]).coverage(), None);
    assert!(rate(&[(0, 1), (1, 2)]).coverage().is_some());
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
