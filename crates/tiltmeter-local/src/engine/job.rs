//! Requests on their way through the model's thread.

use std::sync::Arc;

use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ChatResponse, ModelError, Sampling, TextScore};
use tokio::sync::{mpsc, oneshot};

use super::direct::Piece;
use super::echo::EchoedToken;

use crate::taps::{HiddenStates, Intervention, Tap};

/// Where an answer goes. Closed when the caller has gone.
pub(super) type Reply<T> = oneshot::Sender<Result<T, ModelError>>;

/// What is asked for.
#[derive(Debug)]
pub(super) enum Work {
    Chat {
        sampling: Sampling,
        reply: Reply<ChatResponse>,
    },
    Score {
        continuation: Arc<str>,
        reply: Reply<TextScore>,
    },
    /// An answer to a prompt of tokens, told of as it is drawn.
    Watch(Box<WatchWork>),
    /// Log-probabilities of a text's own tokens.
    Echo(EchoWork),
    Read {
        /// The answer; may be empty.
        continuation: Arc<str>,
        taps: Arc<[Tap]>,
        reply: Reply<HiddenStates>,
    },
    /// Makes the thread panic, to test what callers then see.
    #[cfg(test)]
    Panic,
}

/// An answer to draw from a prompt of tokens.
#[derive(Debug)]
pub(super) struct WatchWork {
    pub(super) tokens: Arc<[u32]>,
    /// What it shares with others that are served together.
    pub(super) head: ContentId,
    pub(super) sampling: Sampling,
    /// For the generator.
    pub(super) seed: u64,
    pub(super) pieces: Option<mpsc::UnboundedSender<Piece>>,
    pub(super) reply: Reply<ChatResponse>,
}

/// A text whose tokens are asked about.
#[derive(Debug)]
pub(super) struct EchoWork {
    pub(super) tokens: Arc<[u32]>,
    /// Likeliest tokens to tell of at each place.
    pub(super) most: usize,
    pub(super) reply: Reply<Vec<EchoedToken>>,
}

impl Work {
    /// Whether the caller has gone, so that nothing needs to be done.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Chat { reply, .. } => reply.is_closed(),
            Self::Score { reply, .. } => reply.is_closed(),
            Self::Watch(work) => work.reply.is_closed(),
            Self::Echo(work) => work.reply.is_closed(),
            Self::Read { reply, .. } => reply.is_closed(),
            #[cfg(test)]
            Self::Panic => false,
        }
    }

    /// Replies with an error.
    pub(super) fn fail(self, error: ModelError) {
        // The caller may have gone, which is fine.
        match self {
            Self::Chat { reply, .. } => drop(reply.send(Err(error))),
            Self::Score { reply, .. } => drop(reply.send(Err(error))),
            Self::Watch(work) => drop(work.reply.send(Err(error))),
            Self::Echo(work) => drop(work.reply.send(Err(error))),
            Self::Read { reply, .. } => drop(reply.send(Err(error))),
            #[cfg(test)]
            Self::Panic => {}
        }
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prompt: Arc<Prompt>,
    /// What is done to the residual stream meanwhile.
    pub(super) intervention: Option<Arc<Intervention>>,
    pub(super) work: Work,
}

/// What requests share that are served together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupKey {
    context: ContentId,
    system: Option<Arc<str>>,
    /// What the context's keys and values are computed under.
    pub(super) under: Option<ContentId>,
}

impl Job {
    pub(super) fn key(&self) -> GroupKey {
        let (context, system) = match &self.work {
            Work::Watch(work) => (work.head, None),
            // Served alone.
            Work::Echo(_) => (Canonical::new("tiltmeter.local.echo/1").finish(), None),
            _ => (self.prompt.context.id, self.prompt.system.clone()),
        };
        GroupKey {
            context,
            system,
            under: self.intervention.as_ref().and_then(|intervention| intervention.prefix_id()),
        }
    }
}

/// A request whose prompt is tokens.
#[derive(Debug)]
pub(super) struct Ready<W> {
    /// The prompt; never empty.
    pub(super) tokens: Arc<[u32]>,
    pub(super) intervention: Option<Arc<Intervention>>,
    pub(super) work: W,
}

/// A text to score.
#[derive(Debug)]
pub(super) struct ScoreWork {
    /// Never empty.
    pub(super) continuation: Vec<u32>,
    pub(super) reply: Reply<TextScore>,
}

/// An answer to draw.
#[derive(Debug)]
pub(super) struct ChatWork {
    pub(super) sampling: Sampling,
    /// For the generator.
    pub(super) seed: u64,
    /// The most tokens that are drawn: as asked, and as fit behind the prompt.
    pub(super) room: usize,
    /// Told of each token.
    pub(super) pieces: Option<mpsc::UnboundedSender<Piece>>,
    pub(super) reply: Reply<ChatResponse>,
}

/// Hidden states to read.
#[derive(Debug)]
pub(super) struct ReadWork {
    pub(super) continuation: Vec<u32>,
    pub(super) taps: Arc<[Tap]>,
    pub(super) reply: Reply<HiddenStates>,
}

/// Requests of one group, by what is asked for.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) scores: Vec<Ready<ScoreWork>>,
    pub(super) chats: Vec<Ready<ChatWork>>,
    pub(super) reads: Vec<Ready<ReadWork>>,
}

impl Taken {
    pub(super) fn len(&self) -> usize {
        self.scores.len() + self.chats.len() + self.reads.len()
    }

    /// The prompts.
    pub(super) fn prompts(&self) -> Vec<Arc<[u32]>> {
        let scores = self.scores.iter().map(|job| &job.tokens);
        let chats = self.chats.iter().map(|job| &job.tokens);
        scores.chain(chats).chain(self.reads.iter().map(|job| &job.tokens)).cloned().collect()
    }

    /// Some request's intervention: for what they share, all are the same.
    pub(super) fn intervention(&self) -> Option<Arc<Intervention>> {
        let scores = self.scores.iter().map(|job| &job.intervention);
        let chats = self.chats.iter().map(|job| &job.intervention);
        scores.chain(chats).chain(self.reads.iter().map(|job| &job.intervention)).next().cloned().flatten()
    }

    /// Whether anybody still waits.
    pub(super) fn is_waited_for(&self) -> bool {
        self.scores.iter().any(|job| !job.work.reply.is_closed())
            || self.chats.iter().any(|job| !job.work.reply.is_closed())
            || self.reads.iter().any(|job| !job.work.reply.is_closed())
    }
}

/// What requests with the same prompt share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) tokens: Arc<[u32]>,
    pub(super) intervention: Option<Arc<Intervention>>,
}

/// Brings requests with the same prompt and intervention together, in the order of the first of each. Prompts are the
/// same where they are the same memory: the worker remembers the tokens of recent ones.
pub(super) fn by_prompt<W>(jobs: Vec<Ready<W>>) -> Vec<(Shared, Vec<W>)> {
    let mut groups: Vec<(Shared, Vec<W>)> = Vec::new();
    for Ready { tokens, intervention, work } in jobs {
        let id = |of: &Option<Arc<Intervention>>| of.as_ref().map(|intervention| intervention.id());
        let is_same = |shared: &Shared| {
            Arc::ptr_eq(&shared.tokens, &tokens) && id(&shared.intervention) == id(&intervention)
        };
        match groups.iter_mut().find(|(shared, _)| is_same(shared)) {
            Some((_, works)) => works.push(work),
            None => groups.push((Shared { tokens, intervention }, vec![work])),
        }
    }
    groups
}
