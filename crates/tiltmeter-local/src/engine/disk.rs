//! Contexts that were read, kept in a folder from one run of the program to the next.
//!
//! A file is named by the hash of what it was computed from: the model file, the layout of keys and values, and the
//! tokens. Nothing in it is believed before its checksum is found right, and whatever is wrong with a file costs no
//! more than reading the context again, with a warning that says why. Files are written aside and renamed.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use sha2::{Digest, Sha256};

use super::prefix::common;
use crate::decoder::{Cache, SegmentId};

/// The first bytes of a file: what it is, and the version of its format and of the arithmetic behind it.
const MAGIC: &[u8; 16] = b"tiltmeter-kv\0\0\0\x01";
/// The ending of files; others in the folder are left alone.
const ENDING: &str = "kv";
/// A context of which fewer tokens would be saved is read again instead.
const LEAST_TOKENS: usize = 128;

/// A file that claims to hold a context of this model.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    tokens: Vec<u32>,
}

/// The folder, and what is in it for this model.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    most_bytes: u64,
    /// SHA-256 of the model's file, in hexadecimal.
    model: String,
    entries: Vec<Entry>,
}

/// A file that is not used, and why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("is not a kept context of this version")]
    Foreign,
    #[error("is of another model or layout")]
    Other,
    #[error("is damaged: its checksum is wrong")]
    Damaged,
}

/// Hashes all that passes through.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }
}

/// All that comes before keys and values: what they were computed from.
fn header(model: &str, layout: [u32; 4], tokens: &[u32]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(model.as_bytes());
    let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    bytes.extend(layout.iter().chain([&count]).chain(tokens).flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Reads the tokens of a file's header, if it is one of this model and layout.
fn read_header(
    input: &mut impl Read,
    model: &str,
    layout: [u32; 4],
    most_tokens: usize,
) -> Result<Vec<u32>, Unusable> {
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(Unusable::Foreign);
    }
    // The tokens follow the same header without any.
    let expected = header(model, layout, &[]);
    let mut fixed = vec![0; expected.len() - MAGIC.len() - size_of::<u32>()];
    input.read_exact(&mut fixed)?;
    if expected[MAGIC.len()..][..fixed.len()] != fixed {
        return Err(Unusable::Other);
    }
    let mut number = [0; 4];
    input.read_exact(&mut number)?;
    let count = usize::try_from(u32::from_le_bytes(number)).unwrap_or(usize::MAX);
    if count > most_tokens {
        return Err(Unusable::Damaged);
    }
    let mut bytes = vec![0; 4 * count];
    input.read_exact(&mut bytes)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect())
}

impl Disk {
    /// Opens a folder, making it if need be, and looks through it.
    ///
    /// # Errors
    /// Where the folder cannot be made or listed.
    pub(super) fn open(
        folder: &Path,
        most_bytes: u64,
        model: &str,
        cache: &Cache,
        most_tokens: usize,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut disk =
            Self { folder: folder.to_owned(), most_bytes, model: model.to_owned(), entries: Vec::new() };
        let mut paths: Vec<PathBuf> = disk.files()?.into_iter().map(|(path, ..)| path).collect();
        paths.sort();
        for path in paths {
            let read = || {
                let mut input = BufReader::new(fs::File::open(&path)?);
                read_header(&mut input, model, cache.layout(), most_tokens)
            };
            match read() {
                Ok(tokens) => disk.entries.push(Entry { path, tokens }),
                Err(Unusable::Other) => {}
                Err(error) => warn(&path, &error),
            }
        }
        Ok(disk)
    }

