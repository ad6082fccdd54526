//! Corrections against `ppi-python`, numerical derivatives and `scipy`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use tiltmeter_stats::correct::{
    JudgeCounts, JudgedRow, Label, Labelled, LabelledDecision, Tuning, Unlabelled, corrected_mean,
    equal_errors, ppi_mean, rogan_gladen, rogan_gladen_counts, rogan_gladen_pooled,
};
use tiltmeter_stats::{Confidence, StatsError};

use crate::support::{assert_absolute, assert_relative, fixture};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

#[derive(Deserialize)]
struct PpiRow {
    labelled: Vec<(f64, f64, f64)>,
    unlabelled: Vec<(f64, f64)>,
    lambda: Option<f64>,
    estimate: f64,
    low: f64,
    high: f64,
}

fn samples(row: &PpiRow) -> (Vec<Labelled>, Vec<Unlabelled>) {
    let labelled = row.labelled.iter();
    let labelled = labelled.map(|&(truth, judged, weight)| Labelled { truth, judged, weight }).collect();
    let unlabelled = row.unlabelled.iter().map(|&(judged, weight)| Unlabelled { judged, weight }).collect();
    (labelled, unlabelled)
}

#[test]
fn prediction_powered_means_match_the_authors() {
    for row in fixture::<PpiRow>("ppi.json") {
        let (labelled, unlabelled) = samples(&row);
        let tuning = row.lambda.map_or(Tuning::Tuned, Tuning::Fixed);
        let result = ppi_mean(&labelled, &unlabelled, tuning, LEVEL).unwrap();
        let what = format!("{} labels, λ {:?}", labelled.len(), row.lambda);
        assert_absolute(result.interval.estimate, row.estimate, 1e-9, &what);
        assert_absolute(result.interval.low, row.low, 1e-9, &what);
        assert_absolute(result.interval.high, row.high, 1e-9, &what);
        assert_absolute(
            result.interval.half_width() / LEVEL.normal_quantile(),
            result.standard_error,
            1e-9,
            &what,
        );
        if row.lambda == Some(1.0) {
            assert_eq!(ppi_mean(&labelled, &unlabelled, Tuning::Full, LEVEL), Ok(result));
        }
    }
}

#[test]
fn prediction_powered_means_may_be_refused() {
    let row = &fixture::<PpiRow>("ppi.json")[0];
    let (labelled, unlabelled) = samples(row);
    let mean = |labelled: &[Labelled], unlabelled: &[Unlabelled], tuning| {
        ppi_mean(labelled, unlabelled, tuning, LEVEL).unwrap_err().to_string()
    };
    assert_eq!(
        mean(&labelled[..1], &unlabelled, Tuning::Full),
        "1 labelled rows, where at least 2 are needed"
    );
    assert_eq!(
        mean(&labelled, &unlabelled[..1], Tuning::Full),
        "1 unlabelled rows, where at least 2 are needed"
    );
    assert_eq!(
        mean(&labelled, &unlabelled, Tuning::Fixed(f64::NAN)),
        "value 0 of lambda is not a finite number"
    );
    let mut wrong = labelled.clone();
    wrong[3].weight = 0.0;
    assert_eq!(
        mean(&wrong, &unlabelled, Tuning::Full),
        "a weight of 0 is outside the positive, finite numbers"
    );
    wrong[3] = Labelled { truth: f64::INFINITY, ..labelled[3] };
    assert_eq!(mean(&wrong, &unlabelled, Tuning::Full), "value 3 of the labels is not a finite number");
    // A judge that says the same of everything is worth nothing.
    let constant: Vec<Labelled> =
        labelled.iter().map(|row| Labelled { judged: 2.0, weight: 1.0, ..*row }).collect();
    let same = vec![Unlabelled { judged: 2.0, weight: 1.0 }; 5];
    assert_eq!(ppi_mean(&constant, &same, Tuning::Tuned, LEVEL).unwrap().lambda.to_bits(), 0);
}

#[derive(Deserialize)]
struct SubsetRow {
    rows: Vec<(f64, Option<f64>, f64, u64)>,
    results: Results,
    rogan_gladen: [f64; 4],
}

#[derive(Deserialize)]
struct Results {
    full: [f64; 6],
    labels_alone: [f64; 6],
    tuned: [f64; 6],
}

