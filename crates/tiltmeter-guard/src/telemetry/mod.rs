//! What is told of requests to models, and of what was thought of them, for traces. It has the shape of OpenTelemetry's
//! conventions for generative AI; how it is sent is not this crate's affair. No text of a request or an answer, and no
//! key, is in it.

mod facts;
mod watch;

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

pub use facts::AnswerFacts;
pub(crate) use facts::SharedFacts;
pub(crate) use watch::{Span, Watch};

use crate::inspection::RiskLevel;

/// Is told of requests and verdicts. It is called where requests are served: it must return at once, whatever becomes of
/// what it was told.
pub trait Telemetry: Debug + Send + Sync {
    /// A request to a model has ended. Verdicts on it are told by the place that is given back.
    fn request(&self, request: &ModelRequest<'_>) -> SpanPlace;

    /// Somebody looked at a request's context, or at its answer. It may be long after the request ended.
    fn evaluation(&self, evaluation: &Evaluation<'_>);
}

/// Where a request stands in traces, in the sizes of W3C's Trace Context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanPlace {
    /// The trace.
    pub trace: [u8; 16],
    /// The span.
    pub span: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

/// A request to a model that has ended, however it did.
#[derive(Clone, Debug)]
pub struct ModelRequest<'a> {
    /// The gateway's id of it.
    pub id: &'a str,
    /// Holds what the caller sent of `traceparent` and `tracestate`, and nothing else.
    pub caller: &'a HeaderMap,
    /// When its head was there.
    pub began: SystemTime,
    /// When its answer had been given.
    pub ended: SystemTime,
    /// What the model was to do, by the conventions' names where they have one: `chat`, `text_completion`, `embeddings`.
    pub operation: &'static str,
    /// Whose dialect is spoken, by the conventions' names: the server's where its host is known, else the protocol's.
    pub provider: &'static str,
    /// The model that was asked for.
    pub model: Option<&'a str>,
    /// Host and port of the server that was asked or would have been; `None` where none was chosen.
    pub server: Option<(&'a str, u16)>,
    /// The route; empty where there is none.
    pub route: &'a str,
    /// What was thought of its context, where somebody looked.
    pub risk: Option<RiskLevel>,
    /// Of the answer that the client got; `None` where it left before.
    pub status: Option<u16>,
    /// Why there is no good and whole answer: the code of a refusal, the status of the server, or how the answer ended.
    pub error: Option<&'a str>,
    /// From the request to the first bytes of an answer that streams.
    pub first_chunk: Option<Duration>,
    /// What the answer says of itself.
    pub answer: &'a AnswerFacts,
}

/// What somebody thought of a request's context or its answer.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    /// The request's place in traces.
    pub place: SpanPlace,
    /// The gateway's id of the request.
    pub request: &'a str,
    /// The server's id of the answer.
    pub response: Option<&'a str>,
    /// The detector's or judge's name in the configuration.
    pub by: &'a str,
    /// What was looked at: `context_risk`, from 0 to 1; `alignment` and `coherence`, from 0 to 100; `reckless_persona`,
    /// which has a label only.
    pub name: &'static str,
    /// The answer's choice; `None` of contexts.
    pub choice: Option<u64>,
    /// On the scale that belongs to the name.
    pub score: Option<f64>,
    /// In a word: the level of a risk, what became of a judgement, `yes` or `no`.
    pub label: Option<&'static str>,
    /// Why there is no verdict.
    pub error: Option<&'static str>,
}
