//! Writes rows into files of one format.

mod csv;
mod jsonl;
mod parquet;

use std::path::Path;

use crate::cell::Cell;
use crate::error::ExportError;
use crate::schema::Table;

/// A format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Parquet, compressed by Zstandard.
    Parquet,
    /// CSV after RFC 4180, in UTF-8, with a header.
    Csv,
    /// JSON Lines.
    JsonLines,
}

impl TableFormat {
    /// The ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
        }
    }
}

/// Takes the rows of one table.
pub(crate) trait Rows {
    /// Adds a row, which has a cell for each column.
    fn add(&mut self, row: &[Cell<'_>]) -> Result<(), ExportError>;

    /// Writes what is left.
    fn end(self: Box<Self>) -> Result<(), ExportError>;
}

/// Starts the file of a table in a folder.
pub(crate) fn start(folder: &Path, table: &Table, format: TableFormat) -> Result<Box<dyn Rows>, ExportError> {
    let path = folder.join(format!("{}.{}", table.name, format.ending()));
    let file = fs_err::File::create_new(path)?;
    Ok(match format {
        TableFormat::Parquet => Box::new(parquet::ParquetRows::start(file, table)?),
        TableFormat::Csv => Box::new(csv::CsvRows::start(file, table)?),
        TableFormat::JsonLines => Box::new(jsonl::JsonRows::start(file, table)),
    })
}
