//! When a request may start at one endpoint: within the user's limits, and at the pace that its server takes.
//!
//! The pace is learnt from what the server accepts. At first nothing is known but that a few requests at once will
//! do: the window of requests in flight starts small and widens with every reply, up to the ceiling. The first
//! refusal for haste (429) pauses the whole endpoint for as long as the server asks, and shows what it takes: from
//! then on requests start evenly, a little below the rate that was accepted, and the rate rises slowly until the
//! next refusal lowers it (slow increase and multiplicative decrease in the manner of D.-M. Chiu and R. Jain,
//! "Analysis of the increase and decrease algorithms for congestion avoidance", 1989; here on rates).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tiltmeter_models::{ErrorKind, ModelError, RateLimit, RateLimits};
use tokio::time::Instant;

/// Requests in flight before anything is known of a server.
const FIRST_WINDOW: f64 = 4.0;
/// By how much a reply widens the window: what is in flight grows by two fifths in the time of one reply.
const WIDENING: f64 = 0.4;
/// The share of the accepted rate that is asked for after a refusal.
const BELOW_ACCEPTED: f64 = 0.95;
/// The share of a rate that is asked for after it was refused soon after it was set.
const BELOW_TOO_FAST: f64 = 0.9;
/// Accepted requests from which an observed rate is believed.
const ENOUGH_SEEN: usize = 20;
/// How fast a rate that rests on little rises, as the exponent per second: it doubles in 0.7 s.
const SEARCHING: f64 = 1.0;
/// How fast a well-founded rate rises at first.
const PROBING: f64 = 0.04;
/// What each further refusal makes of the rise: a refusal may cost a second of waiting, so that they have to become
/// rare soon.
const LESS_PROBING: f64 = 0.25;
/// The slowest rise: 5 % in 25 s.
const SLOWEST_PROBING: f64 = 0.002;
/// A rise from which a rate may be too fast already soon after it was set.
const FAST: f64 = 0.05;
/// The share of refusals below which a rate is not cut for them, where they ask for a short wait only.
const FEW_REFUSED: f64 = 0.03;
/// Up to this, a wait costs little.
const SHORT_WAIT: Duration = Duration::from_millis(200);
/// How far starts that came late may be caught up with: timers wake late, by a millisecond or more.
const CREDIT: Duration = Duration::from_millis(3);
/// The time over which most servers count.
const SECOND: Duration = Duration::from_secs(1);
/// How far back starts are remembered.
const MEMORY: Duration = Duration::from_mins(1);
/// The first wait after a refusal without a hint; it doubles with each further one.
const FIRST_OWN_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that is chosen here after refusals without a hint.
const LONGEST_OWN_WAIT: Duration = Duration::from_mins(1);
/// The longest `Retry-After` that is obeyed: a server that asks for more would stall the run for good.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);
/// Servers' windows are minutes; a limit that starts anew later than that is a day's, and refusals will tell.
const LONGEST_RESET: Duration = Duration::from_mins(1);

/// What the user allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaceSettings {
    /// The most requests in flight.
    pub(crate) ceiling: u32,
    /// The most requests per minute.
    pub(crate) requests_per_minute: Option<u32>,
    /// The most tokens per minute.
    pub(crate) tokens_per_minute: Option<u32>,
    /// Whether there is a server whose pace is to be found.
    pub(crate) is_served: bool,
}

