//! OpenAI's batches: a file of lines is uploaded, a batch is made of it, and two files come back, one with answers
//! and one with errors. The same for chat completions and the Responses API.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::form::{Batched, Form, check_tag};
use super::results::{Collector, End};
use super::{
    BatchId, BatchItem, BatchLimits, BatchModel, BatchResults, BatchStatus, FoundBatch, LostBatch, earliest,
    not_over,
};
use crate::body::{Body, BodyWriter};
use crate::error::{ErrorKind, ModelError};
use crate::http::BODY_LIMIT;
use crate::protocol::{Client, Protocol};
use crate::request::ChatResponse;
use crate::transport::Call;
use crate::wire::count;

/// OpenAI's limits for one batch and its file.
const LIMITS: BatchLimits = BatchLimits {
    most_requests: 50_000,
    most_bytes: 200_000_000,
    price_factor: BatchLimits::PUBLISHED_PRICE_FACTOR,
};
/// Between the parts of an upload. It cannot occur in one: it follows a carriage return, and lines of JSON have
/// none.
const BOUNDARY: &str = "tiltmeter-part-5c1f0f6e8d3b";
/// The batch's metadata that hold our tag, and the settings that were left out.
const TAG: &str = "tiltmeter_tag";
const DROPPED: &str = "tiltmeter_dropped";
/// The most pages of a list that are looked at, of 100 batches each.
const MOST_PAGES: usize = 100;

/// The batches of a client.
pub(crate) struct OpenAiBatches<P> {
    batched: Batched<P>,
    /// What the requests of a batch are for, as the provider names it.
    path: &'static str,
    form: Form,
}

impl<P: Protocol> OpenAiBatches<P> {
    fn new(client: &Arc<Client<P>>, path: &'static str, between: &'static str) -> Self {
        let form = Form { before: "{\"custom_id\":", between, after: "}\n", separator: "" };
        Self { batched: Batched::new(client), path, form }
    }

    pub(crate) fn of_chat_completions(client: &Arc<Client<P>>) -> Self {
        let between = ",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":";
        Self::new(client, "/v1/chat/completions", between)
    }

    pub(crate) fn of_responses(client: &Arc<Client<P>>) -> Self {
        Self::new(client, "/v1/responses", ",\"method\":\"POST\",\"url\":\"/v1/responses\",\"body\":")
    }

    fn url(&self, suffix: &str) -> Url {
        self.batched.transport().url(suffix)
    }

    async fn batch(&self, call: Call) -> Result<Batch, ModelError> {
        self.batched.transport().call_json(call, "a batch", BODY_LIMIT).await
    }

    async fn get(&self, id: &str) -> Result<Batch, ModelError> {
        self.batch(Call::get(self.url(&format!("/batches/{id}")))).await
    }

    /// The form that is uploaded, and the settings that its requests are sent without.
    pub(crate) fn form(
        &self,
        tag: &str,
        items: &[BatchItem],
    ) -> Result<(Body, Vec<&'static str>), ModelError> {
        let mut writer = BodyWriter::default();
        writer.raw(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"{tag}.jsonl\"\r\n\
             Content-Type: application/jsonl\r\n\r\n"
        ));
        let dropped = self.batched.write(&mut writer, self.form, LIMITS, items)?;
        writer.raw(&format!("\r\n--{BOUNDARY}--\r\n"));
        Ok((writer.finish()?, dropped))
    }

    async fn upload(&self, body: Body) -> Result<String, ModelError> {
        let call = Call::post(self.url("/files"), body)
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        let transport = self.batched.transport();
        let file: Value = transport.call_json(call, "an uploaded file", BODY_LIMIT).await?;
        let id = file.get("id").and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| {
            transport.malformed("the reply is not an uploaded file", file.to_string().as_bytes())
        })
    }

    /// Takes one line of a file of answers or errors apart.
    fn read(&self, value: Value, end: End) -> Option<(String, Result<ChatResponse, ModelError>)> {
        let mut line: Line = serde_json::from_value(value).ok()?;
        let transport = self.batched.transport();
        let outcome = match (line.response.take(), line.error.filter(|error| !error.is_null())) {
            (Some(response), None) => transport.read_item::<P::Draft>(response.status_code, response.body),
            (_, Some(error)) => Err(match error.get("code").and_then(Value::as_str) {
                Some("batch_expired") => End::Expired.error(),
                Some("batch_cancelled") => End::Cancelled.error(),
                _ => transport.failed_item(500, &json!({ "error": error })),
            }),
            (None, None) => Err(end.error()),
        };
        Some((line.custom_id, outcome))
    }

    /// Why a batch failed as a whole.
    fn failure(&self, batch: &Batch) -> ModelError {
        let errors = batch.errors.as_ref().and_then(|errors| errors.get("data"));
        let Some(first) = errors.and_then(|data| data.get(0)) else {
            let message = "the batch failed, and the server gave no reason";
            return ModelError::new(ErrorKind::Overloaded, message);
        };
        let error = self.batched.transport().failed_item(400, &json!({ "error": first }));
        let kind = match first.get("code").and_then(Value::as_str) {
            // Too many tokens or batches waiting for the model: there will be room later.
            Some("token_limit_exceeded" | "request_limit_exceeded" | "rate_limit_exceeded") => {
                ErrorKind::RateLimited
            }
            _ => error.kind,
        };
        ModelError { kind, status: None, ..error }
    }
}

