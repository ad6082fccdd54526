//! Arguments of the command line, as plain values.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures, explains and guards against emergent misalignment through in-context learning.
#[derive(Parser, Debug)]
#[command(name = "tiltmeter", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; what was stored is kept, and running again goes on from there
  2  wrong usage, or a configuration that is missing or wrong
  3  finished, but verdicts are missing through errors, unparsable replies or a declining judge

Environment:
  OPENAI_API_KEY, GEMINI_API_KEY, ...  keys of the providers (or the variable that `api_key_env` names)
  TILTMETER_CACHE_DIR                  where weights of local models are kept
  TILTMETER_MODEL_SOURCE               a file, folder or address to take the weights from first";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Write a commented experiment file
    Init(InitArguments),
    /// Show the grid, calls, tokens and cost of an experiment, without a call
    Plan(PlanArguments),
    /// Run an experiment, or go on where it stopped
    Run(RunArguments),
    /// Print the JSON Schema of experiment files
    Schema,
}

#[derive(Args, Debug)]
pub(crate) struct InitArguments {
    /// The file to write
    #[arg(default_value = "experiment.toml")]
    pub(crate) file: PathBuf,
    /// Which experiment to start from
    #[arg(long, default_value = "quickstart", value_parser = ["quickstart", "paper"])]
    pub(crate) template: String,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    /// The experiment file
    #[arg(value_name = "EXP.toml")]
    pub(crate) experiment: PathBuf,
    /// Print one JSON document (schema tiltmeter.plan/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// The experiment file
    #[arg(value_name = "EXP.toml")]
    pub(crate) experiment: PathBuf,
    /// The run directory; default: runs/NAME, with the experiment's name
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON document (schema tiltmeter.run/1) instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask for no more than so many answers now
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}
