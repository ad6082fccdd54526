//! Batch interfaces: many requests handed over at once, answered within a day, at half the price.
//!
//! The three providers differ in everything but the idea. What is the same here: a request in a batch is written by
//! the same code as one that is asked by [`ChatModel::chat`](crate::ChatModel::chat), streaming aside, and its
//! answer is read by the same code. Nothing is retried and nothing is waited for; polling is the caller's.
//!
//! Parameters that a model refuses are not negotiated inside a batch. Whoever submits one asks one of its requests
//! by `chat` first: what is learnt there holds for the batch, and is part of its [`BatchId`].

mod anthropic;
mod form;
mod gemini;
mod openai;
mod results;

use async_trait::async_trait;
use jiff::Timestamp;

pub(crate) use self::anthropic::AnthropicBatches;
pub(crate) use self::gemini::GeminiBatches;
pub(crate) use self::openai::OpenAiBatches;
pub use self::results::BatchResults;
use crate::error::{ErrorKind, ModelError};
use crate::request::ChatRequest;
use crate::terms::Parameter;

/// Stands between a provider's own id and the settings that the batch was sent without.
const WITHOUT: &str = " without ";

/// What is said of the clocks of servers: they may differ from ours by so much.
const CLOCK_SLACK: std::time::Duration = std::time::Duration::from_mins(10);

/// One request of a batch.
#[derive(Clone, Debug)]
pub struct BatchItem {
    /// By which the answer is known; unique within the batch, from 1 to 64 of `A–Z a–z 0–9 _ -`. A hash of 32
    /// bytes in hexadecimal just fits.
    pub key: String,
    /// What is asked.
    pub request: ChatRequest,
}

/// What one batch may hold, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchLimits {
    /// The most requests.
    pub most_requests: usize,
    /// The most bytes, as [`BatchModel::size`] counts them.
    pub most_bytes: u64,
    /// What a token costs, as a share of its price outside a batch. Discounts for cached tokens are on top of it
    /// where the provider gives them; no provider promises a cache within a batch.
    pub price_factor: f64,
}

impl BatchLimits {
    /// The price factor that OpenAI, Gemini and Anthropic all publish for their batches, for estimates that are made
    /// before any model is at hand.
    pub const PUBLISHED_PRICE_FACTOR: f64 = 0.5;
}

/// A submitted batch: an opaque text, to be stored as it is.
///
/// It holds the provider's id, and the settings that the batch's requests were sent without, so that its answers
/// can say so in [`ChatResponse::dropped_parameters`](crate::ChatResponse::dropped_parameters) even after a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(String);

impl BatchId {
    /// A batch by the text that was stored.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(id: &str, dropped: &[&str]) -> Self {
        Self(with_dropped(id, dropped))
    }

    /// The provider's id, fit to stand in an address, and the settings that were left out.
    fn parts(&self) -> Result<(&str, Vec<&'static str>), ModelError> {
        let (id, dropped) = split_dropped(&self.0);
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if id.is_empty() || id.contains("..") || !id.chars().all(is_fit) {
            return Err(ModelError::new(ErrorKind::BadRequest, "the stored id is not one of a batch"));
        }
        Ok((id, dropped))
    }
}

impl std::fmt::Display for BatchId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(split_dropped(&self.0).0)
    }
}

fn with_dropped(text: &str, dropped: &[&str]) -> String {
    if dropped.is_empty() { text.to_owned() } else { format!("{text}{WITHOUT}{}", dropped.join(",")) }
}

fn split_dropped(text: &str) -> (&str, Vec<&'static str>) {
    let (id, dropped) = text.split_once(WITHOUT).unwrap_or((text, ""));
    (id, dropped.split(',').filter_map(Parameter::setting_named).collect())
}

/// A batch that may have been submitted, by a process that ended before it stored the id.
#[derive(Clone, Copy, Debug)]
pub struct LostBatch<'a> {
    /// The tag that it was to be submitted with.
    pub tag: &'a str,
    /// Its requests.
    pub items: &'a [BatchItem],
    /// A time before which it cannot have been submitted. Servers' clocks may differ by ten minutes.
    pub submitted_after: Timestamp,
    /// Batches that are known and therefore not the lost one.
    pub known: &'a [BatchId],
}

/// A lost batch that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundBatch {
    /// It bears the tag (OpenAI, Gemini), or one of its answers has a key of the lost one (Anthropic, ended).
    Certain(BatchId),
    /// It was submitted at such a time, holds as many requests, and is none of the known ones; more cannot be seen
    /// while it runs (Anthropic). Another program with the same key may have submitted it. Taking it for the lost
    /// one is safe, as its answers carry keys: at worst none of them is one that is waited for.
    Likely(BatchId),
}

