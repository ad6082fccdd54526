//! What servers need beside [`ChatModel`](tiltmeter_models::ChatModel): prompts as tokens, answers as they are drawn,
//! log-probabilities of given text.

use std::sync::Arc;

use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ChatResponse, ErrorKind, ModelError, Sampling, TokenAlternatives};
use tokio::sync::mpsc;

use super::LocalModel;
use super::echo::EchoedToken;
use super::job::{EchoWork, WatchWork, Work};
use crate::text::{TemplateError, Thinking};

/// Tokens by which requests are known that are worth serving together; see [`LocalModel::watch`].
const HEAD: usize = 128;

/// One token of an answer, as it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// What the answer's text goes on with: whole characters only, and nothing that a stop text may still begin with.
    pub text: String,
    /// The token's log-probability and those of the likeliest ones, where they are asked for.
    pub log_probabilities: Option<TokenAlternatives>,
}

/// A generation from a prompt of tokens.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The prompt. The same memory for several requests makes them share it.
    pub tokens: Arc<[u32]>,
    /// How the answer is drawn. Its seed is not looked at.
    pub sampling: Sampling,
    /// For the generator.
    pub seed: u64,
    /// Told of each token as it is drawn. Where nobody listens any more, the answer is still drawn to its end.
    pub pieces: Option<mpsc::UnboundedSender<Piece>>,
}

/// What requests with long prompts have in common if they are worth being served together.
fn head(tokens: &[u32]) -> ContentId {
    let mut canonical = Canonical::new("tiltmeter.local.head/1");
    if let Some(head) = tokens.get(..HEAD) {
        for &token in head {
            canonical = canonical.integer(token.into());
        }
    }
    canonical.finish()
}

impl LocalModel {
    /// The tokens of a prompt by the model's chat template, up to where the answer starts.
    ///
    /// # Errors
    /// Where the template does not take the prompt, or the tokenizer a text.
    pub fn prompt_tokens(&self, prompt: &Prompt, thinking: Thinking) -> Result<Vec<u32>, ModelError> {
        self.template
            .encode_thinking(prompt, &self.vocabulary, thinking)
            .map_err(|error| template_error(&error))
    }

    /// The tokens of a text, special tokens in it being plain text; none are added.
    ///
    /// # Errors
    /// Where the tokenizer lacks tokens for it.
    pub fn text_tokens(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.vocabulary
            .encode(text)
            .map_err(|error| ModelError::new(ErrorKind::BadRequest, error.to_string()))
    }

    /// Whether a text of so many bytes may fit into the context: what is far too long need not be encoded to be refused.
    ///
    /// # Errors
    /// Where it takes more tokens than the context has, however it is encoded.
    pub fn check_bytes(&self, bytes: usize) -> Result<(), ModelError> {
        let (least, limit) = (self.vocabulary.least_tokens(bytes), self.description.context_length);
        if least <= limit {
            return Ok(());
        }
        let message =
            format!("the prompt of {bytes} bytes takes {least} tokens or more; the context has {limit}");
        let mut error = ModelError::new(ErrorKind::ContextTooLong, message);
        error.context_limit = Some(limit as u64);
        Err(error)
    }

    /// The token that texts start with, where the model was made so.
    pub fn start_token(&self) -> Option<u32> {
        self.vocabulary.start()
    }

    /// The bytes that a token stands for, special tokens as they are written. None for numbers without a token.
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.vocabulary.all_bytes(token)
    }

    /// Draws an answer to a prompt of tokens, telling of each token.
    ///
    /// Requests with the same prompt, or the same first 128 tokens, are served together, and those with shorter
    /// prompts; the result does not depend on it. The reply's text and log-probabilities are those of
    /// [`ChatModel::chat`](tiltmeter_models::ChatModel::chat) with the same tokens and seed.
    ///
    /// # Errors
    /// As for [`ChatModel::chat`](tiltmeter_models::ChatModel::chat).
    pub async fn watch(&self, watched: Watched) -> Result<ChatResponse, ModelError> {
        let Watched { tokens, sampling, seed, pieces } = watched;
        self.ask(&self.no_prompt, |reply| {
            let head = head(&tokens);
            Work::Watch(Box::new(WatchWork { tokens, head, sampling, seed, pieces, reply }))
        })
        .await
    }

    /// Log-probabilities of the tokens of a text, and the likeliest tokens at each place, up to so many.
    ///
    /// # Errors
    /// Where there is no token, or more than fit into the context, or through a handle with an intervention: of what
    /// comes as bare tokens, nothing says which are prompt and which answer.
    pub async fn echo(&self, tokens: Arc<[u32]>, likeliest: usize) -> Result<Vec<EchoedToken>, ModelError> {
        if self.intervention.is_some() {
            let message = "a steered model does not echo texts; score them as answers to a prompt";
            return Err(ModelError::new(ErrorKind::BadRequest, message));
        }
        self.ask(&self.no_prompt, |reply| Work::Echo(EchoWork { tokens, most: likeliest, reply })).await
    }
}

/// The failure of a template in the shared taxonomy.
pub(super) fn template_error(error: &TemplateError) -> ModelError {
    let kind =
        if matches!(error, TemplateError::Tokenizer(_)) { ErrorKind::Local } else { ErrorKind::BadRequest };
    ModelError::new(kind, error.to_string())
}
