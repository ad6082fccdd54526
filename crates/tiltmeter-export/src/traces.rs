//! The table of codings of traces.

use std::collections::{BTreeMap, HashMap};

use tiltmeter_judge::CodeBook;
use tiltmeter_store::{
    CoderRow, CodingRow, LabelSpan, PersonCodeKind, PersonCodeRow, Reader, StoreError, TraceDrawItem,
};

use crate::cell::Cell;
use crate::error::ExportError;
use crate::run::Run;
use crate::tables::Open;

/// Who coded, and what came of it.
struct By<'a> {
    coder: &'a str,
    id: Option<String>,
    kind: &'static str,
    outcome: &'a str,
}

/// What all rows need.
struct Traces<'a> {
    book: CodeBook,
    book_id: String,
    drawn: HashMap<i64, TraceDrawItem>,
    /// The samples of the experiment that is exported, by row.
    samples: HashMap<i64, String>,
    open: &'a mut Open,
}

/// Writes all codings of the experiment's answers, by all code books.
pub(crate) fn codes(reader: &Reader, run: &Run, open: &mut Open) -> Result<(), ExportError> {
    let books = reader.code_books()?;
    if books.is_empty() {
        return Ok(());
    }
    let mut responses = Vec::new();
    reader.for_each_sample(&run.experiment, |row| {
        let block = (row.subject, row.context, row.treatment);
        if run.places(block, row.question, row.replicate).next().is_some() {
            responses.push(row.response);
        }
    })?;
    let mut samples = HashMap::new();
    for response in responses {
        samples.insert(response, reader.sample_id(response)?.to_string());
    }
    let drawn: HashMap<i64, TraceDrawItem> = match reader.trace_draw()? {
        Some((draw, _)) => {
            reader.trace_items(draw)?.into_iter().map(|row| (row.item.response, row.item)).collect()
        }
        None => HashMap::new(),
    };
    let coders: BTreeMap<i64, CoderRow> = reader.coders()?.into_iter().map(|row| (row.id, row)).collect();
    for row in books {
        let book = CodeBook::read(&row.name, &row.source).map_err(|error| StoreError::Damaged {
            what: format!("the code book `{}`: {error}", row.name),
        })?;
        let mut traces = Traces {
            book_id: book.hash.to_string(),
            book,
            drawn: drawn.clone(),
            samples: samples.clone(),
            open: &mut *open,
        };
        for coding in reader.codings(row.id)? {
            if let Some(coder) = coders.get(&coding.coder) {
                traces.coding(coder, &coding)?;
            }
        }
        for person in reader.person_codes(row.id)? {
            traces.person(&person)?;
        }
    }
    Ok(())
}

impl Traces<'_> {
    fn coding(&mut self, coder: &CoderRow, coding: &CodingRow) -> Result<(), ExportError> {
        let by = By {
            coder: &coder.model,
            id: Some(coder.hash.to_string()),
            kind: "model",
            outcome: &coding.outcome,
        };
        if coding.outcome != "coded" {
            return self.row(coding.response, &by, None, None, None);
        }
        let ids: Vec<String> = self.book.labels.iter().map(|label| label.id.clone()).collect();
        for id in &ids {
            let given = || coding.labels.iter().filter(|label| label.label == *id);
            // Of several quotes the one that holds, if any does.
            let best = given().find(|label| label.state == "held").or_else(|| given().next());
            let applies = best.is_some_and(|label| label.state == "held");
            self.row(coding.response, &by, Some(id), Some(applies), best)?;
        }
        for unknown in coding.labels.iter().filter(|label| label.state == "unknown") {
            self.row(coding.response, &by, Some(&unknown.label), None, Some(unknown))?;
        }
        Ok(())
    }

    fn person(&mut self, person: &PersonCodeRow) -> Result<(), ExportError> {
        let outcome = match person.kind {
            PersonCodeKind::Coded(_) => "coded",
            PersonCodeKind::CannotTell => "cannot_tell",
        };
        let by = By { coder: &person.annotator, id: None, kind: "person", outcome };
        let PersonCodeKind::Coded(labels) = &person.kind else {
            return self.row(person.response, &by, None, None, None);
        };
        let ids: Vec<String> = self.book.labels.iter().map(|label| label.id.clone()).collect();
        ids.iter()
            .try_for_each(|id| self.row(person.response, &by, Some(id), Some(labels.contains(id)), None))
    }

    fn row(
        &mut self,
        response: i64,
        by: &By<'_>,
        label: Option<&String>,
        applies: Option<bool>,
        given: Option<&LabelSpan>,
    ) -> Result<(), ExportError> {
        let Some(sample) = self.samples.get(&response) else { return Ok(()) };
        let drawn = self.drawn.get(&response);
        let span = given.and_then(|given| given.span);
        self.open.add(&[
            sample.into(),
            Cell::from(&self.book.name),
            Cell::from(&self.book_id),
            by.coder.into(),
            by.id.as_ref().into(),
            by.kind.into(),
            by.outcome.into(),
            label.into(),
            applies.into(),
            given.map(|given| given.state.as_str()).into(),
            given.map(|given| given.quote.as_str()).into(),
            span.map(|(start, _)| start).into(),
            span.map(|(_, end)| end).into(),
            drawn.map(|item| if item.misaligned { "misaligned" } else { "aligned" }).into(),
            drawn.map(|item| item.inclusion).into(),
        ])
    }
}
