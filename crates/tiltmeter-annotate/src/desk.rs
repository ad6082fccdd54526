//! One person's work: what is left to label, and what was said.

use tiltmeter_judge::CodeBook;
use tiltmeter_store::{
    LabelKind, LabelRecord, LabelRow, LabelWriter, PersonCodeKind, PersonCodeRecord, PersonCodeRow,
    PersonCodeWriter, StoreError,
};

use crate::items::{Item, TraceItem};

/// Where labels given on the page come from.
const ORIGIN: &str = "page";

/// The work of one annotator on one draw.
#[derive(Debug)]
pub struct Desk {
    annotator: String,
    work: Work,
    /// Whether what has that place has a label.
    done: Vec<bool>,
    /// Places that were labelled since the start, the newest last.
    history: Vec<usize>,
}

/// What is labelled.
#[derive(Debug)]
enum Work {
    Answers { items: Vec<Item>, writer: LabelWriter },
    Traces { items: Vec<TraceItem>, book: CodeBook, book_row: i64, writer: PersonCodeWriter },
}

/// A label as the page gives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) place: usize,
    pub(crate) said: Said,
    pub(crate) note: Option<String>,
}

/// What is said of an answer, or of a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Verdict { kind: LabelKind, alignment: Option<f64> },
    Codes(PersonCodeKind),
}

impl Desk {
    /// The work of an annotator on answers, who goes on where the labels end.
    pub fn new(annotator: String, items: Vec<Item>, labels: &[LabelRow], writer: LabelWriter) -> Self {
        let is_done = |item: &Item| {
            labels.iter().any(|label| label.item == item.row.id && label.annotator == annotator)
        };
        let done = items.iter().map(is_done).collect();
        Self { annotator, work: Work::Answers { items, writer }, done, history: Vec::new() }
    }

    /// The work of an annotator on traces, by a code book and its row, who goes on where the labels end.
    pub fn of_traces(
        annotator: String,
        items: Vec<TraceItem>,
        (book, book_row): (CodeBook, i64),
        said: &[PersonCodeRow],
        writer: PersonCodeWriter,
    ) -> Self {
        let is_done = |item: &TraceItem| {
            said.iter().any(|code| code.response == item.row.item.response && code.annotator == annotator)
        };
        let done = items.iter().map(is_done).collect();
        Self { annotator, work: Work::Traces { items, book, book_row, writer }, done, history: Vec::new() }
    }

    /// How many are labelled.
    pub fn done(&self) -> usize {
        self.done.iter().filter(|done| **done).count()
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.done.len()
    }

    pub(crate) fn annotator(&self) -> &str {
        &self.annotator
    }

    /// The code book, where traces are labelled.
    pub(crate) fn book(&self) -> Option<&CodeBook> {
        match &self.work {
            Work::Answers { .. } => None,
            Work::Traces { book, .. } => Some(book),
        }
    }

    pub(crate) fn can_undo(&self) -> bool {
        !self.history.is_empty()
    }

    /// Place, question and text of the first without a label.
    pub(crate) fn next(&self) -> Option<(usize, &str, &str)> {
        let place = self.done.iter().position(|done| !done)?;
        let (question, text) = match &self.work {
            Work::Answers { items, .. } => items.get(place).map(|item| (&item.question, &item.answer)),
            Work::Traces { items, .. } => items.get(place).map(|item| (&item.question, &item.trace)),
        }?;
        Some((place, question, text))
    }

    /// Stores a label; it is on disk when this returns. `Ok(false)`: there is nothing to be labelled so.
    pub(crate) fn label(&mut self, given: Given) -> Result<bool, StoreError> {
        let Given { place, said, note } = given;
        if !self.write(place, Some(said), note)? {
            return Ok(false);
        }
        self.history.retain(|&earlier| earlier != place);
        self.history.push(place);
        Ok(true)
    }

    /// Takes back the newest label of this sitting, so that what it was given to is shown again.
    pub(crate) fn undo(&mut self) -> Result<bool, StoreError> {
        let Some(&place) = self.history.last() else { return Ok(false) };
        self.write(place, None, None)?;
        self.history.pop();
        Ok(true)
    }

    fn write(&mut self, place: usize, said: Option<Said>, note: Option<String>) -> Result<bool, StoreError> {
        let is_done = said.is_some();
        let (annotator, origin) = (self.annotator.clone(), ORIGIN.to_owned());
        let created_at = jiff::Timestamp::now().to_string();
        match &mut self.work {
            Work::Answers { items, writer } => {
                let (kind, alignment) = match said {
                    Some(Said::Verdict { kind, alignment }) => (Some(kind), alignment),
                    None => (None, None),
                    Some(Said::Codes(_)) => return Ok(false),
                };
                let Some(item) = items.get(place) else { return Ok(false) };
                let item = item.row.id;
                writer.write(&[LabelRecord {
                    item,
                    annotator,
                    kind,
                    alignment,
                    note,
                    origin,
                    created_at,
                }])?;
            }
            Work::Traces { items, book_row, writer, .. } => {
                let kind = match said {
                    Some(Said::Codes(kind)) => Some(kind),
                    None => None,
                    Some(Said::Verdict { .. }) => return Ok(false),
                };
                let Some(item) = items.get(place) else { return Ok(false) };
                let (response, book) = (item.row.item.response, *book_row);
                writer.write(&[PersonCodeRecord {
                    response,
                    book,
                    annotator,
                    kind,
                    note,
                    origin,
                    created_at,
                }])?;
            }
        }
        if let Some(done) = self.done.get_mut(place) {
            *done = is_done;
        }
        Ok(true)
    }
}
