//! Files of labels of traces: handed to somebody who labels elsewhere, and taken back, also from published replications
//! with columns of their own.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use csv::StringRecord;
use tiltmeter_judge::CodeBook;
use tiltmeter_store::{PersonCodeKind, PersonCodeRecord, PersonCodeRow};

use crate::error::AnnotateError;
use crate::file::{Imported, as_written, create, each_row, harmless, shortened};
use crate::items::TraceItem;

/// What stands in `labels` where none applies.
const NONE: &str = "none";
/// What stands in `labels`, or is a column, where the person cannot tell.
const CANNOT_TELL: &str = "cannot_tell";

/// Names in a file that stand for labels of the code book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping(Vec<(String, usize)>);

impl Mapping {
    /// Reads `NAME=LABEL` pairs. A name is a column, or what stands in the column `labels`.
    ///
    /// # Errors
    /// Where the code book has no such label.
    pub fn new(pairs: &[(String, String)], book: &CodeBook) -> Result<Self, AnnotateError> {
        let place = |(name, label): &(String, String)| match book.place(label) {
            Some(place) => Ok((name.trim().to_lowercase(), place)),
            None => Err(AnnotateError::Mapping {
                given: format!("{name}={label}"),
                label: label.clone(),
                known: known(book),
            }),
        };
        pairs.iter().map(place).collect::<Result<_, _>>().map(Self)
    }

    /// The place of the label that a name stands for: a mapped name, an id or a title.
    fn place(&self, name: &str, book: &CodeBook) -> Option<usize> {
        let name = name.trim().trim_start_matches('\u{feff}');
        let mapped = self.0.iter().find(|(from, _)| *from == name.to_lowercase()).map(|(_, place)| *place);
        let by_title = || book.labels.iter().position(|label| label.title.eq_ignore_ascii_case(name));
        mapped.or_else(|| book.place(name)).or_else(by_title)
    }
}

fn known(book: &CodeBook) -> String {
    book.labels.iter().map(|label| label.id.as_str()).collect::<Vec<_>>().join(", ")
}

fn header(before: &[&str], book: &CodeBook, after: &[&str]) -> Vec<String> {
    let ids = book.labels.iter().map(|label| label.id.clone());
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    own(before).into_iter().chain(ids).chain(own(after)).collect()
}

/// Writes the drawn traces without labels, for somebody to fill in: `place`, `sample`, `question`, `trace`, an empty column
/// for each label of the code book, `cannot_tell`, `note`. As blind as the page.
///
/// # Errors
/// If the file cannot be written.
pub fn export_blank_traces(path: &Path, items: &[TraceItem], book: &CodeBook) -> Result<(), AnnotateError> {
    let mut writer = create(path)?;
    let failed = |source| AnnotateError::File { path: path.to_owned(), source };
    writer
        .write_record(header(&["place", "sample", "question", "trace"], book, &[CANNOT_TELL, "note"]))
        .map_err(failed)?;
    for (place, item) in items.iter().enumerate() {
        let mut row = vec![
            (place + 1).to_string(),
            item.row.sample.to_string(),
            harmless(&item.question),
            harmless(&item.trace),
        ];
        row.resize(row.len() + book.labels.len() + 2, String::new());
        writer.write_record(row).map_err(failed)?;
    }
    writer.flush().map_err(|error| failed(error.into()))
}

/// Writes what people said, one row for each trace and person: `place`, `sample`, `probability`, `annotator`, a column of
/// 0 and 1 for each label, `cannot_tell`, `note`, `labelled_at`, `question`, `trace`. Drawn traces that nobody labelled
/// have one row without annotator and labels.
///
/// # Errors
/// If the file cannot be written.
pub fn export_traces(
    path: &Path,
    items: &[TraceItem],
    book: &CodeBook,
    said: &[PersonCodeRow],
) -> Result<(), AnnotateError> {
    let mut writer = create(path)?;
    let failed = |source| AnnotateError::File { path: path.to_owned(), source };
    let after = [CANNOT_TELL, "note", "labelled_at", "question", "trace"];
    writer
        .write_record(header(&["place", "sample", "probability", "annotator"], book, &after))
        .map_err(failed)?;
    for (place, item) in items.iter().enumerate() {
        let of_item: Vec<Option<&PersonCodeRow>> =
            said.iter().filter(|code| code.response == item.row.item.response).map(Some).collect();
        for code in if of_item.is_empty() { vec![None] } else { of_item } {
            let mut row = vec![
                (place + 1).to_string(),
                item.row.sample.to_string(),
                item.row.item.inclusion.to_string(),
                code.map(|code| harmless(&code.annotator)).unwrap_or_default(),
            ];
            let labels = code.and_then(|code| match &code.kind {
                PersonCodeKind::Coded(labels) => Some(labels),
                PersonCodeKind::CannotTell => None,
            });
            row.extend(book.labels.iter().map(|label| match labels {
                Some(labels) => u8::from(labels.contains(&label.id)).to_string(),
                None => String::new(),
            }));
            row.extend([
                code.map(|code| u8::from(code.kind == PersonCodeKind::CannotTell).to_string())
                    .unwrap_or_default(),
                code.map(|code| harmless(code.note.as_deref().unwrap_or_default())).unwrap_or_default(),
                code.map(|code| code.created_at.clone()).unwrap_or_default(),
                harmless(&item.question),
                harmless(&item.trace),
            ]);
            writer.write_record(row).map_err(failed)?;
        }
    }
    writer.flush().map_err(|error| failed(error.into()))
}

