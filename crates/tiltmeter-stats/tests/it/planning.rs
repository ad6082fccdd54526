//! Planning against `scipy`, simulated power, and sequences under peeking.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use tiltmeter_stats::compare::{Contrast, PairedCount, paired_contrast};
use tiltmeter_stats::planning::{
    ComparisonDesign, Decision, Reach, SampleDesign, StoppingRule, detectable_difference, mean_sequence,
    rate_sequence, samples_for_difference, samples_for_half_width,
};
use tiltmeter_stats::{ClusterCount, Confidence, StatsError, wilson};

use crate::support::{assert_absolute, assert_relative, clusters, fixture};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

#[derive(Deserialize)]
struct SequenceRow {
    successes: u64,
    trials: u64,
    level: f64,
    low: f64,
    high: f64,
}

#[test]
fn rate_sequences_match_forty_digits() {
    for row in fixture::<SequenceRow>("rate_sequence.json") {
        let what = format!("{} of {}", row.successes, row.trials);
        let interval = rate_sequence(row.successes, row.trials, Confidence::new(row.level).unwrap()).unwrap();
        assert_relative(interval.low, row.low, 1e-9, &what);
        assert_relative(interval.high, row.high, 1e-9, &what);
        assert_relative(interval.estimate, row.successes as f64 / row.trials as f64, 1e-12, &what);
        // Never narrower than an interval for one time only.
        let once = wilson(row.successes, row.trials, Confidence::new(row.level).unwrap()).unwrap();
        assert!(interval.width() > once.width(), "{what}");
    }
    assert_eq!(rate_sequence(0, 0, LEVEL), Err(StatsError::NoTrials));
    let error = StatsError::MoreSuccessesThanTrials { successes: 2, trials: 1 };
    assert_eq!(rate_sequence(2, 1, LEVEL), Err(error));
}

#[derive(Deserialize)]
struct MeanRow {
    values: Vec<f64>,
    estimate: f64,
    low: f64,
    high: f64,
}

#[test]
fn mean_sequences_match_the_published_formulas() {
    for row in fixture::<MeanRow>("mean_sequence.json") {
        let interval = mean_sequence(&row.values, LEVEL).unwrap();
        assert_absolute(interval.estimate, row.estimate, 1e-10, "estimate");
        assert_absolute(interval.low, row.low, 1e-10, "low");
        assert_absolute(interval.high, row.high, 1e-10, "high");
    }
    assert!(matches!(mean_sequence(&[], LEVEL), Err(StatsError::TooFew { .. })));
    assert!(matches!(mean_sequence(&[0.5, 1.5], LEVEL), Err(StatsError::OutOfRange { .. })));
}

fn uniform(generator: &mut ChaCha8Rng) -> f64 {
    (f64::from(generator.next_u32()) + 0.5) / 4_294_967_296.0
}

/// 400 runs of 40 rounds over questions of two kinds, looked at after every round: the sequence is wrong at any time
/// in at most 5 %, Wilson's interval in far more.
#[test]
fn sequences_hold_under_peeking() {
    let (mut sequence_wrong, mut wilson_wrong) = (0, 0);
    for run in 0..400 {
        let mut generator = ChaCha8Rng::seed_from_u64(run);
        let (mut successes, mut trials) = (0, 0);
        let (mut sequence, mut plain) = (true, true);
        for _ in 0..40 {
            for question in 0..12 {
                let rate = if question % 2 == 0 { 0.1 } else { 0.3 };
                successes += u64::from(uniform(&mut generator) < rate);
                trials += 1;
            }
            sequence &= rate_sequence(successes, trials, LEVEL).unwrap().contains(0.2);
            plain &= wilson(successes, trials, LEVEL).unwrap().contains(0.2);
        }
        sequence_wrong += u32::from(!sequence);
        wilson_wrong += u32::from(!plain);
    }
    assert!(sequence_wrong <= 20, "{sequence_wrong}");
    assert!(wilson_wrong >= 60, "{wilson_wrong}");
}

