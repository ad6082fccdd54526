//! How a model is asked, as it is written: subjects, their endpoints, prices.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::steering::{AblateFile, SteerFile};

/// One model under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectFile {
    /// Short name, shown in tables. Part of every sample's identity: renaming a subject asks it again.
    pub id: String,
    /// `provider/model`: `openai/gpt-4o-2024-08-06`, `gemini/gemini-2.5-pro`,
    /// `local/smollm2-135m-instruct`, `local/path/to/file.gguf`. The provider's name is not sent.
    pub model: String,
    /// Address that replaces the provider's own, such as `http://127.0.0.1:8000/v1`. Requests go to
    /// `/chat/completions` below it. Without user name, password or query: keys belong in the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key, instead of the provider's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Several addresses or keys of the same model, between which requests are shared out, each with limits of
    /// its own. Instead of `base_url` and `api_key_env`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointFile>,
    /// Ask for streamed replies.
    #[serde(default)]
    pub stream: bool,
    /// Softmax temperature, 0 to 2.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// The most tokens an answer may take, reasoning included where the provider counts it so. The default
    /// is the paper's.
    #[serde(default = "five_thousand")]
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    /// How much a reasoning model may think, where the provider has a setting for it.
    #[serde(default)]
    pub reasoning: Reasoning,
    /// Model family, for the effect of scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Size in billions of parameters, for the effect of scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_b: Option<f64>,
    /// Order of size within the family, where parameters are not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_rank: Option<u32>,
    /// The most requests in flight at once, at each endpoint. The pace below it is found while asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub concurrency: Option<u32>,
    /// The most requests per minute, of each endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rpm: Option<u32>,
    /// The most tokens per minute, read and written together, of each endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tpm: Option<u32>,
    /// Seconds that one call may take in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u32>,
    /// Seconds to wait for a server that cannot be reached. Where absent, 90 for one that has not answered yet in
    /// this start, and 600 for one that has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage_s: Option<u32>,
    /// Price in US dollars per million tokens, for estimates and costs; replaces that of the tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceFile>,
    /// How the server gives log-probabilities of given text, which the tilt is measured by. Where absent, what the
    /// provider is known for: `vllm` for `vllm/…`, `none` for other servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scoring>,
    /// How long contexts are kept in the provider's prompt cache.
    #[serde(default)]
    pub context_cache: ContextCache,
    /// Further fields for the request's body, sent as they are; part of the sample's identity.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub extra_body: IndexMap<String, serde_json::Value>,
    /// Steers a local model: adds coefficient × vector to its residual stream while it answers. Part of the sample's
    /// identity, by the hash of the vector's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steer: Option<SteerFile>,
    /// Takes the part along a vector away from a local model's residual stream while it answers. Instead of `steer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablate: Option<AblateFile>,
}

/// One of several addresses or keys of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointFile {
    /// Address that replaces the provider's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
}

/// A price in US dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceFile {
    /// Per million input tokens.
    pub input: f64,
    /// Per million output tokens.
    pub output: f64,
    /// Per million input tokens that come from a cache; `input` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Per million input tokens that are put into a cache; `input` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Other prices for all tokens of calls with long prompts, by rising number of tokens; at most three.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub above: Vec<PriceStepFile>,
}

/// A price for long prompts, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceStepFile {
    /// Prompt tokens, cached ones included, above which it holds.
    pub tokens: u64,
    /// Per million input tokens.
    pub input: f64,
    /// Per million output tokens.
    pub output: f64,
    /// Per million input tokens that come from a cache; `input` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Per million input tokens that are put into a cache; `input` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
}

/// How a server gives log-probabilities of given text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scoring {
    /// It does not.
    None,
    /// As vLLM does: `/tokenize`, and `prompt_logprobs` of `/completions`.
    Vllm,
    /// `/completions` with `echo` and `logprobs`, on the plain text of the prompt: for base models, and for contexts
    /// that are not turns of a chat.
    Echo,
}

/// How long contexts are kept in a provider's prompt cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ContextCache {
    /// As the provider does for every request: by itself, or from the mark that requests carry (Anthropic's).
    #[default]
    Implicit,
    /// Held by name where the provider has that (Gemini's cached contents). Costs storage by the hour, and works
    /// where the prompt stays the same by it: not with the placement `first-user`.
    Explicit,
}

/// How much a reasoning model may think, where the provider has a setting for it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(rename_all = "kebab-case")]
pub enum Reasoning {
    /// No reasoning, where it can be switched off.
    Off,
    /// Whatever the provider does when nothing is said.
    #[default]
    Default,
    /// Little reasoning.
    Low,
    /// A medium amount.
    Medium,
    /// Much reasoning.
    High,
}

impl Reasoning {
    /// The name used in experiment files, tables and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Default => "default",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

fn one() -> f64 {
    1.0
}

fn five_thousand() -> u32 {
    5000
}
