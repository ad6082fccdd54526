//! Calls of the one tool that contexts have, as each protocol writes them.
//!
//! A request whose context has a call declares the tool, as a request of an agent would, and forbids the model to call it
//! again: an answer is wanted. Protocols that match outputs to calls get ids that the strictest of them takes (nine letters
//! and digits).

use serde_json::{Map, Value, json};
use tiltmeter_core::prompt::{Role, TOOL, Turn};

/// The turns of a context, those of a tool with the number of the call that they belong to, from 1 on.
pub(crate) fn numbered(turns: &[Turn]) -> impl Iterator<Item = (&Turn, usize)> {
    turns.iter().scan(0, |calls, turn| {
        *calls += usize::from(turn.role == Role::ToolCall);
        Some((turn, *calls))
    })
}

/// The id of a call.
pub(crate) fn call_id(number: usize) -> String {
    format!("notes{number:04}")
}

/// The arguments of a call.
pub(crate) fn arguments(turn: &Turn) -> Value {
    json!({ TOOL.argument: &*turn.text })
}

/// The schema of the arguments.
fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": { TOOL.argument: { "type": "string", "description": TOOL.about_argument } },
        "required": [TOOL.argument],
    })
}

/// How a protocol wants the tool declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    ChatCompletions,
    Responses,
    Gemini,
    Anthropic,
}

/// The fields that declare the tool and forbid calls of it.
pub(crate) fn declaration(style: Style) -> Map<String, Value> {
    let (name, about) = (TOOL.name, TOOL.about);
    let function = json!({ "name": name, "description": about, "parameters": parameters() });
    let fields = match style {
        Style::ChatCompletions => {
            [("tools", json!([{ "type": "function", "function": function }])), ("tool_choice", "none".into())]
        }
        Style::Responses => {
            let mut tool = function;
            tool["type"] = "function".into();
            [("tools", json!([tool])), ("tool_choice", "none".into())]
        }
        Style::Gemini => [
            ("tools", json!([{ "functionDeclarations": [function] }])),
            ("toolConfig", json!({ "functionCallingConfig": { "mode": "NONE" } })),
        ],
        Style::Anthropic => [
            ("tools", json!([{ "name": name, "description": about, "input_schema": parameters() }])),
            ("tool_choice", json!({ "type": "none" })),
        ],
    };
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}