#[async_trait]
impl<P: Protocol> BatchModel for OpenAiBatches<P> {
    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn size(&self, item: &BatchItem) -> Result<u64, ModelError> {
        self.batched.size(self.form, item)
    }

    async fn submit(&self, tag: &str, items: &[BatchItem]) -> Result<BatchId, ModelError> {
        check_tag(tag)?;
        let (form, dropped) = self.form(tag, items)?;
        let file = self.upload(form).await?;
        let mut metadata = json!({ TAG: tag });
        if !dropped.is_empty() {
            metadata[DROPPED] = dropped.join(",").into();
        }
        let mut writer = BodyWriter::default();
        writer.json(&json!({
            "input_file_id": file,
            "endpoint": self.path,
            "completion_window": "24h",
            "metadata": metadata
        }));
        let batch = self.batch(Call::post(self.url("/batches"), writer.finish()?)).await?;
        Ok(BatchId::of(&batch.id, &dropped))
    }

    async fn find(&self, lost: LostBatch<'_>) -> Result<Option<FoundBatch>, ModelError> {
        let since = earliest(&lost).as_second();
        let mut after: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url = self.url("/batches");
            url.query_pairs_mut().append_pair("limit", "100");
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let transport = self.batched.transport();
            let page: Page = transport.call_json(Call::get(url), "a list of batches", BODY_LIMIT).await?;
            for batch in &page.data {
                let metadata = |name| batch.metadata.as_ref()?.get(name)?.as_str();
                if metadata(TAG) == Some(lost.tag) {
                    let dropped: Vec<_> = metadata(DROPPED).into_iter().collect();
                    return Ok(Some(FoundBatch::Certain(BatchId::of(&batch.id, &dropped))));
                }
            }
            // The newest come first.
            let is_past = page.data.last().is_none_or(|last| last.created_at < since);
            if is_past || !page.has_more {
                return Ok(None);
            }
            after = page.data.into_iter().next_back().map(|last| last.id);
        }
        Ok(None)
    }

    async fn poll(&self, id: &BatchId) -> Result<BatchStatus, ModelError> {
        let batch = self.get(id.parts()?.0).await?;
        let counts = batch.request_counts.as_ref();
        Ok(match batch.status.as_str() {
            "validating" | "in_progress" | "finalizing" | "cancelling" => BatchStatus::Running {
                done: counts.map_or(0, |counts| counts.completed + counts.failed),
                total: counts.map_or(0, |counts| counts.total),
            },
            "completed" => BatchStatus::Ended,
            "expired" => BatchStatus::Expired,
            "cancelled" => BatchStatus::Cancelled,
            "failed" => BatchStatus::Failed(self.failure(&batch)),
            other => {
                return Err(self
                    .batched
                    .transport()
                    .malformed("a batch's status is none that is known", other.as_bytes()));
            }
        })
    }

    async fn results(&self, id: &BatchId) -> Result<BatchResults, ModelError> {
        let (id, dropped) = id.parts()?;
        let batch = self.get(id).await?;
        let end = match batch.status.as_str() {
            "completed" | "failed" => End::Done,
            "expired" => End::Expired,
            "cancelled" => End::Cancelled,
            _ => return Err(not_over()),
        };
        let mut collector = Collector::new(dropped, end);
        // A batch whose requests all failed has no file of answers, and one without errors none of those.
        for file in [batch.output_file_id, batch.error_file_id].into_iter().flatten() {
            let call = Call::get(self.url(&format!("/files/{file}/content")));
            let each = |line: &[u8]| {
                collector.line(line, |value| self.read(value, end));
                ControlFlow::Continue(())
            };
            self.batched.transport().call_lines(call, each).await?;
        }
        Ok(collector.finish())
    }

    async fn cancel(&self, id: &BatchId) -> Result<(), ModelError> {
        let url = self.url(&format!("/batches/{}/cancel", id.parts()?.0));
        self.batch(Call::post(url, BodyWriter::default().finish()?)).await.map(|_| ())
    }
}

#[derive(Deserialize)]
struct Batch {
    id: String,
    status: String,
    #[serde(default)]
    created_at: i64,
    #[serde(default)]
    errors: Option<Value>,
    #[serde(default)]
    output_file_id: Option<String>,
    #[serde(default)]
    error_file_id: Option<String>,
    #[serde(default)]
    request_counts: Option<Counts>,
    #[serde(default)]
    metadata: Option<Value>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default, deserialize_with = "count")]
    total: u64,
    #[serde(default, deserialize_with = "count")]
    completed: u64,
    #[serde(default, deserialize_with = "count")]
    failed: u64,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Batch>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Line {
    custom_id: String,
    #[serde(default)]
    response: Option<ItemResponse>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct ItemResponse {
    status_code: u16,
    #[serde(default)]
    body: Value,
}
