//! The detectors and checks that a configuration can name.

use std::path::Path;
use std::sync::Arc;

use crate::inspect::{ContextFile, RulesFile, Surroundings};
use crate::inspection::Inspector;
use crate::output::{OutputCheck, PatternCheck};

/// Makes a detector of a kind: `context`, with all that [`ContextFile`] can name, or `rules`, which is the same with the
/// built-in rules alone. Paths in its settings are relative to `folder`.
///
/// # Errors
/// Where there is no such kind, or its settings are wrong; the text says which.
pub fn inspector(folder: &Path, kind: &str, settings: &toml::Table) -> Result<Arc<dyn Inspector>, String> {
    let file = match kind {
        "context" => ContextFile::read(settings),
        "rules" if settings.is_empty() => {
            Ok(ContextFile { rules: RulesFile::BuiltIn(true), ..ContextFile::default() })
        }
        "rules" => {
            return Err("the detector `rules` has no settings: write `context` to change any".to_owned());
        }
        _ => return Err(format!("there is no kind of detector `{kind}`; known here: `context`, `rules`")),
    };
    let surroundings = Surroundings { folder, environment: &|name| std::env::var(name).ok(), progress: &() };
    let opened = file.and_then(|file| file.open_blocking(&surroundings));
    opened.map(|inspector| Arc::new(inspector) as Arc<dyn Inspector>).map_err(|error| error.to_string())
}

/// Makes a check of answers of a kind. The kind `judge` is none of them: the configuration itself makes it of its judges.
///
/// # Errors
/// Where there is no such kind, or its settings are wrong; the text says which.
pub fn output_check(kind: &str, settings: &toml::Table) -> Result<Arc<dyn OutputCheck>, String> {
    match kind {
        "pattern" => Ok(Arc::new(PatternCheck::from_settings(settings)?)),
        _ => Err(format!("there is no kind of output check `{kind}`; known here: `judge`, `pattern`")),
    }
}
