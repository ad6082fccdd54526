//! Requests as they come in, as far as this server looks at them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::{Prompt, Role};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said.
    #[serde(default, deserialize_with = "content")]
    pub content: String,
}

/// A string, or a list of text parts.
fn content<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
        _ => String::new(),
    })
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ChatBody {
    /// The model.
    pub model: String,
    /// The messages.
    pub messages: Vec<Message>,
    /// The seed.
    #[serde(default)]
    pub seed: Option<u64>,
    /// The softmax temperature.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// The most tokens of the answer.
    #[serde(default, alias = "max_completion_tokens")]
    pub max_tokens: Option<u64>,
    /// Whether log-probabilities are asked for.
    #[serde(default)]
    pub logprobs: Option<bool>,
    /// How many alternatives at each position.
    #[serde(default)]
    pub top_logprobs: Option<usize>,
    /// Whether the reply is streamed.
    #[serde(default)]
    pub stream: Option<bool>,
    /// `include_usage`.
    #[serde(default)]
    pub stream_options: Option<Value>,
}

impl ChatBody {
    /// Whether the judge is meant, or a coder.
    pub(crate) fn is_for_judge(&self) -> bool {
        self.model.contains("judge") || self.model.contains("coder")
    }

    pub(crate) fn wants_usage_in_stream(&self) -> bool {
        self.stream_options
            .as_ref()
            .and_then(|options| options.get("include_usage")?.as_bool())
            .unwrap_or(false)
    }

    /// Tokens of the prompt: a quarter of its characters.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        tokens(self.messages.iter().map(|message| message.content.chars().count()).sum())
    }
}

/// A quarter of the characters, rounded up.
pub(crate) fn tokens(characters: usize) -> u64 {
    characters.div_ceil(4) as u64
}

/// The messages of a prompt, as they are sent.
pub(crate) fn messages_of(prompt: &Prompt) -> Vec<Message> {
    prompt
        .messages()
        .map(|message| match message.role {
            Role::ToolCall => Message { role: Role::Assistant.name().to_owned(), content: String::new() },
            Role::ToolOutput => Message { role: "tool".to_owned(), content: message.text() },
            role => Message { role: role.name().to_owned(), content: message.text() },
        })
        .collect()
}

/// What an answer is a function of.
pub(crate) fn key(model: &str, messages: &[Message], seed: Option<u64>) -> ContentId {
    let mut canonical = Canonical::new("tiltmeter.sim.request/1").text(model).integer(messages.len() as u64);
    for message in messages {
        canonical = canonical.text(&message.role).text(&message.content);
    }
    let seed = seed.map(|seed| seed.to_string());
    canonical.optional_text(seed.as_deref()).finish()
}
