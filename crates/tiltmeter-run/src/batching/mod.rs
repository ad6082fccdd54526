//! Asking in batches: half the price, answers within a day, and the same engine.
//!
//! To the engine a model that is asked in batches is a model like any other, only slower: a call waits until the
//! batch that holds it is over ([`Batched`]). Behind it one task gathers what is asked, hands it over batch by batch,
//! several at a time, and looks for answers ([`gather`]). What is with a provider is written down before it is handed
//! over. A later start asks for the same things again, finds them in a batch that is under way, and waits for that.

mod gather;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tiltmeter_core::experiment::Price;
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_models::{ChatModel, ChatRequest, ChatResponse, ErrorKind, ModelError};
use tiltmeter_store::{BatchOwner, OpenBatch, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::connect::{Connections, Model};
use crate::event::Observer;
use crate::pace::PaceSettings;
use crate::ways::Ways;

use gather::Gatherer;

/// Calls of one model that may wait for batches at a time.
const MOST_WAITING: u32 = 20_000;
/// Calls that may wait to be gathered.
const INBOX: usize = 1024;

/// How batches are gone about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// The most requests in one batch; the provider's own limits hold as well.
    pub most_requests: usize,
    /// Batches of one model that are with its provider at a time. As one ends, the next is handed over.
    pub at_once: usize,
    /// For how long nothing more must have been asked before a batch is handed over that is not full.
    pub quiet: Duration,
    /// How often a batch is looked at, at most; at first it is looked at sooner.
    pub poll: Duration,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self { most_requests: 2000, at_once: 8, quiet: Duration::from_secs(2), poll: Duration::from_secs(30) }
    }
}

/// How much of an experiment a start asks for. What nobody asks for in a batch of an earlier start is stored already
/// only where all that is missing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All that is missing.
    Whole,
    /// Some of it: there is a limit.
    Part,
}

/// What asking in batches works with.
pub struct Batching {
    /// How it is gone about.
    pub policy: BatchPolicy,
    /// Where batches are written down.
    pub writer: Writer,
    /// Batches of earlier starts.
    pub open: Vec<OpenBatch>,
    /// Row of the experiment that asks.
    pub experiment: i64,
    /// How much of it this start asks for.
    pub reach: Reach,
    /// Cancelled to stop waiting: batches go on at their providers.
    pub stop: CancellationToken,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// The clock.
    pub now: fn() -> jiff::Timestamp,
}

impl Batching {
    /// Has all models of an experiment asked in batches whose providers have that. `subjects` and `judge` are their
    /// rows. Must be called on the runtime that the calls are made on.
    pub fn wrap(&self, connections: Connections, subjects: &[i64], judge: Option<i64>) -> Connections {
        let rows = subjects.iter().map(|&row| BatchOwner::Subject(row));
        Connections {
            subjects: connections
                .subjects
                .into_iter()
                .zip(rows)
                .map(|(model, owner)| self.wrap_model(model, owner))
                .collect(),
            judge: connections.judge.map(|model| match judge {
                Some(row) => self.wrap_shared(model, BatchOwner::Judge(row)),
                None => model,
            }),
            // Local models are in no batches.
            steered: connections.steered,
            // They have said all that they were asked by now.
            screens: connections.screens,
            guards: connections.guards,
        }
    }

    /// The same of a model that others may hold as well; then it stays as it is.
    pub fn wrap_shared(&self, model: Arc<Model>, owner: BatchOwner) -> Arc<Model> {
        match Arc::try_unwrap(model) {
            Ok(model) => Arc::new(self.wrap_model(model, owner)),
            Err(shared) => shared,
        }
    }

    fn wrap_model(&self, model: Model, owner: BatchOwner) -> Model {
        let Some(chat) = model.ways.first().filter(|chat| chat.batch().is_some()) else { return model };
        let (inbox, requests) = mpsc::channel(INBOX);
        let gatherer = Gatherer::new(self, owner, &model, chat.clone());
        tokio::spawn(gatherer.run(requests));
        let batched = Batched { owner, chat, inbox, stop: self.stop.clone() };
        let pace = PaceSettings {
            ceiling: MOST_WAITING,
            requests_per_minute: None,
            tokens_per_minute: None,
            is_served: false,
        };
        Model {
            ways: Ways::new(vec![Arc::new(batched)], pace),
            // No call goes first to warm a cache: it would take as long as all the others.
            is_served: false,
            ..model
        }
    }
}

