//! The task that gathers requests, hands batches over, and looks for their answers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tiltmeter_core::id::ContentId;
use tiltmeter_models::{
    BatchId, BatchItem, BatchStatus, ChatModel, ChatResponse, ErrorKind, FoundBatch, LostBatch, ModelError,
};
use tiltmeter_store::{BatchRecord, OpenBatch};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Batching, Reach, Room, Waiting, Whose};
use crate::budget::cost_of;
use crate::connect::Model;
use crate::event::Event;

/// The first look at a batch; each further wait is half as long again, up to the policy's.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How long is waited after a provider has refused a batch for haste or for being overloaded.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// Refusals in a row after which those who wait are told.
const MOST_REFUSALS: u32 = 8;

/// A batch that its provider has, or may have.
struct Open {
    tag: String,
    experiment: i64,
    /// `None` while it is not known whether the provider has it.
    id: Option<BatchId>,
    keys: HashSet<ContentId>,
    created_at: jiff::Timestamp,
    look_at: Instant,
    wait: Duration,
    /// Its answers have been fetched, or there will be none.
    is_over: bool,
}

pub(super) struct Gatherer {
    batching: Shared,
    whose: Whose,
    chat: Arc<dyn ChatModel>,
    room: Room,
    /// Answers that came before anybody asked for them: those of a batch of an earlier start.
    unclaimed: HashMap<ContentId, ChatResponse>,
    /// Keys that are in no batch yet, in the order in which they were asked.
    pending: VecDeque<ContentId>,
    open: Vec<Open>,
    /// Whether the model has answered a single call, so that it is known which settings it takes.
    is_tried: bool,
    refusals: u32,
    not_before: Option<Instant>,
    last_asked: Instant,
    submitted: u64,
}

/// What of [`Batching`] the task keeps.
struct Shared {
    policy: super::BatchPolicy,
    writer: tiltmeter_store::Writer,
    stop: tokio_util::sync::CancellationToken,
    observer: Arc<dyn crate::event::Observer>,
    now: fn() -> jiff::Timestamp,
    experiment: i64,
    reach: Reach,
}

impl Gatherer {
    pub(super) fn new(
        batching: &Batching,
        owner: tiltmeter_store::BatchOwner,
        model: &Model,
        chat: Arc<dyn ChatModel>,
    ) -> Self {
        let now = Instant::now();
        let of_owner = |batch: &&OpenBatch| batch.owner == owner;
        let open = batching.open.iter().filter(of_owner).map(|batch| Open {
            tag: batch.tag.clone(),
            experiment: batch.experiment,
            id: batch.provider_id.as_ref().map(BatchId::new),
            keys: batch.requests.iter().copied().collect(),
            created_at: batch.created_at.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            look_at: now,
            wait: FIRST_LOOK,
            is_over: false,
        });
        Self {
            open: open.collect(),
            batching: Shared {
                policy: batching.policy,
                writer: batching.writer.clone(),
                stop: batching.stop.clone(),
                observer: batching.observer.clone(),
                now: batching.now,
                experiment: batching.experiment,
                reach: batching.reach,
            },
            whose: Whose { owner, name: model.name.clone(), price: model.price },
            chat,
            room: Room::default(),
            unclaimed: HashMap::new(),
            pending: VecDeque::new(),
            is_tried: false,
            refusals: 0,
            not_before: None,
            last_asked: now,
            submitted: 0,
        }
    }