/// What labels of traces are read by.
pub struct Reading<'a> {
    /// The drawn traces.
    pub items: &'a [TraceItem],
    /// The code book.
    pub book: &'a CodeBook,
    /// Its row.
    pub book_row: i64,
    /// What people said before.
    pub said: &'a [PersonCodeRow],
    /// Names in the file.
    pub mapping: &'a Mapping,
    /// Stands in for a file without a column `annotator`, or a row without such a cell.
    pub annotator: Option<&'a str>,
}

/// Reads labels of traces. A row is a trace; it goes by its `sample`, or by its `trace` where there is no such column: of several
/// traces with the same text, the first row is the first one's. Its
/// labels are in a column of each label's own (yes or no, true or false, 1 or 0, x; a row that leaves all of them empty is
/// not labelled), or in the column `labels`, separated by semicolons (`none`: none applies). A row that cannot be used is
/// named and left out, the others count. The records are not stored yet.
///
/// # Errors
/// If the file cannot be read, or lacks a column.
pub fn import_traces(
    path: &Path,
    reading: &Reading<'_>,
    now: &str,
) -> Result<(Imported, Vec<PersonCodeRecord>), AnnotateError> {
    let failed = |source| AnnotateError::File { path: path.to_owned(), source };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path).map_err(failed)?;
    let columns = Columns::find(path, reader.headers().map_err(failed)?, reading)?;
    let mut by_key: HashMap<String, Vec<i64>> = HashMap::new();
    for item in reading.items {
        let key = if columns.by_trace { one_spaced(&item.trace) } else { item.row.sample.to_string() };
        by_key.entry(key).or_default().push(item.row.item.response);
    }
    let origin = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut imported = Imported::default();
    let mut records = Vec::new();
    let mut met: HashSet<(i64, String)> = HashSet::new();
    imported.broken = each_row(&mut reader, path, |record| {
        let Some(read) = columns.read(record, &by_key, reading, &met)? else {
            imported.empty += 1;
            return Ok(());
        };
        met.insert((read.response, read.annotator.clone()));
        let is_known = reading.said.iter().any(|code| {
            code.response == read.response
                && code.annotator == read.annotator
                && code.kind == read.kind
                && code.note == read.note
        });
        if is_known {
            imported.known += 1;
            return Ok(());
        }
        imported.stored += 1;
        records.push(PersonCodeRecord {
            response: read.response,
            book: reading.book_row,
            annotator: read.annotator,
            kind: Some(read.kind),
            note: read.note,
            origin: origin.clone(),
            created_at: now.to_owned(),
        });
        Ok(())
    })?;
    Ok((imported, records))
}

