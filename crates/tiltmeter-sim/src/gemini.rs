//! Gemini's own protocol, as far as this server speaks it: `generateContent`, not streamed.

use serde_json::{Value, json};

use crate::request::{ChatBody, Message};
use crate::wire::{Answer, Finish};

/// The model that a call's last part of the path names, as in `gemini-2.5-pro:generateContent`.
pub(crate) fn model(call: &str) -> Option<&str> {
    call.strip_suffix(":generateContent")
}

/// A request, as the rest of the server looks at it.
pub(crate) fn read(model: &str, value: &Value) -> Result<ChatBody, String> {
    let text = |content: &Value| -> String {
        let parts = content["parts"].as_array().into_iter().flatten();
        parts.filter_map(|part| part["text"].as_str()).collect()
    };
    let mut messages = Vec::new();
    if let Some(system) = value.get("systemInstruction") {
        messages.push(Message { role: "system".to_owned(), content: text(system) });
    }
    for content in value["contents"].as_array().ok_or("contents is not specified")? {
        let role = match content["role"].as_str() {
            None | Some("user") => "user",
            Some("model") => "assistant",
            Some(_) => return Err("Please use a valid role: user, model.".to_owned()),
        };
        messages.push(Message { role: role.to_owned(), content: text(content) });
    }
    let config = &value["generationConfig"];
    Ok(ChatBody {
        model: model.to_owned(),
        messages,
        seed: config["seed"].as_u64(),
        temperature: config["temperature"].as_f64(),
        max_tokens: config["maxOutputTokens"].as_u64(),
        logprobs: None,
        top_logprobs: None,
        stream: None,
        stream_options: None,
    })
}

/// The body of a reply.
pub(crate) fn whole(answer: &Answer, body: &ChatBody, id: &str) -> String {
    let mut parts = Vec::new();
    if let Some(reasoning) = &answer.reasoning {
        parts.push(json!({"text": reasoning, "thought": true}));
    }
    parts.push(json!({"text": answer.text}));
    let (prompt, written) = answer.tokens(body);
    json!({
        "candidates": [{
            "content": {"role": "model", "parts": parts},
            "finishReason": match answer.finish { Finish::Stop => "STOP", Finish::Length => "MAX_TOKENS" },
            "index": 0
        }],
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": written,
            "thoughtsTokenCount": answer.reasoning_tokens,
            "totalTokenCount": prompt + written + answer.reasoning_tokens
        },
        "modelVersion": body.model,
        "responseId": id
    })
    .to_string()
}

/// The body of an error.
pub(crate) fn error(status: u16, message: &str) -> String {
    let name = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": message, "status": name}}).to_string()
}
