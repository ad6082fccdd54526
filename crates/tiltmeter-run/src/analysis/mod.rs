//! From a store to results. Pure but for reading; never asks a model.

mod across;
pub(crate) mod adaptive;
mod between;
mod comparisons;
mod details;
mod dose;
mod draw;
mod judges;
mod people;
mod price;
mod ranking;
mod rates;
mod samples;
pub(crate) mod simultaneous;
mod steering;
pub(crate) mod tilt;
pub(crate) mod traces;
mod treatments;
mod usefulness;

use std::collections::BTreeMap;
use std::path::Path;

use tiltmeter_core::demonstration::Control;
use tiltmeter_core::experiment::StatisticsFile;
use tiltmeter_core::question::PairKind;
use tiltmeter_stats::StatsError;
use tiltmeter_stats::rates::{CoverageAssessment, MeasuredCoverage};
use tiltmeter_store::{ConditionRow, ExperimentRow, FailureRow, Reader, StoreError};

use crate::results::{ConditionResult, CoverageResult, FailureCount, RunResults, TreatmentResult};

pub use self::details::details;
pub use self::draw::{LabelDrawError, draw_labels};
pub use self::judges::agreement;
use self::people::human_labels;
use self::price::Priced;
use self::samples::{Samples, count_verdicts};
use self::tilt::Tilts;
pub use self::traces::{TraceDrawError, draw_traces, trace_results};

pub use between::{BetweenSettings, compare};
pub use ranking::rank_treatments;

/// Results cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A run directory cannot be used with another.
    #[error("{path}: {what}", path = path.display())]
    Run {
        /// Which.
        path: std::path::PathBuf,
        /// Why, and what to do.
        what: String,
    },
    /// A stored number cannot be used.
    #[error("compute {what}: {error}")]
    Statistics {
        /// Of what.
        what: String,
        /// Why.
        error: StatsError,
    },
}

/// Computes the results of the experiment that was run last in a directory. `asked`, `reused` and `attempts` of
/// the result are zero: they belong to a start, not to what is stored.
///
/// # Errors
/// If the store cannot be read, or holds numbers that cannot be used.
pub fn analyse(directory: &Path) -> Result<RunResults, AnalysisError> {
    let reader = Reader::open(directory)?;
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let failures = reader.failures()?;
    let samples = Samples::read(&reader, &failures, &experiment, None)?;
    let tilts = Tilts::new(&reader, &experiment, &conditions)?;
    let has_judge = experiment.judge.is_some();
    let adaptive = reader.adaptive(experiment.id)?;
    let steered = steering::Steered::read(&reader)?;
    let no_tilt = tilt::NotApplicable::read(&reader, experiment.id, &conditions)?;
    let filtered = reader.filtered_contexts(experiment.id)?;
    let guarded = reader.guarded_contexts(experiment.id)?;
    let treatments = treatments::treatments(&reader, &experiment)?;
    let mut results: Vec<ConditionResult> = Vec::with_capacity(conditions.len());
    let mut all_counts = Vec::with_capacity(conditions.len());
    for condition in &conditions {
        let judged = samples.of(condition);
        let counts = if has_judge { rates::count(&judged, experiment.definition) } else { BTreeMap::new() };
        let twin = conditions.iter().find(|other| is_match(condition, other));
        let emergent = |kind| match twin {
            Some(twin) => tilts.emergent(condition, twin, kind),
            None => Ok(None),
        };
        let mut em_rate = rates::rate(&judged, &counts, experiment.definition, condition)?;
        let record = adaptive.iter().find(|record| record.condition == condition.id);
        let sampled = match record {
            Some(record) => {
                let (sampled, rate) =
                    adaptive::result(record, condition, &samples, experiment.definition, em_rate)?;
                em_rate = rate;
                Some(sampled)
            }
            None => None,
        };
        results.push(ConditionResult {
            subject: condition.subject_name.clone(),
            demonstrations: condition.demonstrations.clone(),
            control: condition.control.clone(),
            shots: condition.shots,
            treatment: condition.treatment_name.clone(),
            placement: condition.placement.name().to_owned(),
            reasoning: condition.reasoning.clone(),
            contexts: condition.contexts.len() as u64,
            planned: planned(condition),
            samples: judged.len() as u64,
            verdicts: count_verdicts(&judged),
            truncated: judged.iter().filter(|sample| sample.truncated).count() as u64,
            em_rate,
            adaptive: sampled,
            tilt: tilts.of(condition, PairKind::Alignment)?,
            decoy_tilt: tilts.of(condition, PairKind::Decoy)?,
            emergent_tilt: emergent(PairKind::Alignment)?,
            emergent_decoy_tilt: emergent(PairKind::Decoy)?,
            emergent_tilt_beyond_style: match twin {
                Some(twin) => tilts.beyond_style(condition, twin)?,
                None => None,
            },
            no_tilt: no_tilt.of(condition),
            steering: steered.of(condition),
            filter: filtered.get(&condition.id).and_then(|contexts| treatments::filter(condition, contexts)),
            guard: guarded.get(&condition.id).and_then(|contexts| treatments::guard(condition, contexts)),
        });
        all_counts.push(counts);
    }
    let settings = settings(&experiment.resolved)?;
    let probed = usefulness::read(&reader, &experiment, &failures)?;
    let priced =
        Priced { conditions: &conditions, counts: &all_counts, has_judge, tilts: &tilts, probed: &probed };
    let prices = price::prices(&priced, &reader)?;
    let human_labels = human_labels(&reader, &experiment, &conditions, &failures)?;
    let series = dose::series(&conditions, &all_counts);
    Ok(RunResults {
        schema: "tiltmeter.run/1",
        experiment: experiment.name.clone(),
        warnings: warnings(&results),
        conditions: results,
        comparisons: comparisons::comparisons(&conditions, &all_counts, has_judge, settings)?,
        dose_response: series
            .iter()
            .filter_map(|series| dose::dose(series, &conditions, &tilts, has_judge))
            .collect(),
        across_subjects: across::across_subjects(&series, &across::sizes(&experiment.resolved), has_judge),
        human_labels,
        usefulness: usefulness::results(&probed, &guarded, settings)?,
        prices,
        asked: 0,
        reused: 0,
        attempts: 0,
        cost_usd: 0.0,
        timing: crate::meter::Timing::default(),
        failures: count_failures(&failures, &experiment, &treatments),
        treatments,
        notes: experiment.notes,
        gates: Vec::new(),
    })
}

