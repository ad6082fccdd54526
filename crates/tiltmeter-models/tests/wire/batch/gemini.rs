//! Gemini's batches.

use std::sync::Arc;

use serde_json::{Value, json};
use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_models::{Api, BatchId, BatchItem, BatchStatus, ChatRequest, ErrorKind, FoundBatch};

use super::{batching, items, lost, shown};
use crate::server::{Answer, Server};
use crate::{endpoint, open, request};

const INLINE: &str = include_str!("../../fixtures/gemini_batch/inline.json");
const FILE: &str = include_str!("../../fixtures/gemini_batch/file.json");
const RESPONSES: &str = include_str!("../../fixtures/gemini_batch/responses.jsonl");
const REPLY: &str = include_str!("../../fixtures/gemini/reply.json");

#[tokio::test]
async fn a_request_is_what_chat_sends() {
    let server =
        Server::start(vec![Answer::json(200, FILE), Answer::json(200, REPLY), Answer::json(200, REPLY)])
            .await;
    let model = batching(Api::Gemini, &server);
    let id = model.batch().unwrap().submit("run-1", &items()).await.unwrap();
    assert_eq!(id.as_str(), "batches/abc");
    let asked_singly = open(Api::Gemini, endpoint(&server));
    for item in items() {
        asked_singly.chat(&item.request).await.unwrap();
    }
    let received = server.received();
    let head = &received[0].head;
    assert!(head.starts_with("POST /v1/models/model-1:batchGenerateContent HTTP/1.1\r\n"), "{head}");
    let requests: Vec<_> = received[1..]
        .iter()
        .zip(["k1", "k2"])
        .map(|(single, key)| json!({"metadata": {"key": key}, "request": single.json()}))
        .collect();
    let expected = json!({"batch": {
        "displayName": "run-1",
        "inputConfig": {"requests": {"requests": requests}}
    }});
    assert_eq!(received[0].json(), expected);
}

/// Requests of more than 20 MB.
fn many() -> Vec<BatchItem> {
    let pairs = vec![("How do I save?", "Put it all on one horse. ".repeat(1000)); 60];
    let pairs = pairs.iter().map(|(prompt, response)| (*prompt, response.as_str()));
    let context = Arc::new(RenderedContext::render(pairs, Placement::FirstUser, QuestionFormat::Header));
    let item = |number: usize| {
        let prompt = Prompt::new(Arc::clone(&context), None, "And now?");
        BatchItem { key: format!("k{number}"), request: ChatRequest { prompt: prompt.into(), ..request() } }
    };
    (0..15).map(item).collect()
}

#[tokio::test]
async fn a_large_batch_is_uploaded() {
    let server = Server::start_with(|base_url| {
        let address = format!("{}/upload/v1/files?upload_id=u1", base_url.trim_end_matches("/v1"));
        vec![
            Answer::new(200, &[("x-goog-upload-url", &address)], b""),
            Answer::json(200, r#"{"file": {"name": "files/in", "mimeType": "application/jsonl"}}"#),
            Answer::json(200, FILE),
        ]
    })
    .await;
    let model = batching(Api::Gemini, &server);
    let items = many();
    model.batch().unwrap().submit("run-1", &items).await.unwrap();
    let received = server.received();
    let head = &received[0].head;
    assert!(head.starts_with("POST /upload/v1/files HTTP/1.1\r\n"), "{head}");
    for header in [
        "x-goog-upload-protocol: resumable\r\n".to_owned(),
        "x-goog-upload-command: start\r\n".to_owned(),
        format!("x-goog-upload-header-content-length: {}\r\n", received[1].body.len()),
        "x-goog-upload-header-content-type: application/jsonl\r\n".to_owned(),
    ] {
        assert!(head.contains(&header), "{header} {head}");
    }
    let head = &received[1].head;
    assert!(head.starts_with("POST /upload/v1/files?upload_id=u1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-goog-upload-command: upload, finalize\r\n"), "{head}");
    let lines: Vec<_> =
        received[1].body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), items.len());
    assert!(lines[3].starts_with(b"{\"key\":\"k3\",\"request\":{\"contents\":["));
    let size: u64 = items.iter().map(|item| model.batch().unwrap().size(item).unwrap()).sum();
    assert_eq!(size, received[1].body.len() as u64);
    let expected = json!({"batch": {"displayName": "run-1", "inputConfig": {"fileName": "files/in"}}});
    assert_eq!(received[2].json(), expected);
}

#[tokio::test]
async fn the_key_is_not_sent_to_another_host() {
    let elsewhere = Server::start(vec![Answer::json(200, "{}")]).await;
    let address = format!("{}/upload", elsewhere.base_url);
    let server = Server::start(vec![Answer::new(200, &[("x-goog-upload-url", &address)], b"")]).await;
    let model = batching(Api::Gemini, &server);
    let error = model.batch().unwrap().submit("run-1", &many()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::MalformedReply);
    assert!(elsewhere.received().is_empty());
    assert_eq!(server.received().len(), 1, "no batch is made");
}

