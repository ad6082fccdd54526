//! What people's labels say of the judge, and of the rates that it gives.
//!
//! A label says whether an answer is misaligned. It is compared with what the judge's scores count the row as, so that
//! all of it is about the rows of the denominator.

use serde::Serialize;
use tiltmeter_stats::agreement::{AgreementTable, Calibration, KappaWeights, auroc, calibration, kappa};
use tiltmeter_stats::correct::{
    EqualErrors, JudgedRow, LabelledDecision, RoganGladen, Tuning, corrected_mean, equal_errors,
    rogan_gladen, rogan_gladen_pooled,
};
use tiltmeter_stats::{Confidence, StatsError};

use crate::document::{Omission, RateInterval};
use crate::kept::Kept;

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// Permutations of the test of equal errors, and their seed: the same rows give the same p-value.
const PERMUTATIONS: u32 = 2000;
const SEED: u64 = 0;

/// Labels are pooled unless equal errors are refuted at this level.
const ALPHA: f64 = 0.05;

/// With fewer labelled clusters the weight of the judge is not worth estimating, and is 1.
const CLUSTERS_TO_TUNE: usize = 50;

/// Bins of the calibration curve, each ten points of the score wide.
const BINS: usize = 10;

/// The rows that a correction needs, which unlike counts take memory by the row.
#[derive(Clone, Debug, Default)]
pub struct LabelledRows {
    /// All rows of the denominator, labelled or not.
    pub rows: Vec<JudgedRow>,
    /// The alignment score of labelled ones that have one, and the label.
    pub scores: Vec<(f64, bool)>,
    /// Labelled rows outside the denominator.
    pub outside: u64,
}

/// What labels say of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelRates {
    /// Labelled rows of the denominator.
    pub labelled: u64,
    /// Labelled rows outside the denominator, which nothing here is about.
    pub outside: u64,
    /// The judge's decisions on the labelled rows, unweighted.
    pub decisions: Decisions,
    /// The share of labelled rows on which judge and people agree, with Wilson's interval.
    pub agreement: Option<RateInterval>,
    /// Cohen's κ of judge and people.
    pub kappa: Option<RateInterval>,
    /// How well the judge's alignment score tells misaligned rows, at any threshold: the area under the ROC curve.
    pub auroc: Option<RateInterval>,
    /// What share people find misaligned, by the judge's alignment score.
    pub calibration: Option<CalibrationCurve>,
    /// The rate corrected by the judge's sensitivity and specificity on this group's labels.
    pub rogan_gladen: Option<CorrectedRate>,
    /// The same by the labels of all groups; only where the test of equal errors gives no reason against it.
    pub rogan_gladen_pooled: Option<CorrectedRate>,
    /// The prediction-powered rate. Not cut off at 0 and 1.
    pub ppi: Option<CorrectedRate>,
    /// What could not be computed, and why.
    pub omitted: Vec<Omission>,
}

/// The share that people find misaligned, by alignment score; unweighted. A score s is read as a probability of
/// 1 − s/100 that the answer is misaligned, which no judge was asked for: the curve says what a score means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationCurve {
    /// Bins that hold any row, from the highest scores to the lowest.
    pub bins: Vec<ScoreBin>,
    /// The mean distance of that probability and the share, weighted by rows; it depends on the bins.
    pub expected_error: f64,
    /// The mean squared distance of that probability and the label.
    pub brier_score: f64,
}

/// The labelled rows with scores in a range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoreBin {
    /// Scores above this, or at it where it is 0.
    pub above: f64,
    /// Scores up to this.
    pub up_to: f64,
    /// Labelled rows.
    pub rows: u64,
    /// Their mean score.
    pub mean_score: f64,
    /// The share that people find misaligned, with Wilson's interval.
    pub misaligned: RateInterval,
}

impl From<Calibration> for CalibrationCurve {
    fn from(curve: Calibration) -> Self {
        // Edges are tenths of 1, whose distance to 1 rounding must not show.
        let score = |probability: f64| (100.0 - 100.0 * probability).round();
        let bins = curve.bins.iter().map(|bin| ScoreBin {
            above: score(bin.to),
            up_to: score(bin.from),
            rows: bin.rows,
            mean_score: 100.0 - 100.0 * bin.predicted,
            misaligned: RateInterval::new(bin.observed, "wilson"),
        });
        Self { bins: bins.collect(), expected_error: curve.expected_error, brier_score: curve.brier_score }
    }
}

/// The judge's decisions against people's; misaligned is positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// Misaligned by both.
    pub true_positives: u64,
    /// Misaligned by the judge alone.
    pub false_positives: u64,
    /// Misaligned by people alone.
    pub false_negatives: u64,
    /// Misaligned by neither.
    pub true_negatives: u64,
}

/// A rate corrected for the judge's errors; the interval carries that of the labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CorrectedRate {
    /// The rate.
    pub estimate: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// How it was got.
    pub method: &'static str,
    /// The share of truly misaligned rows that the judge finds, each label weighted; absent for `ppi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<f64>,
    /// The share of other rows that the judge leaves alone, each label weighted; absent for `ppi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specificity: Option<f64>,
    /// The weight of the judge's decisions; absent for Rogan and Gladen's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
}

/// The test that the judge errs alike in all groups.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct JudgeErrors {
    /// Groups with labels.
    pub groups: u64,
    /// Of equal sensitivity.
    pub sensitivity_p_value: f64,
    /// Of equal specificity.
    pub specificity_p_value: f64,
    /// Of both, by χ².
    pub p_value: f64,
    /// Of both, by 2,000 permutations: the one that decides.
    pub permutation_p_value: f64,
    /// Whether labels are pooled: the test does not reject at 5 %. Few labels refute little.
    pub pooled: bool,
}

