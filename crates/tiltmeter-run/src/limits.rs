//! How many requests may be in flight, and how many may start in a minute.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The limits of one model.
#[derive(Clone)]
pub(crate) struct Limits {
    in_flight: Arc<Semaphore>,
    pace: Option<Arc<Pace>>,
}

struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Limits {
    pub(crate) fn new(concurrency: u32, requests_per_minute: Option<u32>) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(concurrency as usize)),
            pace: requests_per_minute.map(|rpm| {
                Arc::new(Pace {
                    interval: Duration::from_mins(1) / rpm.max(1),
                    next: Mutex::new(Instant::now()),
                })
            }),
        }
    }

    /// Waits for a place in flight. `None` only if the limits were closed, which this program never does.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.in_flight.clone().acquire_owned().await.ok()
    }

    /// Waits until the pace allows one more request to start.
    pub(crate) async fn turn(&self) {
        let Some(pace) = &self.pace else { return };
        let at = {
            let mut next = pace.next.lock().await;
            let at = (*next).max(Instant::now());
            *next = at + pace.interval;
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pace_spreads_requests_over_the_minute() {
        let limits = Limits::new(100, Some(60));
        let start = Instant::now();
        for _ in 0..31 {
            limits.turn().await;
        }
        assert_eq!((Instant::now() - start).as_secs(), 30);
    }
}
