//! The bootstrap: exact small cases, independence of order, refusals, and coverage by simulation.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tiltmeter_stats::{
    BootstrapInterval, BootstrapMethod, BootstrapSettings, Confidence, PairedDifference, StatsError,
    bootstrap_mean,
};

fn observation(question: u32, draw: u32, pair: u32, value: f64) -> PairedDifference {
    PairedDifference { question, draw, pair, value }
}

fn bootstrap(observations: &[PairedDifference]) -> BootstrapInterval {
    bootstrap_mean(observations, &BootstrapSettings::default()).unwrap()
}

fn assert_close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-9, "{actual} instead of {expected}");
}

#[test]
fn questions_weigh_equally_however_often_they_were_observed() {
    let observations = [
        // Question 7: draw 0 has mean 2, draw 1 has mean 4, so 3.
        observation(7, 0, 0, 1.0),
        observation(7, 0, 1, 3.0),
        observation(7, 1, 0, 4.0),
        observation(9, 1, 0, 5.0),
    ];
    let interval = bootstrap(&observations);
    assert_close(interval.estimate, 4.0);
    assert_eq!((interval.observations, interval.questions, interval.draws), (4, 2, 2));
    assert_eq!(interval.method, BootstrapMethod::OverQuestions);
}

/// With three questions the lowest of all resamples is drawn with probability 1/27 > 0.025, so that both
/// percentiles are known: the lowest and the highest question. The quantiles of t and z are those of `scipy.stats`.
#[test]
fn the_interval_of_three_questions_is_known() {
    let interval =
        bootstrap(&[observation(0, 0, 0, 0.0), observation(1, 0, 0, 1.0), observation(2, 0, 0, 5.0)]);
    let expansion = 1.5_f64.sqrt() * 4.302_652_729_749_464 / 1.959_963_984_540_054;
    assert_close(interval.estimate, 2.0);
    assert_close(interval.low.unwrap(), 2.0 - 2.0 * expansion);
    assert_close(interval.high.unwrap(), 2.0 + 3.0 * expansion);
}

#[test]
fn one_question_has_no_interval() {
    let interval = bootstrap(&[observation(3, 0, 0, 1.0), observation(3, 1, 0, 2.0)]);
    assert_close(interval.estimate, 1.5);
    assert_eq!((interval.low, interval.high), (None, None));
}

#[test]
fn equal_values_have_an_interval_of_no_width() {
    for draws in [1, 8] {
        let observations: Vec<PairedDifference> = (0..4)
            .flat_map(|question| (0..draws).map(move |draw| observation(question, draw, 0, 0.25)))
            .collect();
        let interval = bootstrap(&observations);
        assert_eq!((interval.low, interval.high), (Some(0.25), Some(0.25)));
    }
}

#[test]
fn from_eight_draws_on_draws_are_resampled_too() {
    // Draws differ and questions do not: only resampling draws can see any spread.
    for (draws, method) in [(7, "bootstrap-questions"), (8, "bootstrap-questions-and-draws")] {
        let observations: Vec<PairedDifference> = (0..5)
            .flat_map(|question| (0..draws).map(move |draw| observation(question, draw, 0, f64::from(draw))))
            .collect();
        let interval = bootstrap(&observations);
        assert_eq!(interval.method.name(), method);
        assert_eq!(interval.high > interval.low, draws == 8, "{interval:?}");
    }
}

#[test]
fn empty_cells_are_left_out() {
    // Every question has one draw of its own; the two-way resample may come out empty and is drawn again.
    let observations: Vec<PairedDifference> =
        (0..8).map(|index| observation(index, index, 0, f64::from(index))).collect();
    let interval = bootstrap(&observations);
    assert_close(interval.estimate, 3.5);
    assert!(interval.low.unwrap() < 3.5 && 3.5 < interval.high.unwrap());
}

#[test]
fn the_order_of_the_observations_does_not_matter_and_the_seed_does() {
    for draws in [4, 9] {
        let mut generator = ChaCha8Rng::seed_from_u64(3);
        let mut observations = normal_table(&mut generator, 12, draws, [1.0, 0.5, 1.0]);
        let forwards = bootstrap(&observations);
        observations.reverse();
        assert_eq!(bootstrap(&observations), forwards);
        observations.swap(5, 17);
        assert_eq!(bootstrap(&observations), forwards);
        let settings = BootstrapSettings { seed: 1, ..BootstrapSettings::default() };
        let other = bootstrap_mean(&observations, &settings).unwrap();
        assert_eq!(other.estimate.to_bits(), forwards.estimate.to_bits());
        assert_ne!(other.low, forwards.low);
        let wider =
            BootstrapSettings { confidence: Confidence::new(0.99).unwrap(), ..BootstrapSettings::default() };
        let wider = bootstrap_mean(&observations, &wider).unwrap();
        assert!(wider.low < forwards.low && wider.high > forwards.high);
    }
}

