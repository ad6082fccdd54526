//! `tiltmeter persona`: vectors of traits, what projects onto them, and answers steered along them.

pub(crate) mod arguments;
mod extract;
mod project;
mod steer;

use std::path::Path;
use std::sync::Arc;

use tiltmeter_local::{LocalModel, LocalSettings, ModelSource};
use tiltmeter_persona::{PersonaVector, VectorError};
use tokio::runtime::Runtime;

use self::arguments::{PersonaArguments, PersonaCommand};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;

pub(crate) fn persona(arguments: &PersonaArguments) -> Result<Exit, Failure> {
    match &arguments.command {
        PersonaCommand::Extract(arguments) => extract::extract(arguments),
        PersonaCommand::Project(arguments) => project::project(arguments),
        PersonaCommand::Steer(arguments) => steer::steer(arguments),
    }
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)
}

/// Opens a local model of a name such as `local/smollm2-135m-instruct`.
fn open(runtime: &Runtime, name: &str, progress: &Arc<Progress>) -> Result<LocalModel, Failure> {
    let Some(local) = name.strip_prefix("local/") else {
        return Err(Failure::configuration(format!(
            "`{name}` is not a local model: hidden states are read and changed in local ones only\n  write `local/…`, \
             such as local/smollm2-135m-instruct"
        )));
    };
    let source = ModelSource::parse(local).map_err(Failure::configuration)?;
    let settings = LocalSettings::from_environment(&|name: &str| std::env::var(name).ok())
        .map_err(Failure::configuration)?;
    let opened = runtime.block_on(tiltmeter_local::open(&source, settings, &**progress));
    opened.map_err(|error| super::model::of_model(&error))
}

/// Reads a vector file.
fn vector(path: &Path) -> Result<PersonaVector, Failure> {
    PersonaVector::open(path).map_err(|error| match error {
        VectorError::File(error) => {
            Failure::configuration(format!("{error}\n  `tiltmeter persona extract` makes vector files"))
        }
        error => Failure::configuration(format!("{}: {error}", path.display())),
    })
}

/// Two marks, as the argument parser gives them.
fn marks(given: Option<&Vec<String>>) -> Result<Option<[String; 2]>, Failure> {
    match given.map(Vec::as_slice) {
        None => Ok(None),
        Some([open, close]) if !close.is_empty() => Ok(Some([open.clone(), close.clone()])),
        Some(_) => Err(Failure::configuration("`--reasoning-marks` takes two texts, the second not empty")),
    }
}
