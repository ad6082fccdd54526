//! Replies on the wire, whole or as server-sent events, in whatever protocol.

use std::fmt;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::header::HeaderMap;
use serde_json::Value;
use sse_stream::{Error as SseError, SseByteStream};

use crate::clean::Cleaner;
use crate::error::{ErrorKind, ModelError};
use crate::failure::Failure;
use crate::request::ChatResponse;

/// The response that carries a reply, as far as errors speak of it.
#[derive(Clone, Copy)]
pub(crate) struct Carrier<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) cleaner: &'a Cleaner,
}

impl fmt::Debug for Carrier<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Carrier").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Carrier<'_> {
    pub(crate) fn failed(self, failure: Failure) -> ModelError {
        failure.into_error(self.status, self.headers, self.cleaner)
    }

    pub(crate) fn malformed(self, what: &str, body: &[u8]) -> ModelError {
        let excerpt = self.cleaner.excerpt(body);
        let message = if excerpt.is_empty() {
            format!("{what}: it is empty")
        } else {
            format!("{what}: “{excerpt}”")
        };
        ModelError { status: Some(self.status), ..ModelError::new(ErrorKind::MalformedReply, message) }
    }

    fn interrupted(self, message: &str) -> ModelError {
        ModelError { status: Some(self.status), ..ModelError::new(ErrorKind::Interrupted, message) }
    }
}

/// Why a piece of a reply cannot be taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is not what the protocol promises.
    Malformed,
    /// It says that the server failed.
    Failed(Box<Failure>),
}

/// A reply that is being put together from its pieces, in one protocol.
pub(crate) trait Draft: Default + Send {
    /// What a whole reply is called.
    const WHAT: &'static str;

    /// Adds one event of a stream. `name` is the event's own, for protocols that have some.
    fn event(&mut self, name: Option<&str>, value: Value) -> Result<(), Refused>;

    /// Adds a reply that came in one piece.
    fn whole(&mut self, value: Value) -> Result<(), Refused>;

    /// Whether nothing of the answer is missing, whatever happens to the connection from here on.
    fn is_whole(&self) -> bool;

    /// Whether the protocol's last event was seen, so that nothing more need be read.
    fn is_last(&self) -> bool {
        false
    }

    /// Whether any answer was begun.
    fn is_begun(&self) -> bool;

    /// The response.
    fn finish(self) -> ChatResponse;
}

/// Reads events up to the last one or the stream's end.
///
/// A stream that ends before its answer is whole is an error, unless the server says `[DONE]`.
pub(crate) async fn read<D, S>(bytes: S, carrier: Carrier<'_>) -> Result<ChatResponse, ModelError>
where
    D: Draft,
    S: Stream<Item = Result<Bytes, ModelError>>,
{
    let mut events = std::pin::pin!(SseByteStream::new(bytes));
    let mut draft = D::default();
    let mut is_done = false;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(_) if draft.is_whole() => break,
            Err(error) => return Err(broken(error, carrier)),
        };
        let data = event.data.as_deref().unwrap_or("").trim();
        if data == "[DONE]" {
            is_done = true;
            break;
        }
        let name = event.event.as_deref();
        if data.is_empty() && name != Some("error") {
            continue;
        }
        add(&mut draft, name, data, carrier)?;
        if draft.is_last() {
            break;
        }
    }
    if draft.is_whole() || is_done && draft.is_begun() {
        Ok(draft.finish())
    } else if is_done {
        Err(carrier.interrupted("the stream was ended before any answer"))
    } else {
        Err(carrier.interrupted("the stream ended in the middle of the answer"))
    }
}

fn add<D: Draft>(
    draft: &mut D,
    name: Option<&str>,
    data: &str,
    carrier: Carrier<'_>,
) -> Result<(), ModelError> {
    let not_promised =
        || carrier.malformed("a piece of the stream is not what was promised", data.as_bytes());
    if name == Some("error") {
        let failure = Failure::read(data.as_bytes());
        return Err(failure.map_or_else(not_promised, |failure| carrier.failed(failure)));
    }
    let value: Value = serde_json::from_str(data).map_err(|_| not_promised())?;
    if let Some(failure) = Failure::from_value(&value) {
        return Err(carrier.failed(failure));
    }
    draft.event(name, value).map_err(|refused| match refused {
        Refused::Malformed => not_promised(),
        Refused::Failed(failure) => carrier.failed(*failure),
    })
}

