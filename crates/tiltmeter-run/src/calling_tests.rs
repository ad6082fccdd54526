//! Which failures are repeated, how long is waited, and what is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tiltmeter_core::id::Canonical;
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::Sampling;
use tiltmeter_store::ModelRecord;

use super::*;
use crate::pace::PaceSettings;
use crate::ways::Ways;

/// Fails in these ways, one after the other, then answers.
struct Failing {
    kinds: Vec<ErrorKind>,
    retry_after: Option<Duration>,
    asked: AtomicUsize,
}

#[async_trait]
impl ChatModel for Failing {
    async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse, ModelError> {
        let index = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.kinds.get(index) {
            None => Ok(ChatResponse::default()),
            Some(&kind) => {
                let mut error = ModelError::new(kind, "no");
                error.retry_after = self.retry_after;
                error.status = (kind == ErrorKind::Overloaded).then_some(503);
                Err(error)
            }
        }
    }
}

fn request() -> ChatRequest {
    ChatRequest {
        prompt: Arc::new(Prompt::single("What now?")),
        sampling: Sampling {
            temperature: 1.0,
            max_tokens: 10,
            seed: None,
            stop: Vec::new(),
            top_log_probabilities: None,
            reasoning: tiltmeter_models::Reasoning::default(),
        },
    }
}

fn model(kinds: &[ErrorKind], retry_after: Option<Duration>) -> Model {
    let chat = Failing { kinds: kinds.to_vec(), retry_after, asked: AtomicUsize::new(0) };
    let settings =
        PaceSettings { ceiling: 8, requests_per_minute: None, tokens_per_minute: None, is_served: true };
    Model {
        name: "x".to_owned(),
        record: ModelRecord { model: "x/x".to_owned(), settings: serde_json::Value::Null, description: None },
        ways: Ways::new(vec![Arc::new(chat)], settings),
        price: None,
        outage: None,
        is_judge: false,
        is_served: true,
        can_score: false,
    }
}

/// Whether it succeeded, failed attempts, milliseconds.
async fn tries(kinds: &[ErrorKind], retry_after: Option<Duration>) -> (bool, usize, u64) {
    let model = model(kinds, retry_after);
    let (stop, budget, meter) = (CancellationToken::new(), Budget::default(), Meter::default());
    let calling = Calling {
        policy: RetryPolicy::default(),
        model: &model,
        observer: &(),
        budget: &budget,
        meter: &meter,
        now: || jiff::Timestamp::UNIX_EPOCH,
        stop: &stop,
        id: Canonical::new("test").finish(),
        seed: 7,
    };
    let start = Instant::now();
    let tried = calling.chat(&request()).await;
    (tried.result.is_ok(), tried.failed.len(), milliseconds(start.elapsed()))
}

#[tokio::test(start_paused = true)]
async fn the_taxonomy_decides() {
    use ErrorKind::{BadRequest, ContextTooLong, Overloaded, RateLimited, Unauthorised, Unreachable};
    assert!(matches!(tries(&[Overloaded, RateLimited], None).await, (true, 2, 1000..)));
    for kind in [BadRequest, ContextTooLong, Unauthorised] {
        assert!(matches!(tries(&[kind], None).await, (false, 1, 0)), "{kind:?}");
    }
    assert!(matches!(tries(&[Overloaded; 9], None).await, (false, 8, _)));
    // A server that is not there is given up soon, one that has answered is waited for.
    assert!(matches!(tries(&[Unreachable; 99], None).await, (false, 8..20, 90_000..100_000)));
    let mut back = vec![Overloaded];
    back.extend([Unreachable; 12]);
    let tried = tries(&back, None).await;
    assert!(matches!(tried, (true, 13, 60_000..600_000)), "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_when_is_obeyed() {
    let asked = Some(Duration::from_secs(20));
    let tried = tries(&[ErrorKind::RateLimited; 2], asked).await;
    assert!(matches!(tried, (true, 2, 40_000..40_010)), "{tried:?}");
    let for_ever = Some(Duration::from_secs(1_000_000));
    let tried = tries(&[ErrorKind::RateLimited], for_ever).await;
    assert!(matches!(tried, (true, 1, 600_000..600_010)), "{tried:?}");
}

/// A wall clock that jumps by decades, forwards and back, at every look.
fn jumping_clock() -> jiff::Timestamp {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    let seconds = [0, 4_000_000_000, 1_000_000_000, 2_000_000_000][LOOKS.fetch_add(1, Ordering::Relaxed) % 4];
    jiff::Timestamp::from_second(seconds).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_changes_no_wait_and_no_count() {
    use ErrorKind::{Overloaded, RateLimited, TimedOut};
    let kinds = [Overloaded, RateLimited, TimedOut, Overloaded];
    let mut waits = Vec::new();
    for now in [(|| jiff::Timestamp::UNIX_EPOCH) as fn() -> _, jumping_clock] {
        let model = model(&kinds, None);
        let (stop, budget, meter) = (CancellationToken::new(), Budget::default(), Meter::default());
        let calling = Calling {
            policy: RetryPolicy::default(),
            model: &model,
            observer: &(),
            budget: &budget,
            meter: &meter,
            now,
            stop: &stop,
            id: Canonical::new("test").finish(),
            seed: 7,
        };
        let start = Instant::now();
        let tried = calling.chat(&request()).await;
        assert!(tried.result.is_ok());
        let attempts: Vec<_> =
            tried.failed.iter().map(|failed| (failed.attempt, failed.kind, failed.waited_ms)).collect();
        waits.push((attempts, milliseconds(start.elapsed())));
    }
    assert_eq!(waits[0], waits[1]);
}
