//! Gets a published set once: consent, transfer, verification, unpacking, and only then a place in the data folder.

mod download;

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::catalogue::{Member, PublishedSet};
use crate::error::DataError;
use crate::folder::{DataFolder, Record, State, hexadecimal, sha256_of};
use crate::protected::{self, Unpacked};

/// The most that a member of an archive may unpack to. The largest published set has less than 7 MB.
const MOST_UNPACKED: u64 = 64 * 1024 * 1024;

/// Hears of what is fetched.
pub trait Progress: Send + Sync {
    /// A transfer begins, or begins again where one broke off: of so many bytes.
    fn begin(&self, source: &str, total: u64);
    /// So many more bytes are there; after [`Progress::begin`], first those kept from an earlier attempt.
    fn advance(&self, bytes: u64);
    /// Something that the user may want to know.
    fn note(&self, message: &str);
    /// The transfer that began last is over, well or not.
    fn finish(&self);
}

/// Tells nobody.
impl Progress for () {
    fn begin(&self, _source: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn note(&self, _message: &str) {}
    fn finish(&self) {}
}

/// Shows a licence or terms to whoever is to accept them.
pub trait Consent {
    /// Whether the text is accepted. It is asked before anything is fetched, with what the catalogue says; and again,
    /// before anything is put into the data folder, with the text of the terms that an archive holds.
    fn accepts(&self, text: &str) -> bool;
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
}

impl Default for FetchTimeouts {
    /// Ten, thirty and thirty seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

/// Where a set is taken from, if not from its publisher, and how long that may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchSettings {
    /// A file, a folder that holds it, the `http` or `https` address of the file, or that of a folder, ending in `/`.
    pub from: Option<String>,
    /// Time limits.
    pub timeouts: FetchTimeouts,
}

/// A set that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It was there already.
    Already(PathBuf),
    /// It is there now.
    New(PathBuf),
}

impl Fetched {
    /// Its file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Already(path) | Self::New(path) => path,
        }
    }
}

/// Fetches a set, unless it is there already. The SHA-256 decides, whatever the source. Several processes may ask at
/// once: one fetches, the others wait.
///
/// # Errors
/// Where it is not accepted, cannot be had, is not what was published, or cannot be kept.
pub async fn fetch(
    set: &PublishedSet,
    folder: &DataFolder,
    settings: &FetchSettings,
    consent: &dyn Consent,
    progress: &dyn Progress,
) -> Result<Fetched, DataError> {
    match folder.state(set)? {
        State::Fetched { path } => return Ok(Fetched::Already(path)),
        State::Damaged { path, reason } => {
            progress.note(&format!("{} is damaged ({reason}) and is fetched again", path.display()));
        }
        State::Absent => {}
    }
    if !consent.accepts(&set.terms()) {
        return Err(DataError::NotAccepted { name: set.name.clone() });
    }
    let kept = folder.download(set);
    let keep = |source| folder.error(source);
    fs_err::create_dir_all(kept.parent().unwrap_or(&kept)).map_err(keep)?;
    // Held until this file is closed.
    let _lock = lock(with_ending(&kept, ".lock"), progress).await.map_err(keep)?;
    // Another process may have fetched it meanwhile.
    if let State::Fetched { path } = folder.state(set)? {
        return Ok(Fetched::Already(path));
    }
    let (source, download) = obtain(set, folder, settings, progress).await?;
    let unpacked = match &set.member {
        None => None,
        Some(member) => Some(unpack(set, member, &download, folder)?),
    };
    let own_terms = unpacked.as_ref().and_then(|unpacked| unpacked.terms.as_deref());
    if let Some(terms) = own_terms
        && !consent.accepts(&format!("{}: the terms in the publisher's archive:\n\n{terms}", set.name))
    {
        return Err(DataError::NotAccepted { name: set.name.clone() });
    }
    let sha256 = match &unpacked {
        None => set.sha256.clone(),
        Some(unpacked) => hexadecimal(&Sha256::digest(&unpacked.text)),
    };
    let record = Record {
        schema: "tiltmeter.data-record/1".to_owned(),
        name: set.name.clone(),
        source,
        revision: set.revision.clone(),
        download_sha256: set.sha256.clone(),
        sha256,
        licence: set.licence.name.clone(),
        share: set.licence.share,
    };
    let path = place(set, folder, &record, own_terms, unpacked.as_ref(), &download).map_err(keep)?;
    Ok(Fetched::New(path))
}

/// The verified download, and where it came from.
async fn obtain(
    set: &PublishedSet,
    folder: &DataFolder,
    settings: &FetchSettings,
    progress: &dyn Progress,
) -> Result<(String, PathBuf), DataError> {
    let kept = folder.download(set);
    if set.member.is_some() && wrongness(set, &kept).is_ok_and(|wrong| wrong.is_none()) {
        progress.note("the publisher's archive is there from an earlier fetch");
        return Ok((set.url.clone(), kept));
    }
    let part = with_ending(&kept, ".part");
    let source = Source::new(set, settings.from.as_deref());
    let target = Target { set, part: &part, timeouts: settings.timeouts, progress };
    let result = match &source {
        Source::File(file) => copy(file, &target),
        Source::Url(url) => download::download(url, &target).await,
    };
    let from = source.shown();
    result.map_err(|reason| DataError::Source { name: set.name.clone(), from: from.clone(), reason })?;
    if set.member.is_none() {
        return Ok((from, part));
    }
    settle(&part, &kept).map_err(|source| folder.error(source))?;
    Ok((from, kept))
}

