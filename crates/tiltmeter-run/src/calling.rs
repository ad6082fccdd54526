//! One call with its repetitions. Whether a failure is worth another attempt is the taxonomy's word; how long to
//! wait, and that neither pace nor budget is exceeded, is seen to here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use backon::BackoffBuilder;
use tiltmeter_core::id::ContentId;
use tiltmeter_models::{
    ChatModel, ChatRequest, ChatResponse, ErrorKind, ModelError, RateLimits, ScoreRequest, TextScore, Usage,
};
use tiltmeter_store::FailedAttempt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::budget::{Budget, cost_of, worst_cost};
use crate::connect::Model;
use crate::event::{Event, Observer};
use crate::meter::Meter;
use crate::trace::{self, Operation};

/// The shortest wait for limits that is told of.
const WORTH_TELLING: Duration = Duration::from_millis(100);

/// How often and how patiently a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts of one call.
    pub attempts: u32,
    /// The most attempts where the server refuses for haste: the pace adapts, so that patience pays.
    pub rate_limited_attempts: u32,
    /// How long a server is waited for that cannot be reached and has not answered anything in this start.
    pub outage_at_start: Duration,
    /// How long a server is waited for that cannot be reached, but has answered before.
    pub outage: Duration,
    /// The first wait; it doubles each time, with jitter.
    pub first_wait: Duration,
    /// The longest wait that is chosen here; a server's own `Retry-After` may be longer.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 8,
            rate_limited_attempts: 40,
            // One that is down for a minute is waited for; who mistyped an address reads so meanwhile.
            outage_at_start: Duration::from_secs(90),
            outage: Duration::from_mins(10),
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_mins(1),
        }
    }
}

/// A server that is back should not be waited for much longer.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(10);
/// Tokens around each message of a prompt, and around the whole, that a chat template may add.
const TEMPLATE_TOKENS: u64 = 16;

/// What came of a call and its repetitions.
pub(crate) struct Tried<T> {
    pub(crate) result: Result<T, ModelError>,
    pub(crate) failed: Vec<FailedAttempt>,
    /// How long the last attempt took.
    pub(crate) duration: Duration,
    /// What it cost in US dollars, where that is known.
    pub(crate) cost_usd: Option<f64>,
}

/// What a call needs besides itself.
#[derive(Clone, Copy)]
pub(crate) struct Calling<'a> {
    pub(crate) policy: RetryPolicy,
    pub(crate) model: &'a Model,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) budget: &'a Budget,
    pub(crate) meter: &'a Meter,
    pub(crate) now: fn() -> jiff::Timestamp,
    pub(crate) stop: &'a CancellationToken,
    /// What is asked for: of the sample, judgement or score.
    pub(crate) id: ContentId,
    /// Jitters the waits.
    pub(crate) seed: u64,
}

/// The most that a call can take.
#[derive(Clone, Copy)]
struct Size {
    /// An upper bound of its prompt tokens: a token is a byte or more.
    prompt_bytes: u64,
    most_answer: u64,
}

/// What all replies have.
trait Reply {
    fn usage(&self) -> Usage;
    fn rate_limits(&self) -> Option<&RateLimits>;
    /// Tells what the reply says of itself.
    fn trace(&self, span: &Span);
}

impl Reply for ChatResponse {
    fn usage(&self) -> Usage {
        self.usage
    }

    fn rate_limits(&self) -> Option<&RateLimits> {
        self.rate_limits.as_deref()
    }

    fn trace(&self, span: &Span) {
        trace::reply(span, self);
    }
}

impl Reply for TextScore {
    fn usage(&self) -> Usage {
        let input_tokens = self.prompt_tokens + self.token_log_probabilities.len() as u64;
        Usage { input_tokens, ..Usage::default() }
    }

    fn rate_limits(&self) -> Option<&RateLimits> {
        None
    }

    fn trace(&self, _: &Span) {}
}

