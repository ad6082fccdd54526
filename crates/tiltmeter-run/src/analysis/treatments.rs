//! What was done to requests: in words, and what filters did.

use tiltmeter_store::{
    ConditionRow, ExperimentRow, FilteredContext, Reader, ScreeningTotals, StoreError, TreatmentRow,
};

use crate::results::{FilterResult, ScreeningResult, TreatmentResult, TreatmentText};

/// The treatments of an experiment.
pub(super) fn treatments(
    reader: &Reader,
    experiment: &ExperimentRow,
) -> Result<Vec<TreatmentResult>, StoreError> {
    let result = |row: TreatmentRow| {
        let TreatmentRow { name, is_built_in, does, texts, screen } = row;
        let totals = screen.map(|screen| reader.screening_totals(screen)).transpose()?;
        let text = |(name, text)| TreatmentText { name, text };
        Ok(TreatmentResult {
            name,
            does,
            texts: texts.into_iter().map(text).collect(),
            built_in: is_built_in,
            screening: totals.map(screening),
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
