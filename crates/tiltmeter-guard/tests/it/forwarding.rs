//! What is forwarded arrives as it was sent, both ways.

use std::io::Write as _;
use std::sync::mpsc;

use crate::support::{Plan, post};
use crate::upstream::{LAST_CHUNK, Upstream, answer, chunk, chunked_head};

/// Bodies that a gateway which parses and writes again would change.
const ODD_BODIES: [(&str, &str); 7] = [
    (
        "/v1/chat/completions",
        "{ \"model\" :\t\"m\" , \"messages\":[{\"content\":\"caf\\u00e9 \\ud83d\\ude00 \\/\",\"role\":\"user\"}],\r\n \"n\": 3, \"temperature\":1.0, \"seed\":1e2, \"unknown\":{\"b\":1,\"a\":2,\"b\":3} } ",
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"m","stream":true,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#,
    ),
    ("/v1/responses", r#"{"input":"hello","model":"m","reasoning":{"effort":"low"}}"#),
    ("/v1/messages", r#"{"max_tokens":12345678901234567890123,"messages":[],"model":"m","system":"s"}"#),
    ("/v1/embeddings", r#"{"input":["a","b"],"model":"m"}"#),
    ("/v1/completions", r#"{"prompt":"a","model":null}"#),
    ("/v1/messages/count_tokens", r#"{"messages":[]}"#),
];

#[test]
fn bodies_arrive_byte_for_byte() {
    let reply = "{\"id\" : \"x\",\n \"choices\":[{\"index\":1,\"message\":{\"content\":\"\\u00e9\"}},{}], \"future\": [1.0, 1e400]}\n";
    let upstream = Upstream::fixed(answer("application/json; charset=odd", reply));
    let guard = Plan::to(&upstream.base_url()).start();
    for (path, body) in ODD_BODIES {
        let got = guard.post(&format!("{path}?api-version=2&x=%20"), body).expect(200, "none");
        assert_eq!(got.text(), reply);
        assert_eq!(got.header("content-type"), Some("application/json; charset=odd"));
        let asked = upstream.last();
        assert_eq!(String::from_utf8(asked.body.clone()).unwrap(), body);
        assert_eq!(asked.line, format!("POST {path}?api-version=2&x=%20 HTTP/1.1"));
        assert_eq!(asked.header("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(asked.header("host"), Some(upstream.address.to_string().as_str()));
    }
}

#[test]
fn errors_of_the_upstream_are_passed_on() {
    let error = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\nx-ratelimit-remaining: 0\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 4\r\n\r\noops";
    let upstream = Upstream::fixed(error);
    let guard = Plan::to(&upstream.base_url()).start();
    let reply = guard.post("/v1/chat/completions", r#"{"messages":[]}"#).expect(429, "none");
    assert_eq!(reply.text(), "oops");
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
    // Nothing is asked for twice.
    assert_eq!(upstream.asked().len(), 1);
}

#[test]
fn headers_of_one_connection_stay_there() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-secret\r\nkeep-alive: 5\r\nx-secret: 1\r\nx-tiltmeter-risk: none\r\nproxy-authenticate: x\r\nx-kept: 2\r\ncontent-length: 0\r\n\r\n",
    );
    let guard = Plan::to(&upstream.base_url()).start();
    let headers = "connection: x-hop\r\nx-hop: 1\r\nte: trailers\r\nproxy-authorization: x\r\nx-tiltmeter-key: k\r\nuser-agent: odd/1\r\nopenai-organization: o\r\nauthorization: Bearer secret\r\nx-stainless-os: Linux\r\n";
    let reply = guard.raw(post("/v1/responses", headers, "{}")).expect(200, "none");
    assert_eq!(reply.header("x-kept"), Some("2"));
    for name in ["keep-alive", "x-secret", "x-tiltmeter-risk", "proxy-authenticate"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    let asked = upstream.last();
    for name in ["connection", "x-hop", "te", "proxy-authorization", "x-tiltmeter-key"] {
        assert_eq!(asked.header(name), None, "{name}");
    }
    for (name, value) in [
        ("user-agent", "odd/1"),
        ("openai-organization", "o"),
        ("authorization", "Bearer secret"),
        ("x-stainless-os", "Linux"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
}

#[test]
fn a_stream_is_passed_on_piece_by_piece() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    // The next piece is written only when the client has the one before.
    let pieces =
        ["data: {\"a\":1}\n\n", "data: {\"half\":", "\"\u{e9}\"}\r", "\n\r\n: note\n\ndata: [DONE]\n\n"];
    let upstream = Upstream::start(move |_, stream| {
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        for piece in pieces {
            stream.write_all(&chunk(piece))?;
            let _ = wait.lock().unwrap().recv();
        }
        stream.write_all(LAST_CHUNK)
    });
    let guard = Plan::to(&upstream.base_url()).start();
    let mut connection = guard.connect();
    connection.send(post("/v1/chat/completions", "", r#"{"model":"m","stream":true,"messages":[]}"#));
    assert_eq!(connection.head().header("content-type"), Some("text/event-stream"));
    for piece in pieces {
        assert_eq!(String::from_utf8(connection.chunk().unwrap()).unwrap(), piece);
        go.send(()).unwrap();
    }
    assert_eq!(connection.chunk(), None);
    // The connection can be used again.
    go.send(()).unwrap();
    drop(go);
    connection.send(post("/v1/chat/completions", "", r#"{"model":"m","messages":[]}"#));
    let reply = connection.reply();
    assert!(reply.is_complete);
    assert_eq!(reply.text(), pieces.concat());
}

#[test]
fn models_find_their_upstreams() {
    let named = |name: &str| Upstream::fixed(answer("application/json", format!("\"{name}\"")));
    let (first, second, rest) = (named("first"), named("second"), named("rest"));
    let config = format!(
        "[[upstreams]]\nname = 'first'\nbase_url = '{}'\nmodels = ['gpt-4*', 'exact']\n\
         [[upstreams]]\nname = 'second'\nbase_url = '{}/'\nmodels = ['gpt-4o*']\n\
         [[upstreams]]\nname = 'rest'\nbase_url = 'http://{}/'\ndefault = true\n",
        first.base_url(),
        second.base_url(),
        rest.address
    );
    let guard = Plan::new(config).start();
    for (model, expected) in
        [("gpt-4", "first"), ("gpt-4o-mini", "second"), ("exact", "first"), ("exact2", "rest"), ("", "rest")]
    {
        let reply =
            guard.post("/v1/chat/completions", format!(r#"{{"model":"{model}"}}"#)).expect(200, "none");
        assert_eq!(reply.text(), format!("\"{expected}\""), "{model}");
    }
    // The name may be written with escapes; it is the same name.
    let reply = guard.post("/v1/chat/completions", r#"{"mod\u0065l":"e\u0078act"}"#);
    assert_eq!(reply.text(), "\"first\"");
    // Without a path of its own, and what names no model.
    assert_eq!(guard.get("/v1/models?limit=1").text(), "\"rest\"");
    assert_eq!(rest.last().line, "GET /models?limit=1 HTTP/1.1");
    assert_eq!(guard.raw("DELETE /v1/files/f HTTP/1.1\r\nhost: g\r\n\r\n").status, 200);
}

#[test]
fn what_no_upstream_has_is_refused_in_the_protocols_shape() {
    let upstream = Upstream::fixed(answer("application/json", "{}"));
    let config = format!("[[upstreams]]\nname = 'a'\nbase_url = '{}'\nmodels = ['a']\n", upstream.base_url());
    let guard = Plan::new(config).server("uninspected = 'refuse'").start();
    let reply = guard.post("/v1/chat/completions", r#"{"model":"b\u0007"}"#).expect(404, "model_not_found");
    let error: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(error["error"]["code"], "model_not_found");
    assert_eq!(error["error"]["message"], "no upstream of the gateway has the model `b`");
    let reply = guard.post("/v1/messages", r#"{"model":"b"}"#).expect(404, "model_not_found");
    let error: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &"not_found_error".into()));
    guard.post("/v1/chat/completions", "{}").expect(404, "no_default_upstream");
    guard.get("/v1/models").expect(404, "uninspected");
    guard.post("/v1/files", "{}").expect(404, "uninspected");
    guard.get("/etc/passwd").expect(404, "no_such_address");
    assert_eq!(upstream.asked().len(), 0);
}

#[test]
fn an_upload_that_is_passed_through_is_not_gathered() {
    let (seen, first_piece) = mpsc::channel();
    let upstream = Upstream::start(move |asked, stream| {
        seen.send(asked.body.len()).unwrap();
        stream.write_all(&answer("application/json", "{}"))
    });
    let guard = Plan::to(&upstream.base_url()).start();
    let mut connection = guard.connect();
    connection.send("POST /v1/files HTTP/1.1\r\nhost: g\r\ncontent-type: multipart/form-data\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..100 {
        connection.send(chunk(vec![b'x'; 100_000]));
    }
    connection.send(LAST_CHUNK);
    assert_eq!(connection.reply().status, 200);
    assert_eq!(first_piece.recv().unwrap(), 10_000_000);
}
