//! A reply, whole or as events, and how it becomes a [`ChatResponse`].

use serde::Deserialize;
use serde_json::Value;

use crate::events::{Draft, Refused};
use crate::failure::Failure;
use crate::request::{ChatResponse, FinishReason, Usage};
use crate::thinking::reasoning_kind;
use crate::wire::given;

/// Stands in the reasoning where the provider withholds a part of it.
const REDACTED: &str = "[a thought that the provider withholds]";

/// A whole reply, or the beginning of a streamed one.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    content: Vec<Block>,
    #[serde(flatten)]
    end: End,
    #[serde(default)]
    usage: Option<WireUsage>,
}

/// How an answer ends: in a whole reply, or in the event that ends a streamed one.
#[derive(Debug, Default, Deserialize)]
struct End {
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
}

#[derive(Debug, Deserialize)]
struct StopDetails {
    #[serde(default)]
    explanation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
    },
    RedactedThinking,
    /// Tools, which are never asked for.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: u64,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    ContentBlockStop {
        index: u64,
    },
    MessageDelta {
        #[serde(default)]
        delta: End,
        #[serde(default)]
        usage: Option<WireUsage>,
    },
    MessageStop,
    /// Keeps the connection open.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    /// Signatures, and what tools are given.
    #[serde(other)]
    Other,
}

/// The counts of one event; a later one replaces those that it has.
#[derive(Debug, Default, Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    thinking_tokens: Option<u64>,
}

/// A reply that is being put together from its events.
///
/// The order of events is checked: pieces that came twice, or in another order, would make another answer.
#[derive(Debug, Default)]
pub(super) struct AnthropicDraft {
    text: String,
    reasoning: String,
    refusal: Option<String>,
    finish: Option<FinishReason>,
    usage: WireUsage,
    model: Option<String>,
    id: Option<String>,
    is_begun: bool,
    is_over: bool,
    /// The number of the block that is open.
    open: Option<u64>,
    /// The number of the next block.
    next: u64,
}

impl AnthropicDraft {
    fn begin(&mut self, message: Message) -> Result<(), Refused> {
        if self.is_begun {
            return Err(Refused::Malformed);
        }
        self.is_begun = true;
        self.id = message.id.and_then(given);
        self.model = message.model.and_then(given);
        for block in message.content {
            self.add(block);
        }
        self.end(message.end, message.usage);
        Ok(())
    }

    fn add(&mut self, block: Block) {
        match block {
            Block::Text { text } => self.text.push_str(&text),
            Block::Thinking { thinking } => self.think(&thinking),
            Block::RedactedThinking => {
                self.think(REDACTED);
            }
            Block::Other => {}
        }
    }

    /// Adds a block of thought, apart from those before it.
    fn think(&mut self, thought: &str) {
        if !self.reasoning.is_empty() {
            self.reasoning.push_str("\n\n");
        }
        self.reasoning.push_str(thought);
    }

    fn end(&mut self, end: End, usage: Option<WireUsage>) {
        if let Some(reason) = end.stop_reason {
            self.finish = Some(finish_reason(&reason));
        }
        self.refusal = self.refusal.take().or(end.stop_details.and_then(|details| details.explanation));
        let Some(new) = usage else { return };
        let known = &mut self.usage;
        known.input_tokens = new.input_tokens.or(known.input_tokens);
        known.cache_creation_input_tokens =
            new.cache_creation_input_tokens.or(known.cache_creation_input_tokens);
        known.cache_read_input_tokens = new.cache_read_input_tokens.or(known.cache_read_input_tokens);
        known.output_tokens = new.output_tokens.or(known.output_tokens);
        known.output_tokens_details = new.output_tokens_details.or(known.output_tokens_details.take());
    }
}

impl Draft for AnthropicDraft {
    const WHAT: &'static str = "a message";

