//! What a folder was fetched as.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::listing::Listing;
use crate::source::HubModel;

/// The manifest's name in the folder.
const NAME: &str = "tiltmeter-model.json";
const SCHEMA: &str = "tiltmeter.model/1";

/// A file as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptFile {
    /// Its path in the repository and in the folder, with slashes.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Where a folder's files are from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: String,
    /// The repository: organisation and name.
    pub repository: String,
    /// The revision that was asked for last.
    pub revision: String,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The licence that the hub states.
    pub licence: Option<String>,
    /// The files.
    pub files: Vec<KeptFile>,
}

impl Manifest {
    pub(super) fn new(model: &HubModel, listing: &Listing) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            repository: model.repository(),
            revision: model.revision.clone(),
            commit: listing.commit.clone(),
            licence: listing.licence.clone(),
            files: Vec::new(),
        }
    }

    /// The manifest of a folder, if it has one that can be read.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read(folder.join(NAME)).ok()?;
        serde_json::from_slice(&text).ok().filter(|manifest: &Self| manifest.schema == SCHEMA)
    }

    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let part = folder.join(format!("{NAME}.part"));
        fs_err::write(&part, text)?;
        fs_err::rename(part, folder.join(NAME))
    }

    pub(super) fn put(&mut self, file: KeptFile) {
        self.files.retain(|kept| kept.path != file.path);
        self.files.push(file);
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// The SHA-256 that a file was fetched with: its folder's manifest, or one two folders up, may know it.
    pub(crate) fn sha256_of(path: &Path) -> Option<String> {
        path.ancestors().skip(1).take(3).find_map(|folder| {
            let own = path.strip_prefix(folder).ok()?;
            let own: Vec<_> = own.iter().map(|part| part.to_string_lossy()).collect();
            let own = own.join("/");
            let manifest = Self::read(folder)?;
            manifest.files.into_iter().find(|file| file.path == own).map(|file| file.sha256)
        })
    }
}
