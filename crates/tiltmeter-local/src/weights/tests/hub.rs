//! A hub that is played: listings, redirections to storage, and everything that may go wrong with them.

use std::sync::Arc;

use secrecy::SecretString;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::source::HubModel;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A played repository: paths, contents, and whether they are large files.
#[derive(Clone)]
struct Repository {
    commit: String,
    files: Vec<(String, Vec<u8>, bool)>,
    extra: serde_json::Value,
}

impl Repository {
    fn model() -> Self {
        let file = |path: &str, content: &[u8], is_large: bool| (path.to_owned(), content.to_vec(), is_large);
        Self {
            commit: COMMIT.to_owned(),
            files: vec![
                file("config.json", b"{\"model_type\": \"qwen3\"}", false),
                file("tokenizer.json", b"{}", false),
                file("README.md", b"hello", false),
                file("model-00001-of-00002.safetensors", &content(), true),
                file("model-00002-of-00002.safetensors", b"the second", true),
                file("model.safetensors.index.json", b"{\"weight_map\": {}}", false),
                file("consolidated.safetensors", b"not wanted", true),
                file("gguf/x.Q8_0.gguf", b"a gguf file", true),
                file("empty.gguf", b"", false),
            ],
            extra: serde_json::json!({"cardData": {"license": "apache-2.0"}, "gated": false}),
        }
    }

    fn listing(&self) -> Response {
        let siblings: Vec<serde_json::Value> = self
            .files
            .iter()
            .map(|(path, content, is_large)| {
                let blob =
                    Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content);
                let mut file = serde_json::json!({
                    "rfilename": path, "size": content.len(), "blobId": format!("{:x}", blob.finalize()),
                });
                if *is_large {
                    let sha256 = format!("{:x}", Sha256::digest(content));
                    file["lfs"] =
                        serde_json::json!({"sha256": sha256, "size": content.len(), "pointerSize": 135});
                }
                file
            })
            .collect();
        let mut listing = self.extra.clone();
        listing["sha"] = self.commit.clone().into();
        listing["siblings"] = siblings.into();
        Response::whole(listing.to_string().as_bytes())
    }

    /// What the hub replies; large files are in another place.
    fn reply(&self, request: &server::Request) -> Response {
        let path = request.path.as_str();
        if path.starts_with("/api/models/org/name/revision/") {
            return self.listing();
        }
        if let Some(file) = path.strip_prefix(&format!("/org/name/resolve/{}/", self.commit)) {
            return match self.files.iter().find(|(name, _, _)| name == file) {
                Some((name, _, true)) => Response::redirect(&format!("/storage/{name}?signature=hunter2")),
                Some((_, content, false)) => Response::whole(content),
                None => Response::status("404 Not Found"),
            };
        }
        let stored = path.strip_prefix("/storage/").and_then(|rest| rest.strip_suffix("?signature=hunter2"));
        match self.files.iter().find(|(name, _, _)| Some(name.as_str()) == stored) {
            Some((_, content, _)) => match request.range.as_deref() {
                None => Response::whole(content),
                Some(range) => {
                    let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
                    Response::part(content, from.parse().unwrap())
                }
            },
            None => Response::status("404 Not Found"),
        }
    }

    fn play(self) -> Server {
        Server::new(move |_, request| self.reply(request))
    }
}

fn model(text: &str) -> HubModel {
    HubModel::parse(text).unwrap()
}

fn whole() -> HubModel {
    model(&format!("hf:org/name@{COMMIT}"))
}

impl Place {
    async fn fetch_hub(&self, model: &HubModel) -> Result<KeptRepository, HubError> {
        fetch_repository(model, &self.settings, &self.ear, &|_| true).await
    }
}

#[tokio::test]
async fn a_repository_is_fetched_once_and_found_again() {
    let server = Repository::model().play();
    let place = Place::new(&server.url(""));
    let kept = place.fetch_hub(&model("hf:org/name@main")).await.unwrap();
    assert!(place.notes().contains(COMMIT), "{}", place.notes());
    let names: Vec<&str> = kept.manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json"
        ]
    );
    assert_eq!(
        (kept.manifest.licence.as_deref(), kept.manifest.commit.as_str()),
        (Some("apache-2.0"), COMMIT)
    );
    assert!(fs_err::read(kept.folder.join("model-00001-of-00002.safetensors")).unwrap() == content());
    assert_eq!(kept.manifest.files[1].sha256, format!("{:x}", Sha256::digest(content())));
    // Found by branch and by commit, and not fetched again.
    let asked = server.requests().len();
    for name in ["hf:org/name@main".to_owned(), format!("hf:org/name@{COMMIT}")] {
        let (path, commit) = super::super::kept(&model(&name), &place.settings).unwrap();
        assert_eq!((path, commit.as_str()), (kept.folder.clone(), COMMIT));
        place.fetch_hub(&model(&name)).await.unwrap();
    }
    assert_eq!(server.requests().len(), asked + 2, "a listing each time");
    let error = super::super::kept(&model("hf:org/name@other"), &place.settings).unwrap_err();
    assert!(error.to_string().contains("tiltmeter model fetch hf:org/name@other"), "{error}");
    // One file of it goes into the same folder.
    let file = format!("hf:org/name@{COMMIT}/gguf/x.Q8_0.gguf");
    let again = place.fetch_hub(&model(&file)).await.unwrap();
    assert_eq!((again.folder, again.manifest.files.len()), (kept.folder.clone(), 6));
    let (path, _) = super::super::kept(&model(&file), &place.settings).unwrap();
    assert_eq!(path, kept.folder.join("gguf/x.Q8_0.gguf"));
    assert_eq!(kept_repositories(&place.settings).len(), 1);
    // What was fetched is checked when it is opened.
    let tokenizer = kept.folder.join("tokenizer.json");
    assert!(Manifest::sha256_of(&tokenizer).is_some() && Manifest::sha256_of(&path).is_some());
    assert_eq!(Manifest::sha256_of(&kept.folder.join("other")), None);
}

