//! The [`ChatModel`] trait, what passes through it, and the providers behind it.
//!
//! A provider turns one request into one reply or one [`ModelError`]. It never retries, never waits for a
//! limit and never drops anything on its own account: the engine decides all of that from the taxonomy. The one
//! exception is a parameter that a model refuses as such: it is left out, and the reply says so.

mod clean;
mod endpoint;
mod error;
mod http;
mod openai_compatible;
mod presets;
mod request;

pub use endpoint::{Endpoint, EndpointUrl, EndpointUrlError, TemperatureField, Timeouts, TokenField};
pub use error::{ErrorKind, ModelError};
pub use openai_compatible::OpenAiCompatible;
pub use presets::{Provider, provider, providers};
pub use request::{
    ChatModel, ChatRequest, ChatResponse, FinishReason, Reasoning, Sampling, ScoreRequest, TextScore,
    TokenAlternatives, TokenLogProbability, Usage,
};
