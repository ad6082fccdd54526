//! What can go wrong before a model answers. Afterwards, failures are
//! [`ModelError`](tiltmeter_models::ModelError)s.

use std::path::{Path, PathBuf};

use crate::gguf::GgufError;
use crate::source::SourceError;
use crate::text::{TemplateError, TokenizerError};
use crate::weights::WeightsError;

/// A local model that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The name means no model.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The weights could not be fetched.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The file's tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The file's chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// What a file or folder holds cannot be used.
    #[error("{}: {error}", path.display())]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<LocalError>,
    },
    /// The model does not fit.
    #[error(
        "the model needs about {} MiB of memory ({} MiB of weights, {} MiB for a context of {context} tokens), \
         more than the limit of {} MiB; use a smaller model or a shorter context, free memory, or set {} to as many \
         GiB as the model may take",
        needed >> 20, weights >> 20, (needed - weights) >> 20, limit >> 20,
        crate::settings::MEMORY_VARIABLE
    )]
    Memory {
        /// Bytes in all.
        needed: u64,
        /// Bytes of weights.
        weights: u64,
        /// The context length asked for, in tokens.
        context: usize,
        /// Bytes allowed.
        limit: u64,
    },
    /// The context length that was asked for makes no sense.
    #[error(
        "a context of {asked} tokens is asked for; the model takes from {} to {most}",
        crate::settings::LEAST_CONTEXT
    )]
    Context {
        /// The context length asked for, in tokens.
        asked: usize,
        /// The model's.
        most: usize,
    },
    /// The folder for contexts cannot be used.
    #[error("cannot keep contexts in {}: {source}; name a folder that can be written to, or none", path.display())]
    ContextFolder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model's thread could not be started, or ended while loading.
    #[error("the model's thread failed: {0}")]
    Thread(String),
}

impl LocalError {
    /// The error with the name of the file or folder that it is about, if it does not say so itself.
    pub(crate) fn of(self, path: &Path) -> Self {
        match self {
            Self::File(GgufError::Metadata { .. } | GgufError::Tensor { .. })
            | Self::Tokenizer(_)
            | Self::Template(_) => Self::Model { path: path.to_owned(), error: Box::new(self) },
            other => other,
        }
    }

    /// Whether what was named or set is at fault, rather than the world: trying again does not help.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Weights(error) => error.is_configuration(),
            Self::Thread(_) => false,
            _ => true,
        }
    }
}
