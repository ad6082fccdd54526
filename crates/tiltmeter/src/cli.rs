//! Arguments of the command line, as plain values.

mod judged;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tiltmeter_run::Gate;

pub(crate) use self::judged::{AgreementArguments, AnnotateArguments, ColumnArguments, ScoreArguments};
use crate::commands::guard::arguments::GuardArguments;
use crate::commands::persona::arguments::PersonaArguments;
use crate::log::LogArguments;

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
  3  finished, but verdicts or codings are missing through errors, unparsable replies or a declining judge or coder,
     or rows of a scored or checked file are broken
  4  finished, and a gate (--fail-if) failed

Environment:
  OPENAI_API_KEY, GEMINI_API_KEY, ...  keys of the providers (or the variable that `api_key_env` names)
  TILTMETER_PRICES                     a table of prices instead of tiltmeter/prices.toml in the user's config folder
  TILTMETER_DATA_DIR                   where fetched data sets are kept
  TILTMETER_CACHE_DIR                  where weights of local models are kept
  TILTMETER_MODEL_SOURCE               a file, folder or address to take the weights from first
  HF_TOKEN, HF_ENDPOINT                a token for the hub of models; another hub
  TILTMETER_THREADS                    on how many threads local models compute, up to 256; all cores if unset
  TILTMETER_MEMORY_GIB                 memory that local models may take; three quarters of what is free if unset
  TILTMETER_CONTEXT_DIR                a folder that keeps contexts of local models for later runs
  TILTMETER_CONTEXT_GIB                how large that folder may grow; 8 if unset";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Write a commented experiment file
    Init(InitArguments),
    /// Show the grid, calls, tokens and cost of an experiment, without a call
    Plan(PlanArguments),
    /// Run an experiment, or go on where it stopped
    Run(RunArguments),
    /// Score stored answers: those that lack a score, or all by another judge; asks no subject
    Judge(JudgeArguments),
    /// Show what a run directory holds and what is missing
    Status(StatusArguments),
    /// What differs between runs, condition by condition; of a single run, its treatments and defences ranked
    Compare(CompareArguments),
    /// Write the HTML report of a run, or of several side by side
    Report(ReportArguments),
    /// Rates from recorded judged answers: CSV, JSON Lines, Parquet, logs of Inspect, run directories
    Score(Box<ScoreArguments>),
    /// Write a run as tables (Parquet, CSV, JSON Lines) or as logs of Inspect
    Export(ExportArguments),
    /// Make a run directory of Inspect's logs, to judge their answers again
    Import(ImportArguments),
    /// Label answers blindly in a page on this machine, for agreement with the judge and corrected rates
    Annotate(AnnotateArguments),
    /// How far judges, and people who labelled, agree on a run's answers
    Agreement(AgreementArguments),
    /// Code chain-of-thought traces: how misaligned answers explain themselves
    Trace(Box<TraceArguments>),
    /// Demonstration and question sets: built in, published, your own files
    Data(DataArguments),
    /// Local models: which there are, fetching them, serving one to other programs
    Model(ModelArguments),
    /// Persona vectors of local models: extract, project, steer
    Persona(Box<PersonaArguments>),
    /// The gateway in front of models: inspects contexts, acts on what it finds, keeps an audit log
    Guard(Box<GuardArguments>),
    /// Print the JSON Schema of experiment files, or of code books
    Schema(SchemaArguments),
}