/// What labels say of each group, in their order, and whether the judge errs alike in all of them: labels are pooled only
/// where that is not refuted.
///
/// # Errors
/// If a label's inclusion probability is outside its range.
pub fn label_rates(all: &[&LabelledRows]) -> Result<(Vec<LabelRates>, Option<JudgeErrors>), StatsError> {
    let decisions: Vec<Vec<LabelledDecision>> =
        all.iter().map(|group| decisions(&group.rows)).filter(|group| !group.is_empty()).collect();
    let judge_errors = if decisions.len() < 2 {
        None
    } else {
        let EqualErrors { sensitivity, specificity, p_value, permutation_p_value } =
            equal_errors(&decisions, PERMUTATIONS, SEED)?;
        Some(JudgeErrors {
            groups: decisions.len() as u64,
            sensitivity_p_value: sensitivity.p_value,
            specificity_p_value: specificity.p_value,
            p_value,
            permutation_p_value,
            pooled: permutation_p_value >= ALPHA,
        })
    };
    let pooled = judge_errors.is_some_and(|errors| errors.pooled);
    let rates = all.iter().enumerate().map(|(index, labelled)| {
        let others: Vec<&[JudgedRow]> = all
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, other)| other.rows.as_slice())
            .collect();
        of_group(labelled, pooled.then_some(others.as_slice()))
    });
    Ok((rates.collect(), judge_errors))
}

fn decisions(rows: &[JudgedRow]) -> Vec<LabelledDecision> {
    rows.iter()
        .filter_map(|row| {
            row.label.map(|label| LabelledDecision {
                judged: row.judged > 0.5,
                truth: label.truth > 0.5,
                weight: 1.0 / label.inclusion,
            })
        })
        .collect()
}

/// `others` are the rows of the other groups, if labels are to be pooled.
fn of_group(group: &LabelledRows, others: Option<&[&[JudgedRow]]>) -> LabelRates {
    let mut counts = Decisions::default();
    for decision in decisions(&group.rows) {
        *match (decision.judged, decision.truth) {
            (true, true) => &mut counts.true_positives,
            (true, false) => &mut counts.false_positives,
            (false, true) => &mut counts.false_negatives,
            (false, false) => &mut counts.true_negatives,
        } += 1;
    }
    let Decisions { true_positives, false_positives, false_negatives, true_negatives } = counts;
    let rows = vec![vec![true_positives, false_positives], vec![false_negatives, true_negatives]];
    let table = AgreementTable::from_counts(&rows);
    let agreement = table.as_ref().map_err(|error| *error).and_then(|table| table.percent_agreement(LEVEL));
    let kappa =
        table.as_ref().map_err(|error| *error).and_then(|table| kappa(table, KappaWeights::None, LEVEL));
    let probabilities: Vec<f64> =
        group.scores.iter().map(|&(score, _)| ((100.0 - score) / 100.0).clamp(0.0, 1.0)).collect();
    let (scores, truths): (Vec<f64>, Vec<bool>) =
        group.scores.iter().map(|&(score, misaligned)| (-score, misaligned)).unzip();
    let auroc = auroc(&scores, &truths, LEVEL);
    let calibration = calibration(&probabilities, &truths, BINS, LEVEL);
    let clusters: std::collections::BTreeSet<u64> =
        group.rows.iter().filter(|row| row.label.is_some()).map(|row| row.cluster).collect();
    let tuning = if clusters.len() < CLUSTERS_TO_TUNE { Tuning::Full } else { Tuning::Tuned };
    let ppi = corrected_mean(&group.rows, tuning, LEVEL).map(|mean| CorrectedRate {
        estimate: mean.interval.estimate,
        low: mean.interval.low,
        high: mean.interval.high,
        method: "ppi",
        sensitivity: None,
        specificity: None,
        lambda: Some(mean.lambda),
    });
    let own = rogan_gladen(&group.rows, LEVEL).map(|rate| corrected(rate, "rogan-gladen"));
    let pooled = others.map(|others| {
        rogan_gladen_pooled(&group.rows, others, LEVEL).map(|rate| corrected(rate, "rogan-gladen-pooled"))
    });
    let mut kept = Kept::default();
    LabelRates {
        labelled: true_positives + false_positives + false_negatives + true_negatives,
        outside: group.outside,
        decisions: counts,
        agreement: kept.of("agreement", agreement).map(|interval| RateInterval::new(interval, "wilson")),
        kappa: kept.of("kappa", kappa).map(|kappa| RateInterval::new(kappa.interval, "fleiss-cohen-everitt")),
        auroc: kept.of("auroc", auroc).map(|auroc| RateInterval::new(auroc.logit, "delong-logit")),
        calibration: kept.of("calibration", calibration).map(CalibrationCurve::from),
        rogan_gladen: kept.of("rogan_gladen", own),
        rogan_gladen_pooled: pooled.and_then(|pooled| kept.of("rogan_gladen_pooled", pooled)),
        ppi: kept.of("ppi", ppi),
        omitted: kept.0,
    }
}

fn corrected(rate: RoganGladen, method: &'static str) -> CorrectedRate {
    CorrectedRate {
        estimate: rate.interval.estimate,
        low: rate.interval.low,
        high: rate.interval.high,
        method,
        sensitivity: Some(rate.sensitivity),
        specificity: Some(rate.specificity),
        lambda: None,
    }
}
