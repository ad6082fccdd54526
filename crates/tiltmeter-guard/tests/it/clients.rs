//! The official clients, unchanged, where they are installed: `TILTMETER_CLIENTS_PYTHON` names a Python with the packages
//! `openai` and `anthropic`, `TILTMETER_CLIENTS_NODE` a folder whose `node_modules` have `openai` and `@anthropic-ai/sdk`
//! (`npm ci` in `tests/clients-js` makes that folder one).

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
    let has_image = String::from_utf8_lossy(&asked.body).contains("R0lGODlhAQABAAAAACw=");
    let text = match body["model"].as_str() {
        Some("cut") => "forbidden",
        _ if has_image => "an image",
        _ => "caf\u{e9}",
    };
    if body["stream"] != true {
        let has_tools = body.get("tools").is_some();
        let choices: Vec<Value> = [0, 1]
            .into_iter()
            .map(|index| {
                let mut message = json!({ "role": "assistant", "content": text });
                if has_tools {
                    message["tool_calls"] = calls();
                }
                json!({ "index": index, "finish_reason": "stop", "message": message })
            })
            .collect();
        let whole = match path {
            "/v1/chat/completions" => json!({
                "id": "c", "object": "chat.completion", "created": 1, "model": "m",
                "choices": choices,
            }),
            "/v1/responses" => response(text),
            "/v1/messages" if has_tools => {
                message(json!([{ "type": "tool_use", "id": "t", "name": "f", "input": { "a": 1 } }]))
            }
            "/v1/messages" => message(json!([{ "type": "text", "text": text }])),
            "/v1/embeddings" => json!({
                "object": "list", "model": "m", "usage": { "prompt_tokens": 1, "total_tokens": 1 },
                "data": [{ "object": "embedding", "index": 0, "embedding": [0.5, 1.5] }],
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
            vec![
                delta(0, json!({ "role": "assistant", "content": text })),
                delta(1, json!({ "content": "second" })),
                delta(0, json!({ "tool_calls": calls() })),
                "data: [DONE]\n\n".to_owned(),
            ]
        }
    };
    let pieces = events.iter().flat_map(chunk).collect::<Vec<u8>>();
    [chunked_head("text/event-stream").as_bytes(), &pieces, LAST_CHUNK].concat()
}

fn calls() -> Value {
    json!([{ "index": 0, "id": "t", "type": "function", "function": { "name": "f", "arguments": "{}" } }])
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

/// What clients print that is sent through a gateway, whatever they are written in.
fn run(command: &mut Command) {
    let upstream = Upstream::start(|asked, stream| stream.write_all(&play(asked)));
    let patterns = "patterns = ['forbidden']".parse().unwrap();
    let guard = guarded(&upstream, "on_high = ['block']\n[routes.output]\ncheck = 'words'")
        .check("pattern", tiltmeter_guard::output::PatternCheck::from_settings(&patterns).unwrap())
        .with("[[output_checks]]\nname = 'words'\nkind = 'pattern'")
        .start();
    let output = command.arg(format!("http://{}", guard.address)).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<(String, Value)> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["what"].as_str().unwrap().to_owned(), line["value"].clone()))
        .collect();
    let expected = [
        ("chat", json!(["caf\u{e9}", "caf\u{e9}"])),
        ("chat tools", json!([["f", "{}"]])),
        ("chat image", json!("an image")),
        ("chat stream", json!(["caf\u{e9}", "second", "{}"])),
        ("embeddings", json!([0.5, 1.5])),
        ("models", json!(["m"])),
        ("responses", json!("caf\u{e9}")),
        ("responses stream", json!("caf\u{e9}")),
        ("chat blocked", json!("blocked_context")),
        ("chat cut", json!("blocked_output")),
        ("responses cut", json!("blocked_output")),
        ("messages", json!("caf\u{e9}")),
        ("messages tools", json!([["f", { "a": 1 }]])),
        ("messages image", json!("an image")),
        ("messages stream", json!("caf\u{e9}")),
        ("messages blocked", json!("permission_error")),
        ("messages cut", json!("permission_error")),
    ];
    let expected: Vec<(String, Value)> =
        expected.into_iter().map(|(what, value)| (what.to_owned(), value)).collect();
    assert_eq!(said, expected);
}

#[test]
fn pythons_official_clients_notice_nothing_but_what_they_should() {
    let Some(python) = std::env::var_os("TILTMETER_CLIENTS_PYTHON") else {
        println!("skipped: TILTMETER_CLIENTS_PYTHON names no Python with openai and anthropic");
        return;
    };
    run(Command::new(python).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients.py")));
}

#[test]
fn javascripts_official_clients_notice_nothing_but_what_they_should() {
    if std::env::var_os("TILTMETER_CLIENTS_NODE").is_none() {
        println!("skipped: TILTMETER_CLIENTS_NODE names no folder with openai and @anthropic-ai/sdk");
        return;
    }
    run(Command::new("node").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients-js/clients.mjs")));
}
