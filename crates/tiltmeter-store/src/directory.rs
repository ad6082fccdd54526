//! The run directory and its lock.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// A run directory that this process alone works on. The lock ends with the process, however it ends.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

impl RunDirectory {
    /// Opens a run directory for writing; makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it; the file system's error otherwise.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        fs_err::create_dir_all(path)?;
        let lock_path = path.join("run.lock");
        let lock = fs_err::OpenOptions::new().create(true).write(true).truncate(false).open(lock_path)?;
        let (lock, _) = lock.into_parts();
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file in it.
    pub fn store_path(&self) -> PathBuf {
        store_path(&self.path)
    }
}

/// Where the SQLite file of a run directory is.
pub(crate) fn store_path(directory: &Path) -> PathBuf {
    directory.join("run.sqlite")
}
