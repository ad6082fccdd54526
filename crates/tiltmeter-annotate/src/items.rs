//! The drawn answers with the texts that are shown.

use std::collections::BTreeMap;

use tiltmeter_store::{LabelItemRow, Reader, TraceItemRow};

use crate::error::AnnotateError;

/// A drawn answer as it is shown.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its row, which whoever labels never sees: they see its place in the order.
    pub row: LabelItemRow,
    /// The question as it was asked, without what stood before it.
    pub question: String,
    /// The answer as it was judged.
    pub answer: String,
}

/// The answers of a draw, in the order in which they are shown.
///
/// # Errors
/// If the store cannot be read.
pub fn items(reader: &Reader, draw: i64) -> Result<Vec<Item>, AnnotateError> {
    let wordings: BTreeMap<i64, Vec<String>> = reader.question_wordings()?;
    reader
        .label_items(draw)?
        .into_iter()
        .map(|row| {
            let wordings = wordings.get(&row.question);
            let question = wordings.and_then(|all| all.get(row.wording).or(all.first()));
            Ok(Item {
                row,
                question: question.cloned().unwrap_or_default(),
                answer: reader.answer(row.answer.response)?,
            })
        })
        .collect()
}

/// A drawn trace as it is shown.
#[derive(Clone, Debug)]
pub struct TraceItem {
    /// Its row, which whoever labels never sees: it tells what the judge made of the answer.
    pub row: TraceItemRow,
    /// The question as it was asked, without what stood before it.
    pub question: String,
    /// The trace.
    pub trace: String,
}

/// The traces of a draw, in the order in which they are shown.
///
/// # Errors
/// If the store cannot be read.
pub fn trace_items(reader: &Reader, draw: i64) -> Result<Vec<TraceItem>, AnnotateError> {
    let wordings = reader.question_wordings()?;
    reader
        .trace_items(draw)?
        .into_iter()
        .map(|row| {
            let wordings = wordings.get(&row.question);
            let question = wordings.and_then(|all| all.get(row.wording).or(all.first()));
            Ok(TraceItem {
                row,
                question: question.cloned().unwrap_or_default(),
                trace: reader.trace(row.item.response)?,
            })
        })
        .collect()
}
