//! What an answer says of itself: its id, its model, why it ended, what it used. Read as it passes; no text is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::answer_parts::{AnswerKind, Parts};
use crate::conversation::Protocol;

/// The most choices whose ends are kept.
const MOST_CHOICES: usize = 128;
/// The most bytes of a name that a server gives.
const LONGEST_NAME: usize = 256;

/// What an answer says of itself, as far as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    /// Its id.
    pub id: Option<String>,
    /// The exact model.
    pub model: Option<String>,
    /// Why each choice ended, in the server's words, by choice.
    pub finish_reasons: BTreeMap<u64, String>,
    /// Tokens that were read, those from a cache among them.
    pub input_tokens: Option<u64>,
    /// Tokens that were written.
    pub output_tokens: Option<u64>,
}

/// An answer, or what an event has of it. Everything else in it is skipped.
#[derive(Debug, Default, Deserialize)]
struct Document {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    /// Anthropic's.
    stop_reason: Option<String>,
    /// The Responses API's.
    status: Option<String>,
    incomplete_details: Option<Incomplete>,
    usage: Option<Usage>,
    /// The answer in an event of the Responses API, and of Anthropic's.
    #[serde(alias = "message")]
    response: Option<Box<Document>>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

/// An event at the end of Anthropic's streams.
#[derive(Debug, Deserialize)]
struct Delta {
    delta: Option<Stop>,
}

#[derive(Debug, Deserialize)]
struct Stop {
    stop_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(rename = "input_tokens", alias = "prompt_tokens")]
    input: Option<u64>,
    #[serde(rename = "output_tokens", alias = "completion_tokens")]
    output: Option<u64>,
    /// Anthropic's, which are not among its `input_tokens`, as are those that follow.
    #[serde(rename = "cache_read_input_tokens")]
    from_cache: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    to_cache: Option<u64>,
}

impl AnswerFacts {
    /// Takes what a document says. One that is in no known shape says nothing.
    fn read(&mut self, protocol: Protocol, json: &[u8]) {
        if let Ok(document) = serde_json::from_slice::<Document>(json) {
            self.take(protocol, document);
        }
        if protocol == Protocol::Messages
            && let Ok(Delta { delta: Some(stop) }) = serde_json::from_slice(json)
        {
            self.finished(0, stop.stop_reason);
        }
    }

    fn take(&mut self, protocol: Protocol, document: Document) {
        if let Some(inner) = document.response {
            self.take(protocol, *inner);
        }
        let named = |name: Option<String>| name.filter(|name| name.len() <= LONGEST_NAME);
        self.id = named(document.id).or_else(|| self.id.take());
        self.model = named(document.model).or_else(|| self.model.take());
        for choice in document.choices {
            self.finished(choice.index, choice.finish_reason);
        }
        self.finished(0, document.stop_reason);
        if protocol == Protocol::Responses {
            let status = document.status.filter(|status| status != "in_progress" && status != "queued");
            self.finished(0, document.incomplete_details.and_then(|details| details.reason).or(status));
        }
        let Some(usage) = document.usage else { return };
        let cached = usage.from_cache.unwrap_or(0);
        let cached = cached.saturating_add(usage.to_cache.unwrap_or(0));
        let input = usage.input.map(|tokens| tokens.saturating_add(cached));
        self.input_tokens = input.or(self.input_tokens);
        self.output_tokens = usage.output.or(self.output_tokens);
    }

    fn finished(&mut self, choice: u64, reason: Option<String>) {
        let Some(reason) = reason.filter(|reason| reason.len() <= LONGEST_NAME) else { return };
        if self.finish_reasons.len() < MOST_CHOICES || self.finish_reasons.contains_key(&choice) {
            self.finish_reasons.insert(choice, reason);
        }
    }
}

/// Reads an answer that its source fills in.
#[derive(Clone, Debug)]
pub(crate) struct SharedFacts(Arc<Mutex<Reader>>);

#[derive(Debug)]
struct Reader {
    protocol: Protocol,
    parts: Parts,
    facts: AnswerFacts,
}

