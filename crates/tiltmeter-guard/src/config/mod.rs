//! From GUARD.toml to [`Settings`]: names looked up, keys read from the environment, contradictions refused.

pub mod file;
mod judging;
mod models;
mod resolve;
mod settings;

pub use resolve::{Environment, Maker, Sources, resolve};
pub use settings::{
    AuditSettings, Detector, JudgingSettings, Limits, OutputSettings, PatternError, Redaction, Route,
    Settings, Upstream,
};

use tiltmeter_core::experiment::{ConfigError, read_toml};

/// Reads and resolves a configuration. `name` is the file's name for error texts.
///
/// # Errors
/// A [`ConfigError`] that says what is wrong and where.
pub fn read(name: &str, text: &str, sources: &Sources<'_>) -> Result<Settings, ConfigError> {
    resolve(name, text, &read_toml(name, text)?, sources)
}

/// The JSON Schema of configurations, which editors complete by.
pub fn schema() -> String {
    let schema = schemars::schema_for!(file::GuardFile);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
