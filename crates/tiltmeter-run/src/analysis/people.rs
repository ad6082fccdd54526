//! What people's labels say of the run's judge, and of its rates.

use std::collections::HashMap;

use indexmap::{IndexMap, IndexSet};
use tiltmeter_agreement::{
    AnnotatorResult, ConditionLabels, ConditionName, HumanLabels, LabelSampleResult, LabelledRows, Rating,
    Ratings, StratumResult, consensus, label_rates,
};
use tiltmeter_core::verdict::{Denominator, RateDefinition};
use tiltmeter_stats::correct::{JudgedRow, Label};
use tiltmeter_store::{
    ConditionRow, ExperimentRow, FailureRow, LabelItemRow, LabelKind, LabelRow, Reader, ResponseOutcome,
    SampleRow,
};

use super::judges::{cluster_of, rating};
use super::samples::Members;
use super::{AnalysisError, statistics};

/// What the newest sample's labels say; `None` where nobody labelled.
pub(super) fn human_labels(
    reader: &Reader,
    experiment: &ExperimentRow,
    conditions: &[ConditionRow],
    failures: &[FailureRow],
) -> Result<Option<HumanLabels>, AnalysisError> {
    let Some((draw_row, draw)) = reader.label_draw()? else { return Ok(None) };
    let labels = reader.labels(draw_row)?;
    if labels.is_empty() {
        return Ok(None);
    }
    let items = reader.label_items(draw_row)?;
    let annotators: IndexSet<&str> = labels.iter().map(|label| label.annotator.as_str()).collect();
    let said = Said::new(&items, &labels, &annotators);
    let has_judge = experiment.judge.is_some();
    let failed = experiment.judge_failed(failures);
    let members = Members::new(conditions);
    let mut rows: Vec<LabelledRows> = conditions.iter().map(|_| LabelledRows::default()).collect();
    let judge = match experiment.judge {
        Some(judge) => reader.judge_models()?.remove(&judge).unwrap_or_default(),
        None => "no judge".to_owned(),
    };
    let names = std::iter::once(judge).chain(annotators.iter().map(|&name| name.to_owned()));
    let mut ratings = Ratings::new(names.collect(), false);
    let (mut answers, mut labelled, mut undecided) = (0, 0, 0);
    reader.for_each_sample(experiment, |row| {
        if row.outcome != ResponseOutcome::Answer || row.response > draw.last_response {
            return;
        }
        let mut places = members.of(&row).peekable();
        if places.peek().is_none() {
            return;
        }
        answers += 1;
        let verdict = row.verdict(has_judge, failed.contains(&row.response));
        let judged = rating(&row, verdict, experiment.definition);
        let mut label = None;
        if let Some(of_answer) = said.by_response.get(&row.response) {
            let people =
                of_answer.labels.iter().map(|said| said.map(|label| rated(label, experiment.definition)));
            ratings.push(cluster_of(&row), std::iter::once(judged).chain(people));
            let votes = || of_answer.labels.iter().flatten().map(|label| vote(label.kind));
            label = consensus(votes()).map(|misaligned| (misaligned, of_answer.inclusion));
            undecided += u64::from(label.is_none() && votes().flatten().next().is_some());
            labelled += u64::from(label.is_some());
        }
        for place in places {
            add(&mut rows[place], &row, judged, label);
        }
    })?;
    let all: Vec<&LabelledRows> = rows.iter().collect();
    let (of_conditions, judge_errors) =
        label_rates(&all).map_err(|error| statistics("rates corrected by labels", error))?;
    let agreement = ratings
        .agreement(IndexMap::new())
        .map_err(|error| statistics("agreement of people and judge", error))?;
    // Another judge's experiment has its own rows for the same conditions.
    let drawn_for = reader.conditions(draw.experiment)?;
    let name_of = |row: i64| drawn_for.iter().find(|condition| condition.id == row).map(name);
    let strata = draw.strata.iter().map(|stratum| StratumResult {
        verdict: stratum.verdict.clone(),
        condition: stratum.condition.and_then(name_of),
        answers: stratum.answers,
        drawn: stratum.drawn,
    });
    Ok(Some(HumanLabels {
        sample: LabelSampleResult {
            drawn_at: draw.created_at.clone(),
            seed: draw.seed,
            answers,
            drawn: items.len() as u64,
            labelled,
            strata: strata.collect(),
        },
        annotators: annotators.iter().map(|&name| progress(name, &labels)).collect(),
        agreement,
        undecided,
        conditions: conditions
            .iter()
            .zip(of_conditions)
            .filter(|(_, labels)| labels.labelled + labels.outside > 0)
            .map(|(condition, labels)| ConditionLabels { condition: name(condition), labels })
            .collect(),
        judge_errors,
        notes: notes(&labels, items.len() * annotators.len(), draw.experiment, experiment),
    }))
}

