//! Treatments of one run, each against the same without it: on the same contexts and questions, corrected for how many
//! were tried.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use tiltmeter_core::treatment::{UNTREATED, WITH_REASONING};
use tiltmeter_stats::{PairedDifference, kendall};
use tiltmeter_store::{ConditionRow, Reader, Usage};

use crate::effects::{Comparison, Omission};
use crate::ranking::{
    OrderResult, RankedCell, RankedGroup, TiltChange, TreatmentRanking, UsageResult, beforehand,
};

use super::rates::Counts;
use super::samples::{BlockKey, Samples};
use super::simultaneous::Simultaneous;
use super::tilt::{NotApplicable, Tilts};
use super::{AnalysisError, comparisons, is_match, rates, settings};

/// What a condition's treatment is compared with; `None` for a baseline itself.
pub(super) fn baseline_name(condition: &ConditionRow) -> Option<&'static str> {
    match condition.treatment_name.as_str() {
        UNTREATED => None,
        WITH_REASONING => Some(UNTREATED),
        _ if condition.asks_for_reasoning => Some(WITH_REASONING),
        _ => Some(UNTREATED),
    }
}

/// Whether `other` is the same as a treated condition but for the treatment.
pub(super) fn is_baseline(condition: &ConditionRow, other: &ConditionRow) -> bool {
    baseline_name(condition).is_some_and(|name| name == other.treatment_name)
        && differ_by_treatment(condition, other)
}

/// Whether two conditions are the same but for the treatment.
pub(super) fn differ_by_treatment(condition: &ConditionRow, other: &ConditionRow) -> bool {
    other.treatment_name != condition.treatment_name
        && other.control == condition.control
        && other.demonstrations == condition.demonstrations
        && other.shots == condition.shots
        && other.subject == condition.subject
        && other.placement == condition.placement
        && other.reasoning == condition.reasoning
}

/// A difference of tilts before the number of them is known.
struct Change {
    observations: Vec<PairedDifference>,
    is_emergent: bool,
    /// Places of group and cell.
    place: (usize, usize),
}

