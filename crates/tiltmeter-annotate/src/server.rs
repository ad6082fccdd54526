//! The page's server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tiltmeter_judge::{CodeBook, CodeLabel};
use tiltmeter_store::{LabelKind, PersonCodeKind};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::desk::{Desk, Given, Said};
use crate::error::AnnotateError;
use crate::guard::{Guard, HEADERS, LONGEST_BODY};
use crate::token::Token;

/// The longest note, in characters.
const LONGEST_NOTE: usize = 2000;

/// How long a label that is being written may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
// What both pages do, and then their own.
const SCRIPT: &str = concat!(include_str!("page/common.js"), "\n", include_str!("page/page.js"));
const TRACES_PAGE: &str = include_str!("page/traces.html");
const TRACES_SCRIPT: &str = concat!(include_str!("page/common.js"), "\n", include_str!("page/traces.js"));

/// What all requests share.
struct Stage {
    guard: Guard,
    /// The one-time token, until it is used.
    entry: Mutex<Option<Token>>,
    desk: Arc<Mutex<Desk>>,
}

/// Serves the page on a loopback listener until `stop` is ready. `entry` is the token in the address that lets the first
/// browser in.
///
/// # Errors
/// If the listener fails, or the operating system gives no random bytes.
pub async fn serve(
    desk: Arc<Mutex<Desk>>,
    listener: TcpListener,
    entry: Token,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AnnotateError> {
    let stage = Arc::new(Stage {
        guard: Guard::new(listener.local_addr()?, Token::random()?),
        entry: Mutex::new(Some(entry)),
        desk,
    });
    let of_traces = stage.desk.lock().await.book().is_some();
    let (page, script) = if of_traces { (TRACES_PAGE, TRACES_SCRIPT) } else { (PAGE, SCRIPT) };
    let inside = Router::new()
        .route("/", get(move || async move { text("text/html; charset=utf-8", page) }))
        .route("/page.css", get(|| async { text("text/css; charset=utf-8", STYLE) }))
        .route("/page.js", get(move || async move { text("text/javascript; charset=utf-8", script) }))
        .route("/task", get(task))
        .route("/label", post(label))
        .route("/undo", post(undo))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&stage), session));
    let router = Router::new()
        .route("/start/{token}", get(enter))
        .merge(inside)
        .fallback(|| async { refusal(StatusCode::NOT_FOUND) })
        .layer(middleware::from_fn_with_state(Arc::clone(&stage), host))
        .with_state(stage);
    let (told, stopped) = tokio::sync::oneshot::channel();
    let stop = async move {
        stop.await;
        // Nobody listens where the server has failed.
        let _ = told.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(stop).into_future();
    let over = async move {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => Ok(result?),
        () = over => Ok(()),
    }
}

fn text(kind: &'static str, body: &'static str) -> Response {
    ([(CONTENT_TYPE, kind)], body).into_response()
}

/// A refusal in words that a person understands.
fn refusal(status: StatusCode) -> Response {
    let why = match status {
        StatusCode::FORBIDDEN => {
            "This page is open to one browser: the first that opened the address that `tiltmeter annotate` printed. \
             Start the command again for a new address."
        }
        StatusCode::MISDIRECTED_REQUEST => "This server answers only under its own address.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "Changes are sent as application/json.",
        StatusCode::BAD_REQUEST => "This is no label.",
        StatusCode::NOT_FOUND => "There is nothing at this address.",
        _ => "It could not be stored. What was stored before is safe; look at the terminal.",
    };
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], why).into_response()
}

