//! The parts that an answer can be read in: its events, or the whole of it.

use crate::sse::Splitter;

/// The most bytes of an answer that does not stream, or of one event.
pub(crate) const LARGEST_PART: usize = 1 << 20;

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    /// In events.
    Stream,
    /// In one piece.
    Whole,
    /// Compressed: it cannot be read.
    Encoded,
}

/// What it is cannot be read, or is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Finds the parts of an answer in the pieces that it comes in.
#[derive(Debug)]
pub(crate) enum Parts {
    Stream(Splitter),
    Whole(Vec<u8>),
    Unreadable,
}

impl Parts {
    pub(crate) fn new(kind: AnswerKind) -> Self {
        match kind {
            AnswerKind::Stream => Self::Stream(Splitter::default()),
            AnswerKind::Whole => Self::Whole(Vec::new()),
            AnswerKind::Encoded => Self::Unreadable,
        }
    }

    /// Takes the next bytes, and gives the data of the events that end in them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        match self {
            Self::Unreadable => {}
            Self::Whole(body) if body.len() + bytes.len() <= LARGEST_PART => body.extend_from_slice(bytes),
            Self::Stream(splitter) => {
                splitter.push(bytes);
                while let Some(event) = splitter.next() {
                    events.extend(event.data());
                }
                if splitter.waiting() > LARGEST_PART {
                    *self = Self::Unreadable;
                }
            }
            Self::Whole(_) => *self = Self::Unreadable,
        }
        events
    }

    /// The body of an answer that does not stream, once it has ended.
    ///
    /// # Errors
    /// Where parts of the answer could not be read.
    pub(crate) fn end(&mut self) -> Result<Option<Vec<u8>>, Unreadable> {
        match std::mem::replace(self, Self::Unreadable) {
            Self::Stream(_) => Ok(None),
            Self::Whole(body) => Ok(Some(body)),
            Self::Unreadable => Err(Unreadable),
        }
    }
}
