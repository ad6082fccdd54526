//! The detectors and checks that a configuration can name.

use std::sync::Arc;

use crate::inspection::Inspector;
use crate::output::{OutputCheck, PatternCheck};

/// Makes a detector of a kind.
///
/// # Errors
/// Where there is no such kind, or its settings are wrong; the text says which.
pub fn inspector(kind: &str, _settings: &toml::Table) -> Result<Arc<dyn Inspector>, String> {
    Err(format!("there is no kind of detector `{kind}`"))
}

/// Makes a check of answers of a kind.
///
/// # Errors
/// Where there is no such kind, or its settings are wrong; the text says which.
pub fn output_check(kind: &str, settings: &toml::Table) -> Result<Arc<dyn OutputCheck>, String> {
    match kind {
        "pattern" => Ok(Arc::new(PatternCheck::from_settings(settings)?)),
        _ => Err(format!("there is no kind of output check `{kind}`; known here: `pattern`")),
    }
}