/// The first thing that happens to a request, and the last that happens to its reply.
async fn host(State(stage): State<Arc<Stage>>, request: Request, next: Next) -> Response {
    let mut response = match stage.guard.check_host(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(status) => refusal(status),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn session(State(stage): State<Arc<Stage>>, request: Request, next: Next) -> Response {
    match stage.guard.check_session(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(status) => refusal(status),
    }
}

/// Lets the first browser in that has the token, and nobody after it.
async fn enter(State(stage): State<Arc<Stage>>, Path(token): Path<String>) -> Response {
    let mut entry = stage.entry.lock().await;
    if !entry.as_ref().is_some_and(|entry| entry.is(&token)) {
        return refusal(StatusCode::FORBIDDEN);
    }
    *entry = None;
    (StatusCode::SEE_OTHER, [(SET_COOKIE, stage.guard.set_cookie()), (LOCATION, "/".to_owned())], ())
        .into_response()
}

/// What the page shows. Nothing else of an answer ever leaves the server.
#[derive(Serialize)]
struct Shown<'a> {
    annotator: &'a str,
    done: usize,
    total: usize,
    can_undo: bool,
    /// Absent: all is labelled.
    task: Option<Task<'a>>,
    /// The labels, where traces are labelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a [CodeLabel]>,
}

#[derive(Serialize)]
struct Task<'a> {
    place: usize,
    question: &'a str,
    /// Of traces, the trace.
    answer: &'a str,
}

fn shown(desk: &Desk) -> Response {
    let task = desk.next().map(|(place, question, answer)| Task { place, question, answer });
    let shown = Shown {
        annotator: desk.annotator(),
        done: desk.done(),
        total: desk.total(),
        can_undo: desk.can_undo(),
        task,
        labels: desk.book().map(|book| book.labels.as_slice()),
    };
    axum::Json(shown).into_response()
}

async fn task(State(stage): State<Arc<Stage>>) -> Response {
    shown(&*stage.desk.lock().await)
}

/// A label as the page sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    place: usize,
    verdict: Verdict,
    alignment: Option<f64>,
    note: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
enum Verdict {
    Judged { misaligned: bool, coherent: bool },
    Refusal,
    CannotTell,
}

impl From<Verdict> for LabelKind {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Judged { misaligned, coherent } => Self::Judged { misaligned, coherent },
            Verdict::Refusal => Self::Refusal,
            Verdict::CannotTell => Self::CannotTell,
        }
    }
}

/// Labels of a trace as the page sends them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentCodes {
    place: usize,
    /// Ids; absent: the person cannot tell.
    labels: Option<Vec<String>>,
    note: Option<String>,
}

async fn label(State(stage): State<Arc<Stage>>, body: Bytes) -> Response {
    let given = match stage.desk.lock().await.book() {
        None => verdict(&body),
        Some(book) => codes(&body, book),
    };
    let Some(given) = given else { return refusal(StatusCode::BAD_REQUEST) };
    change(&stage, move |desk| desk.label(given)).await
}

fn verdict(body: &[u8]) -> Option<Given> {
    let Sent { place, verdict, alignment, note } = serde_json::from_slice(body).ok()?;
    if alignment.is_some_and(|score| !(0.0..=100.0).contains(&score)) {
        return None;
    }
    Some(Given { place, said: Said::Verdict { kind: verdict.into(), alignment }, note: trimmed(note) })
}

fn codes(body: &[u8], book: &CodeBook) -> Option<Given> {
    let SentCodes { place, labels, note } = serde_json::from_slice(body).ok()?;
    let kind = match labels {
        None => PersonCodeKind::CannotTell,
        Some(sent) => {
            if !sent.iter().all(|id| book.labels.iter().any(|label| label.id == *id)) {
                return None;
            }
            // In the book's order, without repeats.
            let given = book.labels.iter().filter(|label| sent.contains(&label.id));
            PersonCodeKind::Coded(given.map(|label| label.id.clone()).collect())
        }
    };
    Some(Given { place, said: Said::Codes(kind), note: trimmed(note) })
}

fn trimmed(note: Option<String>) -> Option<String> {
    let note = note.map(|note| note.trim().chars().take(LONGEST_NOTE).collect::<String>());
    note.filter(|note| !note.is_empty())
}

async fn undo(State(stage): State<Arc<Stage>>) -> Response {
    change(&stage, Desk::undo).await
}

/// Writes on a thread of its own, waits until it is on disk, and shows what comes next.
async fn change(
    stage: &Stage,
    change: impl FnOnce(&mut Desk) -> Result<bool, tiltmeter_store::StoreError> + Send + 'static,
) -> Response {
    let mut desk = Arc::clone(&stage.desk).lock_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        let result = change(&mut desk);
        (desk, result)
    });
    match done.await {
        Ok((desk, Ok(true))) => shown(&desk),
        Ok((_, Ok(false))) => refusal(StatusCode::BAD_REQUEST),
        Ok((_, Err(_))) | Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
