//! What is recorded of a request: hashes and figures, and names that the configuration or the request's own fields gave.

use serde::Serialize;

use crate::inspection::{Inspection, Reason, Unchecked};
use crate::judging::Judgement;

/// A record that waits to be written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(super) at: String,
    pub(super) kind: &'static str,
    pub(super) request: String,
    pub(super) payload: String,
    pub(super) content: Option<Vec<u8>>,
}

impl Entry {
    pub(super) fn new(kind: &'static str, request: impl Into<String>, payload: String) -> Self {
        Self { at: super::now(), kind, request: request.into(), payload, content: None }
    }
}

/// What was decided about a request, before it was sent on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Decision<'a> {
    pub(crate) path: &'a str,
    pub(crate) model: Option<&'a str>,
    pub(crate) route: Option<&'a str>,
    pub(crate) upstream: Option<&'a str>,
    /// A short hash of the key that the client gave.
    pub(crate) client: Option<&'a str>,
    /// Of the body as it came; absent where it is passed through without being read.
    pub(crate) request_bytes: Option<u64>,
    pub(crate) request_hash: Option<String>,
    /// Where an action changed it.
    pub(crate) forwarded_hash: Option<String>,
    pub(crate) risk: &'static str,
    pub(crate) score: f64,
    pub(crate) reasons: &'a [Reason],
    pub(crate) examples: usize,
    pub(crate) flagged: Vec<String>,
    pub(crate) unchecked: &'a [Unchecked],
    /// What was done.
    pub(crate) actions: &'a [&'static str],
    /// What was not done because it could not be, or is only tried out.
    pub(crate) not_done: &'a [&'static str],
    pub(crate) dry_run: bool,
    /// Whether its answer is to be judged, and why; absent where the route has no judge. A record of a judgement follows
    /// where it is, unless there was no answer.
    pub(crate) judging: Option<&'static str>,
    /// The gateway's own answer.
    pub(crate) refusal: Option<&'static str>,
    pub(crate) inspection_us: u64,
}

impl Decision<'_> {
    pub(crate) fn entry(&self, request: &str, content: Option<Vec<u8>>) -> Entry {
        Entry { content, ..Entry::new("decision", request, text(self)) }
    }

    pub(crate) fn flagged(inspection: &Inspection) -> Vec<String> {
        inspection.flagged.iter().map(|example| example.id.0.to_string()).collect()
    }
}

/// What became of a request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OutcomeRecord<'a> {
    /// Of the answer that the client got; absent where it left before.
    pub(crate) status: Option<u16>,
    pub(crate) ended: &'static str,
    pub(crate) refusal: Option<&'static str>,
    pub(crate) cut_by: Option<&'a str>,
    pub(crate) answer_bytes: u64,
    pub(crate) answer_hash: Option<String>,
    /// Bytes of the answer that no check of answers saw before they were given.
    pub(crate) unchecked_bytes: u64,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) total_us: u64,
    pub(crate) held_back_us: u64,
}

impl OutcomeRecord<'_> {
    pub(crate) fn entry(&self, request: &str) -> Entry {
        Entry::new("outcome", request, text(self))
    }
}

/// What an answer was judged to be, or why it was not.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JudgementRecord<'a> {
    pub(crate) route: &'a str,
    /// Why it was to be judged: `drawn`, `for-risk`, or `held-back` where a check did it.
    pub(crate) chosen: &'static str,
    #[serde(flatten)]
    pub(crate) judgement: &'a Judgement,
}

impl JudgementRecord<'_> {
    pub(crate) fn entry(&self, request: &str, content: Option<Vec<u8>>) -> Entry {
        Entry { content, ..Entry::new("judgement", request, text(self)) }
    }
}

fn text(record: &impl Serialize) -> String {
    // Nothing in these types can fail to be written.
    serde_json::to_string(record).unwrap_or_default()
}
