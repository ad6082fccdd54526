//! Checks of answers: what is held back, what is cut, what is said to be unchecked.

use std::io::Write as _;
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};

use crate::support::{Guard, Plan, post};
use crate::upstream::{LAST_CHUNK, Upstream, answer, chunk, chunked_head};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"m","messages":[],"stream":true}"#;

fn checked(upstream: &Upstream, output: &str, settings: &str) -> Plan {
    let settings = format!("patterns = ['forbidden']\n{settings}").parse().unwrap();
    Plan::to(&upstream.base_url())
        .check("pattern", tiltmeter_guard::output::PatternCheck::from_settings(&settings).unwrap())
        .with("[[output_checks]]\nname = 'words'\nkind = 'pattern'")
        .with("[[routes]]\nname = 'all'\nmodels = ['*']")
        .with(&format!("[routes.output]\ncheck = 'words'\n{output}"))
}

fn delta(choice: u64, text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": choice, "delta": { "content": text } }] }))
}

/// A stream in pieces as they are.
fn streaming(pieces: Vec<Vec<u8>>) -> Upstream {
    Upstream::start(move |_, stream| {
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        for piece in &pieces {
            stream.write_all(&chunk(piece))?;
        }
        stream.write_all(LAST_CHUNK)
    })
}

fn figure(guard: &Guard, name: &str) -> f64 {
    let figures = guard.get("/metrics").text();
    let line = figures.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or("x 0");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_harmless_stream_arrives_byte_for_byte_wherever_it_is_split() {
    let stream = format!(
        ": hello\n\n{}{}data: {}\r\n\r\n{}data: {}\n\ndata: [DONE]\n\n",
        delta(0, "caf\u{e9} \u{1f600} and"),
        delta(1, "else"),
        json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\"" } }] } }] }),
        delta(0, " more, for"),
        json!({ "choices": [], "usage": { "total_tokens": 3 } }),
    );
    let bytes = stream.as_bytes();
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        let pieces =
            [first, second].into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
        let upstream = streaming(pieces);
        let guard = checked(&upstream, "on_failure = 'closed'", "").start();
        let reply = guard.post(CHAT, BODY).expect(200, "none");
        assert!(reply.is_complete, "split at {at}");
        assert_eq!(reply.text(), stream, "split at {at}");
        assert!(figure(&guard, "tiltmeter_guard_stream_unchecked_bytes_total") < 1.0);
    }
}