    /// The folder's files with their last use and size.
    fn files(&self) -> io::Result<Vec<(PathBuf, SystemTime, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            let is_ours = path.extension().is_some_and(|ending| ending == ENDING);
            // Another process may have removed it meanwhile.
            if let Some(metadata) = entry.metadata().ok().filter(|metadata| is_ours && metadata.is_file()) {
                let last_use = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((path, last_use, metadata.len()));
            }
        }
        Ok(files)
    }

    /// Loads a kept context that has more of the wanted tokens at its start than are there already; returns its segment,
    /// and how many of the tokens are in it.
    pub(super) fn load(
        &mut self,
        wanted: &[u32],
        there: usize,
        cache: &mut Cache,
    ) -> Option<(SegmentId, usize)> {
        loop {
            let overlap = |entry: &Entry| common(&entry.tokens, wanted);
            let best = (0..self.entries.len()).max_by_key(|&index| overlap(&self.entries[index]))?;
            let length = overlap(&self.entries[best]);
            if length < there + LEAST_TOKENS {
                return None;
            }
            match self.read(&self.entries[best], cache) {
                Ok(segment) => {
                    cache.truncate(segment, length);
                    // The one that was used last is removed last. Where that cannot be written down, nothing is lost.
                    let file = fs::OpenOptions::new().append(true).open(&self.entries[best].path);
                    drop(file.and_then(|file| file.into_file().set_modified(SystemTime::now())));
                    return Some((segment, length));
                }
                Err(error) => {
                    warn(&self.entries[best].path, &error);
                    self.entries.swap_remove(best);
                }
            }
        }
    }

    fn read(&self, entry: &Entry, cache: &mut Cache) -> Result<SegmentId, Unusable> {
        let input = BufReader::with_capacity(1 << 16, fs::File::open(&entry.path)?);
        let mut input = Hashing { inner: input, hash: Sha256::new() };
        if read_header(&mut input, &self.model, cache.layout(), entry.tokens.len())? != entry.tokens {
            return Err(Unusable::Damaged);
        }
        let segment = cache.read_from(entry.tokens.len(), &mut input)?;
        let found: [u8; 32] = input.hash.finalize().into();
        let mut claimed = [0; 32];
        let is_read = input.inner.read_exact(&mut claimed);
        if is_read.is_err() || claimed != found {
            cache.release(segment);
            return Err(Unusable::Damaged);
        }
        Ok(segment)
    }

    /// Keeps the first tokens of a segment, unless they or more of them are kept. A failure is told, and else nothing.
    pub(super) fn store(&mut self, cache: &Cache, segment: SegmentId, tokens: &[u32]) {
        let is_kept = |entry: &Entry| entry.tokens.starts_with(tokens);
        if tokens.len() < LEAST_TOKENS || self.entries.iter().any(is_kept) {
            return;
        }
        let header = header(&self.model, cache.layout(), tokens);
        let bytes = header.len() as u64 + cache.written_bytes(tokens.len()) + 32;
        if bytes > self.most_bytes {
            return;
        }
        let path = self.folder.join(format!("{:x}.{ENDING}", Sha256::digest(&header)));
        match self.make_room(bytes).and_then(|()| write(&path, &header, cache, segment, tokens.len())) {
            Ok(()) => self.entries.push(Entry { path, tokens: tokens.to_vec() }),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a context cannot be kept on disk");
            }
        }
    }

    /// Removes what was not used for the longest time until so many bytes more are allowed.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let mut files = self.files()?;
        files.sort_by_key(|(path, last_use, _)| (*last_use, path.clone()));
        let mut all: u64 = files.iter().map(|(.., bytes)| bytes).sum();
        for (path, _, size) in files {
            if all + bytes <= self.most_bytes {
                return Ok(());
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => all -= size,
            }
            self.entries.retain(|entry| entry.path != path);
        }
        Ok(())
    }
}

/// Writes a file aside and puts it into its place.
fn write(path: &Path, header: &[u8], cache: &Cache, segment: SegmentId, tokens: usize) -> io::Result<()> {
    let aside = path.with_extension(format!("{}.part", std::process::id()));
    let written = (|| {
        let output = BufWriter::new(fs::File::create(&aside)?);
        let mut output = Hashing { inner: output, hash: Sha256::new() };
        output.write_all(header)?;
        cache.write_to(segment, tokens, &mut output)?;
        let checksum = output.hash.finalize();
        output.inner.write_all(&checksum)?;
        output.inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&aside, path)
    })();
    if written.is_err() {
        // What is left over of it is of no use.
        drop(fs::remove_file(&aside));
    }
    written
}

fn warn(path: &Path, error: &Unusable) {
    tracing::warn!(file = %path.display(), "a kept context is not used: the file {error}");
}
