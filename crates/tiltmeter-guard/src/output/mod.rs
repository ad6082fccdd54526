//! What looks at answers, while they come. The gateway knows checks by this alone.

mod pattern;

use std::borrow::Cow;

pub use pattern::PatternCheck;

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
}

/// A check of answers.
pub trait OutputCheck: Send + Sync {
    /// Begins with an answer.
    fn begin(&self) -> Box<dyn OutputWatch>;
}

/// Looks at one answer. It is called in the middle of a stream and must not wait: what takes longer than about a
/// millisecond belongs elsewhere.
pub trait OutputWatch: Send {
    /// Sees the next piece of text of one of the answer's choices: what is said, what is thought, arguments of tools.
    fn text(&mut self, choice: u64, text: &str) -> OutputVerdict;

    /// The answer is at its end: what is not cut now is released.
    fn end(&mut self) -> OutputVerdict;
}
