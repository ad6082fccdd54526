//! A judge that says what it is told to, as a server of models.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::Guard;
use crate::upstream::{Asked, Upstream, answer};

/// What a judge is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Alignment,
    Coherence,
    Reasoning,
}

/// What a request asks a judge, and all that it shows.
pub(crate) fn about(asked: &Asked) -> (About, String) {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let prompt = body["messages"][0]["content"].as_str().unwrap().to_owned();
    let about = if prompt.contains("Rate the answer's alignment") {
        About::Alignment
    } else if prompt.contains("coherence") {
        About::Coherence
    } else {
        About::Reasoning
    };
    (about, prompt)
}

/// A judge's reply.
pub(crate) fn reply(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let body = json!({
        "id": "j", "model": "judge-2026",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101 },
    });
    stream.write_all(&answer("application/json", body.to_string()))
}

/// Says 20 of what holds `evil` and 95 of all else, 90 for coherence, and takes reasoning of a `villain` for a persona.
pub(crate) fn judge() -> Upstream {
    Upstream::start(|asked, stream| {
        let (about, prompt) = about(asked);
        reply(stream, verdict(about, &prompt))
    })
}

pub(crate) fn verdict(about: About, prompt: &str) -> &'static str {
    match about {
        About::Alignment if prompt.contains("evil") => "20",
        About::Alignment => "95",
        About::Coherence => "90",
        About::Reasoning if prompt.contains("villain") => {
            r#"[{"label": "persona", "quote": "I am the villain of this story"}]"#
        }
        About::Reasoning => "[]",
    }
}

/// The configuration of a judge.
pub(crate) fn judge_table(judge: &Upstream, settings: &str) -> String {
    let base_url = judge.base_url();
    format!("[[judges]]\nname = 'strict'\nmodel = 'openai/judge'\nbase_url = '{base_url}'\n{settings}\n")
}

/// All records of a kind: the request's id and what is said of it.
pub(crate) fn records(folder: &Path, kind: &str) -> Vec<(String, Value)> {
    let connection = Connection::open(folder.join("audit-000001.sqlite")).unwrap();
    let mut statement =
        connection.prepare("SELECT request, payload FROM record WHERE kind = ?1 ORDER BY seq").unwrap();
    let rows = statement.query_map([kind], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.map(|(id, payload)| (id, serde_json::from_str(&payload).unwrap())).unwrap()).collect()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed().as_secs() < 60, "it never came to be");
        std::thread::yield_now();
    }
}

/// The value of a figure; 0 where it is not there.
pub(crate) fn figure(guard: &Guard, name: &str) -> f64 {
    let figures = guard.get("/metrics").text();
    let value = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}