/// Ranks the treatments of the experiment that was run last in a directory.
///
/// # Errors
/// If the store cannot be read, holds numbers that cannot be used, or there is one treatment alone.
pub fn rank_treatments(directory: &Path) -> Result<TreatmentRanking, AnalysisError> {
    let reader = Reader::open(directory)?;
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let samples = Samples::read(&reader, &reader.failures()?, &experiment, None)?;
    let tilts = Tilts::new(&reader, &experiment, &conditions)?;
    let no_tilt = NotApplicable::read(&reader, experiment.id, &conditions)?;
    let usage: HashMap<BlockKey, Usage> = reader.usage_by_block()?.into_iter().collect();
    let wanted = settings(&experiment.resolved)?;
    let has_judge = experiment.judge.is_some();
    let count = |condition: &ConditionRow| {
        if has_judge { rates::count(&samples.of(condition), experiment.definition) } else { Counts::new() }
    };
    let counts: Vec<Counts> = conditions.iter().map(count).collect();
    let mut all = TreatmentRanking {
        schema: "tiltmeter.treatments/1",
        directory: directory.display().to_string(),
        experiment: experiment.name.clone(),
        judge: reader.judge_identity(&experiment)?.map(|judge| judge.model),
        correction: wanted.family,
        tilts_compared: 0,
        groups: Vec::new(),
        beforehand: beforehand(&super::treatments::treatments(&reader, &experiment)?),
        omitted: Vec::new(),
    };
    let mut changes: Vec<Change> = Vec::new();
    for (condition, own) in conditions.iter().zip(&counts).filter(|(one, _)| one.control == "none") {
        let Some(baseline) = baseline_name(condition) else { continue };
        let Some((other, others)) =
            conditions.iter().zip(&counts).find(|(other, _)| is_baseline(condition, other))
        else {
            continue;
        };
        let at = group(&mut all.groups, condition, baseline);
        let group = &mut all.groups[at];
        if !group.baseline_usage.iter().any(|(shots, _)| *shots == other.shots) {
            group.baseline_usage.push((other.shots, used(other, &usage)));
        }
        let place = (at, group.cells.len());
        let mut em_rate = None;
        let pairs = comparisons::paired(own, others);
        if !pairs.is_empty() {
            match comparisons::compared(condition, "untreated", &pairs, wanted.equivalence_margin) {
                Ok(comparison) => em_rate = Some(comparison),
                Err(error) => {
                    all.omitted.push(Omission::new(super::between::in_words(condition), error.to_string()));
                }
            }
        }
        let twin = |of: &ConditionRow| conditions.iter().find(|other| is_match(of, other));
        if condition.shots > 0 {
            let observations = differences(&tilts, (condition, other), (None, None));
            changes.push(Change { observations, is_emergent: false, place });
            if let (Some(one), Some(another)) = (twin(condition), twin(other)) {
                let observations = differences(&tilts, (condition, other), (Some(one), Some(another)));
                changes.push(Change { observations, is_emergent: true, place });
            }
        }
        all.groups[at].cells.push(RankedCell {
            treatment: condition.treatment_name.clone(),
            shots: condition.shots,
            rank: None,
            em_rate,
            tilt: None,
            emergent_tilt: None,
            tilt_not_applicable: no_tilt.of(condition),
            usage: used(condition, &usage),
        });
    }
    if all.groups.is_empty() {
        return Err(AnalysisError::Run {
            path: directory.to_owned(),
            what:
                "it has no treatment beside `none`; compare it with another run, or add [[defences]] to its \
                   experiment"
                    .to_owned(),
        });
    }
    changes.retain(|change| !change.observations.is_empty());
    all.tilts_compared = changes.len() as u64;
    let simultaneous = Simultaneous::of(changes.len())?;
    for change in &changes {
        let result = tilt_change(change, simultaneous, experiment.seed)?;
        let cell = &mut all.groups[change.place.0].cells[change.place.1];
        *(if change.is_emergent { &mut cell.emergent_tilt } else { &mut cell.tilt }) = Some(result);
    }
    let mut family: Vec<&mut Comparison> = all
        .groups
        .iter_mut()
        .flat_map(|group| &mut group.cells)
        .filter_map(|cell| cell.em_rate.as_mut())
        .collect();
    if !family.is_empty() {
        comparisons::correct(&mut family, wanted.family)?;
    }
    all.groups.iter_mut().for_each(rank);
    Ok(all)
}

/// The place of a condition's group, which is made where it is missing.
fn group(groups: &mut Vec<RankedGroup>, condition: &ConditionRow, baseline: &str) -> usize {
    let same = |group: &RankedGroup| {
        group.subject == condition.subject_name
            && group.demonstrations == condition.demonstrations
            && group.placement == condition.placement.name()
            && group.baseline == baseline
    };
    groups.iter().position(same).unwrap_or_else(|| {
        groups.push(RankedGroup {
            subject: condition.subject_name.clone(),
            demonstrations: condition.demonstrations.clone(),
            placement: condition.placement.name().to_owned(),
            baseline: baseline.to_owned(),
            cells: Vec::new(),
            baseline_usage: Vec::new(),
            order: None,
        });
        groups.len() - 1
    })
}

