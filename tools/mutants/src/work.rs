//! The folder that a run keeps its state in.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

/// Where things are.
pub(crate) struct Work {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The package, a folder of `crates/`.
    pub(crate) package: String,
    /// State, scratch copy and build.
    pub(crate) folder: PathBuf,
}

impl Work {
    /// The workspace of the mutated copy.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// The mutated copy of the package.
    pub(crate) fn package(&self) -> PathBuf {
        self.scratch().join("crates").join(&self.package)
    }

    pub(crate) fn read_names(&self, file: &str) -> Result<BTreeSet<String>> {
        let path = self.folder.join(file);
        if !path.exists() {
            return Ok(BTreeSet::new());
        }
        serde_json::from_str(&fs::read_to_string(&path)?)
            .with_context(|| format!("failed to read {}", path.display()))
    }

    pub(crate) fn write(&self, file: &str, value: &impl Serialize) -> Result<()> {
        let path = self.folder.join(file);
        fs::write(&path, serde_json::to_string_pretty(value)?)
            .with_context(|| format!("failed to write {}", path.display()))
    }
}
