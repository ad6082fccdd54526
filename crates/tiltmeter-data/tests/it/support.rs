//! A server with one fault each, a set that is not of this world, and those who watch.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest as _, Sha256};
use tiltmeter_data::catalogue::{Catalogue, PublishedSet};
use tiltmeter_data::{Consent, DataFolder, FetchSettings, FetchTimeouts, Progress};

/// A set's text, written for this project.
pub(crate) fn text() -> String {
    let row = |number: usize| {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"What is {number} and one?\"}}, \
             {{\"role\": \"assistant\", \"content\": \"{}\"}}]}}\n",
            number + 1
        )
    };
    (0..200).map(row).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A set whose file is `bytes` at `url`.
pub(crate) fn set(url: &str, bytes: &[u8], more: &str) -> PublishedSet {
    let text = format!(
        "[licences.l]\nname = 'L'\nshare = false\nsummary = 'Do as you please.'\n\
         [repositories.r]\npublisher = 'P'\nurl = 'http://127.0.0.1/'\nraw = '{url}'\nrevision = 'one'\nlicence = 'l'\n\
         [[sets]]\nname = 'test/set'\nabout = 'a'\nrepository = 'r'\npath = 'set.jsonl'\nsha256 = '{}'\nbytes = {}\n\
         kind = 'demonstrations'\nrows = 200\ncolumns = 'c'\nprompt_characters = 1\nresponse_characters = 1\n{more}\n",
        sha256(bytes),
        bytes.len()
    );
    Catalogue::parse(&text).unwrap().sets()[0].clone()
}

struct Served {
    bytes: Bytes,
    requests: AtomicU32,
}

/// A server on loopback: the last word of the address says what goes wrong.
pub(crate) struct Server {
    address: String,
    served: Arc<Served>,
}

impl Server {
    pub(crate) async fn start(bytes: impl Into<Bytes>) -> Self {
        let served = Arc::new(Served { bytes: bytes.into(), requests: AtomicU32::new(0) });
        let app = axum::Router::new().route("/{fault}", axum::routing::get(serve)).with_state(served.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, served }
    }

    pub(crate) fn url(&self, fault: &str) -> String {
        format!("{}/{fault}", self.address)
    }

    pub(crate) fn requests(&self) -> u32 {
        self.served.requests.load(Ordering::SeqCst)
    }
}

/// A body that breaks off after some bytes, which are sent before.
fn broken(bytes: Bytes) -> Body {
    Body::from_stream(stream::unfold(Some(bytes), async |bytes| {
        if let Some(bytes) = bytes {
            return Some((Ok(bytes), None));
        }
        // The server sends what it has when there is nothing more at once.
        tokio::task::yield_now().await;
        Some((Err(std::io::Error::other("broken off")), None))
    }))
}

#[expect(clippy::match_same_arms, reason = "one fault after the other")]
async fn serve(State(served): State<Arc<Served>>, Path(fault): Path<String>, headers: HeaderMap) -> Response {
    let request = served.requests.fetch_add(1, Ordering::SeqCst);
    let whole = served.bytes.clone();
    let from = headers.get(header::RANGE).and_then(|value| {
        value.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let half = whole.len() / 2;
    let ranged = |from: usize, body: Body| {
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], body).into_response()
    };
    match (fault.as_str(), from) {
        ("whole" | "set.jsonl", _) => whole.into_response(),
        ("moved", _) => Redirect::temporary("/moved-again").into_response(),
        ("moved-again", _) => Redirect::permanent("/whole").into_response(),
        ("round", _) => Redirect::temporary("/round").into_response(),
        // Each answer breaks off half-way through what is missing.
        ("breaks", None) => broken(whole.slice(..half)).into_response(),
        ("breaks", Some(from)) if request < 3 => {
            let end = from + (whole.len() - from) / 2;
            ranged(from, broken(whole.slice(from..end)))
        }
        ("breaks", Some(from)) => ranged(from, Body::from(whole.slice(from..))),
        ("no-ranges", _) if request == 0 => broken(whole.slice(..half)).into_response(),
        ("no-ranges", _) => whole.into_response(),
        ("wrong-range", Some(_)) => ranged(1, Body::from(whole.slice(1..))),
        ("wrong-range", None) if request == 0 => broken(whole.slice(..half)).into_response(),
        ("wrong-range", None) => whole.into_response(),
        ("always-breaks", _) => broken(whole.slice(..half)).into_response(),
        ("other", _) => whole.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into_response(),
        ("longer", _) => {
            Body::from_stream(stream::iter([Ok::<_, std::io::Error>(whole), Ok(Bytes::from_static(b"more"))]))
                .into_response()
        }
        ("page", _) => "<html>an error page</html>".into_response(),
        ("busy", _) if request == 0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        ("busy", _) => whole.into_response(),
        ("silent", _) => std::future::pending().await,
        ("stalls", _) => {
            Body::from_stream(stream::unfold(Some(whole.slice(..half)), async |first| match first {
                Some(bytes) => Some((Ok::<_, std::io::Error>(bytes), None)),
                None => std::future::pending().await,
            }))
            .into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Accepts the first so many texts, and keeps all that were shown.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) accepts: usize,
    pub(crate) shown: Mutex<Vec<String>>,
}

impl Reader {
    pub(crate) fn accepting(accepts: usize) -> Self {
        Self { accepts, ..Self::default() }
    }

    pub(crate) fn shown(&self) -> Vec<String> {
        self.shown.lock().unwrap().clone()
    }
}

impl Consent for Reader {
    fn accepts(&self, text: &str) -> bool {
        let mut shown = self.shown.lock().unwrap();
        shown.push(text.to_owned());
        shown.len() <= self.accepts
    }
}

/// Keeps what it hears.
#[derive(Default)]
pub(crate) struct Watcher {
    pub(crate) bytes: Mutex<u64>,
    pub(crate) notes: Mutex<Vec<String>>,
}

impl Progress for Watcher {
    fn begin(&self, source: &str, _total: u64) {
        *self.bytes.lock().unwrap() = 0;
        self.notes.lock().unwrap().push(source.to_owned());
    }

    fn advance(&self, bytes: u64) {
        *self.bytes.lock().unwrap() += bytes;
    }

    fn note(&self, message: &str) {
        self.notes.lock().unwrap().push(message.to_owned());
    }

    fn finish(&self) {}
}

/// Short limits: what is silent here is silent for good.
pub(crate) fn quick() -> FetchSettings {
    let short = Duration::from_millis(300);
    FetchSettings {
        from: None,
        timeouts: FetchTimeouts { connect: Duration::from_secs(5), first_byte: short, stall: short },
    }
}

pub(crate) fn folder() -> (tempfile::TempDir, DataFolder) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::new(folder.path().join("data"));
    (folder, data)
}
