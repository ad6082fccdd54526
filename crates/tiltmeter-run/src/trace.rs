//! One span for each request to a model, repetitions included, under the names of OpenTelemetry's semantic
//! conventions for generative AI (`gen_ai.*`). What those do not know is under `tiltmeter.*`.
//!
//! Spans never hold a prompt, an answer or a key: they say what was asked for by its id in the store, how long it
//! took, what it used, and how it failed.

use std::time::Duration;

use tiltmeter_core::id::ContentId;
use tiltmeter_models::{ChatResponse, ModelError, Sampling, Usage};
use tracing::{Span, field};

use crate::calling::milliseconds;
use crate::connect::Model;

/// What a request asks a model to do.
#[derive(Clone, Copy)]
pub(crate) enum Operation<'a> {
    /// A generation.
    Chat(&'a Sampling),
    /// The log-probability of a given text, which the conventions have no name for.
    Score,
}

/// A request that is about to be sent.
pub(crate) fn request(model: &Model, operation: Operation<'_>, id: ContentId, attempt: u32) -> Span {
    let named = &model.record.model;
    let (provider, short) = named.split_once('/').unwrap_or(("", named));
    let name = match operation {
        Operation::Chat(_) => "chat",
        Operation::Score => "score",
    };
    let span = tracing::info_span!(
        target: "tiltmeter::request",
        "request",
        "otel.name" = format!("{name} {short}"),
        "otel.kind" = "client",
        "gen_ai.operation.name" = name,
        "gen_ai.provider.name" = provider,
        "gen_ai.request.model" = short,
        "gen_ai.request.temperature" = field::Empty,
        "gen_ai.request.max_tokens" = field::Empty,
        "gen_ai.request.seed" = field::Empty,
        "gen_ai.response.model" = field::Empty,
        "gen_ai.response.id" = field::Empty,
        "gen_ai.response.finish_reasons" = field::Empty,
        "gen_ai.usage.input_tokens" = field::Empty,
        "gen_ai.usage.cache_read.input_tokens" = field::Empty,
        "gen_ai.usage.output_tokens" = field::Empty,
        "http.response.status_code" = field::Empty,
        "error.type" = field::Empty,
        "otel.status_code" = field::Empty,
        "otel.status_description" = field::Empty,
        "tiltmeter.model" = &*model.name,
        "tiltmeter.id" = %id,
        "tiltmeter.attempt" = attempt,
        "tiltmeter.duration_ms" = field::Empty,
        "tiltmeter.cost_usd" = field::Empty,
    );
    if let Operation::Chat(sampling) = operation {
        span.record("gen_ai.request.temperature", sampling.temperature);
        span.record("gen_ai.request.max_tokens", sampling.max_tokens);
        if let Some(seed) = sampling.seed {
            span.record("gen_ai.request.seed", seed);
        }
    }
    span
}

/// The request was answered.
pub(crate) fn answered(span: &Span, duration: Duration, usage: &Usage, cost_usd: Option<f64>) {
    span.record("tiltmeter.duration_ms", milliseconds(duration));
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    if usage.cached_input_tokens > 0 {
        span.record("gen_ai.usage.cache_read.input_tokens", usage.cached_input_tokens);
    }
    if let Some(cost_usd) = cost_usd {
        span.record("tiltmeter.cost_usd", cost_usd);
    }
}

/// What a generation's reply says of itself.
pub(crate) fn reply(span: &Span, response: &ChatResponse) {
    span.record("gen_ai.response.finish_reasons", response.finish.name());
    if let Some(model) = &response.model {
        span.record("gen_ai.response.model", &**model);
    }
    if let Some(id) = &response.response_id {
        span.record("gen_ai.response.id", &**id);
    }
}

/// The request failed.
pub(crate) fn failed(span: &Span, duration: Duration, error: &ModelError) {
    span.record("tiltmeter.duration_ms", milliseconds(duration));
    span.record("error.type", error.kind.name());
    span.record("otel.status_code", "ERROR");
    // Messages are cleaned of keys where they arise.
    span.record("otel.status_description", &*error.message);
    if let Some(status) = error.status {
        span.record("http.response.status_code", status);
    }
}
