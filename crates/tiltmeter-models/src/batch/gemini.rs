//! Gemini's batches: requests stand in the body up to a size, and in an uploaded file beyond it; answers come back
//! in the same way.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Url;
use serde_json::{Value, json};

use super::form::{Batched, Form, check_tag};
use super::results::{Collector, End};
use super::{
    BatchId, BatchItem, BatchLimits, BatchModel, BatchResults, BatchStatus, FoundBatch, LostBatch, earliest,
    not_over, split_dropped, with_dropped,
};
use crate::body::{Body, BodyWriter};
use crate::error::{ErrorKind, ModelError};
use crate::http::BODY_LIMIT;
use crate::protocol::{Client, Protocol};
use crate::request::ChatResponse;
use crate::transport::Call;

/// The provider's limit for a file is 2 GB; it names none for the number of requests, so that the one here is for
/// the sake of the results, which are held in memory.
const LIMITS: BatchLimits = BatchLimits {
    most_requests: 50_000,
    most_bytes: 2_000_000_000,
    price_factor: BatchLimits::PUBLISHED_PRICE_FACTOR,
};
/// Up to this size requests may stand in the body.
const MOST_INLINE: u64 = 20_000_000;
/// What stands around them there.
const AROUND_INLINE: u64 = 1000;
/// The longest reply that may hold answers.
const ANSWERS_LIMIT: usize = 512 << 20;
/// The most pages of a list that are looked at.
const MOST_PAGES: usize = 200;

const INLINE: Form =
    Form { before: "{\"metadata\":{\"key\":", between: "},\"request\":", after: "}", separator: "," };
const IN_FILE: Form = Form { before: "{\"key\":", between: ",\"request\":", after: "}\n", separator: "" };

/// The batches of a client.
pub(crate) struct GeminiBatches<P> {
    batched: Batched<P>,
    /// The model's address, up to the method.
    model: Url,
}

impl<P: Protocol> GeminiBatches<P> {
    /// `model` is the model's path, such as `models/gemini-2.5-flash`.
    pub(crate) fn new(client: &Arc<Client<P>>, model: &str) -> Self {
        let url = client.transport.url(&format!("/{model}:batchGenerateContent"));
        Self { batched: Batched::new(client), model: url }
    }

    fn url(&self, suffix: &str) -> Url {
        self.batched.transport().url(suffix)
    }

    /// An address of the parts of the server that take and give files: `/upload/v1beta/…` for `/v1beta/…`.
    fn file_url(&self, service: &str, suffix: &str) -> Url {
        let mut url = self.url("");
        let path = url.path().trim_end_matches('/');
        let (before, version) = path.rsplit_once('/').unwrap_or(("", path));
        url.set_path(&format!("{before}/{service}/{version}{suffix}"));
        url
    }

    fn malformed(&self, what: &str, value: &Value) -> ModelError {
        self.batched.transport().malformed(what, value.to_string().as_bytes())
    }

    /// Uploads a file in the two steps that the protocol has, and gives its name.
    async fn upload(&self, tag: &str, body: Body) -> Result<String, ModelError> {
        let transport = self.batched.transport();
        let mut writer = BodyWriter::default();
        writer.json(&json!({ "file": { "displayName": tag } }));
        let begin = Call::post(self.file_url("upload", "/files"), writer.finish()?)
            .header("x-goog-upload-protocol", "resumable")
            .header("x-goog-upload-command", "start")
            .header("x-goog-upload-header-content-length", body.len().to_string())
            .header("x-goog-upload-header-content-type", "application/jsonl");
        let begun = transport.call(begin, BODY_LIMIT).await?;
        let address = begun.headers.get("x-goog-upload-url").and_then(|value| value.to_str().ok());
        let address = address
            .and_then(|address| Url::parse(address).ok())
            .ok_or_else(|| transport.malformed("the server gives no address to upload to", &begun.body))?;
        let send = Call::post(address, body)
            .header("content-type", "application/jsonl")
            .header("x-goog-upload-offset", "0")
            .header("x-goog-upload-command", "upload, finalize");
        let file: Value = transport.call_json(send, "an uploaded file", BODY_LIMIT).await?;
        let name = file.pointer("/file/name").and_then(Value::as_str).map(str::to_owned);
        name.ok_or_else(|| self.malformed("the reply is not an uploaded file", &file))
    }

