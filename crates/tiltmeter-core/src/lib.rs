//! The domain of Tiltmeter: demonstrations, evaluation questions, conditions, samples, verdicts, experiment
//! files, planning and context rendering.
//!
//! This crate does no I/O, reads no clock and knows no provider: text comes in, text goes out.

pub mod experiment;
pub mod id;
pub mod prompt;
pub mod verdict;
