//! What can go wrong with labelling.

use std::path::PathBuf;

use tiltmeter_store::StoreError;

/// Labels cannot be given, written or read.
#[derive(Debug, thiserror::Error)]
pub enum AnnotateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// A file lacks a column.
    #[error(
        "{path}: there is no column `{column}`; needed are `sample` and `label`, and `annotator` unless one is named"
    )]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// A file of labels of traces lacks columns.
    #[error(
        "{path}: there is no column {missing}; needed are `sample` or `trace`, and `labels` or a column for each label \
         of the code book (`--map COLUMN=LABEL` names others)"
    )]
    TraceColumns {
        /// The file.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// A mapping names no label.
    #[error("`--map {given}`: the code book has no label `{label}`; its labels are {known}")]
    Mapping {
        /// The mapping.
        given: String,
        /// The label.
        label: String,
        /// The labels there are.
        known: String,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes for a secret address: {0}")]
    Random(String),
    /// The listener failed.
    #[error("the page's server failed: {0}")]
    Server(#[from] std::io::Error),
}