    async fn operation(&self, call: Call) -> Result<Value, ModelError> {
        self.batched.transport().call_json(call, "a batch", ANSWERS_LIMIT).await
    }

    async fn get(&self, id: &str) -> Result<Value, ModelError> {
        self.operation(Call::get(self.url(&format!("/{id}")))).await
    }

    /// Takes one answer apart, from a file's line or from the list in a reply.
    fn read(&self, mut value: Value, end: End) -> Option<(String, Result<ChatResponse, ModelError>)> {
        let key = value.pointer("/metadata/key").or_else(|| value.get("key"))?.as_str()?.to_owned();
        let transport = self.batched.transport();
        let mut take = |name: &str| value.get_mut(name).map(Value::take).filter(|it| !it.is_null());
        let outcome = match (take("response"), take("error")) {
            (_, Some(error)) => Err(self.failed(error)),
            (Some(response), None) => transport.read_item::<P::Draft>(200, response),
            (None, None) => Err(end.error()),
        };
        Some((key, outcome))
    }

    /// An error that carries the status of a remote procedure call where a reply would have one of HTTP.
    fn failed(&self, mut error: Value) -> ModelError {
        let code = error.get("code").and_then(Value::as_u64);
        let status = code.and_then(http_status);
        if let Some(object) = error.as_object_mut().filter(|_| status.is_some()) {
            object.remove("code");
        }
        let status = status.or(code.and_then(|code| u16::try_from(code).ok())).filter(|code| *code >= 400);
        let failed = self.batched.transport().failed_item(status.unwrap_or(500), &json!({ "error": error }));
        match code {
            // Cancelled by the server, which happens to single requests of batches that succeed.
            Some(1) => ModelError { kind: ErrorKind::Interrupted, ..failed },
            _ => failed,
        }
    }
}

/// The status of HTTP for one of gRPC (google/rpc/code.proto).
fn http_status(code: u64) -> Option<u16> {
    Some(match code {
        1 => 499,
        2 | 13 | 15 => 500,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => return None,
    })
}

/// The state's name without its prefix, of which there are two.
fn state(operation: &Value) -> &str {
    let state = operation.pointer("/metadata/state").or_else(|| operation.get("state"));
    let state = state.and_then(Value::as_str).unwrap_or("");
    state.strip_prefix("BATCH_STATE_").or_else(|| state.strip_prefix("JOB_STATE_")).unwrap_or(state)
}

/// A count, which this protocol writes as a text.
fn stat(operation: &Value, name: &str) -> u64 {
    let stats = operation.pointer("/metadata/batchStats").or_else(|| operation.get("batchStats"));
    let value = stats.and_then(|stats| stats.get(name));
    value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok())).unwrap_or(0)
}

/// Where answers may stand: the reply of the operation, and its metadata.
const OUTPUTS: [&str; 4] = ["/response", "/response/output", "/metadata/output", "/output"];

fn responses_file(operation: &Value) -> Option<String> {
    let mut found = OUTPUTS.iter().filter_map(|at| operation.pointer(at)?.get("responsesFile")?.as_str());
    found.next().map(str::to_owned)
}

fn take_inline(operation: &mut Value) -> Vec<Value> {
    for at in OUTPUTS {
        for list in ["/inlinedResponses/inlinedResponses", "/inlinedResponses/responses", "/inlinedResponses"]
        {
            if let Some(Value::Array(answers)) = operation.pointer_mut(&format!("{at}{list}")) {
                return std::mem::take(answers);
            }
        }
    }
    Vec::new()
}

#[async_trait]
impl<P: Protocol> BatchModel for GeminiBatches<P> {
    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn size(&self, item: &BatchItem) -> Result<u64, ModelError> {
        self.batched.size(IN_FILE, item)
    }