fn judged_rows(rows: &[(f64, Option<f64>, f64, u64)]) -> Vec<JudgedRow> {
    rows.iter()
        .map(|&(judged, truth, inclusion, cluster)| JudgedRow {
            judged,
            label: truth.map(|truth| Label { truth, inclusion }),
            cluster,
        })
        .collect()
}

#[test]
fn labelled_subsets_match_numerical_derivatives() {
    for case in fixture::<SubsetRow>("subset.json") {
        let rows = judged_rows(&case.rows);
        for (tuning, [lambda, estimate, error, freedom, low, high]) in [
            (Tuning::Full, case.results.full),
            (Tuning::Fixed(0.0), case.results.labels_alone),
            (Tuning::Tuned, case.results.tuned),
        ] {
            let what = format!("{} rows, {tuning:?}", rows.len());
            let result = corrected_mean(&rows, tuning, LEVEL).unwrap();
            assert_absolute(result.lambda, lambda, 1e-9, &what);
            assert_absolute(result.interval.estimate, estimate, 1e-9, &what);
            assert_relative(result.standard_error, error, 1e-8, &what);
            assert_absolute(result.interval.low, low, 1e-8, &what);
            assert_absolute(result.interval.high, high, 1e-8, &what);
            let labelled = rows.iter().filter(|row| row.label.is_some()).count();
            assert_eq!((result.rows, result.labelled), (rows.len(), labelled));
            let judged = rows.iter().map(|row| row.judged).sum::<f64>() / rows.len() as f64;
            assert_absolute(result.uncorrected, judged, 1e-12, &what);
            assert_absolute(result.degrees_of_freedom, freedom, 1e-8, &what);
        }
        let [unclamped, error, low, high] = case.rogan_gladen;
        let result = rogan_gladen(&rows, LEVEL).unwrap();
        assert_absolute(result.unclamped, unclamped, 1e-9, "Rogan–Gladen");
        assert_absolute(result.interval.estimate, unclamped.clamp(0.0, 1.0), 1e-9, "Rogan–Gladen");
        assert_relative(result.standard_error, error, 1e-8, "Rogan–Gladen");
        assert_absolute(result.interval.low, low.clamp(0.0, 1.0), 1e-8, "Rogan–Gladen");
        assert_absolute(result.interval.high, high.clamp(0.0, 1.0), 1e-8, "Rogan–Gladen");
    }
}

/// Every row labelled, with probability 1: the judge no longer matters.
#[test]
fn full_labels_give_the_plain_rate() {
    let rows: Vec<JudgedRow> = (0_u64..40)
        .map(|index| JudgedRow {
            judged: f64::from(u8::from(index % 3 == 0)),
            label: Some(Label {
                truth: f64::from(u8::from(index % 4 == 0 || index % 3 == 0)),
                inclusion: 1.0,
            }),
            cluster: index / 5,
        })
        .collect();
    let truth = rows.iter().filter_map(|row| row.label).map(|label| label.truth).sum::<f64>() / 40.0;
    for tuning in [Tuning::Full, Tuning::Fixed(0.3)] {
        let result = corrected_mean(&rows, tuning, LEVEL).unwrap();
        assert_absolute(result.interval.estimate, truth, 1e-12, "mean");
        assert!(result.degrees_of_freedom <= 7.0);
    }
    let result = rogan_gladen(&rows, LEVEL).unwrap();
    assert_absolute(result.interval.estimate, truth, 1e-12, "Rogan–Gladen");
    let full = corrected_mean(&rows, Tuning::Full, LEVEL).unwrap();
    assert_relative(result.standard_error, full.standard_error, 1e-9, "the same linearised error");
    assert_absolute(result.apparent, 0.35, 1e-12, "apparent");
    assert_absolute(result.specificity, 1.0, 1e-12, "specificity");
    assert_absolute(result.sensitivity, 14.0 / 20.0, 1e-12, "sensitivity");
}

/// Rows of a condition on questions that several conditions share: truly positive at a rate that varies by question, with
/// a judge of sensitivity 0.8 and specificity 0.9, and labels of half of its positives and a quarter of the others.
fn planted(rate: f64, questions: u64, generator: &mut ChaCha8Rng) -> Vec<JudgedRow> {
    let mut rows = Vec::new();
    for cluster in 0..questions {
        let of_question = (rate + if cluster % 2 == 0 { 0.1 } else { -0.1 }).clamp(0.0, 1.0);
        for _ in 0..10 {
            let truth = generator.random::<f64>() < of_question;
            let judged = generator.random::<f64>() < if truth { 0.8 } else { 0.1 };
            let inclusion = if judged { 0.5 } else { 0.25 };
            let label = Label { truth: f64::from(u8::from(truth)), inclusion };
            let label = (generator.random::<f64>() < inclusion).then_some(label);
            rows.push(JudgedRow { judged: f64::from(u8::from(judged)), label, cluster });
        }
    }
    rows
}

