//! The request's body.

use serde_json::{Map, Value, json};
use tiltmeter_core::prompt::{MessageParts, Role, TOOL, Turn};

use super::dialect::Dialect;
use super::reply::ChatDraft;
use crate::body::{Body, BodyWriter};
use crate::context::{BREAKPOINT, ShownPrompt, WriteTurns, write_marked_parts};
use crate::endpoint::{ContextCaching, Endpoint, TemperatureField, TokenField};
use crate::error::ModelError;
use crate::protocol::{Asked, Protocol};
use crate::request::{ChatRequest, Reasoning, Sampling};
use crate::terms::{Parameter, Terms};
use crate::tools::{Style, arguments, call_id, numbered};

/// Fields that extra ones may not replace: without them the reply could not be read, or would be to another
/// question.
pub(super) const RESERVED: [&str; 4] = ["model", "messages", "n", "stream"];
/// OpenAI's limit.
const MOST_STOP_TEXTS: usize = 4;

/// The protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChatCompletions;

impl Protocol for ChatCompletions {
    type Draft = ChatDraft;

    fn write_turns(&self, endpoint: &Endpoint) -> WriteTurns {
        if marks_context(endpoint) { write_marked_turns } else { write_turns }
    }

    fn fields(&self, endpoint: &Endpoint, terms: Terms, parameter: Parameter) -> &'static [&'static str] {
        match parameter {
            Parameter::LogProbabilities => &["logprobs", "top_logprobs"],
            Parameter::Seed => &["seed"],
            Parameter::Temperature => &["temperature"],
            Parameter::TokenLimit => match terms.token_field(endpoint.token_field) {
                TokenField::MaxTokens => &["max_tokens"],
                TokenField::MaxCompletionTokens => &["max_completion_tokens"],
            },
            Parameter::ShownReasoning => &[],
            Parameter::Reasoning => endpoint.dialect.reasoning_fields(),
            Parameter::Stop => &["stop"],
            Parameter::StreamOptions => &["stream_options"],
        }
    }

    fn carries(&self, endpoint: &Endpoint, sampling: &Sampling, parameter: Parameter) -> bool {
        match parameter {
            Parameter::LogProbabilities => sampling.top_log_probabilities.is_some(),
            Parameter::Seed => sampling.seed.is_some(),
            Parameter::Temperature => {
                // Exactly 1 is what experiment files say; near 1 is something else.
                #[expect(clippy::float_cmp, reason = "only the very default may be left unsaid")]
                let is_default = sampling.temperature == 1.0;
                endpoint.temperature_field == TemperatureField::Always || !is_default
            }
            Parameter::TokenLimit => true,
            Parameter::ShownReasoning => false,
            Parameter::Reasoning => sampling.reasoning != Reasoning::Default,
            Parameter::Stop => endpoint.send_stop && !sampling.stop.is_empty(),
            Parameter::StreamOptions => endpoint.stream,
        }
    }

    fn check(&self, endpoint: &Endpoint, request: &ChatRequest) -> Result<(), ModelError> {
        endpoint.dialect.check(&endpoint.model, &request.sampling)
    }

    fn write(&self, asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Result<Body, ModelError> {
        let Asked { endpoint, prompt, .. } = asked;
        let mut writer = BodyWriter::default();
        writer.raw("{\"model\":");
        writer.json(&endpoint.model);
        writer.raw(",\"messages\":[");
        if marks_context(endpoint) && !splits_message(endpoint, prompt) {
            write_marked_messages(prompt, &mut writer);
        } else {
            write_messages(prompt, &mut writer);
        }
        writer.raw("]");
        writer.fields(&settings(asked, sends));
        writer.fields(&endpoint.extra_body);
        writer.raw("}");
        writer.finish()
    }
}