#[tokio::test]
async fn a_kept_file_that_was_damaged_is_fetched_again() {
    let server = Repository::model().play();
    let place = Place::new(&server.url(""));
    let kept = place.fetch_hub(&whole()).await.unwrap();
    for name in ["model-00001-of-00002.safetensors", "tokenizer.json"] {
        let path = kept.folder.join(name);
        let good = fs_err::read(&path).unwrap();
        fs_err::write(&path, vec![b'?'; good.len()]).unwrap();
        let asked = server.requests().len();
        place.fetch_hub(&whole()).await.unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), good, "{name}");
        assert!(place.notes().contains(&format!("{name} is damaged")), "{}", place.notes());
        let fetched: Vec<String> =
            server.requests().into_iter().skip(asked).map(|request| request.path).collect();
        assert!(fetched.iter().skip(1).all(|path| path.contains(name)), "{fetched:?}");
    }
    // A record that is not of the file.
    let record = kept.folder.join("tiltmeter-model.json");
    let text = fs_err::read_to_string(&record).unwrap();
    let sha256 = &kept.manifest.files.iter().find(|file| file.path == "tokenizer.json").unwrap().sha256;
    fs_err::write(&record, text.replace(sha256.as_str(), &"0".repeat(64))).unwrap();
    assert_eq!(place.fetch_hub(&whole()).await.unwrap().manifest, kept.manifest);
}

#[tokio::test]
async fn a_branch_that_moves_on_means_its_newest_commit() {
    let first = Repository::model();
    let second = Repository { commit: "f".repeat(40), ..Repository::model() };
    let server = Arc::new(std::sync::Mutex::new(first.clone()));
    let played = Arc::clone(&server);
    let hub = Server::new(move |_, request| played.lock().unwrap().reply(request));
    let place = Place::new(&hub.url(""));
    place.fetch_hub(&model("hf:org/name")).await.unwrap();
    *server.lock().unwrap() = second;
    place.fetch_hub(&model("hf:org/name")).await.unwrap();
    let (_, commit) = super::super::kept(&model("hf:org/name"), &place.settings).unwrap();
    assert_eq!(commit, "f".repeat(40));
    let (_, commit) = super::super::kept(&whole(), &place.settings).unwrap();
    assert_eq!(commit, COMMIT);
}

#[tokio::test]
async fn a_fetch_that_broke_off_goes_on() {
    let repository = Repository::model();
    let played = repository.clone();
    let server = Server::new(move |_, request| {
        let is_first = request.path.starts_with("/storage/model-00001") && request.range.is_none();
        if is_first { Response::cut(&content(), 400) } else { played.reply(request) }
    });
    let place = Place::new(&server.url(""));
    place.fetch_hub(&whole()).await.unwrap();
    let ranges: Vec<String> = server.ranges().into_iter().flatten().collect();
    // The hub is asked first, which passes the range on to the storage.
    assert!(ranges.contains(&"bytes=400-".to_owned()), "{ranges:?}");
}

