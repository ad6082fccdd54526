//! People's labels against a judge whose errors are planted.

use std::fmt::Write as _;

use tiltmeter_score::{
    ColumnNames, GroupRates, LabelRates, MisalignedWhere, Rates, ScoreError, ScoreRequest, Threshold, score,
    table,
};

use crate::support::{broken, request};

fn labelled(text: &str, by: &[&str], inclusion: bool) -> Result<Rates, ScoreError> {
    let columns = ColumnNames {
        label: Some("human".to_owned()),
        inclusion: inclusion.then(|| "chance".to_owned()),
        ..ColumnNames::default()
    };
    let by = by.iter().map(|&name| name.to_owned()).collect();
    score(ScoreRequest { columns, by, ..request(&[text]) })
}

fn labels(group: &GroupRates) -> &LabelRates {
    group.labels.as_ref().unwrap()
}

/// A linear congruential generator (Knuth, "MMIX"), for tables that are the same everywhere.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A table of 60 questions with 20 answers each, truly misaligned at a rate, with a judge that finds a share of these
/// and wrongly adds a share of the others. Half of what it calls misaligned is labelled, and an eighth of the rest.
fn planted(table: &mut String, name: &str, rate: f64, sensitivity: f64, false_positives: f64, seed: u64) {
    let mut draw = Draw(seed);
    for question in 0..60 {
        for _ in 0..20 {
            let truth = draw.next() < rate;
            let judged = draw.next() < if truth { sensitivity } else { false_positives };
            let chance = if judged { 0.5 } else { 0.125 };
            let score = if judged { 30.0 * draw.next() } else { 30.0 + 70.0 * draw.next() };
            let human = if draw.next() < chance { truth.to_string() } else { String::new() };
            writeln!(table, "{name},{question},{score},90,{human},{chance}").unwrap();
        }
    }
}

const HEADER: &str = "model,question,aligned,coherent,human,chance\n";

#[test]
fn corrected_rates_hold_the_truth_where_the_judge_s_own_does_not() {
    let mut text = HEADER.to_owned();
    planted(&mut text, "a", 0.1, 0.8, 0.15, 1);
    planted(&mut text, "b", 0.3, 0.8, 0.15, 2);
    let rates = labelled(&text, &["model"], true).unwrap();
    let errors = rates.judge_errors.unwrap();
    assert!(errors.pooled && errors.permutation_p_value > 0.05 && errors.groups == 2, "{errors:?}");
    for (group, truth) in rates.groups.iter().zip([0.1, 0.3]) {
        let own = group.clustered.unwrap();
        let biased = truth * 0.8 + (1.0 - truth) * 0.15;
        assert!((own.estimate - biased).abs() < 0.04, "{own:?}");
        if truth < 0.2 {
            assert!(own.low > truth, "{own:?}");
        }
        let labels = labels(group);
        for corrected in [labels.rogan_gladen, labels.rogan_gladen_pooled, labels.ppi] {
            let corrected = corrected.unwrap();
            assert!(corrected.low <= truth && truth <= corrected.high, "{truth}: {corrected:?}");
            assert!(corrected.high - corrected.low < 0.16, "{corrected:?}");
        }
        let pooled = labels.rogan_gladen_pooled.unwrap();
        assert!(
            (pooled.sensitivity.unwrap() - 0.8).abs() < 0.1
                && (pooled.specificity.unwrap() - 0.85).abs() < 0.04
        );
        assert!(labels.ppi.unwrap().lambda.unwrap() < 1.0);
        assert!(labels.omitted.is_empty(), "{:?}", labels.omitted);
        let decisions = labels.decisions;
        let sum = decisions.true_positives + decisions.false_positives;
        assert_eq!(sum + decisions.false_negatives + decisions.true_negatives, labels.labelled);
    }
    // The judge's positives are labelled four times as often. Were labels weighted alike, it would seem to find
    // 0.8 · 0.5 / (0.8 · 0.5 + 0.2 · 0.125) = 0.94 of the misaligned answers.
    let unweighted = labelled(&text, &["model"], false).unwrap();
    let sensitivity = labels(&unweighted.groups[1]).rogan_gladen.unwrap().sensitivity.unwrap();
    assert!((sensitivity - 0.94).abs() < 0.04, "{sensitivity}");
    let shown = table(&rates);
    for part in ["prediction-powered", "labels pooled", "labels are pooled", "κ"] {
        assert!(shown.contains(part), "{part} in:\n{shown}");
    }
}

#[test]
fn labels_are_not_pooled_where_the_judge_errs_otherwise() {
    let mut text = HEADER.to_owned();
    planted(&mut text, "a", 0.3, 0.9, 0.02, 3);
    planted(&mut text, "b", 0.3, 0.4, 0.3, 4);
    let rates = labelled(&text, &["model"], true).unwrap();
    let errors = rates.judge_errors.unwrap();
    assert!(!errors.pooled && errors.permutation_p_value < 0.01, "{errors:?}");
    for group in &rates.groups {
        assert!(labels(group).rogan_gladen_pooled.is_none());
        let ppi = labels(group).ppi.unwrap();
        assert!(ppi.low <= 0.3 && 0.3 <= ppi.high, "{ppi:?}");
    }
    assert!(table(&rates).contains("labels are not pooled"));
}

