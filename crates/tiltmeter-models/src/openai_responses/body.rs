//! The request's body.

use serde_json::{Map, Value, json};
use tiltmeter_core::prompt::{Role, TOOL, Turn};

use super::reply::ResponsesDraft;
use crate::body::{Body, BodyWriter};
use crate::context::WriteTurns;
use crate::endpoint::{Endpoint, TemperatureField, is_openai_reasoning_model};
use crate::error::{ErrorKind, ModelError};
use crate::openai_compatible::{write_messages, write_turns as write_chat_turns};
use crate::protocol::{Asked, Protocol};
use crate::request::{ChatRequest, Reasoning, Sampling};
use crate::terms::{Parameter, Terms};
use crate::tools::{Style, arguments, call_id, numbered};

/// Fields that extra ones may not replace: without them the reply could not be read, or would be to another
/// question.
pub(super) const RESERVED: [&str; 4] = ["model", "input", "stream", "background"];
/// The fewest tokens that may be asked for.
const LEAST_TOKENS: u32 = 16;
/// What must be included for log-probabilities to be given.
const LOG_PROBABILITIES: &str = "message.output_text.logprobs";

/// The protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Responses;

impl Protocol for Responses {
    type Draft = ResponsesDraft;

    fn write_turns(&self, _: &Endpoint) -> WriteTurns {
        write_turns
    }

    fn fields(&self, _: &Endpoint, _: Terms, parameter: Parameter) -> &'static [&'static str] {
        match parameter {
            Parameter::LogProbabilities => &["top_logprobs", "logprobs", "include"],
            Parameter::Temperature => &["temperature"],
            Parameter::ShownReasoning => &["summary", "summaries"],
            Parameter::Reasoning => &["reasoning", "effort"],
            Parameter::Seed | Parameter::TokenLimit | Parameter::Stop | Parameter::StreamOptions => &[],
        }
    }

    fn carries(&self, endpoint: &Endpoint, sampling: &Sampling, parameter: Parameter) -> bool {
        match parameter {
            Parameter::LogProbabilities => sampling.top_log_probabilities.is_some(),
            Parameter::Temperature => {
                // Exactly 1 is what experiment files say; near 1 is something else.
                #[expect(clippy::float_cmp, reason = "only the very default may be left unsaid")]
                let is_default = sampling.temperature == 1.0;
                endpoint.temperature_field == TemperatureField::Always || !is_default
            }
            Parameter::TokenLimit => true,
            Parameter::ShownReasoning => match sampling.reasoning {
                Reasoning::Off => false,
                // Other models refuse the very field.
                Reasoning::Default => is_openai_reasoning_model(&endpoint.model),
                Reasoning::Low | Reasoning::Medium | Reasoning::High => true,
            },
            Parameter::Reasoning => sampling.reasoning != Reasoning::Default,
            Parameter::Seed | Parameter::Stop | Parameter::StreamOptions => false,
        }
    }

    fn has_no_field_for(&self, _: &Endpoint, sampling: &Sampling) -> Vec<&'static str> {
        sampling.seed.and(Parameter::Seed.setting()).into_iter().collect()
    }

    fn check(&self, _: &Endpoint, request: &ChatRequest) -> Result<(), ModelError> {
        let tokens = request.sampling.max_tokens;
        if tokens >= LEAST_TOKENS {
            return Ok(());
        }
        let message = format!(
            "the Responses API gives at least {LEAST_TOKENS} tokens, and {tokens} were asked for: name the \
             model as `openai/…`, or raise `max_tokens`"
        );
        Err(ModelError::new(ErrorKind::BadRequest, message))
    }

    fn write(&self, asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Result<Body, ModelError> {
        let Asked { endpoint, prompt, .. } = asked;
        let mut writer = BodyWriter::default();
        writer.raw("{\"model\":");
        writer.json(&endpoint.model);
        writer.raw(",\"input\":[");
        write_messages(prompt, &mut writer);
        writer.raw("]");
        let mut fields = settings(asked, sends);
        fields.extend(prompt.tool_fields(Style::Responses));
        fields.retain(|name, _| !endpoint.extra_body.contains_key(name));
        writer.fields(&fields);
        writer.fields(&endpoint.extra_body);
        writer.raw("}");
        writer.finish()
    }
}

/// Turns as those of chats, but for a tool's, which are items of their own.
fn write_turns(turns: &[Turn], writer: &mut BodyWriter) {
    for (turn, call) in numbered(turns) {
        let item = match turn.role {
            Role::ToolCall => json!({
                "type": "function_call",
                "call_id": call_id(call),
                "name": TOOL.name,
                "arguments": arguments(turn).to_string(),
            }),
            Role::ToolOutput => json!({
                "type": "function_call_output",
                "call_id": call_id(call),
                "output": &*turn.text,
            }),
            Role::System | Role::User | Role::Assistant => {
                write_chat_turns(std::slice::from_ref(turn), writer);
                continue;
            }
        };
        writer.json(&item);
        writer.raw(",");
    }
}

/// The fields behind the messages, extra ones aside.
fn settings(asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Map<String, Value> {
    let Asked { endpoint, sampling, terms, .. } = *asked;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("store", false.into());
    set("max_output_tokens", sampling.max_tokens.into());
    if sends(Parameter::Temperature) {
        set("temperature", sampling.temperature.into());
    }
    if let Some(top) = sampling.top_log_probabilities.filter(|_| sends(Parameter::LogProbabilities)) {
        set("include", json!([LOG_PROBABILITIES]));
        set("top_logprobs", terms.top_log_probabilities(top).into());
    }
    let mut reasoning = Map::new();
    if sends(Parameter::Reasoning) {
        let effort = if sampling.reasoning == Reasoning::Off { "none" } else { sampling.reasoning.name() };
        reasoning.insert("effort".to_owned(), effort.into());
    }
    if sends(Parameter::ShownReasoning) {
        reasoning.insert("summary".to_owned(), "auto".into());
    }
    if !reasoning.is_empty() {
        set("reasoning", reasoning.into());
    }
    if endpoint.stream {
        set("stream", true.into());
    }
    fields
}
