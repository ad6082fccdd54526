//! Judging of one answer: the prompts, what a judge's reply means, and how a score is got out of its
//! log-probabilities. Coding of one trace of reasoning: code books, and what a coder's reply means.
//!
//! One call of [`judge_aspect`] asks a judge for one score of one answer, one of [`code_trace`] a coder for the labels
//! of one trace. They decide nothing about retries, limits or order: an error of the provider goes back to the caller
//! as it is. What is judged or coded, and the replies too, are hostile text: none of it is ever executed, substituted
//! into or trusted.

mod codebook;
mod digits;
mod judge;
mod parse;
mod prompts;
mod quote;
mod trace;
mod weighted;

pub use codebook::{CodeBook, CodeLabel, CodeRole, codebook_schema};
pub use judge::{AspectJudgement, JudgeSettings, judge_aspect};
pub use parse::{ReplyMeaning, parse_reply};
pub use prompts::{JudgePrompts, PromptError, fence_mark, render, validate};
pub use trace::{
    CoderSettings, CodingOutcome, GivenLabel, LabelState, TraceCoding, code_trace, coder_hash,
    coder_prompt_hash, trace_prompt,
};
pub use weighted::{Weighted, weighted_score};
