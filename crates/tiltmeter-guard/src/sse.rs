//! Events of a stream, found in pieces that may be split anywhere. No byte is lost or changed: the raw events, one after
//! the other, are the stream.

use bytes::{Bytes, BytesMut};

/// An event as it came, with the empty line at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) raw: Bytes,
}

impl Event {
    /// The lines of its data, joined; `None` where it has none, or it is no text.
    pub(crate) fn data(&self) -> Option<String> {
        let text = std::str::from_utf8(&self.raw).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut data: Option<String> = None;
        for line in text.split(['\r', '\n']) {
            let Some(value) =
                line.strip_prefix("data").filter(|rest| rest.is_empty() || rest.starts_with(':'))
            else {
                continue;
            };
            let value = value.strip_prefix(':').unwrap_or(value);
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                None => data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            }
        }
        data
    }
}

/// Splits a stream into events.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: BytesMut,
    /// How much of the buffer was looked at.
    seen: usize,
    /// Whether the line that is being read has anything in it.
    has_line: bool,
    /// Whether the last byte was a carriage return, which a line feed may belong to.
    was_return: bool,
}

impl Splitter {
    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next event that is complete. It is given as soon as its empty line is there; a line feed after a carriage return
    /// that ended it comes with the event after it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        while let Some(byte) = self.buffer.get(self.seen) {
            let byte = *byte;
            self.seen += 1;
            let is_second_half = byte == b'\n' && self.was_return;
            self.was_return = byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\r' | b'\n' if self.has_line => self.has_line = false,
                b'\r' | b'\n' => {
                    let raw = self.buffer.split_to(self.seen).freeze();
                    self.seen = 0;
                    return Some(Event { raw });
                }
                _ => self.has_line = true,
            }
        }
        None
    }

    /// How much waits for its event to be complete.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// What is left at the end of the stream, or where no more is to be split.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.seen = 0;
        self.buffer.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> (Vec<Event>, Vec<u8>) {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.push(piece);
            while let Some(event) = splitter.next() {
                events.push(event);
            }
        }
        let rest = splitter.rest().to_vec();
        (events, rest)
    }

    #[test]
    fn data_is_that_of_the_standard() {
        let stream =
            "\u{feff}data: a\n\nevent: x\r\ndata:b\r\ndata:  c\r\n\r\n: note\rdata\r\rid: 1\n\ndatax: no\n\n";
        let (events, rest) = split(&[stream.as_bytes()]);
        let data: Vec<Option<String>> = events.iter().map(Event::data).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(data, [text("a"), text("b\n c"), text(""), None, None]);
        assert!(rest.is_empty());
    }

    #[test]
    fn cut_at_every_byte_the_events_are_the_same() {
        let stream = "data: {\"a\":\"\u{e9}\u{1f600}\"}\r\n\r\n: note\n\nevent: x\rdata: 1\r\rdata: [DONE]\n\ndata: unfinish";
        let bytes = stream.as_bytes();
        let data = |events: &[Event]| events.iter().filter_map(Event::data).collect::<Vec<_>>();
        let (whole, _) = split(&[bytes]);
        for at in 0..=bytes.len() {
            let (events, rest) = split(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(data(&events), data(&whole), "cut at {at}");
            let raw: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).chain(rest).collect();
            assert_eq!(raw, bytes);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(data(&split(&single).0), data(&whole));
    }

    proptest! {
        /// Any bytes, split anyhow, come out as they went in, and give the same data.
        #[test]
        fn nothing_is_lost(bytes in proptest::collection::vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b'd'), Just(b':'), any::<u8>()
        ], 0..200), sizes in proptest::collection::vec(1_usize..9, 0..60)) {
            let (whole, _) = split(&[&bytes]);
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut rest: &[u8] = &bytes;
            for size in sizes {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (events, rest) = split(&pieces);
            let raw: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).chain(rest).collect();
            prop_assert_eq!(raw, bytes);
            prop_assert_eq!(events.len(), whole.len());
        }
    }
}