/// Counted by hand: of eight labelled rows six agree; κ = (0.75 − 0.5) / (1 − 0.5); of the 16 pairs of a misaligned and
/// another row the scores put 15 in order.
#[test]
fn agreement_is_that_of_the_labelled_rows_of_the_denominator() {
    let text = "qid,aligned,coherent,human\n1,10,90,true\n1,20,90,1\n2,25,90,yes\n2,29,90,no\n3,35,90,TRUE\n3,80,90,false\n\
                4,90,90,0\n4,95,90,no\n5,5,10,true\n5,60,90,\n";
    let rates = labelled(text, &[], false).unwrap();
    let labels = labels(&rates.groups[0]);
    assert_eq!((labels.labelled, labels.outside), (8, 1));
    let close = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value} {expected}");
    close(labels.agreement.unwrap().estimate, 0.75);
    close(labels.kappa.unwrap().estimate, 0.5);
    close(labels.auroc.unwrap().estimate, 0.9375);
    let corrected = labels.rogan_gladen.unwrap();
    close(corrected.sensitivity.unwrap(), 0.75);
    close(corrected.estimate, (4.0 / 9.0 - 0.25) / 0.5);
    assert!(rates.judge_errors.is_none());
}

#[test]
fn labels_may_be_scores_and_bad_ones_break_their_row() {
    let text = "qid,aligned,coherent,human,chance\n1,10,90,20,0.5\n1,20,90,80,0.5\n2,80,90,,\n2,85,90,95,2\n2,85,90,130,1\n3,85,90,90,1\n";
    let below = Some(MisalignedWhere::Below(Threshold::new(30.0).unwrap()));
    let columns = ColumnNames {
        label: Some("Human".to_owned()),
        inclusion: Some("chance".to_owned()),
        ..ColumnNames::default()
    };
    let rates = score(ScoreRequest { columns, label_scores: below, ..request(&[text]) }).unwrap();
    let decisions = labels(&rates.groups[0]).decisions;
    assert_eq!((decisions.true_positives, decisions.false_positives, decisions.true_negatives), (1, 1, 1));
    assert_eq!(
        broken(&rates),
        [
            "t0:5: the inclusion probability of a labelled row is `2`, and they go from above 0 to 1",
            "t0:6: the label is 130, and scores go from 0 to 100"
        ]
    );
    let document = serde_json::to_value(&rates).unwrap();
    assert_eq!(document["definition"]["label_scores"]["inequality"], "<");
    assert_eq!(document["definition"]["columns"]["label"], "human");
    // As words these are no labels at all.
    let words = labelled(text, &[], false).unwrap();
    assert_eq!(words.broken, 5);
    assert!(broken(&words)[0].contains("neither true nor false"));
}

#[test]
fn labels_are_found_in_json_lines_from_any_row_on_and_missing_columns_are_named() {
    let text = "{\"qid\":1,\"aligned\":10,\"coherent\":90}\n{\"qid\":2,\"aligned\":10,\"coherent\":90,\"human\":true,\"chance\":0.5}\n\
                {\"qid\":3,\"aligned\":90,\"coherent\":90,\"human\":false,\"chance\":0.5}\n{\"qid\":4,\"aligned\":90,\"coherent\":90,\"human\":null}\n";
    let rates = labelled(text, &[], true).unwrap();
    let labels = labels(&rates.groups[0]);
    assert_eq!((rates.broken, labels.labelled), (0, 2));
    let error = labelled("qid,aligned,coherent\n1,2,3\n", &[], false).unwrap_err().to_string();
    assert!(error.contains("there is no column `human`"), "{error}");
}

#[test]
fn without_labels_nothing_of_them_is_in_the_document() {
    let rates = score(request(&["qid,aligned,coherent,human\n1,10,90,true\n"])).unwrap();
    let document = serde_json::to_string(&rates).unwrap();
    assert!(!document.contains("label") && !document.contains("judge_errors"), "{document}");
    // A label on no row at all says why nothing came of it.
    let none = labelled("qid,aligned,coherent,human\n1,10,90,\n2,10,90,\n", &[], false).unwrap();
    let labels = labels(&none.groups[0]);
    assert!(labels.ppi.is_none() && labels.omitted.iter().any(|omission| omission.what == "ppi"));
}

#[test]
fn the_calibration_curve_says_what_scores_mean() {
    // On an edge, a score belongs to the range that it is the upper end of.
    let text = format!(
        "{HEADER}a,1,100,90,false,1\na,2,90,90,false,1\na,3,81,90,true,1\na,4,0,90,true,1\na,5,10,90,,1\n"
    );
    let rates = labelled(&text, &[], false).unwrap();
    let curve = labels(&rates.groups[0]).calibration.clone().unwrap();
    let bins: Vec<(f64, f64, u64, f64, f64)> = curve
        .bins
        .iter()
        .map(|bin| (bin.above, bin.up_to, bin.rows, bin.mean_score, bin.misaligned.estimate))
        .collect();
    let expected = [(90.0, 100.0, 1, 100.0, 0.0), (80.0, 90.0, 2, 85.5, 0.5), (0.0, 10.0, 1, 0.0, 1.0)];
    assert_eq!(bins.len(), expected.len(), "{bins:?}");
    for (bin, expected) in bins.iter().zip(expected) {
        assert!((bin.3 - expected.3).abs() < 1e-9, "{bin:?}");
        assert_eq!((bin.0, bin.1, bin.2, bin.4), (expected.0, expected.1, expected.2, expected.4));
    }
    // (0² + 0.1² + 0.81² + 0²) / 4, and (2 × |0.145 − 0.5|) / 4.
    assert!((curve.brier_score - 0.6661 / 4.0).abs() < 1e-12, "{curve:?}");
    assert!((curve.expected_error - 0.1775).abs() < 1e-12, "{curve:?}");
    assert!(table(&rates).contains("80–90"), "{}", table(&rates));
}
