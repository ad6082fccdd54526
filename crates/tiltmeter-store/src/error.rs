//! What can go wrong with a run directory.

use std::path::PathBuf;

/// A run directory cannot be used, or a write did not reach it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error(
        "{path}: another process is working on this run directory (a run, a judge or `annotate`); wait for it, or choose another `--out`"
    )]
    InUse {
        /// The run directory.
        path: PathBuf,
    },
    /// The directory holds no run.
    #[error("{path}: is not a run directory (it holds no run.sqlite)")]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// Demonstrations were screened here, and no subject was asked yet.
    #[error(
        "no experiment has got as far as asking a subject in this run directory: its demonstrations are still being screened, or its contexts looked at by a guard; \
         run it again"
    )]
    NothingRun,
    /// The directory holds a run already.
    #[error("{path}: holds a run already; choose another `--out`")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The file is somebody else's, or damaged.
    #[error("{path}: is not a Tiltmeter store")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error(
        "{path}: was written by a later version of Tiltmeter (schema {found}, this one knows {known}); update Tiltmeter"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version known here.
        known: i64,
    },
    /// No space is left.
    #[error("the disk is full; what was stored before is intact: free some space and run again")]
    DiskFull,
    /// The writer has stopped after an earlier error.
    #[error("the store's writer has stopped after an earlier error")]
    Stopped,
    /// The file system failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// A stored value is not what the schema promises.
    #[error("the store holds a damaged value: {what}")]
    Damaged {
        /// Which.
        what: String,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Sqlite(error),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged { what: error.to_string() }
    }
}
