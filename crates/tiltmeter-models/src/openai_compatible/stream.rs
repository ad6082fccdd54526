//! Streamed replies: server-sent events, each a piece of the answer.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::header::HeaderMap;
use serde_json::Value;
use sse_stream::{Error as SseError, SseByteStream};

use super::failure::Failure;
use super::reply::{Draft, Piece};
use crate::clean::Cleaner;
use crate::error::{ErrorKind, ModelError};
use crate::request::ChatResponse;

/// The response that carries a reply, as far as errors speak of it.
#[derive(Clone, Copy)]
pub(super) struct Carrier<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) cleaner: &'a Cleaner,
}

impl Carrier<'_> {
    pub(super) fn failed(self, failure: Failure) -> ModelError {
        failure.into_error(self.status, self.headers, self.cleaner)
    }

    pub(super) fn malformed(self, what: &str, body: &[u8]) -> ModelError {
        let excerpt = self.cleaner.excerpt(body);
        let message = if excerpt.is_empty() {
            format!("{what}: it is empty")
        } else {
            format!("{what}: “{excerpt}”")
        };
        ModelError { status: Some(self.status), ..ModelError::new(ErrorKind::MalformedReply, message) }
    }
}

/// Reads events up to `[DONE]` or the stream's end.
///
/// An answer is whole once its finish reason was seen, whatever happens to the connection after it; before that,
/// only `[DONE]` makes it so.
pub(super) async fn read<S>(bytes: S, carrier: Carrier<'_>) -> Result<ChatResponse, ModelError>
where
    S: Stream<Item = Result<Bytes, ModelError>>,
{
    let mut events = std::pin::pin!(SseByteStream::new(bytes));
    let mut draft = Draft::default();
    let mut is_done = false;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(_) if draft.is_finished() => break,
            Err(error) => return Err(broken(error, carrier)),
        };
        let data = event.data.as_deref().unwrap_or("").trim();
        if data == "[DONE]" {
            is_done = true;
            break;
        }
        let is_error = event.event.as_deref() == Some("error");
        if data.is_empty() && !is_error {
            continue;
        }
        add(&mut draft, data, is_error, carrier)?;
    }
    let is_whole = draft.is_finished() || is_done && draft.has_choice();
    if !is_whole {
        let message = if is_done {
            "the stream was ended before any answer"
        } else {
            "the stream ended in the middle of the answer"
        };
        return Err(ModelError {
            status: Some(carrier.status),
            ..ModelError::new(ErrorKind::Interrupted, message)
        });
    }
    Ok(draft.finish())
}

fn add(draft: &mut Draft, data: &str, is_error: bool, carrier: Carrier<'_>) -> Result<(), ModelError> {
    let not_json = || carrier.malformed("a piece of the stream is not what was promised", data.as_bytes());
    if is_error {
        let failure = Failure::read(data.as_bytes());
        return Err(failure.map_or_else(not_json, |failure| carrier.failed(failure)));
    }
    let value: Value = serde_json::from_str(data).map_err(|_| not_json())?;
    if let Some(failure) = Failure::from_value(&value) {
        return Err(carrier.failed(failure));
    }
    let piece: Piece = serde_json::from_value(value).map_err(|_| not_json())?;
    draft.add(piece).map_err(|failure| carrier.failed(*failure))
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const EVENTS: &str = include_str!("../../tests/fixtures/openai_compatible/openai.sse");

    fn read_pieces(pieces: Vec<Result<Bytes, ModelError>>) -> Result<ChatResponse, ModelError> {
        let headers = HeaderMap::new();
        let cleaner = Cleaner::new(None);
        let carrier = Carrier { status: 200, headers: &headers, cleaner: &cleaner };
        futures_util::FutureExt::now_or_never(read(stream::iter(pieces), carrier)).unwrap()
    }

    #[test]
    fn where_the_bytes_are_split_does_not_matter() {
        let expected = read_pieces(vec![Ok(Bytes::from(EVENTS))]).unwrap();
        assert_eq!(expected.text, "Café\n☕");
        for at in 0..=EVENTS.len() {
            let (before, after) = EVENTS.as_bytes().split_at(at);
            let pieces = vec![Ok(Bytes::from_static(before)), Ok(Bytes::from_static(after))];
            assert_eq!(read_pieces(pieces).unwrap(), expected, "split at {at}");
        }
        let one_by_one = EVENTS.bytes().map(|byte| Ok(Bytes::copy_from_slice(&[byte]))).collect();
        assert_eq!(read_pieces(one_by_one).unwrap(), expected);
    }

    #[test]
    fn nothing_is_an_answer_before_its_finish_reason() {
        let marker = "\"finish_reason\":\"stop\"}]}\n\n";
        let whole_from = EVENTS.find(marker).unwrap() + marker.len();
        for at in 0..=EVENTS.len() {
            let piece = || Ok(Bytes::from(&EVENTS.as_bytes()[..at]));
            let breaks = Err(ModelError::new(ErrorKind::TimedOut, "late"));
            let ended = read_pieces(vec![piece()]).map_err(|error| error.kind);
            let broken = read_pieces(vec![piece(), breaks]).map_err(|error| error.kind);
            if at < whole_from {
                assert_eq!(ended, Err(ErrorKind::Interrupted), "ended at {at}");
                assert_eq!(broken, Err(ErrorKind::TimedOut), "broken at {at}");
            } else {
                assert_eq!(ended.unwrap().text, "Café\n☕", "ended at {at}");
                assert_eq!(broken.unwrap().finish, crate::FinishReason::Stop, "broken at {at}");
            }
        }
    }
}
