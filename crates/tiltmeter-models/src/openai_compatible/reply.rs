//! A reply, whole or in pieces, and how it becomes a [`ChatResponse`].
//!
//! Servers of this protocol add fields, leave out fields and write `null` where others write nothing. Only what
//! the answer's meaning hangs on is required; all else is taken where it is there and has the usual shape.

use serde::Deserialize;
use serde_json::Value;

use crate::events::{Draft, Refused};
use crate::failure::Failure;
use crate::request::{ChatResponse, FinishReason, TokenAlternatives, Usage};
use crate::wire::{WireAlternatives, cost, count, given};

/// The body of a reply, or one piece of a streamed one.
#[derive(Debug, Default, Deserialize)]
struct Piece {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: Option<u64>,
    /// In a whole reply.
    #[serde(default)]
    message: Option<Message>,
    /// In a piece.
    #[serde(default)]
    delta: Option<Message>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
    /// What broke off this answer (OpenRouter).
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
    #[serde(default)]
    reasoning_content: Option<Value>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct WireUsage {
    #[serde(default, deserialize_with = "count")]
    prompt_tokens: u64,
    #[serde(default, deserialize_with = "count")]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    /// Another name for cached tokens (`deepseek`).
    #[serde(default, deserialize_with = "count")]
    prompt_cache_hit_tokens: u64,
    /// In credits that are US dollars (OpenRouter).
    #[serde(default, deserialize_with = "cost")]
    cost: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct PromptDetails {
    #[serde(default, deserialize_with = "count")]
    cached_tokens: u64,
    /// Tokens that were put into a cache (OpenRouter).
    #[serde(default, deserialize_with = "count")]
    cache_write_tokens: u64,
}

#[derive(Debug, Deserialize)]
struct CompletionDetails {
    #[serde(default, deserialize_with = "count")]
    reasoning_tokens: u64,
}

/// A reply that is being put together from its pieces; a whole one is a single piece.
#[derive(Debug, Default)]
pub(super) struct ChatDraft {
    text: String,
    reasoning: String,
    refusal: String,
    finish: Option<FinishReason>,
    usage: Usage,
    model: Option<String>,
    id: Option<String>,
    log_probabilities: Vec<TokenAlternatives>,
    has_choice: bool,
}

impl Draft for ChatDraft {
    const WHAT: &'static str = "a chat completion";

    fn event(&mut self, _: Option<&str>, value: Value) -> Result<(), Refused> {
        self.whole(value)
    }

    /// A whole reply is a single piece.
    fn whole(&mut self, value: Value) -> Result<(), Refused> {
        let piece: Piece = serde_json::from_value(value).map_err(|_| Refused::Malformed)?;
        self.id = self.id.take().or(piece.id.filter(|id| !id.is_empty()));
        self.model = self.model.take().or(piece.model.filter(|model| !model.is_empty()));
        if let Some(usage) = piece.usage {
            self.usage = usage.into();
        }
        // One answer is asked for; a server that sends more keeps to its own idea, and the first one counts.
        let first = piece.choices.into_iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0);
        let Some(choice) = first else { return Ok(()) };
        self.has_choice = true;
        if let Some(error) = choice.error.filter(|error| !error.is_null()) {
            return Err(Refused::Failed(Failure::from_object(&error).into()));
        }
        if let Some(message) = choice.delta.or(choice.message) {
            message.add_to(self);
        }
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            self.finish = Some(finish_reason(&reason));
        }
        let positions = choice.logprobs.and_then(|mut logprobs| logprobs.get_mut("content").map(Value::take));
        if let Some(Ok(positions)) = positions.map(serde_json::from_value::<Vec<WireAlternatives>>) {
            self.log_probabilities.extend(positions.into_iter().map(TokenAlternatives::from));
        }
        Ok(())
    }

    /// The server has said why the answer ended.
    fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    fn is_begun(&self) -> bool {
        self.has_choice
    }

    /// A reply that ended without a reason has the reason "other".
    fn finish(self) -> ChatResponse {
        ChatResponse {
            text: self.text,
            reasoning: given(self.reasoning),
            refusal: given(self.refusal),
            finish: self.finish.unwrap_or_default(),
            usage: self.usage,
            model: self.model,
            response_id: self.id,
            log_probabilities: (!self.log_probabilities.is_empty()).then_some(self.log_probabilities),
            ..ChatResponse::default()
        }
    }
}

impl Message {
    fn add_to(self, draft: &mut ChatDraft) {
        match self.content {
            Value::String(text) => draft.text.push_str(&text),
            Value::Array(parts) => parts.iter().for_each(|part| add_part(part, draft)),
            _ => {}
        }
        // OpenRouter sends the same text under both names where it imitates others.
        let reasoning = self.reasoning_content.filter(|value| !value.is_null()).or(self.reasoning);
        if let Some(Value::String(text)) = reasoning {
            draft.reasoning.push_str(&text);
        }
        draft.refusal.push_str(self.refusal.as_deref().unwrap_or(""));
    }
}

/// Adds a part of a content that is a list: text, a refusal, or thoughts (Mistral).
fn add_part(part: &Value, draft: &mut ChatDraft) {
    if let Some(text) = part.as_str().or_else(|| part.get("text")?.as_str()) {
        draft.text.push_str(text);
    }
    if let Some(refusal) = part.get("refusal").and_then(Value::as_str) {
        draft.refusal.push_str(refusal);
    }
    match part.get("thinking") {
        Some(Value::String(text)) => draft.reasoning.push_str(text),
        Some(Value::Array(parts)) => {
            for text in parts.iter().filter_map(|part| part.get("text")?.as_str()) {
                draft.reasoning.push_str(text);
            }
        }
        _ => {}
    }
}

/// The usual names, and those that servers pass on from the protocols behind them.
fn finish_reason(name: &str) -> FinishReason {
    match name.to_ascii_lowercase().as_str() {
        "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" | "max_output_tokens" => FinishReason::Length,
        "content_filter" | "safety" | "recitation" | "prohibited_content" | "blocklist" | "spii"
        | "refusal" | "sensitive" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}

impl From<WireUsage> for Usage {
    fn from(usage: WireUsage) -> Self {
        let details = usage.prompt_tokens_details.unwrap_or_default();
        Self {
            input_tokens: usage.prompt_tokens,
            cached_input_tokens: details.cached_tokens.max(usage.prompt_cache_hit_tokens),
            cache_write_tokens: details.cache_write_tokens,
            output_tokens: usage.completion_tokens,
            reasoning_tokens: usage.completion_tokens_details.map_or(0, |details| details.reasoning_tokens),
            cost_usd: usage.cost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::{cut_everywhere, split_everywhere};

    const EVENTS: &str = include_str!("../../tests/fixtures/openai_compatible/openai.sse");

    #[test]
    fn where_the_bytes_are_split_does_not_matter() {
        assert_eq!(split_everywhere::<ChatDraft>(EVENTS).text, "Café\n☕");
    }

    #[test]
    fn nothing_is_an_answer_before_its_finish_reason() {
        cut_everywhere::<ChatDraft>(EVENTS, "\"finish_reason\":\"stop\"}]}\n\n");
    }
}