impl Calling<'_> {
    /// Asks for a generation until there is one, the call fails for good, or the run is stopped.
    pub(crate) async fn chat(&self, request: &ChatRequest) -> Tried<ChatResponse> {
        let size =
            Size { prompt_bytes: prompt_bytes(request), most_answer: request.sampling.max_tokens.into() };
        let operation = Operation::Chat(&request.sampling);
        self.call(operation, size, |chat| async move { chat.chat(request).await }).await
    }

    /// Asks for a text's score likewise.
    pub(crate) async fn score(&self, request: &ScoreRequest) -> Tried<TextScore> {
        let prompt: usize = request
            .prompt
            .messages()
            .map(|message| message.parts.iter().map(|part| part.len()).sum::<usize>())
            .sum();
        let messages = request.prompt.messages().count() as u64;
        let bytes = (prompt + request.continuation.len()) as u64;
        let size = Size { prompt_bytes: bytes + TEMPLATE_TOKENS * (messages + 2), most_answer: 1 };
        self.call(Operation::Score, size, |chat| async move { chat.score(request).await }).await
    }

    /// Counts a wait for limits, and tells of one that is worth it.
    fn held_back(&self, waited: Duration) {
        self.meter.limits.add(waited);
        if waited >= WORTH_TELLING {
            self.observer.event(Event::Paced { model: self.model.name.clone(), waited });
        }
    }

    async fn call<T, F>(
        &self,
        operation: Operation<'_>,
        size: Size,
        attempt: impl Fn(std::sync::Arc<dyn ChatModel>) -> F,
    ) -> Tried<T>
    where
        T: Reply,
        F: Future<Output = Result<T, ModelError>>,
    {
        let Model { ways, price, .. } = self.model;
        let mut waits = backon::ExponentialBuilder::default()
            .with_min_delay(self.policy.first_wait)
            .with_max_delay(self.policy.longest_wait)
            .with_jitter()
            .with_jitter_seed(self.seed)
            .without_max_times()
            .build();
        let mut failed: Vec<FailedAttempt> = Vec::new();
        let mut unreachable_since: Option<Instant> = None;
        loop {
            let asked = Instant::now();
            let worst = worst_cost(*price, size.prompt_bytes, size.most_answer);
            let Some(reservation) = self.unless_stopped(self.budget.reserve(worst)).await else {
                return not_sent(failed);
            };
            let Some(reservation) = reservation else {
                // The rest of the budget cannot pay for it: nobody else's call either, once all have tried.
                self.stop.cancel();
                return not_sent(failed);
            };
            let tokens = ways.expected_tokens(size.prompt_bytes, size.most_answer);
            let Some(turn) = self.unless_stopped(ways.turn(tokens)).await else { return not_sent(failed) };
            let (at, start) = ((self.now)(), Instant::now());
            self.held_back(start - asked);
            let made = u32::try_from(failed.len()).unwrap_or(u32::MAX).saturating_add(1);
            let span = trace::request(self.model, operation, self.id, made);
            let result = attempt(turn.chat()).instrument(span.clone()).await;
            let duration = start.elapsed();
            self.meter.sent(self.model.is_judge, duration);
            let error = match result {
                Ok(value) => {
                    let usage = value.usage();
                    turn.accepted(value.rate_limits(), usage.input_tokens, usage.output_tokens);
                    let cost_usd = cost_of(*price, &usage);
                    reservation.settle(cost_usd);
                    trace::answered(&span, duration, &usage, cost_usd);
                    value.trace(&span);
                    self.meter.used(self.model.is_judge, *price, &usage);
                    if cost_usd.is_some_and(|cost| cost > 0.0) {
                        let total_usd = self.budget.spent().known_usd;
                        self.observer.event(Event::Spent { total_usd });
                    }
                    return Tried { result: Ok(value), failed, duration, cost_usd };
                }
                Err(error) => error,
            };
            trace::failed(&span, duration, &error);
            drop(span);
            if may_be_charged(error.kind) {
                reservation.keep();
            } else {
                drop(reservation);
            }
            if error.kind == ErrorKind::Unreachable {
                unreachable_since.get_or_insert(asked);
            } else {
                unreachable_since = None;
            }
            let may_go_on = match (error.kind, unreachable_since) {
                (ErrorKind::Unreachable, Some(since)) => since.elapsed() < self.patience(),
                (ErrorKind::RateLimited, _) => made < self.policy.rate_limited_attempts,
                _ => made < self.policy.attempts,
            };
            let again = error.kind.is_retryable() && may_go_on && !self.stop.is_cancelled();
            let mut own_wait = waits.next().unwrap_or(self.policy.longest_wait);
            if error.kind == ErrorKind::Unreachable {
                own_wait = own_wait.min(LONGEST_OUTAGE_WAIT);
            }
            let paused = turn.failed(&error, own_wait);
            // A pause of the endpoint is kept in the queue for a turn, where another endpoint may be free.
            let (wait, sleep) = match paused {
                _ if !again => (Duration::ZERO, Duration::ZERO),
                Some(pause) => (pause, Duration::ZERO),
                None => (own_wait, own_wait),
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
                return Tried { result: Err(error), failed, duration, cost_usd: None };
            }
            self.observer.event(Event::Retrying {
                model: self.model.name.clone(),
                kind: error.kind.name(),
                message: error.message,
                wait,
            });
            let from = Instant::now();
            let _ = self.unless_stopped(tokio::time::sleep(sleep)).await;
            self.meter.retries.add(from.elapsed());
        }
    }

    fn patience(&self) -> Duration {
        self.model.outage.unwrap_or(if self.model.ways.has_answered() {
            self.policy.outage
        } else {
            self.policy.outage_at_start
        })
    }

    /// Waits for something, unless the run is stopped meanwhile.
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            value = waiting => Some(value),
        }
    }
}