#[tokio::test]
async fn what_is_not_what_the_listing_says_is_not_kept() {
    let spoilt = |path: &'static str, other: Response| {
        let repository = Repository::model();
        Server::new(
            move |_, request| {
                if request.path.contains(path) { other.clone() } else { repository.reply(request) }
            },
        )
    };
    let cases = [
        ("/storage/model-00001", Response::whole(&[1; 1_000]), "SHA-256"),
        ("/storage/model-00001", Response::whole(&[1; 7]), "7 bytes instead of 1000"),
        ("/storage/model-00001", Response::unmeasured(&[1; 5_000]), "longer than 1000"),
        ("/storage/model-00001", Response::cut(&content(), 10), "connection broke"),
        ("/storage/model-00001", Response::status("404 Not Found"), "HTTP 404"),
        ("/tokenizer.json", Response::whole(b"[]"), "git hash"),
        ("/tokenizer.json", Response::status("503 Service Unavailable"), "HTTP 503"),
        ("/tokenizer.json", Response::status("403 Forbidden"), "may not be read without leave"),
        ("/api/", Response::status("401 Unauthorized"), "may not be read without leave"),
        ("/api/", Response::status("404 Not Found"), "is not found"),
        ("/api/", Response::status("500 Internal Server Error"), "HTTP 500"),
        ("/api/", Response::whole(b"<html>"), "listing"),
        ("/api/", Response::whole(br#"{"sha": "main", "siblings": []}"#), "does not name a commit"),
        (
            "/api/",
            Response::whole(format!(r#"{{"sha": "{}", "siblings": []}}"#, "a".repeat(40)).as_bytes()),
            "instead of",
        ),
    ];
    for (path, response, expected) in cases {
        let server = spoilt(path, response);
        let place = Place::new(&server.url(""));
        let error = place.fetch_hub(&whole()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
        // What is kept by then is whole.
        for kept in kept_repositories(&place.settings) {
            for file in kept.manifest.files {
                assert_eq!(super::super::sha256_of(&kept.folder.join(&file.path)).unwrap(), file.sha256);
            }
        }
        assert!(super::super::kept(&whole(), &place.settings).is_err(), "{path}");
    }
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    for name in ["../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "..\\x.gguf", ".x.gguf"] {
        let mut repository = Repository::model();
        repository.files = vec![(name.to_owned(), b"x".to_vec(), true)];
        let server = repository.play();
        let place = Place::new(&server.url(""));
        let wanted = HubModel { file: Some(name.to_owned()), ..whole() };
        let error = place.fetch_hub(&wanted).await.unwrap_err().to_string();
        assert!(error.contains("it names the file"), "{name}: {error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn choices_are_explained() {
    let server = Repository::model().play();
    let place = Place::new(&server.url(""));
    let error = place.fetch_hub(&model("hf:org/name@main/none.gguf")).await.unwrap_err().to_string();
    assert!(error.contains("gguf/x.Q8_0.gguf"), "{error}");
    let mut repository = Repository::model();
    repository.files.retain(|(name, _, _)| !name.starts_with("model"));
    let server = repository.play();
    let place = Place::new(&server.url(""));
    let error = place.fetch_hub(&whole()).await.unwrap_err().to_string();
    assert!(error.contains("no safetensors model; it has gguf/x.Q8_0.gguf"), "{error}");
    // Two files of GGUF: which is meant must be said.
    for file in ["gguf/x.Q8_0.gguf", "empty.gguf"] {
        place.fetch_hub(&model(&format!("hf:org/name@{COMMIT}/{file}"))).await.unwrap();
        let found = super::super::kept(&whole(), &place.settings);
        match file {
            "empty.gguf" => assert!(found.unwrap_err().to_string().contains("name one")),
            _ => assert!(found.unwrap().0.ends_with("gguf/x.Q8_0.gguf")),
        }
    }
}

#[tokio::test]
async fn licences_are_asked_about_before_anything_is_fetched() {
    let server = Repository::model().play();
    let place = Place::new(&server.url(""));
    let asked = Mutex::new(Vec::new());
    let refuse = |terms: &HubTerms| {
        asked.lock().unwrap().push(terms.clone());
        false
    };
    let error = fetch_repository(&whole(), &place.settings, &(), &refuse).await.unwrap_err();
    assert!(matches!(error, HubError::NotAccepted(_)), "{error}");
    let terms = asked.lock().unwrap().remove(0);
    assert_eq!((terms.licence.as_deref(), terms.is_gated, terms.files.len()), (Some("apache-2.0"), false, 5));
    assert_eq!(server.requests().len(), 1);
    assert!(kept_repositories(&place.settings).is_empty());
    // A licence that the hub gives as a tag, or names otherwise; none is not asked about.
    for (extra, expected) in [
        (serde_json::json!({"tags": ["x", "license:mit"], "gated": "auto"}), Some("mit")),
        (serde_json::json!({"cardData": {"license": "other", "license_name": "qwen"}}), Some("qwen")),
        (serde_json::json!({}), None),
    ] {
        let server = Repository { extra, ..Repository::model() }.play();
        let place = Place::new(&server.url(""));
        let result = fetch_repository(&whole(), &place.settings, &(), &refuse).await;
        assert_eq!(result.is_ok(), expected.is_none());
        assert_eq!(asked.lock().unwrap().pop().and_then(|terms| terms.licence).as_deref(), expected);
    }
}

#[tokio::test]
async fn the_token_is_sent_to_the_hub_alone() {
    let storage = Server::script(vec![Response::whole(&content())]);
    let elsewhere = storage.url("/large").replace("127.0.0.1", "localhost");
    let repository = Repository::model();
    let hub = Server::new(move |_, request| {
        let is_large =
            request.path.contains("/resolve/") && request.path.ends_with("00001-of-00002.safetensors");
        if is_large { Response::redirect(&elsewhere) } else { repository.reply(request) }
    });
    let mut place = Place::new(&hub.url(""));
    place.settings.token = Some(SecretString::from("hunter2".to_owned()));
    place.fetch_hub(&whole()).await.unwrap();
    assert!(hub.requests().iter().all(|request| {
        request.path.starts_with("/storage/") || request.authorization.as_deref() == Some("Bearer hunter2")
    }));
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].authorization, None);
    assert!(!format!("{:?}", place.settings).contains("hunter2"));
}
