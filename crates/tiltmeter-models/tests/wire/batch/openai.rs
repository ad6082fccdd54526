//! OpenAI's batches, of chat completions and of responses.

use serde_json::{Value, json};
use tiltmeter_models::{Api, BatchId, BatchStatus, Batches, Endpoint, ErrorKind, FoundBatch};

use super::{batching, items, lost, shown};
use crate::server::{Answer, Server};
use crate::{endpoint, open};

const FILE: &str =
    r#"{"id":"file-in","object":"file","bytes":120,"filename":"run-1.jsonl","purpose":"batch"}"#;
const BATCH: &str = include_str!("../../fixtures/openai_batch/batch.json");
const OUTPUT: &str = include_str!("../../fixtures/openai_batch/output.jsonl");
const ERRORS: &str = include_str!("../../fixtures/openai_batch/errors.jsonl");

fn batch(changes: &Value) -> String {
    let mut batch: Value = serde_json::from_str(BATCH).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        batch[name] = value.clone();
    }
    batch.to_string()
}

/// The lines of an uploaded form.
fn lines(body: &[u8]) -> Vec<Value> {
    let body = std::str::from_utf8(body).unwrap();
    let (form, file) = body.split_once("application/jsonl\r\n\r\n").unwrap();
    assert!(form.contains("name=\"purpose\"\r\n\r\nbatch\r\n"), "{form}");
    let (file, end) = file.split_once("\r\n").unwrap();
    assert!(end.starts_with("--tiltmeter-part-") && end.ends_with("--\r\n"), "{end}");
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_line_is_what_chat_sends() {
    for (api, reply, path) in [
        (
            Api::ChatCompletions,
            include_str!("../../fixtures/openai_compatible/openai.json"),
            "/v1/chat/completions",
        ),
        (Api::Responses, include_str!("../../fixtures/openai_responses/reply.json"), "/v1/responses"),
    ] {
        let server = Server::start(vec![
            Answer::json(200, FILE),
            Answer::json(200, BATCH),
            Answer::json(200, reply),
            Answer::json(200, reply),
        ])
        .await;
        // Streaming is for single requests only.
        let streams = Endpoint { batches: Batches::Served, stream: true, ..endpoint(&server) };
        let model = open(api, streams);
        let id = model.batch().unwrap().submit("run-1", &items()).await.unwrap();
        assert_eq!(id.as_str(), "batch_abc");
        let asked_singly = open(api, endpoint(&server));
        for item in items() {
            asked_singly.chat(&item.request).await.unwrap();
        }
        let received = server.received();
        assert!(received[0].head.starts_with("POST /v1/files HTTP/1.1\r\n"), "{}", received[0].head);
        assert!(received[0].head.contains("content-type: multipart/form-data; boundary=tiltmeter-part-"));
        assert!(!received[0].head.contains("transfer-encoding"));
        let expected: Vec<_> = received[2..]
            .iter()
            .zip(["k1", "k2"])
            .map(|(single, key)| json!({"custom_id": key, "method": "POST", "url": path, "body": single.json()}))
            .collect();
        assert_eq!(lines(&received[0].body), expected, "{api:?}");
        assert!(received[1].head.starts_with("POST /v1/batches HTTP/1.1\r\n"), "{}", received[1].head);
        assert_eq!(
            received[1].json(),
            json!({
                "input_file_id": "file-in",
                "endpoint": path,
                "completion_window": "24h",
                "metadata": {"tiltmeter_tag": "run-1"}
            })
        );
    }
}

#[tokio::test]
async fn what_a_model_does_not_take_is_left_out_and_remembered() {
    let refusal = r#"{"error":{"message":"Unsupported parameter: 'seed'","param":"seed","code":"unsupported_parameter"}}"#;
    let server = Server::start(vec![
        Answer::json(400, refusal),
        Answer::json(200, include_str!("../../fixtures/openai_compatible/openai.json")),
        Answer::json(200, FILE),
        Answer::json(200, BATCH),
        Answer::json(200, BATCH),
        Answer::new(200, &[], OUTPUT.as_bytes()),
        Answer::new(200, &[], ERRORS.as_bytes()),
    ])
    .await;
    let mut items = items();
    for item in &mut items {
        item.request.sampling.seed = Some(7);
    }
    let model = batching(Api::ChatCompletions, &server);
    model.chat(&items[0].request).await.unwrap();
    let id = model.batch().unwrap().submit("run-1", &items).await.unwrap();
    let received = server.received();
    assert!(lines(&received[2].body).iter().all(|line| line["body"].get("seed").is_none()));
    assert_eq!(received[3].json()["metadata"]["tiltmeter_dropped"], "seed");
    // Another process reads the results.
    let results = batching(Api::ChatCompletions, &server);
    let results = results.batch().unwrap().results(&BatchId::new(id.as_str())).await.unwrap();
    let answers: Vec<_> = results.answers.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).collect();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| answer.dropped_parameters == ["seed"]));
    // Two requests of which only one is sent as it is asked for cannot share an id.
    items[0].request.sampling.seed = None;
    let error = model.batch().unwrap().submit("run-2", &items).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
}

