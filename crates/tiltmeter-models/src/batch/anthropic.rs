//! Anthropic's batches: the requests themselves are the body, and the results come as lines.
//!
//! The provider says at which address the results are. That address is not used: the same results are below the
//! address that the user chose, and the key is sent nowhere else.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::form::{Batched, Form, check_tag};
use super::results::{Collector, End};
use super::{
    BatchId, BatchItem, BatchLimits, BatchModel, BatchResults, BatchStatus, FoundBatch, LostBatch, earliest,
    not_over,
};
use crate::body::BodyWriter;
use crate::error::ModelError;
use crate::http::BODY_LIMIT;
use crate::protocol::{Client, Protocol};
use crate::request::ChatResponse;
use crate::transport::Call;

/// The provider's limits are 100,000 requests and 256 MB, of which a little is left for what stands around the
/// requests.
const LIMITS: BatchLimits = BatchLimits {
    most_requests: 100_000,
    most_bytes: 255_000_000,
    price_factor: BatchLimits::PUBLISHED_PRICE_FACTOR,
};
const FORM: Form = Form { before: "{\"custom_id\":", between: ",\"params\":", after: "}", separator: "," };
/// The most pages of a list that are looked at, of 100 batches each.
const MOST_PAGES: usize = 100;

/// The batches of a client.
pub(crate) struct AnthropicBatches<P> {
    batched: Batched<P>,
}

impl<P: Protocol> AnthropicBatches<P> {
    pub(crate) fn new(client: &Arc<Client<P>>) -> Self {
        Self { batched: Batched::new(client) }
    }

    fn url(&self, suffix: &str) -> Url {
        self.batched.transport().url(&format!("/messages/batches{suffix}"))
    }

    async fn batch(&self, call: Call) -> Result<Batch, ModelError> {
        self.batched.transport().call_json(call, "a message batch", BODY_LIMIT).await
    }

    /// Takes one line of results apart.
    fn read(&self, value: Value, end: End) -> Option<(String, Result<ChatResponse, ModelError>)> {
        let line: Line = serde_json::from_value(value).ok()?;
        let transport = self.batched.transport();
        let outcome = match line.result {
            Outcome::Succeeded { message } => transport.read_item::<P::Draft>(200, message),
            // The status is in a word of it, as where a stream breaks off.
            Outcome::Errored { error } => Err(transport.failed_item(200, &error)),
            Outcome::Canceled => Err(End::Cancelled.error()),
            Outcome::Expired => Err(End::Expired.error()),
            Outcome::Other => Err(end.error()),
        };
        Some((line.custom_id, outcome))
    }

    /// Whether the results of a batch that is over are those of the lost one: whether the first that can be read
    /// has a key of it.
    async fn has_keys(&self, id: &str, keys: &HashSet<&str>) -> Result<bool, ModelError> {
        let mut is_it = false;
        let each = |line: &[u8]| match serde_json::from_slice::<Line>(line) {
            Ok(line) => {
                is_it = keys.contains(line.custom_id.as_str());
                ControlFlow::Break(())
            }
            Err(_) => ControlFlow::Continue(()),
        };
        let call = Call::get(self.url(&format!("/{id}/results")));
        self.batched.transport().call_lines(call, each).await?;
        Ok(is_it)
    }
}

#[async_trait]
impl<P: Protocol> BatchModel for AnthropicBatches<P> {
    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn size(&self, item: &BatchItem) -> Result<u64, ModelError> {
        self.batched.size(FORM, item)
    }

    async fn submit(&self, tag: &str, items: &[BatchItem]) -> Result<BatchId, ModelError> {
        // The provider has no place for it.
        check_tag(tag)?;
        let mut writer = BodyWriter::default();
        writer.raw("{\"requests\":[");
        let dropped = self.batched.write(&mut writer, FORM, LIMITS, items)?;
        writer.raw("]}");
        let batch = self.batch(Call::post(self.url(""), writer.finish()?)).await?;
        Ok(BatchId::of(&batch.id, &dropped))
    }

