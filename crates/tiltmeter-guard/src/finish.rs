//! The end of a request: its answer's body, and what is counted and recorded of it, once, however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderValue, Response, response};
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::answer_parts::AnswerKind;
use crate::audit::{JudgementRecord, OutcomeRecord};
use crate::conversation::Protocol;
use crate::gateway::Shared;
use crate::hold_back::{Checking, HoldBack, TOO_MUCH, UNREADABLE};
use crate::judging::{Gatherer, Sampled, SharedGatherer};
use crate::refusal::Refusal;
use crate::relay::{Ended, Hashes, Leaving, Outcome, Relay, Source};
use crate::telemetry::{SharedFacts, Watch};

/// Records and counts what became of a request: when it is told, or, where nobody tells it, as one whose client left.
pub(crate) struct Finish {
    inner: Option<Inner>,
    pub(crate) route: String,
    pub(crate) upstream: String,
    /// Of the answer that the client gets.
    pub(crate) status: Option<u16>,
    /// Its answer is to be judged.
    pub(crate) sampled: Option<Sampled>,
    /// What is gathered of it for that, once it has begun.
    gatherer: Option<SharedGatherer>,
    /// What is to be told of it, where somebody is told.
    pub(crate) watch: Option<Box<Watch>>,
}

struct Inner {
    shared: Arc<Shared>,
    id: String,
    started: Instant,
}

impl Finish {
    pub(crate) fn new(shared: &Arc<Shared>, id: &str, started: Instant) -> Self {
        let inner = Inner { shared: Arc::clone(shared), id: id.to_owned(), started };
        Self {
            inner: Some(inner),
            route: String::new(),
            upstream: String::new(),
            status: None,
            sampled: None,
            gatherer: None,
            watch: None,
        }
    }

