//! What can go wrong with an export or an import.

use std::io;
use std::path::PathBuf;

use tiltmeter_inspect::InspectError;
use tiltmeter_run::AnalysisError;
use tiltmeter_store::StoreError;

/// A run cannot be exported, or a log not imported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something is there already.
    #[error("{path}: is there already; remove it, choose another `--out`, or say `--force` to replace it")]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// Something is there that no export has made.
    #[error(
        "{path}: is not an earlier export, so `--force` does not replace it; remove it yourself, or choose another `--out`"
    )]
    Foreign {
        /// The target.
        path: PathBuf,
    },
    /// The target has no name, such as `/` or `..`.
    #[error("{path}: cannot be written to; name a folder that is to be made")]
    NoName {
        /// The target.
        path: PathBuf,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rates of the run cannot be had.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// A log cannot be written.
    #[error("failed to write a log: {0}")]
    Inspect(#[from] InspectError),
    /// A log cannot be read.
    #[error("{path}: {source}")]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        source: InspectError,
    },
    /// The logs hold no answer that can be imported.
    #[error("the logs hold no sample with a question and an answer")]
    NothingToImport,
    /// A Parquet file cannot be written.
    #[error("failed to write Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A batch of rows cannot be put together.
    #[error("failed to write Parquet: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// A CSV file cannot be written.
    #[error("failed to write CSV: {0}")]
    Csv(#[from] csv::Error),
    /// A text cannot be written as JSON, or a stored one not read.
    #[error("failed to write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The file system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}
