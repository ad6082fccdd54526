//! What becomes of calls: counted, stored, told; and why a run stops.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tiltmeter_core::id::ContentId;
use tiltmeter_models::ModelError;
use tiltmeter_store::{FailedAttempt, FailureRecord, FailureTarget, StoreError, Writer};
use tokio::time::Instant;

use super::{Means, Outcome, Stop};
use crate::calling::Calling;
use crate::connect::Model;
use crate::event::{CallTarget, Event};
use crate::meter::Meter;

/// The one place that results and failures pass through.
pub(super) struct Ledger {
    pub(super) means: Means,
    pub(super) meter: Meter,
    asked: AtomicU64,
    stopped: OnceLock<Stop>,
}

impl Ledger {
    pub(super) fn new(means: Means) -> Self {
        Self { means, meter: Meter::default(), asked: AtomicU64::new(0), stopped: OnceLock::new() }
    }

    pub(super) fn tell(&self, event: Event) {
        self.means.observer.event(event);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.means.stop.is_cancelled()
    }

    pub(super) fn now(&self) -> String {
        (self.means.now)().to_string()
    }

    pub(super) fn count(&self, calls: u64) {
        self.asked.fetch_add(calls, Ordering::Relaxed);
    }

    /// Everything that a call to a model needs.
    pub(super) fn calling<'a>(&'a self, model: &'a Model, id: ContentId) -> Calling<'a> {
        Calling {
            policy: self.means.policy,
            model,
            observer: &*self.means.observer,
            budget: &self.means.budget,
            meter: &self.meter,
            now: self.means.now,
            stop: &self.means.stop,
            id,
            seed: id.generator_seed(),
        }
    }

    pub(super) fn stop_for(&self, stop: Stop) {
        // The first reason is the one to tell.
        let _ = self.stopped.set(stop);
        self.means.stop.cancel();
    }

    /// Stores something, and waits until it is on disk.
    pub(super) async fn store<T, F>(&self, write: impl FnOnce(Writer) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let start = Instant::now();
        let result = write(self.means.writer.clone()).await;
        self.meter.storing.add(start.elapsed());
        self.check(result)
    }

    /// Stops the run if the store has failed.
    pub(super) fn check<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                // "The writer has stopped" is what others see of the error that stopped it.
                if !matches!(error, StoreError::Stopped) || self.stopped.get().is_none() {
                    self.stop_for(Stop::Store(std::sync::Arc::new(error)));
                }
                None
            }
        }
    }

    /// Enters a call that did not succeed.
    pub(super) async fn failed(&self, model: &Model, failed: FailedCall) {
        let FailedCall { hash, target, error, attempts, judgements_lost } = failed;
        let cut_short = self.is_stopping() && error.kind.is_retryable();
        if error.kind.stops_the_run() || cut_short {
            // Nothing is wrong with this sample: it stays missing, and the next start asks for it.
            if error.kind.stops_the_run() {
                self.stop_for(Stop::Model { model: model.name.clone(), error });
            }
            if !attempts.is_empty() {
                self.store(|writer| async move { writer.attempts(hash, attempts).await }).await;
            }
            return;
        }
        let record = FailureRecord {
            hash,
            target,
            kind: error.kind.name(),
            message: error.to_string(),
            created_at: self.now(),
            failed_attempts: attempts,
        };
        let target = match target {
            FailureTarget::Response { .. } => CallTarget::Response,
            FailureTarget::Score { .. } => CallTarget::Score,
            FailureTarget::Screening => CallTarget::Screening,
            FailureTarget::Inspection => CallTarget::Inspection,
            FailureTarget::Judgement { .. } => CallTarget::Judgement,
            FailureTarget::Coding { .. } => CallTarget::Coding,
        };
        if self.store(|writer| async move { writer.failure(record).await }).await.is_some() {
            self.tell(Event::Failed {
                target,
                model: model.name.clone(),
                kind: error.kind.name(),
                message: error.to_string(),
                judgements_lost,
            });
        }
    }

    /// How it all ended.
    pub(super) fn outcome(&self, reused: u64, wall: Duration) -> Outcome {
        let budget = &self.means.budget;
        let stop = match (self.stopped.get(), budget.most_usd()) {
            (Some(stop), _) => Some(stop.clone()),
            (None, Some(most_usd)) if budget.is_exhausted() => {
                Some(Stop::Budget { most_usd, spent: budget.spent() })
            }
            (None, _) => self.is_stopping().then_some(Stop::Requested),
        };
        Outcome {
            asked: self.asked.load(Ordering::Relaxed),
            reused,
            attempts: self.meter.requests(),
            spent: budget.spent(),
            cache: self.meter.cache(),
            timing: self.meter.timing(wall),
            stop,
        }
    }
}

/// A call that did not succeed.
pub(super) struct FailedCall {
    /// Of the sample, judgement or score.
    pub(super) hash: ContentId,
    pub(super) target: FailureTarget,
    pub(super) error: ModelError,
    pub(super) attempts: Vec<FailedAttempt>,
    /// The judge's calls that will not be made because of it.
    pub(super) judgements_lost: u64,
}
