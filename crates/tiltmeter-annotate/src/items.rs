//! The drawn answers with the texts that are shown.

use std::collections::BTreeMap;

use tiltmeter_store::{LabelItemRow, Reader};

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
