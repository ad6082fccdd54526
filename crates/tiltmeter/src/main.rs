//! The `tiltmeter` command: arguments, progress, exit codes. What a library user would want is in the crates
//! below.

mod cli;
mod commands;
mod exit;
mod files;
mod guards;
mod live;
mod log;
#[cfg(feature = "otlp")]
mod otlp;
mod output;
mod prices;
mod progress;
mod start;

use clap::Parser;

use crate::cli::{Arguments, Command};
use crate::exit::{Exit, Failure};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Init(arguments) => commands::init::init(&arguments),
        Command::Plan(arguments) => commands::plan::plan(&arguments),
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Judge(arguments) => commands::judge::judge(&arguments),
        Command::Status(arguments) => commands::status::show(&arguments),
        Command::Compare(arguments) => commands::compare::show(&arguments),
        Command::Report(arguments) => commands::report::report(&arguments),
        Command::Score(arguments) => commands::score::score(&arguments),
        Command::Export(arguments) => commands::export::export(&arguments),
        Command::Import(arguments) => commands::export::import(&arguments),
        Command::Annotate(arguments) => commands::annotate::annotate(&arguments),
        Command::Agreement(arguments) => commands::agreement::show(&arguments),
        Command::Trace(arguments) => commands::trace::trace(&arguments),
        Command::Data(arguments) => commands::data::data(&arguments),
        Command::Model(arguments) => commands::model::model(&arguments),
        Command::Persona(arguments) => commands::persona::persona(&arguments),
        Command::Guard(arguments) => commands::guard::guard(&arguments),
        Command::Schema(arguments) => commands::schema::schema(&arguments),
    };
    let exit = result.unwrap_or_else(|failure: Failure| {
        output::error(&failure.message);
        failure.exit
    });
    exit.into()
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
