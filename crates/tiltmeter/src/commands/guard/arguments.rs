//! Arguments of `tiltmeter guard`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
