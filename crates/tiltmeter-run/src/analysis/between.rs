//! The same conditions of several runs, compared on the questions that they have in common.
//!
//! Questions, prompts and judges of different directories are told to be the same by their content addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tiltmeter_core::id::ContentId;
use tiltmeter_core::verdict::RateDefinition;
use tiltmeter_stats::{BootstrapSettings, PairedDifference, bootstrap_mean};
use tiltmeter_store::{ConditionRow, ExperimentRow, JudgeIdentity, Reader};

use crate::between::{ComparedCondition, ComparedRun, OnlyIn, RunComparison};
use crate::effects::{Comparison, Omission};
use crate::results::{RateResult, TiltResult};

use super::rates::Counts;
use super::samples::Samples;
use super::tilt::Tilts;
use super::{AnalysisError, comparisons, is_match, rates, settings, statistics};

/// How runs are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BetweenSettings {
    /// Compare EM rates even where different judges, or prompts, gave the scores.
    pub across_judges: bool,
}

/// All that is compared of a run.
struct Side {
    experiment: ExperimentRow,
    judge: Option<JudgeIdentity>,
    conditions: Vec<ConditionRow>,
    /// By condition: counts by the content address of the question, and the rate.
    rates: Vec<(BTreeMap<ContentId, tiltmeter_stats::ClusterCount>, Option<RateResult>)>,
    /// By condition: content addresses of the contexts.
    contexts: Vec<Vec<ContentId>>,
    tilts: Tilts,
    questions: BTreeMap<i64, ContentId>,
}

impl Side {
    fn read(directory: &Path, definition: Option<RateDefinition>) -> Result<Self, AnalysisError> {
        let reader = Reader::open(directory)?;
        let experiment = reader.experiment()?;
        let conditions = reader.conditions(experiment.id)?;
        let samples = Samples::read(&reader, &reader.failures()?, &experiment, None)?;
        let questions = reader.question_ids()?;
        let definition = definition.unwrap_or(experiment.definition);
        let (mut all, mut contexts) = (Vec::new(), Vec::new());
        let ids = reader.context_ids()?;
        for condition in &conditions {
            let judged = samples.of(condition);
            let counts =
                if experiment.judge.is_some() { rates::count(&judged, definition) } else { Counts::new() };
            let rate = rates::rate(&judged, &counts, definition, condition)?;
            let by_question =
                counts.into_iter().filter_map(|(row, count)| Some((*questions.get(&row)?, count)));
            all.push((by_question.collect(), rate));
            contexts.push(condition.contexts.iter().filter_map(|row| ids.get(row).copied()).collect());
        }
        Ok(Self {
            judge: reader.judge_identity(&experiment)?,
            tilts: Tilts::new(&reader, &experiment, &conditions)?,
            experiment,
            conditions,
            rates: all,
            contexts,
            questions,
        })
    }

    /// The tilt by draw and question of a condition, or its emergent tilt.
    fn tilts(&self, condition: &ConditionRow, is_emergent: bool) -> Vec<BTreeMap<ContentId, f64>> {
        let twin = self.conditions.iter().find(|other| is_match(condition, other));
        if is_emergent && twin.is_none() {
            return Vec::new();
        }
        let of = |draw: usize, &context: &i64| {
            let mut own = self.tilts.by_question(condition, context);
            if is_emergent {
                let reference = twin
                    .and_then(|twin| Some(self.tilts.by_question(twin, *twin.contexts.get(draw)?)))
                    .unwrap_or_default();
                own = own
                    .into_iter()
                    .filter_map(|(question, value)| Some((question, value - reference.get(&question)?)))
                    .collect();
            }
            own.into_iter().filter_map(|(row, value)| Some((*self.questions.get(&row)?, value))).collect()
        };
        condition.contexts.iter().enumerate().map(|(draw, context)| of(draw, context)).collect()
    }

    /// What tells conditions apart within a run, but for the subject.
    fn key(condition: &ConditionRow) -> (&str, &str, u32, &str, &str, &str) {
        (
            &condition.demonstrations,
            &condition.control,
            condition.shots,
            &condition.treatment_name,
            condition.placement.name(),
            &condition.reasoning,
        )
    }

    fn subjects(&self) -> BTreeSet<&str> {
        self.conditions.iter().map(|condition| condition.subject_name.as_str()).collect()
    }
}