    /// Works until nobody can ask any more, or the run is stopped.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Waiting>) {
        let stop = self.batching.stop.clone();
        loop {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                asked = requests.recv() => match asked {
                    Some(waiting) => {
                        self.enter(waiting);
                        // What else is there already belongs to the same batch.
                        while let Ok(waiting) = requests.try_recv() {
                            self.enter(waiting);
                        }
                    }
                    None => break,
                },
                () = sleep_until(wake) => {}
            }
            let worked = tokio::select! {
                () = self.work() => true,
                // What was handed over is found again by what was written down before.
                () = stop.cancelled() => false,
            };
            if !worked {
                return;
            }
        }
        self.close().await;
    }

    fn enter(&mut self, waiting: Waiting) {
        let key = waiting.key;
        let is_first = self.room.enter(waiting);
        if let Some(response) = self.unclaimed.remove(&key) {
            self.room.answer(&key, &Ok(response));
            return;
        }
        let is_under_way = self.open.iter().any(|batch| !batch.is_over && batch.keys.contains(&key));
        if is_first && !is_under_way {
            self.pending.push_back(key);
        }
        self.last_asked = Instant::now();
    }

    /// When there is something to do without anybody asking.
    fn wake_at(&self) -> Option<Instant> {
        let looks = self.open.iter().filter(|batch| self.is_waited_for(batch)).map(|batch| batch.look_at);
        let has_room = self.under_way() < self.batching.policy.at_once;
        let flush = (!self.pending.is_empty() && has_room).then(|| {
            let quiet = self.last_asked + self.batching.policy.quiet;
            self.not_before.map_or(quiet, |not_before| quiet.max(not_before))
        });
        looks.chain(flush).min()
    }

    /// Nobody waits for a batch of an earlier start whose answers are all stored.
    fn is_waited_for(&self, batch: &Open) -> bool {
        !batch.is_over && batch.keys.iter().any(|key| self.room.holds(key))
    }

    fn under_way(&self) -> usize {
        self.open.iter().filter(|batch| self.is_waited_for(batch)).count()
    }

    async fn work(&mut self) {
        self.room.tidy();
        let room = &self.room;
        self.pending.retain(|key| room.holds(key));
        let now = Instant::now();
        let is_quiet = now >= self.last_asked + self.batching.policy.quiet;
        for index in 0..self.open.len() {
            let batch = &self.open[index];
            if batch.look_at > now || !self.is_waited_for(batch) {
                continue;
            }
            match batch.id.clone() {
                Some(id) => self.look(index, &id).await,
                // All that it holds has to be asked for first: some providers know a batch by its size alone.
                None if is_quiet => self.find(index).await,
                None => self.open[index].look_at = self.last_asked + self.batching.policy.quiet,
            }
        }
        loop {
            let may = self.not_before.is_none_or(|not_before| Instant::now() >= not_before);
            let is_worth_it =
                self.pending.len() >= self.most_requests() || (is_quiet && !self.pending.is_empty());
            let may_be_found_again =
                self.open.iter().any(|batch| batch.id.is_none() && self.is_waited_for(batch));
            if !may || !is_worth_it || may_be_found_again || self.under_way() >= self.batching.policy.at_once
            {
                return;
            }
            if !self.is_tried {
                self.try_one().await;
                continue;
            }
            self.submit().await;
        }
    }

    fn most_requests(&self) -> usize {
        let own = self.chat.batch().map_or(usize::MAX, |batches| batches.limits().most_requests);
        own.min(self.batching.policy.most_requests).max(1)
    }

    /// One request is asked by itself, at the full price: what settings the model refuses is found out by that, and
    /// so are a wrong key and a wrong name.
    async fn try_one(&mut self) {
        let Some(key) = self.pending.pop_front() else { return };
        let Some(request) = self.room.request(&key).cloned() else { return };
        let answer = self.chat.chat(&request).await;
        self.is_tried = answer.is_ok();
        self.room.answer(&key, &answer);
    }

    /// Hands one batch over.
    async fn submit(&mut self) {
        let items = self.next_items();
        let (Some(batches), false) = (self.chat.batch(), items.is_empty()) else { return };
        let keys: Vec<ContentId> = items.iter().map(|(key, _)| *key).collect();
        let items: Vec<BatchItem> = items.into_iter().map(|(_, item)| item).collect();
        let created_at = (self.batching.now)();
        self.submitted += 1;
        let tag = tag(&self.whose, created_at, self.submitted, &keys);
        let prepared = BatchRecord::Prepared {
            tag: tag.clone(),
            experiment: self.batching.experiment,
            owner: self.whose.owner,
            requests: keys.clone(),
            at: created_at.to_string(),
        };
        if self.batching.writer.batch(prepared).await.is_err() {
            // The store has failed, which stops the run and says why.
            return;
        }
        let submitted = batches.submit(&tag, &items).await;
        let now = Instant::now();
        let mut batch = Open {
            tag,
            experiment: self.batching.experiment,
            id: None,
            keys: keys.iter().copied().collect(),
            created_at,
            look_at: now + FIRST_LOOK.min(self.batching.policy.poll),
            wait: FIRST_LOOK.min(self.batching.policy.poll),
            is_over: false,
        };
        match submitted {
            Ok(id) => {
                self.refusals = 0;
                self.know(&batch.tag, &id).await;
                batch.id = Some(id);
                self.tell_submitted(keys.len());
                self.open.push(batch);
            }
            Err(error) if error.kind == ErrorKind::RateLimited => {
                // It was not taken: there is no room for it yet.
                self.fail(&batch.tag, &error).await;
                self.refused(&keys, &error);
            }
            Err(error) if error.kind.is_retryable() => {
                // Whether it was taken is not known: it is looked for before it is handed over again.
                self.refusals += 1;
                batch.look_at = now + self.pause(&error);
                self.open.push(batch);
                if self.refusals >= MOST_REFUSALS {
                    self.refusals = 0;
                    self.answer_all(&keys, &error);
                }
            }
            Err(error) => {
                self.fail(&batch.tag, &error).await;
                self.answer_all(&keys, &error);
            }
        }
    }

    /// Pending requests up to what one batch may hold. One that cannot be written is answered at once.
    fn next_items(&mut self) -> Vec<(ContentId, BatchItem)> {
        let mut items = Vec::new();
        let Some(batches) = self.chat.batch() else { return items };
        let limits = batches.limits();
        let most = self.most_requests();
        let mut bytes = 0;
        while items.len() < most
            && let Some(&key) = self.pending.front()
        {
            let Some(request) = self.room.request(&key).cloned() else {
                self.pending.pop_front();
                continue;
            };
            let item = BatchItem { key: key.to_string(), request };
            match batches.size(&item) {
                Ok(size) if !items.is_empty() && bytes + size > limits.most_bytes => break,
                Ok(size) => {
                    bytes += size;
                    items.push((key, item));
                }
                Err(error) => self.room.answer(&key, &Err(error)),
            }
            self.pending.pop_front();
        }
        items
    }

    /// Looks for a batch of which it is not known whether the provider has it.
    async fn find(&mut self, index: usize) {
        let (Some(batches), batch) = (self.chat.batch(), &self.open[index]) else { return };
        let item = |key: &ContentId| {
            let request = self.room.request(key)?.clone();
            Some(BatchItem { key: key.to_string(), request })
        };
        let items: Vec<BatchItem> = batch.keys.iter().filter_map(item).collect();
        let known: Vec<BatchId> = self.open.iter().filter_map(|batch| batch.id.clone()).collect();
        let lost =
            LostBatch { tag: &batch.tag, items: &items, submitted_after: batch.created_at, known: &known };
        let found = batches.find(lost).await;
        let tag = batch.tag.clone();
        match found {
            Ok(Some(FoundBatch::Certain(id) | FoundBatch::Likely(id))) => {
                self.know(&tag, &id).await;
                self.tell_submitted(items.len());
                self.open[index].id = Some(id);
            }
            Ok(None) => {
                let message = "the provider does not have it: it was never handed over";
                let keys = self.end(index, &ModelError::new(ErrorKind::Interrupted, message)).await;
                self.put_back(&keys);
            }
            Err(error) if error.kind.is_retryable() => {
                self.open[index].look_at = Instant::now() + self.pause(&error);
            }
            Err(error) => self.answer_all(&self.keys(index), &error),
        }
    }

    /// Looks how far a batch is, and gives out its answers if it is over.
    async fn look(&mut self, index: usize, id: &BatchId) {
        let Some(batches) = self.chat.batch() else { return };
        let status = match batches.poll(id).await {
            Ok(status) => status,
            Err(error) => return self.look_failed(index, &error).await,
        };
        match status {
            BatchStatus::Running { done, total } => {
                let most = self.batching.policy.poll;
                let batch = &mut self.open[index];
                batch.wait = batch.wait.mul_f64(1.5).min(most);
                batch.look_at = Instant::now() + batch.wait;
                if done > 0 {
                    let model = self.whose.name.clone();
                    self.batching.observer.event(Event::BatchRunning { model, done, total });
                }
            }
            BatchStatus::Failed(error) => {
                let keys = self.end(index, &error).await;
                if error.kind == ErrorKind::RateLimited {
                    self.refused(&keys, &error);
                } else {
                    self.answer_all(&keys, &error);
                }
            }
            BatchStatus::Ended | BatchStatus::Expired | BatchStatus::Cancelled => {
                match batches.results(id).await {
                    Ok(results) => {
                        self.open[index].is_over = true;
                        let factor = batches.limits().price_factor;
                        let keys = self.keys(index);
                        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
                        let (mut answered, mut failed) = (0, 0);
                        let outcomes = results.for_keys(names.iter().map(String::as_str));
                        for (key, (_, mut outcome)) in keys.iter().zip(outcomes) {
                            match &mut outcome {
                                Ok(response) => {
                                    answered += 1;
                                    let by_price = cost_of(self.whose.price, &response.usage);
                                    let usage = &mut response.usage;
                                    usage.cost_usd =
                                        usage.cost_usd.or_else(|| by_price.map(|cost| cost * factor));
                                }
                                Err(_) => failed += 1,
                            }
                            match outcome {
                                Ok(response) if !self.room.holds(key) => {
                                    self.unclaimed.insert(*key, response);
                                }
                                outcome => self.room.answer(key, &outcome),
                            }
                        }
                        let model = self.whose.name.clone();
                        self.batching.observer.event(Event::BatchEnded { model, answered, failed });
                    }
                    Err(error) => self.look_failed(index, &error).await,
                }
            }
        }
    }

    async fn look_failed(&mut self, index: usize, error: &ModelError) {
        if error.kind.is_retryable() {
            self.open[index].look_at = Instant::now() + self.pause(error);
            return;
        }
        if error.kind == ErrorKind::NotFound {
            // The provider no longer has it, or has it under another key: it is asked again.
            let keys = self.end(index, error).await;
            self.put_back(&keys);
            return;
        }
        self.open[index].look_at = Instant::now() + AFTER_REFUSAL;
        self.answer_all(&self.keys(index), error);
    }

    fn keys(&self, index: usize) -> Vec<ContentId> {
        self.open[index].keys.iter().copied().collect()
    }

    /// Writes down that nothing in a batch was answered, and gives what it holds.
    async fn end(&mut self, index: usize, error: &ModelError) -> Vec<ContentId> {
        self.open[index].is_over = true;
        let tag = self.open[index].tag.clone();
        self.fail(&tag, error).await;
        self.keys(index)
    }

    fn pause(&self, error: &ModelError) -> Duration {
        error
            .retry_after
            .unwrap_or(AFTER_REFUSAL)
            .min(self.batching.policy.poll.max(Duration::from_millis(1)))
    }

    /// A batch was not taken for now: what it holds waits.
    fn refused(&mut self, keys: &[ContentId], error: &ModelError) {
        self.refusals += 1;
        self.not_before = Some(Instant::now() + self.pause(error));
        if self.refusals >= MOST_REFUSALS && self.under_way() == 0 {
            // Nothing of ours is in the way: those who wait decide how often they ask again.
            self.refusals = 0;
            self.answer_all(keys, error);
        } else {
            self.put_back(keys);
        }
    }

    fn put_back(&mut self, keys: &[ContentId]) {
        for key in keys.iter().rev() {
            if self.room.holds(key) {
                self.pending.push_front(*key);
            }
        }
    }

    fn answer_all(&mut self, keys: &[ContentId], error: &ModelError) {
        for key in keys {
            self.room.answer(key, &Err(error.clone()));
        }
    }

    async fn know(&self, tag: &str, id: &BatchId) {
        let record = BatchRecord::Submitted { tag: tag.to_owned(), provider_id: id.as_str().to_owned() };
        // A store that fails stops the run and says why; the batch is found again by its tag.
        let _ = self.batching.writer.batch(record).await;
    }

    async fn fail(&self, tag: &str, error: &ModelError) {
        let record = BatchRecord::Failed {
            tag: tag.to_owned(),
            message: error.to_string(),
            at: (self.batching.now)().to_string(),
        };
        let _ = self.batching.writer.batch(record).await;
    }

    fn tell_submitted(&self, requests: usize) {
        let model = self.whose.name.clone();
        self.batching.observer.event(Event::BatchSubmitted { model, requests: requests as u64 });
    }

    /// The run is over, and everybody has stored what he got. A batch whose every answer was given out need not be found
    /// again; nor one of the same experiment, where all that is missing was asked for: the rest was stored in an earlier
    /// start. Any other stays open, since its answers are paid for.
    async fn close(self) {
        let Shared { experiment, reach, .. } = self.batching;
        for batch in self.open {
            let is_spent = batch.is_over && !batch.keys.iter().any(|key| self.unclaimed.contains_key(key));
            if is_spent || (batch.experiment == experiment && reach == Reach::Whole) {
                let at = (self.batching.now)().to_string();
                // A store that fails leaves it open, and it is found again.
                let _ = self.batching.writer.batch(BatchRecord::Closed { tag: batch.tag, at }).await;
            }
        }
    }
}

/// Unique, and fit for all providers.
fn tag(whose: &Whose, at: jiff::Timestamp, number: u64, keys: &[ContentId]) -> String {
    let mut canonical = tiltmeter_core::id::Canonical::new("tiltmeter.batch-tag/1")
        .text(&whose.name)
        .text(&at.to_string())
        .integer(number);
    for key in keys {
        canonical = canonical.id(key);
    }
    format!("tiltmeter-{}", canonical.finish())
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
