//! Judging of answers: which are judged, and what they are judged to be.

mod answer;
mod sampling;

pub use answer::{AnswerJudgement, judge_answer};
pub use sampling::SamplingSettings;
