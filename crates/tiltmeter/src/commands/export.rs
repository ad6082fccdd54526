//! `tiltmeter export` and `tiltmeter import`: runs as tables and logs of other tools, and logs as runs.

use tiltmeter_export::{Existing, ExportError, Format, Manifest, Restricted};
use tiltmeter_store::StoreError;

use crate::cli::{ExportArguments, ImportArguments};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn export(arguments: &ExportArguments) -> Result<Exit, Failure> {
    let format = Format::ALL
        .into_iter()
        .find(|format| format.name() == arguments.format)
        .ok_or_else(|| Failure::configuration(format!("`{}` is not known here", arguments.format)))?;
    let to =
        arguments.out.clone().unwrap_or_else(|| arguments.run.join(format!("export-{}", arguments.format)));
    let restricted = if arguments.include_restricted { Restricted::Included } else { Restricted::Withheld };
    let existing = if arguments.force { Existing::Replaced } else { Existing::Kept };
    let manifest =
        tiltmeter_export::export(&arguments.run, format, &to, restricted, existing).map_err(failure)?;
    if arguments.json {
        let document = serde_json::to_string_pretty(&manifest).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        for file in &manifest.files {
            output::result(&format!("{} ({} rows)\n", to.join(&file.file).display(), file.rows));
        }
    }
    notes(&manifest);
    Ok(Exit::Done)
}

fn notes(manifest: &Manifest) {
    if !manifest.withheld.is_empty() {
        output::note(&format!(
            "withheld, because their terms forbid passing them on: the text of {}\n  `--include-restricted` writes it \
             all the same, for yourself alone",
            manifest.withheld.join(", ")
        ));
    }
    let others = manifest.answers_of_other_experiments;
    if others > 0 {
        output::note(&format!(
            "left out: {others} stored answers of other experiments in this directory; run one of them again, and it \
             is what is exported"
        ));
    }
}

pub(crate) fn import(arguments: &ImportArguments) -> Result<Exit, Failure> {
    let now = jiff::Timestamp::now().to_string();
    let done = tiltmeter_export::import(&arguments.logs, &arguments.out, now).map_err(failure)?;
    output::note(&format!(
        "{}: {} samples in {} conditions, {} of them failed ones",
        arguments.out.display(),
        done.samples,
        done.conditions,
        done.failed
    ));
    if done.without_question > 0 {
        output::note(&format!("left out: {} samples without a question", done.without_question));
    }
    Ok(Exit::Done)
}

fn failure(error: ExportError) -> Failure {
    match error {
        ExportError::Exists { .. }
        | ExportError::Foreign { .. }
        | ExportError::NoName { .. }
        | ExportError::Log { .. }
        | ExportError::NothingToImport
        | ExportError::Store(StoreError::NotARun { .. } | StoreError::NotEmpty { .. }) => {
            Failure::configuration(error)
        }
        error => Failure::failed(error),
    }
}
