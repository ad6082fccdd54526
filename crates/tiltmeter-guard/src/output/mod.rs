//! What looks at answers, while they come. The gateway knows checks by this alone.

mod judge;
mod pattern;

use std::borrow::Cow;
use std::pin::Pin;

pub use judge::{JudgeCheck, JudgeCheckFile};
pub use pattern::PatternCheck;

use crate::conversation::Protocol;
use crate::judging::{Judgement, Question};

/// What a text of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PieceKind {
    /// What is said, arguments of tools included.
    Said,
    /// What is thought: reasoning, or a summary of it.
    Thought,
}

/// A piece of text of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which of the answer's choices it is of; where there is one, parts of it may be numbered.
    pub choice: u64,
    /// What it is.
    pub kind: PieceKind,
    /// The text, never empty.
    pub text: String,
}

/// What a check says of what it has seen so far of a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputVerdict {
    /// All of it may go to the client but its end: so many bytes of text must wait for what follows. 0 holds nothing back,
    /// [`usize::MAX`] everything.
    Release {
        /// Bytes of text.
        but_last: usize,
    },
    /// Nothing that is held back, and nothing further, may go to the client. The word is logged: it is fixed and says nothing of
    /// the answer.
    Cut(Cow<'static, str>),
    /// It cannot say at once: everything waits for what [`OutputWatch::ask`] gives.
    Ask,
}

/// What a check says that had to ask somebody.
#[derive(Clone, Debug, PartialEq)]
pub enum AskedVerdict {
    /// All that it had seen may go to the client.
    Release,
    /// As [`OutputVerdict::Cut`].
    Cut(Cow<'static, str>),
    /// It could not find out: what the configuration says of failures is done. The word is logged.
    Failed(&'static str),
}

/// What came of asking.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is to be done.
    pub verdict: AskedVerdict,
    /// Why, for the record.
    pub judgements: Vec<Judgement>,
}

/// Somebody is being asked.
pub type Asking = Pin<Box<dyn Future<Output = Asked> + Send>>;

/// What an answer is an answer to.
#[derive(Clone, Debug)]
pub struct AnswerTo {
    /// The protocol that it is given in.
    pub protocol: Protocol,
    /// The question; there is none where the check does not [want it](OutputCheck::wants_question).
    pub question: Question,
}

/// A check of answers.
pub trait OutputCheck: Send + Sync {
    /// Begins with an answer.
    fn begin(&self, to: &AnswerTo) -> Box<dyn OutputWatch>;

    /// Whether it looks at the question too, which then is read from the request.
    fn wants_question(&self) -> bool {
        false
    }
}

/// Looks at one answer. It is called in the middle of a stream and must not wait: what takes longer than about a
/// millisecond is asked for by [`OutputVerdict::Ask`].
pub trait OutputWatch: Send {
    /// Sees the next piece of text.
    fn text(&mut self, piece: &Piece) -> OutputVerdict;

    /// The answer is at its end: what is not cut now is released. It may be told so twice.
    fn end(&mut self) -> OutputVerdict;

    /// No more may be held back: whether to ask about what there is. Otherwise it has failed.
    fn asks_when_full(&self) -> bool {
        false
    }

    /// Nobody waits any more for what was asked: what is recorded of it.
    fn give_up(&mut self) -> Vec<Judgement> {
        Vec::new()
    }

    /// Finds out what [`OutputVerdict::Ask`] left open, from all that it has seen so far. No text is shown to it meanwhile.
    fn ask(&mut self) -> Asking {
        let verdict = AskedVerdict::Failed("nobody-to-ask");
        Box::pin(std::future::ready(Asked { verdict, judgements: Vec::new() }))
    }
}
