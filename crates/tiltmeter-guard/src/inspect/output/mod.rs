//! What is known of answers afterwards: which are judged, what they are judged to be, and whether they get worse.
//!
//! Nothing here stands between a model and its reader.

mod drift;
mod judging;
mod sampling;

pub use drift::{Alarm, Drift, DriftSettings, DriftSettingsError};
pub use judging::{AnswerJudgement, judge_answer};
pub use sampling::SamplingSettings;