/// The fields behind the messages, extra ones aside.
fn settings(asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Map<String, Value> {
    let Asked { endpoint, sampling, terms, .. } = *asked;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    if sends(Parameter::Temperature) {
        set("temperature", sampling.temperature.into());
    }
    if sends(Parameter::TokenLimit) {
        set(terms.token_field(endpoint.token_field).name(), sampling.max_tokens.into());
    }
    if let Some(seed) = sampling.seed.filter(|_| sends(Parameter::Seed)) {
        set("seed", seed.into());
    }
    if let Some(top) = sampling.top_log_probabilities.filter(|_| sends(Parameter::LogProbabilities)) {
        set("logprobs", true.into());
        set("top_logprobs", terms.top_log_probabilities(top).into());
    }
    if sends(Parameter::Reasoning) {
        for (name, value) in endpoint.dialect.reasoning(&endpoint.model, sampling) {
            set(name, value);
        }
    }
    if sends(Parameter::Stop) {
        let few = sampling.stop.get(..MOST_STOP_TEXTS).unwrap_or(&sampling.stop);
        set("stop", few.into());
    }
    if endpoint.stream {
        set("stream", true.into());
    }
    if sends(Parameter::StreamOptions) {
        set("stream_options", json!({ "include_usage": true }));
    }
    for (name, value) in asked.prompt.tool_fields(Style::ChatCompletions) {
        if !endpoint.extra_body.contains_key(&name) {
            set(&name, value);
        }
    }
    for (name, value) in endpoint.dialect.standing_fields() {
        if !endpoint.extra_body.contains_key(name) {
            set(name, value);
        }
    }
    fields
}

/// Writes a prompt's messages as elements of a list.
pub(crate) fn write_messages(prompt: &ShownPrompt<'_>, writer: &mut BodyWriter) {
    if let Some(system) = &prompt.system {
        write_message(prompt, system, writer);
        writer.raw(",");
    }
    writer.shared(&prompt.shared.turns);
    write_message(prompt, &prompt.question, writer);
}

fn write_message(prompt: &ShownPrompt<'_>, message: &MessageParts<'_>, writer: &mut BodyWriter) {
    writer.raw("{\"role\":");
    writer.json(message.role.name());
    writer.raw(",\"content\":\"");
    prompt.write(&message.parts, writer);
    writer.raw("\"}");
}

/// Writes a context's turns as elements of a list.
pub(crate) fn write_turns(turns: &[Turn], writer: &mut BodyWriter) {
    for (turn, call) in numbered(turns) {
        match turn.role {
            Role::ToolCall => {
                let function = json!({ "name": TOOL.name, "arguments": arguments(turn).to_string() });
                let call = json!([{ "id": call_id(call), "type": "function", "function": function }]);
                writer.raw("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":");
                writer.json(&call);
            }
            Role::ToolOutput => {
                writer.raw("{\"role\":\"tool\",\"tool_call_id\":");
                writer.json(&call_id(call));
                writer.raw(",\"content\":");
                writer.json(&*turn.text);
            }
            Role::System | Role::User | Role::Assistant => {
                writer.raw("{\"role\":");
                writer.json(turn.role.name());
                writer.raw(",\"content\":");
                writer.json(&*turn.text);
            }
        }
        writer.raw("},");
    }
}

/// Whether the end of the context is marked for the provider's cache: behind OpenRouter, for Anthropic's models,
/// which cache nothing without it, and for Google's where that is asked for, as their storage costs.
fn marks_context(endpoint: &Endpoint) -> bool {
    let is_explicit = endpoint.context_caching != ContextCaching::Implicit;
    endpoint.dialect == Dialect::OpenRouter
        && (endpoint.model.starts_with("anthropic/") || endpoint.model.starts_with("google/") && is_explicit)
}

/// Whether a mark would end a message where none ends: Google's models store whole messages, so that demonstrations
/// in the question's own message cannot be stored without changing the prompt.
fn splits_message(endpoint: &Endpoint, prompt: &ShownPrompt<'_>) -> bool {
    endpoint.model.starts_with("google/") && prompt.question.parts.iter().any(|part| prompt.is_context(part))
}

/// The same messages, with the context's end marked. What the model sees is the same: parts of a message are joined
/// as they are.
fn write_marked_messages(prompt: &ShownPrompt<'_>, writer: &mut BodyWriter) {
    if let Some(system) = &prompt.system {
        write_marked_message(prompt, system, writer);
        writer.raw(",");
    }
    writer.shared(&prompt.shared.turns);
    write_marked_message(prompt, &prompt.question, writer);
}

fn write_marked_message(prompt: &ShownPrompt<'_>, message: &MessageParts<'_>, writer: &mut BodyWriter) {
    writer.raw("{\"role\":");
    writer.json(message.role.name());
    writer.raw(",\"content\":");
    write_marked_parts(prompt, &message.parts, writer);
    writer.raw("}");
}

/// The last turn is where the shared context ends. Contexts end with a turn of the user's or the model's; one that ends
/// with a tool's has no mark.
fn write_marked_turns(turns: &[Turn], writer: &mut BodyWriter) {
    let Some((last, before)) = turns.split_last() else { return };
    if matches!(last.role, Role::ToolCall | Role::ToolOutput) {
        return write_turns(turns, writer);
    }
    write_turns(before, writer);
    writer.raw("{\"role\":");
    writer.json(last.role.name());
    writer.raw(",\"content\":[{\"type\":\"text\",\"text\":");
    writer.json(&*last.text);
    writer.raw(BREAKPOINT);
    writer.raw("}]},");
}
