//! The texts of an answer as it passes, up to a number of bytes, whichever way it comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::answer_parts::{AnswerKind, Parts, Unreadable};
use crate::answer_text;
use crate::conversation::Protocol;
use crate::output::{Piece, PieceKind};

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
    parts: Parts,
    gathered: Gathered,
}

impl Gatherer {
    /// For an answer that streams, or does not.
    pub(crate) fn new(protocol: Protocol, kind: AnswerKind, room: usize) -> Self {
        Self { protocol, room, parts: Parts::new(kind), gathered: Gathered::default() }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for event in self.parts.push(bytes) {
            self.event(&event);
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
        match self.parts.end() {
            Ok(None) => {}
            Ok(Some(body)) => match answer_text::of_answer(&body) {
                Some(pieces) => self.add(&pieces),
                None => self.gathered.is_unreadable = true,
            },
            Err(Unreadable) => self.gathered.is_unreadable = true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer_parts::LARGEST_PART;

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
