//! Bodies of requests, and what of them is taken.

use std::sync::Arc;

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tiltmeter_core::id::Canonical;
use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext, Role, TOOL, Turn};
use tiltmeter_local::Thinking;
use tiltmeter_models::{Reasoning, Sampling};

use crate::error::Refusal;

/// The most answers to one request.
const MOST_CHOICES: u32 = 128;
/// The most stop texts.
const MOST_STOPS: usize = 16;
/// The most alternatives at a place.
const MOST_ALTERNATIVES: u32 = 20;

/// Fields that change nothing about an answer.
const HARMLESS: [&str; 9] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
    "add_special_tokens",
    "return_token_strs",
];

/// Reads a body.
pub(crate) fn read<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal::bad(format!("the request's body cannot be read: {error}")))
}

/// Fields that both kinds of completions have.
#[derive(Debug, Deserialize)]
pub(crate) struct Common {
    pub(crate) model: String,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    stop: Option<Stop>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    pub(crate) stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    /// All others.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Common {
    /// How many answers.
    pub(crate) fn count(&self) -> Result<u32, Refusal> {
        match self.n.unwrap_or(1) {
            count @ 1..=MOST_CHOICES => Ok(count),
            count => {
                Err(Refusal::field("n", format!("`n` is {count}; from 1 to {MOST_CHOICES} is supported")))
            }
        }
    }

    /// Whether a stream ends with the usage.
    pub(crate) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage) == Some(true)
    }

    /// The seed of an answer: the first is drawn as one that is asked for alone.
    pub(crate) fn seed(&self, prompt: u64, index: u32) -> u64 {
        let seed = self.seed.map_or(prompt, i64::cast_unsigned);
        if index == 0 {
            return seed;
        }
        let id = Canonical::new("tiltmeter.serve.choice/1").integer(seed).integer(index.into()).finish();
        id.generator_seed()
    }

    /// How an answer is drawn, with as many alternatives at each place as the field of this name says. Refuses what
    /// is not supported.
    pub(crate) fn sampling(
        &self,
        max_tokens: Option<u32>,
        (field, alternatives): (&str, Option<u32>),
    ) -> Result<Sampling, Refusal> {
        self.refuse_unknown()?;
        let temperature = self.temperature.unwrap_or(1.0);
        if !(0.0..=10.0).contains(&temperature) {
            let message = format!("`temperature` is {temperature}; from 0 to 10 is supported");
            return Err(Refusal::field("temperature", message));
        }
        let stop = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text.clone()],
            Some(Stop::Many(texts)) => texts.clone(),
        };
        if stop.len() > MOST_STOPS {
            return Err(Refusal::field(
                "stop",
                format!("`stop` has {} texts; the most is {MOST_STOPS}", stop.len()),
            ));
        }
        let top_log_probabilities = match alternatives {
            None => None,
            Some(count) if count <= MOST_ALTERNATIVES => u8::try_from(count).ok(),
            Some(count) => {
                let message = format!("`{field}` is {count}; the most is {MOST_ALTERNATIVES}");
                return Err(Refusal::field(field, message));
            }
        };
        Ok(Sampling {
            temperature,
            // The engine takes as many as fit.
            max_tokens: max_tokens.unwrap_or(u32::MAX),
            seed: None,
            stop,
            top_log_probabilities,
            reasoning: Reasoning::Default,
        })
    }

    /// A field that is not known may change the answer; one that says what is done anyway may not.
    fn refuse_unknown(&self) -> Result<(), Refusal> {
        let forbids_calls = self.rest.get("tool_choice").is_some_and(|choice| choice == "none");
        let is_neutral = |name: &str, value: &Value| match name {
            "top_p" | "repetition_penalty" => value.as_f64() == Some(1.0),
            "presence_penalty" | "frequency_penalty" | "min_p" => value.as_f64() == Some(0.0),
            "top_k" => value.as_i64().is_some_and(|count| count <= 0),
            "best_of" => value.as_u64() == Some(1),
            "logit_bias" => value.as_object().is_some_and(Map::is_empty),
            // Tools that may not be called change nothing: they are not shown to the model.
            "tools" if forbids_calls => true,
            "tools" | "functions" => value.as_array().is_some_and(Vec::is_empty),
            "tool_choice" | "function_call" => value == "none",
            "response_format" => value.get("type").is_some_and(|kind| kind == "text"),
            "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
            "suffix" => value == "",
            name => HARMLESS.contains(&name),
        };
        match self.rest.iter().find(|(name, value)| !value.is_null() && !is_neutral(name, value)) {
            Some((name, _)) => Err(Refusal::unsupported(&name.chars().take(100).collect::<String>())),
            None => Ok(()),
        }
    }
}

/// A message of a chat.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

/// Settings of chat templates.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateSettings {
    #[serde(default)]
    enable_thinking: Option<bool>,
}

impl TemplateSettings {
    /// Whether the model is to think.
    pub(crate) fn thinking(&self) -> Thinking {
        match self.enable_thinking {
            None => Thinking::AsTrained,
            Some(true) => Thinking::On,
            Some(false) => Thinking::Off,
        }
    }
}

/// A chat as a prompt.
pub(crate) fn prompt(messages: &[Message]) -> Result<Prompt, Refusal> {
    let mut turns = Vec::new();
    for message in messages {
        let role = match message.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::ToolOutput,
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(Refusal::field(
                    "messages",
                    format!("messages of the role `{other}` are not supported"),
                ));
            }
        };
        let calls = message.tool_calls.as_deref().unwrap_or_default();
        if !calls.is_empty() {
            let query = known_call(calls).ok_or_else(|| Refusal::unsupported("tool_calls"))?;
            turns.push(Turn { role: Role::ToolCall, text: query.into() });
            continue;
        }
        let text = match &message.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().map(text_of).collect::<Result<_, _>>()?,
        };
        let answers_call = turns.last().is_some_and(|turn: &Turn| turn.role == Role::ToolCall);
        if role == Role::ToolOutput && !answers_call {
            let message =
                "messages of the role `tool` are not supported but behind the call that they answer";
            return Err(Refusal::field("messages", message));
        }
        turns.push(Turn { role, text: text.into() });
    }
    match turns.pop() {
        Some(Turn { role: Role::User, text }) => {
            let context = RenderedContext::from_parts(
                Placement::ChatTurns,
                QuestionFormat::Plain,
                Arc::from(""),
                turns.into(),
            );
            Ok(Prompt::new(Arc::new(context), None, text))
        }
        Some(_) => {
            Err(Refusal::field("messages", "the last message must be the user's: answers are not continued"))
        }
        None => Err(Refusal::field("messages", "`messages` is empty")),
    }
}

/// The query of a single call of the tool that contexts have calls of; no other is supported.
fn known_call(calls: &[Value]) -> Option<String> {
    let [call] = calls else { return None };
    let function = call.get("function").filter(|function| function.get("name") == Some(&TOOL.name.into()))?;
    let mut arguments: Map<String, Value> =
        serde_json::from_str(function.get("arguments")?.as_str()?).ok()?;
    let query = arguments.remove(TOOL.argument)?;
    query.as_str().filter(|_| arguments.is_empty()).map(str::to_owned)
}

fn text_of(part: &Part) -> Result<&str, Refusal> {
    match (part.kind.as_str(), &part.text) {
        ("text", Some(text)) => Ok(text),
        _ => Err(Refusal::field("messages", "contents other than text are not supported")),
    }
}
