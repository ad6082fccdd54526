//! The hash that a file must have.

use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A hash in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Of the content.
    Sha256(String),
    /// Git's name of the content, by which hubs know their small files: SHA-1 of `blob`, the length and the content.
    GitBlob(String),
}

impl Expected {
    /// What is wrong with a file that should have so many bytes and this hash.
    pub(super) fn wrongness(&self, bytes: u64, path: &Path) -> std::io::Result<Option<String>> {
        let found = fs_err::metadata(path)?.len();
        if found != bytes {
            return Ok(Some(format!("it has {found} bytes instead of {bytes}")));
        }
        let (name, found, expected) = match self {
            Self::Sha256(expected) => ("SHA-256", digest(Sha256::new(), path)?, expected),
            Self::GitBlob(expected) => {
                let start = Sha1::new().chain_update(format!("blob {bytes}\0"));
                ("git hash", digest(start, path)?, expected)
            }
        };
        Ok((found != *expected).then(|| format!("its {name} is {found} instead of {expected}")))
    }
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> std::io::Result<String> {
    digest(Sha256::new(), path)
}

fn digest(mut hasher: impl Digest, path: &Path) -> std::io::Result<String> {
    use std::fmt::Write as _;
    let mut file = fs_err::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    let mut out = String::new();
    for byte in hasher.finalize() {
        let _ = write!(out, "{byte:02x}");
    }
    Ok(out)
}
