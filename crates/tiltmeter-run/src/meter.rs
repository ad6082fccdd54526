//! Where the time of a run goes, and what it used. Times are sums over calls, many of which run at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tiltmeter_core::experiment::Price;
use tiltmeter_models::Usage;

use crate::budget::cache_saving;

/// A sum of durations.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn add(&self, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e6
    }
}

#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Waiting for pace or budget.
    pub(crate) limits: Clock,
    /// Waiting to ask again.
    pub(crate) retries: Clock,
    /// Subjects' answers waiting for room in the judge's queue.
    pub(crate) judge_queue: Clock,
    /// Waiting for the disk.
    pub(crate) storing: Clock,
    /// All time of calls, waits included.
    pub(crate) calls: Clock,
    subjects: Clock,
    judge: Clock,
    requests: AtomicU64,
    tokens: Mutex<CacheUse>,
}

impl Meter {
    pub(crate) fn sent(&self, is_judge: bool, duration: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        (if is_judge { &self.judge } else { &self.subjects }).add(duration);
    }

    pub(crate) fn used(&self, is_judge: bool, price: Option<Price>, usage: &Usage) {
        if is_judge {
            return;
        }
        let mut cache = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        cache.input_tokens += usage.input_tokens;
        cache.cached_tokens += usage.cached_input_tokens;
        cache.saved_usd += cache_saving(price, usage).unwrap_or(0.0);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn cache(&self) -> CacheUse {
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn timing(&self, wall: Duration) -> Timing {
        let waits =
            [&self.limits, &self.retries, &self.judge_queue, &self.storing, &self.subjects, &self.judge];
        let waited: f64 = waits.into_iter().map(Clock::seconds).sum();
        Timing {
            wall_s: wall.as_secs_f64(),
            limits_s: self.limits.seconds(),
            retries_s: self.retries.seconds(),
            subjects_s: self.subjects.seconds(),
            judge_s: self.judge.seconds(),
            judge_queue_s: self.judge_queue.seconds(),
            storing_s: self.storing.seconds(),
            own_s: (self.calls.seconds() - waited).max(0.0),
        }
    }
}

/// Where the time went, in seconds. All but `wall_s` are sums over calls, many of which run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// From start to end.
    pub wall_s: f64,
    /// Waiting for pace or budget.
    pub limits_s: f64,
    /// Waiting to ask again after a failure.
    pub retries_s: f64,
    /// Waiting for the subjects' replies.
    pub subjects_s: f64,
    /// Waiting for the judge's replies.
    pub judge_s: f64,
    /// Answers waiting for room in the judge's queue.
    pub judge_queue_s: f64,
    /// Waiting for the disk.
    pub storing_s: f64,
    /// The rest: this program's own work, and waiting for a processor.
    pub own_s: f64,
}

impl Timing {
    /// Two parts of a start together, one after the other.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            wall_s: self.wall_s + other.wall_s,
            limits_s: self.limits_s + other.limits_s,
            retries_s: self.retries_s + other.retries_s,
            subjects_s: self.subjects_s + other.subjects_s,
            judge_s: self.judge_s + other.judge_s,
            judge_queue_s: self.judge_queue_s + other.judge_queue_s,
            storing_s: self.storing_s + other.storing_s,
            own_s: self.own_s + other.own_s,
        }
    }
}

/// What prompt caches gave to the subjects' calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheUse {
    /// Prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Prompt tokens from a cache.
    pub cached_tokens: u64,
    /// US dollars saved against fresh tokens, where prices of both are known.
    pub saved_usd: f64,
}
