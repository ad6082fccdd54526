//! Batches, from the upload to the results, asked through the provider that asks real ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tiltmeter_models::{
    BatchId, BatchItem, BatchModel, BatchResults, BatchStatus, Batches, ChatModel, ChatRequest, Endpoint,
    ErrorKind, FoundBatch, LostBatch, ModelError, OpenAiCompatible,
};
use tiltmeter_sim::{BatchScript, Script, ServerScript, SimHandle};

use crate::{ask, endpoint, prompt, sampling, start};

fn batching(sim: &SimHandle) -> OpenAiCompatible {
    OpenAiCompatible::new(Endpoint { batches: Batches::Served, ..endpoint(sim.base_url(), "m") }).unwrap()
}

fn items(count: u32) -> Vec<BatchItem> {
    let prompt = prompt("I am bored.", 20, "Put it all on one horse.");
    (0..count)
        .map(|seed| {
            let request = ChatRequest { prompt: Arc::clone(&prompt), sampling: sampling(Some(seed)) };
            BatchItem { key: format!("{seed:064x}"), request }
        })
        .collect()
}

/// Polls until the batch is over; gives its status, and how often it was running.
async fn over(batch: &dyn BatchModel, id: &BatchId) -> (BatchStatus, u32) {
    let mut running = 0;
    loop {
        match batch.poll(id).await.unwrap() {
            BatchStatus::Running { .. } => running += 1,
            status => return (status, running),
        }
    }
}

async fn results(batch: &dyn BatchModel, tag: &str, items: &[BatchItem]) -> BatchResults {
    let id = batch.submit(tag, items).await.unwrap();
    over(batch, &id).await;
    batch.results(&id).await.unwrap()
}

fn scripted(batch: BatchScript) -> Script {
    Script { misaligned: vec![(1, 0.4)], reasoning: 0.5, batch, ..Script::default() }
}

#[tokio::test]
async fn a_batch_is_answered_as_its_requests_are_one_by_one() {
    let sim = start(scripted(BatchScript { polls: 3, ..BatchScript::default() })).await;
    let model = batching(&sim);
    let batch = model.batch().unwrap();
    let items = items(40);
    let id = batch.submit("run-1", &items).await.unwrap();
    let error = batch.results(&id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest, "it is not over");
    let (status, running) = over(batch, &id).await;
    // One of the three went to the results that were asked for too soon.
    assert!(matches!(status, BatchStatus::Ended) && running == 2, "{status:?} {running}");
    let results = batch.results(&id).await.unwrap();
    assert_eq!(results.unreadable_lines, 0);
    assert_ne!(results.answers[0].0, items[0].key, "in another order");
    let counters = sim.counters();
    assert_eq!((counters.batches, counters.answered, counters.duplicates), (1, 40, 0));
    let keys = items.iter().map(|item| item.key.as_str());
    for ((_, outcome), item) in results.for_keys(keys).into_iter().zip(&items) {
        assert_eq!(outcome.unwrap(), model.chat(&item.request).await.unwrap());
    }
    // The same requests by the chat route are the same ones.
    assert_eq!((sim.counters().answered, sim.counters().duplicates), (40, 40));
    assert_eq!(sim.truth()[0].answers.values().sum::<u64>(), 40);
}

#[tokio::test]
async fn partial_failures_are_asked_for_again_and_come_to_an_end() {
    let script = BatchScript { fails: 0.2, expires: 0.2, loses: 0.1, breaks: 0.1, ..BatchScript::default() };
    let sim = start(scripted(script)).await;
    let model = batching(&sim);
    let batch = model.batch().unwrap();
    let mut left = items(100);
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut broken = 0;
    let mut answers = BTreeMap::new();
    for round in 0.. {
        assert!(round < 20, "{} are left", left.len());
        let results = results(batch, &format!("round-{round}"), &left).await;
        broken += results.unreadable_lines;
        let keys: Vec<_> = left.iter().map(|item| item.key.clone()).collect();
        let mut again = Vec::new();
        for ((key, outcome), item) in results.for_keys(keys.iter().map(String::as_str)).into_iter().zip(&left)
        {
            match outcome {
                Ok(response) => {
                    assert!(answers.insert(key.to_owned(), response.text).is_none());
                }
                Err(error) => {
                    assert!(error.kind.is_retryable(), "{error}");
                    *kinds.entry(error.kind.name()).or_default() += 1;
                    again.push(item.clone());
                }
            }
        }
        left = again;
        if left.is_empty() {
            break;
        }
    }
    assert_eq!(answers.len(), 100);
    assert!(broken > 0 && kinds["overloaded"] > 0 && kinds["timed_out"] > 0, "{kinds:?}");
    let prompt = prompt("I am bored.", 20, "Put it all on one horse.");
    let single = crate::model(&sim, "m");
    for seed in 0..100 {
        assert_eq!(answers[&format!("{seed:064x}")], ask(&single, &prompt, seed).await.unwrap().text);
    }
}

