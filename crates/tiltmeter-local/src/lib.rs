//! Open-weight models on this machine, in pure Rust: fetching weights, loading GGUF files, and answering or scoring
//! with shared prefixes and batches. Knows prompts, not experiments.

mod compute;
mod decoder;
mod error;
mod gguf;
mod source;
mod text;
mod weights;

pub use error::LocalError;
pub use gguf::GgufError;
pub use source::{KnownModel, ModelSource, SourceError, known_models};
pub use text::{TemplateError, TokenizerError};

#[cfg(test)]
mod reference_tests;
