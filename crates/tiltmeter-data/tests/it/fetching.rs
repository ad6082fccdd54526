//! What servers do, and what is in the data folder afterwards.

use tiltmeter_data::{DataError, FetchSettings, Fetched, Record, State, fetch};

use crate::support::{Reader, Server, Watcher, folder, quick, set, sha256, text};

#[tokio::test]
async fn a_set_is_fetched_once_and_stands_beside_its_terms() {
    let server = Server::start(text()).await;
    let (_guard, data) = folder();
    let set = set(&server.url("moved"), text().as_bytes(), "");
    let (reader, watcher) = (Reader::accepting(1), Watcher::default());
    assert!(matches!(data.text(&set), Err(DataError::NotFetched { .. })));
    let fetched = fetch(&set, &data, &quick(), &reader, &watcher).await.unwrap();
    assert!(matches!(fetched, Fetched::New(_)));
    assert_eq!(data.text(&set).unwrap(), text());
    assert_eq!(*watcher.bytes.lock().unwrap(), text().len() as u64);
    assert!(reader.shown()[0].contains("Do as you please."));
    assert!(std::fs::read_to_string(data.terms_file(&set)).unwrap().contains("Do as you please."));
    let record = std::fs::read_to_string(data.path().join("test/set.record.json")).unwrap();
    let record: Record = serde_json::from_str(&record).unwrap();
    assert_eq!((record.sha256, record.share), (sha256(text().as_bytes()), false));
    // Nothing is left of the way there but the lock.
    let left: Vec<_> = std::fs::read_dir(data.path().join("downloads")).unwrap().collect();
    assert_eq!(left.len(), 1);
    // The second time nothing is asked, of nobody.
    let requests = server.requests();
    let again = fetch(&set, &data, &quick(), &Reader::accepting(0), &()).await.unwrap();
    assert!(matches!(again, Fetched::Already(_)));
    assert_eq!(server.requests(), requests);
}

#[tokio::test]
async fn without_acceptance_nothing_is_asked() {
    let server = Server::start(text()).await;
    let (_guard, data) = folder();
    let set = set(&server.url("whole"), text().as_bytes(), "");
    let error = fetch(&set, &data, &quick(), &Reader::accepting(0), &()).await.unwrap_err();
    assert!(matches!(error, DataError::NotAccepted { .. }) && error.is_configuration());
    assert_eq!(server.requests(), 0);
    assert!(!data.path().exists());
}

#[tokio::test]
async fn broken_transfers_go_on_where_they_stopped() {
    for fault in ["breaks", "no-ranges", "wrong-range", "busy"] {
        let server = Server::start(text()).await;
        let (_guard, data) = folder();
        let set = set(&server.url(fault), text().as_bytes(), "");
        let watcher = Watcher::default();
        fetch(&set, &data, &quick(), &Reader::accepting(1), &watcher).await.unwrap();
        assert_eq!(data.text(&set).unwrap(), text(), "{fault}");
        let notes = watcher.notes.lock().unwrap().join("\n");
        assert!(notes.contains("trying again"), "{fault}: {notes}");
    }
}

#[tokio::test]
async fn what_another_process_left_is_gone_on_with_or_thrown_away() {
    for left in [&text().as_bytes()[..100], b"something else", &vec![b'x'; 100_000]] {
        let server = Server::start(text()).await;
        let (_guard, data) = folder();
        // This server answers the first request for a range with what is missing, after three that break off.
        let set = set(&server.url("breaks"), text().as_bytes(), "");
        std::fs::create_dir_all(data.path().join("downloads")).unwrap();
        std::fs::write(data.path().join("downloads").join(format!("{}.part", set.sha256)), left).unwrap();
        fetch(&set, &data, &quick(), &Reader::accepting(1), &()).await.unwrap();
        assert_eq!(data.text(&set).unwrap(), text());
    }
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_and_leaves_nothing() {
    let cases = [
        ("other", "its SHA-256 is "),
        ("longer", "longer than "),
        ("page", "the server's file has 26 bytes instead of "),
        ("gone", "HTTP 404 Not Found"),
        ("round", "redirect"),
        ("always-breaks", "the connection broke: "),
        ("silent", "no response within 300ms"),
        ("stalls", "nothing came for 300ms"),
    ];
    for (fault, expected) in cases {
        let server = Server::start(text()).await;
        let (_guard, data) = folder();
        let set = set(&server.url(&format!("{fault}?token=secret")), text().as_bytes(), "");
        let error = fetch(&set, &data, &quick(), &Reader::accepting(1), &()).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains("cannot fetch test/set from"), "{fault}: {error}");
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(data.state(&set).unwrap(), State::Absent);
    }
}

#[tokio::test]
async fn without_a_network_it_says_so() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_guard, data) = folder();
    let set = set(&format!("http://127.0.0.1:{port}/set.jsonl"), text().as_bytes(), "");
    let error = fetch(&set, &data, &quick(), &Reader::accepting(1), &()).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_file_a_folder_or_another_address_will_do() {
    let server = Server::start(text()).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("set.jsonl");
    std::fs::write(&file, text()).unwrap();
    let sources = [
        file.display().to_string(),
        elsewhere.path().display().to_string(),
        server.url("whole"),
        server.url(""),
    ];
    for from in sources {
        let (_guard, data) = folder();
        let set = set("http://127.0.0.1:1/{path}", text().as_bytes(), "");
        let settings = FetchSettings { from: Some(from), ..quick() };
        fetch(&set, &data, &settings, &Reader::accepting(1), &()).await.unwrap();
        assert_eq!(data.text(&set).unwrap(), text());
    }
    for (bytes, expected) in [("short", "it has 5 bytes instead of"), (&text().repeat(2), "it has more than")]
    {
        std::fs::write(&file, bytes).unwrap();
        let (_guard, data) = folder();
        let set = set("http://127.0.0.1:1/", text().as_bytes(), "");
        let settings = FetchSettings { from: Some(file.display().to_string()), ..quick() };
        let error = fetch(&set, &data, &settings, &Reader::accepting(1), &()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_was_changed_is_found_and_fetched_again() {
    let server = Server::start(text()).await;
    let (_guard, data) = folder();
    let set = set(&server.url("whole"), text().as_bytes(), "");
    fetch(&set, &data, &quick(), &Reader::accepting(1), &()).await.unwrap();
    std::fs::write(data.file(&set), text().replacen("What", "That", 1)).unwrap();
    assert!(matches!(data.state(&set).unwrap(), State::Damaged { .. }));
    let error = data.text(&set).unwrap_err();
    assert!(error.hint().unwrap().contains("data fetch test/set"));
    assert!(error.to_string().contains("is damaged: its SHA-256 is"), "{error}");
    fetch(&set, &data, &quick(), &Reader::accepting(1), &()).await.unwrap();
    assert_eq!(data.text(&set).unwrap(), text());
}

#[tokio::test]
async fn two_at_once_fetch_one_file() {
    let server = Server::start(text()).await;
    let (_guard, data) = folder();
    let set = set(&server.url("whole"), text().as_bytes(), "");
    let (reader, settings) = (Reader::accepting(2), quick());
    let (one, two) = tokio::join!(
        fetch(&set, &data, &settings, &reader, &()),
        fetch(&set, &data, &settings, &reader, &())
    );
    assert_eq!(one.unwrap().path(), two.unwrap().path());
    assert_eq!(server.requests(), 1);
}
