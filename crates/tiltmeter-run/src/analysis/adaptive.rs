//! Whether conditions have been sampled enough.

use tiltmeter_stats::planning::{Assessment, Decision, StoppingRule};
use tiltmeter_stats::{ClusterCount, Confidence, StatsError};
use tiltmeter_store::{AdaptiveRecord, ConditionRow, Reader};

use crate::results::{AdaptiveResult, RateResult};

use super::rates::{self, Counts};
use super::samples::Samples;
use super::{AnalysisError, statistics};

/// The method of an interval that holds although it was looked at after every round.
const METHOD: &str = "confidence-sequence";

/// A decision's name in the store and in results.
pub(crate) fn name(decision: Decision) -> &'static str {
    match decision {
        Decision::Settled => "settled",
        Decision::CannotSettle => "cannot_settle",
        Decision::NotSettled => "not_settled",
    }
}

/// The rule that stops at a half-width.
///
/// # Errors
/// Where the half-width is out of range, which experiment files with such a one are refused for.
pub(crate) fn rule(half_width: f64) -> Result<StoppingRule, AnalysisError> {
    StoppingRule::new(half_width, Confidence::NINETY_FIVE)
        .map_err(|error| statistics("the rule of adaptive sampling", error))
}

/// What the rule makes of each condition of a subject after so many whole rounds: the condition's row, and its
/// state, absent while no answer counts.
///
/// # Errors
/// If the store cannot be read, or holds numbers that cannot be used.
pub(crate) fn assess(
    reader: &Reader,
    subject: i64,
    rounds: u32,
    rule: StoppingRule,
) -> Result<Vec<(i64, Option<Assessment>)>, AnalysisError> {
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let failures = reader.failures()?;
    let samples = Samples::read(reader, &failures, &experiment, Some(subject))?;
    let of_subject = conditions.into_iter().filter(|condition| condition.subject == subject);
    of_subject
        .map(|condition| {
            let so_far = ConditionRow { replicates: rounds, ..condition };
            let counts = rates::count(&samples.of(&so_far), experiment.definition);
            Ok((so_far.id, state(&counts, rounds, rule)?))
        })
        .collect()
}

fn state(counts: &Counts, rounds: u32, rule: StoppingRule) -> Result<Option<Assessment>, AnalysisError> {
    let clusters: Vec<ClusterCount> = counts.values().copied().collect();
    match rule.assess_counted(&clusters, rounds.into()) {
        Ok(state) => Ok(Some(state)),
        // Nothing counts yet, or only one question's answers do.
        Err(StatsError::NoTrials | StatsError::TooFew { .. }) => Ok(None),
        Err(error) => Err(statistics("the state of adaptive sampling", error)),
    }
}

/// How a condition was sampled, and its rate with an interval that allows for it.
pub(super) fn result(
    record: &AdaptiveRecord,
    condition: &ConditionRow,
    samples: &Samples,
    definition: tiltmeter_core::verdict::RateDefinition,
    rate: Option<RateResult>,
) -> Result<(AdaptiveResult, Option<RateResult>), AnalysisError> {
    let so_far = ConditionRow { replicates: record.rounds, ..condition.clone() };
    let counts = rates::count(&samples.of(&so_far), definition);
    let state = state(&counts, record.rounds, rule(record.half_width)?)?;
    let asked = condition.questions.iter().filter(|(_, is_sampled, _)| *is_sampled).count();
    let a_round = asked as u64 * condition.distinct_contexts().len() as u64;
    let is_over = record.decision != name(Decision::NotSettled);
    let left = if is_over { condition.replicates.saturating_sub(record.rounds) } else { 0 };
    let result = AdaptiveResult {
        half_width: record.half_width,
        decision: record.decision.clone(),
        rounds: record.rounds,
        most_rounds: condition.replicates,
        saved_samples: u64::from(left) * a_round,
        smallest_half_width: state.and_then(|state| state.between).map(|between| between.smallest_half_width),
        clustered_low: rate.as_ref().map(|rate| rate.low),
        clustered_high: rate.as_ref().map(|rate| rate.high),
    };
    let rate = rate.map(|rate| match state {
        Some(state) => RateResult {
            low: state.interval.low.min(rate.estimate),
            high: state.interval.high.max(rate.estimate),
            method: METHOD,
            coverage: None,
            ..rate
        },
        None => rate,
    });
    Ok((result, rate))
}
