//! Requests on their way through the model's thread.

use std::sync::Arc;

use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ChatResponse, ModelError, Sampling, TextScore};
use tokio::sync::{mpsc, oneshot};

use super::direct::Piece;
use super::echo::EchoedToken;

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
            #[cfg(test)]
            Self::Panic => {}
        }
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prompt: Arc<Prompt>,
    pub(super) work: Work,
}

/// What requests share that are served together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupKey {
    context: ContentId,
    system: Option<Arc<str>>,
}

impl Job {
    pub(super) fn key(&self) -> GroupKey {
        match &self.work {
            Work::Watch(work) => GroupKey { context: work.head, system: None },
            // Served alone.
            Work::Echo(_) => {
                GroupKey { context: Canonical::new("tiltmeter.local.echo/1").finish(), system: None }
            }
            _ => GroupKey { context: self.prompt.context.id, system: self.prompt.system.clone() },
        }
    }
}

/// A request whose prompt is tokens.
#[derive(Debug)]
pub(super) struct Ready<W> {
    /// The prompt; never empty.
    pub(super) tokens: Arc<[u32]>,
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

/// Brings requests with the same prompt together, in the order of the first of each. Prompts are the same where they
/// are the same memory: the worker remembers the tokens of recent ones.
pub(super) fn by_prompt<W>(jobs: Vec<Ready<W>>) -> Vec<(Arc<[u32]>, Vec<W>)> {
    let mut groups: Vec<(Arc<[u32]>, Vec<W>)> = Vec::new();
    for job in jobs {
        match groups.iter_mut().find(|(tokens, _)| Arc::ptr_eq(tokens, &job.tokens)) {
            Some((_, works)) => works.push(job.work),
            None => groups.push((job.tokens, vec![job.work])),
        }
    }
    groups
}
