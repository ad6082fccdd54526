//! The server itself.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tiltmeter_core::id::{Canonical, ContentId};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::batch::Shelf;
use crate::chance::Chance;
use crate::connection::{Switch, SwitchedListener};
use crate::ledger::{Counters, Ledger, ProbeTruth, TruthRow, body_id};
use crate::request::{ChatBody, key};
use crate::script::{Fault, LogProbabilityMode, Script};
use crate::wire::{self, Answer};
use crate::{batch, gemini, judge, self_check, subject};

/// Contexts of a thousand demonstrations are about 1 MB, and a batch holds many.
const BODY_LIMIT: usize = 256 << 20;
const HTML_PAGE: &str = "<!DOCTYPE html><html><head><title>502</title></head><body>Bad gateway</body></html>";

/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub struct Sim;

impl Sim {
    /// Starts a server on the caller's runtime, on the script's port of this machine.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] where the script cannot be played; otherwise where the port cannot be had.
    pub async fn start(script: Script) -> io::Result<SimHandle> {
        script.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, script.server.port)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let stopped = Arc::new(AtomicBool::new(false));
        let listener = SwitchedListener { listener, server: Arc::clone(&stopped) };
        let stage = Arc::new(Stage {
            script,
            ledger: Mutex::default(),
            gate: Mutex::default(),
            shelf: Mutex::default(),
        });
        let app = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models))
            .route("/v1beta/models/{call}", post(generate))
            .route("/v1/files", post(batch::upload))
            .route("/v1/files/{id}/content", get(batch::content))
            .route("/v1/batches", post(batch::create).get(batch::list))
            .route("/v1/batches/{id}", get(batch::retrieve))
            .route("/v1/batches/{id}/cancel", post(batch::cancel))
            .route("/counters", get(counters))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(Arc::clone(&stage))
            .into_make_service_with_connect_info::<Switch>();
        let task = tokio::spawn(async move {
            // Serving on a listener that never fails never ends.
            let _ = axum::serve(listener, app).await;
        });
        Ok(SimHandle { base_url, stage, stopped, task })
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct SimHandle {
    base_url: String,
    stage: Arc<Stage>,
    stopped: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl SimHandle {
    /// The address up to and without `/chat/completions`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What it plays.
    pub fn script(&self) -> &Script {
        &self.stage.script
    }

    /// Counts so far.
    pub fn counters(&self) -> Counters {
        self.stage.ledger().counters.clone()
    }

    /// The truth about the subject's answers so far: one row for each kind of context, each different answer
    /// counted once.
    pub fn truth(&self) -> Vec<TruthRow> {
        self.stage.ledger().truth()
    }

    /// The truth about the answers to probes of usefulness so far, each different answer counted once.
    pub fn probe_truth(&self) -> Vec<ProbeTruth> {
        self.stage.ledger().probe_truth()
    }

    /// The bodies of all requests in the order in which they came, where the script says to keep them.
    pub fn recorded(&self) -> Vec<Value> {
        let bodies = self.stage.ledger().recorded.clone();
        bodies.iter().map(|body| serde_json::from_slice(body).unwrap_or(Value::Null)).collect()
    }

    /// How many requests had come before the first was replied to, where the script says to keep them.
    pub fn recorded_before_first_reply(&self) -> usize {
        self.stage.ledger().before_first_reply.unwrap_or(0)
    }

    /// Stops listening and drops all connections, those with a request in flight included.
    pub async fn stop(mut self) {
        self.stopped.store(true, Ordering::Release);
        self.task.abort();
        // The only outcome is that it was stopped.
        let _ = (&mut self.task).await;
    }

    /// Waits until the server fails, which is for ever.
    pub async fn serve(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        self.task.abort();
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    script: Script,
    ledger: Mutex<Ledger>,
    gate: Mutex<Gate>,
    shelf: Mutex<Shelf>,
}

/// When requests were let in.
#[derive(Debug, Default)]
struct Gate {
    first: Option<Instant>,
    /// Those of the last second, oldest first.
    let_in: VecDeque<Instant>,
}

impl Stage {
    /// The refusal of a request that does not carry the key.
    pub(crate) fn key_refused(&self, headers: &HeaderMap) -> Option<Box<Response>> {
        key_refused(&self.script, headers)
    }

    pub(crate) fn script(&self) -> &Script {
        &self.script
    }

    /// What is kept for batches. The ledger may be locked while it is, never the other way round.
    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    /// The refusal of a request that comes too soon after others, or while the server is down.
    pub(crate) fn at_gate(&self) -> Option<Response> {
        let server = &self.script.server;
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let first = *gate.first.get_or_insert(now);
        if now.duration_since(first) < Duration::from_millis(server.down_ms) {
            return Some(refusal(503, "The server is starting", None, None));
        }
        let most = server.requests_per_second? as usize;
        let second = Duration::from_secs(1);
        while gate.let_in.front().is_some_and(|&at| now.duration_since(at) >= second) {
            gate.let_in.pop_front();
        }
        if gate.let_in.len() < most {
            gate.let_in.push_back(now);
            return None;
        }
        let wait =
            gate.let_in.front().map_or(second, |&oldest| second.saturating_sub(now.duration_since(oldest)));
        let milliseconds = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(1000);
        let mut response = refusal(429, "Rate limit reached", Some("rate_limit_exceeded"), None);
        // Not every client knows the finer header.
        response.headers_mut().insert(RETRY_AFTER, milliseconds.div_ceil(1000).into());
        response.headers_mut().insert(HeaderName::from_static("retry-after-ms"), milliseconds.into());
        Some(response)
    }
}

/// Counts a request as in flight, also where its client goes away.
struct InFlight<'a>(&'a Stage);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.ledger().end();
    }
}

