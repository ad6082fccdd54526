//! The [`ChatModel`] trait, what passes through it, and the providers behind it.
//!
//! A provider turns one request into one reply or one [`ModelError`]. It never retries, never waits for a
//! limit and never drops anything on its own account: the engine decides all of that from the taxonomy. The one
//! exception is a parameter that a model refuses as such: it is left out, and the reply says so.

mod anthropic;
mod batch;
mod body;
mod clean;
mod context;
mod endpoint;
mod error;
mod events;
mod failure;
mod gemini;
mod http;
mod openai_compatible;
mod openai_responses;
mod presets;
mod protocol;
mod rate_limits;
mod recent;
mod request;
mod terms;
mod thinking;
mod tools;
mod transport;
mod wire;

pub use anthropic::Anthropic;
pub use batch::{
    BatchId, BatchItem, BatchLimits, BatchModel, BatchResults, BatchStatus, FoundBatch, LostBatch,
};
pub use endpoint::{
    Batches, ContextCaching, Endpoint, EndpointUrl, EndpointUrlError, Scoring, TemperatureField, Timeouts,
    TokenField,
};
pub use error::{ErrorKind, ModelError};
pub use gemini::Gemini;
pub use openai_compatible::{Dialect, OpenAiCompatible};
pub use openai_responses::OpenAiResponses;
pub use presets::{Api, Provider, provider, providers};
pub use rate_limits::{RateLimit, RateLimits};
pub use request::{
    ChatModel, ChatRequest, ChatResponse, FinishReason, RealisedShift, Reasoning, Sampling, ScoreRequest,
    TextScore, TokenAlternatives, TokenLogProbability, Usage,
};
