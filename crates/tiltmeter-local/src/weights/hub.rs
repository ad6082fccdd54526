//! Repositories of a hub of models, by name at a pinned revision.
//!
//! The hub's own listing of a commit names files, lengths and hashes. What is kept is checked against it, and the
//! folder gets a manifest by which it is checked again whenever it is opened.

mod listing;
pub(crate) mod manifest;

use std::path::{Path, PathBuf};

use super::download::{Access, shown};
use super::expected::Expected;
use super::{Progress, Target, WeightsSettings, download, lock, put_in_place, with_ending};
use crate::source::HubModel;
pub use listing::HubTerms;
use listing::Listing;
pub use manifest::{KeptFile, Manifest};

/// A repository, or a part of it, that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// There is no place to keep it.
    #[error("there is no folder to keep models in: set {} to one", super::CACHE_VARIABLE)]
    NoCache,
    /// The place cannot be used.
    #[error("cannot keep the model in {}: {source}", folder.display())]
    Keep {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The hub does not let everybody read it.
    #[error(
        "{repository} may not be read without leave: accept its terms at {page}, and set HF_TOKEN to a token of an \
         account that has"
    )]
    Gated {
        /// The repository.
        repository: String,
        /// Where its terms are.
        page: String,
    },
    /// There is no such thing.
    #[error("the hub has no {what}: {url} is not found")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The address, without credentials.
        url: String,
    },
    /// The hub said something else than it should.
    #[error("the hub's listing of {repository} cannot be used: {reason}")]
    Listing {
        /// The repository.
        repository: String,
        /// What is wrong.
        reason: String,
    },
    /// The hub could not be asked.
    #[error("cannot ask the hub at {url}: {reason}")]
    Ask {
        /// The address, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// A file could not be had.
    #[error("cannot get {file} from {url}: {reason}; run the command again to go on")]
    File {
        /// The file.
        file: String,
        /// Its address, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// The repository holds no model, or several.
    #[error("{0}")]
    Choice(String),
    /// Its licence was not accepted.
    #[error("the licence of {0} was not accepted")]
    NotAccepted(String),
    /// It is not there yet.
    #[error("{0} is not fetched; `tiltmeter model fetch {0}` does so")]
    NotFetched(String),
}

impl HubError {
    /// Whether what was named or set is at fault, rather than the world.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::NoCache
            | Self::Gated { .. }
            | Self::NotFound { .. }
            | Self::Choice(_)
            | Self::NotAccepted(_)
            | Self::NotFetched(_) => true,
            Self::Keep { .. } | Self::Listing { .. } | Self::Ask { .. } | Self::File { .. } => false,
        }
    }
}

/// A repository that is kept.
#[derive(Clone, Debug)]
pub struct KeptRepository {
    /// Its folder.
    pub folder: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

impl KeptRepository {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.bytes).sum()
    }
}

fn cache(settings: &WeightsSettings) -> Result<PathBuf, HubError> {
    settings.cache.as_ref().map(|cache| cache.join("hub")).ok_or(HubError::NoCache)
}

/// The repositories that are kept, in the order of their names. Folders without a manifest are passed over.
pub fn kept_repositories(settings: &WeightsSettings) -> Vec<KeptRepository> {
    let Some(entries) = cache(settings).ok().and_then(|cache| fs_err::read_dir(cache).ok()) else {
        return Vec::new();
    };
    let mut kept: Vec<KeptRepository> = entries
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let manifest = Manifest::read(&folder)?;
            Some(KeptRepository { folder, manifest })
        })
        .collect();
    kept.sort_by(|a, b| a.folder.cmp(&b.folder));
    kept
}

/// The path of a model that was fetched, and the commit that its revision means.
///
/// # Errors
/// Where it is not there, or it is not clear which of several files is meant.
pub(crate) fn kept(model: &HubModel, settings: &WeightsSettings) -> Result<(PathBuf, String), HubError> {
    let not_fetched = || HubError::NotFetched(model.to_string());
    let found = kept_repositories(settings).into_iter().find(|kept| {
        kept.manifest.repository == model.repository()
            && (kept.manifest.commit == model.revision || kept.manifest.revision == model.revision)
    });
    let KeptRepository { folder, manifest } = found.ok_or_else(not_fetched)?;
    let has = |name: &str| manifest.files.iter().any(|file| file.path == name);
    let path = match &model.file {
        Some(file) if has(file) => folder.join(file),
        Some(_) => return Err(not_fetched()),
        None if has("config.json") => folder,
        None => {
            let mut files = manifest.files.iter().filter(|file| is_gguf(&file.path));
            match (files.next(), files.next()) {
                (Some(file), None) => folder.join(&file.path),
                (None, _) => return Err(not_fetched()),
                (Some(file), Some(_)) => {
                    return Err(HubError::Choice(format!(
                        "several files of {model} are fetched; name one, as in {model}/{}",
                        file.path
                    )));
                }
            }
        }
    };
    Ok((path, manifest.commit))
}