async fn models(State(stage): State<Arc<Stage>>) -> Response {
    let data: Vec<Value> =
        stage.script.server.models.iter().map(|name| json!({"id": name, "object": "model"})).collect();
    reply(200, "application/json", json!({"object": "list", "data": data}).to_string())
}

/// The counts so far, for those who run the server as a program of its own.
async fn counters(State(stage): State<Arc<Stage>>) -> Response {
    let Counters {
        subject_requests, judge_requests, by_status, answered, duplicates, most_in_flight, ..
    } = stage.ledger().counters.clone();
    let document = json!({
        "subject_requests": subject_requests,
        "judge_requests": judge_requests,
        "by_status": by_status,
        "answered": answered,
        "duplicates": duplicates,
        "most_in_flight": most_in_flight,
    });
    reply(200, "application/json", document.to_string())
}

/// The protocol that a request comes in.
enum Wire {
    /// OpenAI's chat completions.
    Chat,
    /// Gemini's own, which names the model in the path.
    Gemini {
        /// The model.
        model: String,
    },
}

async fn complete(
    State(stage): State<Arc<Stage>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    respond(&stage, &switch, &headers, bytes, Wire::Chat).await
}

async fn generate(
    State(stage): State<Arc<Stage>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    Path(call): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let Some(model) = gemini::model(&call) else {
        return reply(404, "application/json", gemini::error(404, "The method is not known"));
    };
    respond(&stage, &switch, &headers, bytes, Wire::Gemini { model: model.to_owned() }).await
}

async fn respond(stage: &Stage, switch: &Switch, headers: &HeaderMap, bytes: Bytes, wire: Wire) -> Response {
    let id = match &wire {
        Wire::Chat => body_id(&bytes),
        Wire::Gemini { model } => {
            Canonical::new("tiltmeter.sim.call/1").text(model).id(&body_id(&bytes)).finish()
        }
    };
    let attempt = stage.ledger().begin(id);
    let _in_flight = InFlight(stage);
    let response = act(stage, headers, bytes, id, attempt, &wire).await;
    if let Some(response) = response {
        let status = response.status().as_u16();
        stage.ledger().status(status);
        // Gemini's clients look for errors in its own form.
        let said = response.extensions().get::<Said>().map(|Said(message)| message.clone());
        return match (&wire, said) {
            (Wire::Gemini { .. }, Some(message)) => {
                let (mut parts, _) = response.into_parts();
                parts.headers.remove(CONTENT_LENGTH);
                Response::from_parts(parts, Body::from(gemini::error(status, &message)))
            }
            _ => response,
        };
    }
    switch.drop_connection();
    // Never arrives: writing it fails.
    StatusCode::NO_CONTENT.into_response()
}

