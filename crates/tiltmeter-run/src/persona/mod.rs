//! Projects the prompts and answers of a run onto a persona vector, and says what the projections go along with.
//!
//! [`gather`] shows the model its prompts and stored answers again; [`summary`] computes. Nothing is generated, and no
//! model is asked but the local one whose vector it is.

mod correlations;
mod detection;
mod gather;
mod labels;
mod results;
mod summary;

use std::collections::BTreeMap;
use std::path::Path;

use tiltmeter_core::id::ContentId;
use tiltmeter_local::LocalModel;
use tiltmeter_models::ModelError;
use tiltmeter_persona::{PersonaVector, VectorError};
use tiltmeter_store::{Reader, StoreError};

pub use labels::{LabelsError, read_labels, trace_labels};
pub use results::{
    ConditionProjection, ContrastResult, CorrelationResult, DetectionResult, MeanResult, ProjectionRow,
    ProjectionSummary, Projections, RecallResult,
};

use crate::analysis::AnalysisError;

/// How projections are made.
#[derive(Clone, Debug)]
pub struct ProjectSettings {
    /// Index of the residual stream; `None`: the one that the vector file chose.
    pub layer: Option<usize>,
    /// Random directions to compare with.
    pub random_directions: u32,
    /// Seed of the random directions and of resampling.
    pub seed: u64,
    /// The texts between which the model reasons, where it does so within its answers.
    pub reasoning_marks: Option<[String; 2]>,
    /// Labels of samples, such as "adopts a persona", by the sample's id; may be empty.
    pub labels: BTreeMap<ContentId, bool>,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self { layer: None, random_directions: 100, seed: 0, reasoning_marks: None, labels: BTreeMap::new() }
    }
}

/// Projections cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Results cannot be computed.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// The vector cannot be used.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// No subject of the run is the vector's model.
    #[error(
        "no subject of the run is the model that the vector was extracted from, {name} (SHA-256 {sha256}); its subjects \
         are {subjects}"
    )]
    NoSubject {
        /// The vector's model.
        name: String,
        /// SHA-256 of its file.
        sha256: String,
        /// The subjects.
        subjects: String,
    },
    /// The model failed.
    #[error("the model: {0}")]
    Model(ModelError),
    /// What is stored does not make the sample's prompt.
    #[error("sample {sample}: its prompt cannot be put together from the store")]
    Prompt {
        /// The sample.
        sample: ContentId,
    },
    /// The rows cannot be written.
    #[error(transparent)]
    Write(#[from] std::io::Error),
    /// There is nothing to project.
    #[error("the run holds no prompt of that subject yet")]
    Nothing,
}

/// The model that a run's subjects have in common with a vector, as `provider/model`.
///
/// # Errors
/// If the store cannot be read, or no subject is that model.
pub fn model_of_vector(directory: &Path, vector: &PersonaVector) -> Result<String, ProjectError> {
    let subjects = Reader::open(directory)?.subjects()?;
    let found = subjects.iter().find(|subject| gather::is_model(subject, vector));
    match found {
        Some(subject) => Ok(subject.model.clone()),
        None => Err(ProjectError::NoSubject {
            name: vector.record.model.name.clone(),
            sha256: vector.record.model.file_sha256.clone(),
            subjects: subjects
                .iter()
                .map(|subject| format!("{} ({})", subject.name, subject.model))
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// Projects a run's prompts and stored answers. `progress` is told how many are done, and of how many.
///
/// # Errors
/// If the store cannot be read, the vector is another model's, or the model fails.
pub async fn project(
    directory: &Path,
    vector: &PersonaVector,
    model: &LocalModel,
    settings: &ProjectSettings,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Projections, ProjectError> {
    let description = model.description();
    vector.check_model(&description.name, &description.file_sha256)?;
    let reader = Reader::open(directory)?;
    let gathered = gather::gather(&reader, vector, model, settings, progress).await?;
    if gathered.prompts.is_empty() {
        return Err(ProjectError::Nothing);
    }
    summary::summarise(&reader, vector, settings, &gathered)
}
