//! Batches: files, what is made of them, and when it is done. The answers are those of the chat route.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use tiltmeter_core::id::{Canonical, ContentId};

use crate::chance::Chance;
use crate::ledger::body_id;
use crate::request::{ChatBody, key};
use crate::script::BatchScript;
use crate::server::{Stage, refusal, reply};
use crate::{judge, subject, wire};

/// The only requests that batches take here.
const ENDPOINT: &str = "/v1/chat/completions";

/// What the server keeps.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    files: BTreeMap<String, Bytes>,
    /// The oldest first.
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    input: String,
    metadata: Value,
    status: Status,
    total: usize,
    failed: usize,
    /// How often it was asked for.
    polls: u32,
    output: Option<String>,
    errors: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    InProgress,
    Completed,
    Expired,
    Cancelled,
    Failed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl Batch {
    fn json(&self, number: usize) -> Value {
        let is_over = !matches!(self.status, Status::InProgress | Status::Failed);
        let completed = if is_over { self.total - self.failed } else { 0 };
        let errors = (self.status == Status::Failed).then(|| {
            let error = json!({
                "code": "token_limit_exceeded",
                "message": "Enqueued token limit reached for this model",
                "param": null,
                "line": null
            });
            json!({"object": "list", "data": [error]})
        });
        json!({
            "id": format!("batch_{number}"),
            "object": "batch",
            "endpoint": ENDPOINT,
            "errors": errors,
            "input_file_id": self.input,
            "completion_window": "24h",
            "status": self.status.name(),
            "output_file_id": self.output,
            "error_file_id": self.errors,
            // The order, as there is no clock here; no client may take it for a time long past.
            "created_at": u32::MAX as usize + number,
            "request_counts": {"total": self.total, "completed": completed, "failed": self.failed},
            "metadata": self.metadata
        })
    }
}

impl Shelf {
    fn store(&mut self, content: Bytes) -> String {
        let id = format!("file-{}", self.files.len());
        self.files.insert(id.clone(), content);
        id
    }

    fn numbered(&mut self, id: &str) -> Option<(usize, &mut Batch)> {
        let number: usize = id.strip_prefix("batch_")?.parse().ok()?;
        Some((number, self.batches.get_mut(number)?))
    }
}

fn unknown(what: &str, id: &str) -> Response {
    refusal(404, &format!("No {what} found with id '{id}'."), None, None)
}

fn done(value: &Value) -> Response {
    reply(200, "application/json", value.to_string())
}

/// The refusal of a request of whatever kind, for its key or because it comes too soon.
fn refused(stage: &Stage, headers: &HeaderMap) -> Option<Response> {
    stage.at_gate().or_else(|| stage.key_refused(headers).map(|refusal| *refusal))
}

/// `POST /v1/files`.
pub(crate) async fn upload(State(stage): State<Arc<Stage>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refused(&stage, &headers) {
        return refusal;
    }
    let Some(content) = file_part(&headers, &body) else {
        return refusal(400, "'file' and 'purpose' are required properties", None, None);
    };
    let bytes = content.len();
    let id = stage.shelf().store(content);
    done(&json!({"id": id, "object": "file", "bytes": bytes, "purpose": "batch", "status": "processed"}))
}

