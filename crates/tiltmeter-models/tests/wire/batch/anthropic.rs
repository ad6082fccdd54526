//! Anthropic's batches.

use serde_json::{Value, json};
use tiltmeter_models::{Api, BatchId, BatchStatus, ErrorKind, FoundBatch};

use super::{batching, items, lost, shown};
use crate::server::{Answer, Server};
use crate::{KEY, endpoint, open};

const BATCH: &str = include_str!("../../fixtures/anthropic_batch/batch.json");
const RESULTS: &str = include_str!("../../fixtures/anthropic_batch/results.jsonl");
const REPLY: &str = include_str!("../../fixtures/anthropic/reply.json");
const SINCE: &str = "2025-11-24T18:40:00Z";

fn batch(changes: &Value) -> Value {
    let mut batch: Value = serde_json::from_str(BATCH).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        batch[name] = value.clone();
    }
    batch
}

#[tokio::test]
async fn a_request_is_what_chat_sends() {
    let server =
        Server::start(vec![Answer::json(200, BATCH), Answer::json(200, REPLY), Answer::json(200, REPLY)])
            .await;
    let model = batching(Api::Anthropic, &server);
    let id = model.batch().unwrap().submit("run-1", &items()).await.unwrap();
    assert_eq!(id.as_str(), "msgbatch_01");
    let asked_singly = open(Api::Anthropic, endpoint(&server));
    for item in items() {
        asked_singly.chat(&item.request).await.unwrap();
    }
    let received = server.received();
    let head = &received[0].head;
    assert!(head.starts_with("POST /v1/messages/batches HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("anthropic-version: 2023-06-01\r\n"), "{head}");
    let requests: Vec<_> = received[1..]
        .iter()
        .zip(["k1", "k2"])
        .map(|(single, key)| json!({"custom_id": key, "params": single.json()}))
        .collect();
    assert_eq!(received[0].json(), json!({ "requests": requests }));
}

#[tokio::test]
async fn how_far_a_batch_is() {
    let counts = |processing: u64, succeeded: u64, canceled: u64, expired: u64| json!({"processing": processing, "succeeded": succeeded, "errored": 0, "canceled": canceled, "expired": expired});
    let cases = [
        ("in_progress", counts(4, 0, 0, 0), "Running { done: 0, total: 4 }"),
        ("canceling", counts(4, 0, 0, 0), "Running { done: 0, total: 4 }"),
        ("ended", counts(0, 4, 0, 0), "Ended"),
        ("ended", counts(0, 3, 1, 0), "Cancelled"),
        ("ended", counts(0, 3, 0, 1), "Expired"),
    ];
    for (status, counts, expected) in cases {
        let body = batch(&json!({"processing_status": status, "request_counts": counts})).to_string();
        let server = Server::start(vec![Answer::json(200, &body)]).await;
        let model = batching(Api::Anthropic, &server);
        let status: BatchStatus = model.batch().unwrap().poll(&BatchId::new("msgbatch_01")).await.unwrap();
        assert_eq!(format!("{status:?}"), expected);
        assert!(server.received()[0].head.starts_with("GET /v1/messages/batches/msgbatch_01 HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn results_come_from_the_chosen_address_only() {
    // The batch says that its results are elsewhere.
    let elsewhere = Server::start(vec![Answer::new(200, &[], RESULTS.as_bytes())]).await;
    let named = batch(&json!({"results_url": format!("{}/steal", elsewhere.base_url)})).to_string();
    let server =
        Server::start(vec![Answer::json(200, &named), Answer::new(200, &[], RESULTS.as_bytes())]).await;
    let model = batching(Api::Anthropic, &server);
    let results = model.batch().unwrap().results(&BatchId::new("msgbatch_01")).await.unwrap();
    assert!(elsewhere.received().is_empty());
    let head = &server.received()[1].head;
    assert!(head.starts_with("GET /v1/messages/batches/msgbatch_01/results HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(KEY));
    assert_eq!(results.unreadable_lines, 1);
    let expected = [
        ("k1", Ok("Café\n☕")),
        ("k2", Err(ErrorKind::TimedOut)),
        ("k3", Err(ErrorKind::BadRequest)),
        ("k4", Err(ErrorKind::Overloaded)),
        ("k6", Err(ErrorKind::Interrupted)),
    ];
    assert_eq!(shown(&results).into_iter().collect::<Vec<_>>(), expected);
    let (_, answer) = results.answers.iter().find(|(key, _)| key == "k1").unwrap();
    let usage = answer.as_ref().unwrap().usage;
    assert_eq!((usage.input_tokens, usage.cached_input_tokens), (1020, 1000));
    // Nor does a redirection lead there.
    let location = format!("{}/steal", elsewhere.base_url);
    let redirected = Answer::new(302, &[("location", &location)], b"");
    let server = Server::start(vec![Answer::json(200, BATCH), redirected]).await;
    let model = batching(Api::Anthropic, &server);
    let error = model.batch().unwrap().results(&BatchId::new("msgbatch_01")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn a_lost_batch_is_found_as_surely_as_can_be() {
    let items = items();
    let two = |name: &str| json!({"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0, name: 2});
    let running = |id: &str, at: &str| {
        batch(&json!({"id": id, "processing_status": "in_progress", "created_at": at,
            "request_counts": two("processing"), "results_url": null}))
    };
    let ended = batch(&json!({"id": "msgbatch_02", "request_counts": two("succeeded")}));
    let larger = batch(&json!({"id": "msgbatch_03"}));
    let older = batch(&json!({"id": "msgbatch_00", "request_counts": two("succeeded"),
        "created_at": "2025-11-24T10:00:00Z"}));
    let list =
        |batches: &[&Value]| Answer::json(200, &json!({"data": batches, "has_more": false}).to_string());
    let ours = "{\"custom_id\": \"k2\", \"result\": {\"type\": \"expired\"}}\n";
    let anothers = ours.replace("k2", "elsewhere");
    let find = async |answers: Vec<Answer>, known: &[BatchId]| {
        let server = Server::start(answers).await;
        let model = batching(Api::Anthropic, &server);
        model.batch().unwrap().find(lost(&items, known, SINCE)).await.unwrap()
    };
    let certain = |id: &str| Some(FoundBatch::Certain(BatchId::new(id)));
    let likely = |id: &str| Some(FoundBatch::Likely(BatchId::new(id)));

    let first = running("msgbatch_10", "2025-11-24T18:41:00Z");
    let second = running("msgbatch_11", "2025-11-24T18:42:00Z");
    // The answers say so.
    let answers = vec![list(&[&second, &larger, &ended, &older]), Answer::new(200, &[], ours.as_bytes())];
    assert_eq!(find(answers, &[]).await, certain("msgbatch_02"));
    // They are somebody else's, so that the one that runs may be it.
    let answers = vec![list(&[&second, &ended]), Answer::new(200, &[], anothers.as_bytes())];
    assert_eq!(find(answers, &[]).await, likely("msgbatch_11"));
    // The first of those that run, unless it is known.
    assert_eq!(find(vec![list(&[&second, &first, &older])], &[]).await, likely("msgbatch_10"));
    let known = [BatchId::new("msgbatch_10 without seed")];
    assert_eq!(find(vec![list(&[&second, &first])], &known).await, likely("msgbatch_11"));
    assert_eq!(find(vec![list(&[&larger, &older])], &[]).await, None);
}
