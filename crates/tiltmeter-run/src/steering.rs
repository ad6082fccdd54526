//! From a subject's steering, as an experiment file has it, to an intervention in its model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tiltmeter_core::experiment::{SteerSpan, Steering, SteeringKind};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_local::{Intervention, LocalModel, ReasoningMarks, Reduction, Span, Tap, TokenSelection};
use tiltmeter_models::ModelError;
use tiltmeter_persona::{PersonaVector, length};

/// A shift of more than so many lengths of the residual stream leaves nothing of it: norms scale what follows to the
/// vector alone, and the model answers alike whatever it was asked.
pub const OVERWHELMING: f64 = 10.0;

/// How a subject was steered, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteeringRecord {
    /// `steer` or `ablate`.
    pub kind: String,
    /// The trait.
    #[serde(rename = "trait")]
    pub name: String,
    /// The vector's file, as the experiment file names it, and the seed of the random direction in its place.
    pub vector: String,
    /// Hash of its bytes, or of those that the random direction would have as a file.
    pub vector_hash: String,
    /// Index of the residual stream.
    pub layer: usize,
    /// What the vector was multiplied with; absent for ablation.
    pub coefficient: Option<f64>,
    /// Which tokens were changed.
    pub span: String,
    /// The texts between which the model reasons, where the user said so.
    pub reasoning_marks: Option<[String; 2]>,
    /// By how much the projection onto the direction should move; absent for ablation, which takes it to 0.
    pub expected_shift: Option<f64>,
    /// The mean length of the residual stream at that layer, as [`stream_length`] gives it; absent in runs of earlier
    /// versions.
    #[serde(default)]
    pub stream_length: Option<f64>,
}

/// The mean length of a model's residual stream at a layer, over the tokens of a short answer to an everyday question:
/// what shifts are compared with. The prompt's tokens are left out, since the first of them are often far longer.
///
/// # Errors
/// For an index that the model does not have, or where it fails.
pub async fn stream_length(model: &LocalModel, layer: usize) -> Result<f64, ModelError> {
    let prompt = Arc::new(Prompt::single("What do you do on a free day?"));
    let answer: Arc<str> =
        "I take a long walk, read for a while, and cook something simple for dinner.".into();
    let tap = Tap { layers: [layer].into(), tokens: TokenSelection::Answer, reduction: Reduction::Each };
    let states = model.hidden_states(&prompt, &answer, &[tap].into()).await?;
    let rows: Vec<&Vec<f32>> = states.taps.iter().flat_map(|tap| &tap.layers).flatten().collect();
    Ok(rows.iter().map(|row| length(row)).sum::<f64>() / rows.len().max(1) as f64)
}

/// Marks as the engine of local models takes them.
pub(crate) fn marks(given: Option<&[String; 2]>) -> ReasoningMarks {
    given.map_or_else(ReasoningMarks::default, |[open, close]| ReasoningMarks {
        open: open.clone(),
        close: close.clone(),
    })
}

/// The span of a name in records and arguments.
pub(crate) fn span(name: SteerSpan, given: Option<&[String; 2]>) -> Span {
    match name {
        SteerSpan::Answer => Span::Answer,
        SteerSpan::Reasoning => Span::Reasoning(marks(given)),
        SteerSpan::Prompt => Span::Prompt,
        SteerSpan::All => Span::All,
    }
}

/// A change along a vector of a file, once it is certain that it is of this model.
///
/// # Errors
/// Why it cannot be made.
pub fn intervention(
    model: &LocalModel,
    vector: &PersonaVector,
    kind: SteeringKind,
    layer: Option<usize>,
    span_name: SteerSpan,
    reasoning_marks: Option<&[String; 2]>,
) -> Result<(usize, Intervention), String> {
    let description = model.description();
    vector.check_model(&description.name, &description.file_sha256).map_err(|error| error.to_string())?;
    let (layer, values) = vector.layer(layer).map_err(|error| error.to_string())?;
    let span = span(span_name, reasoning_marks);
    let intervention = match kind {
        SteeringKind::Steer { coefficient } => Intervention::steer(layer, values, coefficient, span),
        SteeringKind::Ablate => Intervention::ablate(layer, values, span),
    };
    intervention.map(|intervention| (layer, intervention)).map_err(|error| error.to_string())
}

/// The model as the subject is to be, and what is written down of it.
pub(crate) async fn steer(
    model: &LocalModel,
    steering: &Steering,
) -> Result<(LocalModel, SteeringRecord), String> {
    let Steering { kind, vector: file, random, layer, span, reasoning_marks } = steering;
    let inside = |error: &dyn std::fmt::Display| format!("{}: {error}", file.path);
    let mut vector = PersonaVector::from_bytes(&file.bytes).map_err(|error| inside(&error))?;
    let mut path = file.path.clone();
    let mut hash = file.hash;
    if let Some(seed) = *random {
        vector = vector.randomised(seed).map_err(|error| inside(&error))?;
        path = format!("{path}, random {seed}");
        hash = vector.hash();
    }
    let layer = layer.map(|layer| layer as usize);
    let (layer, intervention) = intervention(model, &vector, *kind, layer, *span, reasoning_marks.as_ref())
        .map_err(|error| inside(&error))?;
    let expected_shift = intervention.expected_shift();
    let steered = model.with_intervention(intervention).map_err(|error| inside(&error))?;
    let stream = stream_length(model, layer).await.map_err(|error| inside(&error))?;
    let record = SteeringRecord {
        kind: match kind {
            SteeringKind::Steer { .. } => "steer".to_owned(),
            SteeringKind::Ablate => "ablate".to_owned(),
        },
        name: vector.record.name.clone(),
        vector: path,
        vector_hash: hash.to_string(),
        layer,
        coefficient: match kind {
            SteeringKind::Steer { coefficient } => Some(*coefficient),
            SteeringKind::Ablate => None,
        },
        span: span.name().to_owned(),
        reasoning_marks: reasoning_marks.clone(),
        expected_shift,
        stream_length: Some(stream),
    };
    Ok((steered, record))
}
