//! Servers that fail, clients that leave, a gateway that is told to stop or given other settings.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, mpsc};

use crate::support::{Plan, post};
use crate::upstream::{LAST_CHUNK, Upstream, answer, chunk, chunked_head};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"m","messages":[],"stream":true}"#;

#[test]
fn a_server_that_is_down_is_told() {
    // A port that was free a moment ago.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let guard = Plan::to(&format!("http://{address}/v1")).start();
    let reply = guard.post(CHAT, BODY).expect(502, "upstream_unreachable");
    assert!(!reply.text().contains(&address.to_string()), "{}", reply.text());
    let reply = guard.post("/v1/messages", BODY).expect(502, "upstream_unreachable");
    assert!(reply.text().contains("api_error"));
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let upstream = Upstream::start(move |asked, stream| {
        if asked.body.len() > 2 {
            stream.write_all(chunked_head("text/event-stream").as_bytes())?;
            stream.write_all(&chunk("data: 1\n\n"))?;
        }
        let _ = held.lock().unwrap().recv();
        Err(std::io::ErrorKind::Other.into())
    });
    let guard = Plan::to(&upstream.base_url()).with("answer_seconds = 0.05\nidle_seconds = 0.05").start();
    guard.post(CHAT, "{}").expect(504, "upstream_timeout");
    hold.send(()).unwrap();
    // In the middle of a stream, the client sees it break off; it must not look complete.
    let reply = guard.post(CHAT, BODY);
    assert_eq!((reply.status, reply.is_complete, reply.text().as_str()), (200, false, "data: 1\n\n"));
}

#[test]
fn an_answer_that_is_cut_anywhere_never_looks_complete() {
    let stream = "data: {\"x\":\"\u{e9}\"}\r\n\r\ndata: [DONE]\n\n";
    let chunked = [chunked_head("text/event-stream").as_bytes(), &chunk(stream), LAST_CHUNK].concat();
    let object = r#"{"a":"b"}"#;
    let sized = answer("application/json", object);
    let chunk_start = chunk(stream).windows(2).position(|window| window == b"\r\n").unwrap() + 2;
    for (whole, text, text_start) in [(chunked, stream, chunk_start), (sized, object, 0)] {
        let cut = std::sync::Arc::new(Mutex::new(0));
        let (at, bytes) = (std::sync::Arc::clone(&cut), whole.clone());
        let upstream = Upstream::start(move |_, stream| {
            let cut = *at.lock().unwrap();
            stream.write_all(&bytes[..cut])?;
            Err(std::io::ErrorKind::Other.into())
        });
        let guard = Plan::to(&upstream.base_url()).start();
        let body_start = whole.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        for at in 0..whole.len() {
            *cut.lock().unwrap() = at;
            let mut connection = guard.connect();
            connection.send(post(CHAT, "", BODY));
            let reply = connection.try_reply();
            if at < body_start {
                reply.unwrap().expect(502, "upstream_unreachable");
            } else {
                // What came before is given.
                let reply = reply.expect("a head");
                assert_eq!(reply.status, 200);
                assert!(!reply.is_complete, "cut at {at}: {reply:?}");
                let came = at.saturating_sub(body_start + text_start).min(text.len());
                assert_eq!(reply.body, text.as_bytes()[..came], "cut at {at}");
            }
        }
    }
}

#[test]
fn a_false_content_type_changes_nothing() {
    for (kind, body) in [
        ("application/json", "data: 1\n\ndata: [DONE]\n\n"),
        ("text/event-stream", "{\"a\":1}"),
        ("\u{7f}", "x"),
    ] {
        let upstream = Upstream::fixed(answer(kind, body));
        let guard = Plan::to(&upstream.base_url()).start();
        let reply = guard.post(CHAT, BODY);
        if reply.status == 200 {
            assert_eq!(reply.text(), body);
        } else {
            assert_eq!(reply.refusal(), "upstream_unreachable");
        }
    }
}

/// A server that streams until the other side is gone, or until it is told to stop; it says which.
fn endless() -> (Upstream, mpsc::Receiver<&'static str>, mpsc::Sender<()>) {
    let (say, said) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let (say, stopped) = (Mutex::new(say), Mutex::new(stopped));
    let upstream = Upstream::start(move |_, stream| {
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        stream.write_all(&chunk("data: first\n\n"))?;
        // Waits for the other side to close, which ends this, or to be told.
        stream.set_nonblocking(true)?;
        let ended = loop {
            match stream.read(&mut [0; 1]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => break "left",
            }
            if stopped.lock().unwrap().try_recv().is_ok() {
                break "told";
            }
            std::thread::yield_now();
        };
        stream.set_nonblocking(false)?;
        let written = stream.write_all(&chunk("data: last\n\n")).and_then(|()| stream.write_all(LAST_CHUNK));
        say.lock().unwrap().send(ended).unwrap();
        written
    });
    (upstream, said, stop)
}

#[test]
fn a_client_that_leaves_takes_the_answer_along() {
    let (upstream, said, _stop) = endless();
    let guard = Plan::to(&upstream.base_url()).start();
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.head();
    assert_eq!(connection.chunk().unwrap(), b"data: first\n\n");
    drop(connection);
    assert_eq!(said.recv().unwrap(), "left");
}

#[test]
fn an_answer_can_be_finished_without_its_client() {
    let (upstream, said, stop) = endless();
    let mut guard = Plan::to(&upstream.base_url())
        .with("[[routes]]\nname = 'all'\nmodels = ['*']\nclient_leaves = 'finish'")
        .start();
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.head();
    assert_eq!(connection.chunk().unwrap(), b"data: first\n\n");
    drop(connection);
    // The gateway is told to stop, and must wait for what it still reads.
    guard.tell_to_stop();
    stop.send(()).unwrap();
    assert_eq!(said.recv().unwrap(), "told");
    guard.stop();
}

#[test]
fn stopping_waits_for_answers_in_flight() {
    let (upstream, said, stop) = endless();
    let mut guard = Plan::to(&upstream.base_url()).start();
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.head();
    assert_eq!(connection.chunk().unwrap(), b"data: first\n\n");
    guard.tell_to_stop();
    stop.send(()).unwrap();
    assert_eq!(said.recv().unwrap(), "told");
    assert_eq!(connection.chunk().unwrap(), b"data: last\n\n");
    assert_eq!(connection.chunk(), None);
    guard.stop();
    assert!(connection.is_closed());
}

#[test]
fn other_settings_are_for_later_requests() {
    let (slow, said, stop) = endless();
    let other = Upstream::fixed(answer("application/json", "\"other\""));
    let mut guard = Plan::to(&slow.base_url()).start();
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.head();
    assert_eq!(connection.chunk().unwrap(), b"data: first\n\n");
    guard.reload(Plan::to(&other.base_url()));
    assert_eq!(guard.post(CHAT, BODY).text(), "\"other\"");
    stop.send(()).unwrap();
    assert_eq!(said.recv().unwrap(), "told");
    assert_eq!(connection.chunk().unwrap(), b"data: last\n\n");
    assert_eq!(connection.chunk(), None);
    connection.send(post(CHAT, "", BODY));
    assert_eq!(connection.reply().text(), "\"other\"");
}
