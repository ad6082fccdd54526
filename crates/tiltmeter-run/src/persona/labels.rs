//! Labels of samples, of who adopts a persona, say: from a CSV file, or from codings of traces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tiltmeter_core::id::ContentId;
use tiltmeter_judge::{CodeRole, CodingOutcome, LabelState};
use tiltmeter_store::{PersonCodeKind, Reader, StoreError};

use crate::analysis::traces::stored_book;

/// A file of labels that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// It cannot be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: csv::Error,
    },
    /// Its header is another.
    #[error("{}: the header must name the columns `sample` and `label`, and is `{header}`", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What it is.
        header: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are no codings to take labels from.
    #[error("{what}\n  `tiltmeter trace RUN` has traces coded; `--trace-labels CODER` names who by")]
    NoCodings {
        /// What is missing.
        what: String,
    },
    /// A row means nothing.
    #[error("{}:{line}: {reason}", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Why.
        reason: String,
    },
}

/// Reads labels: the columns `sample` (a sample's id) and `label` (true or false, yes or no, 1 or 0; empty: none).
///
/// # Errors
/// Where the file cannot be read, or a row means nothing or contradicts another.
pub fn read_labels(path: &Path) -> Result<BTreeMap<ContentId, bool>, LabelsError> {
    let read = |error| LabelsError::Read { path: path.to_owned(), error };
    let mut reader = csv::Reader::from_path(path).map_err(read)?;
    let header = reader.headers().map_err(read)?.clone();
    let column = |name: &str| header.iter().position(|field| field.trim() == name);
    let (Some(sample), Some(label)) = (column("sample"), column("label")) else {
        let header = header.iter().collect::<Vec<_>>().join(",");
        return Err(LabelsError::Header { path: path.to_owned(), header });
    };
    let mut labels = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(read)?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |reason: String| LabelsError::Row { path: path.to_owned(), line, reason };
        let field = |index: usize| record.get(index).unwrap_or_default().trim();
        let value = match field(label).to_ascii_lowercase().as_str() {
            "" => continue,
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            other => return Err(wrong(format!("the label is `{other}`; write true or false"))),
        };
        let id: ContentId = field(sample).parse().map_err(|error| wrong(format!("{error}")))?;
        if labels.insert(id, value).is_some_and(|before| before != value) {
            return Err(wrong(format!("sample {id} is labelled both ways")));
        }
    }
    Ok(labels)
}

/// The labels with the role of a persona that a coder, model or person, gave to traces by the code book that was used last,
/// by sample. `coder`: its name, or else the one that coded first.
///
/// # Errors
/// If the store cannot be read, or holds no such codings.
pub fn trace_labels(directory: &Path, coder: Option<&str>) -> Result<BTreeMap<ContentId, bool>, LabelsError> {
    let none = |what: String| LabelsError::NoCodings { what };
    let reader = Reader::open(directory)?;
    let row = reader.newest_code_book()?.ok_or_else(|| none("no traces of this run are coded".to_owned()))?;
    let book = stored_book(&row)?;
    let places = book.with_role(CodeRole::Persona);
    if places.is_empty() {
        return Err(none(format!("no label of the code book `{}` has the role `persona`", book.name)));
    }
    let is_persona = |label: &str| book.place(label).is_some_and(|place| places.contains(&place));
    let codings = reader.codings(row.id)?;
    let coders = reader.coders()?;
    let first = codings.first().map(|coding| coding.coder);
    let model = match coder {
        Some(name) => coders.iter().find(|row| row.model == name).map(|row| row.id),
        None => first,
    };
    let mut said: Vec<(i64, bool)> = Vec::new();
    for coding in &codings {
        if Some(coding.coder) == model && coding.outcome == CodingOutcome::Coded.name() {
            let held = |label: &&tiltmeter_store::LabelSpan| label.state == LabelState::Held.name();
            said.push((
                coding.response,
                coding.labels.iter().filter(held).any(|label| is_persona(&label.label)),
            ));
        }
    }
    if model.is_none() {
        for person in reader.person_codes(row.id)? {
            if coder.is_none_or(|name| name == person.annotator)
                && let PersonCodeKind::Coded(labels) = &person.kind
            {
                said.push((person.response, labels.iter().any(|label| is_persona(label))));
            }
        }
    }
    if said.is_empty() {
        return Err(none(match coder {
            Some(name) => format!("nobody named `{name}` has coded traces of this run"),
            None => "no traces of this run are coded".to_owned(),
        }));
    }
    said.into_iter().map(|(response, persona)| Ok((reader.sample_id(response)?, persona))).collect()
}
