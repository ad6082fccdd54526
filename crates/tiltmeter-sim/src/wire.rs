//! Replies as they go out, whole or streamed.

use serde_json::{Value, json};

use crate::request::{ChatBody, tokens};

/// One token of a reply, and what else might have stood there, with probabilities.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) token: String,
    pub(crate) probability: f64,
    pub(crate) top: Vec<(String, f64)>,
}

/// Why a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A reply.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) reasoning: Option<String>,
    pub(crate) finish: Finish,
    /// The reply by tokens, where log-probabilities are given.
    pub(crate) positions: Option<Vec<Position>>,
    pub(crate) reasoning_tokens: u64,
}

impl Answer {
    /// Tokens of the prompt, and of the answer without reasoning.
    pub(crate) fn tokens(&self, body: &ChatBody) -> (u64, u64) {
        let written =
            self.positions.as_ref().map_or_else(|| tokens(self.text.chars().count()), |it| it.len() as u64);
        (body.prompt_tokens(), written)
    }

    fn usage(&self, body: &ChatBody) -> Value {
        let (prompt, written) = self.tokens(body);
        let completion = written + self.reasoning_tokens;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens}
        })
    }

    /// The body of a whole reply.
    pub(crate) fn whole(&self, body: &ChatBody, id: &str) -> String {
        let mut message = json!({"role": "assistant", "content": self.text, "refusal": null});
        if let Some(reasoning) = &self.reasoning {
            message["reasoning_content"] = json!(reasoning);
        }
        let logprobs = self.positions.as_ref().map(|positions| log_probabilities(positions));
        json!({
            "id": id,
            "object": "chat.completion",
            "created": 0,
            "model": body.model,
            "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": self.finish.name()}],
            "usage": self.usage(body)
        })
        .to_string()
    }

    /// The events of a streamed reply.
    pub(crate) fn events(&self, body: &ChatBody, id: &str) -> Vec<String> {
        let chunk = |choices: Value, usage: Value| {
            let chunk = json!({
                "id": id,
                "object": "chat.completion.chunk",
                "created": 0,
                "model": body.model,
                "choices": choices,
                "usage": usage
            });
            format!("data: {chunk}\n\n")
        };
        let piece = |delta: Value, logprobs: Value, finish: Value| {
            chunk(
                json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]),
                Value::Null,
            )
        };
        let mut events = vec![": this is a comment\n\n".to_owned()];
        events.push(piece(json!({"role": "assistant", "content": ""}), Value::Null, Value::Null));
        if let Some(reasoning) = &self.reasoning {
            events.push(piece(json!({"reasoning_content": reasoning}), Value::Null, Value::Null));
        }
        match &self.positions {
            Some(positions) => events.extend(positions.iter().map(|position| {
                let logprobs = log_probabilities(std::slice::from_ref(position));
                piece(json!({"content": position.token}), logprobs, Value::Null)
            })),
            None => events.extend(
                thirds(&self.text).map(|text| piece(json!({"content": text}), Value::Null, Value::Null)),
            ),
        }
        events.push(piece(json!({}), Value::Null, json!(self.finish.name())));
        if body.wants_usage_in_stream() {
            events.push(chunk(json!([]), self.usage(body)));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }
}

/// A text in about three pieces.
fn thirds(text: &str) -> impl Iterator<Item = String> {
    let characters: Vec<char> = text.chars().collect();
    let size = characters.len().div_ceil(3).max(1);
    characters.chunks(size).map(|piece| piece.iter().collect()).collect::<Vec<String>>().into_iter()
}

fn log_probabilities(positions: &[Position]) -> Value {
    let entry = |token: &str, probability: f64| json!({"token": token, "logprob": probability.ln(), "bytes": token.as_bytes()});
    let content: Vec<Value> = positions
        .iter()
        .map(|position| {
            let mut value = entry(&position.token, position.probability);
            value["top_logprobs"] =
                position.top.iter().map(|(token, weight)| entry(token, *weight)).collect();
            value
        })
        .collect();
    json!({"content": content, "refusal": null})
}

/// The body of an error.
pub(crate) fn error(message: &str, kind: &str, code: Option<&str>, param: Option<&str>) -> String {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}}).to_string()
}
