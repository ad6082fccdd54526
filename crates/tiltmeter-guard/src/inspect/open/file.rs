//! The settings of detectors of contexts, as GUARD.toml has them.

use schemars::JsonSchema;
use serde::Deserialize;
use tiltmeter_models::Reasoning;

use super::super::risk::RiskSettings;

/// Settings of the detector `context`: what looks at contexts, and how findings become a risk.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContextFile {
    /// The rules: true for the built-in ones, the path of a list of your own, or false for none.
    pub rules: RulesFile,
    /// A model that rates examples.
    pub judge: Option<JudgeFile>,
    /// The tilt that a context causes in a model.
    pub tilt: Option<TiltFile>,
    /// The projection of a context onto a persona vector.
    pub persona: Option<PersonaFile>,
    /// An address of your own that rates examples.
    pub webhook: Option<WebhookFile>,
    /// How findings become a risk.
    pub risk: RiskSettings,
    /// Bytes of verdicts that are kept in memory.
    pub cache_bytes: u64,
}

impl Default for ContextFile {
    fn default() -> Self {
        Self {
            rules: RulesFile::BuiltIn(true),
            judge: None,
            tilt: None,
            persona: None,
            webhook: None,
            risk: RiskSettings::default(),
            cache_bytes: 64 << 20,
        }
    }
}

/// Which rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RulesFile {
    /// The built-in ones, or none.
    BuiltIn(bool),
    /// A list of your own, by its path.
    Own(String),
}

/// When a detector works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimingFile {
    /// While the request waits.
    #[default]
    Blocking,
    /// Apart from requests: an example that is new is told as not checked yet, and known from then on.
    Background,
}

/// A model that rates examples.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeFile {
    /// The model, as `provider/model`; `local/…` is one on this machine.
    pub model: String,
    /// Address that replaces the provider's.
    pub base_url: Option<String>,
    /// The environment variable that holds the key; default: the provider's own.
    pub api_key_env: Option<String>,
    /// When it works.
    #[serde(default)]
    pub timing: TimingFile,
    /// Milliseconds that it may take for all that is new in a request; in the background, for each batch.
    #[serde(default = "judge_timeout")]
    pub timeout_ms: u64,
    /// Examples in one prompt.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Prompts at the same time for one request.
    #[serde(default = "parallel")]
    pub parallel: usize,
    /// In the background: examples that may wait.
    #[serde(default = "queue")]
    pub queue: usize,
    /// An example of more bytes is not looked at.
    #[serde(default = "example_bytes")]
    pub example_bytes: usize,
    /// A rating from here on, of 0 to 100, flags an example.
    #[serde(default = "flagged_from")]
    pub flagged_from: u8,
    /// The most tokens of a reply besides eight for each example; models that think need many more.
    #[serde(default = "spare_tokens")]
    pub spare_tokens: u32,
    /// How much the model may think.
    #[serde(default)]
    pub reasoning: Reasoning,
}

impl JudgeFile {
    /// A judge by this model, with the default of every other field.
    pub fn new(model: String) -> Self {
        Self {
            model,
            base_url: None,
            api_key_env: None,
            timing: TimingFile::default(),
            timeout_ms: judge_timeout(),
            batch: batch(),
            parallel: parallel(),
            queue: queue(),
            example_bytes: example_bytes(),
            flagged_from: flagged_from(),
            spare_tokens: spare_tokens(),
            reasoning: Reasoning::default(),
        }
    }
}

/// The tilt that a context causes in a model.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TiltFile {
    /// The model, as `provider/model`: one on this machine (`local/…`), or a server that gives log-probabilities of given
    /// text.
    pub model: String,
    /// Address that replaces the provider's.
    pub base_url: Option<String>,
    /// The environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// A tilt from here on flags a context, in nats per token. It holds for one model and one number of pairs: measure it
    /// on contexts like yours.
    pub threshold: f64,
    /// Questions, each with a pair of answers.
    #[serde(default = "pairs")]
    pub pairs: usize,
    /// The most demonstrations that are shown; the last ones are.
    #[serde(default = "examples")]
    pub examples: usize,
    /// The most bytes of them.
    #[serde(default = "context_bytes")]
    pub context_bytes: usize,
    /// Milliseconds that it may take.
    #[serde(default = "context_timeout")]
    pub timeout_ms: u64,
}

/// The projection of a context onto a persona vector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonaFile {
    /// The model that the vector was extracted from, as `local/…`.
    pub model: String,
    /// The vector's file, of `tiltmeter persona extract`.
    pub vector: String,
    /// Index of the residual stream; default: the one that the file chose.
    pub layer: Option<usize>,
    /// A shift along the vector from here on flags a context. It holds for one model and one vector.
    pub threshold: f64,
    /// Questions that are put behind the context.
    #[serde(default = "pairs")]
    pub questions: usize,
    /// The most demonstrations that are shown; the last ones are.
    #[serde(default = "examples")]
    pub examples: usize,
    /// The most bytes of them.
    #[serde(default = "context_bytes")]
    pub context_bytes: usize,
    /// Milliseconds that it may take.
    #[serde(default = "context_timeout")]
    pub timeout_ms: u64,
}

/// An address that rates examples.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookFile {
    /// The address.
    pub url: String,
    /// Whether texts are sent, rather than ids and lengths alone.
    #[serde(default)]
    pub sends_texts: bool,
    /// The environment variable that holds a key for it.
    pub api_key_env: Option<String>,
    /// Change it when what answers there changes: verdicts are kept under it.
    #[serde(default)]
    pub version: String,
    /// When it works.
    #[serde(default)]
    pub timing: TimingFile,
    /// Milliseconds that an answer may take.
    #[serde(default = "judge_timeout")]
    pub timeout_ms: u64,
    /// Examples in one request.
    #[serde(default = "webhook_batch")]
    pub batch: usize,
    /// In the background: examples that may wait.
    #[serde(default = "queue")]
    pub queue: usize,
}

fn judge_timeout() -> u64 {
    5000
}

fn context_timeout() -> u64 {
    10_000
}

fn batch() -> usize {
    8
}

fn webhook_batch() -> usize {
    64
}

fn parallel() -> usize {
    4
}

fn queue() -> usize {
    4096
}

fn example_bytes() -> usize {
    16 << 10
}

fn flagged_from() -> u8 {
    50
}

fn spare_tokens() -> u32 {
    32
}

fn pairs() -> usize {
    8
}

fn examples() -> usize {
    16
}

fn context_bytes() -> usize {
    32 << 10
}
