//! The JSON Schema of experiment files.

use super::file::ExperimentFile;

/// The schema as pretty-printed JSON with a final newline, as it is committed in `schema/`.
pub fn experiment_schema() -> String {
    let schema = schemars::schema_for!(ExperimentFile);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
