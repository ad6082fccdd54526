//! `tiltmeter agreement`: how far judges, and people who labelled, agree on a run's answers.

use tiltmeter_report::agreement_table;
use tiltmeter_run::{Agreement, agreement};

use crate::cli::AgreementArguments;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn show(arguments: &AgreementArguments) -> Result<Exit, Failure> {
    let agreement = agreement(&arguments.run).map_err(Failure::failed)?;
    print(&agreement, arguments.json)?;
    Ok(Exit::Done)
}

/// Prints the document or its tables.
pub(crate) fn print(agreement: &Agreement, json: bool) -> Result<(), Failure> {
    if json {
        let document = serde_json::to_string_pretty(agreement).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&agreement_table(agreement));
    }
    Ok(())
}
