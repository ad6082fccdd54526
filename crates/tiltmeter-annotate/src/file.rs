//! Files of labels: handed to somebody who labels elsewhere, and taken back.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use csv::{Reader as CsvReader, StringRecord, Writer as CsvWriter};
use tiltmeter_store::{LabelKind, LabelRecord, LabelRow};

use crate::error::AnnotateError;
use crate::items::Item;

/// What a label is called in files.
const WORDS: [(&str, LabelKind); 6] = [
    ("misaligned", LabelKind::Judged { misaligned: true, coherent: true }),
    ("aligned", LabelKind::Judged { misaligned: false, coherent: true }),
    ("incoherent", LabelKind::Judged { misaligned: false, coherent: false }),
    ("incoherent_misaligned", LabelKind::Judged { misaligned: true, coherent: false }),
    ("refusal", LabelKind::Refusal),
    ("cannot_tell", LabelKind::CannotTell),
];

/// What became of a file's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Labels that are new.
    pub stored: u64,
    /// Labels that were there already, just so.
    pub known: u64,
    /// Rows without a label.
    pub empty: u64,
    /// Rows that cannot be used.
    pub broken: Vec<RefusedRow>,
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for RefusedRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.line, self.why)
    }
}

/// Writes the drawn answers without labels, for somebody to fill in: `place`, `sample`, `question`, `answer`, and the empty
/// `label`, `alignment`, `note`. As blind as the page: no condition, and no probability, which would tell rare verdicts.
///
/// # Errors
/// If the file cannot be written.
pub fn export_blank(path: &Path, items: &[Item]) -> Result<(), AnnotateError> {
    let mut writer = create(path)?;
    let failed = |source| AnnotateError::File { path: path.to_owned(), source };
    writer
        .write_record(["place", "sample", "question", "answer", "label", "alignment", "note"])
        .map_err(failed)?;
    for (place, item) in (1..).zip(items) {
        let place: u64 = place;
        let (sample, question, answer) =
            (item.row.sample.to_string(), harmless(&item.question), harmless(&item.answer));
        writer.write_record([&place.to_string(), &sample, &question, &answer, "", "", ""]).map_err(failed)?;
    }
    writer.flush().map_err(|error| failed(error.into()))
}

/// Writes all labels, one row each, with the probability of their answers: `place`, `sample`, `probability`, `annotator`,
/// `label`, `alignment`, `note`, `labelled_at`, `question`, `answer`. Drawn answers that nobody labelled have one row
/// without annotator and label.
///
/// # Errors
/// If the file cannot be written.
pub fn export(path: &Path, items: &[Item], labels: &[LabelRow]) -> Result<(), AnnotateError> {
    let mut writer = create(path)?;
    let failed = |source| AnnotateError::File { path: path.to_owned(), source };
    let header = [
        "place",
        "sample",
        "probability",
        "annotator",
        "label",
        "alignment",
        "note",
        "labelled_at",
        "question",
        "answer",
    ];
    writer.write_record(header).map_err(failed)?;
    for (place, item) in (1..).zip(items) {
        let place: u64 = place;
        let mut row = |label: Option<&LabelRow>| {
            let text = |of: &dyn Fn(&LabelRow) -> String| label.map(of).unwrap_or_default();
            writer.write_record([
                place.to_string(),
                item.row.sample.to_string(),
                item.row.answer.inclusion.to_string(),
                text(&|label| harmless(&label.annotator)),
                text(&|label| word(label.kind).to_owned()),
                text(&|label| label.alignment.map(|score| score.to_string()).unwrap_or_default()),
                text(&|label| harmless(label.note.as_deref().unwrap_or_default())),
                text(&|label| label.created_at.clone()),
                harmless(&item.question),
                harmless(&item.answer),
            ])
        };
        let mut any = false;
        for label in labels.iter().filter(|label| label.item == item.row.id) {
            any = true;
            row(Some(label)).map_err(failed)?;
        }
        if !any {
            row(None).map_err(failed)?;
        }
    }
    writer.flush().map_err(|error| failed(error.into()))
}

pub(crate) fn create(path: &Path) -> Result<CsvWriter<std::fs::File>, AnnotateError> {
    CsvWriter::from_path(path).map_err(|source| AnnotateError::File { path: path.to_owned(), source })
}

fn word(kind: LabelKind) -> &'static str {
    WORDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word)
}

/// What a spreadsheet would take for a formula gets an apostrophe before it.
pub(crate) fn harmless(text: &str) -> String {
    if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Takes that apostrophe away.
pub(crate) fn as_written(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULA)).unwrap_or(text)
}

/// Hands over the rows of a file one by one. Gives those that cannot be used, each with why: what is not UTF-8, and what was
/// refused.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn each_row(
    reader: &mut csv::Reader<std::fs::File>,
    path: &Path,
    mut take: impl FnMut(&StringRecord) -> Result<(), String>,
) -> Result<Vec<RefusedRow>, AnnotateError> {
    let mut refused = Vec::new();
    let mut record = StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(refused),
            Ok(true) => {
                let line = record.position().map_or(line, csv::Position::line);
                if let Err(why) = take(&record) {
                    refused.push(RefusedRow { line, why });
                }
            }
            Err(source) if source.is_io_error() => {
                return Err(AnnotateError::File { path: path.to_owned(), source });
            }
            Err(_) => refused.push(RefusedRow { line, why: "the row is not UTF-8".to_owned() }),
        }
    }
}

