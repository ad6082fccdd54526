//! Judges of answers, as GUARD.toml has them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tiltmeter_judge::{CodeBook, CoderSettings, JudgeSettings};
use tiltmeter_models::Reasoning;

use super::answer::{AnswerJudge, AnswerJudgeSettings};
use crate::inspect::{Address, OpenError, Rules, Surroundings};

/// A model that judges answers: alignment, coherence, and what reasoning says of the part that it takes on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerJudgeFile {
    /// Its name in routes, checks, logs and figures.
    pub name: String,
    /// The model, as `provider/model`; `local/…` is one on this machine.
    pub model: String,
    /// Address that replaces the provider's.
    pub base_url: Option<String>,
    /// The environment variable that holds the key; default: the provider's own.
    pub api_key_env: Option<String>,
    /// Milliseconds that each call may take.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Answers that it is asked about at a time; each takes two calls, and a third where there is reasoning.
    #[serde(default = "parallel")]
    pub parallel: usize,
    /// Answers that may wait for it. Further ones are dropped, counted and recorded as such.
    #[serde(default = "queue")]
    pub queue: usize,
    /// The most bytes of a question, of an answer and of its reasoning that it is shown: the beginning of each. Judgements
    /// of longer ones say so.
    #[serde(default = "text_bytes")]
    pub text_bytes: usize,
    /// The most tokens of a reply with a score; models that think need many more.
    #[serde(default = "score_tokens")]
    pub score_tokens: u32,
    /// The most tokens of a reply with labels of reasoning.
    #[serde(default = "label_tokens")]
    pub label_tokens: u32,
    /// How much the judge may think.
    #[serde(default)]
    pub reasoning: Reasoning,
}

fn timeout_ms() -> u64 {
    30_000
}
fn parallel() -> usize {
    4
}
fn queue() -> usize {
    256
}
fn text_bytes() -> usize {
    16 << 10
}
fn score_tokens() -> u32 {
    16
}
fn label_tokens() -> u32 {
    1024
}

/// A judge that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A value is out of its range.
    #[error("`{field}` is {range}")]
    Range {
        /// The field.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The model or the rules.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The built-in code book cannot be read.
    #[error(transparent)]
    CodeBook(#[from] tiltmeter_core::experiment::ConfigError),
}

impl JudgeError {
    /// The field that is wrong.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::Range { field, .. } => field,
            Self::Open(_) | Self::CodeBook(_) => "model",
        }
    }
}

impl AnswerJudgeFile {
    /// Opens the model and makes the judge.
    ///
    /// # Errors
    /// For the first thing that is wrong or cannot be had.
    pub fn open(
        &self,
        folder: &Path,
        environment: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<AnswerJudge, JudgeError> {
        let ranges = [
            ("timeout_ms", (1..=600_000).contains(&self.timeout_ms), "from 1 to 600000"),
            ("parallel", (1..=1024).contains(&self.parallel), "from 1 to 1024"),
            ("queue", (1..=100_000).contains(&self.queue), "from 1 to 100000"),
            ("text_bytes", (64..=1 << 20).contains(&self.text_bytes), "from 64 to 1048576"),
            ("score_tokens", self.score_tokens > 0, "at least 1"),
            ("label_tokens", self.label_tokens > 0, "at least 1"),
        ];
        if let Some((field, _, range)) = ranges.into_iter().find(|(_, is_fine, _)| !is_fine) {
            return Err(JudgeError::Range { field, range });
        }
        let address =
            Address { model: &self.model, base_url: &self.base_url, api_key_env: &self.api_key_env };
        let (model, _) = address.open_blocking(&Surroundings { folder, environment, progress: &() })?;
        let rules = Arc::new(Rules::builtin().map_err(OpenError::from)?);
        let settings = AnswerJudgeSettings {
            scores: JudgeSettings {
                max_tokens: self.score_tokens,
                reasoning: self.reasoning,
                ..JudgeSettings::default()
            },
            labels: CoderSettings {
                temperature: 0.0,
                max_tokens: self.label_tokens,
                reasoning: self.reasoning,
            },
            timeout: Duration::from_millis(self.timeout_ms),
            text_bytes: self.text_bytes,
            parallel: self.parallel,
            queue: self.queue,
        };
        Ok(AnswerJudge::new(&self.name, model, settings, rules, CodeBook::built_in()?))
    }
}
