//! What the check of an answer has come to, and what of the answer waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use crate::answer_text;
use crate::config::OutputSettings;
use crate::config::file::OnFailure;
use crate::conversation::Protocol;
use crate::judging::Judgement;
use crate::output::{AnswerTo, Asked, AskedVerdict, Asking, OutputVerdict, OutputWatch};
use crate::refusal::Refusal;
use crate::relay::Outcome;
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
    pub(super) watch: Box<dyn OutputWatch>,
    protocol: Protocol,
    limit: usize,
    pub(super) on_failure: OnFailure,
    acting: Acting,
    splitter: Splitter,
    held: VecDeque<Held>,
    held_bytes: usize,
    waiting: BTreeMap<u64, Waiting>,
    pub(super) ready: VecDeque<Bytes>,
    /// Somebody is being asked: nothing further is looked at meanwhile.
    pub(super) asking: Option<Asking>,
    /// The check wants to ask, once all that came with the last piece of text is there.
    wants_to_ask: bool,
    /// What came of asking.
    pub(crate) judgements: Vec<Judgement>,
    /// Bytes that were given without the check having let them go.
    pub(crate) unchecked: u64,
    /// The longest that an event waited.
    pub(crate) held_back: Duration,
    /// The word of whoever cut the answer, or would have.
    pub(crate) cut_by: Option<String>,
    pub(super) is_cut: bool,
}

impl Checking {
    pub(crate) fn new(settings: &OutputSettings, to: &AnswerTo, acting: Acting) -> Self {
        Self {
            watch: settings.check.begin(to),
            protocol: to.protocol,
            limit: settings.hold_back,
            on_failure: settings.on_failure,
            acting,
            splitter: Splitter::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            asking: None,
            wants_to_ask: false,
            judgements: Vec::new(),
            unchecked: 0,
            held_back: Duration::ZERO,
            cut_by: None,
            is_cut: false,
        }
    }

    pub(super) fn piece(&mut self, piece: &Bytes) {
        self.splitter.push(piece);
        self.go_on();
    }