#[test]
fn what_is_cut_ends_in_an_error_of_its_protocol() {
    let chat = [
        delta(0, "first "),
        delta(1, "fine"),
        delta(0, "for"),
        delta(0, "bidden"),
        "data: [DONE]\n\n".to_owned(),
    ];
    let event = |kind: &str, data: Value| format!("event: {kind}\ndata: {data}\n\n");
    let text = |text: &str| {
        event(
            "content_block_delta",
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } }),
        )
    };
    let anthropic = [
        text("first "),
        text("for"),
        text("bidden"),
        event("message_stop", json!({ "type": "message_stop" })),
    ];
    let said = |text: &str| {
        event(
            "response.output_text.delta",
            json!({ "type": "response.output_text.delta", "output_index": 0, "delta": text }),
        )
    };
    let responses = [
        said("first "),
        said("forbid"),
        said("den"),
        event("response.completed", json!({ "type": "response.completed", "response": { "output": [] } })),
    ];
    let cases = [
        (CHAT, chat.concat(), r#""code":"blocked_output""#, "data: "),
        ("/v1/messages", anthropic.concat(), r#""type":"permission_error""#, "event: error\n"),
        ("/v1/responses", responses.concat(), r#""code":"blocked_output""#, "event: error\n"),
    ];
    for (path, stream, error, start) in cases {
        // The check gives each choice's text only once 20 bytes follow it: nothing may have been given before the cut.
        let upstream = streaming(vec![stream.into_bytes()]);
        let guard = checked(&upstream, "", "window = 20").start();
        let reply = guard.post(path, r#"{"model":"m","messages":[],"input":[]}"#).expect(200, "none");
        let text = reply.text();
        assert!(reply.is_complete);
        assert!(text.starts_with(start) && text.contains(error), "{text}");
        for absent in ["first", "bid", "[DONE]", "message_stop", "completed"] {
            assert!(!text.contains(absent), "{text}");
        }
        assert!((figure(&guard, "tiltmeter_guard_stream_cut_total") - 1.0).abs() < 0.5);
    }
}

#[test]
fn text_goes_on_as_soon_as_it_may() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::start(move |_, stream| {
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        for text in ["0123456789", "0123456789", "abc"] {
            stream.write_all(&chunk(delta(0, text)))?;
            let _ = wait.lock().unwrap().recv();
        }
        stream.write_all(&chunk("data: [DONE]\n\n"))?;
        stream.write_all(LAST_CHUNK)
    });
    let guard = checked(&upstream, "", "window = 10").start();
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.head();
    // The first waits for ten bytes after it.
    go.send(()).unwrap();
    assert_eq!(connection.chunk().unwrap(), delta(0, "0123456789").into_bytes());
    go.send(()).unwrap();
    go.send(()).unwrap();
    let mut rest = Vec::new();
    while let Some(piece) = connection.chunk() {
        rest.extend(piece);
    }
    let expected = format!("{}{}data: [DONE]\n\n", delta(0, "0123456789"), delta(0, "abc"));
    assert_eq!(String::from_utf8(rest).unwrap(), expected);
}

#[test]
fn more_than_may_be_held_back_follows_the_policy() {
    let stream: String =
        (0..50).map(|_| delta(0, "0123456789")).chain(["data: [DONE]\n\n".to_owned()]).collect();
    let upstream = streaming(vec![stream.clone().into_bytes()]);
    let guard = checked(&upstream, "hold_back_bytes = 400", "window = 1000").start();
    assert_eq!(guard.post(CHAT, BODY).text(), stream);
    assert!(figure(&guard, "tiltmeter_guard_stream_unchecked_bytes_total") > 400.0);
    let guard = checked(&upstream, "hold_back_bytes = 400\non_failure = 'closed'", "window = 1000").start();
    let text = guard.post(CHAT, BODY).text();
    assert!(text.contains("blocked_output") && !text.contains("0123"), "{text}");
    // An event without end is bounded as well.
    let endless = streaming(vec![b"data: ".to_vec(), vec![b'x'; 5000]]);
    let guard = checked(&endless, "hold_back_bytes = 400\non_failure = 'closed'", "").start();
    assert!(guard.post(CHAT, BODY).text().starts_with("data: {\"error\""));
}

#[test]
fn what_cannot_be_read_follows_the_policy() {
    for (kind, body) in [
        ("text/event-stream", "{\"choices\":[]}"),
        ("text/event-stream", "data: no json\n\n"),
        ("application/json", "data: {}\n\ndata: [DONE]\n\n"),
        ("text/plain", "\u{0}\u{1}"),
    ] {
        let upstream = Upstream::fixed(answer(kind, body));
        let guard = checked(&upstream, "", "").start();
        assert_eq!(guard.post(CHAT, BODY).expect(200, "none").text(), body);
        assert!(
            figure(&guard, "tiltmeter_guard_stream_unchecked_bytes_total") >= body.len() as f64,
            "{kind} {body}"
        );
        let guard = checked(&upstream, "on_failure = 'closed'", "").start();
        let text = guard.post(CHAT, BODY).text();
        assert!(text.contains("blocked_output") && !text.contains(body), "{text}");
    }
}

#[test]
fn an_answer_that_does_not_stream_is_checked_before_it_begins() {
    let say = |text: &str| {
        json!({ "choices": [{ "index": 0, "message": { "content": "fine" } }, { "index": 1, "message": { "content": text } }] }).to_string()
    };
    let harmless = say("good");
    let upstream = Upstream::fixed(answer("application/json", &harmless));
    let guard = checked(&upstream, "", "").start();
    let headers = "accept-encoding: gzip\r\n";
    assert_eq!(guard.raw(post(CHAT, headers, BODY)).expect(200, "none").text(), harmless);
    assert_eq!(upstream.last().header("accept-encoding"), Some("identity"));
    let upstream = Upstream::fixed(answer("application/json", say("for\u{62}idden")));
    checked(&upstream, "", "").start().post(CHAT, BODY).expect(403, "blocked_output");
    // More than is read for it.
    let large = say(&"x".repeat(5000));
    let upstream = Upstream::fixed(answer("application/json", &large));
    let reply = checked(&upstream, "hold_back_bytes = 1000", "").start().post(CHAT, BODY).expect(200, "none");
    assert!(reply.is_complete);
    assert_eq!(reply.text(), large);
    checked(&upstream, "hold_back_bytes = 1000\non_failure = 'closed'", "")
        .start()
        .post(CHAT, BODY)
        .expect(403, "blocked_output");
}

#[test]
fn a_checked_answer_that_breaks_off_never_looks_complete() {
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        stream.write_all(&chunk(delta(0, "0123456789")))?;
        Err(std::io::ErrorKind::Other.into())
    });
    for (policy, expected) in [("open", delta(0, "0123456789")), ("closed", String::new())] {
        let guard = checked(&upstream, &format!("on_failure = '{policy}'"), "").start();
        let mut connection = guard.connect();
        connection.send(post(CHAT, "", BODY));
        let reply = connection.reply();
        assert!(!reply.is_complete);
        assert_eq!(reply.text(), expected);
    }
}

#[test]
fn trying_out_cuts_nothing_and_holds_nothing_back() {
    let stream = format!("{}{}data: [DONE]\n\n", delta(0, "forbidden"), delta(0, "more"));
    let upstream = streaming(vec![stream.clone().into_bytes()]);
    let plan = checked(&upstream, "on_failure = 'closed'", "");
    let plan =
        Plan { config: plan.config.replace("models = ['*']", "models = ['*']\ndry_run = true"), ..plan };
    let guard = plan.start();
    assert_eq!(guard.post(CHAT, BODY).expect(200, "none").text(), stream);
    assert!(figure(&guard, "tiltmeter_guard_stream_cut_total") < 1.0);
}

#[test]
fn what_is_not_checked_is_counted() {
    let body = "{\"choices\":[]}";
    let upstream = Upstream::fixed(answer("application/json", body));
    let guard = Plan::to(&upstream.base_url()).start();
    guard.post(CHAT, BODY).expect(200, "none");
    // The answer is there before its end is counted; its connection's next request is not.
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.reply();
    connection.send(post(CHAT, "", BODY));
    connection.reply();
    assert!(figure(&guard, "tiltmeter_guard_stream_unchecked_bytes_total") >= 2.0 * body.len() as f64);
}
