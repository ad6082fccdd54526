//! Exit codes, and failures that carry one.

use std::fmt;

/// How the program ends. Also what `--help` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed; what was stored is kept.
    Failed = 1,
    /// Wrong usage, or a configuration that is missing or wrong. Also what the argument parser exits with.
    Configuration = 2,
    /// Finished, but verdicts are missing through errors, unparsable replies or a declining judge.
    Incomplete = 3,
    /// Finished, and a gate failed.
    Gate = 4,
}

/// Why the program ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// The world is at fault.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Failed, message: message.to_string() }
    }

    /// The configuration is at fault.
    pub(crate) fn configuration(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Configuration, message: message.to_string() }
    }
}
