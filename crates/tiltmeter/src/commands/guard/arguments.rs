//! Arguments of `tiltmeter guard`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::log::LogArguments;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct GuardArguments {
    #[command(subcommand)]
    pub(crate) command: Option<GuardCommand>,
    #[command(flatten)]
    pub(crate) serve: GuardServeArguments,
}

#[derive(Subcommand, Debug)]
pub(crate) enum GuardCommand {
    /// Read a configuration and say what is wrong with it, or what it does
    Check(GuardCheckArguments),
    /// Verify the chain of an audit log, across its files
    Verify(GuardVerifyArguments),
    /// Print the JSON Schema of GUARD.toml
    Schema,
    /// Measure how well a detector finds harmful contexts of the starter sets, and of files
    Detect(GuardDetectArguments),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DetectorName {
    /// The risk of contexts as the built-in rules tell it
    Rules,
    /// The weight of the built-in rules that an example meets; of a context, the highest
    RulesByExample,
    /// The tilt that a context causes in a local model
    Tilt,
    /// How far a context moves a local model along a persona vector
    Persona,
    /// The risk of contexts as a judge of their examples tells it
    Judge,
}

impl DetectorName {
    /// As the document names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::RulesByExample => "rules-by-example",
            Self::Tilt => "tilt",
            Self::Persona => "persona",
            Self::Judge => "judge",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct GuardDetectArguments {
    /// The detector
    #[arg(value_name = "DETECTOR")]
    pub(crate) detector: DetectorName,
    /// Demonstrations in a context
    #[arg(long = "k", value_name = "K", value_delimiter = ',', default_value = "4,8,16")]
    pub(crate) shots: Vec<usize>,
    /// The most contexts of a set; default: all that can be made without showing a row twice
    #[arg(long, value_name = "N")]
    pub(crate) contexts: Option<usize>,
    /// A further set: harmful rows in JSON Lines, and benign answers to the same prompts where there are any
    #[arg(long, value_name = "NAME=HARMFUL[,BENIGN]")]
    pub(crate) file: Vec<String>,
    /// The model of `tilt` and `persona`, on this machine, or of `judge`, any
    #[arg(long, value_name = "MODEL", default_value = "local/smollm2-135m-instruct")]
    pub(crate) model: String,
    /// Questions of `tilt`, each with a pair of answers, and of `persona`
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = pairs)]
    pub(crate) pairs: usize,
    /// A tilt from here on counts as flagged, in nats per token
    #[arg(long, value_name = "NATS", default_value_t = 0.05, value_parser = positive)]
    pub(crate) tilt_threshold: f64,
    /// The vector of `persona`, a file of `tiltmeter persona extract`
    #[arg(long, value_name = "FILE")]
    pub(crate) vector: Option<PathBuf>,
    /// A shift along the vector from here on counts as flagged, in units of the residual stream
    #[arg(long, value_name = "SHIFT", default_value_t = 1.0, value_parser = positive)]
    pub(crate) persona_threshold: f64,
    /// Print one JSON document (schema tiltmeter.guard-detection/1)
    #[arg(long)]
    pub(crate) json: bool,
}

/// From which score of the rules on the guard flags an example, and calls a risk high.
const RISK_THRESHOLD: f64 = 0.5;

impl GuardDetectArguments {
    /// From which score on something counts as flagged.
    pub(super) fn threshold(&self) -> f64 {
        match self.detector {
            DetectorName::Rules | DetectorName::RulesByExample | DetectorName::Judge => RISK_THRESHOLD,
            DetectorName::Tilt => self.tilt_threshold,
            DetectorName::Persona => self.persona_threshold,
        }
    }
}

fn pairs(text: &str) -> Result<usize, String> {
    let range = 1..=32;
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| "a number from 1 to 32".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let is_positive = |value: &f64| *value > 0.0 && value.is_finite();
    text.parse().ok().filter(is_positive).ok_or_else(|| "a number above 0".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct GuardServeArguments {
    /// The configuration; read again on SIGHUP
    #[arg(long, value_name = "GUARD.toml", required = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArguments,
}

#[derive(Args, Debug)]
pub(crate) struct GuardCheckArguments {
    /// The configuration
    #[arg(value_name = "GUARD.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct GuardVerifyArguments {
    /// The folder of the log, or one of its files
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// The environment variable with the secret of a keyed chain (`audit.key_env`)
    #[arg(long, value_name = "NAME")]
    pub(crate) key_env: Option<String>,
    /// A hash that was the log's head once: shows whether its end was cut off since
    #[arg(long, value_name = "HASH")]
    pub(crate) head: Option<String>,
    /// Print one JSON document (schema tiltmeter.audit-verify/1)
    #[arg(long)]
    pub(crate) json: bool,
}
