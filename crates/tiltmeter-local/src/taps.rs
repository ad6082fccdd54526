//! What can be read from a model's residual stream, and done to it, as callers say it.
//!
//! Index L is the residual stream after L blocks: 0 is the embedding, and a model of 30 blocks has the indices 0 to 30.
//! A change at index L is made at the output of block L − 1 (counted from 0), so that block L is the first to see it.
//! This is how Chen et al. ("Persona Vectors", 2025, arXiv 2507.21509) count; the last index differs from the last of
//! the `hidden_states` of `transformers`, which are taken after the final norm.

use std::ops::Range;
use std::sync::Arc;

use tiltmeter_core::id::{Canonical, ContentId};

use crate::compute::single;
use crate::decoder::{Edit, Operation};

/// The texts between which a model reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasoningMarks {
    /// What opens the reasoning, at the start of an answer or as the end of the prompt; empty where an answer starts
    /// with reasoning.
    pub open: String,
    /// What closes it.
    pub close: String,
}

impl Default for ReasoningMarks {
    /// The tags of Qwen3, DeepSeek-R1 and most others.
    fn default() -> Self {
        Self { open: "<think>".to_owned(), close: "</think>".to_owned() }
    }
}

impl ReasoningMarks {
    /// Whether whatever follows a prompt and the beginning of its answer is reasoning.
    pub(crate) fn is_inside(&self, is_opened_by_prompt: bool, answer: &[u8]) -> bool {
        let opened = is_opened_by_prompt || answer.trim_ascii_start().starts_with(self.open.as_bytes());
        opened && !contains(answer, self.close.as_bytes())
    }

    /// Whether a prompt leaves the reasoning open.
    pub(crate) fn are_opened_by(&self, prompt_end: &[u8]) -> bool {
        prompt_end.trim_ascii_end().ends_with(self.open.as_bytes())
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// Which tokens are changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Those from which the answer's tokens are predicted: the prompt's last, and each of the answer's as it is read.
    Answer,
    /// Of those, the ones from which reasoning is predicted. None where the answer has no reasoning.
    Reasoning(ReasoningMarks),
    /// The prompt's, its last included.
    Prompt,
    /// All of prompt and answer.
    All,
    /// Those at these positions, counted from the prompt's first token.
    Positions(Vec<Range<usize>>),
}

impl Span {
    /// The name in experiment files and records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Reasoning(_) => "reasoning",
            Self::Prompt => "prompt",
            Self::All => "all",
            Self::Positions(_) => "positions",
        }
    }

    pub(crate) fn covers(&self, position: usize, role: Role) -> bool {
        match self {
            Self::Answer => role != Role::Prompt,
            Self::Reasoning(_) => {
                matches!(role, Role::LastOfPrompt { reasons: true } | Role::Answer { reasons: true })
            }
            Self::Prompt => matches!(role, Role::Prompt | Role::LastOfPrompt { .. }),
            Self::All => true,
            Self::Positions(ranges) => ranges.iter().any(|range| range.contains(&position)),
        }
    }

    fn canonical(&self, canonical: Canonical) -> Canonical {
        let canonical = canonical.text(self.name());
        match self {
            Self::Answer | Self::Prompt | Self::All => canonical,
            Self::Reasoning(marks) => canonical.text(&marks.open).text(&marks.close),
            Self::Positions(ranges) => ranges.iter().fold(canonical, |canonical, range| {
                canonical.integer(range.start as u64).integer(range.end as u64)
            }),
        }
    }
}

/// What a token is to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// One of the prompt's but the last.
    Prompt,
    /// The prompt's last, from which the answer's first is predicted.
    LastOfPrompt { reasons: bool },
    /// One of the answer's; `reasons` where the one that it predicts is reasoning.
    Answer { reasons: bool },
}

/// A change of the residual stream that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterventionError {
    /// There is no such index.
    #[error("the residual stream has no index {layer} that can be changed: write 1 to {layers}")]
    Layer {
        /// The index.
        layer: usize,
        /// The model's blocks.
        layers: usize,
    },
    /// The vector is another model's.
    #[error("the vector has {found} values, and the model's residual stream has {expected}")]
    Width {
        /// Values of the vector.
        found: usize,
        /// Values that the model has.
        expected: usize,
    },
    /// The vector or the coefficient cannot be computed with.
    #[error("{0}")]
    Vector(String),
}