/// The reply; `None` where the connection is to be dropped.
async fn act(
    stage: &Stage,
    headers: &HeaderMap,
    bytes: Bytes,
    id: ContentId,
    attempt: u32,
    wire: &Wire,
) -> Option<Response> {
    let server = &stage.script.server;
    if server.record {
        stage.ledger().recorded.push(bytes.clone());
    }
    if let Some(refusal) = stage.at_gate() {
        return Some(refusal);
    }
    let latency = Duration::from_millis(server.latency_ms);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    {
        let ledger = &mut *stage.ledger();
        ledger.before_first_reply.get_or_insert(ledger.recorded.len());
    }
    let body = match read(&stage.script, headers, &bytes, wire) {
        Ok(body) => body,
        Err(refusal) => return Some(*refusal),
    };
    {
        let counters = &mut stage.ledger().counters;
        *(if body.is_for_judge() { &mut counters.judge_requests } else { &mut counters.subject_requests }) +=
            1;
    }
    let fault = fault(&stage.script, id, attempt);
    if fault != Fault::None {
        stage.ledger().fault(fault);
    }
    if let Some(response) = failed(&stage.script, fault) {
        return Some(response);
    }
    if fault == Fault::Delay {
        tokio::time::sleep(Duration::from_millis(stage.script.faults.delay_ms)).await;
    }
    if let Some(refused) = refused_for_what_it_is(&stage.script, &body) {
        return Some(refused_reply(refused));
    }
    if fault == Fault::Reset {
        return None;
    }
    let (truth, answer) = if body.is_for_judge() {
        (None, judge::answer(&stage.script, &body))
    } else if self_check::is_asked(&body) {
        (None, self_check::answer(&stage.script, &body))
    } else {
        let (truth, answer) = subject::answer(&stage.script, &body);
        (Some(truth), answer)
    };
    if matches!(fault, Fault::None | Fault::WrongContentType | Fault::Delay) {
        stage.ledger().answered(id, truth.as_ref());
    }
    let pause = Duration::from_millis(server.between_pieces_ms);
    Some(delivered(&answer, &body, fault, pause, wire))
}

/// What is wrong with the request itself, in the order in which servers look.
fn read(script: &Script, headers: &HeaderMap, bytes: &[u8], wire: &Wire) -> Result<ChatBody, Box<Response>> {
    if let Some(refusal) = key_refused(script, headers) {
        return Err(refusal);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        Box::new(refusal(400, &format!("We could not parse the JSON body: {error}"), None, None))
    })?;
    let body = match wire {
        Wire::Chat => read_body(script, &value),
        Wire::Gemini { model } => gemini::read(model, &value)
            .map_err(|message| refused_as(400, &format!("Invalid request: {message}"), None, None))
            .and_then(|body| checked(script, body, &value)),
    };
    body.map_err(|refused| Box::new(refused_reply(refused)))
}

/// The refusal of a request that does not carry the key.
fn key_refused(script: &Script, headers: &HeaderMap) -> Option<Box<Response>> {
    let key = script.server.api_key.as_ref()?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Gemini's clients have a header of their own for it.
    let bearer = header(AUTHORIZATION).map(|given| given.strip_prefix("Bearer ").unwrap_or(""));
    let given = bearer.or_else(|| header(HeaderName::from_static("x-goog-api-key"))).unwrap_or("");
    if given == key {
        return None;
    }
    // Real servers repeat what they were given; a client must not pass that on.
    let message = format!("Incorrect API key provided: {given}.");
    Some(Box::new(refusal(401, &message, Some("invalid_api_key"), None)))
}

