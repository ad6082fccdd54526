//! The texts of an answer as it passes, up to a number of bytes, whichever way it comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::answer_text;
use crate::conversation::Protocol;
use crate::output::{Piece, PieceKind};
use crate::sse::Splitter;

/// The most bytes of an answer that does not stream, or of one event.
const LARGEST_PART: usize = 1 << 20;

/// The texts of one of an answer's choices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) said: String,
    pub(crate) thought: String,
    /// Whether there was more than is kept.
    pub(crate) is_truncated: bool,
}

impl Texts {
    /// Adds a piece, as far as there is room for it.
    pub(crate) fn add(&mut self, piece: &Piece, room: usize) {
        let text = match piece.kind {
            PieceKind::Said => &mut self.said,
            PieceKind::Thought => &mut self.thought,
        };
        let room = room.saturating_sub(text.len());
        let fits = piece.text.floor_char_boundary(room);
        self.is_truncated |= fits < piece.text.len();
        text.push_str(piece.text.get(..fits).unwrap_or_default());
    }
}

/// What there is of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// By choice.
    pub(crate) answers: BTreeMap<u64, Texts>,
    /// Whether its end was seen.
    pub(crate) is_whole: bool,
    /// Whether parts of it could not be read.
    pub(crate) is_unreadable: bool,
}

/// Gathers the texts of one answer.
#[derive(Debug)]
pub(crate) struct Gatherer {
    protocol: Protocol,
    /// Bytes of each choice's words, and of its thoughts.
    room: usize,
    shape: Shape,
    gathered: Gathered,
}

#[derive(Debug)]
enum Shape {
    Stream(Splitter),
    Whole(Vec<u8>),
    /// What it is cannot be read, or is too large.
    Unreadable,
}

impl Gatherer {
    /// For an answer that streams, or does not.
    pub(crate) fn new(protocol: Protocol, kind: AnswerKind, room: usize) -> Self {
        let shape = match kind {
            AnswerKind::Stream => Shape::Stream(Splitter::default()),
            AnswerKind::Whole => Shape::Whole(Vec::new()),
            AnswerKind::Encoded => Shape::Unreadable,
        };
        Self { protocol, room, shape, gathered: Gathered::default() }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match &mut self.shape {
            Shape::Unreadable => {}
            Shape::Whole(body) if body.len() + bytes.len() <= LARGEST_PART => body.extend_from_slice(bytes),
            Shape::Stream(splitter) => {
                splitter.push(bytes);
                let mut events = Vec::new();
                while let Some(event) = splitter.next() {
                    events.extend(event.data());
                }
                if splitter.waiting() > LARGEST_PART {
                    self.shape = Shape::Unreadable;
                }
                for data in events {
                    self.event(&data);
                }
            }
            Shape::Whole(_) => self.shape = Shape::Unreadable,
        }
    }

    fn event(&mut self, data: &str) {
        if answer_text::is_last(self.protocol, data) {
            self.gathered.is_whole = true;
            return;
        }
        match answer_text::of_event(self.protocol, data) {
            Some(pieces) => self.add(&pieces),
            None => self.gathered.is_unreadable = true,
        }
    }

    fn add(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            let choice = choice_of(self.protocol, piece);
            self.gathered.answers.entry(choice).or_default().add(piece, self.room);
        }
    }

    /// What there is; `is_whole` says that the answer came to its end.
    pub(crate) fn end(&mut self, is_whole: bool) -> Gathered {
        match std::mem::replace(&mut self.shape, Shape::Unreadable) {
            Shape::Stream(_) => {}
            Shape::Whole(body) => match answer_text::of_answer(&body) {
                Some(pieces) => self.add(&pieces),
                None => self.gathered.is_unreadable = true,
            },
            Shape::Unreadable => self.gathered.is_unreadable = true,
        }
        self.gathered.is_whole |= is_whole;
        std::mem::take(&mut self.gathered)
    }
}

/// A gatherer that the answer's source fills, and that is asked once the answer has ended.
#[derive(Clone, Debug)]
pub(crate) struct SharedGatherer(Arc<Mutex<Gatherer>>);

impl SharedGatherer {
    pub(crate) fn new(gatherer: Gatherer) -> Self {
        Self(Arc::new(Mutex::new(gatherer)))
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }

    pub(crate) fn end(&self, is_whole: bool) -> Gathered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end(is_whole)
    }
}

/// Which answer a piece is of. Only chat completions have several; parts of others are numbered too.
pub(crate) fn choice_of(protocol: Protocol, piece: &Piece) -> u64 {
    if protocol == Protocol::ChatCompletions { piece.choice } else { 0 }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"café \"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é one\"}}]}\n\n\
        data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"two\"}}]}\n\ndata: [DONE]\n\n";

    fn texts(said: &str, thought: &str, is_truncated: bool) -> Texts {
        Texts { said: said.to_owned(), thought: thought.to_owned(), is_truncated }
    }

    #[test]
    fn a_stream_is_gathered_wherever_it_is_split() {
        for at in 0..=STREAM.len() {
            let mut gatherer = Gatherer::new(Protocol::ChatCompletions, AnswerKind::Stream, 100);
            let (first, second) = STREAM.as_bytes().split_at(at);
            gatherer.push(first);
            gatherer.push(second);
            let gathered = gatherer.end(false);
            assert_eq!(gathered.answers[&0], texts("é one", "café ", false), "split at {at}");
            assert_eq!(gathered.answers[&1], texts("two", "", false));
            assert!(gathered.is_whole && !gathered.is_unreadable);
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_left_out_and_said() {
        let mut gatherer = Gatherer::new(Protocol::ChatCompletions, AnswerKind::Stream, 1);
        gatherer.push(STREAM.as_bytes());
        let gathered = gatherer.end(true);
        // Two bytes of a character are never parted.
        assert_eq!(gathered.answers[&0], texts("", "c", true));
        let mut gatherer = Gatherer::new(Protocol::Messages, AnswerKind::Whole, 100);
        gatherer.push(&vec![b' '; LARGEST_PART]);
        gatherer.push(b"{}");
        assert!(gatherer.end(true).is_unreadable);
    }

    #[test]
    fn parts_of_one_answer_are_one_text() {
        let mut gatherer = Gatherer::new(Protocol::Messages, AnswerKind::Whole, 100);
        gatherer.push(br#"{"content":[{"type":"thinking","thinking":"t"},{"type":"text","text":"a"},"#);
        gatherer.push(br#"{"type":"text","text":"b"}]}"#);
        assert_eq!(gatherer.end(true).answers[&0], texts("ab", "t", false));
        for (kind, body) in [(AnswerKind::Whole, "no json"), (AnswerKind::Encoded, "{}")] {
            let mut gatherer = Gatherer::new(Protocol::Messages, kind, 100);
            gatherer.push(body.as_bytes());
            assert!(gatherer.end(true).is_unreadable, "{body}");
        }
    }
}