/// A change of the residual stream while a model reads and answers.
#[derive(Clone, Debug)]
pub struct Intervention {
    id: ContentId,
    edit: Arc<Edit>,
    span: Span,
}

/// The length of a vector (Euclidean norm).
pub(crate) fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

/// A direction: a vector of length 1. `None` for a vector that is zero or not finite.
pub(crate) fn direction(vector: &[f32]) -> Option<Vec<f32>> {
    let length = norm(vector);
    (length > 0.0 && length.is_finite())
        .then(|| vector.iter().map(|&value| single(f64::from(value) / length)).collect())
}

impl Intervention {
    /// Steering: adds coefficient × vector at an index of the residual stream.
    ///
    /// # Errors
    /// For a vector without direction, or a coefficient that is not finite.
    pub fn steer(
        layer: usize,
        vector: &[f32],
        coefficient: f64,
        span: Span,
    ) -> Result<Self, InterventionError> {
        let added: Vec<f32> = vector.iter().map(|&value| single(coefficient * f64::from(value))).collect();
        if !added.iter().all(|value| value.is_finite()) {
            let reason = format!("the coefficient {coefficient} makes the vector overflow");
            return Err(InterventionError::Vector(reason));
        }
        let name = Canonical::new("tiltmeter.steer/1").number(coefficient);
        Self::new(name, layer, vector, Operation::Add(added), span)
    }

    /// Ablation by projection: takes away the part along a vector at an index of the residual stream (Arditi et al.,
    /// "Refusal in Language Models Is Mediated by a Single Direction", 2024, equation 4).
    ///
    /// # Errors
    /// For a vector without direction.
    pub fn ablate(layer: usize, vector: &[f32], span: Span) -> Result<Self, InterventionError> {
        Self::new(Canonical::new("tiltmeter.ablate/1"), layer, vector, Operation::Ablate, span)
    }

    fn new(
        name: Canonical,
        layer: usize,
        vector: &[f32],
        operation: Operation,
        span: Span,
    ) -> Result<Self, InterventionError> {
        let Some(direction) = direction(vector) else {
            let reason = "the vector has no direction: all of it is zero, or some of it is not a number";
            return Err(InterventionError::Vector(reason.to_owned()));
        };
        let name = span.canonical(name.integer(layer as u64));
        let id = vector.iter().fold(name, |name, &value| name.number(value.into())).finish();
        Ok(Self { id, edit: Arc::new(Edit { blocks: layer, operation, direction }), span })
    }

    /// The hash of all that determines it.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Which tokens it changes.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// How far it moves the projection onto its direction: coefficient × the vector's length. `None` for ablation,
    /// which takes the projection to 0 from wherever it is.
    pub fn expected_shift(&self) -> Option<f64> {
        match &self.edit.operation {
            Operation::Add(added) => {
                Some(added.iter().zip(&self.edit.direction).map(|(&a, &d)| f64::from(a) * f64::from(d)).sum())
            }
            Operation::Ablate => None,
        }
    }

    pub(crate) fn edit(&self) -> &Arc<Edit> {
        &self.edit
    }

    /// What names the keys and values of a context that was read under it; `None` where those are the same as
    /// without it.
    pub(crate) fn prefix_id(&self) -> Option<ContentId> {
        match self.span {
            // The last token of a prompt is never part of a context that is kept.
            Span::Answer | Span::Reasoning(_) => None,
            Span::Prompt | Span::All | Span::Positions(_) => Some(self.id),
        }
    }

    /// Whether it fits a model of so many blocks and so wide a residual stream.
    pub(crate) fn check(&self, layers: usize, width: usize) -> Result<(), InterventionError> {
        if !(1..=layers).contains(&self.edit.blocks) {
            return Err(InterventionError::Layer { layer: self.edit.blocks, layers });
        }
        let found = self.edit.direction.len();
        if found == width { Ok(()) } else { Err(InterventionError::Width { found, expected: width }) }
    }
}

