//! Open-weight models on this machine, in pure Rust: fetching weights, loading GGUF files, and answering or scoring
//! with shared prefixes and batches. Knows prompts, not experiments.

mod compute;
mod decoder;
mod engine;
mod error;
mod gguf;
mod settings;
mod source;
mod text;
mod weights;

pub use decoder::KeyValuePrecision;
pub use engine::{LocalModel, ModelDescription, open};
pub use error::LocalError;
pub use gguf::GgufError;
pub use settings::{
    CONTEXT_FOLDER_SIZE_VARIABLE, CONTEXT_FOLDER_VARIABLE, LocalSettings, MEMORY_VARIABLE, SettingsError,
    THREADS_VARIABLE,
};
pub use source::{KnownModel, ModelSource, SourceError, known_models};
pub use text::{TemplateError, TokenizerError};
pub use weights::{
    CACHE_VARIABLE, FailedSource, FetchTimeouts, Progress, SOURCE_VARIABLE, WeightsError, WeightsSettings,
    cached_path, fetch,
};

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tiny;