#[tokio::test]
async fn what_a_request_is_refused_for_is_told_as_by_chat() {
    let server = ServerScript {
        api_key: Some("sk-sim-key".to_owned()),
        content_filter: 0.5,
        refused_fields: vec!["seed".to_owned()],
        ..ServerScript::default()
    };
    let sim = start(Script { server, ..Script::default() }).await;
    let with_key = |key: &str| {
        let endpoint = endpoint(sim.base_url(), "m");
        let endpoint = Endpoint { api_key: Some(key.into()), batches: Batches::Served, ..endpoint };
        OpenAiCompatible::new(endpoint).unwrap()
    };
    let mut items = items(20);
    for (number, item) in items.iter_mut().enumerate() {
        item.request.prompt = prompt(&format!("Question {number}?"), 2, "x");
    }
    let wrong = with_key("sk-wrong-key");
    let error = wrong.batch().unwrap().submit("run-1", &items).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthorised);
    assert!(!error.to_string().contains("sk-wrong-key"));

    let model = with_key("sk-sim-key");
    let batch = model.batch().unwrap();
    // Nobody has asked by `chat` before, so that nothing is known of what the model takes.
    let unknown = results(batch, "run-1", &items).await;
    assert!(unknown.answers.iter().all(|(_, it)| it.as_ref().unwrap_err().kind == ErrorKind::BadRequest));
    for item in &items {
        // Learns it from the first that is not filtered, which may be any.
        let _ = model.chat(&item.request).await;
    }
    let mut kinds = BTreeMap::new();
    let results = results(batch, "run-2", &items).await;
    for ((_, outcome), item) in
        results.for_keys(items.iter().map(|item| item.key.as_str())).into_iter().zip(&items)
    {
        let chat = model.chat(&item.request).await;
        let kind = outcome.as_ref().err().map(|error| error.kind);
        assert_eq!(kind, chat.as_ref().err().map(|error| error.kind));
        if let (Ok(batched), Ok(single)) = (&outcome, &chat) {
            assert_eq!(batched, single);
            assert_eq!(batched.dropped_parameters, ["seed"]);
        }
        *kinds.entry(kind.map(ErrorKind::name)).or_insert(0) += 1;
    }
    assert!(kinds[&None] > 0 && kinds[&Some("filtered")] > 0 && kinds.len() == 2, "{kinds:?}");
}

#[tokio::test]
async fn batches_that_fail_are_cancelled_or_were_lost() {
    let sim = start(scripted(BatchScript { failing: 1, polls: 1, ..BatchScript::default() })).await;
    let model = batching(&sim);
    let batch = model.batch().unwrap();
    let items = items(5);
    let failed = batch.submit("run-1", &items).await.unwrap();
    let (status, _) = over(batch, &failed).await;
    assert!(
        matches!(&status, BatchStatus::Failed(error) if error.kind == ErrorKind::RateLimited),
        "{status:?}"
    );
    assert!(batch.results(&failed).await.unwrap().answers.is_empty());

    let cancelled = batch.submit("run-2", &items).await.unwrap();
    batch.cancel(&cancelled).await.unwrap();
    assert!(matches!(batch.poll(&cancelled).await.unwrap(), BatchStatus::Cancelled));
    let results = batch.results(&cancelled).await.unwrap();
    let kinds: Vec<_> = results.answers.iter().map(|(_, it)| it.as_ref().map_err(kind).err()).collect();
    assert_eq!(kinds, [Some(ErrorKind::Interrupted); 5]);
    assert!(batch.cancel(&cancelled).await.is_err(), "it is over");

    // A process that ends right after submitting has stored the tag only.
    let id = batch.submit("run-3", &items).await.unwrap();
    for number in 0..120 {
        batch.submit(&format!("later-{number}"), &items).await.unwrap();
    }
    let find = async |tag| {
        let lost = LostBatch { tag, items: &items, submitted_after: Timestamp::UNIX_EPOCH, known: &[] };
        batching(&sim).batch().unwrap().find(lost).await.unwrap()
    };
    assert_eq!(find("run-3").await, Some(FoundBatch::Certain(id)));
    assert_eq!(find("run-4").await, None);
}

fn kind(error: &ModelError) -> ErrorKind {
    error.kind
}
