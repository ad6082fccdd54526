//! The folder of an export: it appears whole or not at all.

use std::path::{Path, PathBuf};

use crate::error::ExportError;
use crate::manifest::MANIFEST;

/// What becomes of an earlier export at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and there is no new one.
    Kept,
    /// It is replaced once the new one is complete. Anything else than an export stays all the same.
    Replaced,
}

/// A folder that is being filled under another name. Unless it is put in its place, it is removed.
pub(crate) struct Target {
    path: PathBuf,
    partial: PathBuf,
    is_placed: bool,
}

impl Target {
    pub(crate) fn start(path: &Path, existing: Existing) -> Result<Self, ExportError> {
        let Some(name) = path.file_name() else {
            return Err(ExportError::NoName { path: path.to_owned() });
        };
        if fs_err::symlink_metadata(path).is_ok() {
            if existing == Existing::Kept {
                return Err(ExportError::Exists { path: path.to_owned() });
            }
            if !is_export(path) {
                return Err(ExportError::Foreign { path: path.to_owned() });
            }
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs_err::create_dir_all(parent)?;
        }
        let mut partial = std::ffi::OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(partial);
        fs_err::create_dir(&partial)?;
        Ok(Self { path: path.to_owned(), partial, is_placed: false })
    }

    /// Where files are written.
    pub(crate) fn folder(&self) -> &Path {
        &self.partial
    }

    /// Puts the folder in its place.
    pub(crate) fn place(mut self) -> Result<(), ExportError> {
        if self.path.exists() {
            let old = self.partial.with_extension("old");
            fs_err::rename(&self.path, &old)?;
            fs_err::rename(&self.partial, &self.path)?;
            self.is_placed = true;
            fs_err::remove_dir_all(&old)?;
        } else {
            fs_err::rename(&self.partial, &self.path)?;
            self.is_placed = true;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_placed {
            // It holds nothing that was promised to anybody.
            let _ = std::fs::remove_dir_all(&self.partial);
        }
    }
}

/// A folder of files alone, one of which is an export's manifest.
fn is_export(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    let is_file = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.and_then(|entry| entry.file_type()).is_ok_and(|kind| kind.is_file())
    };
    std::fs::symlink_metadata(path).is_ok_and(|data| data.is_dir())
        && path.join(MANIFEST).is_file()
        && entries.into_iter().all(is_file)
}
