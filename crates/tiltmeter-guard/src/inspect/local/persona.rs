//! The projection of a context onto a persona vector.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tiltmeter_core::data::builtin::{BuiltinError, questions};
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::{Prompt, RenderedContext};
use tiltmeter_local::{LocalModel, Reduction, Tap, TokenSelection};
use tiltmeter_persona::{PersonaVector, VectorError};
use tokio::sync::OnceCell;

use super::super::detector::{ContextDetector, DetectorError, Verdict};
use super::super::split::Split;
use super::{demonstrations, key, verdict, without};
use crate::inspection::Projection;

/// How a context is projected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonaSettings {
    /// Index of the residual stream; `None` for the one that the vector's file chose.
    pub layer: Option<usize>,
    /// A shift along the vector's direction from here on flags a context; above 0. It holds for one model and one vector.
    pub threshold: f64,
    /// Built-in questions that are put behind the context.
    pub questions: usize,
    /// The most demonstrations that are shown; the last ones are.
    pub most_examples: usize,
    /// The most bytes of them.
    pub most_bytes: usize,
}

/// A detector of personas that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PersonaError {
    /// The vector does not fit.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// The questions cannot be read.
    #[error(transparent)]
    Questions(#[from] BuiltinError),
}

/// Measures how far a context moves the residual stream along a persona's direction, at the token from which an answer
/// begins (Chen et al., "Persona Vectors", 2025, section on monitoring): the mean over fixed questions, minus the same
/// without a context. In the units of the residual stream.
pub struct PersonaDetector {
    model: LocalModel,
    direction: Vec<f32>,
    taps: Arc<[Tap]>,
    questions: Vec<Arc<str>>,
    settings: PersonaSettings,
    identity: ContentId,
    /// What the vector's file calls the trait.
    trait_name: String,
    layer: usize,
    /// Without a context.
    baseline: OnceCell<f64>,
    /// The last context's shift.
    last: Mutex<Option<f64>>,
}

impl PersonaDetector {
    /// A detector for the model that a vector was extracted from.
    ///
    /// # Errors
    /// Where the vector is another model's, or has no such layer.
    pub fn new(
        model: LocalModel,
        vector: &PersonaVector,
        settings: PersonaSettings,
    ) -> Result<Self, PersonaError> {
        let description = model.description();
        vector.check_model(&description.name, &description.file_sha256)?;
        let (layer, values) = vector.layer(settings.layer)?;
        let detector = Self::along(model, layer, values, settings)?;
        Ok(Self { trait_name: vector.record.name.clone(), ..detector })
    }

    /// Along any vector.
    pub(super) fn along(
        model: LocalModel,
        layer: usize,
        vector: &[f32],
        settings: PersonaSettings,
    ) -> Result<Self, BuiltinError> {
        let canonical = Canonical::new("tiltmeter.guard-persona/1")
            .text(&model.description().file_sha256)
            .integer(layer as u64)
            .number(settings.threshold)
            .integer(settings.questions as u64)
            .integer(settings.most_examples as u64)
            .integer(settings.most_bytes as u64);
        let identity =
            vector.iter().fold(canonical, |canonical, &value| canonical.number(value.into())).finish();
        let tap =
            Tap { layers: [layer].into(), tokens: TokenSelection::PromptLast, reduction: Reduction::Each };
        let questions = questions()?.questions;
        let questions = questions.iter().take(settings.questions).map(|question| question.wording(0).clone());
        Ok(Self {
            model,
            direction: vector.to_vec(),
            taps: [tap].into(),
            questions: questions.collect(),
            settings,
            identity,
            trait_name: String::new(),
            layer,
            baseline: OnceCell::new(),
            last: Mutex::new(None),
        })
    }

    /// The shift of a context; `None` where it has no demonstrations.
    ///
    /// # Errors
    /// Where the model cannot be asked.
    pub async fn shift(&self, split: &Split) -> Result<Option<f64>, DetectorError> {
        let Some(context) = self.context(split)? else { return Ok(None) };
        let without = without();
        let baseline = self.baseline.get_or_try_init(|| self.projection_of(&without)).await?;
        let shift = self.projection_of(&context).await? - baseline;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(shift);
        Ok(Some(shift))
    }

    fn context(&self, split: &Split) -> Result<Option<Arc<RenderedContext>>, DetectorError> {
        demonstrations(split, self.settings.most_examples, self.settings.most_bytes)
    }

    async fn projection_of(&self, context: &Arc<RenderedContext>) -> Result<f64, DetectorError> {
        let nothing: Arc<str> = "".into();
        let readings = self.questions.iter().map(|question| async {
            let prompt = Arc::new(Prompt::new(context.clone(), None, question.clone()));
            self.model.hidden_states(&prompt, &nothing, &self.taps).await
        });
        let readings = try_join_all(readings).await;
        let readings = readings.map_err(|error| DetectorError::Failed(error.to_string()))?;
        let states = readings.iter().flat_map(|states| &states.taps).flat_map(|tap| &tap.layers).flatten();
        let (mut sum, mut count) = (0.0, 0.0);
        for state in states {
            sum += self.along_direction(state);
            count += 1.0;
        }
        let mean: f64 = sum / count;
        if mean.is_finite() {
            Ok(mean)
        } else {
            Err(DetectorError::Unusable("there was nothing to project".to_owned()))
        }
    }

    fn along_direction(&self, state: &[f32]) -> f64 {
        let product = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        product(state, &self.direction) / product(&self.direction, &self.direction).sqrt()
    }
}

#[async_trait]
impl ContextDetector for PersonaDetector {
    fn name(&self) -> &'static str {
        "persona"
    }

    fn key(&self, split: &Split) -> ContentId {
        key("tiltmeter.guard-persona-context/1", &self.identity, &self.context(split))
    }

    async fn detect(&self, split: &Split) -> Result<Verdict, DetectorError> {
        let shift = self.shift(split).await?;
        Ok(shift.map_or_else(Verdict::default, |shift| verdict("persona", shift, self.settings.threshold)))
    }

    fn projection(&self) -> Option<Projection> {
        let last = (*self.last.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(Projection { persona: self.trait_name.clone(), layer: self.layer, last })
    }
}