/// Where the file is taken from.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(String),
}

impl Source {
    fn new(set: &PublishedSet, from: Option<&str>) -> Self {
        match from {
            None => Self::Url(set.url.clone()),
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Self::Url(if url.ends_with('/') {
                    format!("{url}{}", set.file_name())
                } else {
                    url.to_owned()
                })
            }
            Some(path) => {
                let path = PathBuf::from(path);
                Self::File(if path.is_dir() { path.join(set.file_name()) } else { path })
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => download::shown(url),
        }
    }
}

/// What a source has to deliver.
struct Target<'a> {
    set: &'a PublishedSet,
    /// The file to write; may hold the beginning from an earlier attempt.
    part: &'a Path,
    timeouts: FetchTimeouts,
    progress: &'a dyn Progress,
}

impl Target<'_> {
    /// Checks what was written. A wrong file is removed.
    fn check(&self) -> Result<(), String> {
        let reason = match wrongness(self.set, self.part) {
            Ok(None) => return Ok(()),
            Ok(Some(reason)) => reason,
            Err(error) => error.to_string(),
        };
        // A file that stays behind is found to be wrong again.
        drop(fs_err::remove_file(self.part));
        Err(reason)
    }
}

/// What is wrong with a file that should be what the publisher offers.
fn wrongness(set: &PublishedSet, path: &Path) -> std::io::Result<Option<String>> {
    let bytes = fs_err::metadata(path)?.len();
    if bytes != set.bytes {
        return Ok(Some(format!("it has {bytes} bytes instead of {}", set.bytes)));
    }
    let sha256 = sha256_of(path)?;
    Ok((sha256 != set.sha256).then(|| format!("its SHA-256 is {sha256} instead of {}", set.sha256)))
}

/// Copies and checks a file. The error is the reason.
fn copy(from: &Path, target: &Target<'_>) -> Result<(), String> {
    let reason = |error: std::io::Error| error.to_string();
    let file = fs_err::File::open(from).map_err(reason)?;
    target.progress.begin(&from.display().to_string(), target.set.bytes);
    // One byte more than expected tells that the file is longer.
    let copied = fs_err::File::create(target.part)
        .and_then(|mut part| std::io::copy(&mut file.take(target.set.bytes.saturating_add(1)), &mut part));
    if let Ok(bytes) = copied {
        target.progress.advance(bytes);
    }
    target.progress.finish();
    match copied.map_err(reason)? {
        bytes if bytes > target.set.bytes => {
            drop(fs_err::remove_file(target.part));
            Err(format!("it has more than {} bytes", target.set.bytes))
        }
        _ => target.check(),
    }
}

fn unpack(
    set: &PublishedSet,
    member: &Member,
    archive: &Path,
    folder: &DataFolder,
) -> Result<Unpacked, DataError> {
    let failed = |source| DataError::Unpack { name: set.name.clone(), source };
    let bytes = fs_err::read(archive).map_err(|source| folder.error(source))?;
    let decrypted = protected::decrypt(&bytes, &member.password).map_err(failed)?;
    let unpacked = protected::unpack(&decrypted, &member.path, MOST_UNPACKED).map_err(failed)?;
    let found = hexadecimal(&Sha256::digest(&unpacked.text));
    match &member.sha256 {
        Some(expected) if *expected != found => Err(DataError::WrongMember {
            name: set.name.clone(),
            member: member.path.clone(),
            found,
            expected: expected.clone(),
        }),
        _ => Ok(unpacked),
    }
}

/// Puts terms and record into the folder, and the data last, so that data never stands without its terms.
fn place(
    set: &PublishedSet,
    folder: &DataFolder,
    record: &Record,
    own_terms: Option<&str>,
    unpacked: Option<&Unpacked>,
    download: &Path,
) -> std::io::Result<PathBuf> {
    let path = folder.file(set);
    fs_err::create_dir_all(path.parent().unwrap_or(&path))?;
    let mut terms = set.terms();
    if let Some(own) = own_terms {
        terms.push_str("\nThe terms in the publisher's archive:\n\n");
        terms.push_str(own);
    }
    let record = serde_json::to_string_pretty(record).map_err(std::io::Error::other)?;
    write(&folder.terms_file(set), terms.as_bytes())?;
    write(&folder.record_file(set), format!("{record}\n").as_bytes())?;
    match unpacked {
        Some(unpacked) => write(&path, unpacked.text.as_bytes())?,
        None => settle(download, &path)?,
    }
    Ok(path)
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = with_ending(path, ".new");
    fs_err::File::create(&new)?.write_all(bytes)?;
    settle(&new, path)
}

/// Makes a file lasting, under its name.
fn settle(part: &Path, path: &Path) -> std::io::Result<()> {
    fs_err::File::open(part)?.sync_all()?;
    fs_err::rename(part, path)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

async fn lock(path: PathBuf, progress: &dyn Progress) -> std::io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            progress.note("another process is fetching the set; waiting for it");
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    locked.map_err(std::io::Error::other)?
}
