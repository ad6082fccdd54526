//! Reads Parquet: only the columns that are used, one batch of rows at a time.

use std::path::Path;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::cell::{self, CellFault, Reading};
use crate::columns::Field;
use crate::error::ScoreError;
use crate::key::KeyBuilder;
use crate::tally::{Cells, Place, Tally};

use super::stream::HashedStream;
use super::{Job, Table};

/// Rows in a batch.
const BATCH: usize = 8192;

/// Reads a file and gives its hash, for which it is read a second time, on another thread.
pub(super) fn read(job: &mut Job<'_>, path: &Path) -> Result<(Table, String), ScoreError> {
    let open = || std::fs::File::open(path);
    let hashed = HashedStream::start(Box::new(open().map_err(|source| job.open_error(source))?));
    let table = rows(job, open().map_err(|source| job.open_error(source))?)?;
    let hash = hashed.finish().map_err(|source| job.read_error(source))?;
    Ok((table, hash))
}

fn rows(job: &mut Job<'_>, file: std::fs::File) -> Result<Table, ScoreError> {
    let name = job.file;
    let damaged = |error: &dyn std::fmt::Display| ScoreError::Parquet {
        file: name.to_owned(),
        what: error.to_string(),
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(&error))?;
    let columns: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let layout = job.wanted.layout(job.file, &columns)?;
    let fields = layout.cluster.iter().chain(&layout.by);
    let mut used: Vec<usize> = fields
        .filter_map(|field| match field {
            Field::Column(index) => Some(*index),
            Field::File => None,
        })
        .chain([layout.alignment, layout.coherence])
        .chain(layout.label)
        .chain(layout.inclusion)
        .chain(layout.against)
        .chain(layout.against_coherence)
        .collect();
    used.sort_unstable();
    used.dedup();
    let projection = ProjectionMask::roots(builder.parquet_schema(), used.iter().copied());
    let batches = builder
        .with_projection(projection)
        .with_batch_size(BATCH)
        .build()
        .map_err(|error| damaged(&error))?;
    let mut key = KeyBuilder::default();
    let mut rows = 0;
    for batch in batches {
        let batch = batch.map_err(|error| damaged(&error))?;
        let batch = Batch { batch: &batch, used: &used };
        let values = |field: &Field| match field {
            Field::Column(index) => batch.texts(*index).map(Some),
            Field::File => Ok(None),
        };
        let cluster = layout.cluster.as_ref().map(values).transpose().map_err(|error| damaged(&error))?;
        let by: Vec<Option<Vec<String>>> =
            layout.by.iter().map(values).collect::<Result<_, _>>().map_err(|error| damaged(&error))?;
        let alignments = batch.scores(layout.alignment).map_err(|error| damaged(&error))?;
        let coherences = batch.scores(layout.coherence).map_err(|error| damaged(&error))?;
        let texts = |column: Option<usize>| column.map(|column| batch.texts(column)).transpose();
        let labels = texts(layout.label).map_err(|error| damaged(&error))?;
        let inclusions = texts(layout.inclusion).map_err(|error| damaged(&error))?;
        let againsts = texts(layout.against).map_err(|error| damaged(&error))?;
        let against_coherences = texts(layout.against_coherence).map_err(|error| damaged(&error))?;
        for (index, (alignment, coherence)) in alignments.into_iter().zip(coherences).enumerate() {
            rows += 1;
            let text = |values: &Option<Vec<String>>| match values {
                Some(values) => values.get(index).cloned().unwrap_or_default(),
                None => name.to_owned(),
            };
            key.clear();
            for values in &by {
                key.push(text(values).as_bytes());
            }
            let cluster = cluster.as_ref().map(text);
            let cluster = cluster.as_ref().map(String::as_bytes);
            let at = |texts: &Option<Vec<String>>| {
                texts.as_ref().map(|texts| texts.get(index).cloned().unwrap_or_default())
            };
            let (label, inclusion) = (at(&labels), at(&inclusions));
            let label = job
                .tally
                .label(label.as_ref().map(String::as_bytes), inclusion.as_ref().map(String::as_bytes));
            let (against, against_coherence) = (at(&againsts), at(&against_coherences));
            let against = Tally::against(
                against.as_ref().map(String::as_bytes),
                against_coherence.as_ref().map(String::as_bytes),
            );
            let cells = Cells { alignment, coherence, label, against };
            job.tally.read(name, Place::Row(rows), (key.bytes(), cluster), cells);
        }
    }
    Ok(Table { rows, columns: layout.used(&columns) })
}

/// A batch that holds only the columns that are used.
struct Batch<'a> {
    batch: &'a RecordBatch,
    used: &'a [usize],
}

impl Batch<'_> {
    fn column(&self, index: usize) -> Result<&ArrayRef, ArrowError> {
        let place = self.used.iter().position(|&used| used == index);
        place
            .and_then(|place| self.batch.columns().get(place))
            .ok_or_else(|| ArrowError::SchemaError(format!("column {index} is missing")))
    }

    /// A column's values as text; null as nothing.
    fn texts(&self, index: usize) -> Result<Vec<String>, ArrowError> {
        let column = self.column(index)?;
        let options = FormatOptions::new();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        (0..column.len()).map(|row| formatter.value(row).try_to_string()).collect()
    }

    /// A column's values as scores.
    fn scores(&self, index: usize) -> Result<Vec<Result<Reading, CellFault>>, ArrowError> {
        let column = self.column(index)?;
        if !is_number(column.data_type()) {
            return Ok(self.texts(index)?.iter().map(|text| cell::read(text.as_bytes())).collect());
        }
        let numbers = arrow_cast::cast(column, &DataType::Float64)?;
        Ok(numbers
            .as_primitive::<Float64Type>()
            .iter()
            .map(|value| value.map_or(Ok(Reading::EMPTY), cell::number))
            .collect())
    }
}

fn is_number(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => is_number(value),
        kind => kind.is_numeric(),
    }
}
