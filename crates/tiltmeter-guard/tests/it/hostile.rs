//! Requests that want the gateway and the server behind it to read different things, or too much.

use crate::support::{Plan, post};
use crate::upstream::{LAST_CHUNK, Upstream, answer, chunk};

const CHAT: &str = "/v1/chat/completions";

fn upstream() -> Upstream {
    Upstream::fixed(answer("application/json", "{}"))
}

#[test]
fn a_request_within_a_request_does_not_get_through() {
    let inner = "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\n{}";
    let body = r#"{"a":1}"#;
    let both = format!(
        "{}{}",
        String::from_utf8(chunk(body)).unwrap(),
        String::from_utf8(LAST_CHUNK.to_vec()).unwrap()
    );
    let whole = format!("{both}{inner}");
    for lengths in [
        format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", whole.len()),
        format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", whole.len()),
    ] {
        let upstream = upstream();
        let guard = Plan::to(&upstream.base_url()).start();
        let mut connection = guard.connect();
        connection.send(format!("POST {CHAT} HTTP/1.1\r\nhost: g\r\n{lengths}\r\n{whole}"));
        let reply = connection.reply();
        // Framed by its chunks alone, sent on with a length of the gateway's own, and the connection is closed.
        assert!(matches!(reply.status, 200 | 400), "{reply:?}");
        assert!(connection.is_closed());
        let asked = upstream.asked();
        assert!(asked.len() <= 1);
        for asked in asked {
            assert_eq!(asked.body, body.as_bytes());
            assert_eq!(asked.header("transfer-encoding"), None);
        }
    }
}

#[test]
fn heads_with_two_readings_are_refused() {
    let upstream = upstream();
    let guard = Plan::to(&upstream.base_url()).start();
    for headers in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: +2\r\n",
        "content-length: 2, 2\r\n",
        "content-length: 0x2\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\u{b}chunked\r\n",
        "content-length: 2\r\ncontent-type: a\r\ncontent-type: b\r\n",
        "content-length: 2\r\nx-a: b\r\n folded\r\n",
        "content-length: 2\r\nx\0a: b\r\n",
        "content-length: 2\r\nauthorization: Bearer \u{e9}\r\n",
    ] {
        let reply = guard.raw(format!("POST {CHAT} HTTP/1.1\r\nhost: g\r\n{headers}\r\n{{}}"));
        assert_eq!(reply.status, 400, "{headers:?}: {reply:?}");
    }
    let reply = guard
        .raw(format!("POST {CHAT} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"));
    assert_eq!(reply.status, 400);
    assert_eq!(upstream.asked().len(), 0);
}

#[test]
fn compressed_bodies_are_refused() {
    let upstream = upstream();
    let guard = Plan::to(&upstream.base_url()).start();
    for encoding in ["gzip", "zstd", "br", "identity, gzip"] {
        let headers = format!("content-encoding: {encoding}\r\n");
        guard.raw(post(CHAT, &headers, "\u{1f}")).expect(415, "compressed_body");
        guard.raw(post("/v1/files", &headers, "\u{1f}")).expect(415, "compressed_body");
    }
    assert_eq!(upstream.asked().len(), 0);
}

#[test]
fn what_exceeds_a_limit_is_refused() {
    let upstream = upstream();
    let guard = Plan::to(&upstream.base_url())
        .server("[server.limits]\nbody_bytes = 1000\nhead_bytes = 8192\nheaders = 20")
        .start();
    guard.post(CHAT, "x".repeat(1001)).expect(413, "body_too_large");
    let mut connection = guard.connect();
    connection.send(format!("POST {CHAT} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n"));
    connection.send(chunk("x".repeat(1001)));
    connection.send(LAST_CHUNK);
    connection.reply().expect(413, "body_too_large");
    assert_eq!(guard.raw(post(CHAT, &format!("x-long: {}\r\n", "x".repeat(9000)), "{}")).status, 431);
    let many: String = "x-many: 1\r\n".repeat(30);
    assert_eq!(guard.raw(post(CHAT, &many, "{}")).status, 431);
    assert_eq!(upstream.asked().len(), 0);
    let fits = format!(r#"{{"x":"{}"}}"#, "x".repeat(990));
    guard.post(CHAT, fits.as_bytes()).expect(200, "none");
    // What is passed through is bounded too, though its length is not known when it begins.
    let mut connection = guard.connect();
    connection.send("POST /v1/files HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        connection.send(chunk("x".repeat(100)));
    }
    connection.send(LAST_CHUNK);
    assert!(connection.reply().status >= 400);
}

#[test]
fn a_body_that_does_not_arrive_is_not_waited_for() {
    let upstream = upstream();
    let guard = Plan::to(&upstream.base_url()).server("[server.limits]\nbody_seconds = 0.05").start();
    let mut connection = guard.connect();
    connection.send(format!("POST {CHAT} HTTP/1.1\r\nhost: g\r\ncontent-length: 10\r\n\r\n{{"));
    connection.reply().expect(408, "body_too_slow");
    assert_eq!(upstream.asked().len(), 0);
}

#[test]
fn bodies_that_are_no_requests_are_refused() {
    let upstream = upstream();
    let guard = Plan::to(&upstream.base_url()).start();
    let twice = r#"{"model":"a","model":"b"}"#;
    let hidden = r#"{"model":"a","mod\u0065l":"b"}"#;
    for body in [
        &b""[..],
        b"[]",
        b"[\"m\"]",
        b"nothing",
        b"{\"model\":1}",
        b"{\"model\":\"\xff\"}",
        b"{",
        twice.as_bytes(),
        hidden.as_bytes(),
    ] {
        let reply = guard.post(CHAT, body).expect(400, "bad_body");
        assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok());
    }
    assert_eq!(upstream.asked().len(), 0);
}

#[test]
fn large_and_deep_bodies_are_forwarded() {
    let upstream = upstream();
    let guard = Plan::to(&upstream.base_url()).start();
    let many = vec![r#"{"role":"user","content":"x"}"#; 100_000].join(",");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [format!(r#"{{"model":"m","messages":[{many}]}}"#), format!(r#"{{"model":"m","x":{deep}}}"#)]
    {
        guard.post(CHAT, &body).expect(200, "none");
        assert!(upstream.last().body == body.as_bytes());
    }
}

#[test]
fn nothing_in_a_request_names_another_server() {
    let upstream = upstream();
    let other = self::upstream();
    let guard = Plan::to(&upstream.base_url()).start();
    let body = format!(r#"{{"model":"http://{}/v1"}}"#, other.address);
    for line in [
        format!("POST http://{}/v1/chat/completions HTTP/1.1\r\nhost: {}\r\n", other.address, other.address),
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nx-forwarded-host: {}\r\n",
            other.address, other.address
        ),
        format!("POST /v1/x@{}/y HTTP/1.1\r\nhost: g\r\n", other.address),
    ] {
        let reply = guard.raw(format!("{line}content-length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(reply.status, 200, "{line}");
        assert_eq!(upstream.last().header("host"), Some(upstream.address.to_string().as_str()));
    }
    assert_eq!(guard.raw("CONNECT example.org:443 HTTP/1.1\r\nhost: g\r\n\r\n").status, 404);
    assert_eq!(other.asked().len(), 0);
}