    fn event(&mut self, _: Option<&str>, value: Value) -> Result<(), Refused> {
        if value.get("type").and_then(Value::as_str) == Some("error") {
            return Err(Refused::Failed(Failure::from_object(&value).into()));
        }
        let event: Event = serde_json::from_value(value).map_err(|_| Refused::Malformed)?;
        let in_order = match &event {
            Event::MessageStart { .. } => !self.is_begun,
            Event::ContentBlockStart { index, .. } => {
                self.is_begun && self.finish.is_none() && self.open.is_none() && *index == self.next
            }
            Event::ContentBlockDelta { index, .. } | Event::ContentBlockStop { index } => {
                self.open == Some(*index)
            }
            Event::MessageDelta { .. } => self.is_begun && self.open.is_none(),
            Event::MessageStop => self.finish.is_some(),
            Event::Other => true,
        };
        if !in_order {
            return Err(Refused::Malformed);
        }
        match event {
            Event::MessageStart { message } => self.begin(message)?,
            Event::ContentBlockStart { index, content_block } => {
                self.open = Some(index);
                self.add(content_block);
            }
            Event::ContentBlockDelta { delta, .. } => match delta {
                Delta::Text { text } => self.text.push_str(&text),
                Delta::Thinking { thinking } => self.reasoning.push_str(&thinking),
                Delta::Other => {}
            },
            Event::ContentBlockStop { index } => {
                self.open = None;
                self.next = index.saturating_add(1);
            }
            Event::MessageDelta { delta, usage } => self.end(delta, usage),
            Event::MessageStop => self.is_over = true,
            Event::Other => {}
        }
        Ok(())
    }

    fn whole(&mut self, value: Value) -> Result<(), Refused> {
        self.begin(serde_json::from_value(value).map_err(|_| Refused::Malformed)?)
    }

    /// The server has said why the answer ended.
    fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    fn is_last(&self) -> bool {
        self.is_over
    }

    fn is_begun(&self) -> bool {
        self.is_begun
    }

    fn finish(self) -> ChatResponse {
        ChatResponse {
            text: self.text,
            reasoning: given(self.reasoning),
            reasoning_kind: reasoning_kind(self.model.as_deref()),
            refusal: self.refusal.and_then(given),
            finish: self.finish.unwrap_or_default(),
            usage: self.usage.into(),
            model: self.model,
            response_id: self.id,
            ..ChatResponse::default()
        }
    }
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        // Not the model's own words: classifiers beside it break the answer off.
        "refusal" => FinishReason::ContentFilter,
        // `tool_use`, and `pause_turn`, which only tools of the server's bring about.
        _ => FinishReason::Other,
    }
}

impl From<WireUsage> for Usage {
    /// Tokens that were read from the cache or put into it are not among those of the input there, and are here.
    fn from(usage: WireUsage) -> Self {
        let read = usage.cache_read_input_tokens.unwrap_or(0);
        let written = usage.cache_creation_input_tokens.unwrap_or(0);
        let details = usage.output_tokens_details.unwrap_or_default();
        Self {
            input_tokens: usage.input_tokens.unwrap_or(0).saturating_add(read).saturating_add(written),
            cached_input_tokens: read,
            cache_write_tokens: written,
            output_tokens: usage.output_tokens.unwrap_or(0),
            reasoning_tokens: details.thinking_tokens.unwrap_or(0),
            cost_usd: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::events::testing::{cut_everywhere, read_pieces, split_everywhere};

    const EVENTS: &str = include_str!("../../tests/fixtures/anthropic/stream.sse");

    #[test]
    fn where_the_bytes_are_split_does_not_matter() {
        assert_eq!(split_everywhere::<AnthropicDraft>(EVENTS).text, "Café\n☕");
    }

    #[test]
    fn nothing_is_an_answer_before_its_stop_reason() {
        cut_everywhere::<AnthropicDraft>(EVENTS, "\"thinking_tokens\":9}}}\n\n");
    }

    #[test]
    fn events_that_come_twice_or_in_another_order_make_no_answer() {
        let events: Vec<&str> = EVENTS.split_inclusive("\n\n").collect();
        let kind = |events: &[&str]| {
            let pieces = vec![Ok(events.concat().into())];
            read_pieces::<AnthropicDraft>(pieces).map_err(|error| error.kind)
        };
        // What carries no text may come again: pings, and comments.
        let matters = |event: &str| !event.contains("ping") && !event.starts_with(':');
        for (index, event) in events.iter().enumerate().filter(|(_, event)| matters(event)) {
            let next = events[index + 1..].iter().position(|event| matters(event));
            let is_delta = event.contains("_delta");
            if let Some(next) = next.map(|next| index + 1 + next)
                && !(is_delta && events[next].contains("content_block_delta"))
            {
                let mut swapped = events.clone();
                swapped.swap(index, next);
                assert_eq!(kind(&swapped), Err(ErrorKind::MalformedReply), "{event} swapped");
            }
            if !is_delta && !event.contains("message_stop") {
                let mut twice = events.clone();
                twice.insert(index, event);
                assert_eq!(kind(&twice), Err(ErrorKind::MalformedReply), "{event} twice");
            }
        }
    }
}
