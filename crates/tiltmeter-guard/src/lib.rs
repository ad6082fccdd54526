//! A gateway in front of models, OpenAI-compatible and Anthropic's: it inspects the contexts of requests, acts on what it
//! finds, and keeps an audit log that cannot be changed unseen.
//!
//! Bodies are forwarded byte for byte. What an action changes in a request is cut out of or put into its bytes; nothing
//! is parsed and written again.

mod actions;
mod answer;
mod answer_parts;
mod answer_text;
pub mod audit;
mod board;
pub mod built_in;
mod client;
pub mod config;
pub mod conversation;
pub mod detection;
pub mod drift;
mod endpoint;
mod exchange;
mod finish;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gateway;
mod head;
mod hold_back;
pub mod inspect;
mod inspecting;
pub mod inspection;
pub mod judging;
mod literal;
mod looks;
mod metrics;
mod names;
pub mod output;
mod page;
mod policy;
mod refusal;
mod relay;
mod sse;
pub mod telemetry;
mod uninspected;

pub use client::TlsError;
pub use gateway::{Gateway, GuardError};
