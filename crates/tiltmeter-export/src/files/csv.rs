//! CSV after RFC 4180, in UTF-8 without a mark, lines ended by `\n`.
//!
//! Texts are foreign, and spreadsheets run a cell that begins like a formula. Such a cell gets an apostrophe in front, and so
//! does one that begins with an apostrophe, so that taking the first one away gives the text back.

use std::borrow::Cow;
use std::io::BufWriter;

use serde_json::Value;

use super::Rows;
use crate::cell::Cell;
use crate::error::ExportError;
use crate::schema::Table;

pub(super) struct CsvRows {
    writer: csv::Writer<BufWriter<fs_err::File>>,
}

impl CsvRows {
    pub(super) fn start(file: fs_err::File, table: &Table) -> Result<Self, ExportError> {
        let mut writer = csv::Writer::from_writer(BufWriter::new(file));
        writer.write_record(table.columns.iter().map(|column| column.name))?;
        Ok(Self { writer })
    }
}

impl Rows for CsvRows {
    fn add(&mut self, row: &[Cell<'_>]) -> Result<(), ExportError> {
        for cell in row {
            self.writer.write_field(text(cell).as_bytes())?;
        }
        self.writer.write_record(None::<&[u8]>)?;
        Ok(())
    }

    fn end(mut self: Box<Self>) -> Result<(), ExportError> {
        self.writer.flush()?;
        Ok(())
    }
}

/// A cell as text; lists as JSON.
fn text<'a>(cell: &'a Cell<'_>) -> Cow<'a, str> {
    match cell {
        Cell::Empty => Cow::Borrowed(""),
        Cell::Text(text) => harmless(text),
        Cell::Integer(value) => Cow::Owned(value.to_string()),
        Cell::Number(value) => Cow::Owned(value.to_string()),
        Cell::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Cell::Texts(texts) => Cow::Owned(texts.iter().map(AsRef::as_ref).collect::<Value>().to_string()),
        Cell::Integers(values) => Cow::Owned(values.iter().copied().collect::<Value>().to_string()),
        Cell::Numbers(values) => Cow::Owned(values.iter().copied().collect::<Value>().to_string()),
    }
}

fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_marked_and_can_be_had_back() {
        let hostile = ["=1+1", "+1", "-2", "@x", "\tx", "\rx", "'=x", "''"];
        for case in hostile {
            let written = harmless(case);
            assert!(!written.starts_with(['=', '+', '-', '@', '\t', '\r']));
            assert_eq!(written.strip_prefix('\''), Some(case));
        }
        for case in ["", "a=1", " =1", "1", "\n=1"] {
            assert_eq!(harmless(case), case);
        }
    }
}
