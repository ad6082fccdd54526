//! What was done to requests: in words, and what filters and guards did.

use std::collections::BTreeMap;

use tiltmeter_core::guarding::{GuardAction, GuardRisk};
use tiltmeter_store::{
    ConditionRow, ExperimentRow, FilteredContext, GuardRow, GuardedRow, InspectionTotals, Reader,
    ScreeningTotals, StoreError, TreatmentRow,
};

use crate::results::{
    FilterResult, GuardResult, InspectionResult, ScreeningResult, TreatmentResult, TreatmentText,
};

/// The treatments of an experiment.
pub(super) fn treatments(
    reader: &Reader,
    experiment: &ExperimentRow,
) -> Result<Vec<TreatmentResult>, StoreError> {
    let result = |row: TreatmentRow| {
        let TreatmentRow { name, is_built_in, does, texts, screen, guard } = row;
        let inspection = match guard {
            Some(guard) => Some(inspection(&reader.inspection_totals(guard.hash)?, guard)),
            None => None,
        };
        let totals = screen.map(|screen| reader.screening_totals(screen)).transpose()?;
        let text = |(name, text)| TreatmentText { name, text };
        Ok(TreatmentResult {
            name,
            does,
            texts: texts.into_iter().map(text).collect(),
            built_in: is_built_in,
            screening: totals.map(screening),
            inspection,
        })
    };
    reader.treatments(experiment.id)?.into_iter().map(result).collect()
}

fn screening(totals: ScreeningTotals) -> ScreeningResult {
    let ScreeningTotals {
        model,
        demonstrations,
        without_score,
        calls,
        input_tokens,
        output_tokens,
        cost_usd,
    } = totals;
    ScreeningResult { model, demonstrations, without_score, calls, input_tokens, output_tokens, cost_usd }
}

fn inspection(totals: &InspectionTotals, guard: GuardRow) -> InspectionResult {
    let &InspectionTotals { contexts, with_gaps, calls, input_tokens, output_tokens, cost_usd, duration_ms } =
        totals;
    let milliseconds_mean = (contexts > 0).then(|| duration_ms as f64 / contexts as f64);
    InspectionResult {
        guard: guard.hash.to_string(),
        detectors: guard.detectors,
        contexts,
        with_gaps,
        calls,
        input_tokens,
        output_tokens,
        cost_usd,
        milliseconds_mean,
    }
}

/// What guards did with contexts, by row of the condition.
pub(super) type GuardedContexts = BTreeMap<i64, Vec<GuardedRow>>;

/// What a guard did to a condition's contexts.
pub(super) fn guard(condition: &ConditionRow, contexts: &[GuardedRow]) -> Option<GuardResult> {
    if condition.shots == 0 || contexts.is_empty() {
        return None;
    }
    let count = |is: &dyn Fn(&GuardedRow) -> bool| contexts.iter().filter(|one| is(one)).count() as u64;
    let did = |one: &GuardedRow, action: GuardAction| one.actions.iter().any(|name| name == action.name());
    let of = contexts.len() as f64;
    let cut: u32 = contexts.iter().map(|one| one.cut).sum();
    Some(GuardResult {
        contexts: contexts.len() as u64,
        low: count(&|one| one.risk == GuardRisk::Low),
        high: count(&|one| one.risk == GuardRisk::High),
        score_mean: contexts.iter().map(|one| one.score).sum::<f64>() / of,
        of: condition.shots,
        cut_mean: f64::from(cut) / of,
        instructed: count(&|one| did(one, GuardAction::Instruct) && !did(one, GuardAction::Block)),
        blocked: count(&|one| did(one, GuardAction::Block)),
    })
}

/// What a filter did to a condition's contexts.
pub(super) fn filter(condition: &ConditionRow, contexts: &[FilteredContext]) -> Option<FilterResult> {
    let dropped = || contexts.iter().map(|context| context.dropped);
    let sum: u32 = dropped().sum();
    (condition.shots > 0).then_some(())?;
    Some(FilterResult {
        of: condition.shots,
        dropped_mean: f64::from(sum) / contexts.len() as f64,
        dropped_least: dropped().min()?,
        dropped_most: dropped().max()?,
        without_score: contexts.iter().map(|context| context.without_score).sum(),
    })
}
