//! `tiltmeter compare`: what differs between runs, condition by condition; and, of one run, its treatments ranked.

use std::path::Path;

use serde::Serialize;
use tiltmeter_report::{comparison_table, ranking_table};
use tiltmeter_run::{AnalysisError, BetweenSettings, compare, rank_treatments};

use crate::cli::CompareArguments;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn show(arguments: &CompareArguments) -> Result<Exit, Failure> {
    if let [run] = arguments.runs.as_slice() {
        return rank(run, arguments);
    }
    let settings = BetweenSettings { across_judges: arguments.across_judges };
    let comparison = compare(&arguments.runs, settings).map_err(failure)?;
    write(&comparison, arguments.json, comparison_table)
}

fn rank(run: &Path, arguments: &CompareArguments) -> Result<Exit, Failure> {
    if arguments.across_judges {
        return Err(Failure::configuration(
            "--across-judges is for several runs; the treatments of one have one judge",
        ));
    }
    let ranking = rank_treatments(run).map_err(failure)?;
    write(&ranking, arguments.json, ranking_table)
}

fn failure(error: AnalysisError) -> Failure {
    match error {
        AnalysisError::Run { .. } => Failure::configuration(error),
        _ => Failure::failed(error),
    }
}

fn write<T: Serialize>(document: &T, json: bool, table: fn(&T) -> String) -> Result<Exit, Failure> {
    if json {
        let document = serde_json::to_string_pretty(document).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&table(document));
    }
    Ok(Exit::Done)
}
