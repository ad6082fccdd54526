//! A scripted server of OpenAI's chat-completions protocol, and of Gemini's own, for tests: its subject misbehaves at planted rates, its
//! judge recognises that, its coder finds what its reasoning says, and its faults come when they are told to.
//!
//! Everything that it answers is a pure function of the script and the request, so that a test can compute the
//! truth of each stored sample ([`planted`]) and a run that is repeated gets the same answers. Only which attempt
//! of a request meets which fault depends on what was asked before.
//!
//! Batches of requests, by way of `/v1/files` and `/v1/batches`, are answered as the same requests would be one by
//! one.
//!
//! It listens on this machine only. It is never part of what is shipped.

mod batch;
mod chance;
mod coder;
mod connection;
mod gemini;
mod judge;
mod ledger;
mod planted;
mod probed;
mod request;
mod script;
mod self_check;
mod server;
mod subject;
mod wire;

pub use coder::TRACE_SENTENCES;
pub use ledger::{Counters, ProbeTruth, TruthRow};
pub use planted::{Demonstrations, Outcome, Planted, planted, planted_for_prompt};
pub use probed::{PlantedProbe, ProbeOutcome, ProbeScript};
pub use request::{ChatBody, Message};
pub use script::{
    BatchScript, CoderScript, Fault, FaultScript, JudgeScript, LogProbabilityMode, Script, ScriptError,
    SelfCheckScript, ServerScript, TraceScript,
};
pub use server::{Sim, SimHandle};
