//! A model that rates examples, several in one prompt.
//!
//! Examples are hostile text: each stands between lines with a mark that its author could not foresee. The reply is read
//! strictly. An example that it leaves out is unchecked, never clean, and a reply with anything else in it is not used at
//! all, since an example may have made the model say it.

mod reply;

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_judge::fence_mark;
use tiltmeter_models::{ChatModel, ChatRequest, ErrorKind, FinishReason, ModelError, Reasoning, Sampling};

use super::detector::{DetectorError, ExampleDetector, Finding, Verdict};
use super::example::Example;
use reply::{Rating, read};

/// How a model rates examples.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleJudgeSettings {
    /// Examples in one prompt, at least 1.
    pub batch: usize,
    /// An example of more bytes is not looked at.
    pub most_bytes: usize,
    /// A rating from here on, of 0 to 100, flags an example.
    pub flagged_from: u8,
    /// Softmax temperature.
    pub temperature: f64,
    /// The most tokens of a reply besides eight for each example; models that think need many more.
    pub spare_tokens: u32,
    /// How much the model may think.
    pub reasoning: Reasoning,
}

impl Default for ExampleJudgeSettings {
    fn default() -> Self {
        Self {
            batch: 8,
            most_bytes: 16 << 10,
            flagged_from: 50,
            temperature: 0.0,
            spare_tokens: 32,
            reasoning: Reasoning::default(),
        }
    }
}

/// Tokens of a line such as `12: 100`.
const LINE_TOKENS: u32 = 8;
/// Raised when the reading of replies changes.
const VERSION: u64 = 1;
const PROMPT: &str = include_str!("prompt.txt");

/// Rates examples with a model.
pub struct ExampleJudge {
    model: Arc<dyn ChatModel>,
    settings: ExampleJudgeSettings,
    identity: ContentId,
}

impl ExampleJudge {
    /// A judge. `name` names the model so exactly that another model never has the same name.
    pub fn new(model: Arc<dyn ChatModel>, name: &str, settings: ExampleJudgeSettings) -> Self {
        let identity = Canonical::new("tiltmeter.guard-judge/1")
            .integer(VERSION)
            .text(name)
            .text(PROMPT)
            .integer(settings.batch as u64)
            .integer(settings.most_bytes as u64)
            .integer(settings.flagged_from.into())
            .number(settings.temperature)
            .integer(settings.spare_tokens.into())
            .text(settings.reasoning.name())
            .finish();
        Self { model, settings, identity }
    }

    async fn rate(&self, examples: &[&Example]) -> Result<Vec<Rating>, DetectorError> {
        let prompt = prompt(examples);
        let lines = u32::try_from(examples.len()).unwrap_or(u32::MAX);
        let request = ChatRequest {
            prompt: Arc::new(Prompt::single(prompt)),
            sampling: Sampling {
                temperature: self.settings.temperature,
                max_tokens: lines.saturating_mul(LINE_TOKENS).saturating_add(self.settings.spare_tokens),
                seed: Some(self.identity.request_seed()),
                stop: Vec::new(),
                top_log_probabilities: None,
                reasoning: self.settings.reasoning,
            },
        };
        let response = self.model.chat(&request).await.map_err(|error| failed(&error))?;
        let is_whole = response.finish == FinishReason::Stop && response.refusal.is_none();
        if !is_whole {
            let why = format!("the reply is not whole: it ended by {}", response.finish.name());
            return Err(DetectorError::Unusable(why));
        }
        read(&response.text, examples.len()).map_err(DetectorError::Unusable)
    }
}

fn failed(error: &ModelError) -> DetectorError {
    match error.kind {
        ErrorKind::TimedOut => DetectorError::TimedOut,
        _ => DetectorError::Failed(error.to_string()),
    }
}

fn prompt(examples: &[&Example]) -> String {
    let texts = examples.iter().flat_map(|example| [&*example.content.prompt, &*example.content.response]);
    let mark = fence_mark("tiltmeter.guard-judge-mark/1", texts);
    let mut pieces = String::new();
    for (number, example) in (1..).zip(examples) {
        let mut part = |name: &str, text: &str| {
            // Writing to a text never fails.
            let _ = write!(pieces, "===== {name} of piece {number} {mark} =====\n{text}\n");
        };
        if example.content.prompt.is_empty() {
            part("text", &example.content.response);
        } else {
            part("question", &example.content.prompt);
            part("answer", &example.content.response);
        }
        let _ = write!(pieces, "===== end of piece {number} {mark} =====\n\n");
    }
    // The pieces last: what is put in is not looked at again.
    let count = examples.len().to_string();
    PROMPT.replace("{count}", &count).replace("{mark}", &mark).replacen("{pieces}\n", &pieces, 1)
}

#[async_trait]
impl ExampleDetector for ExampleJudge {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn identity(&self) -> ContentId {
        self.identity
    }

    fn batch(&self) -> usize {
        self.settings.batch
    }

    async fn detect(&self, examples: &[&Example]) -> Vec<Result<Verdict, DetectorError>> {
        let fits = |example: &Example| example.content.len() <= self.settings.most_bytes;
        let asked: Vec<&Example> = examples.iter().copied().filter(|example| fits(example)).collect();
        let mut ratings =
            if asked.is_empty() { Ok(Vec::new()) } else { self.rate(&asked).await }.map(Vec::into_iter);
        let result = |example: &&Example| {
            if !fits(example) {
                return Err(DetectorError::TooLarge { bytes: example.content.len() });
            }
            match &mut ratings {
                Ok(ratings) => match ratings.next() {
                    Some(Rating::Of(rating)) => Ok(verdict(rating, self.settings.flagged_from)),
                    Some(Rating::Twice) => Err(unusable("it rates the example twice")),
                    Some(Rating::Missing) | None => Err(unusable("it does not rate the example")),
                },
                Err(error) => Err(error.clone()),
            }
        };
        examples.iter().map(result).collect()
    }
}

fn unusable(why: &str) -> DetectorError {
    DetectorError::Unusable(why.to_owned())
}

fn verdict(rating: u8, flagged_from: u8) -> Verdict {
    let score = f64::from(rating) / 100.0;
    let is_flagged = rating >= flagged_from;
    let finding = Finding { code: Cow::Borrowed("rated-harmful"), score };
    Verdict { score, is_flagged, findings: if is_flagged { vec![finding] } else { Vec::new() } }
}

#[cfg(test)]
mod tests;
