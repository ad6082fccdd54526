//! `tiltmeter report`: one HTML file of one or several runs.

use std::path::{Path, PathBuf};

use tiltmeter_report::{
    ReportError, ReportOptions, WrittenReport, report_document, write_plots, write_report, write_report_of,
};
use tiltmeter_run::RunResults;

use crate::cli::ReportArguments;
use crate::exit::{Exit, Failure};
use crate::output;

/// Answers whose texts `run` puts into the report by itself; more take their time, and `report` writes them on request.
const MOST_AFTER_RUN: u64 = 50_000;

pub(crate) fn report(arguments: &ReportArguments) -> Result<Exit, Failure> {
    let runs: Vec<&Path> = arguments.runs.iter().map(PathBuf::as_path).collect();
    if arguments.json {
        let document = report_document(&runs).map_err(Failure::failed)?;
        let document = serde_json::to_string_pretty(&document).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
        return Ok(Exit::Done);
    }
    let out = match (&arguments.out, runs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("report.html"),
        (None, _) => {
            return Err(Failure::configuration(
                "several runs have no directory of their own: say where the report goes with `--out FILE`",
            ));
        }
    };
    let options = ReportOptions { include_restricted: arguments.include_restricted, most_answers: u64::MAX };
    let written = write_report(&runs, &out, options).map_err(Failure::failed)?;
    output::result(&format!("{}\n", out.display()));
    note(&out, &written);
    if let Some(folder) = &arguments.figures {
        let plots = write_plots(&runs, folder).map_err(Failure::failed)?;
        let kinds = if plots.as_pixels { "SVG, PNG and CSV" } else { "SVG and CSV" };
        output::note(&format!("{} plots in {} ({kinds})", plots.names.len(), folder.display()));
        if !plots.as_pixels {
            output::note(
                "no PNG was drawn, because this machine has no fonts: install some, or convert the SVG files",
            );
        }
    }
    Ok(Exit::Done)
}

/// Writes the report at the end of a run.
pub(crate) fn after_run(run: &Path, results: &RunResults) -> Result<PathBuf, ReportError> {
    let out = run.join("report.html");
    let options = ReportOptions { include_restricted: false, most_answers: MOST_AFTER_RUN };
    let written = write_report_of(run, results, &out, options)?;
    note(&out, &written);
    Ok(out)
}

fn note(out: &Path, written: &WrittenReport) {
    if written.pages > 0 {
        output::note(&format!(
            "{} answers, most of them in {} pages beside it",
            written.answers, written.pages
        ));
    }
    if written.texts_left_out {
        output::note(&format!(
            "the answers' texts are too many to be written by the way: `tiltmeter report {}` writes them",
            out.parent().unwrap_or(out).display()
        ));
    }
}