/// The run was stopped before the call could be made. The kind is one that is retried: the next start asks again.
fn not_sent<T>(failed: Vec<FailedAttempt>) -> Tried<T> {
    let error = ModelError::new(ErrorKind::Interrupted, "not sent: the run was stopped");
    Tried { result: Err(error), failed, duration: Duration::ZERO, cost_usd: None }
}

/// Whether a server that fails in this way may have generated, and charge for, an answer.
fn may_be_charged(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::MalformedReply)
}

fn prompt_bytes(request: &ChatRequest) -> u64 {
    let (mut bytes, mut messages) = (0, 0);
    for message in request.prompt.messages() {
        bytes += message.parts.iter().map(|part| part.len() as u64).sum::<u64>();
        messages += 1;
    }
    bytes + TEMPLATE_TOKENS * (messages + 1)
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A model whose every call is repeated by itself, so that a judge of several draws keeps those that succeeded
/// while others are drawn again.
pub(crate) struct Repeating<'a> {
    calling: Calling<'a>,
    made: Mutex<Made>,
}

/// What came of the calls so far.
#[derive(Default)]
pub(crate) struct Made {
    /// All attempts that failed.
    pub(crate) failed: Vec<FailedAttempt>,
    /// Known costs in US dollars; `None` where one is not known, or nothing was asked.
    pub(crate) cost_usd: Option<f64>,
    has_unpriced: bool,
}

impl<'a> Repeating<'a> {
    pub(crate) fn new(calling: Calling<'a>) -> Self {
        Self { calling, made: Mutex::default() }
    }

    pub(crate) fn made(self) -> Made {
        let mut made = self.made.into_inner().unwrap_or_else(PoisonError::into_inner);
        if made.has_unpriced {
            made.cost_usd = None;
        }
        made
    }

    fn enter<T>(&self, tried: Tried<T>) -> Result<T, ModelError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.failed.extend(tried.failed);
        if tried.result.is_ok() {
            match tried.cost_usd {
                Some(cost) => made.cost_usd = Some(made.cost_usd.unwrap_or(0.0) + cost),
                None => made.has_unpriced = true,
            }
        }
        tried.result
    }
}

#[async_trait]
impl ChatModel for Repeating<'_> {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        let seed = self.calling.seed ^ u64::from(request.sampling.seed.unwrap_or(0));
        let tried = Calling { seed, ..self.calling }.chat(request).await;
        self.enter(tried)
    }

    fn can_score(&self) -> bool {
        self.calling.model.can_score
    }

    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        let tried = self.calling.score(request).await;
        self.enter(tried)
    }
}

#[cfg(test)]
#[path = "calling_tests.rs"]
mod tests;
