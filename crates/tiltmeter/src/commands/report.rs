//! `tiltmeter report`: one HTML file of one or several runs.

use std::path::{Path, PathBuf};

use tiltmeter_report::{
    ReportError, ReportOptions, WrittenReport, report_document, write_judged_report, write_plots,
    write_report, write_report_of,
};
use tiltmeter_run::RunResults;
use tiltmeter_score::{Definition, Input, ScoreRequest, score_rows};

use crate::cli::ReportArguments;
use crate::exit::{Exit, Failure};
use crate::output;

/// Answers whose texts `run` puts into the report by itself; more take their time, and `report` writes them on request.
const MOST_AFTER_RUN: u64 = 50_000;

pub(crate) fn report(arguments: &ReportArguments) -> Result<Exit, Failure> {
    let runs: Vec<&Path> = arguments.runs.iter().map(PathBuf::as_path).collect();
    if let Some(path) = runs.iter().find(|path| !path.exists()) {
        return Err(Failure::failed(format!("{}: there is no such file or directory", path.display())));
    }
    let file = runs.iter().find(|path| path.is_file());
    let run = runs.iter().find(|path| !path.is_file());
    match (file, run) {
        (Some(file), Some(run)) => {
            return Err(Failure::configuration(format!(
                "{} is a file and {} is none: report judged files and run directories apart",
                file.display(),
                run.display()
            )));
        }
        (Some(_), None) => return judged(arguments),
        (None, _) if !arguments.by.is_empty() => {
            return Err(Failure::configuration("`--by` groups judged files; a run has its conditions"));
        }
        (None, _) if arguments.columns.given().next().is_some() => {
            return Err(Failure::configuration("columns are those of judged files; a run has none"));
        }
        (None, _) => {}
    }
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

/// Writes the report of judged files.
fn judged(arguments: &ReportArguments) -> Result<Exit, Failure> {
    if arguments.json {
        return Err(Failure::configuration("`tiltmeter score --json` prints the figures of judged files"));
    }
    let Some(out) = &arguments.out else {
        return Err(Failure::configuration("say where the report of judged files goes with `--out FILE`"));
    };
    if arguments.figures.is_some() || arguments.include_restricted {
        return Err(Failure::configuration(
            "`--figures` and `--include-restricted` are for run directories, not for judged files",
        ));
    }
    if arguments.runs.iter().any(|file| file.canonicalize().ok() == out.canonicalize().ok()) {
        return Err(Failure::configuration(format!("{} is one of the judged files", out.display())));
    }
    let request = ScoreRequest {
        inputs: arguments.runs.iter().cloned().map(Input::Path).collect(),
        columns: arguments.columns.names(),
        by: arguments.by.clone(),
        definition: Definition::default(),
        label_scores: None,
        sweep: false,
    };
    let (rates, rows) = score_rows(request).map_err(super::score::failure)?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut command = "tiltmeter score".to_owned();
    if !arguments.by.is_empty() {
        command = format!("{command} --by {}", quoted(&arguments.by.join(",")));
    }
    for (option, column) in arguments.columns.given() {
        command = format!("{command} {option} {}", quoted(column));
    }
    for file in &arguments.runs {
        command = format!("{command} {}", quoted(&file.display().to_string()));
    }
    write_judged_report(&rates, &rows, &command, out).map_err(Failure::failed)?;
    output::result(&format!("{}\n", out.display()));
    Ok(super::score::note_broken_rows(&rates.broken_rows, rates.broken))
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
