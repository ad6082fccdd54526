//! How failures map to the taxonomy.

use std::io::Write as _;
use std::time::Duration;

use tiltmeter_models::{Api, ChatModel, Endpoint, ErrorKind, ModelError, Timeouts};

use crate::server::{Answer, Server};
use crate::{check_failures, endpoint, model, request, streamed};

#[tokio::test]
async fn what_servers_say_when_they_fail() {
    check_failures(Api::ChatCompletions, include_str!("../../fixtures/openai_compatible/errors.json")).await;
}

async fn ask(endpoint: Endpoint) -> ModelError {
    model(endpoint).chat(&request()).await.unwrap_err()
}

#[tokio::test]
async fn connections_that_fail() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = ask(Endpoint::new(format!("http://{unused}/v1").parse().unwrap(), "m")).await;
    assert_eq!((error.kind, error.status), (ErrorKind::Unreachable, None));
    assert!(error.message.starts_with(&format!("cannot connect to http://{unused}/v1: ")), "{error}");

    // A server that does not speak TLS to a client that does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"plain text"));
    let error = ask(Endpoint::new(format!("https://{address}/v1").parse().unwrap(), "m")).await;
    server.join().unwrap().unwrap();
    assert_eq!((error.kind, error.status), (ErrorKind::Unreachable, None), "{error}");

    for answer in [
        Answer::Bytes(Vec::new()),
        Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        Answer::json(200, r#"{"choices":[]}"#).cut(3),
    ] {
        let server = Server::start(vec![answer.clone()]).await;
        let error = ask(endpoint(&server)).await;
        assert_eq!(error.kind, ErrorKind::Interrupted, "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn limits_of_time() {
    // Long enough that a busy machine still delivers what comes before the silence.
    let short = Duration::from_millis(400);
    let first = r#"data: {"choices":[{"index":0,"delta":{"content":"Well"}}]}"#;
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec();
    let with_first = [head.clone(), format!("{first}\n\n").into_bytes()].concat();
    let relaxed = Timeouts::default();
    let first_byte = Timeouts { first_byte: short, ..relaxed };
    let between_events = Timeouts { between_events: short, ..relaxed };
    let total = Timeouts { total: short, ..relaxed };
    let cases = [
        (Vec::new(), true, first_byte, "no reply within 400ms, the limit set for it"),
        (head.clone(), true, first_byte, "no first byte of the reply within 400ms, the limit set for it"),
        (
            with_first,
            true,
            between_events,
            "the reply stopped: nothing more came within 400ms, the limit set for it",
        ),
        (head, true, total, "the reply was not whole within 400ms, the limit set for it"),
        (Vec::new(), false, total, "the reply was not whole within 400ms, the limit set for it"),
    ];
    let all = cases.map(|(bytes, stream, timeouts, expected)| async move {
        let server = Server::start(vec![Answer::BytesThenSilence(bytes)]).await;
        let error = ask(Endpoint { stream, timeouts, ..endpoint(&server) }).await;
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::TimedOut, expected));
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn streams_that_fail() {
    let piece = r#"data: {"choices":[{"index":0,"delta":{"content":"Well"}}]}"#;
    let cases = [
        (format!("{piece}\n\n"), ErrorKind::Interrupted, "the stream ended in the middle of the answer"),
        ("data: [DONE]\n\n".to_owned(), ErrorKind::Interrupted, "the stream was ended before any answer"),
        (
            format!("{piece}\n\nevent: error\ndata: {{\"message\":\"out of memory\",\"code\":503}}\n\n"),
            ErrorKind::Overloaded,
            "out of memory",
        ),
        (
            format!("{piece}\n\ndata: {{\"error\":{{\"message\":\"slow down\",\"code\":\"429\"}}}}\n\n"),
            ErrorKind::RateLimited,
            "slow down",
        ),
        (
            format!("{piece}\n\ndata: <html>\n\n"),
            ErrorKind::MalformedReply,
            "a piece of the stream is not what was promised: “<html>”",
        ),
        (
            "event: error\n\n".to_owned(),
            ErrorKind::MalformedReply,
            "a piece of the stream is not what was promised: it is empty",
        ),
    ];
    for (events, kind, message) in cases {
        let server = Server::start(vec![Answer::events(&events)]).await;
        let error = ask(streamed(&server)).await;
        assert_eq!((error.kind, error.message.as_str()), (kind, message), "{events}");
    }
}

#[tokio::test]
async fn a_reply_without_end_is_not_read_to_its_end() {
    let body = vec![b' '; 33 << 20];
    let server = Server::start(vec![Answer::new(200, &[("content-type", "application/json")], &body)]).await;
    let error = ask(endpoint(&server)).await;
    assert_eq!(error.kind, ErrorKind::MalformedReply);
    assert_eq!(error.message, "the reply is longer than 32 MiB; it was not read to its end");
}