/// Reads a reply that came in one piece.
pub(crate) fn read_whole<D: Draft>(body: &[u8], carrier: Carrier<'_>) -> Result<ChatResponse, ModelError> {
    let malformed = || carrier.malformed(&format!("the reply is not {}", D::WHAT), body);
    let value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    read_value::<D>(value, carrier, malformed)
}

/// Reads a reply that stands in a larger document, such as a line of a batch's results.
pub(crate) fn read_value<D: Draft>(
    value: Value,
    carrier: Carrier<'_>,
    malformed: impl Fn() -> ModelError,
) -> Result<ChatResponse, ModelError> {
    if let Some(failure) = Failure::from_value(&value) {
        return Err(carrier.failed(failure));
    }
    let mut draft = D::default();
    draft.whole(value).map_err(|refused| match refused {
        Refused::Malformed => malformed(),
        Refused::Failed(failure) => carrier.failed(*failure),
    })?;
    if draft.is_begun() { Ok(draft.finish()) } else { Err(malformed()) }
}

fn broken(error: SseError, carrier: Carrier<'_>) -> ModelError {
    match error {
        SseError::Body(source) => match source.downcast::<ModelError>() {
            Ok(error) => *error,
            Err(other) => {
                ModelError::new(ErrorKind::Interrupted, carrier.cleaner.message(&other.to_string()))
            }
        },
        other => carrier.malformed("the stream is not made of events", other.to_string().as_bytes()),
    }
}

/// How drafts are tested: with bodies that are split, cut and broken at every byte.
#[cfg(test)]
pub(crate) mod testing {
    use futures_util::stream;

    use super::*;

    /// Reads a stream that comes in these pieces.
    pub(crate) fn read_pieces<D: Draft>(
        pieces: Vec<Result<Bytes, ModelError>>,
    ) -> Result<ChatResponse, ModelError> {
        let headers = HeaderMap::new();
        let cleaner = Cleaner::new(None);
        let carrier = Carrier { status: 200, headers: &headers, cleaner: &cleaner };
        futures_util::FutureExt::now_or_never(read::<D, _>(stream::iter(pieces), carrier)).unwrap()
    }

    /// Splits a stream at every byte; gives the response, which is always the same.
    pub(crate) fn split_everywhere<D: Draft>(events: &'static str) -> ChatResponse {
        let expected = read_pieces::<D>(vec![Ok(Bytes::from(events))]).unwrap();
        for at in 0..=events.len() {
            let (before, after) = events.as_bytes().split_at(at);
            let pieces = vec![Ok(Bytes::from_static(before)), Ok(Bytes::from_static(after))];
            assert_eq!(read_pieces::<D>(pieces).unwrap(), expected, "split at {at}");
        }
        let one_by_one = events.bytes().map(|byte| Ok(Bytes::copy_from_slice(&[byte]))).collect();
        assert_eq!(read_pieces::<D>(one_by_one).unwrap(), expected);
        expected
    }

    /// Ends and breaks a stream at every byte: before the end of `last`, which makes the answer whole, there is
    /// no answer, and from there on there is, with the same text.
    pub(crate) fn cut_everywhere<D: Draft>(events: &'static str, last: &str) {
        let expected = read_pieces::<D>(vec![Ok(Bytes::from(events))]).unwrap();
        let whole_from = events.find(last).unwrap() + last.len();
        for at in 0..=events.len() {
            let piece = || Ok(Bytes::from(&events.as_bytes()[..at]));
            let breaks = Err(ModelError::new(ErrorKind::TimedOut, "late"));
            let ended = read_pieces::<D>(vec![piece()]).map_err(|error| error.kind);
            let broken = read_pieces::<D>(vec![piece(), breaks]).map_err(|error| error.kind);
            if at < whole_from {
                assert_eq!(ended, Err(ErrorKind::Interrupted), "ended at {at}");
                assert_eq!(broken, Err(ErrorKind::TimedOut), "broken at {at}");
            } else {
                let (ended, broken) = (ended.unwrap(), broken.unwrap());
                assert_eq!((&ended.text, ended.finish), (&expected.text, expected.finish), "ended at {at}");
                assert_eq!(
                    (&broken.text, broken.finish),
                    (&expected.text, expected.finish),
                    "broken at {at}"
                );
            }
        }
    }
}
