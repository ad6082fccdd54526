//! Arguments of `tiltmeter persona`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Dollars;
use crate::log::LogArguments;

#[derive(Args, Debug)]
pub(crate) struct PersonaArguments {
    #[command(subcommand)]
    pub(crate) command: PersonaCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PersonaCommand {
    /// Extract the vectors of a trait from a local model
    Extract(Box<ExtractArguments>),
    /// Project the prompts and stored answers of a run onto a vector; generates nothing
    Project(ProjectArguments),
    /// Answer a question under several coefficients, to look at; an experiment's `steer` measures it
    Steer(SteerArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ExtractArguments {
    /// A built-in trait (reckless, evil, sycophantic), or a trait file in JSON
    #[arg(long = "trait", value_name = "NAME|FILE")]
    pub(crate) name: String,
    /// The model, such as local/smollm2-135m-instruct
    #[arg(long, value_name = "local/MODEL")]
    pub(crate) model: String,
    /// Who rates the rollouts, so that only those are kept that show what they should; without, all are kept
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub(crate) judge: Option<String>,
    /// Address that replaces the judge's
    #[arg(long, value_name = "URL", requires = "judge")]
    pub(crate) base_url: Option<String>,
    /// Name of the environment variable that holds the judge's key
    #[arg(long, value_name = "NAME", requires = "judge")]
    pub(crate) api_key_env: Option<String>,
    /// Spend no more than so many US dollars on the judge
    #[arg(long, value_name = "USD", value_parser = Dollars::parse, requires = "judge")]
    pub(crate) max_cost: Option<Dollars>,
    /// Answers to each question under each instruction
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rollouts: u32,
    /// Use the first N pairs of instructions; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: Option<u32>,
    /// Ask the first N questions; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) questions: Option<u32>,
    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// Softmax temperature, above 0 to 2
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    pub(crate) temperature: f64,
    /// Seed of all draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The vector file; default: TRAIT-MODEL.safetensors. Rollouts are kept beside it, in FILE.rollouts.jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArguments,
    /// Print one JSON document (schema tiltmeter.persona-vector/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ProjectArguments {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// The vector file, of the model of one of the run's subjects
    #[arg(long, value_name = "FILE")]
    pub(crate) vector: PathBuf,
    /// Index of the residual stream; default: the one that the vector file chose, if it chose one
    #[arg(long, value_name = "L")]
    pub(crate) layer: Option<usize>,
    /// Random directions to compare with
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) random: u32,
    /// Seed of random directions and resampling
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Labels of samples, such as `adopts a persona`: CSV with the columns sample and label
    #[arg(long, value_name = "CSV")]
    pub(crate) labels: Option<PathBuf>,
    /// Take the labels from coded traces instead: whether they take on a persona, by this coder, or else by the first
    #[arg(long, value_name = "CODER", num_args = 0..=1, default_missing_value = "", conflicts_with = "labels")]
    pub(crate) trace_labels: Option<String>,
    /// The texts between which the model reasons within its answers; default: <think> and </think>. An empty first one:
    /// answers start with reasoning
    #[arg(long, num_args = 2, value_names = ["OPEN", "CLOSE"])]
    pub(crate) reasoning_marks: Option<Vec<String>>,
    /// Print one JSON document (schema tiltmeter.persona-projections/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SteerArguments {
    /// The vector file
    #[arg(long, value_name = "FILE")]
    pub(crate) vector: PathBuf,
    /// The model that it was extracted from
    #[arg(long, value_name = "local/MODEL")]
    pub(crate) model: String,
    /// What the vector is multiplied with, one answer each; 0 is the model as it is
    #[arg(
        long,
        value_name = "C",
        value_delimiter = ',',
        default_value = "0,-1,1",
        allow_hyphen_values = true,
        value_parser = coefficient
    )]
    pub(crate) coefficients: Vec<f64>,
    /// Also answer with the part along the vector taken away
    #[arg(long)]
    pub(crate) ablate: bool,
    /// Change along a random direction of the vector's length in its place, drawn with this seed: what any direction does
    #[arg(long, value_name = "SEED")]
    pub(crate) random: Option<u64>,
    /// Index of the residual stream; default: the one that the vector file chose, if it chose one
    #[arg(long, value_name = "L")]
    pub(crate) layer: Option<usize>,
    /// Which tokens are changed
    #[arg(long, default_value = "answer", value_parser = ["answer", "reasoning", "prompt", "all"])]
    pub(crate) span: String,
    /// The texts between which the model reasons; default: <think> and </think>
    #[arg(long, num_args = 2, value_names = ["OPEN", "CLOSE"])]
    pub(crate) reasoning_marks: Option<Vec<String>>,
    /// What to ask; default: the first evaluation question of the built-in trait of that name
    #[arg(long, value_name = "TEXT")]
    pub(crate) question: Option<String>,
    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// Softmax temperature, 0 to 2
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub(crate) temperature: f64,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u32,
    /// Print one JSON document (schema tiltmeter.persona-steer/1)
    #[arg(long)]
    pub(crate) json: bool,
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(value),
        _ => Err("a temperature is a number from 0 to 2".to_owned()),
    }
}

fn coefficient(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("a coefficient is a number, such as -2.5".to_owned()),
    }
}