#[test]
fn observations_that_make_no_table_are_refused() {
    let good = observation(1, 2, 3, 0.5);
    let (question, draw, pair) = (1, 2, 3);
    let cases = [
        (vec![], StatsError::NoObservations),
        (vec![good, good], StatsError::Duplicate { question, draw, pair }),
        (vec![observation(1, 2, 3, f64::NAN)], StatsError::NotFinite { question, draw, pair }),
        (
            vec![observation(0, 2, 3, 0.5), observation(1, 2, 3, f64::INFINITY)],
            StatsError::NotFinite { question, draw, pair },
        ),
    ];
    for (observations, error) in cases {
        assert_eq!(bootstrap_mean(&observations, &BootstrapSettings::default()), Err(error));
    }
    let settings = BootstrapSettings { resamples: 0, ..BootstrapSettings::default() };
    assert_eq!(bootstrap_mean(&[good], &settings), Err(StatsError::NoResamples));
}

/// A crossed table with mean 0; the standard deviations are of questions, of draws, and of what is left.
fn normal_table(
    generator: &mut ChaCha8Rng,
    questions: u32,
    draws: u32,
    [of_questions, of_draws, of_cells]: [f64; 3],
) -> Vec<PairedDifference> {
    let draw_effects: Vec<f64> = (0..draws).map(|_| of_draws * normal(generator)).collect();
    let mut observations = Vec::new();
    for question in 0..questions {
        let effect = of_questions * normal(generator);
        for (draw, draw_effect) in (0..draws).zip(&draw_effects) {
            let value = effect + draw_effect + of_cells * normal(generator);
            observations.push(observation(question, draw, 0, value));
        }
    }
    observations
}

/// A standard normal number, by Box and Muller.
fn normal(generator: &mut ChaCha8Rng) -> f64 {
    let mut uniform = || (f64::from(generator.next_u32()) + 0.5) / 4_294_967_296.0;
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// The shares of intervals that contain the true mean, 0: as they are, and with the stretch taken back.
fn coverage(tables: u32, resamples: u32, questions: u32, draws: u32, deviations: [f64; 3]) -> (f64, f64) {
    let confidence = Confidence::NINETY_FIVE;
    let units = if draws < 8 { questions } else { questions.min(draws) };
    let degrees_of_freedom = u64::from(units - 1);
    let stretch = (f64::from(units) / degrees_of_freedom as f64).sqrt()
        * confidence.t_quantile(degrees_of_freedom)
        / confidence.normal_quantile();
    let mut generator = ChaCha8Rng::seed_from_u64(20_251_110);
    let (mut stretched, mut plain) = (0_u32, 0_u32);
    for table in 0..tables {
        let observations = normal_table(&mut generator, questions, draws, deviations);
        let settings = BootstrapSettings { resamples, seed: u64::from(table), confidence };
        let interval = bootstrap_mean(&observations, &settings).unwrap();
        let (low, high) = (interval.low.unwrap(), interval.high.unwrap());
        stretched += u32::from(low <= 0.0 && 0.0 <= high);
        let (below, above) = (interval.estimate - low, high - interval.estimate);
        let (low, high) = (interval.estimate - below / stretch, interval.estimate + above / stretch);
        plain += u32::from(low <= 0.0 && 0.0 <= high);
    }
    (f64::from(stretched) / f64::from(tables), f64::from(plain) / f64::from(tables))
}

/// 400 tables: the standard error is 0.011 at 0.95.
#[test]
fn coverage_is_near_the_level() {
    let (stretched, plain) = coverage(400, 500, 12, 4, [1.0, 0.0, 1.0]);
    assert!((0.925..=0.98).contains(&stretched), "{stretched}");
    assert!(plain < stretched, "{plain}");
}

/// The figures of the module's documentation. To see them:
/// `cargo test --release -p tiltmeter-stats -- --ignored --nocapture`.
#[test]
#[ignore = "takes 20 seconds with optimisation; the short version is in the normal suite"]
fn coverage_as_documented() {
    let cases = [
        // questions, draws, deviations of questions, draws and cells; coverage as documented
        (12, 4, [1.0, 0.0, 1.0], 0.946, 0.908),
        (3, 4, [1.0, 0.0, 1.0], 0.948, 0.752),
        (24, 4, [1.0, 0.0, 1.0], 0.944, 0.924),
        (12, 4, [1.0, 0.5, 1.0], 0.894, 0.832),
        (12, 8, [1.0, 0.5, 1.0], 0.982, 0.936),
        (12, 8, [1.0, 1.0, 0.2], 0.967, 0.909),
        (12, 8, [0.2, 1.0, 0.2], 0.950, 0.890),
        (12, 8, [0.0, 0.0, 1.0], 1.000, 0.997),
    ];
    let mut wrong = 0;
    for (questions, draws, deviations, documented, documented_plain) in cases {
        let (stretched, plain) = coverage(4000, 4000, questions, draws, deviations);
        println!("{questions} questions, {draws} draws, {deviations:?}: {stretched:.4}, plain {plain:.4}");
        wrong +=
            u32::from((stretched - documented).abs() > 0.001 || (plain - documented_plain).abs() > 0.001);
    }
    assert_eq!(wrong, 0, "the documentation's figures are out of date");
}