/// The error is that of leaving out one question after the other, in all conditions at once: an independent way to the
/// same linear approximation.
#[test]
fn pooled_errors_agree_with_the_jackknife_and_cover_the_truth() {
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let first = planted(0.2, 60, &mut generator);
    let second = planted(0.5, 60, &mut generator);
    let whole = rogan_gladen_pooled(&first, &[&second], LEVEL).unwrap();
    let without: Vec<f64> = (0..60)
        .map(|left_out| {
            let kept = |rows: &[JudgedRow]| -> Vec<JudgedRow> {
                rows.iter().filter(|row| row.cluster != left_out).copied().collect()
            };
            rogan_gladen_pooled(&kept(&first), &[&kept(&second)], LEVEL).unwrap().unclamped
        })
        .collect();
    let mean = without.iter().sum::<f64>() / 60.0;
    let squares: f64 = without.iter().map(|value| (value - mean).powi(2)).sum();
    assert_relative(whole.standard_error, (squares * 59.0 / 60.0).sqrt(), 0.03, "jackknife");

    let (mut covered, mut errors, mut own_errors) = (0, 0.0, 0.0);
    for _ in 0..400 {
        let first = planted(0.2, 30, &mut generator);
        let second = planted(0.5, 30, &mut generator);
        let pooled = rogan_gladen_pooled(&first, &[&second], LEVEL).unwrap();
        covered += u32::from(pooled.interval.contains(0.2));
        errors += pooled.standard_error;
        own_errors += rogan_gladen(&first, LEVEL).unwrap().standard_error;
    }
    // 92 to 98 %: three standard errors are 0.03. Labels of two conditions tell more than those of one.
    assert!((368..=392).contains(&covered), "{covered}");
    assert!(errors < own_errors, "{errors} {own_errors}");
}

#[test]
fn pooled_labels_give_the_shares_of_all_and_the_rate_of_one() {
    let rows = |counts: [usize; 5]| -> Vec<JudgedRow> {
        let kinds = [(1.0, Some(1.0)), (0.0, Some(1.0)), (1.0, Some(0.0)), (0.0, Some(0.0)), (1.0, None)];
        let all = kinds.into_iter().zip(counts).flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
        all.zip(0..)
            .map(|((judged, truth), cluster)| JudgedRow {
                judged,
                label: truth.map(|truth| Label { truth, inclusion: 0.5 }),
                cluster,
            })
            .collect()
    };
    let (first, second) = (rows([3, 1, 1, 5, 10]), rows([5, 1, 0, 4, 0]));
    let result = rogan_gladen_pooled(&first, &[&second], LEVEL).unwrap();
    // 8 of 10 found, 9 of 10 left alone, 14 of 20 judged positive.
    assert_absolute(result.sensitivity, 0.8, 1e-12, "sensitivity");
    assert_absolute(result.specificity, 0.9, 1e-12, "specificity");
    assert_absolute(result.apparent, 0.7, 1e-12, "apparent");
    assert_absolute(result.unclamped, (0.7 + 0.9 - 1.0) / (0.8 + 0.9 - 1.0), 1e-12, "corrected");
    let alone = rogan_gladen(&first, LEVEL).unwrap();
    assert_eq!(rogan_gladen_pooled(&first, &[], LEVEL), Ok(alone));
    assert_ne!(alone.sensitivity.to_bits(), result.sensitivity.to_bits());
    assert_eq!(rogan_gladen_pooled(&[], &[&second], LEVEL), Err(StatsError::NoTrials));
}

