//! The log as its one writer has it: the newest file, where the chain stands, what is kept.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::params;
use serde_json::json;

use super::chain::{Chain, Link};
use super::file::{self, Head, LogFile, Title};
use super::{AuditError, Entry};

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    pub(super) file_bytes: u64,
    pub(super) keep_files: Option<u32>,
}

pub(super) struct Log {
    folder: PathBuf,
    chain: Chain,
    keeping: Keeping,
    file: LogFile,
    head: Head,
    /// Held while the log is open: two writers would make two chains.
    _lock: File,
}

impl Log {
    /// Opens the log of a folder, or begins it.
    pub(super) fn open(folder: &Path, chain: Chain, keeping: Keeping) -> Result<Self, AuditError> {
        fs_err::create_dir_all(folder)?;
        let lock = File::create(folder.join("audit.lock")).map_err(AuditError::Io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::Locked(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(AuditError::Io(error)),
        }
        let file = if let Some(number) = file::numbers(folder)?.last() {
            LogFile::open(&folder.join(file::name(*number)))?
        } else {
            let title = Title { number: 1, previous: Head::GENESIS, is_keyed: chain.is_keyed() };
            LogFile::create(folder, &title, &super::now())?
        };
        if file.title.is_keyed != chain.is_keyed() {
            return Err(AuditError::Keyed { file: file.path, is_keyed: file.title.is_keyed });
        }
        let head = file.head(&chain)?;
        Ok(Self { folder: folder.to_owned(), chain, keeping, file, head, _lock: lock })
    }

    /// Writes records, all or none of them, and waits until they are on disk. Then begins a new file if this one is full.
    pub(super) fn commit(&mut self, entries: &[&Entry]) -> Result<(), AuditError> {
        self.insert(entries)?;
        if self.file.bytes() >= self.keeping.file_bytes {
            // What was written is safe; a new file can be begun with the next records too.
            if let Err(error) = self.rotate() {
                tracing::error!(target: "tiltmeter::guard", error = %error, "no new file of the audit log");
            }
        }
        Ok(())
    }

    fn insert(&mut self, entries: &[&Entry]) -> Result<(), AuditError> {
        let path = self.file.path.clone();
        let wrong = |error| AuditError::sqlite(&path, error);
        let mut head = self.head;
        let transaction = self.file.connection.unchecked_transaction().map_err(wrong)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
                .map_err(wrong)?;
            for entry in entries {
                let seq = head.seq + 1;
                let content_hash = entry.content.as_ref().map(|content| *blake3::hash(content).as_bytes());
                let link = Link {
                    seq,
                    at: &entry.at,
                    kind: entry.kind,
                    request: &entry.request,
                    payload: &entry.payload,
                    content_hash,
                };
                head = Head { seq, hash: self.chain.hash(&head.hash, &link) };
                insert
                    .execute(params![
                        i64::try_from(seq).unwrap_or(i64::MAX),
                        entry.at,
                        entry.kind,
                        entry.request,
                        entry.payload,
                        content_hash.as_ref().map(|hash| &hash[..]),
                        entry.content,
                        &head.hash[..],
                    ])
                    .map_err(wrong)?;
            }
        }
        transaction.commit().map_err(wrong)?;
        self.head = head;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), AuditError> {
        let title = Title {
            number: self.file.title.number + 1,
            previous: self.head,
            is_keyed: self.chain.is_keyed(),
        };
        let next = LogFile::create(&self.folder, &title, &super::now())?;
        let full = std::mem::replace(&mut self.file, next);
        // Closing empties its journal.
        drop(full);
        self.prune()
    }

    /// Deletes files that are not to be kept. Each deletion is recorded before it is done.
    fn prune(&mut self) -> Result<(), AuditError> {
        let Some(keep) = self.keeping.keep_files else { return Ok(()) };
        let numbers = file::numbers(&self.folder)?;
        let surplus = numbers.len().saturating_sub(keep as usize);
        for number in numbers.into_iter().take(surplus) {
            let path = self.folder.join(file::name(number));
            let last = LogFile::open(&path)?.head(&self.chain)?;
            let payload =
                json!({ "file": number, "last_seq": last.seq, "last_hash": hex(&last.hash) }).to_string();
            let entry = Entry::new("retention", file::name(number), payload);
            self.insert(&[&entry])?;
            for suffix in ["", "-wal", "-shm"] {
                let path = self.folder.join(format!("{}{suffix}", file::name(number)));
                if path.exists() {
                    fs_err::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        self.file.connection.pragma_update(None, "max_page_count", pages).unwrap();
    }
}

pub(super) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
