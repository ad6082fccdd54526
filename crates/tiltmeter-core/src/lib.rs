//! The domain of Tiltmeter: demonstrations, evaluation questions, conditions, samples, verdicts, experiment
//! files, planning and context rendering.
//!
//! This crate does no I/O, reads no clock and knows no provider: text comes in, text goes out.

mod control;
pub mod data;
pub mod demonstration;
pub mod experiment;
pub mod guarding;
pub mod id;
pub mod plan;
pub mod procedure;
pub mod prompt;
pub mod question;
pub mod reshaping;
pub mod shown;
pub mod treatment;
pub mod usefulness;
pub mod verdict;
