//! An answer that streams and is checked while it does: events wait, in order and up to a bounded number of bytes, until
//! the check lets them go.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::answer_text;
use crate::config::OutputSettings;
use crate::config::file::OnFailure;
use crate::conversation::Protocol;
use crate::output::{OutputVerdict, OutputWatch};
use crate::refusal::Refusal;
use crate::relay::{Done, Ended, Leaving, RelayError, Source};
use crate::sse::{Event, Splitter};

/// Words for cuts that no check asked for.
pub(crate) const TOO_MUCH: &str = "held-back-too-much";
pub(crate) const UNREADABLE: &str = "unreadable";

/// An event that waits.
struct Held {
    raw: Bytes,
    /// Bytes of text in it, by choice.
    texts: Vec<(u64, usize)>,
    since: Instant,
}

/// How much text of a choice waits, and how much of it must.
#[derive(Clone, Copy, Default)]
struct Waiting {
    text: usize,
    must: usize,
}

/// Whether a verdict is acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acting {
    /// It is.
    Really,
    /// It is recorded only; nothing is held back.
    DryRun,
}

/// What the check of an answer has come to.
pub(crate) struct Checking {
    watch: Box<dyn OutputWatch>,
    protocol: Protocol,
    limit: usize,
    on_failure: OnFailure,
    acting: Acting,
    splitter: Splitter,
    held: VecDeque<Held>,
    held_bytes: usize,
    waiting: BTreeMap<u64, Waiting>,
    ready: VecDeque<Bytes>,
    /// Bytes that were given without the check having let them go.
    pub(crate) unchecked: u64,
    /// The longest that an event waited.
    pub(crate) held_back: Duration,
    /// The word of whoever cut the answer, or would have.
    pub(crate) cut_by: Option<String>,
    is_cut: bool,
}

impl Checking {
    pub(crate) fn new(settings: &OutputSettings, protocol: Protocol, acting: Acting) -> Self {
        Self {
            watch: settings.check.begin(),
            protocol,
            limit: settings.hold_back,
            on_failure: settings.on_failure,
            acting,
            splitter: Splitter::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            unchecked: 0,
            held_back: Duration::ZERO,
            cut_by: None,
            is_cut: false,
        }
    }

    fn piece(&mut self, piece: &Bytes) {
        self.splitter.push(piece);
        while !self.is_cut
            && let Some(event) = self.splitter.next()
        {
            self.event(event);
        }
        if !self.is_cut && self.splitter.waiting() > self.limit {
            let rest = self.splitter.rest();
            self.unreadable(rest, TOO_MUCH);
        }
    }

    fn event(&mut self, event: Event) {
        let Some(data) = event.data() else { return self.hold(event.raw, Vec::new()) };
        if answer_text::is_last(self.protocol, &data) {
            let verdict = self.watch.end();
            self.follow(None, verdict);
            return self.hold(event.raw, Vec::new());
        }
        let Some(pieces) = answer_text::of_event(self.protocol, &data) else {
            return self.unreadable(event.raw, UNREADABLE);
        };
        let texts = pieces.iter().map(|(choice, text)| (*choice, text.len())).collect();
        for (choice, text) in pieces {
            let verdict = self.watch.text(choice, &text);
            self.follow(Some(choice), verdict);
        }
        self.hold(event.raw, texts);
        if self.held_bytes > self.limit {
            self.fail(TOO_MUCH);
        }
    }

    fn hold(&mut self, raw: Bytes, texts: Vec<(u64, usize)>) {
        if self.is_cut {
            return;
        }
        for (choice, bytes) in &texts {
            self.waiting.entry(*choice).or_default().text += bytes;
        }
        self.held_bytes += raw.len();
        self.held.push_back(Held { raw, texts, since: Instant::now() });
        self.release();
    }

    fn follow(&mut self, choice: Option<u64>, verdict: OutputVerdict) {
        match (verdict, choice) {
            (OutputVerdict::Cut(word), _) => self.cut(&word),
            (OutputVerdict::Release { but_last }, Some(choice)) => {
                self.waiting.entry(choice).or_default().must = but_last;
            }
            (OutputVerdict::Release { .. }, None) => {
                for waiting in self.waiting.values_mut() {
                    waiting.must = 0;
                }
                self.release();
            }
        }
    }

    /// Lets go what may go, in order.
    fn release(&mut self) {
        while let Some(first) = self.held.front() {
            let must_wait = first.texts.iter().any(|(choice, bytes)| {
                let waiting = self.waiting.get(choice).copied().unwrap_or_default();
                waiting.text.saturating_sub(*bytes) < waiting.must
            });
            if must_wait && self.acting == Acting::Really {
                return;
            }
            self.let_go();
        }
    }

    fn let_go(&mut self) -> Option<usize> {
        let held = self.held.pop_front()?;
        for (choice, bytes) in held.texts {
            if let Some(waiting) = self.waiting.get_mut(&choice) {
                waiting.text = waiting.text.saturating_sub(bytes);
            }
        }
        let bytes = held.raw.len();
        self.held_bytes -= bytes;
        self.held_back = self.held_back.max(held.since.elapsed());
        self.ready.push_back(held.raw);
        Some(bytes)
    }

