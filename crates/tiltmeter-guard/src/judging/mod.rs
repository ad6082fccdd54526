//! Judging of answers: which are judged, what they are judged to be, and what became of those that were to be.
//!
//! A sampled answer passes as it would otherwise, and is judged behind it; an answer that a check holds back is judged
//! before it is given ([`JudgeCheck`](crate::output::JudgeCheck)). Both ask the same judges.

mod answer;
mod desk;
mod gather;
mod judgement;
mod open;
mod question;
mod sampling;

pub use answer::{AnswerJudge, AnswerJudgeSettings};
pub(crate) use answer::{MOST_CHOICES, Questions};
pub(crate) use desk::{Desk, Sampled};
pub(crate) use gather::{Gatherer, SharedGatherer, Texts, choice_of};
pub use judgement::{Judgement, JudgingOutcome, Rationalisation};
pub use open::{AnswerJudgeFile, JudgeError};
pub use question::Question;
pub use sampling::{Chosen, SamplingSettings};