    /// Hands the duty on.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            inner: self.inner.take(),
            route: std::mem::take(&mut self.route),
            upstream: std::mem::take(&mut self.upstream),
            status: self.status,
            sampled: self.sampled.take(),
            gatherer: self.gatherer.take(),
            watch: self.watch.take(),
        }
    }

    /// The gateway answered.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.status = Some(refusal.status.as_u16());
        self.tell(&Outcome::without_answer(Ended::Refused), Some(refusal.code), None);
    }

    /// Reads an upstream's answer. What is to be judged of it is gathered as it passes.
    pub(crate) fn source(
        &mut self,
        head: &response::Parts,
        protocol: Protocol,
        body: Incoming,
        idle_time: Duration,
    ) -> Source {
        let has_log = self.inner.as_ref().is_some_and(|inner| inner.shared.audit.is_some());
        let mut source =
            Source::new(body, idle_time, if has_log { Hashes::Wanted } else { Hashes::NotWanted });
        if !head.status.is_success() {
            return source;
        }
        let kind = if is_stream(&head.headers) {
            AnswerKind::Stream
        } else if head.headers.contains_key(CONTENT_ENCODING) {
            AnswerKind::Encoded
        } else {
            AnswerKind::Whole
        };
        if let Some(sampled) = &self.sampled {
            let room = sampled.settings.judge.settings.text_bytes;
            let gatherer = SharedGatherer::new(Gatherer::new(protocol, kind, room));
            self.gatherer = Some(gatherer.clone());
            source.tap(Box::new(move |bytes| gatherer.push(bytes)));
        }
        if let Some(watch) = &mut self.watch {
            let facts = SharedFacts::new(protocol, kind);
            watch.is_stream = kind == AnswerKind::Stream;
            watch.facts = Some(facts.clone());
            source.tap(Box::new(move |bytes| facts.push(bytes)));
        }
        source
    }

    /// Makes the answer. `checking` is the check of it and how many bytes of it are read for that at most.
    pub(crate) async fn answer(
        mut self,
        mut head: response::Parts,
        mut source: Source,
        checking: Option<(Checking, usize)>,
        leaving: Leaving,
    ) -> Result<Response<Answer>, Refusal> {
        let Some((mut checking, limit)) = checking else {
            let done = Box::new(move |outcome: Outcome| self.tell(&outcome, None, None));
            return Ok(Response::from_parts(head, Answer::relay(Relay::new(source, leaving, done))));
        };
        if is_stream(&head.headers) {
            // It may end earlier than the upstream meant it to.
            head.headers.remove(CONTENT_LENGTH);
            let done = Box::new(move |outcome: Outcome| {
                let held_back = Some(outcome.held_back);
                self.tell(&outcome, None, held_back);
            });
            let held = HoldBack::new(source, checking, leaving, done);
            return Ok(Response::from_parts(head, Answer::held_back(held)));
        }
        let Some(body) = source.whole(limit).await else {
            return self.unchecked(head, source, checking, leaving);
        };
        let is_given = if head.headers.contains_key(CONTENT_ENCODING) {
            checking.whole_unchecked(body.len(), UNREADABLE)
        } else {
            checking.whole(&body).await
        };
        let ended = if is_given { Ended::Complete } else { Ended::Cut };
        let mut outcome = source.outcome(ended, checking.unchecked);
        outcome.cut_by.clone_from(&checking.cut_by);
        outcome.judgements.append(&mut checking.judgements);
        if !is_given {
            let refusal = Refusal::blocked_output();
            self.status = Some(refusal.status.as_u16());
            self.tell(&outcome, Some(refusal.code), None);
            return Err(refusal);
        }
        checking.conclude(outcome, &leaving.tasks, move |outcome| self.tell(&outcome, None, None));
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len() as u64));
        Ok(Response::from_parts(head, Answer::text(body)))
    }

    /// More than is checked, or broken off.
    fn unchecked(
        mut self,
        head: response::Parts,
        source: Source,
        mut checking: Checking,
        leaving: Leaving,
    ) -> Result<Response<Answer>, Refusal> {
        if let Some(ended) = source.failed() {
            let outcome = source.outcome(ended, 0);
            self.status = Some(Refusal::unreachable().status.as_u16());
            self.tell(&outcome, Some(Refusal::unreachable().code), None);
            return Err(Refusal::unreachable());
        }
        // What is relayed counts itself.
        if !checking.whole_unchecked(0, TOO_MUCH) {
            let mut outcome = source.outcome(Ended::Cut, 0);
            outcome.cut_by.clone_from(&checking.cut_by);
            let refusal = Refusal::blocked_output();
            self.status = Some(refusal.status.as_u16());
            self.tell(&outcome, Some(refusal.code), None);
            return Err(refusal);
        }
        let done = Box::new(move |outcome: Outcome| self.tell(&outcome, None, None));
        Ok(Response::from_parts(head, Answer::relay(Relay::new(source, leaving, done))))
    }

    fn tell(&mut self, outcome: &Outcome, refusal: Option<&'static str>, held_back: Option<Duration>) {
        let Some(inner) = self.inner.take() else { return };
        let total = outcome.at.saturating_duration_since(inner.started);
        let first = outcome.first.map(|first| first.saturating_duration_since(inner.started));
        let metrics = &inner.shared.metrics;
        metrics.request(&self.route, self.status, outcome.ended.name());
        metrics.stream(held_back, outcome.ended == Ended::Cut, outcome.unchecked);
        if outcome.bytes > 0 {
            metrics.answered(&self.upstream, first, total);
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let record = OutcomeRecord {
            status: self.status,
            ended: outcome.ended.name(),
            refusal,
            cut_by: outcome.cut_by.as_deref(),
            answer_bytes: outcome.bytes,
            answer_hash: outcome.hash.map(|hash| hash.to_hex().to_string()),
            unchecked_bytes: outcome.unchecked,
            first_byte_us: first.map(micros),
            total_us: micros(total),
            held_back_us: micros(outcome.held_back),
        };
        inner.shared.hand_over(record.entry(&inner.id));
        let span = self
            .watch
            .take()
            .map(|watch| watch.end(&inner.id, &self.route, self.status, refusal, inner.started, outcome));
        for judgement in &outcome.judgements {
            if let Some(span) = &span {
                span.judged(judgement);
            }
            metrics.judging.judged(&self.route, judgement);
            let record = JudgementRecord { route: &self.route, chosen: "held-back", judgement };
            inner.shared.hand_over(record.entry(&inner.id, None));
        }
        if let Some((mut sampled, gatherer)) = self.sampled.take().zip(self.gatherer.take()) {
            sampled.span = span;
            let gathered = gatherer.end(outcome.ended == Ended::Complete);
            sampled.hand_in(&inner.shared, gathered, outcome.ended);
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.tell(&Outcome::without_answer(Ended::ClientLeft), None, None);
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream") && !headers.contains_key(CONTENT_ENCODING)
}
