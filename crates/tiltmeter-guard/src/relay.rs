//! An answer on its way from the upstream to the client: each piece goes on as it comes, and is counted.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;

use crate::config::file::ClientLeaves;
use crate::judging::Judgement;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ended {
    /// All of it was given.
    Complete,
    /// The client went away.
    ClientLeft,
    /// The upstream broke off.
    BrokenOff,
    /// The upstream said nothing for too long.
    TimedOut,
    /// The gateway ended it: a check of answers said so.
    Cut,
    /// There was none: the gateway answered.
    Refused,
}

impl Ended {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientLeft => "client-left",
            Self::BrokenOff => "broken-off",
            Self::TimedOut => "timed-out",
            Self::Cut => "cut",
            Self::Refused => "refused",
        }
    }
}

/// What became of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// When.
    pub(crate) at: Instant,
    /// The word of the check that cut it.
    pub(crate) cut_by: Option<String>,
    /// Bytes of the upstream's answer.
    pub(crate) bytes: u64,
    /// Their BLAKE3 hash, where somebody wants it.
    pub(crate) hash: Option<blake3::Hash>,
    /// Those of them that no check of answers saw before they were given.
    pub(crate) unchecked: u64,
    /// When the first of them came.
    pub(crate) first: Option<Instant>,
    /// For how long pieces were held back, the longest.
    pub(crate) held_back: Duration,
    /// What a judge said of it while it was held back.
    pub(crate) judgements: Vec<Judgement>,
}

impl Outcome {
    /// Of an answer that has not begun, or is the gateway's own.
    pub(crate) fn without_answer(ended: Ended) -> Self {
        Self {
            ended,
            at: Instant::now(),
            cut_by: None,
            bytes: 0,
            hash: None,
            unchecked: 0,
            first: None,
            held_back: Duration::ZERO,
            judgements: Vec::new(),
        }
    }
}

/// Is told once what became of an answer.
pub(crate) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("the upstream broke off")]
    Upstream(#[source] hyper::Error),
    #[error("the upstream said nothing for too long")]
    Idle,
}

/// Whether answers are hashed, which the audit log wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashes {
    Wanted,
    NotWanted,
}

/// Reads the bytes of an answer as they pass.
pub(crate) type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// Reads an upstream's answer, under a limit of time between two pieces, and counts it.
pub(crate) struct Source {
    body: Incoming,
    idle_time: Duration,
    idle: Pin<Box<Sleep>>,
    bytes: u64,
    hasher: Option<blake3::Hasher>,
    taps: Vec<Tap>,
    first: Option<Instant>,
    ended: Option<Ended>,
    /// Pieces that were read ahead, counted already.
    ahead: VecDeque<Frame<Bytes>>,
}

impl Source {
    pub(crate) fn new(body: Incoming, idle_time: Duration, hashes: Hashes) -> Self {
        Self {
            body,
            idle_time,
            idle: Box::pin(tokio::time::sleep(idle_time)),
            bytes: 0,
            hasher: (hashes == Hashes::Wanted).then(blake3::Hasher::new),
            taps: Vec::new(),
            first: None,
            ended: None,
            ahead: VecDeque::new(),
        }
    }

    /// Has somebody else read the answer as it passes.
    pub(crate) fn tap(&mut self, tap: Tap) {
        self.taps.push(tap);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How it ended; `None` while there is more.
    pub(crate) fn ended(&self) -> Option<Ended> {
        if !self.ahead.is_empty() {
            return None;
        }
        // With a length that is known, nobody asks once more after the last piece.
        self.ended.or_else(|| self.body.is_end_stream().then_some(Ended::Complete))
    }

    /// Whether it broke off, whatever of it is still to be given.
    pub(crate) fn failed(&self) -> Option<Ended> {
        self.ended.filter(|ended| *ended != Ended::Complete)
    }

    /// Reads all of it, if it is no more than so many bytes. Otherwise, and where it breaks off, what was read is given again
    /// by [`Source::poll`].
    pub(crate) async fn whole(&mut self, limit: usize) -> Option<Bytes> {
        let mut ahead = VecDeque::new();
        let mut bytes = 0;
        let is_whole = loop {
            match std::future::poll_fn(|context| self.poll(context)).await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    ahead.push_back(frame);
                    if bytes > limit {
                        break false;
                    }
                }
            }
        };
        if !is_whole {
            self.ahead = ahead;
            return None;
        }
        let mut whole = BytesMut::with_capacity(bytes);
        for data in ahead.iter().filter_map(Frame::data_ref) {
            whole.extend_from_slice(data);
        }
        Some(whole.freeze())
    }

    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            ready!(self.idle.as_mut().poll(context));
            self.ended = Some(Ended::TimedOut);
            return Poll::Ready(Some(Err(RelayError::Idle)));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.first = self.first.or_else(|| Some(Instant::now()));
                    self.bytes += data.len() as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(data);
                    }
                    for tap in &mut self.taps {
                        tap(data);
                    }
                }
                self.idle.as_mut().reset(tokio::time::Instant::now() + self.idle_time);
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.ended = Some(Ended::BrokenOff);
                Some(Err(RelayError::Upstream(error)))
            }
            None => {
                self.ended = Some(Ended::Complete);
                None
            }
        })
    }

    fn hash(&self) -> Option<blake3::Hash> {
        self.hasher.as_ref().map(blake3::Hasher::finalize)
    }

    pub(crate) fn outcome(&self, ended: Ended, unchecked: u64) -> Outcome {
        Outcome {
            ended,
            at: Instant::now(),
            cut_by: None,
            bytes: self.bytes,
            hash: self.hash(),
            unchecked,
            first: self.first,
            held_back: Duration::ZERO,
            judgements: Vec::new(),
        }
    }

    /// Reads what is left, for the record.
    async fn drain(&mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|context| self.poll(context)).await {}
    }
}

/// What happens to answers whose clients leave.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) policy: ClientLeaves,
    /// Knows of the tasks that go on, so that the gateway can wait for them.
    pub(crate) tasks: TaskTracker,
}

impl Leaving {
    /// The client is gone: ends the answer, or reads it to its end first.
    pub(crate) fn leave(&self, mut source: Source, mut outcome: Outcome, done: Done) {
        if self.policy == ClientLeaves::Cancel || tokio::runtime::Handle::try_current().is_err() {
            return done(outcome);
        }
        self.tasks.spawn(async move {
            source.drain().await;
            outcome.at = Instant::now();
            outcome.bytes = source.bytes;
            outcome.hash = source.hash();
            done(outcome);
        });
    }
}

/// An answer that is passed on byte for byte.
pub(crate) struct Relay {
    source: Option<Source>,
    leaving: Leaving,
    done: Option<Done>,
}

impl Relay {
    pub(crate) fn new(source: Source, leaving: Leaving, done: Done) -> Self {
        Self { source: Some(source), leaving, done: Some(done) }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match &mut self.get_mut().source {
            Some(source) => source.poll(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.ahead.is_empty() && source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // With pieces read ahead, the rest is not the whole.
        let source = self.source.as_ref().filter(|source| source.ahead.is_empty());
        source.map(|source| source.body.size_hint()).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let (Some(source), Some(done)) = (self.source.take(), self.done.take()) else { return };
        if let Some(ended) = source.ended() {
            return done(source.outcome(ended, source.bytes()));
        }
        let outcome = source.outcome(Ended::ClientLeft, source.bytes());
        self.leaving.leave(source, outcome, done);
    }
}
