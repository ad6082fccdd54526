//! `tiltmeter status`: what a run directory holds and what is missing.

use tiltmeter_report::status_table;
use tiltmeter_run::status;

use crate::cli::StatusArguments;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn show(arguments: &StatusArguments) -> Result<Exit, Failure> {
    let status = status(&arguments.run).map_err(Failure::failed)?;
    if arguments.json {
        let document = serde_json::to_string_pretty(&status).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&status_table(&status));
    }
    Ok(Exit::Done)
}
