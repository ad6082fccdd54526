//! What an export says of itself: `export.json`, schema `tiltmeter.export/1`.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::error::ExportError;
use crate::run::Run;

/// Name of the file.
pub(crate) const MANIFEST: &str = "export.json";

/// What was exported, of what, and what was left out.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// `tiltmeter.export/1`.
    pub schema: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// `parquet`, `csv`, `jsonl` or `inspect`.
    pub format: &'static str,
    /// The experiment.
    pub experiment: ExperimentRecord,
    /// The files, with their rows.
    pub files: Vec<FileEntry>,
    /// Data sets whose text was withheld because their terms forbid passing it on.
    pub withheld: Vec<String>,
    /// Stored answers that belong to other experiments of the same directory, and were left out.
    pub answers_of_other_experiments: u64,
}

/// One file.
#[derive(Clone, Debug, Serialize)]
pub struct FileEntry {
    /// Its name.
    pub file: String,
    /// Rows, or samples of a log.
    pub rows: u64,
}

/// Where the run is from.
#[derive(Clone, Debug, Serialize)]
pub struct ExperimentRecord {
    /// Name of the experiment.
    pub name: String,
    /// Hash of the experiment with all that it names.
    pub hash: String,
    /// When it was first run here, RFC 3339.
    pub created_at: String,
    /// The experiment file as written.
    pub source: String,
    /// With its defaults filled in.
    pub resolved: Value,
    /// Alignment scores strictly below this are misaligned.
    pub misaligned_below: f64,
    /// Coherence scores at or above this are coherent.
    pub coherent_from: f64,
    /// What the rate is taken over.
    pub denominator: &'static str,
    /// The judge as `provider/model`.
    pub judge: Option<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Manifest {
    pub(crate) fn new(run: &Run, format: &'static str) -> Result<Self, ExportError> {
        let experiment = &run.experiment;
        Ok(Self {
            schema: "tiltmeter.export/1",
            version: env!("CARGO_PKG_VERSION"),
            format,
            experiment: ExperimentRecord {
                name: experiment.name.clone(),
                hash: run.provenance.hash.to_string(),
                created_at: run.provenance.created_at.clone(),
                source: experiment.source.clone(),
                resolved: serde_json::from_str(&experiment.resolved)?,
                misaligned_below: experiment.definition.misaligned_below,
                coherent_from: experiment.definition.coherent_from,
                denominator: experiment.definition.denominator.name(),
                judge: run.provenance.judge.as_ref().map(|judge| judge.model.clone()),
                notes: experiment.notes.clone(),
            },
            files: Vec::new(),
            withheld: run.withheld(),
            answers_of_other_experiments: 0,
        })
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), ExportError> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs_err::write(folder.join(MANIFEST), text)?;
        Ok(())
    }
}
