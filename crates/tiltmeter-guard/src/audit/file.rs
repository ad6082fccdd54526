//! One file of the log: SQLite, opened to be added to or to be read.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::AuditError;
use super::chain::{Chain, GENESIS, Link};

/// Tells SQLite's tools, and this program, whose file it is: `TlGd`.
const APPLICATION_ID: i32 = 0x546c_4764;
const VERSION: i32 = 1;

const SCHEMA: &str = "
CREATE TABLE file (
    number INTEGER PRIMARY KEY,
    began TEXT NOT NULL,
    -- Hash and number of the last record of the file before; zeros and 0 in the first.
    previous BLOB NOT NULL,
    previous_seq INTEGER NOT NULL,
    is_keyed INTEGER NOT NULL
) STRICT;
CREATE TABLE record (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    payload TEXT NOT NULL,
    content_hash BLOB,
    content BLOB,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX record_request ON record (request);
";

/// Where the chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
}

impl Head {
    pub(super) const GENESIS: Self = Self { seq: 0, hash: GENESIS };
}

/// The first row of a file.
#[derive(Clone, Debug)]
pub(super) struct Title {
    pub(super) number: u32,
    pub(super) previous: Head,
    pub(super) is_keyed: bool,
}

/// A record as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) kind: String,
    pub(super) request: String,
    pub(super) payload: String,
    pub(super) content_hash: Option<Vec<u8>>,
    pub(super) content: Option<Vec<u8>>,
    pub(super) hash: Vec<u8>,
}

impl Row {
    /// Whether the record follows `head` as it claims, and where the chain stands then.
    pub(super) fn check(&self, chain: &Chain, head: Head) -> Result<Head, String> {
        if self.seq != head.seq + 1 {
            return Err(format!("record {} follows record {}", self.seq, head.seq));
        }
        let content_hash = match &self.content_hash {
            Some(hash) => {
                Some(<[u8; 32]>::try_from(&hash[..]).map_err(|_| "a content's hash has another length")?)
            }
            None => None,
        };
        if let Some(content) = &self.content
            && content_hash != Some(*blake3::hash(content).as_bytes())
        {
            return Err(format!("the content of record {} was changed", self.seq));
        }
        let link = Link {
            seq: self.seq,
            at: &self.at,
            kind: &self.kind,
            request: &self.request,
            payload: &self.payload,
            content_hash,
        };
        let hash = chain.hash(&head.hash, &link);
        if self.hash == hash {
            Ok(Head { seq: self.seq, hash })
        } else {
            Err(format!("record {} was changed, or one before it", self.seq))
        }
    }
}

/// A file of the log.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) title: Title,
}

/// The name of a file by its number.
pub(super) fn name(number: u32) -> String {
    format!("audit-{number:06}.sqlite")
}

/// The number of a file by its name.
pub(super) fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("audit-")?.strip_suffix(".sqlite")?.parse().ok()
}