/// The file of a form whose purpose is a batch.
fn file_part(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let boundary = content_type.strip_prefix("multipart/form-data;")?.split_once("boundary=")?.1;
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line before it.
    let mut at = format!("--{boundary}").len();
    let mut file = None;
    let mut purpose = None;
    loop {
        let rest = body.get(at..)?;
        if rest.starts_with(b"--") {
            break;
        }
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(rest.get(..head_end)?).into_owned();
        let start = at + head_end + 4;
        let length = find(body.get(start..)?, delimiter.as_bytes())?;
        let content = body.slice(start..start + length);
        if head.contains("name=\"file\"") {
            file = Some(content);
        } else if head.contains("name=\"purpose\"") {
            purpose = Some(content);
        }
        at = start + length + delimiter.len();
    }
    purpose.filter(|purpose| &**purpose == b"batch").and(file)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// `POST /v1/batches`.
pub(crate) async fn create(State(stage): State<Arc<Stage>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refused(&stage, &headers) {
        return refusal;
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let input = body.get("input_file_id").and_then(Value::as_str).unwrap_or("").to_owned();
    if body.get("endpoint").and_then(Value::as_str) != Some(ENDPOINT) {
        return refusal(400, "Invalid value for 'endpoint'", None, Some("endpoint"));
    }
    let mut shelf = stage.shelf();
    let Some(content) = shelf.files.get(&input) else {
        return unknown("file", &input);
    };
    let number = shelf.batches.len();
    let is_failing = number < stage.script().batch.failing as usize;
    let batch = Batch {
        total: lines(content).count(),
        input,
        metadata: body.get("metadata").cloned().unwrap_or_default(),
        status: if is_failing { Status::Failed } else { Status::InProgress },
        failed: 0,
        polls: 0,
        output: None,
        errors: None,
    };
    let shown = batch.json(number);
    shelf.batches.push(batch);
    drop(shelf);
    stage.ledger().counters.batches += 1;
    done(&shown)
}

/// `GET /v1/batches`: the newest first.
pub(crate) async fn list(
    State(stage): State<Arc<Stage>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refused(&stage, &headers) {
        return refusal;
    }
    let mut shelf = stage.shelf();
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(20);
    let end = match query.get("after") {
        None => shelf.batches.len(),
        Some(after) => match shelf.numbered(after) {
            Some((number, _)) => number,
            None => return unknown("batch", after),
        },
    };
    let start = end.saturating_sub(limit);
    let shown = shelf.batches.iter().enumerate().take(end).skip(start).rev();
    let data: Vec<Value> = shown.map(|(number, batch)| batch.json(number)).collect();
    done(&json!({"object": "list", "data": data, "has_more": start > 0}))
}

/// `GET /v1/batches/{id}`: a poll.
pub(crate) async fn retrieve(
    State(stage): State<Arc<Stage>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refused(&stage, &headers) {
        return refusal;
    }
    let mut shelf = stage.shelf();
    let Some((number, batch)) = shelf.numbered(&id) else {
        return unknown("batch", &id);
    };
    batch.polls += 1;
    let is_due = batch.status == Status::InProgress && batch.polls > stage.script().batch.polls;
    if is_due {
        let input = batch.input.clone();
        let content = shelf.files.get(&input).cloned().unwrap_or_default();
        let made = answers(&stage, &content);
        let output = (!made.output.is_empty()).then(|| shelf.store(made.output.into()));
        let errors = (!made.errors.is_empty()).then(|| shelf.store(made.errors.into()));
        if let Some(batch) = shelf.batches.get_mut(number) {
            batch.status = if made.is_expired { Status::Expired } else { Status::Completed };
            batch.failed = made.failed;
            (batch.output, batch.errors) = (output, errors);
        }
    }
    let shown = shelf.batches.get(number).map(|batch| batch.json(number)).unwrap_or_default();
    drop(shelf);
    done(&shown)
}

/// `POST /v1/batches/{id}/cancel`: what was not answered yet never is.
pub(crate) async fn cancel(
    State(stage): State<Arc<Stage>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refused(&stage, &headers) {
        return refusal;
    }
    let mut shelf = stage.shelf();
    let Some((number, batch)) = shelf.numbered(&id) else {
        return unknown("batch", &id);
    };
    if batch.status != Status::InProgress {
        let message = format!("Cannot cancel a batch with status '{}'.", batch.status.name());
        return refusal(409, &message, None, None);
    }
    batch.status = Status::Cancelled;
    batch.failed = batch.total;
    let input = batch.input.clone();
    let mut errors = String::new();
    for line in lines(&shelf.files.get(&input).cloned().unwrap_or_default()) {
        let custom_id = line.get("custom_id").cloned().unwrap_or_default();
        push(&mut errors, &failed_line(&custom_id, "batch_cancelled", "This batch was cancelled."));
    }
    let errors = shelf.store(errors.into());
    let shown = shelf.batches.get_mut(number).map(|batch| {
        batch.errors = Some(errors);
        batch.json(number)
    });
    drop(shelf);
    done(&shown.unwrap_or_default())
}

/// `GET /v1/files/{id}/content`.
pub(crate) async fn content(
    State(stage): State<Arc<Stage>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refused(&stage, &headers) {
        return refusal;
    }
    let content = stage.shelf().files.get(&id).cloned();
    match content {
        Some(content) => {
            reply(200, "application/octet-stream", String::from_utf8_lossy(&content).into_owned())
        }
        None => unknown("file", &id),
    }
}

fn lines(content: &[u8]) -> impl Iterator<Item = Value> {
    let lines = content.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap_or_default())
}

fn push(file: &mut String, line: &Value) {
    file.push_str(&line.to_string());
    file.push('\n');
}

fn answered_line(custom_id: &Value, status: u16, body: &Value) -> Value {
    let response = json!({"status_code": status, "request_id": "req_sim", "body": body});
    json!({"id": "batch_req_sim", "custom_id": custom_id, "response": response, "error": null})
}

fn failed_line(custom_id: &Value, code: &str, message: &str) -> Value {
    let error = json!({"code": code, "message": message});
    json!({"id": "batch_req_sim", "custom_id": custom_id, "response": null, "error": error})
}

/// The files that a batch ends with.
#[derive(Default)]
struct Made {
    output: String,
    errors: String,
    failed: usize,
    is_expired: bool,
}

/// Answers a batch's requests, the last one first: no client may count on their order.
fn answers(stage: &Stage, content: &[u8]) -> Made {
    let mut made = Made::default();
    let mut all: Vec<Value> = lines(content).collect();
    all.reverse();
    for line in &all {
        let custom_id = line.get("custom_id").cloned().unwrap_or_default();
        let body = line.get("body").cloned().unwrap_or_default();
        // The same text as of a request on the chat route, so that both count as one and the same.
        let bytes = body.to_string();
        let id = body_id(bytes.as_bytes());
        let attempt = stage.ledger().attempt(id);
        match befalls(&stage.script().batch, id, attempt) {
            Befalls::Fails => {
                made.failed += 1;
                let error = wire::error("The server had an error", "server_error", None, None);
                let error: Value = serde_json::from_str(&error).unwrap_or_default();
                push(&mut made.errors, &answered_line(&custom_id, 500, &error));
            }
            Befalls::Expires => {
                made.failed += 1;
                made.is_expired = true;
                let message = "This request could not be executed before the completion window expired.";
                push(&mut made.errors, &failed_line(&custom_id, "batch_expired", message));
            }
            fate => {
                let (status, answer) = answer(stage, id, &body, &bytes);
                let line = answered_line(&custom_id, status, &answer);
                if status >= 400 {
                    made.failed += 1;
                    push(&mut made.errors, &line);
                } else if fate == Befalls::IsBroken {
                    let whole = line.to_string();
                    made.output.extend(whole.chars().take(whole.chars().count() / 2));
                    made.output.push('\n');
                } else if fate == Befalls::Nothing {
                    push(&mut made.output, &line);
                }
            }
        }
    }
    made
}

/// The status and body that the chat route would give.
fn answer(stage: &Stage, id: ContentId, body: &Value, bytes: &str) -> (u16, Value) {
    let script = stage.script();
    let refused = |refusal: (u16, String)| (refusal.0, serde_json::from_str(&refusal.1).unwrap_or_default());
    let read: ChatBody = match crate::server::read_body(script, body) {
        Ok(read) => read,
        Err(refusal) => return refused(refusal),
    };
    if let Some(refusal) = crate::server::refused_for_what_it_is(script, &read) {
        return refused(refusal);
    }
    if script.server.record {
        stage.ledger().recorded.push(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    let reply_id = format!("sim-{}", key(&read.model, &read.messages, read.seed));
    let answer = if read.is_for_judge() {
        stage.ledger().answered(id, None);
        judge::answer(script, &read)
    } else {
        let (truth, answer) = subject::answer(script, &read);
        stage.ledger().answered(id, Some(&truth));
        answer
    };
    (200, serde_json::from_str(&answer.whole(&read, &reply_id)).unwrap_or_default())
}

/// What goes wrong with one request of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Befalls {
    Nothing,
    Fails,
    Expires,
    /// It is answered, and in neither file.
    IsLost,
    /// It is answered, and its line is cut.
    IsBroken,
}

fn befalls(script: &BatchScript, id: ContentId, attempt: u32) -> Befalls {
    let draw = Canonical::new("tiltmeter.sim.batch/1").id(&id).integer(attempt.into()).finish();
    let mut left = Chance::of(draw).uniform("befalls");
    let fates = [
        (Befalls::Fails, script.fails),
        (Befalls::Expires, script.expires),
        (Befalls::IsLost, script.loses),
        (Befalls::IsBroken, script.breaks),
    ];
    let met = fates.into_iter().find(|(_, rate)| {
        left -= rate;
        left < 0.0
    });
    met.map_or(Befalls::Nothing, |(fate, _)| fate)
}
