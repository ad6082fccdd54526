//! `tiltmeter compare`: what differs between runs, condition by condition.

use tiltmeter_report::comparison_table;
use tiltmeter_run::{AnalysisError, BetweenSettings, compare};

use crate::cli::CompareArguments;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn show(arguments: &CompareArguments) -> Result<Exit, Failure> {
    let settings = BetweenSettings { across_judges: arguments.across_judges };
    let comparison = compare(&arguments.runs, settings).map_err(|error| match error {
        AnalysisError::Run { .. } => Failure::configuration(error),
        _ => Failure::failed(error),
    })?;
    if arguments.json {
        let document = serde_json::to_string_pretty(&comparison).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&comparison_table(&comparison));
    }
    Ok(Exit::Done)
}