impl SharedFacts {
    pub(crate) fn new(protocol: Protocol, kind: AnswerKind) -> Self {
        let (parts, facts) = (Parts::new(kind), AnswerFacts::default());
        Self(Arc::new(Mutex::new(Reader { protocol, parts, facts })))
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in reader.parts.push(bytes) {
            let protocol = reader.protocol;
            reader.facts.read(protocol, event.as_bytes());
        }
    }

    /// What there is, once.
    pub(crate) fn end(&self) -> AnswerFacts {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(body)) = reader.parts.end() {
            let protocol = reader.protocol;
            reader.facts.read(protocol, &body);
        }
        std::mem::take(&mut reader.facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(protocol: Protocol, kind: AnswerKind, answer: &str) -> AnswerFacts {
        let shared = SharedFacts::new(protocol, kind);
        for piece in answer.as_bytes().chunks(7) {
            shared.push(piece);
        }
        shared.end()
    }

    fn expected(id: &str, reasons: &[(u64, &str)], tokens: (u64, u64)) -> AnswerFacts {
        AnswerFacts {
            id: Some(id.to_owned()),
            model: Some("exact".to_owned()),
            finish_reasons: reasons.iter().map(|(choice, reason)| (*choice, (*reason).to_owned())).collect(),
            input_tokens: Some(tokens.0),
            output_tokens: Some(tokens.1),
        }
    }

    #[test]
    fn answers_of_all_protocols_are_read_whole_and_in_events() {
        let chat = r#"{"id":"c1","model":"exact","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"},
            {"index":1,"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
        let chat_events = "data: {\"id\":\"c1\",\"model\":\"exact\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}],\"usage\":null}\n\n\
            data: {\"id\":\"c1\",\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\ndata: [DONE]\n\n";
        let messages = r#"{"id":"m1","type":"message","model":"exact","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn",
            "usage":{"input_tokens":3,"cache_read_input_tokens":2,"cache_creation_input_tokens":null,"output_tokens":7}}"#;
        let messages_events = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"model\":\"exact\",\"stop_reason\":null,\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n\
            data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n\
            data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n";
        let responses = r#"{"id":"r1","model":"exact","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},
            "output":[],"usage":{"input_tokens":5,"output_tokens":7}}"#;
        let responses_events = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r1\",\"model\":\"exact\",\"status\":\"in_progress\",\"usage\":null}}\n\n\
            data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n\
            data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r1\",\"model\":\"exact\",\"status\":\"completed\",\"usage\":{\"input_tokens\":5,\"output_tokens\":7}}}\n\n";
        let cases = [
            (
                Protocol::ChatCompletions,
                chat,
                chat_events,
                "c1",
                &[(0, "stop"), (1, "length")][..],
                &[(1, "stop")][..],
            ),
            (Protocol::Messages, messages, messages_events, "m1", &[(0, "end_turn")], &[(0, "end_turn")]),
            (
                Protocol::Responses,
                responses,
                responses_events,
                "r1",
                &[(0, "max_output_tokens")],
                &[(0, "completed")],
            ),
        ];
        for (protocol, whole, events, id, ends, ends_of_events) in cases {
            assert_eq!(facts(protocol, AnswerKind::Whole, whole), expected(id, ends, (5, 7)));
            assert_eq!(facts(protocol, AnswerKind::Stream, events), expected(id, ends_of_events, (5, 7)));
        }
    }

    #[test]
    fn what_is_in_no_known_shape_says_nothing() {
        for answer in ["", "no", "[1]", r#"{"id":5}"#, r#"{"choices":[[]]}"#] {
            assert_eq!(facts(Protocol::Other, AnswerKind::Whole, answer), AnswerFacts::default(), "{answer}");
        }
        let long = format!(r#"{{"id":"{}","model":"m"}}"#, "x".repeat(LONGEST_NAME + 1));
        let read = facts(Protocol::ChatCompletions, AnswerKind::Whole, &long);
        assert_eq!((read.id, read.model.as_deref()), (None, Some("m")));
        assert_eq!(facts(Protocol::ChatCompletions, AnswerKind::Encoded, r#"{"model":"m"}"#).model, None);
    }
}
