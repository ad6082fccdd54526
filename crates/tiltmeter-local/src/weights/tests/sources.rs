//! What the user names as a source: a file, a folder, a URL, a folder's URL.

use super::*;

fn with_source(source: impl Into<OsString>, hub: &Server) -> Place {
    let mut place = Place::new(&hub.url("/hub"));
    place.settings.source = Some(source.into());
    place
}

#[tokio::test]
async fn files_and_folders_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (in_folder, elsewhere) = (folder.path().join("tiny.gguf"), folder.path().join("other name"));
    fs_err::write(&in_folder, content()).unwrap();
    fs_err::write(&elsewhere, content()).unwrap();
    let hub = Server::script(vec![Response::status("404 Not Found")]);
    for source in [&in_folder, &elsewhere, &folder.path().to_owned()] {
        let place = with_source(source, &hub);
        place.fetched().await;
        assert!(source.exists());
        assert_eq!(place.ear.transfers.lock().unwrap()[0].1, 1_000);
    }
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn urls_are_those_of_files_or_of_folders() {
    let hub = Server::script(vec![Response::status("404 Not Found")]);
    for (given, asked) in
        [("/mirror/any", "/mirror/any"), ("/mirror/", "/mirror/tiny.gguf"), ("/?a=/", "/?a=/tiny.gguf")]
    {
        let mirror = Server::script(vec![Response::whole(&content())]);
        let place = with_source(mirror.url(given), &hub);
        place.fetched().await;
        assert_eq!(mirror.requests()[0].path, asked);
    }
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn the_hub_is_asked_where_the_users_source_fails() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    fs_err::write(&wrong, [1; 1_000]).unwrap();
    let short = folder.path().join("short");
    fs_err::write(&short, [1; 10]).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let cases = [
        (wrong.into_os_string(), "SHA-256"),
        (short.into_os_string(), "10 bytes instead of 1000"),
        (folder.path().join("absent").into_os_string(), "No such file"),
        (empty.path().as_os_str().to_owned(), "No such file"),
        (OsString::from("ftp://example.org/x"), "scheme"),
        (OsString::from("http://127.0.0.1:1/x"), "refused"),
    ];
    for (source, expected) in cases {
        let hub = Server::script(vec![Response::whole(&content())]);
        let place = with_source(source.clone(), &hub);
        place.fetched().await;
        assert_eq!(hub.ranges(), [None], "{source:?}");
        assert!(place.notes().contains(expected), "{source:?}: {}", place.notes());
    }
}

#[tokio::test]
async fn parts_of_different_sources_are_not_mixed_up() {
    // The mirror breaks off in another file; the hub goes on from there, and then starts anew.
    let mirror = Server::script(vec![Response::cut(&[1; 1_000], 400)]);
    let hub = Server::new(|_, request| match request.range.as_deref() {
        Some("bytes=400-") => Response::part(&content(), 400),
        _ => Response::whole(&content()),
    });
    let place = with_source(mirror.url("/x"), &hub);
    place.fetched().await;
    assert_eq!(hub.ranges(), [Some("bytes=400-".to_owned()), None]);
}

#[test]
fn defaults_are_those_of_the_environment() {
    let settings = WeightsSettings::default();
    assert_eq!(settings.hub_url, None);
    assert_eq!(settings.pip.len(), 3);
    assert!(settings.pip.iter().all(|command| command.iter().any(|word| word == "pip")));
}
