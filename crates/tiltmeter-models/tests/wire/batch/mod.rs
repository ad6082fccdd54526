//! Batches of all providers.

mod anthropic;
mod gemini;
mod openai;

use std::collections::BTreeMap;
use std::sync::Arc;

use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_models::{
    Api, BatchId, BatchItem, BatchResults, Batches, ChatModel, ChatRequest, Endpoint, ErrorKind, LostBatch,
    provider,
};

use crate::server::{Answer, Server};
use crate::{KEY, endpoint, open, request};

fn batching(api: Api, server: &Server) -> Arc<dyn ChatModel> {
    open(api, Endpoint { batches: Batches::Served, ..endpoint(server) })
}

/// Two items with the same context.
fn items() -> Vec<BatchItem> {
    let pairs = [("a \"quoted\"\tprompt\u{2028}", "an answer\u{1}"), ("b", "☕")];
    let context = Arc::new(RenderedContext::render(pairs, Placement::FirstUser, QuestionFormat::Header));
    ["I am bored.", "What now?"]
        .into_iter()
        .zip(["k1", "k2"])
        .map(|(question, key)| {
            let prompt = Prompt::new(Arc::clone(&context), None, question);
            BatchItem { key: key.to_owned(), request: ChatRequest { prompt: prompt.into(), ..request() } }
        })
        .collect()
}

fn lost<'a>(items: &'a [BatchItem], known: &'a [BatchId], since: &str) -> LostBatch<'a> {
    LostBatch { tag: "run-1", items, submitted_after: since.parse().unwrap(), known }
}

/// Texts and kinds of errors by key.
fn shown(results: &BatchResults) -> BTreeMap<&str, Result<&str, ErrorKind>> {
    let shown = results.answers.iter().map(|(key, outcome)| {
        let outcome = outcome.as_ref().map(|response| response.text.as_str()).map_err(|error| error.kind);
        (key.as_str(), outcome)
    });
    shown.collect()
}

const APIS: [Api; 4] = [Api::ChatCompletions, Api::Responses, Api::Gemini, Api::Anthropic];

#[tokio::test]
async fn only_the_providers_own_servers_take_batches() {
    let server = Server::start(Vec::new()).await;
    for api in APIS {
        assert!(open(api, endpoint(&server)).batch().is_none(), "{api:?}");
        let limits = batching(api, &server).batch().unwrap().limits();
        assert!((limits.price_factor - 0.5).abs() < 1e-9 && limits.most_requests >= 50_000, "{api:?}");
    }
    for (name, expected) in [
        ("openai", Batches::Served),
        ("openai-responses", Batches::Served),
        ("gemini", Batches::Served),
        ("anthropic", Batches::Served),
        ("openrouter", Batches::None),
        ("vllm", Batches::None),
    ] {
        let endpoint = Endpoint::of_provider(provider(name).unwrap(), "m").unwrap();
        assert_eq!(endpoint.batches, expected, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_batch_is_not_sent() {
    let server = Server::start(vec![Answer::json(200, "{}")]).await;
    let good = items();
    let keyed = |key: &str| vec![BatchItem { key: key.to_owned(), ..good[0].clone() }];
    let long = "a".repeat(65);
    let sha = "0f".repeat(32);
    for api in APIS {
        let model = batching(api, &server);
        let batch = model.batch().unwrap();
        for (tag, items) in [
            ("run-1", Vec::new()),
            ("run-1", keyed("")),
            ("run-1", keyed(&long)),
            ("run-1", keyed("a b")),
            ("run-1", vec![good[0].clone(), good[0].clone()]),
            ("", good.clone()),
            ("run 1", good.clone()),
            (&long, good.clone()),
        ] {
            let error = batch.submit(tag, &items).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadRequest, "{api:?} {tag:?}: {error}");
        }
        assert!(batch.size(&keyed(&sha)[0]).unwrap() > 64);
        for id in ["", "../files", "batch 1", "batch?x"] {
            let error = batch.poll(&BatchId::new(id)).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadRequest, "{api:?} {id:?}");
        }
    }
    assert!(server.received().is_empty());
    // A hash of 32 bytes may be a key.
    let model = batching(Api::Anthropic, &server);
    let error = model.batch().unwrap().submit(&sha, &keyed(&sha)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::MalformedReply);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_batch_that_is_not_known_is_said_to_be_so() {
    for api in APIS {
        let body = r#"{"error":{"message":"no such batch","type":"not_found_error"}}"#;
        let server = Server::start(vec![Answer::json(404, body)]).await;
        let model = batching(api, &server);
        let error = model.batch().unwrap().poll(&BatchId::new("batch_x")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{api:?}");
    }
}

#[tokio::test]
async fn a_server_that_repeats_the_key_is_not_repeated() {
    let error = format!("{{\"message\":\"no {KEY}\",\"code\":\"{KEY}\"}}");
    let bodies = [
        format!("{{\"error\":{error}}}"),
        format!("{{\"id\":\"b\",\"status\":\"failed\",\"errors\":{{\"data\":[{error}]}}}}"),
        format!("{{\"name\":\"b\",\"metadata\":{{\"state\":\"BATCH_STATE_FAILED\"}},\"error\":{error}}}"),
        format!("{{\"id\":\"b\",\"status\":\"{KEY}\"}}"),
        KEY.to_owned(),
    ];
    for api in APIS {
        for (status, body) in
            [200, 400].into_iter().flat_map(|status| bodies.iter().map(move |it| (status, it)))
        {
            let server = Server::start(vec![Answer::json(status, body)]).await;
            let model = batching(api, &server);
            let batch = model.batch().unwrap();
            let id = BatchId::new("batch_x");
            let items = items();
            let shown = format!(
                "{:?} {:?} {:?} {:?} {:?}",
                batch.poll(&id).await,
                batch.results(&id).await.map(|results| results.answers),
                batch.submit("run-1", &items).await,
                batch.find(lost(&items, &[], "2025-11-24T18:00:00Z")).await,
                batch.cancel(&id).await,
            );
            assert!(!shown.contains(KEY), "{api:?} {status} {body}: {shown}");
        }
    }
}