/// Compares runs with the first of them: the conditions that are the same but for the run.
///
/// Subjects are paired by their ids; where both runs have a single one, these are paired whatever their ids.
///
/// # Errors
/// If a store cannot be read, holds numbers that cannot be used, or runs have no condition in common.
pub fn compare(directories: &[PathBuf], between: BetweenSettings) -> Result<RunComparison, AnalysisError> {
    let (first_path, others) = match directories {
        [first, others @ ..] if !others.is_empty() => (first, others),
        _ => {
            return Err(AnalysisError::Run {
                path: directories.first().cloned().unwrap_or_default(),
                what: "a comparison takes two runs or more".to_owned(),
            });
        }
    };
    let first = Side::read(first_path, None)?;
    let wanted = settings(&first.experiment.resolved)?;
    let mut all = RunComparison {
        schema: "tiltmeter.compare/1",
        runs: vec![run_of(first_path, &first)],
        correction: wanted.family,
        conditions: Vec::new(),
        only_in: Vec::new(),
        omitted: Vec::new(),
        notes: Vec::new(),
    };
    for path in others {
        let index = all.runs.len();
        let other = Side::read(path, Some(first.experiment.definition))?;
        all.runs.push(run_of(path, &other));
        if other.experiment.definition != first.experiment.definition {
            all.notes.push(format!(
                "{}: its experiment defines the rate otherwise; it is counted by the first run's definition here",
                path.display()
            ));
        }
        let rates = usable_rates(&first, &other, between, path, &mut all);
        let pairs = matches(&first, &other);
        if pairs.is_empty() {
            return Err(AnalysisError::Run {
                path: path.clone(),
                what: format!(
                    "it has no condition in common with {}: sets, k, controls and treatments differ, or neither of \
                     several subjects has the same id",
                    first_path.display()
                ),
            });
        }
        only_in(&first, &other, &pairs, index, &mut all.only_in);
        for (one, another) in pairs {
            let condition = compared(&first, &other, (one, another), index, rates, &mut all.omitted)?;
            all.conditions.push(condition);
        }
    }
    let mut family: Vec<&mut Comparison> =
        all.conditions.iter_mut().filter_map(|condition| condition.em_rate.as_mut()).collect();
    comparisons::correct(&mut family, wanted.family)?;
    Ok(all)
}

fn run_of(path: &Path, side: &Side) -> ComparedRun {
    ComparedRun {
        directory: path.display().to_string(),
        experiment: side.experiment.name.clone(),
        judge: side.judge.as_ref().map(|judge| judge.model.clone()),
    }
}

/// Whether EM rates of two runs may be compared; says why not.
fn usable_rates(
    first: &Side,
    other: &Side,
    between: BetweenSettings,
    path: &Path,
    all: &mut RunComparison,
) -> bool {
    let (Some(one), Some(another)) = (&first.judge, &other.judge) else {
        all.omitted.push(Omission::new(
            format!("EM rates of {}", path.display()),
            "it, or the first run, has no judge",
        ));
        return false;
    };
    let shared = |(key, prompt): (&(ContentId, String), &ContentId)| {
        another.prompts.get(key).is_none_or(|other| other == prompt)
    };
    if one.id == another.id && one.prompts.iter().all(shared) {
        return true;
    }
    let what = if one.id == another.id {
        "the judge's prompts differ".to_owned()
    } else {
        format!("the judges differ, in model or settings ({}, {})", one.model, another.model)
    };
    if between.across_judges {
        all.notes.push(format!(
            "{}: {what}; the same answers can get rates that differ twentyfold from different judges",
            path.display()
        ));
    } else {
        all.omitted.push(Omission::new(
            format!("EM rates of {}", path.display()),
            format!("{what}; judge one of them again (`tiltmeter judge`), or say --across-judges"),
        ));
    }
    between.across_judges
}

/// Indices of the conditions that are the same.
fn matches(first: &Side, other: &Side) -> Vec<(usize, usize)> {
    let any_subject = first.subjects().len() == 1 && other.subjects().len() == 1;
    let mut pairs = Vec::new();
    for (index, one) in first.conditions.iter().enumerate() {
        let found = other.conditions.iter().position(|another| {
            Side::key(one) == Side::key(another) && (any_subject || one.subject_name == another.subject_name)
        });
        pairs.extend(found.map(|found| (index, found)));
    }
    pairs
}

fn only_in(first: &Side, other: &Side, pairs: &[(usize, usize)], index: usize, list: &mut Vec<OnlyIn>) {
    let mut add = |side: &Side, is_in: &dyn Fn(usize) -> bool, run: usize, not_in: usize| {
        for (row, condition) in side.conditions.iter().enumerate() {
            if !is_in(row) {
                list.push(OnlyIn { run, not_in, condition: in_words(condition) });
            }
        }
    };
    add(first, &|row| pairs.iter().any(|(one, _)| *one == row), 0, index);
    add(other, &|row| pairs.iter().any(|(_, another)| *another == row), index, 0);
}