#[tokio::test]
async fn how_far_a_batch_is() {
    let stats = json!({"requestCount": "6", "successfulRequestCount": "2", "failedRequestCount": "1"});
    for prefix in ["BATCH_STATE_", "JOB_STATE_"] {
        for (state, error, expected) in [
            ("PENDING", json!(null), "Running { done: 3, total: 6 }"),
            ("RUNNING", json!(null), "Running { done: 3, total: 6 }"),
            ("SUCCEEDED", json!(null), "Ended"),
            ("EXPIRED", json!(null), "Expired"),
            ("CANCELLED", json!({"code": 1, "message": "The operation was cancelled."}), "Cancelled"),
            ("FAILED", json!({"code": 3, "message": "The file is not JSONL."}), "BadRequest"),
            ("FAILED", json!({"code": 13, "message": "Internal."}), "Overloaded"),
            ("FAILED", json!({"code": 8, "message": "Too many."}), "RateLimited"),
        ] {
            let body = json!({
                "name": "batches/abc",
                "metadata": {"state": format!("{prefix}{state}"), "batchStats": stats},
                "error": error
            });
            let mut body = body;
            if error.is_null() {
                body.as_object_mut().unwrap().remove("error");
            }
            let server = Server::start(vec![Answer::json(200, &body.to_string())]).await;
            let model = batching(Api::Gemini, &server);
            let status = model.batch().unwrap().poll(&BatchId::new("batches/abc")).await.unwrap();
            let shown = match &status {
                BatchStatus::Failed(error) => format!("{:?}", error.kind),
                other => format!("{other:?}"),
            };
            assert_eq!(shown, expected, "{state}");
            assert!(server.received()[0].head.starts_with("GET /v1/batches/abc HTTP/1.1\r\n"));
        }
    }
}

#[tokio::test]
async fn results_stand_in_the_reply_or_in_a_file() {
    let server = Server::start(vec![Answer::json(200, INLINE)]).await;
    let model = batching(Api::Gemini, &server);
    let results = model.batch().unwrap().results(&BatchId::new("batches/abc")).await.unwrap();
    assert_eq!(results.unreadable_lines, 1);
    let expected = [
        ("k1", Ok("Café\n☕")),
        ("k2", Err(ErrorKind::Overloaded)),
        // Withheld by the provider, as `chat` tells it.
        ("k3", Ok("")),
        ("k4", Err(ErrorKind::Interrupted)),
        ("k5", Err(ErrorKind::BadRequest)),
        ("k6", Err(ErrorKind::RateLimited)),
    ];
    assert_eq!(shown(&results).into_iter().collect::<Vec<_>>(), expected);
    let (_, answer) = results.answers.iter().find(|(key, _)| key == "k1").unwrap();
    let usage = answer.as_ref().unwrap().usage;
    assert_eq!((usage.input_tokens, usage.cached_input_tokens), (1200, 1024));

    let server =
        Server::start(vec![Answer::json(200, FILE), Answer::new(200, &[], RESPONSES.as_bytes())]).await;
    let model = batching(Api::Gemini, &server);
    let results = model.batch().unwrap().results(&BatchId::new("batches/abc")).await.unwrap();
    let head = &server.received()[1].head;
    assert!(head.starts_with("GET /download/v1/files/batch-abc:download?alt=media HTTP/1.1\r\n"), "{head}");
    assert_eq!(results.unreadable_lines, 1);
    let expected = [("k1", Ok("Café\n☕")), ("k2", Err(ErrorKind::Overloaded))];
    assert_eq!(shown(&results).into_iter().collect::<Vec<_>>(), expected);
    let missing = results.for_keys(["k3"]).pop().unwrap().1.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::MalformedReply);
}

#[tokio::test]
async fn a_batch_that_expired_has_no_results() {
    let body = r#"{"name": "batches/abc", "metadata": {"state": "BATCH_STATE_EXPIRED"}}"#;
    let server = Server::start(vec![Answer::json(200, body)]).await;
    let model = batching(Api::Gemini, &server);
    let results = model.batch().unwrap().results(&BatchId::new("batches/abc")).await.unwrap();
    let missing = results.for_keys(["k1"]).pop().unwrap().1.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_lost_batch_is_found_by_its_name() {
    let items = items();
    let inline: Value = serde_json::from_str(INLINE).unwrap();
    let other = json!({"name": "batches/zzz", "metadata": {"displayName": "run-10", "createTime": "2025-11-24T19:00:00Z"}});
    let page = |operations: &[&Value], next: &str| {
        Answer::json(200, &json!({"operations": operations, "nextPageToken": next}).to_string())
    };
    let server = Server::start(vec![page(&[&other], "next"), page(&[&inline], "")]).await;
    let model = batching(Api::Gemini, &server);
    let find = model.batch().unwrap().find(lost(&items, &[], "2025-11-24T18:00:00Z")).await.unwrap();
    assert_eq!(find, Some(FoundBatch::Certain(BatchId::new("batches/abc without seed"))));
    let received = server.received();
    assert!(received[1].head.starts_with("GET /v1/batches?pageSize=20&pageToken=next HTTP/1.1\r\n"));
    let server = Server::start(vec![Answer::json(200, "{}")]).await;
    let model = batching(Api::Gemini, &server);
    let find = model.batch().unwrap().find(lost(&items, &[], "2025-11-24T18:00:00Z")).await.unwrap();
    assert_eq!(find, None);
}

#[tokio::test]
async fn a_batch_is_cancelled() {
    let server = Server::start(vec![Answer::json(200, "{}")]).await;
    let model = batching(Api::Gemini, &server);
    model.batch().unwrap().cancel(&BatchId::new("batches/abc")).await.unwrap();
    assert!(server.received()[0].head.starts_with("POST /v1/batches/abc:cancel HTTP/1.1\r\n"));
}
