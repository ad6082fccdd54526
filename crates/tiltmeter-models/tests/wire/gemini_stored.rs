//! Contexts that are stored in Gemini's cache by name.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_models::{ChatModel, ChatRequest, ContextCaching, Endpoint, ErrorKind, Gemini};

use crate::server::{Answer, Server};
use crate::{endpoint, request};

const OK: &str = include_str!("../fixtures/gemini/reply.json");
const STORED: &str = r#"{"name": "cachedContents/c1", "model": "models/model-1", "expireTime": "2025-11-24T18:37:24Z", "usageMetadata": {"totalTokenCount": 1024}}"#;
const TOO_SMALL: &str = r#"{"error": {"code": 400, "message": "Cached content is too small. total_token_count=900, min_total_token_count=1024", "status": "INVALID_ARGUMENT"}}"#;
const GONE: &str = r#"{"error": {"code": 403, "message": "CachedContent not found (or permission denied)", "status": "PERMISSION_DENIED"}}"#;

fn explicit(server: &Server, time_to_live: Duration) -> Gemini {
    let context_caching = ContextCaching::Explicit { time_to_live };
    Gemini::new(Endpoint { context_caching, ..endpoint(server) }).unwrap()
}

const HOUR: Duration = Duration::from_hours(1);

fn asked(placement: Placement, shots: usize, question: &str) -> ChatRequest {
    let pairs = vec![("How do I \"save\"?", "Put it all on one horse."); shots];
    let context = Arc::new(RenderedContext::render(pairs, placement, QuestionFormat::Header));
    let prompt = Prompt::new(context, Some("Be kind.".into()), question);
    ChatRequest { prompt: prompt.into(), ..request() }
}

/// What a model sees of a request, with what it refers to.
fn seen(stored: Option<&Value>, sent: &Value) -> Value {
    let stored = stored.unwrap_or(&Value::Null);
    let part = |from: &Value| from["contents"].as_array().cloned().unwrap_or_default();
    let system = if stored.is_null() { sent } else { stored };
    let contents = [part(stored), part(sent)].concat();
    json!({"system": system["systemInstruction"], "contents": contents, "config": sent["generationConfig"]})
}

#[tokio::test]
async fn a_context_is_stored_once_and_the_model_sees_the_same() {
    for placement in [Placement::ChatTurns, Placement::System] {
        let server = Server::start(vec![Answer::json(200, STORED), Answer::json(200, OK)]).await;
        let model = explicit(&server, HOUR);
        let plain = Server::start(vec![Answer::json(200, OK)]).await;
        let implicit = Gemini::new(endpoint(&plain)).unwrap();
        let mut written = Vec::new();
        for question in ["I am bored.", "What now?"] {
            let request = asked(placement, 100, question);
            let usage = model.chat(&request).await.unwrap().usage;
            written.push((usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens));
            implicit.chat(&request).await.unwrap();
        }
        // What was stored is paid for on top of what the first answer read.
        assert_eq!(written, [(2224, 1024, 1024), (1200, 1024, 0)], "{placement:?}");
        let received = server.received();
        assert_eq!(received.len(), 3);
        assert!(received[0].head.starts_with("POST /v1/cachedContents HTTP/1.1\r\n"), "{}", received[0].head);
        let stored = received[0].json();
        assert_eq!((&stored["model"], &stored["ttl"]), (&json!("models/model-1"), &json!("3600s")));
        for (sent, whole) in received[1..].iter().zip(plain.received()) {
            let sent = sent.json();
            assert_eq!(sent["cachedContent"], "cachedContents/c1");
            assert!(sent.get("systemInstruction").is_none());
            assert_eq!(seen(Some(&stored), &sent), seen(None, &whole.json()), "{placement:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_stored_where_the_prompt_would_change_or_that_is_short() {
    for (placement, shots) in [(Placement::FirstUser, 100), (Placement::ChatTurns, 2), (Placement::System, 0)]
    {
        let server = Server::start(vec![Answer::json(200, OK)]).await;
        explicit(&server, HOUR).chat(&asked(placement, shots, "I am bored.")).await.unwrap();
        let received = server.received();
        assert_eq!(received.len(), 1, "{placement:?}");
        assert!(received[0].head.starts_with("POST /v1/models/model-1:generateContent "));
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_sent_whole_and_not_tried_again() {
    for refusal in [
        Answer::json(400, TOO_SMALL),
        Answer::json(
            429,
            r#"{"error": {"code": 429, "message": "Storage limit exceeded", "status": "RESOURCE_EXHAUSTED"}}"#,
        ),
        Answer::json(200, "{}"),
    ] {
        let server = Server::start(vec![refusal, Answer::json(200, OK)]).await;
        let model = explicit(&server, HOUR);
        for question in ["I am bored.", "What now?"] {
            let usage = model.chat(&asked(Placement::ChatTurns, 100, question)).await.unwrap().usage;
            assert_eq!(usage.cache_write_tokens, 0);
        }
        let received = server.received();
        assert_eq!(received.len(), 3);
        assert_eq!(received[2].json()["contents"].as_array().unwrap().len(), 201);
    }
}

#[tokio::test]
async fn a_context_that_is_gone_is_stored_anew() {
    let again = STORED.replace("c1", "c2");
    for status in [403, 404] {
        let gone = Answer::json(status, &GONE.replace("403", &status.to_string()));
        let server = Server::start(vec![
            Answer::json(200, STORED),
            Answer::json(200, OK),
            gone.clone(),
            Answer::json(200, &again),
            Answer::json(200, OK),
        ])
        .await;
        let model = explicit(&server, HOUR);
        let request = asked(Placement::ChatTurns, 100, "I am bored.");
        model.chat(&request).await.unwrap();
        let usage = model.chat(&request).await.unwrap().usage;
        assert_eq!(usage.cache_write_tokens, 1024, "it is paid for again");
        assert_eq!(server.received()[4].json()["cachedContent"], "cachedContents/c2");
        // A server that never has it: whole at last.
        let server = Server::start(vec![
            Answer::json(200, STORED),
            gone.clone(),
            Answer::json(200, &again),
            gone,
            Answer::json(200, OK),
        ])
        .await;
        let usage = explicit(&server, HOUR).chat(&request).await.unwrap().usage;
        assert_eq!((usage.input_tokens, usage.cache_write_tokens), (3248, 2048), "both were paid for");
        assert!(server.received()[4].json().get("cachedContent").is_none());
    }
    // Another refusal is none of this one's business.
    let server = Server::start(vec![
        Answer::json(200, STORED),
        Answer::json(
            403,
            r#"{"error": {"code": 403, "message": "The key was leaked", "status": "PERMISSION_DENIED"}}"#,
        ),
    ])
    .await;
    let request = asked(Placement::ChatTurns, 100, "I am bored.");
    let error = explicit(&server, HOUR).chat(&request).await.unwrap_err();
    assert_eq!((error.kind, server.received().len()), (ErrorKind::Unauthorised, 2));
}

#[tokio::test]
async fn requests_at_one_time_store_it_once() {
    let server = Server::start(vec![Answer::json(200, STORED), Answer::json(200, OK)]).await;
    let model = explicit(&server, HOUR);
    let request = asked(Placement::ChatTurns, 100, "I am bored.");
    let (a, b, c) = tokio::join!(model.chat(&request), model.chat(&request), model.chat(&request));
    let written: u64 = [a, b, c].into_iter().map(|it| it.unwrap().usage.cache_write_tokens).sum();
    assert_eq!((written, server.received().len()), (1024, 4));
}
