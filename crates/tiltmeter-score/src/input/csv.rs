//! Reads CSV: RFC 4180 as written in practice, with `\n` or `\r\n`, and any of three delimiters.

use std::io::{Cursor, Read};

use csv::{ByteRecord, ReaderBuilder, Terminator};

use crate::cell;
use crate::columns::Field;
use crate::error::ScoreError;
use crate::key::KeyBuilder;
use crate::tally::{Cells, Place, Tally};

use super::{Job, Table};

const BUFFER: usize = 256 * 1024;

/// A record put after the end of the text. Where a quote was opened and never closed, it does not come out as a
/// record but inside the last field, which is how that is noticed: the parser itself says nothing.
const END: &[u8] = b"\x01end of the table\x01";

pub(super) fn read(job: &mut Job<'_>, text: impl Read, delimiter: u8) -> Result<Table, ScoreError> {
    let end = [b"\n", END, b"\n"].concat();
    // Records end at `\n` alone, so that line numbers can be told from the number of `\n` read.
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .terminator(Terminator::Any(b'\n'))
        .buffer_capacity(BUFFER)
        .from_reader(text.chain(Cursor::new(end)));
    let mut record = ByteRecord::new();
    read_record(job, &mut reader, &mut record)?;
    while is_blank(&record) {
        read_record(job, &mut reader, &mut record)?;
    }
    if is_end(&record) {
        return Err(job.empty());
    }
    if ends_within_quotes(&record) {
        return Err(job.unsupported("its header opens a quote that is never closed", "close the quote"));
    }
    let has_returns = last(&record).ends_with(b"\r");
    let columns: Vec<String> = record
        .iter()
        .map(|name| String::from_utf8_lossy(without_return(name, has_returns)).into_owned())
        .collect();
    let layout = job.wanted.layout(job.file, &columns)?;
    let mut key = KeyBuilder::default();
    let mut rows = 0;
    loop {
        read_record(job, &mut reader, &mut record)?;
        if is_end(&record) {
            break;
        }
        if is_blank(&record) {
            continue;
        }
        rows += 1;
        if record.len() != columns.len() || ends_within_quotes(&record) {
            let line = first_line(&reader, &record);
            let unclosed = ends_within_quotes(&record);
            let why = if unclosed {
                "a quote that is opened here is never closed, so that all the rest of the file is in it"
                    .to_owned()
            } else {
                let (found, expected) = (record.len(), columns.len());
                format!("the row has {found} fields, and the header has {expected}")
            };
            job.tally.break_row(job.file, Place::Line(line), None, why);
            if unclosed {
                break;
            }
            continue;
        }
        let cell = |index: usize| without_return(record.get(index).unwrap_or_default(), has_returns);
        let field = |field: &Field| match field {
            Field::Column(index) => cell(*index),
            Field::File => job.file.as_bytes(),
        };
        key.clear();
        for by in &layout.by {
            key.push(field(by));
        }
        let cluster = layout.cluster.as_ref().map(field);
        let cells = Cells {
            alignment: cell::read(cell(layout.alignment)),
            coherence: cell::read(cell(layout.coherence)),
            label: job.tally.label(layout.label.map(cell), layout.inclusion.map(cell)),
            against: Tally::against(layout.against.map(cell), layout.against_coherence.map(cell)),
        };
        let place = if cells.is_broken() {
            Place::Line(first_line(&reader, &record))
        } else {
            // Only broken rows are named.
            Place::Line(0)
        };
        job.tally.read(job.file, place, (key.bytes(), cluster), cells);
    }
    Ok(Table { rows, columns: layout.used(&columns) })
}

fn read_record(
    job: &Job<'_>,
    reader: &mut csv::Reader<impl Read>,
    record: &mut ByteRecord,
) -> Result<(), ScoreError> {
    match reader.read_byte_record(record) {
        Ok(true) => Ok(()),
        // Only a text that ends within quotes gets here, after its last record was taken.
        Ok(false) => Err(job.empty()),
        Err(error) => {
            let message = error.to_string();
            Err(job.read_error(match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                _ => std::io::Error::other(message),
            }))
        }
    }
}

fn is_end(record: &ByteRecord) -> bool {
    record.len() == 1 && record.get(0) == Some(END)
}

/// A line of `\r\n` alone; one of `\n` alone is no record.
fn is_blank(record: &ByteRecord) -> bool {
    record.len() == 1 && record.get(0) == Some(b"\r")
}

fn ends_within_quotes(record: &ByteRecord) -> bool {
    last(record).strip_suffix(b"\n").is_some_and(|last| last.ends_with(END))
}

fn last(record: &ByteRecord) -> &[u8] {
    record.len().checked_sub(1).and_then(|last| record.get(last)).unwrap_or_default()
}

/// The line on which the record that was just read begins.
fn first_line(reader: &csv::Reader<impl Read>, record: &ByteRecord) -> u64 {
    let within = record.as_slice().split(|&byte| byte == b'\n').count() as u64 - 1;
    let terminator = u64::from(!ends_within_quotes(record));
    reader.position().line().saturating_sub(within + terminator)
}

/// A field without the `\r` before a line's end.
fn without_return(field: &[u8], has_returns: bool) -> &[u8] {
    if has_returns { field.strip_suffix(b"\r").unwrap_or(field) } else { field }
}
