//! One request type, one reply type, one trait for all providers.

use std::ops::AddAssign;
use std::sync::Arc;
use tiltmeter_core::treatment::ReasoningKind;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tiltmeter_core::prompt::Prompt;

use crate::batch::BatchModel;
use crate::error::ModelError;
use crate::rate_limits::RateLimits;
pub use tiltmeter_core::experiment::Reasoning;

/// How an answer is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Softmax temperature, 0 or above; 0 takes the likeliest token.
    pub temperature: f64,
    /// The most tokens that may be generated, reasoning included where the provider counts it so.
    pub max_tokens: u32,
    /// Seed for whoever draws; 31 bits.
    pub seed: Option<u32>,
    /// Texts at which a model may stop early. A provider that cannot, or whose models reject the field,
    /// ignores them: the engine cuts the answer itself.
    pub stop: Vec<String>,
    /// How many of the likeliest tokens to report at each position (0–20); `None`: no log-probabilities.
    pub top_log_probabilities: Option<u8>,
    /// How much a reasoning model may think, where the provider has a setting for it.
    pub reasoning: Reasoning,
}

/// One generation to ask for.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// What the model is shown.
    pub prompt: Arc<Prompt>,
    /// How the answer is drawn.
    pub sampling: Sampling,
}

/// A given text to score as the model's answer.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// What the model is shown before the text.
    pub prompt: Arc<Prompt>,
    /// The answer whose log-probability is asked for, as the assistant's words; not empty.
    pub continuation: Arc<str>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer, or met a stop text.
    Stop,
    /// The token limit was met: the answer is truncated.
    Length,
    /// The provider's content filter withheld or cut the answer.
    ContentFilter,
    /// The model called a tool, or something else that this project never asks for; or nobody said why.
    #[default]
    Other,
}

impl FinishReason {
    /// The name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Other => "other",
        }
    }
}

/// Tokens of one call, as the provider counts them; zero where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the prompt that came from a cache.
    pub cached_input_tokens: u64,
    /// Tokens of the prompt that were put into a cache, where the provider charges for that.
    pub cache_write_tokens: u64,
    /// Tokens generated, reasoning included.
    pub output_tokens: u64,
    /// Tokens of reasoning among them.
    pub reasoning_tokens: u64,
    /// What the provider itself says the call cost, in US dollars.
    pub cost_usd: Option<f64>,
}

impl AddAssign for Usage {
    /// Adds the counts. The cost is the sum of those that are known.
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.cached_input_tokens += other.cached_input_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.output_tokens += other.output_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cost_usd = match (self.cost_usd, other.cost_usd) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
}

/// One token and its natural log-probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogProbability {
    /// The token's text.
    pub token: String,
    /// Its natural log-probability, at most 0.
    pub log_probability: f64,
}

/// The token that was drawn at a position, and the likeliest alternatives there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenAlternatives {
    /// The token that was drawn.
    pub chosen: TokenLogProbability,
    /// The likeliest tokens, likeliest first; usually includes the drawn one.
    pub top: Vec<TokenLogProbability>,
}

/// What steering or ablation did to the residual stream while a local model answered: means over the tokens that the
/// answer is predicted from and that were changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RealisedShift {
    /// Tokens that were changed.
    pub tokens: u64,
    /// Projection onto the direction (a vector of length 1) before the change; 0 where no token was changed.
    pub before: f64,
    /// The same after the change.
    pub after: f64,
}

/// One generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatResponse {
    /// The answer's text; may be empty.
    pub text: String,
    /// Reasoning text or its summary, where the provider gives one apart from the answer.
    pub reasoning: Option<String>,
    /// Which of the two it is.
    pub reasoning_kind: ReasoningKind,
    /// The provider's own field for a refusal, where it has one and used it.
    pub refusal: Option<String>,
    /// Why the generation ended.
    pub finish: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// The exact model that answered, as the provider names it.
    pub model: Option<String>,
    /// The provider's id of the reply.
    pub response_id: Option<String>,
    /// Log-probabilities by position, where they were asked for and given.
    pub log_probabilities: Option<Vec<TokenAlternatives>>,
    /// Settings that were asked for and left out, because the model refuses them or its protocol has no field for
    /// them: the answer was drawn without them. Names as in [`Sampling`]; empty where everything was sent.
    pub dropped_parameters: Vec<&'static str>,
    /// What the reply's headers told of the server's limits.
    pub rate_limits: Option<Box<RateLimits>>,
    /// What steering did, where the model was steered.
    pub shift: Option<RealisedShift>,
}

/// The log-probability of a given text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextScore {
    /// Natural log-probability of each token of the text, in order; never empty.
    pub token_log_probabilities: Vec<f32>,
    /// Tokens of the prompt before it.
    pub prompt_tokens: u64,
    /// What steering did, where the model was steered.
    pub shift: Option<RealisedShift>,
}

impl TextScore {
    /// Sum over the tokens, in nats.
    pub fn total(&self) -> f64 {
        self.token_log_probabilities.iter().map(|&value| f64::from(value)).sum()
    }

    /// Mean per token, in nats.
    pub fn mean_per_token(&self) -> f64 {
        self.total() / self.token_log_probabilities.len() as f64
    }
}

/// A model that can be asked.
///
/// Dropping the returned future withdraws the request; an implementation then does no further work for it.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Asks for one generation.
    ///
    /// # Errors
    /// A [`ModelError`] that names what went wrong in the shared taxonomy.
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError>;

    /// The batch interface; `None` where there is none, or the endpoint does not say that its server has it.
    fn batch(&self) -> Option<&dyn BatchModel> {
        None
    }

    /// Whether [`ChatModel::score`] works.
    fn can_score(&self) -> bool {
        false
    }

    /// Log-probabilities of a given text after a prompt.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the model cannot score; otherwise as
    /// [`ChatModel::chat`].
    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        let _ = request;
        Err(ModelError::unsupported("this model does not give log-probabilities of given text"))
    }
}