#[test]
fn half_widths_follow_the_design_effect() {
    let design =
        |samples_per_question, correlation| SampleDesign { questions: 24, samples_per_question, correlation };
    assert_relative(design(10, 0.2).design_effect(), 2.8, 1e-12, "design effect");
    assert_relative(design(10, 0.2).effective_trials(), 240.0 / 2.8, 1e-12, "effective");
    // As many independent trials, seen with t at 23 degrees of freedom.
    let ratio = 1.959_963_984_540_054 / 2.068_657_610_419_041;
    let direct =
        tiltmeter_stats::wilson_with(0.2, 240.0 / 2.8 * ratio * ratio, LEVEL.normal_quantile()).unwrap();
    let width = design(10, 0.2).expected_half_width(0.2, LEVEL).unwrap();
    assert_relative(width, direct.half_width(), 1e-10, "half-width");
    for (target, correlation) in [(0.15, 0.2), (0.1, 0.2), (0.05, 0.0), (0.12, 0.3)] {
        match samples_for_half_width(0.2, target, 24, correlation, LEVEL).unwrap() {
            Reach::Samples(samples) => {
                let at = |samples| design(samples, correlation).expected_half_width(0.2, LEVEL).unwrap();
                assert!(at(samples) <= target && (samples == 1 || at(samples - 1) > target));
            }
            Reach::Unreachable { limit } => panic!("{target} at {correlation}: {limit}"),
        }
    }
    let Reach::Unreachable { limit } = samples_for_half_width(0.2, 0.05, 24, 0.2, LEVEL).unwrap() else {
        panic!("24 questions cannot give this");
    };
    let huge = design(1_000_000_000, 0.2).expected_half_width(0.2, LEVEL).unwrap();
    assert_relative(limit, huge, 1e-6, "limit");
    assert!(limit > 0.05);
    let refused =
        |design: SampleDesign, rate| design.expected_half_width(rate, LEVEL).unwrap_err().to_string();
    assert_eq!(
        refused(SampleDesign { questions: 1, ..design(1, 0.0) }, 0.5),
        "1 questions, where at least 2 are needed"
    );
    assert!(refused(design(0, 0.0), 0.5).starts_with("the number of samples per question of 0"));
    assert!(refused(design(1, 1.5), 0.5).starts_with("the correlation within questions of 1.5"));
    assert_eq!(refused(design(1, 0.5), 1.5), "rate 1.5 is not between 0 and 1");
    assert!(samples_for_half_width(0.2, 0.0, 24, 0.2, LEVEL).is_err());
}

#[derive(Deserialize)]
struct PowerRow {
    questions: u64,
    samples: u64,
    correlation: f64,
    shared: f64,
    first: f64,
    second: f64,
    power: f64,
}

#[test]
fn power_matches_scipy() {
    for row in fixture::<PowerRow>("power.json") {
        let samples = SampleDesign {
            questions: row.questions,
            samples_per_question: row.samples,
            correlation: row.correlation,
        };
        let design = ComparisonDesign { samples, shared: row.shared };
        let actual = design.power(row.first, row.second, LEVEL).unwrap();
        assert_absolute(actual, row.power, 1e-9, "power");
        assert_absolute(design.power(row.second, row.first, LEVEL).unwrap(), row.power, 1e-9, "exchanged");
        if row.first < row.second {
            let rate = detectable_difference(row.first, row.power, &design, LEVEL).unwrap().unwrap();
            assert_absolute(rate, row.second, 1e-9, "detectable");
        }
    }
    let design = ComparisonDesign {
        samples: SampleDesign { questions: 4, samples_per_question: 1, correlation: 0.5 },
        shared: 0.0,
    };
    assert_eq!(detectable_difference(0.9, 0.99, &design, LEVEL), Ok(None));
    assert_eq!(design.power(0.0, 1.0, LEVEL).unwrap().to_bits(), 1.0_f64.to_bits());
    assert_eq!(design.power(1.0, 1.0, LEVEL).unwrap().to_bits(), 0);
    assert!(design.power(1.1, 0.5, LEVEL).is_err() && design.power(0.1, -0.5, LEVEL).is_err());
    assert!(ComparisonDesign { shared: 2.0, ..design }.power(0.1, 0.5, LEVEL).is_err());
    assert!(detectable_difference(0.1, 1.5, &design, LEVEL).is_err());
    let reach = samples_for_difference(0.1, 0.2, 0.8, 24, 0.2, 1.0, LEVEL).unwrap();
    let Reach::Samples(samples) = reach else { panic!("{reach:?}") };
    let power = |samples_per_question| {
        let samples = SampleDesign { questions: 24, samples_per_question, correlation: 0.2 };
        ComparisonDesign { samples, shared: 1.0 }.power(0.1, 0.2, LEVEL).unwrap()
    };
    assert!(power(samples) >= 0.8 && power(samples - 1) < 0.8);
    let Reach::Unreachable { limit } = samples_for_difference(0.1, 0.15, 0.8, 24, 0.3, 0.0, LEVEL).unwrap()
    else {
        panic!("24 different questions cannot tell these apart");
    };
    assert!(limit < 0.8);
    assert!(samples_for_difference(0.1, 0.15, 1.8, 24, 0.3, 0.0, LEVEL).is_err());
}

