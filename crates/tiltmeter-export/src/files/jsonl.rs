//! JSON Lines: one object a row, with all columns in their order, null where a cell is empty.

use std::io::{BufWriter, Write as _};

use super::Rows;
use crate::cell::Cell;
use crate::error::ExportError;
use crate::schema::{Column, Table};

pub(super) struct JsonRows {
    writer: BufWriter<fs_err::File>,
    columns: &'static [Column],
}

impl JsonRows {
    pub(super) fn start(file: fs_err::File, table: &Table) -> Self {
        Self { writer: BufWriter::new(file), columns: table.columns }
    }

    fn value(&mut self, cell: &Cell<'_>) -> Result<(), ExportError> {
        match cell {
            Cell::Empty => self.writer.write_all(b"null")?,
            Cell::Text(text) => serde_json::to_writer(&mut self.writer, text)?,
            Cell::Integer(value) => serde_json::to_writer(&mut self.writer, value)?,
            Cell::Number(value) => serde_json::to_writer(&mut self.writer, value)?,
            Cell::Boolean(value) => serde_json::to_writer(&mut self.writer, value)?,
            Cell::Texts(values) => serde_json::to_writer(&mut self.writer, values)?,
            Cell::Integers(values) => serde_json::to_writer(&mut self.writer, values)?,
            Cell::Numbers(values) => serde_json::to_writer(&mut self.writer, values)?,
        }
        Ok(())
    }
}

impl Rows for JsonRows {
    fn add(&mut self, row: &[Cell<'_>]) -> Result<(), ExportError> {
        for (index, (column, cell)) in self.columns.iter().zip(row).enumerate() {
            self.writer.write_all(if index == 0 { b"{" } else { b"," })?;
            serde_json::to_writer(&mut self.writer, column.name)?;
            self.writer.write_all(b":")?;
            self.value(cell)?;
        }
        self.writer.write_all(b"}\n")?;
        Ok(())
    }

    fn end(mut self: Box<Self>) -> Result<(), ExportError> {
        self.writer.flush()?;
        Ok(())
    }
}