    /// Looks at what has come, until somebody has to be asked.
    pub(super) fn go_on(&mut self) {
        while !self.is_cut
            && self.asking.is_none()
            && let Some(event) = self.splitter.next()
        {
            self.event(event);
        }
        if !self.is_cut && self.asking.is_none() && self.splitter.waiting() > self.limit {
            let rest = self.splitter.rest();
            self.unreadable(rest, TOO_MUCH);
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        let Some(data) = event.data() else { return self.hold(event.raw, Vec::new()) };
        if answer_text::is_last(self.protocol, &data) {
            let verdict = self.watch.end();
            self.follow(None, verdict);
            self.hold(event.raw, Vec::new());
            return self.ask();
        }
        let Some(pieces) = answer_text::of_event(self.protocol, &data) else {
            return self.unreadable(event.raw, UNREADABLE);
        };
        let texts = pieces.iter().map(|piece| (piece.choice, piece.text.len())).collect();
        for piece in pieces {
            let verdict = self.watch.text(&piece);
            self.follow(Some(piece.choice), verdict);
        }
        self.hold(event.raw, texts);
        if self.held_bytes > self.limit {
            if self.watch.asks_when_full() {
                self.wants_to_ask = true;
            } else {
                self.fail(TOO_MUCH);
            }
        }
        self.ask();
    }

    /// Begins to ask, where the check wants to. Where nothing is held back, that waits for the answer's end.
    pub(super) fn ask(&mut self) {
        if std::mem::take(&mut self.wants_to_ask) && !self.is_cut && self.acting == Acting::Really {
            self.asking = Some(self.watch.ask());
        }
    }

    /// Follows what came of asking.
    pub(super) fn answered(&mut self, asked: Asked) {
        self.asking = None;
        self.judgements.extend(asked.judgements);
        match asked.verdict {
            AskedVerdict::Release => while self.let_go().is_some() {},
            AskedVerdict::Cut(word) => self.cut(&word),
            AskedVerdict::Failed(word) => self.fail(word),
        }
    }

    pub(super) fn hold(&mut self, raw: Bytes, texts: Vec<(u64, usize)>) {
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

    pub(super) fn follow(&mut self, choice: Option<u64>, verdict: OutputVerdict) {
        match (verdict, choice) {
            (OutputVerdict::Cut(word), _) => self.cut(&word),
            (OutputVerdict::Ask, _) => self.wants_to_ask = true,
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
    pub(super) fn release(&mut self) {
        while let Some(first) = self.held.front() {
            let must_wait = first.texts.iter().any(|(choice, bytes)| {
                let waiting = self.waiting.get(choice).copied().unwrap_or_default();
                waiting.text.saturating_sub(*bytes) < waiting.must
            });
            // What comes behind the last text, such as the end marker, goes with it.
            if (must_wait || self.wants_to_ask) && self.acting == Acting::Really {
                return;
            }
            self.let_go();
        }
    }

    pub(super) fn let_go(&mut self) -> Option<usize> {
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
    pub(super) fn fail(&mut self, word: &'static str) {
        if self.on_failure == OnFailure::Closed {
            return self.cut(word);
        }
        while let Some(bytes) = self.let_go() {
            self.unchecked += bytes as u64;
        }
    }

    /// Something that the check cannot be shown.
    pub(super) fn unreadable(&mut self, raw: Bytes, word: &'static str) {
        if self.on_failure == OnFailure::Closed {
            self.cut(word);
        }
        self.unchecked += raw.len() as u64;
        self.hold(raw, Vec::new());
    }

    pub(super) fn cut(&mut self, word: &str) {
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
    pub(super) fn end(&mut self) {
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
        self.ask();
        if self.asking.is_none() {
            while self.let_go().is_some() {}
        }
    }

    /// Checks a whole answer that does not stream: whether it may be given. Where nothing is acted upon, whoever has to be
    /// asked is asked behind it: see [`Checking::conclude`].
    pub(crate) async fn whole(&mut self, body: &[u8]) -> bool {
        let pieces = if body.len() > self.limit { None } else { answer_text::of_answer(body) };
        let Some(pieces) = pieces else {
            let word = if body.len() > self.limit { TOO_MUCH } else { UNREADABLE };
            return self.whole_unchecked(body.len(), word);
        };
        for piece in pieces {
            let verdict = self.watch.text(&piece);
            self.follow(Some(piece.choice), verdict);
        }
        let verdict = self.watch.end();
        self.follow(None, verdict);
        self.ask();
        if let Some(asking) = self.asking.take() {
            let asked = asking.await;
            self.judgements.extend(asked.judgements);
            match asked.verdict {
                AskedVerdict::Release => {}
                AskedVerdict::Cut(word) => self.cut(&word),
                AskedVerdict::Failed(word) => return self.whole_unchecked(body.len(), word),
            }
        }
        !self.is_cut
    }

    /// Tells how the answer ended. Where nothing is acted upon, what is left to find out is found out before that, behind
    /// the answer.
    pub(crate) fn conclude(
        &mut self,
        mut outcome: Outcome,
        tasks: &TaskTracker,
        tell: impl FnOnce(Outcome) + Send + 'static,
    ) {
        let is_wanted = self.acting == Acting::DryRun && !self.is_cut;
        if !is_wanted || self.watch.end() != OutputVerdict::Ask {
            return tell(outcome);
        }
        let (asking, on_failure) = (self.watch.ask(), self.on_failure);
        tasks.spawn(async move {
            let asked = asking.await;
            outcome.judgements.extend(asked.judgements);
            let word = match asked.verdict {
                AskedVerdict::Release => None,
                AskedVerdict::Cut(word) => Some(word.into_owned()),
                AskedVerdict::Failed(word) => (on_failure == OnFailure::Closed).then(|| word.to_owned()),
            };
            outcome.cut_by = outcome.cut_by.take().or(word);
            tell(outcome);
        });
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
