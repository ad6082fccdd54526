//! The answers to one request: drawn together, whole or piece by piece.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use tiltmeter_local::{LocalModel, Piece, Watched};
use tiltmeter_models::{ChatResponse, FinishReason, ModelError, Sampling, Usage};
use tokio::sync::mpsc;

use crate::error::Refusal;

/// One answer to be drawn.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) tokens: Arc<[u32]>,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
}

/// Draws all answers, side by side.
pub(crate) async fn whole(model: &LocalModel, choices: Vec<Choice>) -> Result<Vec<ChatResponse>, Refusal> {
    let answers = choices.into_iter().map(|choice| {
        let Choice { tokens, sampling, seed } = choice;
        model.watch(Watched { tokens, sampling, seed, pieces: None })
    });
    let answers = futures_util::future::join_all(answers).await;
    Ok(answers.into_iter().collect::<Result<_, ModelError>>()?)
}

/// What happens to an answer.
pub(crate) enum Progress {
    /// It goes on.
    Piece(Piece),
    /// It has ended.
    End(Result<ChatResponse, ModelError>),
}

type Answer = Pin<Box<dyn Future<Output = Result<ChatResponse, ModelError>> + Send>>;

/// An answer that is being drawn.
struct Drawing {
    index: usize,
    pieces: mpsc::UnboundedReceiver<Piece>,
    answer: Option<Answer>,
    ended: Option<Result<ChatResponse, ModelError>>,
}

impl Drawing {
    /// What happens next; nothing after the end.
    async fn next(mut self) -> Option<((usize, Progress), Self)> {
        loop {
            let Some(answer) = self.answer.as_mut() else {
                // Pieces that were told before the end come first.
                if let Ok(piece) = self.pieces.try_recv() {
                    return Some(((self.index, Progress::Piece(piece)), self));
                }
                let ended = self.ended.take()?;
                return Some(((self.index, Progress::End(ended)), self));
            };
            tokio::select! {
                biased;
                Some(piece) = self.pieces.recv() => return Some(((self.index, Progress::Piece(piece)), self)),
                result = answer => {
                    self.ended = Some(result);
                    self.answer = None;
                }
            }
        }
    }
}

/// Draws all answers and tells of what happens, each with its index. Dropping the stream withdraws them.
pub(crate) fn pieces(
    model: &LocalModel,
    choices: Vec<Choice>,
) -> impl Stream<Item = (usize, Progress)> + Send + use<> {
    let drawings = choices.into_iter().enumerate().map(|(index, choice)| {
        let Choice { tokens, sampling, seed } = choice;
        let (sender, receiver) = mpsc::unbounded_channel();
        let model = model.clone();
        let answer =
            async move { model.watch(Watched { tokens, sampling, seed, pieces: Some(sender) }).await };
        let drawing = Drawing { index, pieces: receiver, answer: Some(answer.boxed()), ended: None };
        stream::unfold(drawing, Drawing::next).boxed()
    });
    stream::select_all(drawings)
}

/// A reply of events. What fails before anything is drawn is an error reply.
///
/// `events_of` makes events of what happens; the last one is told of the usage of all answers.
pub(crate) async fn events<S>(
    pieces: S,
    first: Vec<Value>,
    mut events_of: impl FnMut(usize, Progressed) -> Vec<Value> + Send + 'static,
    last: impl FnOnce(Usage) -> Option<Value> + Send + 'static,
) -> Response
where
    S: Stream<Item = (usize, Progress)> + Send + 'static,
{
    let mut pieces = Box::pin(pieces);
    let begun = match pieces.next().await {
        Some((_, Progress::End(Err(error)))) => return Refusal::from(error).into_response(),
        begun => stream::iter(begun),
    };
    let mut total = Total::default();
    let mut last = Some(last);
    let mut is_broken = false;
    let ongoing = begun.chain(pieces).map(Some).chain(stream::once(async { None })).map(move |item| {
        let values = match item {
            _ if is_broken => Vec::new(),
            Some((index, Progress::Piece(piece))) => events_of(index, Progressed::Piece(piece)),
            Some((index, Progress::End(Ok(response)))) => {
                total.add(&response.usage);
                events_of(index, Progressed::End(response.finish))
            }
            Some((_, Progress::End(Err(error)))) => {
                is_broken = true;
                vec![Refusal::from(error).body()]
            }
            None => last.take().and_then(|last| last(total.usage)).into_iter().collect(),
        };
        stream::iter(values.into_iter().map(|value| value.to_string()))
    });
    let first = stream::iter(first.into_iter().map(|value| value.to_string()));
    let done = stream::once(async { "[DONE]".to_owned() });
    let data = first.chain(ongoing.flatten()).chain(done);
    Sse::new(data.map(|data| Ok::<_, Infallible>(Event::default().data(data)))).into_response()
}

/// What an answer's events are made of.
pub(crate) enum Progressed {
    /// It goes on.
    Piece(Piece),
    /// It has ended well.
    End(FinishReason),
}

/// The usage of several answers to one prompt, which counts once.
#[derive(Debug, Default)]
pub(crate) struct Total {
    pub(crate) usage: Usage,
}

impl Total {
    pub(crate) fn add(&mut self, usage: &Usage) {
        if self.usage.input_tokens == 0 {
            self.usage.input_tokens = usage.input_tokens;
            self.usage.cached_input_tokens = usage.cached_input_tokens;
        }
        self.usage.output_tokens += usage.output_tokens;
    }
}

/// The usage in OpenAI's form.
pub(crate) fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_input_tokens },
    })
}

/// Why an answer ended, in OpenAI's words.
pub(crate) fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop | FinishReason::Other => "stop",
    }
}
