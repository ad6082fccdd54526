//! The ways to one model: its endpoints and keys, each with a pace of its own, and one queue before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tiltmeter_models::{ChatModel, ModelError, RateLimits};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::pace::{PaceSettings, Pacer};

/// Tokens of an answer, before any was seen.
const FIRST_ANSWER_TOKENS: u64 = 256;

/// One endpoint with one key.
struct Way {
    chat: Arc<dyn ChatModel>,
    pacer: Pacer,
}

/// All endpoints of a model.
pub(crate) struct Ways {
    endpoints: Vec<Way>,
    places: Arc<Semaphore>,
    /// Who is next waits for a turn; the others wait for that one, in order.
    queue: Mutex<()>,
    changed: Notify,
    answered: AtomicBool,
    /// Mean tokens of the latest answers.
    answer_tokens: AtomicU64,
}

impl Ways {
    pub(crate) fn new(models: Vec<Arc<dyn ChatModel>>, settings: PaceSettings) -> Self {
        let places = (settings.ceiling.max(1) as usize).saturating_mul(models.len().max(1));
        Self {
            endpoints: models.into_iter().map(|chat| Way { chat, pacer: Pacer::new(settings) }).collect(),
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            queue: Mutex::new(()),
            changed: Notify::new(),
            answered: AtomicBool::new(false),
            answer_tokens: AtomicU64::new(FIRST_ANSWER_TOKENS),
        }
    }

    /// Waits for one of the places that bound how many calls are under way, waiting ones included. `None` only if
    /// the places were closed, which this program never does.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// The model at the first endpoint.
    pub(crate) fn first(&self) -> Option<Arc<dyn ChatModel>> {
        self.endpoints.first().map(|way| way.chat.clone())
    }

    /// Whether any endpoint has answered anything yet.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Tokens that a request will take, about, against limits of tokens per minute.
    pub(crate) fn expected_tokens(&self, prompt_bytes: u64, most_answer: u64) -> u64 {
        prompt_bytes / 4 + self.answer_tokens.load(Ordering::Relaxed).min(most_answer)
    }

    /// Waits until one of the endpoints takes a request of about so many tokens.
    pub(crate) async fn turn(&self, tokens: u64) -> Turn<'_> {
        let _next = self.queue.lock().await;
        loop {
            let now = Instant::now();
            let mut order: Vec<&Way> = self.endpoints.iter().collect();
            order.sort_by_key(|way| way.pacer.in_flight());
            let mut earliest: Option<Instant> = None;
            for way in order {
                match way.pacer.try_start(now, tokens) {
                    Ok(()) => return Turn { ways: self, way, start: now, tokens, is_open: true },
                    Err(at) => earliest = at.into_iter().chain(earliest).min(),
                }
            }
            match earliest {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }
}

/// A request that has started at one of the endpoints. Dropping it withdraws it.
pub(crate) struct Turn<'a> {
    ways: &'a Ways,
    way: &'a Way,
    start: Instant,
    tokens: u64,
    is_open: bool,
}

impl Turn<'_> {
    pub(crate) fn chat(&self) -> Arc<dyn ChatModel> {
        self.way.chat.clone()
    }

    pub(crate) fn accepted(mut self, limits: Option<&RateLimits>, input_tokens: u64, output_tokens: u64) {
        self.is_open = false;
        self.ways.answered.store(true, Ordering::Relaxed);
        let mean = &self.ways.answer_tokens;
        // A lost update of a mean for estimates does no harm.
        mean.store((mean.load(Ordering::Relaxed) * 7 + output_tokens).div_ceil(8), Ordering::Relaxed);
        self.way.pacer.accepted(Instant::now(), limits, self.tokens, input_tokens + output_tokens);
        self.ways.changed.notify_one();
    }

    /// Gives how long the whole endpoint is paused, if it is.
    pub(crate) fn failed(mut self, error: &ModelError, own_wait: Duration) -> Option<Duration> {
        self.is_open = false;
        if error.status.is_some() {
            self.ways.answered.store(true, Ordering::Relaxed);
        }
        let pause = self.way.pacer.failed(Instant::now(), self.start, error, own_wait);
        self.ways.changed.notify_one();
        pause
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.way.pacer.withdrawn();
            self.ways.changed.notify_one();
        }
    }
}
