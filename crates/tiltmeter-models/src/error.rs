//! What can go wrong with a call, in terms that the engine can decide on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rate_limits::RateLimits;

/// The taxonomy. Which kinds are retried, and which end a run, is decided here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Too many requests or tokens: ask again later.
    RateLimited,
    /// The server is overloaded or failed inside (5xx).
    Overloaded,
    /// A time limit of ours passed.
    TimedOut,
    /// The connection could not be made.
    Unreachable,
    /// The connection broke before the reply was whole.
    Interrupted,
    /// The reply is not what the protocol promises.
    MalformedReply,
    /// The request was refused by a content filter before any generation.
    Filtered,
    /// The prompt is longer than the model takes.
    ContextTooLong,
    /// The server understood the request and refused it.
    BadRequest,
    /// The key is missing, wrong or not allowed to use the model.
    Unauthorised,
    /// The server does not know the model or the address.
    NotFound,
    /// The account's credit or quota is used up.
    OutOfCredit,
    /// The model cannot do what was asked at all.
    Unsupported,
    /// A local model failed: damaged weights, memory, a bug.
    Local,
}

impl ErrorKind {
    /// The name in the store and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Interrupted => "interrupted",
            Self::MalformedReply => "malformed_reply",
            Self::Filtered => "filtered",
            Self::ContextTooLong => "context_too_long",
            Self::BadRequest => "bad_request",
            Self::Unauthorised => "unauthorised",
            Self::NotFound => "not_found",
            Self::OutOfCredit => "out_of_credit",
            Self::Unsupported => "unsupported",
            Self::Local => "local",
        }
    }

    /// Whether the same request may succeed when asked again.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Overloaded
                | Self::TimedOut
                | Self::Unreachable
                | Self::Interrupted
                | Self::MalformedReply
        )
    }

    /// Whether every other request to this model would fail the same way, so that the run should stop. An
    /// unreachable server counts once retries are used up.
    pub fn stops_the_run(self) -> bool {
        matches!(
            self,
            Self::Unauthorised
                | Self::NotFound
                | Self::OutOfCredit
                | Self::Unreachable
                | Self::Unsupported
                | Self::Local
        )
    }
}

/// A failed call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{message}", self.status.map_or(String::new(), |status| format!("HTTP {status}: ")))]
pub struct ModelError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What the server or the system said; never contains a key.
    pub message: String,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// The model's context limit in tokens, where the server's answer names it.
    pub context_limit: Option<u64>,
    /// What the reply's headers told of the server's limits.
    pub rate_limits: Option<Box<RateLimits>>,
}

impl ModelError {
    /// A failure of a kind, with a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            status: None,
            retry_after: None,
            context_limit: None,
            rate_limits: None,
        }
    }

    /// The model cannot do this at all.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }
}