/// The pace of one endpoint.
#[derive(Debug)]
pub(crate) struct Pacer {
    settings: PaceSettings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    in_flight: u32,
    window: f64,
    /// Requests per second, once a refusal has shown that there is a limit.
    rate: Option<f64>,
    /// The exponent by which the rate rises per second.
    growth: f64,
    grown_at: Option<Instant>,
    /// When the next request may start under the rate and the user's requests per minute.
    next_start: Option<Instant>,
    /// When the tokens of all that has started are paid off under the user's tokens per minute.
    tokens_free: Option<Instant>,
    paused_until: Option<Instant>,
    /// The first refusal of the present pause, and the wait that it brought; what it teaches is drawn at the end
    /// of the pause, when the refusals of what was in flight have come in.
    refused: Option<(Instant, Duration)>,
    /// Since when the endpoint has been asked without a pause of a second or more.
    since: Option<Instant>,
    /// When the rate was last worked out.
    learnt_at: Option<Instant>,
    /// When the last refusal came that brought news.
    last_refusal: Option<Instant>,
    /// Starts of requests that were not refused, oldest first.
    starts: VecDeque<Instant>,
    /// When refusals came, oldest first.
    refusals: VecDeque<Instant>,
    /// A rate that was cut, and what was accepted a second at it: what a cut is measured by.
    reference: Option<(f64, f64)>,
    /// The share of refusals that does not hang on the rate.
    tolerated: f64,
    refusals_in_a_row: u32,
    is_down: bool,
}

impl Pacer {
    pub(crate) fn new(settings: PaceSettings) -> Self {
        let ceiling = f64::from(settings.ceiling.max(1));
        let state = State {
            in_flight: 0,
            window: if settings.is_served { FIRST_WINDOW.min(ceiling) } else { ceiling },
            rate: None,
            growth: 0.0,
            grown_at: None,
            next_start: None,
            tokens_free: None,
            paused_until: None,
            refused: None,
            since: None,
            learnt_at: None,
            last_refusal: None,
            starts: VecDeque::new(),
            refusals: VecDeque::new(),
            reference: None,
            tolerated: 0.0,
            refusals_in_a_row: 0,
            is_down: false,
        };
        Self { settings, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.state().in_flight
    }

    /// Starts a request of about so many tokens, if it may start now. Otherwise says when to ask again at the
    /// latest; `None` where only a reply can make room.
    pub(crate) fn try_start(&self, now: Instant, tokens: u64) -> Result<(), Option<Instant>> {
        let mut state = self.state();
        let state = &mut *state;
        if let Some(until) = state.paused_until {
            if now < until {
                return Err(Some(until));
            }
            state.paused_until = None;
            if state.learn().is_some_and(|wait| wait >= SECOND) {
                state.since = None;
                if self.settings.requests_per_minute.is_none() {
                    // The server has said that it takes one now, whatever was made of its pace.
                    state.next_start = None;
                }
            }
        }
        if f64::from(state.in_flight) + 1.0 > state.window.max(1.0) {
            return Err(None);
        }
        let waits = [state.next_start, state.tokens_free];
        if let Some(&at) = waits.iter().flatten().filter(|&&at| now < at).max() {
            return Err(Some(at));
        }
        state.rise(now);
        if let Some(spacing) = state.spacing(self.settings.requests_per_minute) {
            let credit = CREDIT.max(spacing / 4).min(spacing);
            let due = state.next_start.map_or(now, |at| at.max(now.checked_sub(credit).unwrap_or(now)));
            state.next_start = Some(due + spacing);
        }
        self.pay(state, now, tokens as f64);
        state.since.get_or_insert(now);
        state.in_flight += 1;
        if self.settings.is_served {
            state.starts.push_back(now);
            while state.starts.front().is_some_and(|&start| now.duration_since(start) > MEMORY) {
                state.starts.pop_front();
            }
        }
        Ok(())
    }

    /// Counts tokens against the user's limit; fewer than none gives some back.
    fn pay(&self, state: &mut State, now: Instant, tokens: f64) {
        let Some(limit) = self.settings.tokens_per_minute else { return };
        let seconds = tokens / f64::from(limit.max(1)) * 60.0;
        let time = Duration::try_from_secs_f64(seconds.abs()).unwrap_or(LONGEST_RETRY_AFTER);
        let free = state.tokens_free.map_or(now, |free| free.max(now));
        state.tokens_free = if seconds >= 0.0 { Some(free + time) } else { free.checked_sub(time) };
    }

    /// A request has left without a word about the server's pace: it was withdrawn.
    pub(crate) fn withdrawn(&self) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
    }

