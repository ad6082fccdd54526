//! The audit log: records that are added and never changed, each bound to the one before, in SQLite files of bounded size.
//!
//! One thread writes. It takes all records that wait and commits them together; a record counts as written when that
//! commit is on the disk. What could not be written is never passed over: it is tried again, or counted and recorded as a
//! gap, as the configuration says.

mod chain;
mod file;
mod log;
mod record;
mod verify;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use record::{Decision, Entry, JudgementRecord, OutcomeRecord};
pub use verify::{Verified, verify};
pub(crate) use writer::{Audit, AuditWatch};

/// Why a log cannot be opened, written or verified.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A folder or file.
    #[error("the audit log: {0}")]
    Io(#[from] io::Error),
    /// SQLite.
    #[error("the audit log {}: {error}", file.display())]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        #[source]
        error: rusqlite::Error,
    },
    /// Another writer has it.
    #[error("the audit log in {} is open in another process\n  one gateway writes a log; give each a folder of its own", .0.display())]
    Locked(PathBuf),
    /// Not a file of an audit log, or one of a version that is not known.
    #[error("{} is not a file of an audit log that this version reads", .0.display())]
    Foreign(PathBuf),
    /// There is none.
    #[error("there is no audit log in {}\n  its files are named audit-000001.sqlite and so on", .0.display())]
    Missing(PathBuf),
    /// With a secret, or without.
    #[error("{}: the chain {}", file.display(), if *is_keyed { "is keyed: its secret is needed (`audit.key_env`)" } else { "is not keyed, but a secret is given" })]
    Keyed {
        /// The file.
        file: PathBuf,
        /// Whether it is keyed.
        is_keyed: bool,
    },
    /// The chain does not hold.
    #[error("{}: the chain is broken: {message}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// Where and how.
        message: String,
    },
}

impl AuditError {
    fn sqlite(file: &Path, error: rusqlite::Error) -> Self {
        Self::Sqlite { file: file.to_owned(), error }
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}
