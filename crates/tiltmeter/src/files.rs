//! Reads experiment files and the data that they name: published sets in the data folder, files beside them.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use tiltmeter_core::demonstration::Terms;
use tiltmeter_core::experiment::published::{Published, PublishedContent, PublishedKind, StandIn};
use tiltmeter_core::experiment::{DataSource, Experiment, read, resolve};
use tiltmeter_data::catalogue::{Catalogue, Kind, Lengths, PublishedSet};
use tiltmeter_data::{DataError, DataFolder};

use crate::exit::Failure;

/// What becomes of a published set that is not fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// It is an error.
    Refused,
    /// Its measures stand in for it.
    Estimated,
}

/// Published sets, and data files beside an experiment file or else in the current folder.
struct Data {
    folder: PathBuf,
    catalogue: Catalogue,
    missing: Missing,
}

impl DataSource for Data {
    fn text(&self, path: &str) -> Result<String, Error> {
        let beside = self.folder.join(path);
        let found = if beside.exists() { beside } else { PathBuf::from(path) };
        let bytes = std::fs::read(found)?;
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.as_bytes().split_at(error.utf8_error().valid_up_to()).0;
            let line = valid.split(|byte| *byte == b'\n').count();
            Error::new(ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
        })
    }

    fn bytes(&self, path: &str) -> Result<Vec<u8>, Error> {
        let beside = self.folder.join(path);
        let bytes = std::fs::read(if beside.exists() { beside } else { PathBuf::from(path) });
        match bytes {
            // An estimate does not look into it.
            Err(error) if error.kind() == ErrorKind::NotFound && self.missing == Missing::Estimated => {
                Ok(Vec::new())
            }
            bytes => bytes,
        }
    }

    fn published(&self, name: &str) -> Option<Published> {
        let set = self.catalogue.find(name)?;
        let text = DataFolder::from_environment().and_then(|folder| folder.text(set));
        let content = match text {
            Ok(text) => PublishedContent::Text(text),
            Err(DataError::NotFetched { .. } | DataError::NoFolder) if self.missing == Missing::Estimated => {
                PublishedContent::StandIn(stand_in(set))
            }
            Err(error @ DataError::NotFetched { .. }) => PublishedContent::Unusable {
                reason: format!("the set `{name}` is not fetched"),
                hint: error.hint().unwrap_or_default(),
            },
            Err(error) => {
                let hint = error.hint().unwrap_or_default();
                PublishedContent::Unusable { reason: error.to_string(), hint }
            }
        };
        Some(Published {
            kind: match set.kind {
                Kind::Demonstrations => PublishedKind::Demonstrations,
                Kind::TruthfulQa => PublishedKind::TruthfulQa,
                Kind::Questions => PublishedKind::Questions,
            },
            domain: set.domain,
            terms: Terms { name: set.licence.name.as_str().into(), share: set.licence.share },
            content,
        })
    }

    fn published_names(&self) -> Vec<String> {
        self.catalogue.sets().iter().map(|set| set.name.clone()).collect()
    }
}

fn stand_in(set: &PublishedSet) -> StandIn {
    StandIn {
        rows: set.rows as usize,
        prompt_characters: set.prompt_characters as usize,
        response_characters: set.response_characters as usize,
        is_measured: set.lengths == Lengths::Measured,
        has_benign: set.kind == Kind::TruthfulQa,
        in_domain: set.in_domain.iter().map(|&(position, domain)| (position as usize, domain)).collect(),
    }
}

/// Reads and resolves an experiment file that is to be run. Gives the text too, for the record.
pub(crate) fn experiment(path: &Path) -> Result<(Experiment, String), Failure> {
    read_and_resolve(path, Missing::Refused)
}

/// The same for an estimate: sets that are not fetched are stood in for, see `Experiment::stand_ins`.
pub(crate) fn experiment_to_estimate(path: &Path) -> Result<Experiment, Failure> {
    let (mut experiment, _) = read_and_resolve(path, Missing::Estimated)?;
    let steered = experiment.subjects.iter().filter_map(|subject| subject.steering.as_ref());
    let missing = steered.map(|steering| &steering.vector).filter(|vector| vector.bytes.is_empty());
    let notes: Vec<String> = missing
        .map(|vector| {
            format!(
                "the vector file `{}` is not there yet: `tiltmeter persona extract` makes it",
                vector.path
            )
        })
        .collect();
    experiment.notes.extend(notes);
    Ok(experiment)
}

fn read_and_resolve(path: &Path, missing: Missing) -> Result<(Experiment, String), Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::configuration(format!(
            "{name}: cannot read the experiment file: {error}\n  `tiltmeter init` writes one to start from"
        ))
    })?;
    let file = read(&name, &text).map_err(Failure::configuration)?;
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let catalogue = Catalogue::built_in().map_err(Failure::failed)?;
    let data = Data { folder, catalogue, missing };
    let experiment = resolve(&name, &text, file, &data).map_err(Failure::configuration)?;
    Ok((experiment, text))
}