#[test]
fn labelled_subsets_may_be_refused() {
    let label = |truth: f64, inclusion: f64| Some(Label { truth, inclusion });
    let row = |judged: f64, label: Option<Label>, cluster: u64| JudgedRow { judged, label, cluster };
    let good = [
        row(1.0, label(1.0, 0.5), 0),
        row(0.0, label(0.0, 0.5), 1),
        row(1.0, label(1.0, 1.0), 2),
        row(0.0, None, 2),
    ];
    assert!(rogan_gladen(&good, LEVEL).is_ok());
    let with = |at: usize, changed: JudgedRow| {
        let mut rows = good;
        rows[at] = changed;
        let mean = corrected_mean(&rows, Tuning::Full, LEVEL).err().map(|error| error.to_string());
        let rate = rogan_gladen(&rows, LEVEL).err().map(|error| error.to_string());
        (mean, rate)
    };
    let both = |message: &str| (Some(message.to_owned()), Some(message.to_owned()));
    assert_eq!(with(3, row(f64::NAN, None, 0)), both("value 3 of the judged rows is not a finite number"));
    assert_eq!(
        with(1, row(0.0, label(f64::NAN, 0.5), 1)),
        both("value 1 of the labels is not a finite number")
    );
    for inclusion in [0.0, 1.1, f64::NAN, -0.5] {
        let message = format!("an inclusion probability of {inclusion} is outside above 0, up to 1");
        assert_eq!(with(1, row(0.0, label(0.0, inclusion), 1)), both(&message));
    }
    let (mean, rate) = with(3, row(0.4, None, 0));
    assert_eq!((mean, rate.as_deref()), (None, Some("a decision of 0.4 is outside 0 or 1")));
    let (mean, rate) = with(3, row(2.0, None, 0));
    assert_eq!((mean, rate.as_deref()), (None, Some("a decision of 2 is outside 0 to 1")));
    let (_, rate) = with(1, row(0.0, label(1.0, 0.5), 1));
    assert!(rate.unwrap().contains("no positive or no negative row"));
    let (_, rate) = with(1, row(1.0, label(0.0, 0.5), 1));
    assert!(rate.unwrap().contains("no better than a guess"));
    let few = corrected_mean(&good[..1], Tuning::Full, LEVEL).unwrap_err();
    assert_eq!(few, StatsError::TooFew { what: "labelled clusters", needed: 2, given: 1 });
    assert!(corrected_mean(&good, Tuning::Fixed(f64::INFINITY), LEVEL).is_err());
}

#[derive(Deserialize)]
struct CountRow {
    counts: [u64; 6],
    level: f64,
    unclamped: f64,
    low: f64,
    high: f64,
}

fn judge_counts(
    [positive, judged, true_positives, truly_positive, true_negatives, truly_negative]: [u64; 6],
) -> JudgeCounts {
    JudgeCounts { positive, judged, true_positives, truly_positive, true_negatives, truly_negative }
}

#[test]
fn corrected_counts_match_lang_and_reiczigel() {
    for row in fixture::<CountRow>("rogan_gladen_counts.json") {
        let what = format!("{:?}", row.counts);
        let result =
            rogan_gladen_counts(&judge_counts(row.counts), Confidence::new(row.level).unwrap()).unwrap();
        assert_absolute(result.unclamped, row.unclamped, 1e-12, &what);
        let clamped = row.unclamped.clamp(0.0, 1.0);
        assert_absolute(result.interval.estimate, clamped, 1e-12, &what);
        assert_absolute(result.interval.low, row.low.min(clamped), 1e-9, &what);
        assert_absolute(result.interval.high, row.high.max(clamped), 1e-9, &what);
        let [x, n, tp, p, tn, m] = row.counts.map(|count| count as f64);
        assert_absolute(result.apparent, x / n, 1e-15, &what);
        assert_absolute(result.sensitivity, tp / p, 1e-15, &what);
        assert_absolute(result.specificity, tn / m, 1e-15, &what);
        assert!(result.standard_error > 0.0);
    }
    let refused = |counts| rogan_gladen_counts(&judge_counts(counts), LEVEL).unwrap_err();
    assert_eq!(refused([0, 0, 1, 2, 1, 2]), StatsError::NoTrials);
    assert_eq!(refused([0, 9, 1, 0, 1, 2]), StatsError::NoTrials);
    assert_eq!(refused([0, 9, 1, 1, 3, 2]), StatsError::MoreSuccessesThanTrials { successes: 3, trials: 2 });
    assert!(matches!(refused([0, 9, 1, 2, 1, 2]), StatsError::Undefined { .. }));
}