/// How far a batch is.
#[derive(Clone, Debug)]
pub enum BatchStatus {
    /// It waits, runs or is being cancelled.
    Running {
        /// Requests that are done, failed ones included; some providers count only when the whole batch is.
        done: u64,
        /// Requests in all; 0 where the provider does not know yet.
        total: u64,
    },
    /// It is over, and each request has an answer or an error.
    Ended,
    /// Its time was over before all requests were answered. What was answered is among the results, and paid for.
    Expired,
    /// It was cancelled. What was answered before is among the results, and paid for.
    Cancelled,
    /// It failed as a whole, and nothing was answered. The error says whether it may be submitted again, in the
    /// shared taxonomy; too many tokens waiting at once is [`ErrorKind::RateLimited`].
    Failed(ModelError),
}

/// A model that takes batches.
///
/// Calls fail in the shared taxonomy, and [`ErrorKind::NotFound`] for a batch's id means that the provider does not
/// know it under this key, or no longer: results are kept for about a month.
#[async_trait]
pub trait BatchModel: Send + Sync {
    /// What one batch may hold.
    fn limits(&self) -> BatchLimits;

    /// Bytes that a request takes of [`BatchLimits::most_bytes`].
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`] for a request that the protocol has no way to say.
    fn size(&self, item: &BatchItem) -> Result<u64, ModelError>;

    /// Submits a batch. The tag, from 1 to 64 of `A–Z a–z 0–9 . _ -`, is what a lost batch is found by: unique, and
    /// stored by the caller before this is called.
    ///
    /// Contexts are not copied: the upload is sent from the bytes that requests share.
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`] for no items, too many, keys that will not do, and items that differ in the
    /// settings that the model does not take. After any other error, and after a crash, the batch may
    /// nevertheless have been taken: [`BatchModel::find`] tells before it is paid for twice. An upload that breaks
    /// off leaves no batch behind.
    async fn submit(&self, tag: &str, items: &[BatchItem]) -> Result<BatchId, ModelError>;

    /// Looks for a batch that may have been submitted.
    ///
    /// # Errors
    /// As for any call.
    async fn find(&self, lost: LostBatch<'_>) -> Result<Option<FoundBatch>, ModelError>;

    /// How far a batch is.
    ///
    /// # Errors
    /// As for any call; a batch that failed is no error of the call.
    async fn poll(&self, id: &BatchId) -> Result<BatchStatus, ModelError>;

    /// The answers of a batch that is over, in any order.
    ///
    /// A refused request is what [`ChatModel::chat`](crate::ChatModel::chat) would have given; one that expired is
    /// [`ErrorKind::TimedOut`] and one that was cancelled [`ErrorKind::Interrupted`], so that both may be asked
    /// again. A line that cannot be read loses nothing but itself. The caller must expect keys to be missing and
    /// ask for them again: [`BatchResults::for_keys`] makes a retryable error of each.
    ///
    /// # Errors
    /// As for any call, also where the results break off in the middle: asking for them again costs nothing.
    /// [`ErrorKind::BadRequest`] where the batch is not over.
    async fn results(&self, id: &BatchId) -> Result<BatchResults, ModelError>;

    /// Asks for a batch to be cancelled, which takes a while; what was answered until then is paid for.
    ///
    /// # Errors
    /// As for any call; providers refuse it for a batch that is over.
    async fn cancel(&self, id: &BatchId) -> Result<(), ModelError>;
}

/// A batch of the provider is not over yet.
fn not_over() -> ModelError {
    ModelError::new(ErrorKind::BadRequest, "the batch is not over yet: poll until it is")
}

/// The first moment that counts, by a server's clock.
fn earliest(lost: &LostBatch<'_>) -> Timestamp {
    lost.submitted_after.saturating_sub(CLOCK_SLACK).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_remembers_what_was_left_out() {
        for (id, dropped) in [("batch_1", vec![]), ("batches/a-b", vec!["seed", "top_log_probabilities"])] {
            let stored = BatchId::of(id, &dropped).as_str().to_owned();
            let read = BatchId::new(stored);
            assert_eq!(read.parts().unwrap(), (id, dropped));
            assert_eq!(read.to_string(), id);
        }
        for bad in ["", "a/../../v2", "a?b", "a b", "a#b", "☕", " without seed"] {
            assert_eq!(BatchId::new(bad).parts().unwrap_err().kind, ErrorKind::BadRequest, "{bad}");
        }
    }
}
