//! What an inspector is asked, and what it answers. The gateway knows inspectors by this alone.

use std::borrow::Cow;
use std::ops::Range;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tiltmeter_core::id::ContentId;

pub use crate::conversation::{Message, Protocol, RequestView, Role, Text, TextKind};
pub use crate::inspect::CacheCounts;

/// How much a context is thought to tilt its reader.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RiskLevel {
    /// Nothing was found.
    #[default]
    None,
    /// Something was found that should be known of.
    Low,
    /// Something was found that should be acted upon.
    High,
}

impl UncheckedReason {
    /// As logs and figures name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::NotText => "not-text",
            Self::Unknown => "unknown",
            Self::TimedOut => "timed-out",
            Self::Failed => "failed",
            Self::Shed => "shed",
            Self::Resting => "resting",
            Self::Pending => "pending",
            Self::StoredElsewhere => "stored-elsewhere",
            Self::Uninspected => "uninspected",
        }
    }
}

impl RiskLevel {
    /// As configuration, headers and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// A level, and the number that it was taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Risk {
    /// What policies act upon.
    pub level: RiskLevel,
    /// From 0, harmless, to 1. A number that is none, or lies outside, counts as 1.
    pub score: f64,
}

impl Risk {
    /// The higher of two: by level, then by number.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let key = |risk: Self| (risk.level, risk.clamped());
        if key(other) > key(self) { other } else { self }
    }

    /// The number within its range.
    pub fn clamped(self) -> f64 {
        if self.score.is_nan() { 1.0 } else { self.score.clamp(0.0, 1.0) }
    }
}

/// Why a risk is what it is. It holds no text of the request: it is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Which detector says so.
    pub detector: Cow<'static, str>,
    /// A fixed short word for what was found, such as `context-first-instruction`.
    pub code: Cow<'static, str>,
    /// From 0 to 1.
    pub score: f64,
}

/// An example in a context: the address of its content, so that the same example in another request has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExampleId(pub ContentId);

/// Where something stands in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Whole messages: their indices in [`RequestView::messages`].
    Messages(Range<usize>),
    /// A part of one text of a message.
    Text {
        /// The message's index in [`RequestView::messages`].
        message: usize,
        /// The text's index in [`Message::texts`].
        text: usize,
        /// Bytes of the text as [`RequestView::text`] gives it.
        range: Range<usize>,
    },
}

/// An example that should not reach the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlaggedExample {
    /// Which one.
    pub id: ExampleId,
    /// All that has to be cut out for it to be gone, each place once. Empty where it cannot be cut out.
    pub places: Vec<Place>,
}

/// Why something was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UncheckedReason {
    /// More than the inspector looks at.
    TooLarge,
    /// An image, a sound, a file, a reference to something stored elsewhere.
    NotText,
    /// A shape that the inspector does not know.
    Unknown,
    /// No time was left.
    TimedOut,
    /// The detector failed.
    Failed,
    /// The gateway was too busy.
    Shed,
    /// The detector failed too often before and rests.
    Resting,
    /// The detector works apart from requests, and has not come to this yet; a later request will know.
    Pending,
    /// A part of the context that only the model's server has: an earlier answer or conversation that the request goes on
    /// with, a prompt or an item that it names.
    StoredElsewhere,
    /// The request is for an address that no detector is for, such as uploads of files and batches.
    Uninspected,
}

/// Something that was not looked at. What is not checked must be said, never passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// Which detector did not look at it.
    pub detector: Cow<'static, str>,
    /// Why.
    pub reason: UncheckedReason,
    /// How much of the request, in bytes.
    pub bytes: u64,
}

/// What is thought of a request's context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspection {
    /// What policies act upon.
    pub risk: Risk,
    /// Why.
    pub reasons: Vec<Reason>,
    /// How many examples the context was found to hold.
    pub examples: usize,
    /// Those that should not reach the model.
    pub flagged: Vec<FlaggedExample>,
    /// What was not looked at. One of the reasons [`UncheckedReason::TimedOut`] and [`UncheckedReason::Failed`] makes the
    /// gateway apply what its configuration says of failures.
    pub unchecked: Vec<Unchecked>,
}

/// Looks at contexts. It is told nothing of models' answers and nothing of who asks.
///
/// It is called at the same time from many requests, under a limit of time: the future may be dropped at any point where
/// it waits. Work that keeps a processor busy for more than about a millisecond must not be done in place: it belongs
/// on a thread for blocking work, so that other requests go on meanwhile.
#[async_trait]
pub trait Inspector: Send + Sync {
    /// Looks at one request.
    async fn inspect(&self, request: &RequestView) -> Inspection;

    /// Figures of its own.
    fn figures(&self) -> InspectorFigures {
        InspectorFigures::default()
    }
}

/// What an inspector counts and measures itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InspectorFigures {
    /// How often verdicts were found among those that are kept; `None` where none are.
    pub cache: Option<CacheCounts>,
    /// The last projections onto persona vectors, by vector.
    pub projections: Vec<Projection>,
}

/// How far a context moved a model along a persona vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// What the vector's file calls the trait.
    pub persona: String,
    /// Index of the residual stream.
    pub layer: usize,
    /// The last context's shift, in units of the residual stream.
    pub last: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_risk_is_by_level_and_then_by_number() {
        let risk = |level, score| Risk { level, score };
        let low = risk(RiskLevel::Low, 0.9);
        let high = risk(RiskLevel::High, 0.2);
        assert_eq!(low.max(high), high);
        assert_eq!(high.max(low), high);
        assert!(high.max(risk(RiskLevel::High, 0.3)).score > 0.25);
        assert!(risk(RiskLevel::None, f64::NAN).clamped() > 0.99);
    }
}
