//! Downloads that break, and servers that deliver something else.

use super::*;

#[expect(
    clippy::unnecessary_wraps,
    reason = "as the server records it: none where the whole file was asked for"
)]
fn range(from: usize) -> Option<String> {
    Some(format!("bytes={from}-"))
}

#[tokio::test]
async fn a_file_is_downloaded_once() {
    let server = Server::script(vec![Response::whole(&content())]);
    let place = Place::new(&server.url("/at/tiny.gguf?download=true"));
    place.fetched().await;
    place.fetched().await;
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].path.as_str(), &requests[0].range), ("/at/tiny.gguf?download=true", &None));
    assert_eq!(*place.ear.transfers.lock().unwrap(), [(server.url("/at/tiny.gguf"), 1_000)]);
    assert_eq!(place.notes(), "");
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let body = content();
    let stalled = Response::ranged("bytes 700-999/1000", &body[700..800]).then_stall();
    let script =
        vec![Response::cut(&body, 400), cut_part(&body, 400, 700), stalled, Response::part(&body, 800)];
    let server = Server::script(script);
    let place = Place::new(&server.url("/"));
    place.fetched().await;
    assert_eq!(server.ranges(), [None, range(400), range(700), range(800)]);
    let transfers: Vec<u64> = place.ear.transfers.lock().unwrap().iter().map(|transfer| transfer.1).collect();
    assert_eq!(transfers, [400, 700, 800, 1_000]);
    assert!(place.notes().contains("connection broke"), "{}", place.notes());
}