#[derive(Deserialize)]
struct EqualRow {
    conditions: Vec<Vec<(bool, bool)>>,
    sensitivity: (f64, u64, f64),
    specificity: (f64, u64, f64),
    p_value: f64,
}

#[test]
fn equal_errors_match_pearsons_test() {
    for row in fixture::<EqualRow>("equal_errors.json") {
        let decisions = |weight: f64| -> Vec<Vec<LabelledDecision>> {
            let of = |&(judged, truth): &(bool, bool)| LabelledDecision { judged, truth, weight };
            row.conditions.iter().map(|labels| labels.iter().map(of).collect()).collect()
        };
        let result = equal_errors(&decisions(1.0), 2000, 1).unwrap();
        for (test, (statistic, degrees, p_value)) in
            [(result.sensitivity, row.sensitivity), (result.specificity, row.specificity)]
        {
            assert_absolute(test.statistic, statistic, 1e-9, "statistic");
            assert_eq!(test.degrees_of_freedom, degrees);
            assert_absolute(test.p_value, p_value, 1e-9, "p");
        }
        assert_absolute(result.p_value, row.p_value, 1e-9, "both");
        // 2,000 permutations: three standard errors, and what the χ² approximation is off by.
        assert_absolute(result.permutation_p_value, row.p_value, 0.06, "permuted");
        // Only ratios of weights matter.
        let weighted = equal_errors(&decisions(3.0), 1, 1).unwrap();
        assert_absolute(weighted.p_value, row.p_value, 1e-9, "weighted");
        assert!(weighted.permutation_p_value >= 0.5);
    }
}

/// Two right decisions of one condition and a wrong one of another: of the three ways to hand out the conditions one is
/// as extreme as what was seen, so that a single permutation is so with a probability of a third.
#[test]
fn every_permutation_is_as_likely_as_any_other() {
    let decision = |judged| LabelledDecision { judged, truth: true, weight: 1.0 };
    let conditions = vec![vec![decision(true), decision(true)], vec![decision(false)]];
    let as_extreme = (0..300)
        .filter(|&seed| equal_errors(&conditions, 1, seed).unwrap().permutation_p_value > 0.9)
        .count();
    // Four standard errors of 8.
    assert!((68..=132).contains(&as_extreme), "{as_extreme}");
}

#[test]
fn weights_count_by_kish_and_the_rest_is_refused() {
    let decision = |judged, truth, weight| LabelledDecision { judged, truth, weight };
    // First condition: right with weight 3 of 4, effective 16/10; second: right with 1 of 2, effective 2.
    let conditions = vec![
        vec![decision(true, true, 3.0), decision(false, true, 1.0)],
        vec![decision(true, true, 1.0), decision(false, true, 1.0)],
    ];
    let result = equal_errors(&conditions, 50, 0).unwrap();
    let pooled = (0.75 * 1.6 + 0.5 * 2.0) / 3.6;
    let expected =
        (1.6 * (0.75_f64 - pooled).powi(2) + 2.0 * (0.5_f64 - pooled).powi(2)) / (pooled * (1.0 - pooled));
    assert_absolute(result.sensitivity.statistic, expected, 1e-12, "weighted");
    assert_eq!((result.specificity.degrees_of_freedom, result.sensitivity.degrees_of_freedom), (0, 1));
    // Nothing to differ in.
    let right = vec![vec![decision(true, true, 1.0)], vec![decision(true, true, 1.0)]];
    let result = equal_errors(&right, 10, 0).unwrap();
    assert_eq!(
        (result.p_value.to_bits(), result.permutation_p_value.to_bits()),
        (1.0_f64.to_bits(), 1.0_f64.to_bits())
    );
    assert_eq!(equal_errors(&right, 0, 0), Err(StatsError::NoResamples));
    assert!(matches!(equal_errors(&right[..1], 9, 0), Err(StatsError::TooFew { what: "conditions", .. })));
    let zero = vec![vec![decision(true, true, 0.0)], vec![]];
    assert!(matches!(equal_errors(&zero, 9, 0), Err(StatsError::OutOfRange { .. })));
    // Errors that differ beyond doubt.
    let differing: Vec<Vec<LabelledDecision>> =
        [true, false].map(|judged| vec![decision(judged, true, 1.0); 20]).to_vec();
    let result = equal_errors(&differing, 999, 0).unwrap();
    assert!(result.p_value < 1e-8 && result.permutation_p_value <= 0.002, "{result:?}");
}
