//! Walks the chain of a log, across its files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use super::AuditError;
use super::chain::Chain;
use super::file::{self, Head, LogFile};
use super::log::hex;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Files that were read.
    pub files: usize,
    /// Records in them.
    pub records: u64,
    /// The number of the first record that is left.
    pub first: u64,
    /// Older files that were deleted, as the log itself records.
    pub removed_files: u32,
    /// Records that the log says were lost (`audit.on_failure = "count"`).
    pub lost: u64,
    /// Requests whose answers were to be judged and have no record of it, by id: the gateway was killed before it came to
    /// them, or it is still at them.
    pub unjudged: Vec<String>,
    /// The number of the last record.
    pub last: u64,
    /// Its hash. Kept elsewhere, it shows later whether the end of the log was cut off.
    pub head: String,
}

/// Verifies a log.
///
/// `path` is the log's folder, or its newest file, whose folder is read then. `secret` is the secret of a keyed chain. Where `known`
/// is given, a record with this hash must be in the log.
///
/// # Errors
/// [`AuditError::Broken`] says where the chain breaks.
pub fn verify(
    path: &Path,
    secret: Option<&SecretString>,
    known: Option<&str>,
) -> Result<Verified, AuditError> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
    let numbers = file::numbers(folder)?;
    let Some(first) = numbers.first().copied() else { return Err(AuditError::Missing(folder.to_owned())) };
    let mut walk = Walk {
        chain: Chain::new(secret),
        head: Head::GENESIS,
        wanted: known.map(str::to_ascii_lowercase),
        removed: None,
        unjudged: BTreeSet::new(),
        found: Verified {
            files: 0,
            records: 0,
            first: 0,
            removed_files: first.saturating_sub(1),
            lost: 0,
            unjudged: Vec::new(),
            last: 0,
            head: String::new(),
        },
    };
    for (index, number) in numbers.iter().enumerate() {
        let path = folder.join(file::name(*number));
        let expected = first + u32::try_from(index).unwrap_or(u32::MAX);
        if *number != expected {
            return Err(broken(&path, format!("{} is missing", file::name(expected))));
        }
        walk.file(&path, *number, *number == first)?;
    }
    let last = folder.join(file::name(first + u32::try_from(numbers.len() - 1).unwrap_or(u32::MAX)));
    if let Some((removed, _)) = walk.removed {
        let message = format!("{} is missing, and no record says that it was removed", file::name(removed));
        return Err(broken(&folder.join(file::name(first)), message));
    }
    if let Some(wanted) = walk.wanted {
        return Err(broken(
            &last,
            format!("no record has the hash {wanted}: the end of the log was cut off"),
        ));
    }
    walk.found.unjudged = walk.unjudged.into_iter().collect();
    walk.found.last = walk.head.seq;
    walk.found.head = hex(&walk.head.hash);
    Ok(walk.found)
}

struct Walk {
    chain: Chain,
    head: Head,
    /// A hash that must be met.
    wanted: Option<String>,
    /// A file that is not there, and its last hash: a record must say that it was removed.
    removed: Option<(u32, String)>,
    /// Requests whose answers are to be judged, and that no record of it was met of yet.
    unjudged: BTreeSet<String>,
    found: Verified,
}

impl Walk {
    fn file(&mut self, path: &Path, number: u32, is_first: bool) -> Result<(), AuditError> {
        let file = LogFile::open_to_read(path)?;
        if file.title.is_keyed != self.chain.is_keyed() {
            return Err(AuditError::Keyed { file: path.to_owned(), is_keyed: file.title.is_keyed });
        }
        if file.title.number != number {
            return Err(broken(path, format!("the file calls itself {}", file::name(file.title.number))));
        }
        if is_first && number > 1 {
            self.head = file.title.previous;
            self.removed = Some((number - 1, hex(&file.title.previous.hash)));
        } else if file.title.previous != self.head {
            return Err(broken(
                path,
                format!("it does not follow record {} of the file before", self.head.seq),
            ));
        }
        if is_first {
            self.found.first = self.head.seq + 1;
        }
        self.found.files += 1;
        loop {
            let rows = file.rows_from(Some(self.head.seq))?;
            if rows.is_empty() {
                return nothing_before(&file, path);
            }
            for row in rows {
                self.head = row.check(&self.chain, self.head).map_err(|message| broken(path, message))?;
                self.found.records += 1;
                let hash = hex(&self.head.hash);
                self.wanted.take_if(|wanted| *wanted == hash);
                self.note(&row.kind, &row.request, &row.payload);
            }
        }
    }

    fn note(&mut self, kind: &str, request: &str, payload: &str) {
        let Ok(payload) = serde_json::from_str::<Value>(payload) else { return };
        match kind {
            "retention" => {
                self.removed.take_if(|(number, hash)| {
                    payload["file"] == *number && payload["last_hash"] == hash.as_str()
                });
            }
            "decision" => {
                let is_chosen = matches!(payload["judging"].as_str(), Some("drawn" | "for-risk"));
                if is_chosen && payload["refusal"].is_null() {
                    self.unjudged.insert(request.to_owned());
                }
            }
            // Where the model's server gave no good answer, there is nothing to be judged.
            "outcome" if !matches!(payload["status"].as_u64(), Some(200..=299)) => {
                self.unjudged.remove(request);
            }
            "judgement" if payload["chosen"] != "held-back" => {
                self.unjudged.remove(request);
            }
            "gap" => self.found.lost += payload["lost"].as_u64().unwrap_or(0),
            _ => {}
        }
    }
}

/// Records with numbers that belong to files before would not be met otherwise.
fn nothing_before(file: &LogFile, path: &Path) -> Result<(), AuditError> {
    let start = i64::try_from(file.title.previous.seq).unwrap_or(i64::MAX);
    let strays: i64 = file
        .connection
        .query_row("SELECT count(*) FROM record WHERE seq <= ?1", [start], |row| row.get(0))
        .map_err(|error| AuditError::sqlite(path, error))?;
    if strays == 0 { Ok(()) } else { Err(broken(path, format!("{strays} records do not belong into it"))) }
}

fn broken(path: &Path, message: String) -> AuditError {
    AuditError::Broken { file: PathBuf::from(path), message }
}