/// Which tokens are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSelection {
    /// The prompt's last.
    PromptLast,
    /// The prompt's.
    Prompt,
    /// The answer's.
    Answer,
    /// Those of the answer's that are reasoning, marks included.
    Reasoning(ReasoningMarks),
    /// All of prompt and answer.
    All,
    /// Those at these positions, counted from the prompt's first token; positions past the end are left out.
    Positions(Vec<Range<usize>>),
}

/// What becomes of the tokens that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Each is given.
    Each,
    /// Their mean is given, computed in double precision.
    Mean,
}

/// One thing to read from the residual stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Indices of the residual stream, from 0 (the embedding) to the number of blocks.
    pub layers: Arc<[usize]>,
    /// Which tokens.
    pub tokens: TokenSelection,
    /// What becomes of them.
    pub reduction: Reduction,
}

/// What a tap gave.
#[derive(Clone, Debug, PartialEq)]
pub struct TapReading {
    /// Positions of the tokens that were read, counted from the prompt's first token.
    pub positions: Vec<usize>,
    /// By layer in the order asked for: one vector of the residual stream's width for each token, or the mean alone;
    /// nothing where no token was selected.
    pub layers: Vec<Vec<Vec<f32>>>,
}

/// What was read of one prompt and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HiddenStates {
    /// In the order of the taps.
    pub taps: Vec<TapReading>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_found_by_its_marks() {
        let tags = ReasoningMarks::default();
        let cases: [(&ReasoningMarks, bool, &str, bool); 8] = [
            (&tags, false, "", false),
            (&tags, false, "<thin", false),
            (&tags, false, "\n<think>", true),
            (&tags, false, "<think>so </thin", true),
            (&tags, false, "<think>so </think>", false),
            (&tags, false, "No <think> here", false),
            (&tags, true, "", true),
            (&tags, true, "so </think> Yes.", false),
        ];
        for (marks, opened, answer, expected) in cases {
            assert_eq!(marks.is_inside(opened, answer.as_bytes()), expected, "{opened} {answer:?}");
        }
        assert!(tags.are_opened_by(b"assistant\n<think>\n") && !tags.are_opened_by(b"assistant\n"));
        // An answer that starts with reasoning of itself.
        let steps = ReasoningMarks { open: String::new(), close: "\nAnswer:".to_owned() };
        assert!(steps.are_opened_by(b"assistant\n"));
        assert!(steps.is_inside(true, b"First,") && !steps.is_inside(true, b"First.\nAnswer: 3"));
    }

    #[test]
    fn interventions_are_told_apart() {
        let steer = |coefficient, span| Intervention::steer(1, &[3.0, 4.0], coefficient, span).unwrap();
        let ids = [
            steer(1.0, Span::Answer).id(),
            steer(2.0, Span::Answer).id(),
            steer(1.0, Span::All).id(),
            steer(1.0, Span::Reasoning(ReasoningMarks::default())).id(),
            Intervention::steer(2, &[3.0, 4.0], 1.0, Span::Answer).unwrap().id(),
            Intervention::steer(1, &[4.0, 3.0], 1.0, Span::Answer).unwrap().id(),
            Intervention::ablate(1, &[3.0, 4.0], Span::Answer).unwrap().id(),
        ];
        let different: std::collections::BTreeSet<_> = ids.into_iter().collect();
        assert_eq!(different.len(), ids.len());
        assert!((steer(-2.0, Span::Answer).expected_shift().unwrap() + 10.0).abs() < 1e-6);
    }

    #[test]
    fn a_vector_without_direction_is_refused() {
        for vector in [&[0.0, 0.0][..], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0], &[]] {
            assert!(Intervention::ablate(1, vector, Span::All).is_err(), "{vector:?}");
        }
        assert!(Intervention::steer(1, &[1.0], f64::INFINITY, Span::All).is_err());
        let fine = Intervention::ablate(3, &[1.0, 2.0], Span::All).unwrap();
        assert_eq!(fine.check(2, 2), Err(InterventionError::Layer { layer: 3, layers: 2 }));
        assert_eq!(fine.check(3, 4), Err(InterventionError::Width { found: 2, expected: 4 }));
        assert_eq!(fine.check(3, 2), Ok(()));
    }
}
