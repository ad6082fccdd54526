//! The `[audit]` table.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether an answer waits for its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditWhen {
    /// The record of the decision is on disk before the answer begins.
    BeforeAnswer,
    /// Records follow as fast as the disk takes them.
    #[default]
    Behind,
}

/// What happens where the audit log cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditFailure {
    /// Requests are refused until it can be written again.
    #[default]
    Refuse,
    /// Requests go on; what was lost is counted, told, and recorded as a gap once the log can be written again.
    Count,
}

/// The audit log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditFile {
    /// The folder of its files; relative to the configuration file.
    pub folder: String,
    /// Whether an answer waits for its record.
    #[serde(default)]
    pub when: AuditWhen,
    /// What happens where it cannot be written.
    #[serde(default)]
    pub on_failure: AuditFailure,
    /// Records that may wait to be written.
    #[serde(default = "queue")]
    pub queue: usize,
    /// Bytes after which a new file is begun.
    #[serde(default = "file_bytes")]
    pub file_bytes: u64,
    /// Files that are kept; older ones are deleted, which is recorded. All are kept without it.
    pub keep_files: Option<u32>,
    /// The environment variable with a secret that the chain is keyed with, so that nobody without it can make another.
    pub key_env: Option<String>,
    /// Whether requests' bodies are kept too. Without it, the log holds hashes and figures only.
    #[serde(default)]
    pub content: bool,
    /// Patterns (regular expressions) whose matches are blotted out of bodies that are kept.
    #[serde(default)]
    pub redact: Vec<String>,
}

fn queue() -> usize {
    4096
}
fn file_bytes() -> u64 {
    256 << 20
}