/// What a reader must know to read the figures.
fn notes(labels: &[LabelRow], wanted: usize, drawn_for: i64, experiment: &ExperimentRow) -> Vec<String> {
    let mut notes = Vec::new();
    if labels.len() < wanted {
        notes.push(format!(
            "{} of {wanted} labels are given so far; the order was random, so those given stand for all",
            labels.len()
        ));
    }
    if drawn_for != experiment.id {
        notes.push(
            "the sample was drawn when another judge or grid was the newest; its probabilities hold all the same"
                .to_owned(),
        );
    }
    if experiment.definition.denominator == Denominator::All {
        notes.push(
            "answers that were refused or withheld are not labelled and in none of these rates".to_owned(),
        );
    }
    notes
}

/// The labels of a drawn answer.
struct OfAnswer<'a> {
    inclusion: f64,
    /// One place for each annotator.
    labels: Vec<Option<&'a LabelRow>>,
}

/// All labels, by the row of the response.
struct Said<'a> {
    by_response: HashMap<i64, OfAnswer<'a>>,
}

impl<'a> Said<'a> {
    fn new(items: &[LabelItemRow], labels: &'a [LabelRow], annotators: &IndexSet<&str>) -> Self {
        let responses: HashMap<i64, i64> = items.iter().map(|item| (item.id, item.answer.response)).collect();
        let empty = |item: &LabelItemRow| OfAnswer {
            inclusion: item.answer.inclusion,
            labels: vec![None; annotators.len()],
        };
        let mut by_response: HashMap<i64, OfAnswer<'a>> =
            items.iter().map(|item| (item.answer.response, empty(item))).collect();
        for label in labels {
            let place = annotators.get_index_of(label.annotator.as_str());
            let of_answer = responses.get(&label.item).and_then(|response| by_response.get_mut(response));
            if let (Some(place), Some(of_answer)) = (place, of_answer)
                && let Some(slot) = of_answer.labels.get_mut(place)
            {
                *slot = Some(label);
            }
        }
        Self { by_response }
    }
}

/// A row of a condition, with its label if it has one.
fn add(rows: &mut LabelledRows, row: &SampleRow, judged: Option<Rating>, label: Option<(bool, f64)>) {
    let number = |yes: bool| f64::from(u8::from(yes));
    let Some(counted) = judged.and_then(|rating| rating.counted) else {
        rows.outside += u64::from(label.is_some());
        return;
    };
    if let (Some((misaligned, _)), Some(score)) = (label, judged.and_then(|rating| rating.alignment)) {
        rows.scores.push((score, misaligned));
    }
    rows.rows.push(JudgedRow {
        judged: number(counted),
        label: label.map(|(misaligned, inclusion)| Label { truth: number(misaligned), inclusion }),
        cluster: u64::from(cluster_of(row)),
    });
}

/// Misaligned and coherent or not; a refusal is not. `None`: the person cannot tell.
fn vote(kind: LabelKind) -> Option<bool> {
    match kind {
        LabelKind::Judged { misaligned, coherent } => Some(misaligned && coherent),
        LabelKind::Refusal => Some(false),
        LabelKind::CannotTell => None,
    }
}

/// A person's label in the judge's terms.
fn rated(label: &LabelRow, definition: RateDefinition) -> Rating {
    let none = Rating {
        alignment: label.alignment,
        coherence: None,
        misaligned: None,
        coherent: None,
        counted: None,
        reason: Some(label.kind.name()),
    };
    let takes_all = definition.denominator == Denominator::All;
    match label.kind {
        LabelKind::Judged { misaligned, coherent } => {
            let is_in = coherent || takes_all || definition.denominator == Denominator::Scored;
            Rating {
                misaligned: Some(misaligned),
                coherent: Some(coherent),
                counted: is_in.then_some(misaligned && coherent),
                reason: None,
                ..none
            }
        }
        LabelKind::Refusal => Rating { counted: takes_all.then_some(false), ..none },
        LabelKind::CannotTell => none,
    }
}

fn progress(annotator: &str, labels: &[LabelRow]) -> AnnotatorResult {
    let mut result = AnnotatorResult {
        annotator: annotator.to_owned(),
        labelled: 0,
        misaligned: 0,
        incoherent: 0,
        refusal: 0,
        cannot_tell: 0,
    };
    for label in labels.iter().filter(|label| label.annotator == annotator) {
        result.labelled += 1;
        match label.kind {
            LabelKind::Judged { misaligned, coherent } => {
                result.misaligned += u64::from(misaligned);
                result.incoherent += u64::from(!coherent);
            }
            LabelKind::Refusal => result.refusal += 1,
            LabelKind::CannotTell => result.cannot_tell += 1,
        }
    }
    result
}

fn name(condition: &ConditionRow) -> ConditionName {
    ConditionName {
        subject: condition.subject_name.clone(),
        demonstrations: condition.demonstrations.clone(),
        control: condition.control.clone(),
        shots: condition.shots,
        treatment: condition.treatment_name.clone(),
        placement: condition.placement.name().to_owned(),
        reasoning: condition.reasoning.clone(),
    }
}
