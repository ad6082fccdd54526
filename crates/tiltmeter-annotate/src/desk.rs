//! One person's work: what is left to label, and what was said.

use tiltmeter_store::{LabelKind, LabelRecord, LabelRow, LabelWriter, StoreError};

use crate::items::Item;

/// Where labels given on the page come from.
const ORIGIN: &str = "page";

/// The work of one annotator on one draw.
#[derive(Debug)]
pub struct Desk {
    annotator: String,
    items: Vec<Item>,
    /// Whether the answer of that place has a label.
    done: Vec<bool>,
    /// Places that were labelled since the start, the newest last.
    history: Vec<usize>,
    writer: LabelWriter,
}

/// A label as the page gives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) place: usize,
    pub(crate) kind: LabelKind,
    pub(crate) alignment: Option<f64>,
    pub(crate) note: Option<String>,
}

impl Desk {
    /// The work of an annotator, who goes on where the labels end.
    pub fn new(annotator: String, items: Vec<Item>, labels: &[LabelRow], writer: LabelWriter) -> Self {
        let is_done = |item: &Item| {
            labels.iter().any(|label| label.item == item.row.id && label.annotator == annotator)
        };
        let done = items.iter().map(is_done).collect();
        Self { annotator, items, done, history: Vec::new(), writer }
    }

    /// How many answers are labelled.
    pub fn done(&self) -> usize {
        self.done.iter().filter(|done| **done).count()
    }

    /// How many answers there are.
    pub fn total(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn annotator(&self) -> &str {
        &self.annotator
    }

    pub(crate) fn can_undo(&self) -> bool {
        !self.history.is_empty()
    }

    /// The first answer without a label, and its place.
    pub(crate) fn next(&self) -> Option<(usize, &Item)> {
        let place = self.done.iter().position(|done| !done)?;
        Some((place, self.items.get(place)?))
    }

    /// Stores a label; it is on disk when this returns. `Ok(false)`: there is no such answer.
    pub(crate) fn label(&mut self, given: Given) -> Result<bool, StoreError> {
        let Given { place, kind, alignment, note } = given;
        if !self.write(place, Some(kind), alignment, note)? {
            return Ok(false);
        }
        self.history.retain(|&earlier| earlier != place);
        self.history.push(place);
        Ok(true)
    }

    /// Takes back the newest label of this sitting, so that its answer is shown again.
    pub(crate) fn undo(&mut self) -> Result<bool, StoreError> {
        let Some(&place) = self.history.last() else { return Ok(false) };
        self.write(place, None, None, None)?;
        self.history.pop();
        Ok(true)
    }

    fn write(
        &mut self,
        place: usize,
        kind: Option<LabelKind>,
        alignment: Option<f64>,
        note: Option<String>,
    ) -> Result<bool, StoreError> {
        let Some(item) = self.items.get(place) else { return Ok(false) };
        self.writer.write(&[LabelRecord {
            item: item.row.id,
            annotator: self.annotator.clone(),
            kind,
            alignment,
            note,
            origin: ORIGIN.to_owned(),
            created_at: jiff::Timestamp::now().to_string(),
        }])?;
        if let Some(done) = self.done.get_mut(place) {
            *done = kind.is_some();
        }
        Ok(true)
    }
}
