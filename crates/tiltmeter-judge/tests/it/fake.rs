//! A model whose replies are given beforehand.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use tiltmeter_core::id::{ContentId, text_hash};
use tiltmeter_models::{
    ChatModel, ChatRequest, ChatResponse, ErrorKind, FinishReason, ModelError, ScoreRequest, TextScore,
    TokenAlternatives, TokenLogProbability, Usage,
};

type Scorer = dyn Fn(&str) -> Result<TextScore, ModelError> + Send + Sync;

/// Answers [`ChatModel::chat`] from a list, in order, and [`ChatModel::score`] by a function, if it has one.
#[derive(Default)]
pub(crate) struct Fake {
    replies: Mutex<VecDeque<Result<ChatResponse, ModelError>>>,
    pub(crate) scorer: Option<Box<Scorer>>,
    /// The requests of chat calls, in order.
    pub(crate) requests: Mutex<Vec<ChatRequest>>,
}

impl Fake {
    pub(crate) fn replying(replies: impl IntoIterator<Item = Result<ChatResponse, ModelError>>) -> Self {
        Self { replies: Mutex::new(replies.into_iter().collect()), ..Self::default() }
    }

    pub(crate) fn scoring(
        scorer: impl Fn(&str) -> Result<TextScore, ModelError> + Send + Sync + 'static,
    ) -> Self {
        Self { scorer: Some(Box::new(scorer)), ..Self::default() }
    }
}

#[async_trait]
impl ChatModel for Fake {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.requests.lock().unwrap().push(request.clone());
        self.replies.lock().unwrap().pop_front().expect("a scripted reply")
    }

    fn can_score(&self) -> bool {
        self.scorer.is_some()
    }

    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        assert_eq!(&*request.prompt.question, "rate this");
        match &self.scorer {
            Some(scorer) => scorer(&request.continuation),
            None => Err(ModelError::unsupported("no scorer")),
        }
    }
}

/// A whole reply without log-probabilities.
pub(crate) fn reply(text: &str) -> ChatResponse {
    ChatResponse {
        text: text.to_owned(),
        reasoning: None,
        refusal: None,
        finish: FinishReason::Stop,
        usage: Usage {
            input_tokens: 300,
            cached_input_tokens: 256,
            output_tokens: 2,
            reasoning_tokens: 1,
            ..Usage::default()
        },
        model: Some("judge-2024-08-06".to_owned()),
        response_id: None,
        log_probabilities: None,
        dropped_parameters: Vec::new(),
        ..ChatResponse::default()
    }
}

/// A position with the probabilities (not logarithms) of its likeliest tokens; the first one was drawn.
pub(crate) fn position(top: &[(&str, f64)]) -> TokenAlternatives {
    let top: Vec<TokenLogProbability> = top
        .iter()
        .map(|&(token, probability)| TokenLogProbability {
            token: token.to_owned(),
            log_probability: probability.ln(),
        })
        .collect();
    TokenAlternatives { chosen: top[0].clone(), top }
}

pub(crate) fn error(kind: ErrorKind) -> ModelError {
    ModelError::new(kind, "scripted")
}

pub(crate) fn seed() -> ContentId {
    text_hash("sample 1")
}