#[derive(Args, Debug)]
pub(crate) struct SchemaArguments {
    /// Of what
    #[arg(default_value = "experiment", value_parser = ["experiment", "codebook"])]
    pub(crate) of: String,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Print one JSON document (schema tiltmeter.status/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArguments {
    /// The run directories; all others are compared with the first. A single one has its treatments ranked, each
    /// against the same without it
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub(crate) runs: Vec<PathBuf>,
    /// Compare EM rates even where different judges, or judge prompts, gave the scores
    #[arg(long)]
    pub(crate) across_judges: bool,
    /// Print one JSON document (schema tiltmeter.compare/1, or tiltmeter.treatments/1 for a single run)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArguments {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// What to write
    #[arg(long, value_parser = ["parquet", "csv", "jsonl", "inspect"])]
    pub(crate) format: String,
    /// The folder to make; default: RUN/export-FORMAT
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replace an earlier export in the folder
    #[arg(long)]
    pub(crate) force: bool,
    /// Also write text whose terms forbid passing it on; the export then may not be passed on either
    #[arg(long)]
    pub(crate) include_restricted: bool,
    /// Print the manifest, one JSON document (schema tiltmeter.export/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArguments {
    /// Run directories, or files of judged answers as `score` reads them
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// Of judged files, group by these columns; `file` is the file's name
    #[arg(long, value_name = "COL", value_delimiter = ',')]
    pub(crate) by: Vec<String>,
    #[command(flatten)]
    pub(crate) columns: ColumnArguments,
    /// Where the report goes; default: report.html in the run directory
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also write each plot to this folder, with its data as CSV
    #[arg(long, value_name = "DIR")]
    pub(crate) figures: Option<PathBuf>,
    /// Hold also text whose terms forbid passing it on; do not share the report then
    #[arg(long)]
    pub(crate) include_restricted: bool,
    /// Print all figures as one JSON document (schema tiltmeter.report/1) instead
    #[arg(long, conflicts_with_all = ["out", "figures", "include_restricted"])]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArguments {
    /// Logs of Inspect, `.eval` or `.json`
    #[arg(value_name = "LOG", required = true)]
    pub(crate) logs: Vec<PathBuf>,
    /// The run directory to make
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct DataArguments {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DataCommand {
    /// Show all sets that experiment files can name
    List(DataListArguments),
    /// Fetch published sets from their publishers, once their licence or terms are accepted
    Fetch(DataFetchArguments),
    /// Verify fetched sets again, and check files of your own
    Check(DataCheckArguments),
}

#[derive(Args, Debug)]
pub(crate) struct DataListArguments {
    /// Print one JSON document (schema tiltmeter.data-list/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DataFetchArguments {
    /// Names of published sets, such as betley/insecure
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
    /// Fetch all published sets
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// Accept the licences and terms that are shown, without being asked
    #[arg(long)]
    pub(crate) accept: bool,
    /// Take the publisher's file from here instead: a file, a folder, or an address (a folder's ends in `/`)
    #[arg(long, value_name = "URL|FILE")]
    pub(crate) from: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct DataCheckArguments {
    /// Names of published sets, or files; default: all sets that are fetched
    #[arg(value_name = "NAME|FILE")]
    pub(crate) items: Vec<String>,
    /// Compare the prompts with those of this set or file of benign answers
    #[arg(long, value_name = "NAME|FILE", requires = "items")]
    pub(crate) benign: Option<String>,
    /// Print one JSON document (schema tiltmeter.data-check/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ModelArguments {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ModelCommand {
    /// Show the models that can be fetched by name, and the repositories that were fetched
    List(ModelListArguments),
    /// Fetch a model by name, or a hub's repository at a revision, once its licence is accepted
    Fetch(ModelFetchArguments),
    /// Serve a model to programs on this machine, in OpenAI's protocol
    Serve(ModelServeArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ModelListArguments {
    /// Print one JSON document (schema tiltmeter.model-list/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ModelFetchArguments {
    /// A known name, or `hf:ORGANISATION/REPOSITORY@REVISION`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// One GGUF file of the repository instead of its safetensors
    #[arg(long, value_name = "X.gguf")]
    pub(crate) file: Option<String>,
    /// Accept the licence that is shown, without being asked
    #[arg(long)]
    pub(crate) accept: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ModelServeArguments {
    /// The model as experiment files name it, with or without `local/` before it
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The port; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 8321)]
    pub(crate) port: u16,
    /// The address, which must be this machine's own
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = loopback)]
    pub(crate) host: std::net::IpAddr,
    /// The name that requests give; default: NAME without `local/`
    #[arg(long, value_name = "NAME")]
    pub(crate) served_name: Option<String>,
    /// Threads that compute, up to 256; default: as many as this machine runs at once
    #[arg(long, value_name = "N", value_parser = tiltmeter_local::threads)]
    pub(crate) threads: Option<std::num::NonZeroUsize>,
    /// The context length in tokens, from 16 to the model's; default: the model's
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<std::num::NonZeroUsize>,
}

fn loopback(text: &str) -> Result<std::net::IpAddr, String> {
    let text = if text == "localhost" { "127.0.0.1" } else { text };
    match text.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_loopback() => Ok(address),
        Ok(_) => {
            Err("there is no key and no encryption: only addresses of this machine's own are served"
                .to_owned())
        }
        Err(_) => Err("an address such as 127.0.0.1 or ::1 is needed".to_owned()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct InitArguments {
    /// The file to write
    #[arg(default_value = "experiment.toml")]
    pub(crate) file: PathBuf,
    /// Which experiment to start from
    #[arg(long, default_value = "quickstart", value_parser = ["quickstart", "paper", "defences"])]
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
    #[command(flatten)]
    pub(crate) ending: EndingArguments,
    /// Ask for no more than so many answers now
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) asking: AskingArguments,
}

/// What all commands have that end with a run's results.
#[derive(Args, Debug)]
pub(crate) struct EndingArguments {
    /// Print one JSON document (schema tiltmeter.run/1) instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// A gate: exit with 4 where this holds in any condition, such as `em_rate.high > 0.05`. Figures are `em_rate`, `tilt`,
    /// `emergent_tilt`, `emergent_tilt_beyond_style` (each with .low and .high), `no_verdict` and `truncated` (shares). May be
    /// given several times
    #[arg(long, value_name = "GATE")]
    pub(crate) fail_if: Vec<Gate>,
    /// Write what the gates came to as `JUnit` XML
    #[arg(long, value_name = "FILE", requires = "fail_if")]
    pub(crate) junit: Option<PathBuf>,
    /// Write a summary in Markdown, for a pull request
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
}

/// What all commands have that ask models.
#[derive(Args, Debug)]
pub(crate) struct AskingArguments {
    /// Spend no more than so many US dollars now; each call's highest cost is set aside before it is sent
    #[arg(long, value_name = "USD", value_parser = Dollars::parse)]
    pub(crate) max_cost: Option<Dollars>,
    #[command(flatten)]
    pub(crate) batch: BatchArguments,
    #[command(flatten)]
    pub(crate) log: LogArguments,
}

#[derive(Args, Debug)]
pub(crate) struct BatchArguments {
    /// Ask in batches where the provider has them: half the price, answers within a day. The program may be stopped
    /// meanwhile; run again with this to collect the answers
    #[arg(long)]
    pub(crate) batch: bool,
    /// Look at batches every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds, requires = "batch")]
    pub(crate) batch_poll: f64,
    /// The most requests in one batch
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..), requires = "batch")]
    pub(crate) batch_size: u32,
    /// Forget batches of earlier starts, and ask for what they hold again: it is paid for twice
    #[arg(long)]
    pub(crate) forget_batches: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds is from 0.01 to 86400".to_owned()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct JudgeArguments {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// The judge; default: the experiment's. Its other settings stay; with another provider, address and key do not
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub(crate) judge: Option<String>,
    /// Address that replaces the judge's
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Name of the environment variable that holds the judge's key
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
    /// Draws per score
    #[arg(long, value_name = "N")]
    pub(crate) samples: Option<u32>,
    #[command(flatten)]
    pub(crate) asking: AskingArguments,
    #[command(flatten)]
    pub(crate) ending: EndingArguments,
}

#[derive(Args, Debug)]
pub(crate) struct TraceArguments {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// A model that codes; may be given several times. Default: the model of the run's judge. With another provider than
    /// the judge's, its address and key do not stay
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub(crate) coder: Vec<String>,
    /// Address that replaces the coders'
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Name of the environment variable that holds the coders' key
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
    /// The most tokens of a coder's reply, its own reasoning included
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    #[command(flatten)]
    pub(crate) draw: DrawArguments,
    /// Spend no more than so many US dollars now; each call's highest cost is set aside before it is sent
    #[arg(long, value_name = "USD", value_parser = Dollars::parse)]
    pub(crate) max_cost: Option<Dollars>,
    /// Ask nobody: show what the stored codings come to
    #[arg(long, conflicts_with_all = ["coder", "base_url", "api_key_env", "all", "base_rate", "seed", "max_cost"])]
    pub(crate) report_only: bool,
    /// Print one JSON document (schema tiltmeter.traces/1)
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) log: LogArguments,
}

/// Which traces are coded, and by which labels.
#[derive(Args, Debug)]
pub(crate) struct DrawArguments {
    /// A code book of your own; default: the built-in one
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) codebook: Option<PathBuf>,
    /// Aligned traces for each misaligned one, matched by condition and question; default: 1, or as drawn before
    #[arg(long, value_name = "RATE", value_parser = base_rate)]
    pub(crate) base_rate: Option<f64>,
    /// Take all aligned traces
    #[arg(long, conflicts_with = "base_rate")]
    pub(crate) all: bool,
    /// The seed of the draw and of the order; default: as drawn before, or the experiment's
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

fn base_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is from 0 to 1000, such as 1 or 0.5".to_owned()),
    }
}

/// An amount of US dollars, 0 or more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dollars(pub(crate) f64);

impl Dollars {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(amount) if f64::is_finite(amount) && amount >= 0.0 => Ok(Self(amount)),
            _ => Err("an amount in US dollars is a number of 0 or more, such as 2.50".to_owned()),
        }
    }
}