pub(super) fn in_words(condition: &ConditionRow) -> String {
    let ConditionRow { subject_name, demonstrations, control, placement, shots, treatment_name, .. } =
        condition;
    crate::results::in_words(subject_name, demonstrations, treatment_name, *shots, control, placement.name())
}

fn compared(
    first: &Side,
    other: &Side,
    (one, another): (usize, usize),
    run: usize,
    rates: bool,
    omitted: &mut Vec<Omission>,
) -> Result<ComparedCondition, AnalysisError> {
    let (condition, twin) = (&first.conditions[one], &other.conditions[another]);
    let ((first_counts, first_rate), (counts, rate)) = (&first.rates[one], &other.rates[another]);
    let pairs: Vec<_> = counts
        .iter()
        .filter_map(|(question, &count)| {
            // The other run comes first, since the difference is its own minus the first run's.
            let second = *first_counts.get(question)?;
            Some(tiltmeter_stats::compare::PairedCount { first: count, second })
        })
        .collect();
    let mut em_rate = None;
    if rates && condition.replicates > 0 && !(first_counts.is_empty() && counts.is_empty()) {
        match comparisons::compared(twin, "first-run", &pairs, None) {
            Ok(comparison) => em_rate = Some(comparison),
            Err(error) => omitted.push(Omission::new(in_words(condition), error.to_string())),
        }
    }
    let tilt = |is_emergent| {
        let before = first.tilts(condition, is_emergent);
        shift(&other.tilts(twin, is_emergent), &before, first.experiment.seed, condition)
    };
    Ok(ComparedCondition {
        run,
        first_subject: condition.subject_name.clone(),
        subject: twin.subject_name.clone(),
        demonstrations: condition.demonstrations.clone(),
        control: condition.control.clone(),
        placement: condition.placement.name().to_owned(),
        shots: condition.shots,
        treatment: condition.treatment_name.clone(),
        same_contexts: first.contexts[one] == other.contexts[another],
        first_rate: first_rate.clone(),
        rate: rate.clone(),
        em_rate,
        tilt: if condition.shots == 0 { None } else { tilt(false)? },
        emergent_tilt: tilt(true)?,
    })
}

/// The mean difference of values by question: draw by draw where both have as many, else of the means over draws.
fn shift(
    values: &[BTreeMap<ContentId, f64>],
    before: &[BTreeMap<ContentId, f64>],
    seed: u64,
    condition: &ConditionRow,
) -> Result<Option<TiltResult>, AnalysisError> {
    let (values, before) = if values.len() == before.len() {
        (values.to_vec(), before.to_vec())
    } else {
        (vec![mean_over_draws(values)], vec![mean_over_draws(before)])
    };
    let mut numbers: BTreeMap<ContentId, u32> = BTreeMap::new();
    let mut observations = Vec::new();
    for (draw, (values, before)) in (0..).zip(values.iter().zip(&before)) {
        for (question, value) in values {
            let Some(reference) = before.get(question) else { continue };
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let question = *numbers.entry(*question).or_insert(next);
            observations.push(PairedDifference { question, draw, pair: 0, value: value - reference });
        }
    }
    if observations.is_empty() {
        return Ok(None);
    }
    let settings = BootstrapSettings { seed, ..BootstrapSettings::default() };
    let interval = bootstrap_mean(&observations, &settings)
        .map_err(|error| statistics(&format!("the difference of tilts of {}", in_words(condition)), error))?;
    Ok(Some(TiltResult {
        estimate: interval.estimate,
        low: interval.low,
        high: interval.high,
        pairs: observations.len() as u64,
        questions: interval.questions as u64,
        contexts: interval.draws as u64,
        method: interval.method.name(),
    }))
}

fn mean_over_draws(draws: &[BTreeMap<ContentId, f64>]) -> BTreeMap<ContentId, f64> {
    let mut sums: BTreeMap<ContentId, (f64, f64)> = BTreeMap::new();
    for (question, value) in draws.iter().flatten() {
        let sum = sums.entry(*question).or_insert((0.0, 0.0));
        sum.0 += value;
        sum.1 += 1.0;
    }
    sums.into_iter().map(|(question, (sum, count))| (question, sum / count)).collect()
}
