//! The request's body, with the shared context marked for the provider's cache.

use serde_json::{Map, Value};
use tiltmeter_core::prompt::{Role, TOOL, Turn};

use super::reply::AnthropicDraft;
use crate::body::{Body, BodyWriter};
use crate::context::{BREAKPOINT, WriteTurns, write_marked_parts};
use crate::endpoint::{Endpoint, TemperatureField};
use crate::error::ModelError;
use crate::protocol::{Asked, Protocol, refuse_system_turns};
use crate::request::{ChatRequest, Reasoning, Sampling};
use crate::terms::{Parameter, Terms};
use crate::thinking;
use crate::tools::{Style, arguments, call_id, numbered};

/// Fields that extra ones may not replace: without them the reply could not be read, or would be to another
/// question.
pub(super) const RESERVED: [&str; 4] = ["model", "messages", "system", "stream"];

/// The protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages;

impl Messages {
    /// Whether the model is asked to think, and then draws at temperature 1 whatever it is told.
    fn thinks(sampling: &Sampling) -> bool {
        thinking::budget(sampling.reasoning).is_some()
    }
}

impl Protocol for Messages {
    type Draft = AnthropicDraft;

    fn write_turns(&self, _: &Endpoint) -> WriteTurns {
        write_turns
    }

    fn fields(&self, _: &Endpoint, _: Terms, parameter: Parameter) -> &'static [&'static str] {
        match parameter {
            Parameter::Temperature => &["temperature"],
            Parameter::Reasoning => &thinking::ANTHROPIC_FIELDS,
            Parameter::Stop => &["stop_sequences"],
            Parameter::LogProbabilities
            | Parameter::Seed
            | Parameter::TokenLimit
            | Parameter::ShownReasoning
            | Parameter::StreamOptions => &[],
        }
    }

    fn carries(&self, endpoint: &Endpoint, sampling: &Sampling, parameter: Parameter) -> bool {
        match parameter {
            Parameter::Temperature => {
                // Exactly 1 is what experiment files say; near 1 is something else.
                #[expect(clippy::float_cmp, reason = "only the very default may be left unsaid")]
                let is_default = sampling.temperature == 1.0;
                let is_said = endpoint.temperature_field == TemperatureField::Always || !is_default;
                is_said && !Self::thinks(sampling)
            }
            Parameter::TokenLimit => true,
            Parameter::Reasoning => sampling.reasoning != Reasoning::Default,
            Parameter::Stop => endpoint.send_stop && !sampling.stop.is_empty(),
            Parameter::LogProbabilities
            | Parameter::Seed
            | Parameter::ShownReasoning
            | Parameter::StreamOptions => false,
        }
    }

    fn has_no_field_for(&self, _: &Endpoint, sampling: &Sampling) -> Vec<&'static str> {
        #[expect(clippy::float_cmp, reason = "only the very default is what the model draws at anyway")]
        let other_temperature = Self::thinks(sampling) && sampling.temperature != 1.0;
        [
            (Parameter::LogProbabilities, sampling.top_log_probabilities.is_some()),
            (Parameter::Seed, sampling.seed.is_some()),
            (Parameter::Temperature, other_temperature),
        ]
        .into_iter()
        .filter_map(|(parameter, is_asked)| parameter.setting().filter(|_| is_asked))
        .collect()
    }

    fn check(&self, endpoint: &Endpoint, request: &ChatRequest) -> Result<(), ModelError> {
        thinking::check_anthropic(&endpoint.model, &request.sampling)?;
        refuse_system_turns(&request.prompt)
    }

    fn write(&self, asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Result<Body, ModelError> {
        let Asked { endpoint, sampling, prompt, .. } = asked;
        let mut writer = BodyWriter::default();
        writer.raw("{\"model\":");
        writer.json(&endpoint.model);
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("max_tokens", sampling.max_tokens.into());
        if sends(Parameter::Temperature) {
            set("temperature", sampling.temperature.into());
        }
        if sends(Parameter::Reasoning) {
            for (name, value) in thinking::anthropic(&endpoint.model, sampling.reasoning, sampling.max_tokens)
            {
                set(name, value);
            }
        }
        if sends(Parameter::Stop) {
            set("stop_sequences", sampling.stop.as_slice().into());
        }
        if endpoint.stream {
            set("stream", true.into());
        }
        fields.extend(prompt.tool_fields(Style::Anthropic));
        fields.retain(|name, _| !endpoint.extra_body.contains_key(name));
        writer.fields(&fields);
        writer.fields(&endpoint.extra_body);
        if let Some(system) = &prompt.system {
            writer.raw(",\"system\":");
            write_marked_parts(prompt, &system.parts, &mut writer);
        }
        writer.raw(",\"messages\":[");
        writer.shared(&prompt.shared.turns);
        writer.raw("{\"role\":\"user\",\"content\":");
        write_marked_parts(prompt, &prompt.question.parts, &mut writer);
        writer.raw("}]}");
        writer.finish()
    }
}

/// The last turn is where the shared context ends.
fn write_turns(turns: &[Turn], writer: &mut BodyWriter) {
    for (index, (turn, call)) in numbered(turns).enumerate() {
        let role = if matches!(turn.role, Role::Assistant | Role::ToolCall) { "assistant" } else { "user" };
        writer.raw("{\"role\":");
        writer.json(role);
        writer.raw(",\"content\":[");
        match turn.role {
            Role::ToolCall => {
                writer.raw("{\"type\":\"tool_use\",\"id\":");
                writer.json(&call_id(call));
                writer.raw(",\"name\":");
                writer.json(TOOL.name);
                writer.raw(",\"input\":");
                writer.json(&arguments(turn));
            }
            Role::ToolOutput => {
                writer.raw("{\"type\":\"tool_result\",\"tool_use_id\":");
                writer.json(&call_id(call));
                writer.raw(",\"content\":");
                writer.json(&*turn.text);
            }
            Role::System | Role::User | Role::Assistant => {
                writer.raw("{\"type\":\"text\",\"text\":");
                writer.json(&*turn.text);
            }
        }
        writer.raw(if index + 1 == turns.len() { BREAKPOINT } else { "" });
        writer.raw("}]},");
    }
}
