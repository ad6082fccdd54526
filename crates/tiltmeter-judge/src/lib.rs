//! Judging of one answer: the prompts, what a judge's reply means, and how a score is got out of its
//! log-probabilities.
//!
//! One call of [`judge_aspect`] asks a judge for one score of one answer. It decides nothing about retries,
//! limits or order: an error of the judge's provider goes back to the caller as it is. The answer that is
//! judged, and the judge's reply too, are hostile text: neither is ever executed, substituted into or trusted.

mod digits;
mod judge;
mod parse;
mod prompts;
mod weighted;

pub use judge::{AspectJudgement, JudgeSettings, judge_aspect};
pub use parse::{ReplyMeaning, parse_reply};
pub use prompts::{JudgePrompts, PromptError, fence_mark, render, validate};
pub use weighted::{Weighted, weighted_score};
