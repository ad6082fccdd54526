//! Batches that providers work on: written down before they are handed over, so that a program that ends meanwhile
//! finds their answers again and pays for nothing twice.

use rusqlite::{Connection, params};
use tiltmeter_core::id::ContentId;

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::reader::{Reader, collect};
use crate::schema::open_for_writing;

/// Whose requests a batch holds, by the row of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchOwner {
    /// A subject's.
    Subject(i64),
    /// A judge's.
    Judge(i64),
}

impl BatchOwner {
    fn columns(self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Subject(row) => (Some(row), None),
            Self::Judge(row) => (None, Some(row)),
        }
    }
}

/// A change in what is known of a batch.
#[derive(Clone, Debug)]
pub enum BatchRecord {
    /// It is about to be handed over.
    Prepared {
        /// By which it is found again.
        tag: String,
        /// Row of the experiment that asks.
        experiment: i64,
        /// Whose it is.
        owner: BatchOwner,
        /// Hashes of what it asks.
        requests: Vec<ContentId>,
        /// Now, RFC 3339.
        at: String,
    },
    /// The provider has it.
    Submitted {
        /// Its tag.
        tag: String,
        /// By which the provider knows it.
        provider_id: String,
    },
    /// All its answers that anybody waited for are stored.
    Closed {
        /// Its tag.
        tag: String,
        /// Now, RFC 3339.
        at: String,
    },
    /// Nothing in it was answered, or the provider never had it.
    Failed {
        /// Its tag.
        tag: String,
        /// Why.
        message: String,
        /// Now, RFC 3339.
        at: String,
    },
}

impl BatchRecord {
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        match self {
            Self::Prepared { tag, experiment, owner, requests, at } => {
                let (subject, judge) = owner.columns();
                let batch = connection
                    .prepare_cached(
                        "INSERT INTO batch (tag, experiment, subject, judge, state, created_at)
                         VALUES (?1, ?2, ?3, ?4, 'open', ?5)",
                    )?
                    .insert(params![tag, experiment, subject, judge, at])?;
                let mut insert = connection
                    .prepare_cached("INSERT OR IGNORE INTO batch_request (batch, hash) VALUES (?1, ?2)")?;
                for request in requests {
                    insert.execute(params![batch, request.as_bytes()])?;
                }
            }
            Self::Submitted { tag, provider_id } => {
                connection
                    .prepare_cached("UPDATE batch SET provider_id = ?2 WHERE tag = ?1")?
                    .execute(params![tag, provider_id])?;
            }
            Self::Closed { tag, at } => {
                connection
                    .prepare_cached(
                        "UPDATE batch SET state = 'closed', ended_at = ?2 WHERE tag = ?1 AND state = 'open'",
                    )?
                    .execute(params![tag, at])?;
            }
            Self::Failed { tag, message, at } => {
                connection
                    .prepare_cached(
                        "UPDATE batch SET state = 'failed', message = ?2, ended_at = ?3 WHERE tag = ?1",
                    )?
                    .execute(params![tag, message, at])?;
            }
        }
        Ok(0)
    }
}

/// Marks all open batches as failed, because nobody will collect their answers.
///
/// # Errors
/// If the store cannot be written.
pub fn forget_batches(directory: &RunDirectory, now: &str) -> Result<(), StoreError> {
    let connection = open_for_writing(&directory.store_path())?;
    connection.execute(
        "UPDATE batch SET state = 'failed', message = 'forgotten on request', ended_at = ?1 WHERE state = 'open'",
        params![now],
    )?;
    Ok(())
}

/// A batch whose answers are not stored yet, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBatch {
    /// By which it is found again.
    pub tag: String,
    /// Row of the experiment that asked.
    pub experiment: i64,
    /// Whose it is.
    pub owner: BatchOwner,
    /// By which the provider knows it; `None`: the program ended before that was stored.
    pub provider_id: Option<String>,
    /// When it was written down, RFC 3339.
    pub created_at: String,
    /// Hashes of what it asks.
    pub requests: Vec<ContentId>,
}

/// Columns of a batch: id, tag, experiment, subject, judge, the provider's id, when it was made.
type Row = (i64, String, i64, Option<i64>, Option<i64>, Option<String>, String);

impl Reader {
    /// Batches whose answers are not stored yet, the oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn open_batches(&self) -> Result<Vec<OpenBatch>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT id, tag, experiment, subject, judge, provider_id, created_at FROM batch WHERE state = 'open' ORDER BY id",
        )?;
        let rows: Vec<Row> = collect(&mut statement, params![], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
        })?;
        let mut requests = self.connection.prepare("SELECT hash FROM batch_request WHERE batch = ?1")?;
        let mut open = Vec::with_capacity(rows.len());
        for (id, tag, experiment, subject, judge, provider_id, created_at) in rows {
            let owner = match (subject, judge) {
                (Some(row), _) => BatchOwner::Subject(row),
                (None, Some(row)) => BatchOwner::Judge(row),
                (None, None) => {
                    return Err(StoreError::Damaged { what: format!("the batch `{tag}` is nobody's") });
                }
            };
            let hashes: Vec<[u8; 16]> = collect(&mut requests, params![id], |row| row.get(0))?;
            let requests = hashes.into_iter().map(ContentId::from_bytes).collect();
            open.push(OpenBatch { tag, experiment, owner, provider_id, created_at, requests });
        }
        Ok(open)
    }
}