/// The promised power against that of the test itself, in 600 simulated experiments of different questions for each
/// condition: the standard error is 0.02.
#[test]
fn power_is_what_the_test_has() {
    let (questions, samples, correlation): (u64, u64, f64) = (24, 10, 0.2);
    let design = ComparisonDesign {
        samples: SampleDesign { questions, samples_per_question: samples, correlation },
        shared: 0.0,
    };
    let promised = design.power(0.2, 0.45, LEVEL).unwrap();
    let mut found = 0;
    for run in 0..600 {
        let mut generator = ChaCha8Rng::seed_from_u64(run);
        let mut count = |rate: f64| {
            let mass = 1.0 / correlation - 1.0;
            let mut successes = 0_u64;
            for drawn in 0..samples {
                let next = (rate * mass + successes as f64) / (mass + drawn as f64);
                successes += u64::from(uniform(&mut generator) < next);
            }
            ClusterCount { successes, trials: samples }
        };
        let pairs: Vec<PairedCount> =
            (0..questions).map(|_| PairedCount { first: count(0.2), second: count(0.45) }).collect();
        found += u32::from(paired_contrast(&pairs, Contrast::Difference, LEVEL).unwrap().p_value < 0.05);
    }
    assert_absolute(f64::from(found) / 600.0, promised, 0.06, "power");
}

#[derive(Deserialize)]
struct BetweenRow {
    counts: Vec<u64>,
    rounds: u64,
    deviation: f64,
    low: f64,
    smallest_half_width: f64,
}

#[test]
fn variances_between_questions_match_scipy() {
    let rule = StoppingRule::new(0.03, LEVEL).unwrap();
    for row in fixture::<BetweenRow>("between.json") {
        let counts: Vec<ClusterCount> =
            row.counts.iter().map(|&successes| ClusterCount { successes, trials: row.rounds }).collect();
        let state = rule.assess(&counts).unwrap();
        let between = state.between.unwrap();
        assert_absolute(between.deviation, row.deviation, 1e-9, "deviation");
        assert_absolute(between.low, row.low, 1e-9, "low");
        assert_absolute(between.smallest_half_width, row.smallest_half_width, 1e-9, "smallest");
        assert_eq!(state.decision == Decision::CannotSettle, row.smallest_half_width > 0.03);
    }
}

