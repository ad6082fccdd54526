//! Has traces coded: by each coder those that it has not coded yet by this code book.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tiltmeter_core::experiment::Judge;
use tiltmeter_core::id::ContentId;
use tiltmeter_judge::{CodeBook, CoderSettings, TraceCoding, code_trace, coder_hash};
use tiltmeter_store::{
    CodingRecord, CodingsRegistered, FailureTarget, LabelSpan, Reader, StoreError, TraceItemRow, coding_hash,
};
use tokio_util::task::TaskTracker;

use super::ledger::{FailedCall, Ledger};
use super::{EngineError, Means, Outcome};
use crate::calling::Repeating;
use crate::connect::Model;
use crate::event::Event;

/// A model that codes traces.
pub struct Coder {
    /// Hash of model, settings and wording.
    pub hash: ContentId,
    /// How it is asked.
    pub settings: CoderSettings,
    /// The model, connected.
    pub model: Arc<Model>,
}

impl Coder {
    /// A judge as a coder: its model and settings, and the wording of coders.
    pub fn new(judge: &Judge, model: Model) -> Self {
        let settings = CoderSettings {
            temperature: judge.temperature,
            max_tokens: judge.max_tokens,
            reasoning: judge.reasoning,
        };
        Self { hash: coder_hash(judge.hash), settings, model: Arc::new(model) }
    }
}

/// What coding works with.
pub struct CodeTraces {
    /// The code book.
    pub book: CodeBook,
    /// The coders.
    pub coders: Vec<Coder>,
    /// The rows of the store.
    pub rows: CodingsRegistered,
    /// The traces.
    pub items: Vec<TraceItemRow>,
    /// How it is gone about.
    pub means: Means,
}

/// What all calls share.
struct Work {
    book: CodeBook,
    book_row: i64,
    wordings: BTreeMap<i64, Vec<String>>,
    reader: Mutex<Reader>,
    ledger: Ledger,
}

/// A coder with its row and the traces that it has not coded.
struct Missing {
    coder: Coder,
    row: i64,
    items: Vec<(ContentId, TraceItemRow)>,
}

/// Has all traces coded that have no coding by these coders and this code book yet.
///
/// # Errors
/// If the store cannot be read. What stops it once it has begun is part of the [`Outcome`].
pub async fn code_traces(run: CodeTraces, reader: Reader) -> Result<Outcome, EngineError> {
    let start = Instant::now();
    let CodeTraces { book, coders, rows, items, means } = run;
    let stored = reader.coding_ids()?;
    let wordings = reader.question_wordings()?;
    let mut reused = 0;
    let mut all_missing = Vec::new();
    for (coder, row) in coders.into_iter().zip(rows.coders) {
        let hashed = items.iter().map(|item| (coding_hash(item.sample, coder.hash, book.hash), *item));
        let missing: Vec<_> = hashed.filter(|(hash, _)| !stored.contains(hash)).collect();
        reused += (items.len() - missing.len()) as u64;
        all_missing.push(Missing { coder, row, items: missing });
    }
    let ledger = Ledger::new(means);
    let codings = all_missing.iter().map(|missing| missing.items.len() as u64).sum();
    ledger.tell(Event::CodingStarted { codings, reused });
    let work = Arc::new(Work { book, book_row: rows.book, wordings, reader: Mutex::new(reader), ledger });
    let tasks = TaskTracker::new();
    for missing in all_missing {
        tasks.spawn(work.clone().all_of(missing, tasks.clone()));
    }
    tasks.close();
    tasks.wait().await;
    Ok(work.ledger.outcome(reused, start.elapsed()))
}

impl Work {
    /// One coder's traces, within its limits.
    async fn all_of(self: Arc<Self>, missing: Missing, tasks: TaskTracker) {
        let Missing { coder, row, items } = missing;
        let coder = Arc::new(coder);
        for (hash, item) in items {
            let Some(place) = coder.model.ways.place().await else { return };
            if self.ledger.is_stopping() {
                return;
            }
            let (work, coder) = (self.clone(), coder.clone());
            tasks.spawn(async move {
                work.code(&coder, row, hash, item).await;
                drop(place);
            });
        }
    }

    /// Asks for one coding and stores it.
    async fn code(&self, coder: &Coder, row: i64, hash: ContentId, item: TraceItemRow) {
        let start = tokio::time::Instant::now();
        let response = item.item.response;
        let Ok(trace) = self.reader.lock().map(|reader| reader.trace(response)) else { return };
        let Some(trace) = self.ledger.check(trace) else { return };
        let Some(question) = self.ledger.check(self.question(&item)) else { return };
        let repeating = Repeating::new(self.ledger.calling(&coder.model, hash));
        let result = code_trace(&repeating, &coder.settings, &self.book, question, &trace, hash).await;
        let made = repeating.made();
        self.ledger.count(1);
        match result {
            Ok(TraceCoding { outcome, labels, reply, usage, model }) => {
                let labels = labels.into_iter().map(|given| LabelSpan {
                    label: given.label,
                    state: given.state.name().to_owned(),
                    quote: given.quote,
                    span: given.span.map(|span| (span.start as u64, span.end as u64)),
                });
                let record = CodingRecord {
                    hash,
                    response,
                    coder: row,
                    book: self.book_row,
                    outcome: outcome.name(),
                    labels: labels.collect(),
                    reply,
                    model,
                    input_tokens: usage.input_tokens,
                    cached_input_tokens: usage.cached_input_tokens,
                    output_tokens: usage.output_tokens,
                    cost_usd: made.cost_usd,
                    created_at: self.ledger.now(),
                    failed_attempts: made.failed,
                };
                if self.ledger.store(|writer| async move { writer.coding(record).await }).await.is_some() {
                    self.ledger.tell(Event::CodingStored);
                }
            }
            Err(error) => {
                let target = FailureTarget::Coding { response };
                let failed = FailedCall { hash, target, error, attempts: made.failed, judgements_lost: 0 };
                self.ledger.failed(&coder.model, failed).await;
            }
        }
        self.ledger.meter.calls.add(start.elapsed());
    }

    /// The question as it was asked.
    fn question(&self, item: &TraceItemRow) -> Result<&str, StoreError> {
        let wordings = self.wordings.get(&item.question).map(Vec::as_slice).unwrap_or_default();
        wordings.get(item.wording % wordings.len().max(1)).map(String::as_str).ok_or_else(|| {
            StoreError::Damaged { what: format!("question {} has no wordings", item.question) }
        })
    }
}
