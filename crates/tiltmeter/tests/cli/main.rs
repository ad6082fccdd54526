//! Whole commands, as a user runs them, against the scripted server and the real local model.

#![allow(missing_docs, reason = "tests")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are not seen as tests"
)]

mod adaptive;
mod annotate;
mod bad_input;
mod batches;
mod compare;
mod controls;
mod data;
mod defences;
mod documents;
mod effects;
mod engine;
mod export;
mod gates;
mod golden;
mod guard;
mod guard_defence;
mod guard_detect;
mod http;
mod judges;
mod local;
mod log;
mod model;
#[cfg(feature = "otlp")]
mod otlp;
mod paper;
mod persona;
mod planted;
mod reasoning;
mod report;
mod resume;
mod score;
mod several_calls;
mod support;
mod traces;
mod usefulness;
