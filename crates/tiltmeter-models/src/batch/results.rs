//! The answers of a batch, put together from lines in any order, some of which may be broken.

use std::collections::HashMap;

use serde_json::Value;

use crate::error::{ErrorKind, ModelError};
use crate::request::ChatResponse;

/// The answers of a batch.
#[derive(Clone, Debug)]
pub struct BatchResults {
    /// Key and outcome, each key once, in the order in which they came.
    pub answers: Vec<(String, Result<ChatResponse, ModelError>)>,
    /// Lines that are not what the provider promises and do not even say which request they belong to. Each is an
    /// answer that was paid for and cannot be read.
    pub unreadable_lines: u64,
    /// What befell the requests that have no answer.
    missing: ModelError,
}

impl BatchResults {
    /// The outcome of each of these keys, in their order. One that has no answer is a retryable error; answers to
    /// other keys are left out.
    pub fn for_keys<'a>(
        self,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, Result<ChatResponse, ModelError>)> {
        let mut by_key: HashMap<_, _> = self.answers.into_iter().collect();
        keys.into_iter()
            .map(|key| (key, by_key.remove(key).unwrap_or_else(|| Err(self.missing.clone()))))
            .collect()
    }
}

/// Why a batch is over, as far as requests without an answer are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Done,
    Expired,
    Cancelled,
}

impl End {
    pub(super) fn error(self) -> ModelError {
        let (kind, message) = match self {
            Self::Done => (ErrorKind::MalformedReply, "the batch's results do not hold this request"),
            Self::Expired => (ErrorKind::TimedOut, "the batch expired before this request was answered"),
            Self::Cancelled => {
                (ErrorKind::Interrupted, "the batch was cancelled before this request was answered")
            }
        };
        ModelError::new(kind, message)
    }
}

/// Puts results together.
pub(super) struct Collector {
    dropped: Vec<&'static str>,
    results: BatchResults,
    places: HashMap<String, usize>,
}

impl Collector {
    pub(super) fn new(dropped: Vec<&'static str>, end: End) -> Self {
        let results = BatchResults { answers: Vec::new(), unreadable_lines: 0, missing: end.error() };
        Self { dropped, results, places: HashMap::new() }
    }

    /// Adds a line. `read` takes it apart; `None` where it does not say whose it is.
    pub(super) fn line(
        &mut self,
        line: &[u8],
        read: impl FnOnce(Value) -> Option<(String, Result<ChatResponse, ModelError>)>,
    ) {
        match serde_json::from_slice(line) {
            Ok(value) => self.add(read(value)),
            Err(_) => self.add(None),
        }
    }

    /// Adds an outcome. A key that comes again keeps its first answer; only an error gives way to an answer.
    pub(super) fn add(&mut self, found: Option<(String, Result<ChatResponse, ModelError>)>) {
        let Some((key, outcome)) = found else {
            self.results.unreadable_lines += 1;
            return;
        };
        let outcome =
            outcome.map(|response| ChatResponse { dropped_parameters: self.dropped.clone(), ..response });
        let answers = &mut self.results.answers;
        match self.places.get(&key).and_then(|&place| answers.get_mut(place)) {
            Some((_, known)) if known.is_err() && outcome.is_ok() => *known = outcome,
            Some(_) => {}
            None => {
                self.places.insert(key.clone(), answers.len());
                answers.push((key, outcome));
            }
        }
    }

    pub(super) fn finish(self) -> BatchResults {
        self.results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> ChatResponse {
        ChatResponse { text: text.to_owned(), ..ChatResponse::default() }
    }

    #[test]
    fn a_broken_line_loses_nothing_else() {
        let mut collector = Collector::new(vec!["seed"], End::Expired);
        let read = |value: Value| {
            let key = value.get("key")?.as_str()?.to_owned();
            let outcome = value.get("text").and_then(Value::as_str).map(answer);
            Some((key, outcome.ok_or_else(|| End::Done.error())))
        };
        for line in [
            r#"{"key": "b", "text": "B"}"#,
            r#"{"key": "a"}"#,
            r#"{"key": "c", "te"#,
            r#"["c"]"#,
            r#"{"key": "a", "text": "A"}"#,
            r#"{"key": "b", "text": "again"}"#,
            r#"{"key": "b"}"#,
        ] {
            collector.line(line.as_bytes(), read);
        }
        let results = collector.finish();
        assert_eq!((results.answers.len(), results.unreadable_lines), (2, 2));
        let shown: Vec<_> = results
            .for_keys(["a", "b", "c"])
            .into_iter()
            .map(|(key, outcome)| (key, outcome.map_err(|error| error.kind)))
            .map(|(key, outcome)| (key, outcome.map(|it| (it.text, it.dropped_parameters))))
            .collect();
        let dropped = vec!["seed"];
        assert_eq!(
            shown,
            [
                ("a", Ok(("A".to_owned(), dropped.clone()))),
                ("b", Ok(("B".to_owned(), dropped))),
                ("c", Err(ErrorKind::TimedOut))
            ]
        );
    }
}
