//! How a local model is steered, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a local model is steered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerFile {
    /// A vector file of `tiltmeter persona extract`, of the same model.
    pub vector: String,
    /// Index of the residual stream, 1 to the number of blocks: the vector is added at the output of so many blocks.
    /// Where absent, the layer that the vector file chose; needed where it chose none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub layer: Option<u32>,
    /// What the vector is multiplied with; negative to steer against the trait.
    pub coefficient: f64,
    /// Steers along a random direction of the vector's length at that layer in place of the vector, drawn with this
    /// seed: the control that tells the trait's direction from any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<u64>,
    /// Which tokens are changed.
    #[serde(default)]
    pub span: SteerSpan,
    /// The two texts between which the model reasons, for the span `reasoning`; where absent `<think>` and `</think>`.
    /// With an empty first one, an answer starts with reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_marks: Option<[String; 2]>,
}

/// What is taken away from a local model's residual stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AblateFile {
    /// A vector file of `tiltmeter persona extract`, of the same model.
    pub vector: String,
    /// Index of the residual stream, as for `steer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub layer: Option<u32>,
    /// Which tokens are changed.
    #[serde(default)]
    pub span: SteerSpan,
    /// As for `steer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_marks: Option<[String; 2]>,
}

/// Which tokens are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum SteerSpan {
    /// Those that the answer is predicted from: the prompt's last and each of the answer's.
    #[default]
    Answer,
    /// Of those, the ones that reasoning is predicted from.
    Reasoning,
    /// The prompt's.
    Prompt,
    /// All.
    All,
}

impl SteerSpan {
    /// The name in experiment files and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Reasoning => "reasoning",
            Self::Prompt => "prompt",
            Self::All => "all",
        }
    }
}