    /// The provider stores neither a name nor other data of ours. What can be seen of a batch that runs is when it
    /// was made and how many requests it holds; of one that is over, whose answers it has. The settings that the
    /// model was known not to take when the batch was made are not stored either: those known now count.
    async fn find(&self, lost: LostBatch<'_>) -> Result<Option<FoundBatch>, ModelError> {
        let since = earliest(&lost);
        let keys: HashSet<&str> = lost.items.iter().map(|item| item.key.as_str()).collect();
        let known = |id: &str| lost.known.iter().any(|known| known.parts().is_ok_and(|it| it.0 == id));
        let dropped = self.batched.dropped(lost.items)?;
        let mut likely = None;
        let mut after: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url = self.url("");
            url.query_pairs_mut().append_pair("limit", "100");
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after_id", after);
            }
            let transport = self.batched.transport();
            let page: Page =
                transport.call_json(Call::get(url), "a list of message batches", BODY_LIMIT).await?;
            // The newest come first.
            let is_past = page.data.last().is_none_or(|last| last.created_at < since);
            let last = page.data.last().map(|last| last.id.clone());
            for batch in page.data {
                let is_candidate = batch.created_at >= since
                    && batch.request_counts.total() == keys.len() as u64
                    && !known(&batch.id);
                if !is_candidate {
                    continue;
                }
                if batch.processing_status != "ended" {
                    // The earliest of several.
                    likely = Some(batch.id);
                } else if batch.results_url.is_some() && self.has_keys(&batch.id, &keys).await? {
                    return Ok(Some(FoundBatch::Certain(BatchId::of(&batch.id, &dropped))));
                }
            }
            if is_past || !page.has_more {
                break;
            }
            after = last;
        }
        Ok(likely.map(|id| FoundBatch::Likely(BatchId::of(&id, &dropped))))
    }

    async fn poll(&self, id: &BatchId) -> Result<BatchStatus, ModelError> {
        let batch = self.batch(Call::get(self.url(&format!("/{}", id.parts()?.0)))).await?;
        let counts = &batch.request_counts;
        Ok(match batch.processing_status.as_str() {
            "in_progress" | "canceling" => BatchStatus::Running {
                done: counts.total() - counts.processing.min(counts.total()),
                total: counts.total(),
            },
            "ended" => match batch.end() {
                End::Done => BatchStatus::Ended,
                End::Expired => BatchStatus::Expired,
                End::Cancelled => BatchStatus::Cancelled,
            },
            other => {
                let transport = self.batched.transport();
                return Err(transport.malformed("a batch's status is none that is known", other.as_bytes()));
            }
        })
    }

    async fn results(&self, id: &BatchId) -> Result<BatchResults, ModelError> {
        let (id, dropped) = id.parts()?;
        let batch = self.batch(Call::get(self.url(&format!("/{id}")))).await?;
        if batch.processing_status != "ended" {
            return Err(not_over());
        }
        let end = batch.end();
        let mut collector = Collector::new(dropped, end);
        let each = |line: &[u8]| {
            collector.line(line, |value| self.read(value, end));
            ControlFlow::Continue(())
        };
        let call = Call::get(self.url(&format!("/{id}/results")));
        self.batched.transport().call_lines(call, each).await?;
        Ok(collector.finish())
    }

    async fn cancel(&self, id: &BatchId) -> Result<(), ModelError> {
        let url = self.url(&format!("/{}/cancel", id.parts()?.0));
        self.batch(Call::post(url, BodyWriter::default().finish()?)).await.map(|_| ())
    }
}

#[derive(Deserialize)]
struct Batch {
    id: String,
    processing_status: String,
    #[serde(default)]
    request_counts: Counts,
    created_at: Timestamp,
    #[serde(default)]
    results_url: Option<String>,
}

impl Batch {
    /// Requests are counted one by one, so that a batch that was cancelled or expired too late for any of them has
    /// simply ended.
    fn end(&self) -> End {
        if self.request_counts.canceled > 0 {
            End::Cancelled
        } else if self.request_counts.expired > 0 {
            End::Expired
        } else {
            End::Done
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

impl Counts {
    fn total(&self) -> u64 {
        let over = [self.succeeded, self.errored, self.canceled, self.expired];
        over.into_iter().fold(self.processing, u64::saturating_add)
    }
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
    result: Outcome,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Outcome {
    Succeeded {
        message: Value,
    },
    Errored {
        error: Value,
    },
    Canceled,
    Expired,
    #[serde(other)]
    Other,
}
