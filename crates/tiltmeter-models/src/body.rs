//! Bodies of requests, in pieces that requests share.
//!
//! A context of 1,024 demonstrations is about 1 MB. It is escaped once, and every request that uses it holds the
//! same bytes: what is written anew for each is only what differs, which is short.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{ErrorKind, ModelError};

/// Shared pieces up to this size are copied: sending one more piece costs more than that.
const WORTH_SHARING: usize = 4096;

/// A body that is ready to be sent, any number of times. Cloning it copies no text.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pieces: VecDeque<Bytes>,
}

impl Body {
    /// The body as the HTTP client takes it. Its length is known, so that it is not sent in chunks, which some
    /// servers do not take.
    pub(crate) fn into_http(mut self) -> reqwest::Body {
        if self.pieces.len() == 1
            && let Some(only) = self.pieces.pop_front()
        {
            return only.into();
        }
        let left = self.len();
        reqwest::Body::wrap(Sending { pieces: self.pieces, left })
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    #[cfg(test)]
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.pieces.iter().flatten().copied().collect()
    }
}

/// A body on its way.
struct Sending {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.pop_front();
        if let Some(piece) = &next {
            self.left -= piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Writes a JSON document piece by piece. What it is given must add up to one: it writes no punctuation.
#[derive(Debug, Default)]
pub(crate) struct BodyWriter {
    pieces: VecDeque<Bytes>,
    /// What was written since the last shared piece.
    open: Vec<u8>,
    failure: Option<serde_json::Error>,
}

impl BodyWriter {
    /// JSON as it is.
    pub(crate) fn raw(&mut self, json: &str) {
        self.open.extend_from_slice(json.as_bytes());
    }

    /// A value as JSON.
    pub(crate) fn json<T: Serialize + ?Sized>(&mut self, value: &T) {
        if let Err(error) = serde_json::to_writer(&mut self.open, value) {
            self.failure.get_or_insert(error);
        }
    }

    /// A part of a string, escaped; the quotes are the caller's.
    pub(crate) fn text(&mut self, part: &str) {
        let start = self.open.len();
        self.json(part);
        // The quotes that go with a whole string.
        self.open.pop();
        if start < self.open.len() {
            self.open.remove(start);
        }
    }

    /// JSON that other requests hold as well.
    pub(crate) fn shared(&mut self, json: &Bytes) {
        if json.len() <= WORTH_SHARING {
            self.open.extend_from_slice(json);
            return;
        }
        self.close();
        self.pieces.push_back(json.clone());
    }

    /// A document that is ready, as a part of this one. What it shares stays shared.
    pub(crate) fn body(&mut self, body: &Body) {
        for piece in &body.pieces {
            self.shared(piece);
        }
    }

    /// Fields of an object that is open and not empty.
    pub(crate) fn fields(&mut self, fields: &Map<String, Value>) {
        for (name, value) in fields {
            self.raw(",");
            self.json(name);
            self.raw(":");
            self.json(value);
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.open).into());
        }
    }

    /// What was written, as one piece.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.pieces.is_empty() {
            return self.open.into();
        }
        let pieces = self.pieces.iter().flat_map(|piece| piece.iter()).chain(&self.open);
        pieces.copied().collect()
    }

    /// The body.
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`] where a value has no JSON.
    pub(crate) fn finish(mut self) -> Result<Body, ModelError> {
        self.close();
        match self.failure {
            None => Ok(Body { pieces: self.pieces }),
            Some(error) => {
                let message = format!("cannot write the request: {error}");
                Err(ModelError::new(ErrorKind::BadRequest, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_add_up_to_the_document() {
        let long: Bytes = {
            let mut writer = BodyWriter::default();
            writer.text(&"\"☕\"\n".repeat(2000));
            writer.into_bytes()
        };
        let short = Bytes::from_static(b"short, ");
        let mut writer = BodyWriter::default();
        writer.raw("{\"text\":\"");
        writer.shared(&short);
        writer.text("a \"quoted\"\tpart\u{1} ");
        writer.shared(&long);
        writer.text("");
        writer.raw("\"");
        writer.fields(json!({"n": 1, "list": ["a"]}).as_object().unwrap());
        writer.raw("}");
        let body = writer.finish().unwrap();
        assert_eq!(body.pieces().count(), 3);
        assert!(body.pieces().any(|piece| piece.as_ptr() == long.as_ptr()), "the long piece is not copied");
        let read: Value = serde_json::from_slice(&body.to_vec()).unwrap();
        let text = format!("short, a \"quoted\"\tpart\u{1} {}", "\"☕\"\n".repeat(2000));
        assert_eq!(read, json!({"text": text, "n": 1, "list": ["a"]}));
    }
}
