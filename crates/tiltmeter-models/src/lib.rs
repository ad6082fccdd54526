//! The [`ChatModel`] trait, what passes through it, and the providers behind it.
//!
//! A provider turns one request into one reply or one [`ModelError`]. It never retries, never waits for a
//! limit and never drops anything on its own account: the engine decides all of that from the taxonomy.

mod error;
mod request;

pub use error::{ErrorKind, ModelError};
pub use request::{
    ChatModel, ChatRequest, ChatResponse, FinishReason, Reasoning, Sampling, ScoreRequest, TextScore,
    TokenAlternatives, TokenLogProbability, Usage,
};
