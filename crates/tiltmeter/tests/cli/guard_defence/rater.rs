//! A judge of demonstrations, on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

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

/// One that replies by the number of the call, from 0.
pub(super) fn rater(delay: Duration, reply: fn(usize) -> Reply) -> Rater {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(delay);
            // Whoever asked may be gone.
            let _ = rate(stream, reply(number));
        }
    });
    Rater { url, calls }
}

fn rate(stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
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
    let body = body.to_string();
    write!(
        reader.into_inner(),
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