/// White space is not the same in every copy of a trace.
fn one_spaced(text: &str) -> String {
    as_written(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A row that can be used.
struct ReadRow {
    response: i64,
    annotator: String,
    kind: PersonCodeKind,
    note: Option<String>,
}

/// Where what is.
struct Columns {
    key: usize,
    by_trace: bool,
    /// Columns of labels, with the place of each label.
    of_labels: Vec<(usize, usize)>,
    list: Option<usize>,
    cannot_tell: Option<usize>,
    annotator: Option<usize>,
    note: Option<usize>,
}

impl Columns {
    fn find(path: &Path, header: &StringRecord, reading: &Reading<'_>) -> Result<Self, AnnotateError> {
        let optional = |name: &str| {
            header.iter().position(|column| column.trim_start_matches('\u{feff}').trim() == name)
        };
        let missing = |missing| AnnotateError::TraceColumns { path: path.to_owned(), missing };
        let (sample, trace) = (optional("sample"), optional("trace"));
        let key = sample.or(trace).ok_or_else(|| missing("`sample` or `trace`"))?;
        let own = ["sample", "trace", "labels", CANNOT_TELL, "annotator", "note", "place", "question"];
        let of_labels: Vec<(usize, usize)> = header
            .iter()
            .enumerate()
            .filter(|(_, name)| !own.contains(&name.trim()))
            .filter_map(|(column, name)| Some((column, reading.mapping.place(name, reading.book)?)))
            .collect();
        let list = optional("labels");
        if of_labels.is_empty() && list.is_none() {
            return Err(missing("of labels"));
        }
        let annotator = optional("annotator");
        if annotator.is_none() && reading.annotator.is_none() {
            return Err(missing("`annotator`, and `--annotator` names nobody"));
        }
        let (cannot_tell, note) = (optional(CANNOT_TELL), optional("note"));
        Ok(Self { key, by_trace: sample.is_none(), of_labels, list, cannot_tell, annotator, note })
    }

    /// `None`: nobody labelled the row.
    fn read(
        &self,
        record: &StringRecord,
        by_key: &HashMap<String, Vec<i64>>,
        reading: &Reading<'_>,
        met: &HashSet<(i64, String)>,
    ) -> Result<Option<ReadRow>, String> {
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        let Some(kind) = self.kind(record, reading)? else { return Ok(None) };
        let key = if self.by_trace { one_spaced(cell(self.key)) } else { cell(self.key).to_owned() };
        let responses = by_key.get(&key).ok_or_else(|| {
            let what = if self.by_trace { "text" } else { "sample id" };
            format!("no drawn trace has the {what} `{}`", shortened(&key))
        })?;
        let named = self.annotator.map(|column| as_written(cell(column))).filter(|name| !name.is_empty());
        let annotator = named
            .or(reading.annotator)
            .ok_or("the row names no annotator; `--annotator` names one for all such rows")?;
        // Of several traces with the same text, the first row is the first one's.
        let is_new = |response: &&i64| !met.contains(&(**response, annotator.to_owned()));
        let response = *responses
            .iter()
            .find(is_new)
            .ok_or_else(|| format!("`{}` has labelled this trace in an earlier row", shortened(annotator)))?;
        let note = self.note.map(|column| as_written(cell(column))).filter(|note| !note.is_empty());
        Ok(Some(ReadRow { response, annotator: annotator.to_owned(), kind, note: note.map(str::to_owned) }))
    }

    fn kind(&self, record: &StringRecord, reading: &Reading<'_>) -> Result<Option<PersonCodeKind>, String> {
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        if let Some(column) = self.cannot_tell
            && yes_or_no(cell(column))? == Some(true)
        {
            return Ok(Some(PersonCodeKind::CannotTell));
        }
        let book = reading.book;
        let mut given = vec![false; book.labels.len()];
        let mut is_labelled = false;
        for &(column, place) in &self.of_labels {
            if let Some(yes) = yes_or_no(cell(column))? {
                is_labelled = true;
                given[place] |= yes;
            }
        }
        if let Some(list) = self.list.map(cell).filter(|list| !list.is_empty()) {
            is_labelled = true;
            if list.eq_ignore_ascii_case(CANNOT_TELL) {
                return Ok(Some(PersonCodeKind::CannotTell));
            }
            for name in list.split([';', '|']).map(str::trim).filter(|name| !name.is_empty()) {
                match reading.mapping.place(name, book) {
                    Some(place) => given[place] = true,
                    None if name.eq_ignore_ascii_case(NONE) => {}
                    None => {
                        return Err(format!(
                            "there is no label `{}`; labels are {}",
                            shortened(name),
                            known(book)
                        ));
                    }
                }
            }
        }
        let labels = book.labels.iter().zip(given).filter(|(_, given)| *given);
        Ok(is_labelled.then(|| PersonCodeKind::Coded(labels.map(|(label, _)| label.id.clone()).collect())))
    }
}

/// `None`: the cell is empty.
fn yes_or_no(cell: &str) -> Result<Option<bool>, String> {
    match cell.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "1" | "yes" | "y" | "true" | "x" | "1.0" => Ok(Some(true)),
        "0" | "no" | "n" | "false" | "-" | "0.0" => Ok(Some(false)),
        _ => Err(format!("`{}` is neither yes nor no", shortened(cell))),
    }
}
