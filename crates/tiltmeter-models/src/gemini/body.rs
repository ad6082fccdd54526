//! The request's body.

use serde_json::{Map, Value, json};
use tiltmeter_core::prompt::{Role, TOOL, Turn};

use super::reply::GeminiDraft;
use crate::body::{Body, BodyWriter};
use crate::context::WriteTurns;
use crate::endpoint::{Endpoint, TemperatureField};
use crate::error::ModelError;
use crate::protocol::{Asked, Protocol, refuse_system_turns};
use crate::request::{ChatRequest, Reasoning, Sampling};
use crate::terms::{Parameter, Terms};
use crate::thinking;
use crate::tools::{Style, arguments};

/// Fields that extra ones may not replace, in both spellings that the server takes.
pub(super) const RESERVED: [&str; 6] =
    ["contents", "systemInstruction", "system_instruction", "model", "cachedContent", "cached_content"];
/// The field whose parts extra ones are put among, rather than taking its place.
const CONFIG: &str = "generationConfig";
/// Gemini's limit.
const MOST_STOP_TEXTS: usize = 5;

/// The protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct GenerateContent;

impl Protocol for GenerateContent {
    type Draft = GeminiDraft;

    fn write_turns(&self, _: &Endpoint) -> WriteTurns {
        write_turns
    }

    fn fields(&self, _: &Endpoint, _: Terms, parameter: Parameter) -> &'static [&'static str] {
        match parameter {
            Parameter::LogProbabilities => &["responseLogprobs", "response_logprobs", "logprobs"],
            Parameter::Seed => &["seed"],
            Parameter::Temperature => &["temperature"],
            Parameter::ShownReasoning => &["includeThoughts", "include_thoughts"],
            Parameter::Reasoning => &[
                "thinkingConfig",
                "thinking_config",
                "thinkingBudget",
                "thinking_budget",
                "thinkingLevel",
                "thinking_level",
                "thinking",
            ],
            Parameter::Stop => &["stopSequences", "stop_sequences"],
            Parameter::TokenLimit | Parameter::StreamOptions => &[],
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
            Parameter::ShownReasoning => match sampling.reasoning {
                Reasoning::Off => false,
                // Older models refuse the very field.
                Reasoning::Default => generation(&endpoint.model) >= Some((2, 5)),
                Reasoning::Low | Reasoning::Medium | Reasoning::High => true,
            },
            Parameter::Reasoning => sampling.reasoning != Reasoning::Default,
            Parameter::Stop => endpoint.send_stop && !sampling.stop.is_empty(),
            Parameter::StreamOptions => false,
        }
    }

    fn check(&self, _: &Endpoint, request: &ChatRequest) -> Result<(), ModelError> {
        refuse_system_turns(&request.prompt)
    }

    fn write(&self, asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Result<Body, ModelError> {
        let Asked { endpoint, prompt, .. } = asked;
        let mut writer = BodyWriter::default();
        writer.raw("{");
        if let Some(name) = asked.cached {
            writer.raw("\"cachedContent\":");
            writer.json(name);
            writer.raw(",");
        } else if let Some(system) = &prompt.system {
            writer.raw("\"systemInstruction\":{\"parts\":[{\"text\":\"");
            prompt.write(&system.parts, &mut writer);
            writer.raw("\"}]},");
        }
        writer.raw("\"contents\":[");
        if asked.cached.is_none() {
            writer.shared(&prompt.shared.turns);
        }
        writer.raw("{\"role\":\"user\",\"parts\":[{\"text\":\"");
        prompt.write(&prompt.question.parts, &mut writer);
        writer.raw("\"}]}]");
        let mut config = config(asked, sends);
        let mut extra = endpoint.extra_body.clone();
        match extra.get_mut(CONFIG) {
            Some(Value::Object(given)) => config.extend(std::mem::take(given)),
            // Not an object: the server is the one to say what is wrong with it.
            Some(given) => config = Map::from_iter([(CONFIG.to_owned(), given.take())]),
            None => {}
        }
        extra.insert(CONFIG.to_owned(), config.into());
        // A stored context has them itself, and a request that refers to it may not.
        if asked.cached.is_none() {
            for (name, value) in prompt.tool_fields(Style::Gemini) {
                extra.entry(name).or_insert(value);
            }
        }
        writer.fields(&extra);
        writer.raw("}");
        writer.finish()
    }
}

