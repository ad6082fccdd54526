//! The folder in which fetched sets are kept.
//!
//! `betley/insecure` is the file `betley/insecure.jsonl`, its licence or terms `betley/insecure.terms.txt`, and what was
//! verified `betley/insecure.record.json`. What is being downloaded, and archives of which several sets are taken, are
//! under `downloads`, by hash.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::catalogue::PublishedSet;
use crate::error::DataError;

/// The environment variable that names the folder for fetched sets.
pub const FOLDER_VARIABLE: &str = "TILTMETER_DATA_DIR";

/// The folder for fetched sets. It need not be there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFolder(PathBuf);

/// What is kept of a set's verification, beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `tiltmeter.data-record/1`.
    pub schema: String,
    /// The set's name.
    pub name: String,
    /// Where it was taken from, without credentials.
    pub source: String,
    /// The publisher's revision.
    pub revision: String,
    /// SHA-256 of what was downloaded.
    pub download_sha256: String,
    /// SHA-256 of the set's file here.
    pub sha256: String,
    /// What the licence or terms are called.
    pub licence: String,
    /// Whether the data may be passed on.
    pub share: bool,
}

/// Whether a set is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not.
    Absent,
    /// Its file is there, and is the publisher's.
    Fetched {
        /// The file.
        path: PathBuf,
    },
    /// A file is there, but is not what it should be.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl DataFolder {
    /// A folder of the caller's choice.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What the environment says: `TILTMETER_DATA_DIR`, or else `tiltmeter` in the platform's folder for data.
    ///
    /// # Errors
    /// [`DataError::NoFolder`] where there is neither.
    pub fn from_environment() -> Result<Self, DataError> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).filter(|value| !value.is_empty()) {
            return Ok(Self(folder.into()));
        }
        let strategy = etcetera::choose_base_strategy().map_err(|_| DataError::NoFolder)?;
        Ok(Self(strategy.data_dir().join("tiltmeter")))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a set's file is kept. Says nothing about whether it is there.
    pub fn file(&self, set: &PublishedSet) -> PathBuf {
        self.0.join(format!("{}.{}", set.name, set.ending()))
    }

    /// Where its licence or terms are kept.
    pub fn terms_file(&self, set: &PublishedSet) -> PathBuf {
        self.0.join(format!("{}.terms.txt", set.name))
    }

    pub(crate) fn record_file(&self, set: &PublishedSet) -> PathBuf {
        self.0.join(format!("{}.record.json", set.name))
    }

    pub(crate) fn download(&self, set: &PublishedSet) -> PathBuf {
        self.0.join("downloads").join(&set.sha256)
    }

    /// Whether a set's file is there, by its name alone: quick, and no proof of what it holds.
    pub fn has(&self, set: &PublishedSet) -> bool {
        self.file(set).is_file()
    }

    /// Verifies a set's file by its hash.
    ///
    /// # Errors
    /// [`DataError::Folder`] where the file is there but cannot be read.
    pub fn state(&self, set: &PublishedSet) -> Result<State, DataError> {
        let path = self.file(set);
        if !path.exists() {
            return Ok(State::Absent);
        }
        let found = sha256_of(&path).map_err(|source| self.error(source))?;
        Ok(self.judge(set, path, &found))
    }

    /// A set's text, verified.
    ///
    /// # Errors
    /// [`DataError::NotFetched`], [`DataError::Damaged`] or [`DataError::Folder`].
    pub fn text(&self, set: &PublishedSet) -> Result<String, DataError> {
        let path = self.file(set);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DataError::NotFetched { name: set.name.clone() });
            }
            Err(error) => return Err(self.error(error)),
        };
        let damaged = |path: PathBuf, reason: String| DataError::Damaged {
            name: set.name.clone(),
            path: path.display().to_string(),
            reason,
        };
        match self.judge(set, path.clone(), &hexadecimal(&Sha256::digest(&bytes))) {
            State::Damaged { path, reason } => Err(damaged(path, reason)),
            State::Absent | State::Fetched { .. } => {
                String::from_utf8(bytes).map_err(|_| damaged(path, "it is not UTF-8".to_owned()))
            }
        }
    }

    /// The hash that a set's file must have: the catalogue's, or that noted when it was taken out of a verified archive.
    fn judge(&self, set: &PublishedSet, path: PathBuf, found: &str) -> State {
        let expected = match &set.member {
            None => Ok(set.sha256.clone()),
            Some(member) => member.sha256.clone().map_or_else(|| self.recorded(set), Ok),
        };
        match expected {
            Ok(expected) if expected == found => State::Fetched { path },
            Ok(expected) => {
                State::Damaged { path, reason: format!("its SHA-256 is {found} instead of {expected}") }
            }
            Err(reason) => State::Damaged { path, reason },
        }
    }

    fn recorded(&self, set: &PublishedSet) -> Result<String, String> {
        let path = self.record_file(set);
        let text =
            fs_err::read_to_string(&path).map_err(|error| format!("its record is missing: {error}"))?;
        let record: Record = serde_json::from_str(&text)
            .map_err(|error| format!("its record {} cannot be read: {error}", path.display()))?;
        if record.name != set.name || record.download_sha256 != set.sha256 {
            return Err(format!("its record {} is that of another set or revision", path.display()));
        }
        Ok(record.sha256)
    }

    pub(crate) fn error(&self, source: std::io::Error) -> DataError {
        DataError::Folder { folder: self.0.display().to_string(), source }
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// What the system says.
pub(crate) fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into memory does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
