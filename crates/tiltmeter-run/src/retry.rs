//! Asking again. Whether a failure is worth another attempt is the taxonomy's word; how long to wait is
//! decided here.

use std::time::{Duration, Instant};

use backon::BackoffBuilder;
use tiltmeter_models::{ErrorKind, ModelError};
use tiltmeter_store::FailedAttempt;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Observer};
use crate::limits::Limits;

/// How often and how patiently a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts of one call.
    pub attempts: u32,
    /// The most attempts where the server cannot be reached at all.
    pub unreachable_attempts: u32,
    /// The first wait; it doubles each time, with jitter.
    pub first_wait: Duration,
    /// The longest wait that is chosen here; a server's own `Retry-After` may be longer.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 8,
            unreachable_attempts: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_mins(1),
        }
    }
}

/// The longest `Retry-After` that is obeyed: a server that asks for more would stall the run for good.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// What came of a call and its repetitions.
pub(crate) struct Tried<T> {
    pub(crate) result: Result<T, ModelError>,
    pub(crate) failed: Vec<FailedAttempt>,
    /// How long the last attempt took.
    pub(crate) duration: Duration,
}

/// What a call needs besides itself.
pub(crate) struct Calling<'a> {
    pub(crate) policy: RetryPolicy,
    pub(crate) limits: &'a Limits,
    pub(crate) name: &'a str,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) now: fn() -> jiff::Timestamp,
    pub(crate) stop: &'a CancellationToken,
    /// Jitters the waits.
    pub(crate) seed: u64,
}

impl Calling<'_> {
    /// Makes a call until it succeeds, fails for good, or the run is stopped.
    pub(crate) async fn call<T, F>(&self, mut attempt: impl FnMut() -> F) -> Tried<T>
    where
        F: Future<Output = Result<T, ModelError>>,
    {
        let mut waits = backon::ExponentialBuilder::default()
            .with_min_delay(self.policy.first_wait)
            .with_max_delay(self.policy.longest_wait)
            .with_jitter()
            .with_jitter_seed(self.seed)
            .without_max_times()
            .build();
        let mut failed = Vec::new();
        loop {
            self.limits.turn().await;
            let at = (self.now)();
            let start = Instant::now();
            let result = attempt().await;
            let duration = start.elapsed();
            let error = match result {
                Ok(value) => return Tried { result: Ok(value), failed, duration },
                Err(error) => error,
            };
            let made = u32::try_from(failed.len()).unwrap_or(u32::MAX).saturating_add(1);
            let most = match error.kind {
                ErrorKind::Unreachable => self.policy.unreachable_attempts,
                _ => self.policy.attempts,
            };
            let again = error.kind.is_retryable() && made < most && !self.stop.is_cancelled();
            let own_wait = waits.next().unwrap_or(self.policy.longest_wait);
            let wait = match error.retry_after {
                _ if !again => Duration::ZERO,
                Some(asked) => asked.min(LONGEST_RETRY_AFTER).max(Duration::from_millis(1)),
                None => own_wait,
            };
            failed.push(FailedAttempt {
                attempt: made,
                kind: error.kind.name(),
                status: error.status,
                message: error.message.clone(),
                duration_ms: milliseconds(duration),
                waited_ms: milliseconds(wait),
                at: at.to_string(),
            });
            if !again {
                return Tried { result: Err(error), failed, duration };
            }
            self.observer.event(Event::Retrying {
                model: self.name.to_owned(),
                kind: error.kind.name(),
                message: error.message,
                wait,
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn tries(kinds: &[ErrorKind], retry_after: Option<Duration>) -> (bool, usize, u64) {
        let limits = Limits::new(1, None);
        let stop = CancellationToken::new();
        let calling = Calling {
            policy: RetryPolicy::default(),
            limits: &limits,
            name: "x",
            observer: &(),
            now: || jiff::Timestamp::UNIX_EPOCH,
            stop: &stop,
            seed: 7,
        };
        let next = Cell::new(0);
        let start = tokio::time::Instant::now();
        let tried = calling
            .call(|| {
                let index = next.replace(next.get() + 1);
                let error = kinds.get(index).map(|&kind| {
                    let mut error = ModelError::new(kind, "no");
                    error.retry_after = retry_after;
                    error
                });
                async move { error.map_or(Ok(()), Err) }
            })
            .await;
        (tried.result.is_ok(), tried.failed.len(), milliseconds(start.elapsed()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_taxonomy_decides() {
        use ErrorKind::{BadRequest, ContextTooLong, Overloaded, RateLimited, Unauthorised, Unreachable};
        assert!(matches!(tries(&[Overloaded, RateLimited], None).await, (true, 2, 1000..)));
        for kind in [BadRequest, ContextTooLong, Unauthorised] {
            assert!(matches!(tries(&[kind], None).await, (false, 1, 0)), "{kind:?}");
        }
        assert!(matches!(tries(&[Unreachable; 9], None).await, (false, 4, _)));
        assert!(matches!(tries(&[Overloaded; 9], None).await, (false, 8, _)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_when_is_obeyed() {
        let asked = Some(Duration::from_secs(20));
        assert!(matches!(tries(&[ErrorKind::RateLimited; 2], asked).await, (true, 2, 40_000..40_010)));
        let for_ever = Some(Duration::from_secs(1_000_000));
        assert!(matches!(tries(&[ErrorKind::RateLimited], for_ever).await, (true, 1, 600_000..600_010)));
    }
}