#[test]
fn a_rule_settles_waits_or_gives_up() {
    let rule = StoppingRule::new(0.05, LEVEL).unwrap();
    assert_absolute(rule.half_width(), 0.05, 0.0, "target");
    // Few successes on like questions: soon known.
    let state = rule.assess(&clusters(&[(1, 20); 24])).unwrap();
    assert_eq!((state.decision, state.rounds, state.expected_rounds), (Decision::Settled, 20, 20));
    let state = rule.assess(&clusters(&[(5, 10); 24])).unwrap();
    assert_eq!(state.decision, Decision::NotSettled);
    assert_eq!(state.expected_rounds, rule.expected_rounds(0.5, 24, 1));
    // The estimate is the first number of rounds that is enough.
    let at = |rounds: u64| rate_sequence(12 * rounds, 24 * rounds, LEVEL).unwrap().half_width();
    assert!(at(state.expected_rounds) <= 0.05 && at(state.expected_rounds - 1) > 0.05);
    // Questions that are wholly one or the other: this set is known before questions in general are.
    let split: Vec<(u64, u64)> = (0..24).map(|question| (10 * (question % 2), 10)).collect();
    let state = rule.assess(&clusters(&split)).unwrap();
    assert_eq!(state.decision, Decision::CannotSettle);
    assert!(state.between.unwrap().smallest_half_width > 0.05);
    // Settled comes first.
    let split: Vec<(u64, u64)> = (0..24).map(|question| (100 * (question % 2), 100)).collect();
    assert_eq!(rule.assess(&clusters(&split)).unwrap().decision, Decision::Settled);
    let state = rule.assess(&clusters(&[(1, 1), (0, 1)])).unwrap();
    assert_eq!((state.between, state.decision), (None, Decision::NotSettled));
    let equal = rule.assess(&clusters(&[(2, 4); 6])).unwrap().between.unwrap();
    assert_eq!((equal.deviation.to_bits(), equal.low.to_bits()), (0, 0));

    let uneven = rule.assess(&clusters(&[(1, 4), (1, 4), (1, 5)]));
    assert_eq!(uneven, Err(StatsError::UnevenRounds { question: 2, trials: 5, others: 4 }));
    assert_eq!(rule.assess(&clusters(&[(0, 0), (0, 0)])), Err(StatsError::NoTrials));
    assert_eq!(
        rule.assess(&clusters(&[(1, 4)])),
        Err(StatsError::TooFew { what: "questions", needed: 2, given: 1 })
    );
    assert!(matches!(
        rule.assess(&clusters(&[(5, 4), (1, 4)])),
        Err(StatsError::MoreSuccessesThanTrials { .. })
    ));
    for target in [0.0, 0.6, f64::NAN, 1e-5] {
        assert!(matches!(StoppingRule::new(target, LEVEL), Err(StatsError::OutOfRange { .. })), "{target}");
    }
}

#[test]
fn a_sequence_covers_also_where_not_every_sample_counts() {
    // Questions that differ in their rate and in how often their answers count, the one with the other.
    let kinds = [(0.05, 0.95), (0.3, 0.6), (0.6, 0.8)];
    let questions: Vec<(f64, f64)> = (0..24).map(|index| kinds[index % 3]).collect();
    let weight: f64 = questions.iter().map(|(_, counts)| counts).sum();
    let truth = questions.iter().map(|(rate, counts)| rate * counts).sum::<f64>() / weight;
    let rule = StoppingRule::new(0.05, LEVEL).unwrap();
    let mut generator = ChaCha8Rng::seed_from_u64(11);
    let (mut right, mut right_when_stopped) = (0, 0);
    for _ in 0..400 {
        let mut counts = vec![ClusterCount { successes: 0, trials: 0 }; questions.len()];
        let (mut always, mut stopped) = (true, None);
        for round in 1..=40 {
            for (count, (rate, counts)) in counts.iter_mut().zip(&questions) {
                if uniform(&mut generator) < *counts {
                    count.trials += 1;
                    count.successes += u64::from(uniform(&mut generator) < *rate);
                }
            }
            let state = rule.assess_counted(&counts, round).unwrap();
            let covers = state.interval.low <= truth && truth <= state.interval.high;
            always &= covers;
            if state.decision != Decision::NotSettled {
                stopped.get_or_insert(covers);
            }
        }
        right += u32::from(always);
        right_when_stopped += u32::from(stopped.unwrap_or(always));
    }
    assert!(right >= 380 && right_when_stopped >= 380, "{right} and {right_when_stopped} of 400");
    // Equal counts are what `assess` takes, and the questions that never count are left out.
    let equal = clusters(&[(1, 4), (3, 4), (0, 4)]);
    let mut more = equal.clone();
    more.push(ClusterCount { successes: 0, trials: 0 });
    assert_eq!(rule.assess(&equal), rule.assess_counted(&more, 4));
}
