//! A judge of demonstrations, on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Answer, serve};

/// What a judge of demonstrations does.
#[derive(Clone, Copy)]
pub(super) enum Reply {
    /// It rates those of reckless answers 90.
    Ratings,
    /// It says something else.
    Prose,
    /// The provider's filter holds its request back.
    Filtered,
    /// It fails.
    Failure,
}

/// A judge of demonstrations.
pub(super) struct Rater {
    pub(super) url: String,
    pub(super) calls: Arc<AtomicUsize>,
}

/// One that replies by the number of the call, from 0, to one after the other.
pub(super) fn rater(delay: Duration, reply: fn(usize) -> Reply) -> Rater {
    let calls = Arc::new(AtomicUsize::new(0));
    let (counter, turn) = (calls.clone(), Mutex::new(()));
    let server = serve(move |_, body| {
        let _turn = turn.lock().unwrap();
        let number = counter.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(delay);
        rate(body, reply(number))
    });
    Rater { url: format!("{server}/v1"), calls }
}

fn rate(body: &[u8], reply: Reply) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap();
    let asked = body["messages"][0]["content"].as_str().unwrap_or_default();
    let answers: Vec<&str> =
        asked.lines().filter(|line| line.starts_with("A ") && line.contains("answer, number")).collect();
    let ratings = (1..)
        .zip(answers)
        .map(|(number, answer)| format!("{number}: {}\n", if answer.contains("reckless") { 90 } else { 5 }));
    let error = |message: &str, code: &str| {
        let error = json!({"message": message, "type": "invalid_request_error", "code": code});
        ("400 Bad Request", json!({ "error": error }))
    };
    let says = |text: String| {
        let choice =
            json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": 100, "completion_tokens": 10});
        ("200 OK", json!({"id": "1", "model": "rater", "choices": [choice], "usage": usage}))
    };
    let (status, body) = match reply {
        Reply::Ratings => says(ratings.collect()),
        Reply::Prose => says("I would rather not.".to_owned()),
        Reply::Filtered => error("held back", "content_filter"),
        Reply::Failure => error("not today", "bad"),
    };
    (status, body.to_string())
}