/// The numbers of all files in a folder, in order.
pub(super) fn numbers(folder: &Path) -> Result<Vec<u32>, AuditError> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        numbers.extend(number(&entry?.path()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl LogFile {
    /// Begins a file.
    pub(super) fn create(folder: &Path, title: &Title, began: &str) -> Result<Self, AuditError> {
        let path = folder.join(name(title.number));
        // All of it or nothing: a file without its title would be in the way for ever.
        let unfinished = folder.join(format!("{}.new", name(title.number)));
        if unfinished.exists() {
            fs_err::remove_file(&unfinished)?;
        }
        {
            let connection =
                Connection::open(&unfinished).map_err(|error| AuditError::sqlite(&path, error))?;
            let fill = || {
                connection.pragma_update(None, "application_id", APPLICATION_ID)?;
                connection.pragma_update(None, "user_version", VERSION)?;
                connection.execute_batch(SCHEMA)?;
                connection.execute(
                    "INSERT INTO file VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        title.number,
                        began,
                        &title.previous.hash[..],
                        i64::try_from(title.previous.seq).unwrap_or(i64::MAX),
                        title.is_keyed
                    ],
                )
            };
            fill().map_err(|error| AuditError::sqlite(&path, error))?;
        }
        fs_err::rename(&unfinished, &path)?;
        Self::open(&path)
    }

    /// Opens a file to add to it.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let file = Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let prepare = || {
            file.connection.pragma_update(None, "journal_mode", "WAL")?;
            // A commit is on the disk when it is done, not only with the system.
            file.connection.pragma_update(None, "synchronous", "FULL")
        };
        prepare().map_err(|error| AuditError::sqlite(path, error))?;
        Ok(file)
    }

    /// Opens a file to read it. A writer may go on meanwhile.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, AuditError> {
        // What a process that was killed left in its journal belongs to the file, and reading it takes writing.
        Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
    }

    fn open_with(path: &Path, flags: OpenFlags) -> Result<Self, AuditError> {
        let wrong = |error| AuditError::sqlite(path, error);
        let connection =
            Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(wrong)?;
        let application: i32 =
            connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(wrong)?;
        let version: i32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(wrong)?;
        if application != APPLICATION_ID || version != VERSION {
            return Err(AuditError::Foreign(path.to_owned()));
        }
        let title = connection
            .query_row("SELECT number, previous, previous_seq, is_keyed FROM file", [], |row| {
                Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
            })
            .map_err(wrong)?;
        let (number, previous, previous_seq, is_keyed) = title;
        let hash = previous.try_into().map_err(|_| AuditError::Foreign(path.to_owned()))?;
        let seq = u64::try_from(previous_seq).map_err(|_| AuditError::Foreign(path.to_owned()))?;
        let title = Title { number, previous: Head { seq, hash }, is_keyed };
        Ok(Self { path: path.to_owned(), connection, title })
    }

    /// The last record, checked against the one before it.
    pub(super) fn head(&self, chain: &Chain) -> Result<Head, AuditError> {
        let mut last = self.rows_from(None)?;
        let Some(row) = last.pop() else { return Ok(self.title.previous) };
        let before = match last.pop() {
            Some(before) => Head {
                seq: before.seq,
                hash: before.hash.try_into().map_err(|_| AuditError::Foreign(self.path.clone()))?,
            },
            None => self.title.previous,
        };
        row.check(chain, before).map_err(|message| AuditError::Broken { file: self.path.clone(), message })
    }

    /// The last two rows, or up to a thousand that follow a number, in order.
    pub(super) fn rows_from(&self, after: Option<u64>) -> Result<Vec<Row>, AuditError> {
        let columns = "SELECT seq, at, kind, request, payload, content_hash, content, hash FROM record";
        let (query, after) = match after {
            Some(after) => (
                format!("{columns} WHERE seq > ?1 ORDER BY seq LIMIT 1000"),
                i64::try_from(after).unwrap_or(i64::MAX),
            ),
            None => (
                format!("SELECT * FROM ({columns} WHERE seq > ?1 ORDER BY seq DESC LIMIT 2) ORDER BY seq"),
                -1,
            ),
        };
        let read = || {
            let mut statement = self.connection.prepare_cached(&query)?;
            let rows = statement.query_map([after], |row| {
                Ok(Row {
                    seq: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                    at: row.get(1)?,
                    kind: row.get(2)?,
                    request: row.get(3)?,
                    payload: row.get(4)?,
                    content_hash: row.get(5)?,
                    content: row.get(6)?,
                    hash: row.get(7)?,
                })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(|error| AuditError::sqlite(&self.path, error))
    }

    /// Bytes of the file, its journal included.
    pub(super) fn bytes(&self) -> u64 {
        let journal = self.path.with_extension("sqlite-wal");
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        size(&self.path) + size(&journal)
    }

    #[cfg(test)]
    pub(super) fn find(&self, kind: &str, request: &str) -> Result<Option<String>, AuditError> {
        use rusqlite::OptionalExtension as _;
        self.connection
            .query_row(
                "SELECT payload FROM record WHERE kind = ?1 AND request = ?2",
                [kind, request],
                |row| row.get(0),
            )
            .optional()
            .map_err(|error| AuditError::sqlite(&self.path, error))
    }
}