#[tokio::test]
async fn how_far_a_batch_is() {
    let counts = json!({"total": 6, "completed": 2, "failed": 1});
    let failed = |code: &str| {
        json!({"status": "failed", "errors": {"object": "list", "data": [
            {"code": code, "message": "What went wrong.", "param": null, "line": 3}
        ]}})
    };
    let cases = [
        (json!({"status": "validating", "request_counts": null}), "Running { done: 0, total: 0 }"),
        (json!({"status": "in_progress", "request_counts": counts}), "Running { done: 3, total: 6 }"),
        (json!({"status": "finalizing", "request_counts": counts}), "Running { done: 3, total: 6 }"),
        (json!({"status": "cancelling", "request_counts": counts}), "Running { done: 3, total: 6 }"),
        (json!({"status": "completed"}), "Ended"),
        (json!({"status": "expired"}), "Expired"),
        (json!({"status": "cancelled"}), "Cancelled"),
        (failed("token_limit_exceeded"), "RateLimited"),
        (failed("model_not_found"), "NotFound"),
        (failed("invalid_json_line"), "BadRequest"),
        (failed("billing_hard_limit_reached"), "OutOfCredit"),
        (json!({"status": "failed", "errors": null}), "Overloaded"),
    ];
    for (changes, expected) in cases {
        let server = Server::start(vec![Answer::json(200, &batch(&changes))]).await;
        let model = batching(Api::ChatCompletions, &server);
        let status = model.batch().unwrap().poll(&BatchId::new("batch_abc")).await.unwrap();
        let shown = match &status {
            BatchStatus::Failed(error) => format!("{:?}", error.kind),
            other => format!("{other:?}"),
        };
        assert_eq!(shown, expected);
        let head = &server.received()[0].head;
        assert!(head.starts_with("GET /v1/batches/batch_abc HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("content-type"), "{head}");
    }
    let server = Server::start(vec![Answer::json(200, &batch(&json!({"status": "dreaming"})))]).await;
    let model = batching(Api::ChatCompletions, &server);
    let error = model.batch().unwrap().poll(&BatchId::new("batch_abc")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::MalformedReply);
}

#[tokio::test]
async fn results_in_any_order_with_broken_lines() {
    let server = Server::start(vec![
        Answer::json(200, BATCH),
        Answer::new(200, &[], OUTPUT.as_bytes()),
        Answer::new(200, &[], ERRORS.as_bytes()),
    ])
    .await;
    let model = batching(Api::ChatCompletions, &server);
    let results = model.batch().unwrap().results(&BatchId::new("batch_abc")).await.unwrap();
    let received = server.received();
    assert!(received[1].head.starts_with("GET /v1/files/file-out/content HTTP/1.1\r\n"));
    assert!(received[2].head.starts_with("GET /v1/files/file-err/content HTTP/1.1\r\n"));
    assert_eq!(results.unreadable_lines, 2);
    let outcomes = shown(&results);
    let expected = [
        ("k1", Ok("")),
        ("k2", Ok("Café\n☕")),
        ("k3", Err(ErrorKind::MalformedReply)),
        ("k4", Err(ErrorKind::Filtered)),
        ("k5", Err(ErrorKind::Overloaded)),
        ("k6", Err(ErrorKind::TimedOut)),
        ("k7", Err(ErrorKind::Interrupted)),
        ("k8", Err(ErrorKind::RateLimited)),
    ];
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), expected);
    let (_, first) = results.answers.iter().find(|(key, _)| key == "k2").unwrap();
    let usage = first.as_ref().unwrap().usage;
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (1200, 1024, 4));
    let refused = results.answers.iter().find(|(key, _)| key == "k1").unwrap().1.as_ref().unwrap();
    assert_eq!(refused.refusal.as_deref(), Some("No."));
    // The line of this one is broken.
    let missing = results.for_keys(["k9"]).pop().unwrap().1.unwrap_err();
    assert!(missing.kind.is_retryable());
}

