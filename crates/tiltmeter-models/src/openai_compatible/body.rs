//! The request's body: written once, straight from the prompt's shared parts.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::json;
use tiltmeter_core::prompt::{MessageParts, Prompt};

use super::terms::{Parameter, Terms};
use crate::endpoint::{Endpoint, TemperatureField};
use crate::error::{ErrorKind, ModelError};
use crate::request::{ChatRequest, Reasoning};

/// Fields that extra ones may not replace: without them the reply could not be read, or would be to another
/// question.
pub(super) const RESERVED: [&str; 4] = ["model", "messages", "n", "stream"];
/// OpenAI's limit.
const MOST_STOP_TEXTS: usize = 4;

/// Writes the body. Fields that the terms leave out are not in it.
pub(super) fn write(endpoint: &Endpoint, request: &ChatRequest, terms: Terms) -> Result<Bytes, ModelError> {
    let text: usize = request.prompt.messages().flat_map(|message| message.parts).map(str::len).sum();
    // Escapes and field names are a few per cent on top.
    let mut bytes = Vec::with_capacity(text + text / 16 + 2048);
    serde_json::to_writer(&mut bytes, &Body { endpoint, request, terms }).map_err(|error| {
        ModelError::new(ErrorKind::BadRequest, format!("cannot write the request: {error}"))
    })?;
    Ok(bytes.into())
}

/// The parameters that a request carries, which are those that a server can refuse.
pub(super) fn sends(endpoint: &Endpoint, request: &ChatRequest, terms: Terms, parameter: Parameter) -> bool {
    let sampling = &request.sampling;
    let wanted = match parameter {
        Parameter::LogProbabilities => sampling.top_log_probabilities.is_some(),
        Parameter::Seed => sampling.seed.is_some(),
        Parameter::Temperature => {
            // Exactly 1 is what experiment files say; near 1 is something else.
            #[expect(clippy::float_cmp, reason = "only the very default may be left unsaid")]
            let is_default = sampling.temperature == 1.0;
            endpoint.temperature_field == TemperatureField::Always || !is_default
        }
        Parameter::TokenLimit => true,
        Parameter::Reasoning => sampling.reasoning != Reasoning::Default,
        Parameter::Stop => endpoint.send_stop && !sampling.stop.is_empty(),
        Parameter::StreamOptions => endpoint.stream,
    };
    let fields = parameter.fields(terms.token_field(endpoint.token_field));
    wanted
        && !terms.leaves_out(parameter)
        && !fields.iter().any(|field| endpoint.extra_body.contains_key(*field))
}

struct Body<'a> {
    endpoint: &'a Endpoint,
    request: &'a ChatRequest,
    terms: Terms,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { endpoint, request, terms } = *self;
        let sampling = &request.sampling;
        let sends = |parameter| sends(endpoint, request, terms, parameter);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", &endpoint.model)?;
        map.serialize_entry("messages", &Messages(&request.prompt))?;
        if sends(Parameter::Temperature) {
            map.serialize_entry("temperature", &sampling.temperature)?;
        }
        if sends(Parameter::TokenLimit) {
            map.serialize_entry(terms.token_field(endpoint.token_field).name(), &sampling.max_tokens)?;
        }
        if let Some(seed) = sampling.seed.filter(|_| sends(Parameter::Seed)) {
            map.serialize_entry("seed", &seed)?;
        }
        if let Some(top) = sampling.top_log_probabilities.filter(|_| sends(Parameter::LogProbabilities)) {
            map.serialize_entry("logprobs", &true)?;
            map.serialize_entry("top_logprobs", &terms.top_log_probabilities(top))?;
        }
        if sends(Parameter::Reasoning) {
            let effort =
                if sampling.reasoning == Reasoning::Off { "none" } else { sampling.reasoning.name() };
            map.serialize_entry("reasoning_effort", effort)?;
        }
        if sends(Parameter::Stop) {
            let few = sampling.stop.get(..MOST_STOP_TEXTS).unwrap_or(&sampling.stop);
            map.serialize_entry("stop", few)?;
        }
        if endpoint.stream {
            map.serialize_entry("stream", &true)?;
        }
        if sends(Parameter::StreamOptions) {
            map.serialize_entry("stream_options", &json!({ "include_usage": true }))?;
        }
        for (name, value) in &endpoint.extra_body {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct Messages<'a>(&'a Prompt);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for message in self.0.messages() {
            sequence.serialize_element(&Message { role: message.role.name(), content: Parts(message) })?;
        }
        sequence.end()
    }
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Parts<'a>,
}

/// One string out of several parts, without putting them together first.
struct Parts<'a>(MessageParts<'a>);

impl fmt::Display for Parts<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.iter().try_for_each(|part| formatter.write_str(part))
    }
}

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