fn is_gguf(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("gguf"))
}

/// What is there of a file.
enum State {
    Kept,
    Absent,
    /// With what is wrong.
    Damaged(String),
}

/// What is there of a listed file: it counts as kept if the listing and the record both have its hash.
fn state(folder: &Path, manifest: &Manifest, file: &listing::Listed) -> std::io::Result<State> {
    let path = folder.join(&file.path);
    let Some(kept) = manifest.files.iter().find(|kept| kept.path == file.path).filter(|_| path.is_file())
    else {
        return Ok(State::Absent);
    };
    let mut wrongness = file.expected.wrongness(file.bytes, &path)?;
    if wrongness.is_none() && !matches!(&file.expected, Expected::Sha256(listed) if *listed == kept.sha256) {
        wrongness = Expected::Sha256(kept.sha256.clone()).wrongness(file.bytes, &path)?;
    }
    Ok(wrongness.map_or(State::Kept, State::Damaged))
}

/// Fetches a repository's model: the file that is named, or its configuration, tokenizer and safetensors. What is there
/// already, with the listed hash, is not fetched again, and what broke off goes on.
///
/// `accepts` is shown the terms, before anything is fetched, where the hub states a licence.
///
/// # Errors
/// Where the hub cannot be asked, does not have it, or sends something else than it lists.
pub async fn fetch_repository(
    model: &HubModel,
    settings: &WeightsSettings,
    progress: &dyn Progress,
    accepts: &(dyn Fn(&HubTerms) -> bool + Sync),
) -> Result<KeptRepository, HubError> {
    let cache = cache(settings)?;
    let access = Access { token: settings.token.as_ref() };
    let listing = Listing::ask(model, settings, access).await?;
    let folder = cache.join(format!("{}--{}@{}", model.organisation, model.name, listing.commit));
    let keep = |source| HubError::Keep { folder: folder.clone(), source };
    if listing.commit != model.revision {
        progress.note(&format!(
            "{} of {} is the commit {}; it is pinned",
            model.revision,
            model.repository(),
            listing.commit
        ));
    }
    let files = listing.choose(model)?;
    let manifest = || Manifest::read(&folder).unwrap_or_else(|| Manifest::new(model, &listing));
    let before = manifest();
    let mut missing = Vec::new();
    for file in files {
        match state(&folder, &before, &file).map_err(keep)? {
            State::Kept => {}
            State::Absent => missing.push(file),
            State::Damaged(wrongness) => {
                progress.note(&format!("{} is damaged: {wrongness}; it is fetched again", file.path));
                missing.push(file);
            }
        }
    }
    if !missing.is_empty() {
        let terms = listing.terms(model, &missing);
        if terms.licence.is_some() && !accepts(&terms) {
            return Err(HubError::NotAccepted(model.repository()));
        }
    }
    fs_err::create_dir_all(&folder).map_err(keep)?;
    // The lock is held until this file is closed.
    let _lock = lock(folder.join(".lock"), progress).await.map_err(keep)?;
    // Another process may have fetched in the meantime.
    let mut manifest = manifest();
    for file in missing {
        if matches!(state(&folder, &manifest, &file).map_err(keep)?, State::Kept) {
            continue;
        }
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent).map_err(keep)?;
        }
        let url = listing.url(model, settings, &file.path);
        let part = with_ending(&path, ".part");
        let target = Target {
            name: &file.path,
            bytes: file.bytes,
            expected: &file.expected,
            part: &part,
            timeouts: settings.timeouts,
            progress,
        };
        if file.bytes == 0 {
            fs_err::write(&part, []).map_err(keep)?;
        } else {
            download::download(&url, access, &target).await.map_err(|reason| {
                match reason.split_whitespace().find_map(|word| word.parse::<u16>().ok()) {
                    Some(401 | 403) if reason.contains("HTTP") => HubError::Gated {
                        repository: model.repository(),
                        page: listing.page(model, settings),
                    },
                    _ => HubError::File { file: file.path.clone(), url: shown(&url), reason },
                }
            })?;
        }
        let sha256 = super::sha256_of(&part).map_err(keep)?;
        put_in_place(&part, &path).map_err(keep)?;
        manifest.put(KeptFile { path: file.path, bytes: file.bytes, sha256 });
        // After each file, so that a later start goes on with the next.
        manifest.write(&folder).map_err(keep)?;
    }
    manifest.revision.clone_from(&model.revision);
    manifest.write(&folder).map_err(keep)?;
    // A branch that has moved on means the newest commit.
    for other in kept_repositories(settings) {
        let is_older = other.manifest.repository == manifest.repository
            && other.manifest.revision == manifest.revision
            && other.manifest.commit != manifest.commit;
        if is_older {
            let mut older = other.manifest;
            older.revision.clone_from(&older.commit);
            older.write(&other.folder).map_err(keep)?;
        }
    }
    Ok(KeptRepository { folder, manifest })
}
