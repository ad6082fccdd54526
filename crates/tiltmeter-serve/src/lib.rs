//! A local model as an OpenAI-compatible endpoint on this machine: chat, completions with `echo` and
//! log-probabilities, and vLLM's `/tokenize`, `/detokenize` and `prompt_logprobs`.
//!
//! Nothing is computed here: answers and scores are those of [`LocalModel`], to the last bit. A setting that would
//! change an answer and is not known is refused, never passed over.

mod chat;
mod choices;
mod completions;
mod error;
mod request;
mod tokens;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tiltmeter_local::LocalModel;
use tokio::net::TcpListener;

use crate::error::Refusal;

/// How a model is served.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The name that requests have to give; the model's own where nothing else is said.
    pub name: String,
    /// The most bytes of a request's body.
    pub body_limit: usize,
    /// How long requests in flight may go on once the server is told to stop.
    pub grace: Duration,
}

impl ServeSettings {
    /// Sixty-four mebibytes, which hold contexts of thousands of demonstrations, and five seconds.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), body_limit: 64 << 20, grace: Duration::from_secs(5) }
    }
}

/// What all requests share.
#[derive(Debug)]
struct Stage {
    model: LocalModel,
    name: String,
    /// Seconds since 1970 at the start.
    started: u64,
    replies: AtomicU64,
}

impl Stage {
    /// An id that no other reply has.
    fn reply_id(&self, kind: &str) -> String {
        format!("{kind}-{:x}-{}", self.started, self.replies.fetch_add(1, Ordering::Relaxed))
    }

    /// What was asked for must be the model that is served.
    fn check_model(&self, model: &str) -> Result<(), Refusal> {
        if model == self.name { Ok(()) } else { Err(Refusal::no_model(model, &self.name)) }
    }

    fn description(&self) -> Value {
        json!({
            "id": self.name,
            "object": "model",
            "created": self.started,
            "owned_by": "tiltmeter",
            "max_model_len": self.model.description().context_length,
        })
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Serves a model on a listener until `stop` is ready, and then until requests in flight are done or the grace is
/// over. A client that goes away takes its work along.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    model: LocalModel,
    listener: TcpListener,
    settings: ServeSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (told, stopped) = tokio::sync::oneshot::channel();
    let grace = settings.grace;
    let stop = async move {
        stop.await;
        // Nobody listens where the server has failed.
        let _ = told.send(());
    };
    let server = axum::serve(listener, router(model, settings)).with_graceful_shutdown(stop).into_future();
    let over = async move {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        result = server => result,
        () = over => Ok(()),
    }
}

fn router(model: LocalModel, settings: ServeSettings) -> Router {
    let ServeSettings { name, body_limit, grace: _ } = settings;
    let stage = Arc::new(Stage { model, name, started: now(), replies: AtomicU64::new(0) });
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(one_model))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/health", get(|| async { "" }))
        .fallback(|| async { Refusal::no_address() })
        .method_not_allowed_fallback(|| async { Refusal::no_method() })
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn(guard))
        .with_state(stage)
}

async fn models(State(stage): State<Arc<Stage>>) -> Response {
    axum::Json(json!({ "object": "list", "data": [stage.description()] })).into_response()
}

async fn one_model(State(stage): State<Arc<Stage>>, Path(name): Path<String>) -> Result<Response, Refusal> {
    stage.check_model(&name)?;
    Ok(axum::Json(stage.description()).into_response())
}

/// Keeps web pages from reaching the server through a browser on this machine: they come under a name of their own, or
/// without the content type that they would have to ask for.
async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !is_loopback(headers) {
        return Refusal::foreign_host().into_response();
    }
    if request.method() == Method::POST && !is_json(headers) {
        return Refusal::not_json().into_response();
    }
    next.run(request).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Whether the client names this machine. One that names nobody is not a browser.
fn is_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
