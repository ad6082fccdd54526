//! The texts in an answer, or in a piece of one: what is said, what is thought, arguments of tools.

use serde_json::Value;

use crate::conversation::Protocol;

/// Fields that hold text of a model's.
const FIELDS: [&str; 9] = [
    "content",
    "text",
    "arguments",
    "reasoning_content",
    "reasoning",
    "thinking",
    "refusal",
    "partial_json",
    "delta",
];

/// A piece of text, and the choice that it is of.
pub(crate) type Piece = (u64, String);

/// The texts in one piece of a stream. `None` where it cannot be read.
pub(crate) fn of_event(protocol: Protocol, data: &str) -> Option<Vec<Piece>> {
    let value: Value = serde_json::from_str(data).ok()?;
    // What ends a part, or all of it, repeats its text.
    let is_repeated = protocol == Protocol::Responses
        && value["type"].as_str().is_some_and(|kind| kind.rsplit('.').next() != Some("delta"));
    let mut pieces = Vec::new();
    if !is_repeated {
        gather(&value, 0, &mut pieces);
    }
    Some(pieces)
}

/// Whether a piece of a stream is its last: nothing that is given after it counts.
pub(crate) fn is_last(protocol: Protocol, data: &str) -> bool {
    let kind = || serde_json::from_str::<Value>(data).ok()?["type"].as_str().map(str::to_owned);
    match protocol {
        Protocol::Messages => kind().as_deref() == Some("message_stop"),
        Protocol::Responses => matches!(
            kind().as_deref(),
            Some("response.completed" | "response.incomplete" | "response.failed")
        ),
        Protocol::ChatCompletions | Protocol::Other => data.trim() == "[DONE]",
    }
}

/// The texts in a whole answer. `None` where it cannot be read.
pub(crate) fn of_answer(body: &[u8]) -> Option<Vec<Piece>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let mut pieces = Vec::new();
    gather(&value, 0, &mut pieces);
    Some(pieces)
}

/// Walks the value; its depth is bounded by the parser.
fn gather(value: &Value, choice: u64, pieces: &mut Vec<Piece>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, choice, pieces)),
        Value::Object(fields) => {
            let index = fields.get("index").or_else(|| fields.get("output_index")).and_then(Value::as_u64);
            // Calls of tools have an index within their choice.
            let choice = index.filter(|_| !fields.contains_key("function")).unwrap_or(choice);
            for (name, field) in fields {
                match field {
                    Value::String(text) if FIELDS.contains(&name.as_str()) && !text.is_empty() => {
                        pieces.push((choice, text.clone()));
                    }
                    other => gather(other, choice, pieces),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_in_all_protocols() {
        type Case = (Protocol, &'static str, &'static [(u64, &'static str)]);
        let cases: [Case; 7] = [
            (
                Protocol::ChatCompletions,
                r#"{"choices":[{"index":1,"delta":{"content":"a","role":"assistant"}}]}"#,
                &[(1, "a")],
            ),
            (
                Protocol::ChatCompletions,
                r#"{"choices":[{"index":2,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}}]}"#,
                &[(2, "{")],
            ),
            (
                Protocol::ChatCompletions,
                r#"{"choices":[{"index":0,"delta":{"reasoning_content":"r"}}]}"#,
                &[(0, "r")],
            ),
            (
                Protocol::Messages,
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"b"}}"#,
                &[(1, "b")],
            ),
            (
                Protocol::Responses,
                r#"{"type":"response.output_text.delta","output_index":3,"delta":"c"}"#,
                &[(3, "c")],
            ),
            (Protocol::Responses, r#"{"type":"response.output_text.done","output_index":3,"text":"c"}"#, &[]),
            (Protocol::ChatCompletions, r#"{"choices":[],"usage":{}}"#, &[]),
        ];
        for (protocol, data, expected) in cases {
            let found = of_event(protocol, data).unwrap();
            let found: Vec<(u64, &str)> =
                found.iter().map(|(choice, text)| (*choice, text.as_str())).collect();
            assert_eq!(found, expected, "{data}");
        }
        assert_eq!(of_event(Protocol::ChatCompletions, "[DONE]"), None);
        assert!(is_last(Protocol::ChatCompletions, "[DONE]"));
        assert!(is_last(Protocol::Messages, r#"{"type":"message_stop"}"#));
        assert!(!is_last(Protocol::Messages, r#"{"type":"ping"}"#));
        let whole = of_answer(
            br#"{"choices":[{"index":0,"message":{"content":"x"}},{"index":1,"message":{"content":"y"}}]}"#,
        );
        assert_eq!(whole.unwrap(), [(0, "x".to_owned()), (1, "y".to_owned())]);
    }
}
