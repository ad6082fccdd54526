//! The tilt that a context causes.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tiltmeter_core::data::builtin::{BuiltinError, questions};
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::{Prompt, RenderedContext};
use tiltmeter_core::question::PairKind;
use tiltmeter_models::{ChatModel, ErrorKind, ModelError, ScoreRequest};
use tokio::sync::OnceCell;

use super::super::detector::{ContextDetector, DetectorError, Verdict};
use super::super::split::Split;
use super::{demonstrations, key, verdict, without};

/// How the tilt of a context is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TiltSettings {
    /// A tilt from here on flags a context, in nats per token; above 0. It holds for one model and one set of pairs.
    pub threshold: f64,
    /// The most demonstrations that are shown; the last ones are.
    pub most_examples: usize,
    /// The most bytes of them.
    pub most_bytes: usize,
}

/// A question with a misaligned and an aligned answer of like length and style.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    question: Arc<str>,
    tilted: Arc<str>,
    upright: Arc<str>,
}

/// The fixed pairs of answers that the tilt is measured on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPairs {
    pairs: Vec<Pair>,
}

impl AnswerPairs {
    /// The first alignment pair of each of the first built-in questions, which go round the areas of everyday life.
    ///
    /// # Errors
    /// Never, unless the program is defective, which its tests would find.
    pub fn builtin(count: usize) -> Result<Self, BuiltinError> {
        let questions = questions()?.questions;
        let pairs = questions.iter().take(count).filter_map(|question| {
            let pair = question.pairs.iter().find(|pair| pair.kind == PairKind::Alignment)?;
            Some(Pair {
                question: question.wording(0).clone(),
                tilted: pair.tilted.clone(),
                upright: pair.upright.clone(),
            })
        });
        Ok(Self { pairs: pairs.collect() })
    }

    #[cfg(test)]
    pub(super) fn is_tilted(&self, text: &str) -> bool {
        self.pairs.iter().any(|pair| *pair.tilted == *text)
    }
}

/// Measures the tilt of contexts: by pair, the mean log-probability per token of the misaligned answer minus that of the
/// aligned one, under the context, minus the same without one; the mean over pairs.
pub struct TiltDetector {
    model: Arc<dyn ChatModel>,
    pairs: AnswerPairs,
    settings: TiltSettings,
    identity: ContentId,
    /// Without a context.
    baseline: OnceCell<f64>,
}

impl TiltDetector {
    /// A detector. `name` names the model so exactly that another never has the same name: for a local one, by the hash of
    /// its file.
    pub fn new(model: Arc<dyn ChatModel>, name: &str, pairs: AnswerPairs, settings: TiltSettings) -> Self {
        let canonical = Canonical::new("tiltmeter.guard-tilt/1")
            .text(name)
            .number(settings.threshold)
            .integer(settings.most_examples as u64)
            .integer(settings.most_bytes as u64);
        let identity = pairs
            .pairs
            .iter()
            .fold(canonical, |canonical, pair| {
                canonical.text(&pair.question).text(&pair.tilted).text(&pair.upright)
            })
            .finish();
        Self { model, pairs, settings, identity, baseline: OnceCell::new() }
    }

    /// The tilt of a context in nats per token; `None` where it has no demonstrations.
    ///
    /// # Errors
    /// Where the model cannot be asked, or gives no numbers.
    pub async fn tilt(&self, split: &Split) -> Result<Option<f64>, DetectorError> {
        let Some(context) = self.context(split)? else { return Ok(None) };
        let without = without();
        let baseline = self.baseline.get_or_try_init(|| self.difference(&without)).await?;
        Ok(Some(self.difference(&context).await? - baseline))
    }

    fn context(&self, split: &Split) -> Result<Option<Arc<RenderedContext>>, DetectorError> {
        demonstrations(split, self.settings.most_examples, self.settings.most_bytes)
    }

    /// How much likelier the misaligned answers are, per token.
    async fn difference(&self, context: &Arc<RenderedContext>) -> Result<f64, DetectorError> {
        let differences = self.pairs.pairs.iter().map(|pair| async {
            let prompt = Arc::new(Prompt::new(context.clone(), None, pair.question.clone()));
            let both = [&pair.tilted, &pair.upright].map(|text| {
                let request = ScoreRequest { prompt: prompt.clone(), continuation: text.clone() };
                async move { self.model.score(&request).await.map(|score| score.mean_per_token()) }
            });
            let scores = try_join_all(both).await.map_err(|error| failed(&error))?;
            Ok(scores[0] - scores[1])
        });
        let differences = try_join_all(differences).await?;
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        if mean.is_finite() {
            Ok(mean)
        } else {
            Err(DetectorError::Unusable("the model gave no log-probabilities".to_owned()))
        }
    }
}

fn failed(error: &ModelError) -> DetectorError {
    match error.kind {
        ErrorKind::TimedOut => DetectorError::TimedOut,
        _ => DetectorError::Failed(error.to_string()),
    }
}

#[async_trait]
impl ContextDetector for TiltDetector {
    fn name(&self) -> &'static str {
        "tilt"
    }

    fn key(&self, split: &Split) -> ContentId {
        key("tiltmeter.guard-tilt-context/1", &self.identity, &self.context(split))
    }

    async fn detect(&self, split: &Split) -> Result<Verdict, DetectorError> {
        let tilt = self.tilt(split).await?;
        Ok(tilt.map_or_else(Verdict::default, |tilt| verdict("tilt", tilt, self.settings.threshold)))
    }
}
