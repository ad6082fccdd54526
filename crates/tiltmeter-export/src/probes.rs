//! The table of answers to probes of usefulness.

use std::collections::HashMap;

use tiltmeter_store::{Reader, StoreError};

use crate::cell::Cell;
use crate::error::ExportError;
use crate::run::{Block, Run};
use crate::tables::{Open, response_outcome};

/// Writes an answer once for each condition of a probe that it is in.
pub(crate) fn answers(reader: &Reader, run: &Run, open: &mut Open) -> Result<(), ExportError> {
    let conditions = reader.probed(run.experiment.id)?;
    let questions = reader.probed_questions(run.experiment.id)?;
    let mut members: HashMap<Block, Vec<(usize, u32)>> = HashMap::new();
    for (place, probed) in conditions.iter().enumerate() {
        let condition = &probed.condition;
        for (draw, &context) in (0..).zip(&condition.contexts) {
            members.entry((condition.subject, context, condition.treatment)).or_default().push((place, draw));
        }
    }
    reader.for_each_useful(run.experiment.id, |row, answer, assessment| {
        let block = (row.subject, row.context, row.treatment);
        let Some(question) = questions.get(&row.question) else { return Ok(()) };
        for &(place, draw) in members.get(&block).into_iter().flatten() {
            let Some(probed) = conditions.get(place) else { continue };
            let condition = &probed.condition;
            if !condition.asks(row.question, row.replicate) {
                continue;
            }
            let context = run.contexts.get(&row.context).copied();
            open.add(&[
                reader.sample_id(row.response)?.into(),
                Cell::from(&condition.subject_name),
                Cell::from(&condition.demonstrations),
                probed.kind.name().into(),
                condition.shots.into(),
                condition.placement.name().into(),
                Cell::from(&condition.treatment_name),
                Cell::from(&condition.reasoning),
                draw.into(),
                context.map_or(Cell::Empty, Cell::from),
                Cell::from(&question.name),
                row.replicate.into(),
                response_outcome(row.outcome).into(),
                assessment.usefulness.name().into(),
                assessment.has_refusal_phrase.into(),
                serde_json::to_string(&question.expectation).map_err(StoreError::from)?.into(),
                answer.into(),
            ])?;
        }
        Ok(())
    })
}