/// A part that breaks off.
fn cut_part(body: &[u8], from: usize, to: usize) -> Response {
    let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
    // Without a length, the client cannot tell the end from a break: it has to count.
    Response::ranged_unmeasured(&range, &body[from..to])
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_used() {
    let body = content();
    for kept in [1, 500, 999] {
        let server = Server::new(move |_, _| Response::part(&content(), kept));
        let place = Place::new(&server.url("/"));
        place.leave(&body[..kept]);
        place.fetched().await;
        assert_eq!(server.ranges(), [range(kept)]);
    }
    // A whole file needs no server.
    let place = Place::new("http://127.0.0.1:1/");
    place.leave(&body);
    place.fetched().await;
}

#[tokio::test]
async fn what_an_earlier_attempt_left_may_be_of_another_file() {
    let body = content();
    let honest = |_, request: &server::Request| match request.range.as_deref() {
        None => Response::whole(&content()),
        Some("bytes=300-") => Response::part(&content(), 300),
        Some(other) => panic!("{other}"),
    };
    for left in [vec![7; 300], vec![7; 1_000], vec![7; 1_001]] {
        let server = Server::new(honest);
        let place = Place::new(&server.url("/"));
        place.leave(&left);
        place.fetched().await;
        assert_eq!(server.ranges().last(), Some(&None));
    }
    // A server that knows nothing of ranges sends all of it.
    let server = Server::script(vec![Response::cut(&body, 300), Response::whole(&body)]);
    let place = Place::new(&server.url("/"));
    place.fetched().await;
    assert_eq!(server.ranges(), [None, range(300)]);
}

#[tokio::test]
async fn parts_that_were_not_asked_for_are_not_used() {
    let body = content();
    for wrong in ["bytes 300-999/2000", "bytes 0-999/1000", "bytes 400-998/1000", "bytes */1000", "nonsense"]
    {
        let server = Server::script(vec![
            Response::cut(&body, 400),
            Response::ranged(wrong, &body[400..]),
            Response::whole(&body),
        ]);
        let place = Place::new(&server.url("/"));
        place.fetched().await;
        assert_eq!(server.ranges(), [None, range(400), None], "{wrong}");
    }
    let not_satisfiable = Response::status("416 Range Not Satisfiable");
    let server = Server::script(vec![Response::cut(&body, 400), not_satisfiable, Response::whole(&body)]);
    let place = Place::new(&server.url("/"));
    place.fetched().await;
    assert_eq!(server.ranges(), [None, range(400), None]);
}

#[tokio::test]
async fn a_server_that_never_delivers_is_given_up() {
    let body = content();
    let cases = [
        ("nothing but parts", vec![Response::part(&body, 300)], "another part"),
        ("nothing but refusals", vec![Response::status("416 Range Not Satisfiable")], "shorter"),
        ("no more than the beginning", vec![Response::cut(&body, 400)], "connection broke"),
        ("an end before the end", vec![Response::unmeasured(&body[..999])], "after 999 of 1000 bytes"),
        // Each attempt of these gets further than the one before, every other time.
        ("cuts in turn", (0..50).map(|turn| Response::cut(&body, 300 + turn % 2 * 200)).collect(), "broke"),
        ("a stall", vec![Response::cut(&body, 10).then_stall()], "nothing came for"),
        ("an error", vec![Response::status("503 Service Unavailable")], "HTTP 503"),
        ("a missing file", vec![Response::status("404 Not Found")], "HTTP 404"),
        ("another file", vec![Response::whole(&[1; 1_000])], "SHA-256"),
        ("a longer file", vec![Response::whole(&[1; 1_001])], "1001 bytes instead of 1000"),
        ("a shorter file", vec![Response::whole(&[1; 7])], "7 bytes instead of 1000"),
        ("no end", vec![Response::unmeasured(&[1; 5_000])], "longer than 1000 bytes"),
        ("no HTTP", vec![Response::garbage(b"SSH-2.0-OpenSSH\r\n")], ""),
    ];
    for (what, script, expected) in cases {
        let server = Server::script(script);
        let place = Place::new(&server.url("/"));
        let reason = place.hub_failure().await;
        assert!(reason.contains(expected), "{what}: {reason}");
        assert!(server.requests().len() <= 5, "{what}: {} requests", server.requests().len());
        assert!(!place.models().join("tiny.gguf.pip").exists());
    }
}

#[tokio::test]
async fn a_wrong_file_is_not_left_behind() {
    for wrong in [Response::whole(&[1; 1_000]), Response::unmeasured(&[1; 5_000])] {
        let server = Server::script(vec![wrong]);
        let place = Place::new(&server.url("/"));
        place.hub_failure().await;
        assert_eq!(place.files(), ["tiny.gguf.lock"]);
    }
}

#[tokio::test]
async fn redirections_are_followed() {
    let server = Server::new(|_, request| match request.path.as_str() {
        "/hub" => Response::redirect("/store?signature=hunter2"),
        "/store?signature=hunter2" => Response::whole(&content()),
        _ => Response::redirect("/loop"),
    });
    let place = Place::new(&server.url("/hub"));
    place.fetched().await;
    assert_eq!(server.requests().len(), 2);
    let place = Place::new(&server.url("/loop"));
    assert!(place.hub_failure().await.contains("redirect"));
}

#[tokio::test]
async fn a_dead_hub_costs_seconds() {
    let times = FetchTimeouts::default();
    assert!(times.connect + times.first_byte <= Duration::from_secs(15));
    // Nobody listens: known at once, and not tried again.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let place = Place::new(&dead);
    let reason = place.hub_failure().await;
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(place.ear.transfers.lock().unwrap().len(), 2, "one attempt, and pip");
    // Somebody listens and says nothing: asked once.
    let server = Server::script(vec![Response::silence()]);
    let mut place = Place::new(&server.url("/"));
    place.settings.timeouts.first_byte = Duration::from_millis(100);
    let reason = place.hub_failure().await;
    assert!(reason.contains("no response within"), "{reason}");
    assert_eq!(place.ear.transfers.lock().unwrap().len(), 2);
    // A name that does not exist; where a resolver is slow, the limit ends it.
    let mut place = Place::new("http://no-such-host.invalid/");
    place.settings.timeouts.first_byte = Duration::from_secs(1);
    place.hub_failure().await;
}

#[tokio::test]
async fn no_message_shows_credentials() {
    let server = Server::script(vec![Response::status("403 Forbidden")]);
    let dead = "http://somebody:hunter2@127.0.0.1:1/x?key=hunter2#hunter2";
    let urls = [
        server.secret_url("/x?key=hunter2"),
        dead.to_owned(),
        "http://somebody:hunter2@[broken/".to_owned(),
        "https://somebody:hunter2@127.0.0.1:1/hub/".to_owned(),
        "ftp://somebody:hunter2@127.0.0.1:1/hub/".to_owned(),
    ];
    for url in urls {
        let mut place = Place::new(&url);
        place.settings.source = Some(OsString::from(&url));
        let error = place.fetch().await.unwrap_err();
        let all = format!("{error}\n{error:?}\n{}\n{:?}", place.notes(), place.ear.transfers);
        assert!(!all.contains("hunter2") && !all.contains("somebody"), "{all}");
    }
    // They are used all the same.
    assert!(server.requests().iter().all(|request| request.authorization.is_some()));
    assert!(!server.requests().is_empty());
}
