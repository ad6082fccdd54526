//! A reply, whole or as events, and how it becomes a [`ChatResponse`].

use serde::Deserialize;
use serde_json::Value;
use tiltmeter_core::treatment::ReasoningKind;

use crate::events::{Draft, Refused};
use crate::failure::Failure;
use crate::request::{ChatResponse, FinishReason, TokenAlternatives, Usage};
use crate::wire::{WireAlternatives, count, given};

/// A whole reply; the last event of a stream holds one as well.
#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    status: String,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    incomplete_details: Option<IncompleteDetails>,
    output: Vec<Item>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
struct IncompleteDetails {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        content: Vec<Part>,
    },
    Reasoning {
        #[serde(default)]
        summary: Option<Vec<Thought>>,
        /// The reasoning itself, from servers of open-weight models.
        #[serde(default)]
        content: Option<Vec<Thought>>,
    },
    /// Tools, which are never asked for.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    OutputText {
        text: String,
        #[serde(default)]
        logprobs: Option<Value>,
    },
    Refusal {
        refusal: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Thought {
    #[serde(default)]
    text: String,
}

#[derive(Debug, Default, Deserialize)]
struct WireUsage {
    #[serde(default, deserialize_with = "count")]
    input_tokens: u64,
    #[serde(default)]
    input_tokens_details: Option<InputDetails>,
    #[serde(default, deserialize_with = "count")]
    output_tokens: u64,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Deserialize)]
struct InputDetails {
    #[serde(default, deserialize_with = "count")]
    cached_tokens: u64,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    #[serde(default, deserialize_with = "count")]
    reasoning_tokens: u64,
}

/// A reply. The last event of a stream holds all of it, so that the pieces before it need not be put together:
/// none of them can be missing, come twice or stand in the wrong place.
#[derive(Debug, Default)]
pub(super) struct ResponsesDraft {
    response: Option<ChatResponse>,
}

impl Draft for ResponsesDraft {
    const WHAT: &'static str = "a response";

    fn event(&mut self, name: Option<&str>, mut value: Value) -> Result<(), Refused> {
        let kind = value.get("type").and_then(Value::as_str).or(name).unwrap_or("");
        match kind {
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.whole(value.get_mut("response").map(Value::take).unwrap_or_default())
            }
            "error" => Err(Refused::Failed(Failure::from_object(&value).into())),
            _ => Ok(()),
        }
    }

    fn whole(&mut self, value: Value) -> Result<(), Refused> {
        let response: Response = serde_json::from_value(value).map_err(|_| Refused::Malformed)?;
        if let Some(error) = response.error.filter(|error| !error.is_null()) {
            return Err(Refused::Failed(Failure::from_object(&error).into()));
        }
        let reason = response.incomplete_details.and_then(|details| details.reason);
        let finish = match (response.status.as_str(), reason.as_deref()) {
            ("completed", _) => FinishReason::Stop,
            ("incomplete", Some("max_output_tokens")) => FinishReason::Length,
            ("incomplete", Some("content_filter")) => FinishReason::ContentFilter,
            ("incomplete" | "cancelled", _) => FinishReason::Other,
            // Failed without an error, or not done: neither is a reply to a request like ours.
            _ => return Err(Refused::Malformed),
        };
        let mut draft = ChatResponse {
            finish,
            usage: response.usage.unwrap_or_default().into(),
            model: response.model.and_then(given),
            response_id: response.id.and_then(given),
            ..ChatResponse::default()
        };
        let mut thoughts = Vec::new();
        let mut refusal = String::new();
        let mut positions = Vec::new();
        for item in response.output {
            match item {
                Item::Message { content } => {
                    for part in content {
                        match part {
                            Part::OutputText { text, logprobs } => {
                                draft.text.push_str(&text);
                                positions.extend(read_positions(logprobs));
                            }
                            Part::Refusal { refusal: text } => refusal.push_str(&text),
                            Part::Other => {}
                        }
                    }
                }
                Item::Reasoning { summary, content } => {
                    let summary = summary.filter(|summary| !summary.is_empty());
                    if summary.is_some() {
                        draft.reasoning_kind = ReasoningKind::Summary;
                    }
                    let shown = summary.or(content);
                    thoughts.extend(shown.into_iter().flatten().map(|thought| thought.text));
                }
                Item::Other => {}
            }
        }
        draft.reasoning = given(thoughts.join("\n\n"));
        draft.refusal = given(refusal);
        draft.log_probabilities = (!positions.is_empty()).then_some(positions);
        self.response = Some(draft);
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.response.is_some()
    }

    fn is_last(&self) -> bool {
        self.response.is_some()
    }

    fn is_begun(&self) -> bool {
        self.response.is_some()
    }

    fn finish(self) -> ChatResponse {
        self.response.unwrap_or_default()
    }
}

fn read_positions(logprobs: Option<Value>) -> Vec<TokenAlternatives> {
    let positions = logprobs.map(serde_json::from_value::<Vec<WireAlternatives>>);
    let positions = positions.and_then(Result::ok).unwrap_or_default();
    positions.into_iter().map(TokenAlternatives::from).collect()
}

impl From<WireUsage> for Usage {
    fn from(usage: WireUsage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            cached_input_tokens: usage.input_tokens_details.map_or(0, |details| details.cached_tokens),
            output_tokens: usage.output_tokens,
            reasoning_tokens: usage.output_tokens_details.map_or(0, |details| details.reasoning_tokens),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::{cut_everywhere, split_everywhere};

    const EVENTS: &str = include_str!("../../tests/fixtures/openai_responses/stream.sse");

    #[test]
    fn where_the_bytes_are_split_does_not_matter() {
        assert_eq!(split_everywhere::<ResponsesDraft>(EVENTS).text, "Café\n☕");
    }

    #[test]
    fn nothing_is_an_answer_before_the_last_event() {
        cut_everywhere::<ResponsesDraft>(EVENTS, "\"sequence_number\":6}\n\n");
    }
}
