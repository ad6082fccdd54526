//! What can go wrong with a log.

use std::io;

/// A log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no zip archive, or a damaged one.
    #[error("is not a zip archive that can be read: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// A member that every log has is missing.
    #[error("is not a log of Inspect: it has neither header.json nor _journal/start.json")]
    NoHeader,
    /// A member, or the document, is not what the format promises.
    #[error("{member}: is not what a log of Inspect holds: {source}")]
    Json {
        /// Which.
        member: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A member is compressed in a way that is not read.
    #[error("{member}: is compressed by method {method}, which is not read here")]
    Compression {
        /// Which.
        member: String,
        /// The number of the method.
        method: String,
    },
    /// A member is larger than any log's should be.
    #[error("{member}: takes more than {limit} bytes unpacked")]
    TooLarge {
        /// Which.
        member: String,
        /// The most that is unpacked.
        limit: u64,
    },
}
