//! `tiltmeter persona project`.

use std::fmt::Write as _;
use std::sync::Arc;

use tiltmeter_run::{ProjectError, ProjectSettings, model_of_vector, read_labels, trace_labels};

use super::arguments::ProjectArguments;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

pub(crate) fn project(arguments: &ProjectArguments) -> Result<Exit, Failure> {
    let vector = super::vector(&arguments.vector)?;
    let settings = ProjectSettings {
        layer: arguments.layer,
        random_directions: arguments.random,
        seed: arguments.seed,
        reasoning_marks: super::marks(arguments.reasoning_marks.as_ref())?,
        labels: match (&arguments.labels, &arguments.trace_labels) {
            (Some(path), _) => read_labels(path).map_err(Failure::configuration)?,
            (None, Some(coder)) => {
                let coder = Some(coder.as_str()).filter(|coder| !coder.is_empty());
                trace_labels(&arguments.run, coder).map_err(Failure::configuration)?
            }
            (None, None) => std::collections::BTreeMap::new(),
        },
    };
    let name = model_of_vector(&arguments.run, &vector).map_err(failure)?;
    let runtime = super::runtime()?;
    let progress = Arc::new(Progress::new());
    let model = super::open(&runtime, &name, &progress)?;
    let shown = |done, of| progress.step("prompts and answers", done, of);
    let project = tiltmeter_run::project(&arguments.run, &vector, &model, &settings, &shown);
    let projections = runtime.block_on(project).map_err(failure)?;
    let stem = format!("persona-{}-layer{}", file_name(&vector.record.name), projections.summary.layer);
    let document = serde_json::to_string_pretty(&projections.summary).map_err(Failure::failed)?;
    let mut rows = String::new();
    for row in &projections.rows {
        let _ = writeln!(rows, "{}", serde_json::to_string(row).map_err(Failure::failed)?);
    }
    let path = arguments.run.join(format!("{stem}.jsonl"));
    fs_err::write(&path, rows).map_err(Failure::failed)?;
    fs_err::write(arguments.run.join(format!("{stem}.json")), format!("{document}\n"))
        .map_err(Failure::failed)?;
    if arguments.json {
        output::result(&format!("{document}\n"));
    } else {
        output::result(&tiltmeter_report::projection_table(&projections.summary));
    }
    output::note(&format!("{} rows: {}", projections.rows.len(), path.display()));
    Ok(Exit::Done)
}

/// What a file's name can hold.
fn file_name(name: &str) -> String {
    let safe = |character: char| {
        if character.is_alphanumeric() || "-_".contains(character) { character } else { '-' }
    };
    name.chars().map(safe).collect()
}

fn failure(error: ProjectError) -> Failure {
    match error {
        ProjectError::Vector(_) | ProjectError::NoSubject { .. } => Failure::configuration(error),
        error => Failure::failed(error),
    }
}