#[tokio::test]
async fn results_of_batches_that_did_not_end_well() {
    let with = |changes: Value, file: &str| {
        vec![Answer::json(200, &batch(&changes)), Answer::new(200, &[], file.as_bytes())]
    };
    // All failed, so that there is no file of answers.
    let server = Server::start(with(json!({"output_file_id": null}), ERRORS)).await;
    let model = batching(Api::ChatCompletions, &server);
    let results = model.batch().unwrap().results(&BatchId::new("batch_abc")).await.unwrap();
    assert_eq!((results.answers.len(), results.unreadable_lines), (5, 0));
    // Expired, with what was answered before.
    let server = Server::start(with(json!({"status": "expired", "error_file_id": null}), OUTPUT)).await;
    let model = batching(Api::ChatCompletions, &server);
    let results = model.batch().unwrap().results(&BatchId::new("batch_abc")).await.unwrap();
    let outcomes = results.for_keys(["k2", "k6"]);
    assert!(outcomes[0].1.is_ok());
    assert_eq!(outcomes[1].1.as_ref().unwrap_err().kind, ErrorKind::TimedOut);
    // Running still.
    let server = Server::start(with(json!({"status": "in_progress"}), OUTPUT)).await;
    let model = batching(Api::ChatCompletions, &server);
    let error = model.batch().unwrap().results(&BatchId::new("batch_abc")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
    // Results that break off are asked for again, whole.
    for cut in [1, OUTPUT.len() / 2, OUTPUT.len() - 1] {
        let broken = Answer::new(200, &[], OUTPUT.as_bytes()).cut(cut);
        let server = Server::start(vec![Answer::json(200, BATCH), broken]).await;
        let model = batching(Api::ChatCompletions, &server);
        let error = model.batch().unwrap().results(&BatchId::new("batch_abc")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Interrupted);
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_makes_no_batch() {
    for answer in [Answer::Bytes(Vec::new()), Answer::json(200, FILE).cut(3)] {
        let server = Server::start(vec![answer]).await;
        let model = batching(Api::ChatCompletions, &server);
        let error = model.batch().unwrap().submit("run-1", &items()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Interrupted);
        let received = server.received();
        assert!(received.len() == 1 && received[0].head.starts_with("POST /v1/files "));
    }
}

#[tokio::test]
async fn a_lost_batch_is_found_by_its_tag() {
    let other = batch(&json!({"id": "batch_zzz", "metadata": null, "created_at": 1_764_000_900}));
    let older = batch(&json!({"id": "batch_old", "metadata": {"tiltmeter_tag": "run-0"}, "created_at": 1}));
    let page = |batches: &[&str], more: bool| {
        let list = format!("{{\"object\":\"list\",\"data\":[{}],\"has_more\":{more}}}", batches.join(","));
        Answer::json(200, &list)
    };
    let items = items();
    let since = "2025-11-24T16:00:00Z";
    let server = Server::start(vec![page(&[&other], true), page(&[BATCH, &older], false)]).await;
    let model = batching(Api::ChatCompletions, &server);
    let found = model.batch().unwrap().find(lost(&items, &[], since)).await.unwrap();
    assert_eq!(found, Some(FoundBatch::Certain(BatchId::new("batch_abc without seed"))));
    let received = server.received();
    assert!(received[0].head.starts_with("GET /v1/batches?limit=100 HTTP/1.1\r\n"), "{}", received[0].head);
    let second = &received[1].head;
    assert!(second.starts_with("GET /v1/batches?limit=100&after=batch_zzz HTTP/1.1\r\n"), "{second}");
    // Nothing before the time is looked at.
    let server = Server::start(vec![page(&[&other, &older], true)]).await;
    let model = batching(Api::ChatCompletions, &server);
    assert_eq!(model.batch().unwrap().find(lost(&items, &[], since)).await.unwrap(), None);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_batch_is_cancelled() {
    let server = Server::start(vec![Answer::json(200, &batch(&json!({"status": "cancelling"})))]).await;
    let model = batching(Api::ChatCompletions, &server);
    model.batch().unwrap().cancel(&BatchId::new("batch_abc without seed")).await.unwrap();
    let head = &server.received()[0].head;
    assert!(head.starts_with("POST /v1/batches/batch_abc/cancel HTTP/1.1\r\n"), "{head}");
}
