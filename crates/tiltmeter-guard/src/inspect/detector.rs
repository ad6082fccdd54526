//! What a detector is: for single examples, whose verdicts are kept by content, and for contexts as a whole.

use std::borrow::Cow;

use async_trait::async_trait;
use tiltmeter_core::id::ContentId;

use super::example::Example;
use super::split::Split;
use crate::inspection::{Projection, UncheckedReason};

/// One thing that a detector found. It holds no text of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// A fixed short word for it.
    pub code: Cow<'static, str>,
    /// From 0 to 1.
    pub score: f64,
}

/// What a detector thinks of an example or a context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// From 0, harmless, to 1.
    pub score: f64,
    /// Whether that is too much, by the detector's own threshold.
    pub is_flagged: bool,
    /// Why.
    pub findings: Vec<Finding>,
}

/// Why a detector has no verdict. Never the same as a clean verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectorError {
    /// No time was left.
    #[error("no time was left")]
    TimedOut,
    /// More text than the detector takes.
    #[error("{bytes} bytes are more than the detector takes")]
    TooLarge {
        /// How much it is.
        bytes: usize,
    },
    /// It gave no answer for this example, or none that can be read.
    #[error("the detector's answer cannot be used: {0}")]
    Unusable(String),
    /// It could not be asked, or failed.
    #[error("{0}")]
    Failed(String),
    /// Too much was waiting for it.
    #[error("too much is waiting for the detector")]
    Shed,
    /// It works apart from requests, and has not come to this yet.
    #[error("the detector has not come to this yet")]
    Pending,
}

impl DetectorError {
    /// As inspections tell it.
    pub fn reason(&self) -> UncheckedReason {
        match self {
            Self::TimedOut => UncheckedReason::TimedOut,
            Self::TooLarge { .. } => UncheckedReason::TooLarge,
            Self::Unusable(_) | Self::Failed(_) => UncheckedReason::Failed,
            Self::Shed => UncheckedReason::Shed,
            Self::Pending => UncheckedReason::Pending,
        }
    }
}

/// Looks at single examples. The same example has the same verdict wherever it stands.
#[async_trait]
pub trait ExampleDetector: Send + Sync {
    /// As reasons name it.
    fn name(&self) -> &'static str;

    /// The hash of all that verdicts depend on besides the example: rules, prompt, model, settings, version of the code.
    fn identity(&self) -> ContentId;

    /// How many examples it takes at once.
    fn batch(&self) -> usize;

    /// Looks at examples, no more than [`ExampleDetector::batch`]; gives one result for each, in their order. Work that
    /// keeps a processor busy is done on a thread for it.
    async fn detect(&self, examples: &[&Example]) -> Vec<Result<Verdict, DetectorError>>;
}

/// Looks at a context as a whole.
#[async_trait]
pub trait ContextDetector: Send + Sync {
    /// As reasons name it.
    fn name(&self) -> &'static str;

    /// The hash of all that its verdict on a context depends on, itself included.
    fn key(&self, split: &Split) -> ContentId;

    /// Looks at a context.
    ///
    /// # Errors
    /// Where there is no verdict; that is never a clean one.
    async fn detect(&self, split: &Split) -> Result<Verdict, DetectorError>;

    /// The last context's projection onto a persona vector, of a detector that measures one.
    fn projection(&self) -> Option<Projection> {
        None
    }
}