    /// The check cannot do its work on what is held.
    fn fail(&mut self, word: &'static str) {
        if self.on_failure == OnFailure::Closed {
            return self.cut(word);
        }
        while let Some(bytes) = self.let_go() {
            self.unchecked += bytes as u64;
        }
    }

    /// Something that the check cannot be shown.
    fn unreadable(&mut self, raw: Bytes, word: &'static str) {
        if self.on_failure == OnFailure::Closed {
            self.cut(word);
        }
        self.unchecked += raw.len() as u64;
        self.hold(raw, Vec::new());
    }

    fn cut(&mut self, word: &str) {
        if self.cut_by.is_none() {
            self.cut_by = Some(word.to_owned());
        }
        if self.acting == Acting::Really && !self.is_cut {
            self.is_cut = true;
            self.held.clear();
            self.held_bytes = 0;
            self.ready.push_back(Bytes::from(Refusal::blocked_output().event(self.protocol)));
        }
    }

    /// The upstream has said all.
    fn end(&mut self) {
        if self.is_cut {
            return;
        }
        let rest = self.splitter.rest();
        if !rest.is_empty() {
            // An event that is not complete counts for nobody, but its bytes would be given.
            self.unreadable(rest, UNREADABLE);
        }
        let verdict = self.watch.end();
        self.follow(None, verdict);
        while self.let_go().is_some() {}
    }

    /// Checks a whole answer that does not stream: whether it may be given.
    pub(crate) fn whole(&mut self, body: &[u8]) -> bool {
        let pieces = if body.len() > self.limit { None } else { answer_text::of_answer(body) };
        let Some(pieces) = pieces else {
            let word = if body.len() > self.limit { TOO_MUCH } else { UNREADABLE };
            return self.whole_unchecked(body.len(), word);
        };
        for (choice, text) in pieces {
            let verdict = self.watch.text(choice, &text);
            self.follow(Some(choice), verdict);
        }
        let verdict = self.watch.end();
        self.follow(None, verdict);
        !self.is_cut
    }
}

impl Checking {
    /// A whole answer cannot be checked: whether it may be given all the same.
    pub(crate) fn whole_unchecked(&mut self, bytes: usize, word: &'static str) -> bool {
        if self.on_failure == OnFailure::Closed {
            self.cut(word);
        }
        if !self.is_cut {
            self.unchecked += bytes as u64;
        }
        !self.is_cut
    }
}

/// The body of such an answer.
pub(crate) struct HoldBack {
    source: Option<Source>,
    checking: Checking,
    leaving: Leaving,
    done: Option<Done>,
    /// How it ended, once nothing more comes.
    ended: Option<Ended>,
    /// What goes wrong after all that is ready has been given.
    error: Option<RelayError>,
}

impl HoldBack {
    pub(crate) fn new(source: Source, checking: Checking, leaving: Leaving, done: Done) -> Self {
        Self { source: Some(source), checking, leaving, done: Some(done), ended: None, error: None }
    }

    fn finish(&mut self, ended: Ended) {
        self.ended = Some(ended);
        // Dropping the source closes the connection, if it has not ended: the model need not go on.
        if let (Some(source), Some(done)) = (self.source.take(), self.done.take()) {
            done(outcome(&source, &self.checking, ended));
        }
    }
}

fn outcome(source: &Source, checking: &Checking, ended: Ended) -> crate::relay::Outcome {
    let mut outcome = source.outcome(ended, checking.unchecked);
    outcome.cut_by.clone_from(&checking.cut_by);
    outcome.held_back = checking.held_back;
    outcome
}

impl Body for HoldBack {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let held = self.get_mut();
        loop {
            if let Some(bytes) = held.checking.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if held.ended.is_some() {
                return Poll::Ready(held.error.take().map(Err));
            }
            let Some(source) = &mut held.source else { return Poll::Ready(None) };
            match ready!(source.poll(context)) {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        held.checking.piece(piece);
                    }
                    if held.checking.is_cut {
                        held.finish(Ended::Cut);
                    }
                }
                Some(Err(error)) => {
                    let ended = source.ended().unwrap_or(Ended::BrokenOff);
                    // What is held was not let go, and never will be.
                    if held.checking.on_failure == OnFailure::Open {
                        held.checking.fail(UNREADABLE);
                    }
                    held.error = Some(error);
                    held.finish(ended);
                }
                None => {
                    held.checking.end();
                    let ended = if held.checking.is_cut { Ended::Cut } else { Ended::Complete };
                    held.finish(ended);
                }
            }
        }
    }
}

impl Drop for HoldBack {
    fn drop(&mut self) {
        let (Some(source), Some(done)) = (self.source.take(), self.done.take()) else { return };
        let ended = outcome(&source, &self.checking, Ended::ClientLeft);
        self.leaving.leave(source, ended, done);
    }
}
