//! Parquet: one batch of rows in memory at a time, row groups of bounded size.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Rows;
use crate::cell::Cell;
use crate::error::ExportError;
use crate::schema::{Kind, Table};

/// Rows in a batch, at most.
const BATCH_ROWS: usize = 8192;
/// Bytes in a batch, about: a batch of long texts has fewer rows.
const BATCH_BYTES: usize = 8 << 20;
/// Bytes of a row group in memory, about. Three tables are written at a time.
const GROUP_BYTES: usize = 32 << 20;

pub(super) struct ParquetRows {
    writer: ArrowWriter<fs_err::File>,
    schema: SchemaRef,
    columns: Vec<Values>,
    rows: usize,
    bytes: usize,
}

/// The values of one column that wait for the next batch.
enum Values {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Texts(ListBuilder<StringBuilder>),
    Integers(ListBuilder<Int64Builder>),
    Numbers(ListBuilder<Float64Builder>),
}

impl Values {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Integer => Self::Integer(Int64Builder::new()),
            Kind::Number => Self::Number(Float64Builder::new()),
            Kind::Boolean => Self::Boolean(BooleanBuilder::new()),
            Kind::Texts => Self::Texts(ListBuilder::new(StringBuilder::new())),
            Kind::Integers => Self::Integers(ListBuilder::new(Int64Builder::new())),
            Kind::Numbers => Self::Numbers(ListBuilder::new(Float64Builder::new())),
        }
    }

    /// Adds a value; one of another kind than the column's counts as missing.
    fn add(&mut self, cell: &Cell<'_>) {
        match self {
            Self::Text(values) => {
                let text = if let Cell::Text(text) = cell { Some(text) } else { None };
                values.append_option(text);
            }
            Self::Integer(values) => {
                values.append_option(if let Cell::Integer(value) = cell { Some(*value) } else { None });
            }
            Self::Number(values) => {
                values.append_option(if let Cell::Number(value) = cell { Some(*value) } else { None });
            }
            Self::Boolean(values) => {
                values.append_option(if let Cell::Boolean(value) = cell { Some(*value) } else { None });
            }
            Self::Texts(values) => {
                if let Cell::Texts(texts) = cell {
                    for text in texts {
                        values.values().append_value(text);
                    }
                }
                values.append(matches!(cell, Cell::Texts(_)));
            }
            Self::Integers(values) => {
                if let Cell::Integers(integers) = cell {
                    values.values().append_slice(integers);
                }
                values.append(matches!(cell, Cell::Integers(_)));
            }
            Self::Numbers(values) => {
                if let Cell::Numbers(numbers) = cell {
                    values.values().append_slice(numbers);
                }
                values.append(matches!(cell, Cell::Numbers(_)));
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(values) => ArrayBuilder::finish(values),
            Self::Integer(values) => ArrayBuilder::finish(values),
            Self::Number(values) => ArrayBuilder::finish(values),
            Self::Boolean(values) => ArrayBuilder::finish(values),
            Self::Texts(values) => ArrayBuilder::finish(values),
            Self::Integers(values) => ArrayBuilder::finish(values),
            Self::Numbers(values) => ArrayBuilder::finish(values),
        }
    }
}

fn data_type(kind: Kind) -> DataType {
    let list = |of: DataType| DataType::List(Arc::new(Field::new("item", of, true)));
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Integer => DataType::Int64,
        Kind::Number => DataType::Float64,
        Kind::Boolean => DataType::Boolean,
        Kind::Texts => list(DataType::Utf8),
        Kind::Integers => list(DataType::Int64),
        Kind::Numbers => list(DataType::Float64),
    }
}

impl ParquetRows {
    pub(super) fn start(file: fs_err::File, table: &Table) -> Result<Self, ExportError> {
        let fields = table.columns.iter().map(|column| {
            let notes = [("unit", column.unit), ("description", column.meaning)];
            let notes = notes.into_iter().filter(|(_, note)| !note.is_empty());
            let notes: HashMap<String, String> =
                notes.map(|(name, note)| (name.to_owned(), note.to_owned())).collect();
            Field::new(column.name, data_type(column.kind), true).with_metadata(notes)
        });
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_created_by(concat!("tiltmeter ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(Self {
            writer: ArrowWriter::try_new(file, schema.clone(), Some(properties))?,
            schema,
            columns: table.columns.iter().map(|column| Values::new(column.kind)).collect(),
            rows: 0,
            bytes: 0,
        })
    }

    fn write_batch(&mut self) -> Result<(), ExportError> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns = self.columns.iter_mut().map(Values::finish).collect();
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)?;
        (self.rows, self.bytes) = (0, 0);
        if self.writer.memory_size() > GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }
}

impl Rows for ParquetRows {
    fn add(&mut self, row: &[Cell<'_>]) -> Result<(), ExportError> {
        for (values, cell) in self.columns.iter_mut().zip(row) {
            values.add(cell);
            self.bytes += cell.bytes();
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn end(mut self: Box<Self>) -> Result<(), ExportError> {
        self.write_batch()?;
        self.writer.close()?;
        Ok(())
    }
}
