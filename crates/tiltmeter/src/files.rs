//! Reads experiment files and the data files that they name.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use tiltmeter_core::experiment::{DataSource, Experiment, read, resolve};

use crate::exit::Failure;

/// Data files beside an experiment file, or else in the current folder.
struct Folder(PathBuf);

impl DataSource for Folder {
    fn text(&self, path: &str) -> Result<String, Error> {
        let beside = self.0.join(path);
        let found = if beside.exists() { beside } else { PathBuf::from(path) };
        let bytes = std::fs::read(found)?;
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.as_bytes().split_at(error.utf8_error().valid_up_to()).0;
            let line = valid.split(|byte| *byte == b'\n').count();
            Error::new(ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
        })
    }
}

/// Reads and resolves an experiment file. Gives the text too, for the record.
pub(crate) fn experiment(path: &Path) -> Result<(Experiment, String), Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::configuration(format!(
            "{name}: cannot read the experiment file: {error}\n  `tiltmeter init` writes one to start from"
        ))
    })?;
    let file = read(&name, &text).map_err(Failure::configuration)?;
    let folder = Folder(path.parent().map(Path::to_owned).unwrap_or_default());
    let experiment = resolve(&name, &text, file, &folder).map_err(Failure::configuration)?;
    Ok((experiment, text))
}
