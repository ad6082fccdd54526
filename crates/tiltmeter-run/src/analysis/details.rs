//! What lies behind each rate: its questions, how it moves with its definition, and the scores themselves.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use tiltmeter_core::verdict::{Denominator, RateDefinition, Verdict};
use tiltmeter_stats::rates::{Outcome, SweepPoint, sweep};
use tiltmeter_stats::{ClusteredRate, Confidence, wilson};
use tiltmeter_store::Reader;

use crate::details::{
    ConditionDetails, DefinitionRate, QuestionRate, RateAt, RunDetails, ScoreCell, ThresholdRate,
};

use super::samples::{Judged, Samples};
use super::{AnalysisError, statistics};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// Computes what lies behind the rates of the experiment that was run last in a directory.
///
/// # Errors
/// If the store cannot be read, or holds numbers that cannot be used.
pub fn details(directory: &Path) -> Result<RunDetails, AnalysisError> {
    let reader = Reader::open(directory)?;
    let experiment = reader.experiment()?;
    let failures = reader.failures()?;
    let samples = Samples::read(&reader, &failures, &experiment, None)?;
    let names: HashMap<i64, String> = reader.question_names()?.into_iter().collect();
    let mut all = Vec::new();
    for (index, condition) in reader.conditions(experiment.id)?.iter().enumerate() {
        let judged = samples.of(condition);
        if experiment.judge.is_none() || judged.is_empty() {
            continue;
        }
        all.push(ConditionDetails {
            condition: index as u64,
            questions: questions(&judged, experiment.definition, &names)?,
            alignment_sweep: thresholds(&judged, experiment.definition, |definition, threshold| {
                definition.misaligned_below = threshold;
            })?,
            coherence_sweep: thresholds(&judged, experiment.definition, |definition, threshold| {
                definition.coherent_from = threshold;
            })?,
            definitions: definitions(&judged, experiment.definition)?,
            scores: scores(&judged),
        });
    }
    Ok(RunDetails { schema: "tiltmeter.details/1", conditions: all })
}

fn questions(
    judged: &[Judged],
    definition: RateDefinition,
    names: &HashMap<i64, String>,
) -> Result<Vec<QuestionRate>, AnalysisError> {
    let rate = |(question, count): (i64, tiltmeter_stats::ClusterCount)| {
        let interval = wilson(count.successes, count.trials, LEVEL)
            .map_err(|error| statistics("the rate of a question", error))?;
        Ok(QuestionRate {
            question: names.get(&question).cloned().unwrap_or_default(),
            rate: RateAt {
                estimate: interval.estimate,
                low: interval.low,
                high: interval.high,
                misaligned: count.successes,
                denominator_count: count.trials,
            },
        })
    };
    super::rates::count(judged, definition).into_iter().map(rate).collect()
}

/// The clustered rates of the same answers under each definition.
fn swept(
    judged: &[Judged],
    definitions: &[RateDefinition],
) -> Result<Vec<SweepPoint<RateDefinition>>, AnalysisError> {
    sweep(
        judged,
        definitions,
        LEVEL,
        |sample| sample.question.unsigned_abs(),
        |sample, definition| match definition.classify(sample.verdict) {
            None => Outcome::Excluded,
            Some(false) => Outcome::Failure,
            Some(true) => Outcome::Success,
        },
    )
    .map_err(|error| statistics("a sweep of thresholds", error))
}

fn at(rate: ClusteredRate) -> RateAt {
    RateAt {
        estimate: rate.interval.estimate,
        low: rate.interval.low,
        high: rate.interval.high,
        misaligned: rate.successes,
        denominator_count: rate.trials,
    }
}

fn thresholds(
    judged: &[Judged],
    base: RateDefinition,
    set: impl Fn(&mut RateDefinition, f64),
) -> Result<Vec<ThresholdRate>, AnalysisError> {
    let steps: Vec<f64> = (0..=20_u32).map(|step| f64::from(step) * 5.0).collect();
    let definitions: Vec<RateDefinition> = steps
        .iter()
        .map(|&threshold| {
            let mut definition = base;
            set(&mut definition, threshold);
            definition
        })
        .collect();
    let points = swept(judged, &definitions)?;
    Ok(steps
        .into_iter()
        .zip(points)
        .map(|(threshold, point)| ThresholdRate { threshold, rate: point.rate.map(at) })
        .collect())
}

/// Every denominator with both inequalities of both thresholds. A score is at most a threshold if and only if it is
/// below the next number above it.
fn definitions(judged: &[Judged], base: RateDefinition) -> Result<Vec<DefinitionRate>, AnalysisError> {
    let mut shapes = Vec::new();
    for denominator in
        [Denominator::Coherent, Denominator::CoherentAny, Denominator::Scored, Denominator::All]
    {
        for (misaligned, misaligned_below) in
            [("<", base.misaligned_below), ("≤", base.misaligned_below.next_up())]
        {
            for (coherent, coherent_from) in [("≥", base.coherent_from), (">", base.coherent_from.next_up())]
            {
                let definition = RateDefinition { misaligned_below, coherent_from, denominator };
                shapes.push((misaligned, coherent, definition));
            }
        }
    }
    let asked: Vec<RateDefinition> = shapes.iter().map(|(.., definition)| *definition).collect();
    let points = swept(judged, &asked)?;
    Ok(shapes
        .into_iter()
        .zip(points)
        .map(|((misaligned, coherent, definition), point)| DefinitionRate {
            denominator: definition.denominator.name(),
            misaligned,
            coherent,
            rate: point.rate.map(at),
        })
        .collect())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "scores are from 0 to 100")]
fn scores(judged: &[Judged]) -> Vec<ScoreCell> {
    let mut cells: BTreeMap<(u8, u8), u64> = BTreeMap::new();
    for sample in judged {
        if let Verdict::Scored { alignment, coherence } = sample.verdict {
            *cells.entry((alignment.floor() as u8, coherence.floor() as u8)).or_default() += 1;
        }
    }
    cells
        .into_iter()
        .map(|((alignment, coherence), count)| ScoreCell { alignment, coherence, count })
        .collect()
}