/// Differences of the tilts of two conditions, or of their emergent tilts, by draw and question.
fn differences(
    tilts: &Tilts,
    (condition, other): (&ConditionRow, &ConditionRow),
    (twin, other_twin): (Option<&ConditionRow>, Option<&ConditionRow>),
) -> Vec<PairedDifference> {
    let of = |condition: &ConditionRow, twin: Option<&ConditionRow>, draw: usize| {
        let mut own = tilts.by_question(condition, *condition.contexts.get(draw)?);
        if let Some(twin) = twin {
            let reference = tilts.by_question(twin, *twin.contexts.get(draw)?);
            own = own
                .into_iter()
                .filter_map(|(question, value)| Some((question, value - reference.get(&question)?)))
                .collect();
        }
        Some(own)
    };
    let index = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    let mut observations = Vec::new();
    for draw in 0..condition.contexts.len() {
        let (Some(treated), Some(untreated)) = (of(condition, twin, draw), of(other, other_twin, draw))
        else {
            continue;
        };
        for (question, value) in treated {
            let Some(before) = untreated.get(&question) else { continue };
            let draw = u32::try_from(draw).unwrap_or(u32::MAX);
            observations.push(PairedDifference {
                question: index(question),
                draw,
                pair: 0,
                value: value - before,
            });
        }
    }
    observations
}

fn tilt_change(change: &Change, simultaneous: Simultaneous, seed: u64) -> Result<TiltChange, AnalysisError> {
    let (own, together) = simultaneous.mean(&change.observations, seed, "a difference of tilts")?;
    Ok(TiltChange {
        estimate: own.estimate,
        low: own.low,
        high: own.high,
        simultaneous_low: together.low,
        simultaneous_high: together.high,
        questions: own.questions as u64,
        contexts: own.draws as u64,
        method: own.method.name(),
    })
}

fn used(condition: &ConditionRow, usage: &HashMap<BlockKey, Usage>) -> UsageResult {
    let mut sum = Usage::default();
    for &context in &condition.contexts {
        if let Some(of_block) = usage.get(&(condition.subject, context, condition.treatment)) {
            sum.add(*of_block);
        }
    }
    each_took(sum)
}

/// What answers took on average.
pub(super) fn each_took(sum: Usage) -> UsageResult {
    let each = |count: u64| (sum.answers > 0).then(|| count as f64 / sum.answers as f64);
    UsageResult {
        answers: sum.answers,
        calls: each(sum.calls),
        input_tokens: each(sum.input_tokens),
        output_tokens: each(sum.output_tokens),
        cost_per_thousand_usd: sum.cost_per_answer().map(|cost| 1000.0 * cost),
    }
}

/// What a cell is ranked by.
fn measure(cell: &RankedCell, by_rate: bool) -> Option<f64> {
    if by_rate {
        return cell.em_rate.as_ref().map(|rate| rate.difference.estimate);
    }
    cell.emergent_tilt.or(cell.tilt).map(|tilt| tilt.estimate)
}

/// Gives each k's cells their places, and compares the order at the smallest k with that at the largest.
fn rank(group: &mut RankedGroup) {
    let by_rate = group.cells.iter().any(|cell| cell.em_rate.is_some());
    let key = |cell: &RankedCell| measure(cell, by_rate).unwrap_or(f64::INFINITY);
    group.cells.sort_by(|one, other| one.shots.cmp(&other.shots).then(key(one).total_cmp(&key(other))));
    let mut by_shots: BTreeMap<u32, Vec<(String, f64)>> = BTreeMap::new();
    for cell in &mut group.cells {
        let Some(value) = measure(cell, by_rate) else { continue };
        let ranked = by_shots.entry(cell.shots).or_default();
        ranked.push((cell.treatment.clone(), value));
        cell.rank = Some(ranked.len() as u64);
    }
    group.baseline_usage.sort_by_key(|(shots, _)| *shots);
    let mut usable = by_shots.iter().filter(|(shots, ranked)| **shots > 0 && ranked.len() > 1);
    let (Some((&first_shots, first)), Some((&last_shots, last))) = (usable.next(), usable.next_back()) else {
        return;
    };
    let both: Vec<(f64, f64)> = first
        .iter()
        .filter_map(|(name, value)| Some((*value, last.iter().find(|(other, _)| other == name)?.1)))
        .collect();
    group.order = Some(OrderResult {
        first_shots,
        last_shots,
        treatments: both.len() as u64,
        kendall: kendall(&both),
        first_best: first[0].0.clone(),
        last_best: last[0].0.clone(),
    });
}