    async fn submit(&self, tag: &str, items: &[BatchItem]) -> Result<BatchId, ModelError> {
        check_tag(tag)?;
        let mut input = BodyWriter::default();
        let is_inline = self.batched.total(INLINE, items)? + AROUND_INLINE <= MOST_INLINE;
        let dropped =
            self.batched.write(&mut input, if is_inline { INLINE } else { IN_FILE }, LIMITS, items)?;
        let input = input.finish()?;
        let mut writer = BodyWriter::default();
        writer.raw("{\"batch\":{\"displayName\":");
        writer.json(&with_dropped(tag, &dropped));
        writer.raw(",\"inputConfig\":");
        if is_inline {
            writer.raw("{\"requests\":{\"requests\":[");
            writer.body(&input);
            writer.raw("]}}");
        } else {
            writer.json(&json!({ "fileName": self.upload(tag, input).await? }));
        }
        writer.raw("}}");
        let operation = self.operation(Call::post(self.model.clone(), writer.finish()?)).await?;
        let name = operation.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| self.malformed("the reply is not a batch", &operation))?;
        Ok(BatchId::of(name, &dropped))
    }

    async fn find(&self, lost: LostBatch<'_>) -> Result<Option<FoundBatch>, ModelError> {
        let since = earliest(&lost);
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url = self.url("/batches");
            url.query_pairs_mut().append_pair("pageSize", "20");
            if let Some(next) = &next {
                url.query_pairs_mut().append_pair("pageToken", next);
            }
            let page = self.operation(Call::get(url)).await?;
            let operations = page.get("operations").or_else(|| page.get("batches")).and_then(Value::as_array);
            let mut is_past = false;
            for operation in operations.into_iter().flatten() {
                let text = |name: &str| {
                    let value = operation.get("metadata").and_then(|metadata| metadata.get(name));
                    value.or_else(|| operation.get(name)).and_then(Value::as_str)
                };
                let (tag, dropped) = split_dropped(text("displayName").unwrap_or(""));
                if let Some(name) = operation.get("name").and_then(Value::as_str).filter(|_| tag == lost.tag)
                {
                    return Ok(Some(FoundBatch::Certain(BatchId::of(name, &dropped))));
                }
                let created = text("createTime").and_then(|time| time.parse::<Timestamp>().ok());
                is_past = created.is_some_and(|created| created < since);
            }
            next = page.get("nextPageToken").and_then(Value::as_str).map(str::to_owned);
            // The newest come first.
            if is_past || next.as_ref().is_none_or(String::is_empty) {
                break;
            }
        }
        Ok(None)
    }

    async fn poll(&self, id: &BatchId) -> Result<BatchStatus, ModelError> {
        let operation = self.get(id.parts()?.0).await?;
        let counted = |name| stat(&operation, name);
        Ok(match state(&operation) {
            "UNSPECIFIED" | "PENDING" | "QUEUED" | "RUNNING" | "CANCELLING" => BatchStatus::Running {
                done: counted("successfulRequestCount") + counted("failedRequestCount"),
                total: counted("requestCount"),
            },
            "SUCCEEDED" | "PARTIALLY_SUCCEEDED" => BatchStatus::Ended,
            "EXPIRED" => BatchStatus::Expired,
            "CANCELLED" => BatchStatus::Cancelled,
            "FAILED" => {
                let error = operation.get("error").cloned();
                let error = error.unwrap_or_else(|| json!({ "message": "the batch failed" }));
                BatchStatus::Failed(ModelError { status: None, ..self.failed(error) })
            }
            _ => return Err(self.malformed("a batch's state is none that is known", &operation)),
        })
    }

    async fn results(&self, id: &BatchId) -> Result<BatchResults, ModelError> {
        let (id, dropped) = id.parts()?;
        let mut operation = self.get(id).await?;
        let end = match state(&operation) {
            "SUCCEEDED" | "PARTIALLY_SUCCEEDED" | "FAILED" => End::Done,
            "EXPIRED" => End::Expired,
            "CANCELLED" => End::Cancelled,
            _ => return Err(not_over()),
        };
        let mut collector = Collector::new(dropped, end);
        for answer in take_inline(&mut operation) {
            collector.add(self.read(answer, end));
        }
        if let Some(file) = responses_file(&operation) {
            let mut url = self.file_url("download", &format!("/{file}:download"));
            url.query_pairs_mut().append_pair("alt", "media");
            let each = |line: &[u8]| {
                collector.line(line, |value| self.read(value, end));
                ControlFlow::Continue(())
            };
            self.batched.transport().call_lines(Call::get(url), each).await?;
        }
        Ok(collector.finish())
    }

    async fn cancel(&self, id: &BatchId) -> Result<(), ModelError> {
        let url = self.url(&format!("/{}:cancel", id.parts()?.0));
        let body = BodyWriter::default().finish()?;
        self.batched.transport().call(Call::post(url, body), BODY_LIMIT).await.map(|_| ())
    }
}