    /// The server answered. `expected` tokens were counted at the start; `used` is what it really was, 0 if it did
    /// not say.
    pub(crate) fn accepted(&self, now: Instant, limits: Option<&RateLimits>, expected: u64, used: u64) {
        let mut state = self.state();
        let state = &mut *state;
        state.in_flight = state.in_flight.saturating_sub(1);
        let ceiling = f64::from(self.settings.ceiling.max(1));
        if state.is_down {
            state.is_down = false;
            state.window = FIRST_WINDOW.min(ceiling);
        }
        state.refusals_in_a_row = 0;
        state.window = (state.window + WIDENING).min(ceiling);
        if used > 0 {
            self.pay(state, now, used as f64 - expected as f64);
        }
        if let Some(wait) = limits.and_then(|limits| until_room(limits, used)) {
            state.pause(now + wait);
        }
    }

    /// The call that started then failed. Gives how long the whole endpoint is paused for it, if it is. `own_wait`
    /// is the caller's wait before the next attempt.
    pub(crate) fn failed(
        &self,
        now: Instant,
        start: Instant,
        error: &ModelError,
        own_wait: Duration,
    ) -> Option<Duration> {
        let mut state = self.state();
        let state = &mut *state;
        state.in_flight = state.in_flight.saturating_sub(1);
        if !self.settings.is_served {
            return None;
        }
        let asked = error.retry_after.map(|wait| wait.clamp(Duration::from_millis(1), LONGEST_RETRY_AFTER));
        match error.kind {
            ErrorKind::RateLimited => {
                if let Some(index) = state.starts.iter().rposition(|&other| other == start) {
                    state.starts.remove(index);
                }
                state.refusals.push_back(now);
                while state.refusals.front().is_some_and(|&at| now.duration_since(at) > MEMORY) {
                    state.refusals.pop_front();
                }
                // What had started when the last refusal came brings no news.
                let is_news = state.last_refusal.is_none_or(|last| start > last);
                let left = state.paused_until.map(|until| until.saturating_duration_since(now));
                let left = left.filter(|left| !left.is_zero());
                if is_news {
                    state.refusals_in_a_row = state.refusals_in_a_row.saturating_add(1);
                }
                let doubled = 2_u32.saturating_pow(state.refusals_in_a_row.saturating_sub(1).min(10));
                let own = (FIRST_OWN_WAIT * doubled).min(LONGEST_OWN_WAIT);
                let wait = asked.or(left).unwrap_or(own);
                if is_news {
                    state.refused = Some((now, wait));
                    state.last_refusal = Some(now);
                }
                state.pause(now + wait);
                Some(wait)
            }
            ErrorKind::Unreachable => {
                state.is_down = true;
                state.window = 1.0;
                state.pause(now + own_wait);
                Some(own_wait)
            }
            ErrorKind::Overloaded => {
                let floor = FIRST_WINDOW.min(f64::from(self.settings.ceiling.max(1)));
                state.window = (state.window * 0.9).max(floor);
                let wait = asked?;
                state.pause(now + wait);
                Some(wait)
            }
            _ => None,
        }
    }
}