/// A refusal's status and body.
pub(crate) type Refused = (u16, String);

fn refused_as(status: u16, message: &str, code: Option<&str>, param: Option<&str>) -> Refused {
    let kind = if status < 500 { "invalid_request_error" } else { "server_error" };
    (status, wire::error(message, kind, code, param))
}

/// What is wrong with a request's body, wherever it came from.
pub(crate) fn read_body(script: &Script, value: &Value) -> Result<ChatBody, Refused> {
    let body = serde_json::from_value(value.clone())
        .map_err(|error| refused_as(400, &format!("Invalid request: {error}"), None, None))?;
    checked(script, body, value)
}

/// What the server does not take of a request that can be read.
fn checked(script: &Script, body: ChatBody, value: &Value) -> Result<ChatBody, Refused> {
    let server = &script.server;
    if !server.models.is_empty() && !server.models.contains(&body.model) {
        let message = format!("The model `{}` does not exist", body.model);
        return Err(refused_as(404, &message, Some("model_not_found"), None));
    }
    let rejects_logprobs =
        body.is_for_judge() && script.judge.log_probabilities == LogProbabilityMode::Rejected;
    let own = rejects_logprobs.then_some("logprobs");
    let mut refused = server.refused_fields.iter().map(String::as_str).chain(own);
    if let Some(field) = refused.find(|field| value.get(field).is_some()) {
        let message = format!("Unsupported parameter: '{field}' is not supported with this model.");
        return Err(refused_as(400, &message, Some("unsupported_parameter"), Some(field)));
    }
    Ok(body)
}

/// Prompts that are too long, and those that a filter withholds.
pub(crate) fn refused_for_what_it_is(script: &Script, body: &ChatBody) -> Option<Refused> {
    let tokens = body.prompt_tokens();
    if let Some(limit) = script.server.context_limit.filter(|&limit| tokens > limit) {
        let message = format!(
            "This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens} tokens."
        );
        return Some(refused_as(400, &message, Some("context_length_exceeded"), Some("messages")));
    }
    let chance = Chance::of(key(&body.model, &body.messages, body.seed));
    let is_filtered = !body.is_for_judge() && chance.happens("content filter", script.server.content_filter);
    is_filtered.then(|| refused_as(400, "The prompt was filtered", Some("content_filter"), Some("messages")))
}

/// Which fault an attempt meets.
fn fault(script: &Script, id: ContentId, attempt: u32) -> Fault {
    let faults = &script.faults;
    if faults.attempts.is_some_and(|most| attempt >= most) {
        return Fault::None;
    }
    let scheduled = usize::try_from(attempt).ok().and_then(|attempt| faults.schedule.get(attempt));
    if let Some(&fault) = scheduled {
        return fault;
    }
    let draw = Canonical::new("tiltmeter.sim.attempt/1").id(&id).integer(attempt.into()).finish();
    let mut left = Chance::of(draw).uniform("fault");
    let met = faults.rates.iter().find(|&(_, rate)| {
        left -= rate;
        left < 0.0
    });
    met.map_or(Fault::None, |(&fault, _)| fault)
}

