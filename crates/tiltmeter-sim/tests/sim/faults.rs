//! What goes wrong, and what becomes of it on the client's side.

use std::collections::BTreeMap;
use std::time::Duration;

use tiltmeter_models::{Endpoint, ErrorKind, OpenAiCompatible};
use tiltmeter_sim::{Fault, FaultScript, Script, ServerScript};

use crate::{ask, endpoint, model, prompt, start};

#[tokio::test]
async fn each_fault_is_what_it_should_be_to_the_client() {
    let cases = [
        (Fault::RateLimited, Some(ErrorKind::RateLimited)),
        (Fault::RateLimitedWithoutHint, Some(ErrorKind::RateLimited)),
        (Fault::ServerError, Some(ErrorKind::Overloaded)),
        (Fault::BadGateway, Some(ErrorKind::Overloaded)),
        (Fault::Unavailable, Some(ErrorKind::Overloaded)),
        (Fault::Overloaded, Some(ErrorKind::Overloaded)),
        (Fault::Reset, Some(ErrorKind::Interrupted)),
        (Fault::CutBody, Some(ErrorKind::Interrupted)),
        (Fault::HtmlPage, Some(ErrorKind::MalformedReply)),
        (Fault::MalformedJson, Some(ErrorKind::MalformedReply)),
        (Fault::WrongContentType, None),
        (Fault::Delay, None),
    ];
    for stream in [false, true] {
        for (fault, expected) in cases {
            let faults = FaultScript { schedule: vec![fault, Fault::None], ..FaultScript::default() };
            let sim = start(Script { faults, ..Script::default() }).await;
            let model = OpenAiCompatible::new(Endpoint { stream, ..endpoint(sim.base_url(), "m") }).unwrap();
            let prompt = prompt("I am bored.", 0, "");
            let first = ask(&model, &prompt, 1).await;
            let retry_after = first.as_ref().err().and_then(|error| error.retry_after);
            let hint = (fault == Fault::RateLimited).then_some(Duration::from_millis(10));
            assert_eq!(retry_after, hint, "{fault:?}");
            assert_eq!(first.err().map(|error| error.kind), expected, "{fault:?}, stream: {stream}");
            ask(&model, &prompt, 1).await.unwrap();
            let counters = sim.counters();
            let was_answered_first = u64::from(expected.is_none());
            assert_eq!((counters.answered, counters.duplicates), (1, was_answered_first), "{fault:?}");
            assert_eq!(counters.faults, BTreeMap::from([(fault, 1)]));
        }
    }
}

#[tokio::test]
async fn rates_hold_and_end_after_so_many_attempts() {
    let rates = BTreeMap::from([(Fault::RateLimited, 0.3), (Fault::Unavailable, 0.3)]);
    let faults = FaultScript { rates, attempts: Some(2), ..FaultScript::default() };
    let sim = start(Script { faults, ..Script::default() }).await;
    let model = model(&sim, "m");
    let prompt = prompt("I am bored.", 0, "");
    let mut failures = 0;
    for seed in 0..200 {
        let first_two = [ask(&model, &prompt, seed).await, ask(&model, &prompt, seed).await];
        failures += first_two.iter().filter(|outcome| outcome.is_err()).count();
        ask(&model, &prompt, seed).await.unwrap();
    }
    // 400 attempts at 0.6: four standard errors are 39.
    assert!((201..=279).contains(&failures), "{failures}");
}

#[tokio::test]
async fn requests_that_are_refused_for_what_they_are() {
    let server = ServerScript {
        api_key: Some("sk-sim-key".to_owned()),
        models: vec!["m".to_owned()],
        context_limit: Some(500),
        ..ServerScript::default()
    };
    let sim = start(Script { server: server.clone(), ..Script::default() }).await;
    let with_key = |key: &str, name: &str| {
        OpenAiCompatible::new(Endpoint { api_key: Some(key.into()), ..endpoint(sim.base_url(), name) })
            .unwrap()
    };
    let short = prompt("I am bored.", 1, "x");
    let long = prompt("I am bored.", 200, "x");
    ask(&with_key("sk-sim-key", "m"), &short, 1).await.unwrap();
    let cases = [
        ("sk-wrong-key", "m", &short, ErrorKind::Unauthorised, None),
        ("sk-sim-key", "other", &short, ErrorKind::NotFound, None),
        ("sk-sim-key", "m", &long, ErrorKind::ContextTooLong, Some(500)),
    ];
    for (key, name, prompt, kind, limit) in cases {
        let error = ask(&with_key(key, name), prompt, 1).await.unwrap_err();
        assert_eq!((error.kind, error.context_limit), (kind, limit), "{error}");
        assert!(!error.message.contains(key), "{error}");
    }
    let filtered = ServerScript { content_filter: 1.0, ..ServerScript::default() };
    let sim = start(Script { server: filtered, ..Script::default() }).await;
    assert_eq!(ask(&model(&sim, "m"), &short, 1).await.unwrap_err().kind, ErrorKind::Filtered);
}

#[tokio::test]
async fn a_stopped_server_is_gone_for_requests_in_flight_too() {
    let server = ServerScript { latency_ms: 200, ..ServerScript::default() };
    let sim = start(Script { server, ..Script::default() }).await;
    let model = model(&sim, "m");
    let prompt = prompt("I am bored.", 0, "");
    let in_flight = async {
        // The server sees the request before it is stopped.
        while sim.counters().most_in_flight == 0 {
            tokio::task::yield_now().await;
        }
    };
    let asked = ask(&model, &prompt, 1);
    tokio::pin!(asked);
    tokio::select! {
        outcome = &mut asked => unreachable!("answered at once: {outcome:?}"),
        () = in_flight => {}
    }
    sim.stop().await;
    assert_eq!(asked.await.unwrap_err().kind, ErrorKind::Interrupted);
    assert_eq!(ask(&model, &prompt, 1).await.unwrap_err().kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_script_that_cannot_be_played_is_refused() {
    let error = tiltmeter_sim::Sim::start(Script { code: 2.0, ..Script::default() }).await.unwrap_err();
    assert_eq!(error.to_string(), "`code` is 2: write a number from 0 to 1");
}
