//! The official clients, unchanged, where a Python has them: `TILTMETER_CLIENTS_PYTHON` names it, with the packages
//! `openai` and `anthropic`.

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::acting::guarded;
use crate::upstream::{Asked, LAST_CHUNK, Upstream, answer, chunk, chunked_head};

fn event(data: &Value) -> String {
    match data["type"].as_str() {
        Some(kind) => format!("event: {kind}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}

/// What a server answers, in all protocols; where the model is `cut`, something that the check of answers cuts.
fn play(asked: &Asked) -> Vec<u8> {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let path = asked.line.split(' ').nth(1).unwrap();
    let text = if body["model"] == "cut" { "forbidden" } else { "caf\u{e9}" };
    if body["stream"] != true {
        let choices: Vec<Value> = [0, 1]
            .into_iter()
            .map(|index| {
                json!({
                    "index": index, "finish_reason": "stop", "message": { "role": "assistant", "content": text },
                })
            })
            .collect();
        let whole = match path {
            "/v1/chat/completions" => json!({
                "id": "c", "object": "chat.completion", "created": 1, "model": "m",
                "choices": choices,
            }),
            "/v1/responses" => response(text),
            "/v1/messages" => message(json!([{ "type": "text", "text": text }])),
            "/v1/embeddings" => json!({
                "object": "list", "model": "m", "usage": { "prompt_tokens": 1, "total_tokens": 1 },
                "data": [{ "object": "embedding", "index": 0, "embedding": [0.5, 1.0] }],
            }),
            _ => {
                json!({ "object": "list", "data": [{ "id": "m", "object": "model", "created": 1, "owned_by": "o" }] })
            }
        };
        return answer("application/json", whole.to_string());
    }
    let events: Vec<String> = match path {
        "/v1/messages" => [
            json!({ "type": "message_start", "message": message(json!([])) }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null }, "usage": { "output_tokens": 1 } }),
            json!({ "type": "message_stop" }),
        ]
        .iter()
        .map(event)
        .collect(),
        "/v1/responses" => [
            json!({ "type": "response.output_text.delta", "sequence_number": 1, "item_id": "i", "output_index": 0, "content_index": 0, "logprobs": [], "delta": text }),
            json!({ "type": "response.completed", "sequence_number": 2, "response": response(text) }),
        ]
        .iter()
        .map(event)
        .collect(),
        _ => {
            let delta = |index: u64, delta: Value| {
                event(&json!({
                    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{ "index": index, "delta": delta, "finish_reason": null }],
                }))
            };
            let call = json!([{ "index": 0, "id": "t", "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
            vec![
                delta(0, json!({ "role": "assistant", "content": text })),
                delta(1, json!({ "content": "second" })),
                delta(0, json!({ "tool_calls": call })),
                "data: [DONE]\n\n".to_owned(),
            ]
        }
    };
    let pieces = events.iter().flat_map(chunk).collect::<Vec<u8>>();
    [chunked_head("text/event-stream").as_bytes(), &pieces, LAST_CHUNK].concat()
}

fn response(text: &str) -> Value {
    json!({
        "id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "parallel_tool_calls": true,
        "tool_choice": "auto", "tools": [],
        "output": [{
            "type": "message", "id": "i", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }],
    })
}

#[expect(clippy::needless_pass_by_value, reason = "a value to build another of")]
fn message(content: Value) -> Value {
    json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason": null,
        "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 1 },
    })
}

#[test]
fn official_clients_notice_nothing_but_what_they_should() {
    let Some(python) = std::env::var_os("TILTMETER_CLIENTS_PYTHON") else {
        println!("skipped: TILTMETER_CLIENTS_PYTHON names no Python with openai and anthropic");
        return;
    };
    let upstream = Upstream::start(|asked, stream| stream.write_all(&play(asked)));
    let patterns = "patterns = ['forbidden']".parse().unwrap();
    let guard = guarded(&upstream, "on_high = ['block']\n[routes.output]\ncheck = 'words'")
        .check("pattern", tiltmeter_guard::output::PatternCheck::from_settings(&patterns).unwrap())
        .with("[[output_checks]]\nname = 'words'\nkind = 'pattern'")
        .start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients.py");
    let output = Command::new(python).arg(script).arg(format!("http://{}", guard.address)).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<(String, Value)> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["what"].as_str().unwrap().to_owned(), line["value"].clone()))
        .collect();
    let expected = [
        ("chat", json!(["caf\u{e9}", "caf\u{e9}"])),
        ("chat stream", json!(["caf\u{e9}", "second", "{}"])),
        ("embeddings", json!([0.5, 1.0])),
        ("models", json!(["m"])),
        ("responses", json!("caf\u{e9}")),
        ("responses stream", json!("caf\u{e9}")),
        ("chat blocked", json!("blocked_context")),
        ("chat cut", json!("blocked_output")),
        ("responses cut", json!("blocked_output")),
        ("messages", json!("caf\u{e9}")),
        ("messages stream", json!("caf\u{e9}")),
        ("messages blocked", json!("permission_error")),
        ("messages cut", json!("permission_error")),
    ];
    let expected: Vec<(String, Value)> =
        expected.into_iter().map(|(what, value)| (what.to_owned(), value)).collect();
    assert_eq!(said, expected);
}