/// The reply to a request that fails for no reason of its own; `None` where it is answered, if only in part.
fn failed(script: &Script, fault: Fault) -> Option<Response> {
    let overloaded = |status, message| refusal(status, message, None, None);
    Some(match fault {
        Fault::RateLimited => {
            let milliseconds = script.faults.retry_after_ms;
            let mut response = refusal(429, "Rate limit reached", Some("rate_limit_exceeded"), None);
            let (name, value) = if milliseconds.is_multiple_of(1000) {
                (RETRY_AFTER, milliseconds / 1000)
            } else {
                (HeaderName::from_static("retry-after-ms"), milliseconds)
            };
            response.headers_mut().insert(name, value.into());
            response
        }
        Fault::RateLimitedWithoutHint => {
            refusal(429, "Rate limit reached", Some("rate_limit_exceeded"), None)
        }
        Fault::ServerError => overloaded(500, "The server had an error while processing your request"),
        Fault::BadGateway => reply(502, "text/html", HTML_PAGE.to_owned()),
        Fault::Unavailable => overloaded(503, "The engine is currently overloaded"),
        Fault::Overloaded => overloaded(529, "Overloaded"),
        Fault::HtmlPage => reply(200, "text/html", HTML_PAGE.to_owned()),
        Fault::MalformedJson => {
            reply(200, "application/json", r#"{"id": "sim", "choices": [{"ind"#.to_owned())
        }
        Fault::None | Fault::Reset | Fault::CutBody | Fault::WrongContentType | Fault::Delay => return None,
    })
}

/// An answer in the form that was asked for, broken off in the middle where that is the fault.
fn delivered(answer: &Answer, body: &ChatBody, fault: Fault, pause: Duration, wire: &Wire) -> Response {
    let id = format!("sim-{}", key(&body.model, &body.messages, body.seed));
    let is_streamed = body.stream == Some(true);
    let mut pieces = match wire {
        Wire::Gemini { .. } => vec![gemini::whole(answer, body, &id)],
        Wire::Chat if is_streamed => answer.events(body, &id),
        Wire::Chat => vec![answer.whole(body, &id)],
    };
    let content_type = match (fault, is_streamed) {
        (Fault::WrongContentType, _) => "text/plain",
        (_, true) => "text/event-stream",
        (_, false) => "application/json",
    };
    if fault != Fault::CutBody {
        if !pause.is_zero() {
            // A body that trickles in: some twenty pieces, wherever they happen to break.
            let whole = pieces.concat().into_bytes();
            pieces.clear();
            let size = whole.len().div_ceil(20).max(1);
            let trickle = stream::unfold(Bytes::from(whole), move |mut left| async move {
                if left.is_empty() {
                    return None;
                }
                tokio::time::sleep(pause).await;
                let piece = left.split_to(size.min(left.len()));
                Some((Ok::<_, io::Error>(piece), left))
            });
            return with_body(200, content_type, Body::from_stream(trickle));
        }
        let pieces = pieces.into_iter().map(|piece| Ok::<_, io::Error>(Bytes::from(piece)));
        return with_body(200, content_type, Body::from_stream(stream::iter(pieces)));
    }
    // The second half never comes, and neither does the end: the body's failure closes the connection.
    let half = if is_streamed {
        pieces.truncate(pieces.len() / 2);
        pieces.concat()
    } else {
        let whole = pieces.concat();
        whole.chars().take(whole.chars().count() / 2).collect()
    };
    let end = stream::once(async {
        // Lets the first half be written before the connection goes.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let pieces = futures_util::StreamExt::chain(stream::iter([Ok(Bytes::from(half))]), end);
    with_body(200, content_type, Body::from_stream(pieces))
}

/// What an error says, for protocols that say it in another form.
#[derive(Clone)]
struct Said(String);

pub(crate) fn refusal(status: u16, message: &str, code: Option<&str>, param: Option<&str>) -> Response {
    refused_reply(refused_as(status, message, code, param))
}

fn refused_reply((status, body): Refused) -> Response {
    let said = serde_json::from_str::<Value>(&body).ok();
    let message = said.as_ref().and_then(|value| value["error"]["message"].as_str()).unwrap_or("").to_owned();
    let mut response = reply(status, "application/json", body);
    response.extensions_mut().insert(Said(message));
    response
}

pub(crate) fn reply(status: u16, content_type: &'static str, body: String) -> Response {
    with_body(status, content_type, Body::from(body))
}

fn with_body(status: u16, content_type: &'static str, body: Body) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, content_type)], body).into_response()
}
