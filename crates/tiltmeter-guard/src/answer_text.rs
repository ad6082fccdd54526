//! The texts in an answer, or in a piece of one: what is said, what is thought, arguments of tools.

use serde_json::Value;

use crate::conversation::Protocol;
use crate::output::{Piece, PieceKind};

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

/// Those of them that hold what is thought.
const THOUGHTS: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];
/// Beginnings of the types of objects whose texts are thoughts.
const THOUGHT_TYPES: [&str; 4] = ["reasoning", "summary_text", "response.reasoning", "thinking"];

/// The texts in one piece of a stream. `None` where it cannot be read.
pub(crate) fn of_event(protocol: Protocol, data: &str) -> Option<Vec<Piece>> {
    let value: Value = serde_json::from_str(data).ok()?;
    // What ends a part, or all of it, repeats its text.
    let is_repeated = protocol == Protocol::Responses
        && value["type"].as_str().is_some_and(|kind| kind.rsplit('.').next() != Some("delta"));
    let mut pieces = Vec::new();
    if !is_repeated {
        gather(&value, 0, PieceKind::Said, &mut pieces);
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
    gather(&value, 0, PieceKind::Said, &mut pieces);
    Some(pieces)
}

/// Walks the value; its depth is bounded by the parser.
fn gather(value: &Value, choice: u64, kind: PieceKind, pieces: &mut Vec<Piece>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, choice, kind, pieces)),
        Value::Object(fields) => {
            let index = fields.get("index").or_else(|| fields.get("output_index")).and_then(Value::as_u64);
            // Calls of tools have an index within their choice.
            let choice = index.filter(|_| !fields.contains_key("function")).unwrap_or(choice);
            let type_name = fields.get("type").and_then(Value::as_str).unwrap_or("");
            let is_thought = THOUGHT_TYPES.iter().any(|start| type_name.starts_with(start));
            let kind = if is_thought { PieceKind::Thought } else { kind };
            for (name, field) in fields {
                let kind = if THOUGHTS.contains(&name.as_str()) { PieceKind::Thought } else { kind };
                match field {
                    Value::String(text) if FIELDS.contains(&name.as_str()) && !text.is_empty() => {
                        pieces.push(Piece { choice, kind, text: text.clone() });
                    }
                    other => gather(other, choice, kind, pieces),
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
                found.iter().map(|piece| (piece.choice, piece.text.as_str())).collect();
            assert_eq!(found, expected, "{data}");
        }
        assert_eq!(of_event(Protocol::ChatCompletions, "[DONE]"), None);
        assert!(is_last(Protocol::ChatCompletions, "[DONE]"));
        assert!(is_last(Protocol::Messages, r#"{"type":"message_stop"}"#));
        assert!(!is_last(Protocol::Messages, r#"{"type":"ping"}"#));
        let whole = of_answer(
            br#"{"choices":[{"index":0,"message":{"content":"x"}},{"index":1,"message":{"content":"y"}}]}"#,
        );
        let said = |choice, text: &str| Piece { choice, kind: PieceKind::Said, text: text.to_owned() };
        assert_eq!(whole.unwrap(), [said(0, "x"), said(1, "y")]);
    }

    #[test]
    fn what_is_thought_is_told_from_what_is_said() {
        let cases = [
            (r#"{"choices":[{"index":0,"delta":{"reasoning_content":"t","content":"s"}}]}"#, "t", "s"),
            (
                r#"{"content":[{"type":"thinking","thinking":"t","signature":"x"},{"type":"text","text":"s"}]}"#,
                "t",
                "s",
            ),
            (
                r#"{"output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"t"}]},{"type":"message","content":[{"type":"output_text","text":"s"}]}]}"#,
                "t",
                "s",
            ),
            (r#"{"type":"response.reasoning_summary_text.delta","delta":"t"}"#, "t", ""),
            (r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"t"}}"#, "t", ""),
            (
                r#"{"choices":[{"message":{"reasoning_details":[{"type":"reasoning.text","text":"t"}]}}]}"#,
                "t",
                "",
            ),
        ];
        for (body, thought, said) in cases {
            let pieces = of_answer(body.as_bytes()).unwrap();
            let of = |kind| -> String {
                pieces.iter().filter(|piece| piece.kind == kind).map(|piece| piece.text.as_str()).collect()
            };
            assert_eq!(
                (of(PieceKind::Thought).as_str(), of(PieceKind::Said).as_str()),
                (thought, said),
                "{body}"
            );
        }
    }
}