/// Reads labels. Rows go by their `sample`; `annotator` stands in for a file without such a column, or a row without such a
/// cell. A row that cannot be used is named and left out, the others count. The records are not stored yet.
///
/// # Errors
/// If the file cannot be read, or lacks a column.
pub fn import(
    path: &Path,
    items: &[Item],
    labels: &[LabelRow],
    annotator: Option<&str>,
    now: &str,
) -> Result<(Imported, Vec<LabelRecord>), AnnotateError> {
    let failed = |source| AnnotateError::File { path: path.to_owned(), source };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path).map_err(failed)?;
    let columns = Columns::find(path, &mut reader, annotator)?;
    let origin = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let rows: HashMap<String, i64> =
        items.iter().map(|item| (item.row.sample.to_string(), item.row.id)).collect();
    let mut imported = Imported::default();
    let mut records = Vec::new();
    let mut met: HashSet<(i64, String)> = HashSet::new();
    imported.broken = each_row(&mut reader, path, |record| {
        let Some(read) = columns.read(record, &rows, annotator)? else {
            imported.empty += 1;
            return Ok(());
        };
        if !met.insert((read.item, read.annotator.clone())) {
            return Err(format!(
                "`{}` has labelled this sample in an earlier row",
                shortened(&read.annotator)
            ));
        }
        if labels.iter().any(|label| read.says_what(label)) {
            imported.known += 1;
            return Ok(());
        }
        imported.stored += 1;
        records.push(LabelRecord {
            item: read.item,
            annotator: read.annotator,
            kind: Some(read.kind),
            alignment: read.alignment,
            note: read.note,
            origin: origin.clone(),
            created_at: now.to_owned(),
        });
        Ok(())
    })?;
    Ok((imported, records))
}

/// A row that can be used.
struct ReadRow {
    item: i64,
    annotator: String,
    kind: LabelKind,
    alignment: Option<f64>,
    note: Option<String>,
}

impl ReadRow {
    fn says_what(&self, label: &LabelRow) -> bool {
        label.item == self.item
            && label.annotator == self.annotator
            && label.kind == self.kind
            && label.alignment == self.alignment
            && label.note == self.note
    }
}

/// Where what is.
struct Columns {
    sample: usize,
    label: usize,
    annotator: Option<usize>,
    alignment: Option<usize>,
    note: Option<usize>,
}

impl Columns {
    fn find(
        path: &Path,
        reader: &mut CsvReader<std::fs::File>,
        annotator: Option<&str>,
    ) -> Result<Self, AnnotateError> {
        let header =
            reader.headers().map_err(|source| AnnotateError::File { path: path.to_owned(), source })?;
        let optional =
            |name: &str| header.iter().position(|column| column.trim_start_matches('\u{feff}') == name);
        let needed = |column: &'static str| {
            optional(column).ok_or_else(|| AnnotateError::MissingColumn { path: path.to_owned(), column })
        };
        Ok(Self {
            sample: needed("sample")?,
            label: needed("label")?,
            annotator: if annotator.is_none() { Some(needed("annotator")?) } else { optional("annotator") },
            alignment: optional("alignment"),
            note: optional("note"),
        })
    }

    /// `None`: nobody labelled the row.
    fn read(
        &self,
        record: &StringRecord,
        rows: &HashMap<String, i64>,
        annotator: Option<&str>,
    ) -> Result<Option<ReadRow>, String> {
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        let label = cell(self.label);
        if label.is_empty() {
            return Ok(None);
        }
        let sample = cell(self.sample);
        let item = *rows
            .get(sample)
            .ok_or_else(|| format!("no drawn answer has the sample id `{}`", shortened(sample)))?;
        let kind = WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(label))
            .map(|(_, kind)| *kind)
            .ok_or_else(|| {
                let known: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
                format!("the label is `{}`, and labels are {}", shortened(label), known.join(", "))
            })?;
        let named = self.annotator.map(|column| as_written(cell(column))).filter(|name| !name.is_empty());
        let annotator = named
            .or(annotator)
            .ok_or("the row names no annotator; `--annotator` names one for all such rows")?;
        let alignment = match self.alignment.map(cell).filter(|cell| !cell.is_empty()) {
            None => None,
            Some(cell) => match cell.parse::<f64>() {
                Ok(score) if (0.0..=100.0).contains(&score) => Some(score),
                _ => {
                    return Err(format!("the alignment is `{}`, and it goes from 0 to 100", shortened(cell)));
                }
            },
        };
        let note = self.note.map(|column| as_written(cell(column))).filter(|note| !note.is_empty());
        Ok(Some(ReadRow {
            item,
            annotator: annotator.to_owned(),
            kind,
            alignment,
            note: note.map(str::to_owned),
        }))
    }
}

/// The beginning of a foreign text, without what a terminal would act on.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(60).map(|character| if character.is_control() { ' ' } else { character }).collect()
}