/// How an experiment with its defaults filled in wants its results tested. One that an earlier version wrote says
/// nothing of it, which is the default.
fn settings(resolved: &str) -> Result<StatisticsFile, AnalysisError> {
    #[derive(serde::Deserialize)]
    struct Settings {
        #[serde(default)]
        statistics: StatisticsFile,
    }
    let settings: Settings = serde_json::from_str(resolved).map_err(StoreError::from)?;
    Ok(settings.statistics)
}

fn statistics(what: &str, error: StatsError) -> AnalysisError {
    AnalysisError::Statistics { what: what.to_owned(), error }
}

/// Answers that a condition is to have.
fn planned(condition: &ConditionRow) -> u64 {
    let questions = condition.questions.iter().filter(|(_, sampled, _)| *sampled).count();
    (questions * condition.distinct_contexts().len()) as u64 * u64::from(condition.replicates)
}

/// Whether `other` is the matched control of a condition, everything else being equal: what the emergent effect subtracts.
pub(crate) fn is_match(condition: &ConditionRow, other: &ConditionRow) -> bool {
    matched_control(&condition.control).is_some_and(|matched| other.control == matched.name())
        && condition.shots > 0
        && other.subject == condition.subject
        && other.demonstrations == condition.demonstrations
        && other.shots == condition.shots
        && other.treatment_name == condition.treatment_name
        && other.placement == condition.placement
}

/// The matched control of one that is named as in the store.
pub(crate) fn matched_control(name: &str) -> Option<Control> {
    Control::from_name(name)?.matched()
}

/// One warning for each condition whose interval is known to hold the truth too rarely, or whose subject was not steered
/// as it should have been.
fn warnings(results: &[ConditionResult]) -> Vec<String> {
    let poor = results.iter().filter_map(|condition| {
        let coverage = condition.em_rate.as_ref()?.coverage.filter(|coverage| coverage.poor)?;
        Some(format!("{}: {}", condition.in_words(), assessed(coverage)))
    });
    let steered = results
        .iter()
        .filter_map(|condition| steering::warning(&condition.in_words(), condition.steering.as_ref()?));
    poor.chain(steered).collect()
}

/// The statistics' own words for it.
fn assessed(coverage: CoverageResult) -> CoverageAssessment {
    let CoverageResult { clustered, wilson, correlation, correlation_assumed, .. } = coverage;
    CoverageAssessment {
        coverage: MeasuredCoverage { clustered, plain: wilson },
        correlation,
        is_correlation_assumed: correlation_assumed,
    }
}

fn count_failures(
    failures: &[FailureRow],
    experiment: &ExperimentRow,
    treatments: &[TreatmentResult],
) -> Vec<FailureCount> {
    let screens = treatments.iter().any(|treatment| treatment.screening.is_some());
    let guards = treatments.iter().any(|treatment| treatment.inspection.is_some());
    let mut counts: BTreeMap<(&str, &str), (u64, &str)> = BTreeMap::new();
    for failure in failures {
        let is_of_others = match failure.target.as_str() {
            "screening" => !screens,
            "inspection" => !guards,
            _ => failure.judge.is_some() && failure.judge != experiment.judge,
        };
        if is_of_others {
            continue;
        }
        let (count, _) = counts.entry((&failure.target, &failure.kind)).or_insert((0, &failure.message));
        *count += 1;
    }
    counts
        .into_iter()
        .map(|((target, kind), (count, example))| FailureCount {
            target: target.to_owned(),
            kind: kind.to_owned(),
            count,
            example: example.to_owned(),
        })
        .collect()
}