/// Whether a model's provider takes batches.
pub fn takes_batches(model: &Model) -> bool {
    model.ways.first().is_some_and(|chat| chat.batch().is_some())
}

/// One call that waits for its answer.
struct Waiting {
    key: ContentId,
    request: ChatRequest,
    answer: oneshot::Sender<Result<ChatResponse, ModelError>>,
}

/// A model that is asked in batches.
struct Batched {
    owner: BatchOwner,
    chat: Arc<dyn ChatModel>,
    inbox: mpsc::Sender<Waiting>,
    stop: CancellationToken,
}

#[async_trait]
impl ChatModel for Batched {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { key: key(self.owner, request), request: request.clone(), answer };
        let ended = || ModelError::new(ErrorKind::Interrupted, "nobody gathers batches any more");
        let asked = async {
            self.inbox.send(waiting).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        };
        tokio::select! {
            biased;
            answer = asked => answer,
            () = self.stop.cancelled() => {
                let message = "the run was stopped; the batch goes on at the provider";
                Err(ModelError::new(ErrorKind::Interrupted, message))
            }
        }
    }

    fn can_score(&self) -> bool {
        self.chat.can_score()
    }

    async fn score(
        &self,
        request: &tiltmeter_models::ScoreRequest,
    ) -> Result<tiltmeter_models::TextScore, ModelError> {
        self.chat.score(request).await
    }
}

/// What a request is known by within and between starts: whose it is, and all that determines its answer.
fn key(owner: BatchOwner, request: &ChatRequest) -> ContentId {
    let sampling = &request.sampling;
    let (kind, row) = match owner {
        BatchOwner::Subject(row) => ("subject", row),
        BatchOwner::Judge(row) => ("judge", row),
    };
    let seed = sampling.seed.map(|seed| seed.to_string());
    let top = sampling.top_log_probabilities.map(|top| top.to_string());
    let mut canonical = Canonical::new("tiltmeter.batch/1")
        .text(kind)
        .integer(row.cast_unsigned())
        .id(&request.prompt.id())
        .number(sampling.temperature)
        .integer(sampling.max_tokens.into())
        .optional_text(seed.as_deref())
        .optional_text(top.as_deref())
        .text(sampling.reasoning.name())
        .integer(sampling.stop.len() as u64);
    for text in &sampling.stop {
        canonical = canonical.text(text);
    }
    canonical.finish()
}

/// What is known of a model while its requests are gathered.
struct Whose {
    owner: BatchOwner,
    name: String,
    price: Option<Price>,
}

/// Calls that wait, by what they ask for. Two that ask for the very same get the same answer.
#[derive(Default)]
struct Room {
    waiting: HashMap<ContentId, Vec<Waiting>>,
}

impl Room {
    /// Lets a call in; whether it is the first to ask for this.
    fn enter(&mut self, waiting: Waiting) -> bool {
        let others = self.waiting.entry(waiting.key).or_default();
        others.push(waiting);
        others.len() == 1
    }

    fn request(&self, key: &ContentId) -> Option<&ChatRequest> {
        Some(&self.waiting.get(key)?.first()?.request)
    }

    fn holds(&self, key: &ContentId) -> bool {
        self.waiting.contains_key(key)
    }

    /// Forgets calls whose callers have gone away.
    fn tidy(&mut self) {
        self.waiting.retain(|_, calls| {
            calls.retain(|call| !call.answer.is_closed());
            !calls.is_empty()
        });
    }

    fn answer(&mut self, key: &ContentId, answer: &Result<ChatResponse, ModelError>) {
        for call in self.waiting.remove(key).into_iter().flatten() {
            // Whoever asked may have gone away.
            let _ = call.answer.send(answer.clone());
        }
    }
}