fn config(asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Map<String, Value> {
    let Asked { endpoint, sampling, terms, .. } = *asked;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    if sends(Parameter::Temperature) {
        set("temperature", sampling.temperature.into());
    }
    set("maxOutputTokens", sampling.max_tokens.into());
    if let Some(seed) = sampling.seed.filter(|_| sends(Parameter::Seed)) {
        set("seed", seed.into());
    }
    if sends(Parameter::Stop) {
        let few = sampling.stop.get(..MOST_STOP_TEXTS).unwrap_or(&sampling.stop);
        set("stopSequences", few.into());
    }
    if let Some(top) = sampling.top_log_probabilities.filter(|_| sends(Parameter::LogProbabilities)) {
        set("responseLogprobs", true.into());
        if top > 0 {
            set("logprobs", terms.top_log_probabilities(top).into());
        }
    }
    let mut thoughts = Map::new();
    if sends(Parameter::Reasoning) {
        let (name, value) = how_much(&endpoint.model, sampling.reasoning);
        thoughts.insert(name.to_owned(), value);
    }
    if sends(Parameter::ShownReasoning) {
        thoughts.insert("includeThoughts".to_owned(), true.into());
    }
    if !thoughts.is_empty() {
        set("thinkingConfig", thoughts.into());
    }
    fields
}

/// A budget in tokens up to the second generation, a level from the third on. The third has no "off": `minimal`
/// is the least, and models that do not have it refuse it.
fn how_much(model: &str, reasoning: Reasoning) -> (&'static str, Value) {
    if generation(model) >= Some((3, 0)) {
        let level = if reasoning == Reasoning::Off { "minimal" } else { reasoning.name() };
        ("thinkingLevel", level.into())
    } else {
        ("thinkingBudget", thinking::budget(reasoning).unwrap_or(0).into())
    }
}

/// The numbers in `gemini-2.5-pro` or `models/gemini-3-flash-preview`; `None` where the name has none.
fn generation(model: &str) -> Option<(u32, u32)> {
    let (_, rest) = model.split_once("gemini-")?;
    let number = rest.split('-').next()?;
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn write_turns(turns: &[Turn], writer: &mut BodyWriter) {
    for turn in turns {
        let part = match turn.role {
            Role::ToolCall => json!({ "functionCall": { "name": TOOL.name, "args": arguments(turn) } }),
            Role::ToolOutput => {
                json!({ "functionResponse": { "name": TOOL.name, "response": { "output": &*turn.text } } })
            }
            Role::System | Role::User | Role::Assistant => json!({ "text": &*turn.text }),
        };
        let is_models = matches!(turn.role, Role::Assistant | Role::ToolCall);
        writer.raw("{\"role\":");
        writer.json(if is_models { "model" } else { "user" });
        writer.raw(",\"parts\":[");
        writer.json(&part);
        writer.raw("]},");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_generation_says_how_it_is_told_to_think() {
        for (model, generation_of, off, high) in [
            ("gemini-2.5-flash", Some((2, 5)), "thinkingBudget=0", "thinkingBudget=24576"),
            ("gemini-3-pro-preview", Some((3, 0)), "thinkingLevel=\"minimal\"", "thinkingLevel=\"high\""),
            ("models/gemini-3.1-pro", Some((3, 1)), "thinkingLevel=\"minimal\"", "thinkingLevel=\"high\""),
            ("gemini-flash-latest", None, "thinkingBudget=0", "thinkingBudget=24576"),
            ("gemma-3-27b-it", None, "thinkingBudget=0", "thinkingBudget=24576"),
        ] {
            let said = |reasoning| {
                let (name, value) = how_much(model, reasoning);
                format!("{name}={value}")
            };
            assert_eq!(generation(model), generation_of, "{model}");
            assert_eq!((said(Reasoning::Off), said(Reasoning::High)), (off.into(), high.into()), "{model}");
        }
    }
}
