//! Open-weight models on this machine, in pure Rust: fetching weights, loading GGUF files and published folders, and
//! answering or scoring with shared prefixes and batches. Knows prompts, not experiments.

mod checkpoint;
mod compute;
mod decoder;
mod engine;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gguf;
mod memory;
mod settings;
mod source;
mod taps;
mod text;
mod weights;

pub use decoder::KeyValuePrecision;
pub use engine::{EchoedToken, LocalModel, ModelDescription, Piece, Watched, open};
pub use error::LocalError;
pub use gguf::GgufError;
pub use settings::{
    CONTEXT_FOLDER_SIZE_VARIABLE, CONTEXT_FOLDER_VARIABLE, LEAST_CONTEXT, LocalSettings, MEMORY_VARIABLE,
    MOST_THREADS, SettingsError, THREADS_VARIABLE, threads,
};
pub use source::{HubModel, KnownModel, ModelSource, SourceError, known_models};
pub use taps::{
    HiddenStates, Intervention, InterventionError, ReasoningMarks, Reduction, Span, Tap, TapReading,
    TokenSelection,
};
pub use text::{Split, TemplateError, Thinking, Thoughts, TokenizerError};
pub use weights::{
    CACHE_VARIABLE, FailedSource, FetchTimeouts, HUB_VARIABLE, HubError, HubTerms, KeptFile, KeptRepository,
    Manifest, Progress, SOURCE_VARIABLE, TOKEN_VARIABLE, WeightsError, WeightsSettings, cached_path, fetch,
    fetch_repository, kept_repositories,
};

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tiny;