impl State {
    fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |other| other.max(until)));
    }

    fn spacing(&self, requests_per_minute: Option<u32>) -> Option<Duration> {
        let of_user = requests_per_minute.map(|rpm| Duration::from_mins(1) / rpm.max(1));
        let learnt = self.rate.map(|rate| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(MEMORY));
        of_user.max(learnt)
    }

    /// The rate rises with time while it is used.
    fn rise(&mut self, now: Instant) {
        let last = self.grown_at.replace(now);
        if let (Some(rate), Some(last)) = (&mut self.rate, last) {
            let seconds = now.saturating_duration_since(last).as_secs_f64().min(1.0);
            *rate *= (self.growth * seconds).exp();
        }
    }

    /// Works out the rate from what was accepted before the refusal that began the pause, and gives the wait that
    /// was asked for.
    fn learn(&mut self) -> Option<Duration> {
        let (at, wait) = self.refused.take()?;
        let asked_for = self.since.map_or(Duration::ZERO, |since| at.saturating_duration_since(since));
        // Until the next request is let in, none was: the pause belongs to the time in which so many were accepted.
        // Up to a second is also what servers round up to, so that such a pause says nothing beyond the second.
        let (seen, span) = if wait <= SECOND {
            (asked_for.min(SECOND), (asked_for + wait).min(SECOND))
        } else {
            let seen = asked_for.min(MEMORY);
            (seen, seen + wait)
        };
        let from = at.checked_sub(seen).unwrap_or(at);
        let within = |&&moment: &&Instant| moment >= from && moment <= at;
        let count = self.starts.iter().filter(within).count();
        let refused = self.refusals.iter().filter(within).count();
        // While the rate was rising, what is accepted in the end is above the mean.
        let risen = (self.growth * seen.as_secs_f64() / 2.0).exp();
        let accepted = count.max(1) as f64 / span.as_secs_f64().max(1e-3) * risen;
        let Some(rate) = self.rate else {
            self.rate = Some(accepted * BELOW_ACCEPTED);
            self.growth = if count < ENOUGH_SEEN { SEARCHING } else { PROBING };
            (self.learnt_at, self.grown_at) = (Some(at + wait), None);
            return Some(wait);
        };
        let share = refused as f64 / (refused + count).max(1) as f64;
        if wait <= SHORT_WAIT && share < FEW_REFUSED.max(self.tolerated * 1.25) {
            return Some(wait);
        }
        // The last second is evidence only where the rate was not set anew in it.
        let is_evidence = self.learnt_at.is_none_or(|learnt| at.saturating_duration_since(learnt) >= seen);
        if !is_evidence && wait <= SHORT_WAIT && self.growth < FAST {
            // What the last cut has brought has yet to be seen.
            return Some(wait);
        }
        let reference = self.reference.filter(|_| is_evidence);
        if let Some((before, accepted_before)) = reference.filter(|&(before, _)| rate <= 0.8 * before)
            && accepted < 0.9 * accepted_before
        {
            // The cut cost throughput: these refusals do not hang on the rate, and a share of them is to be borne.
            self.rate = Some(before);
            self.growth = PROBING;
            self.tolerated = share;
            self.reference = None;
        } else {
            if is_evidence && reference.is_none_or(|(before, _)| rate > before) {
                self.reference = Some((rate, accepted));
            }
            // Little evidence does not bring a rate down to nothing.
            self.rate = Some(if is_evidence {
                (accepted * BELOW_ACCEPTED).clamp(rate / 2.0, rate * BELOW_ACCEPTED)
            } else {
                rate * BELOW_TOO_FAST
            });
            self.growth = (self.growth * LESS_PROBING).max(SLOWEST_PROBING);
        }
        self.learnt_at = Some(at + wait);
        self.grown_at = None;
        Some(wait)
    }
}

/// How long to wait for room under the limits that a server tells of.
fn until_room(limits: &RateLimits, used: u64) -> Option<Duration> {
    let wait = |limit: &RateLimit, needed: u64| {
        let (remaining, reset) = (limit.remaining?, limit.reset.filter(|&reset| reset <= LONGEST_RESET)?);
        if remaining >= needed {
            return None;
        }
        // Where the most is known, tokens come back bit by bit; a window that opens at once opens no later.
        let share = limit
            .limit
            .filter(|&most| most > remaining)
            .map_or(1.0, |most| ((needed - remaining) as f64 / (most - remaining) as f64).min(1.0));
        Some(if needed == 1 { reset } else { reset.mul_f64(share) })
    };
    let used = used.max(1);
    [wait(&limits.requests, 1), wait(&limits.tokens, used), wait(&limits.input_tokens, used / 2)]
        .into_iter()
        .flatten()
        .max()
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
