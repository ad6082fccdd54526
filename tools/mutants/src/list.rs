//! The list of mutants, as `cargo mutants --list --json` gives it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// A place in a file: line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Place,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Function {
    pub(crate) function_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
    /// A kind that this tool does not know: reported as not built.
    #[serde(other)]
    Other,
}

/// One mutant of the list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mutant {
    /// File, line, column and what is changed: what identifies the mutant as long as its file is not edited.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) function: Option<Function>,
    pub(crate) span: Span,
    pub(crate) genre: Genre,
    pub(crate) replacement: String,
}

/// Asks cargo-mutants for all mutants of a package.
pub(crate) fn list(root: &Path, package: &str) -> Result<Vec<Mutant>> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "-p", package])
        .current_dir(root)
        .output()
        .context("failed to run `cargo mutants`: is cargo-mutants installed?")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("failed to read the list of cargo-mutants")
}
