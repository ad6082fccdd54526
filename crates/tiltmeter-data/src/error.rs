//! What can go wrong with published sets.

use crate::protected::ProtectedError;

/// A set that cannot be had, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no place to keep data.
    #[error("there is no folder to keep data sets in")]
    NoFolder,
    /// The folder cannot be used.
    #[error(
        "cannot use the data folder {folder}: {source}; set TILTMETER_DATA_DIR to a folder that can be written"
    )]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The licence or terms were not accepted.
    #[error("the licence or terms of {name} were not accepted; nothing was put into the data folder")]
    NotAccepted {
        /// The set.
        name: String,
    },
    /// The source did not give the file.
    #[error("cannot fetch {name} from {from}: {reason}")]
    Source {
        /// The set.
        name: String,
        /// The source, without credentials.
        from: String,
        /// Why.
        reason: String,
    },
    /// The archive cannot be opened.
    #[error("cannot unpack {name}: {}", chain(source))]
    Unpack {
        /// The set.
        name: String,
        /// Why.
        source: ProtectedError,
    },
    /// What was unpacked is not what was published.
    #[error("cannot unpack {name}: the SHA-256 of `{member}` is {found} instead of {expected}")]
    WrongMember {
        /// The set.
        name: String,
        /// The member of the archive.
        member: String,
        /// Its hash.
        found: String,
        /// The hash it should have.
        expected: String,
    },
    /// The set is not there.
    #[error("the set {name} is not fetched")]
    NotFetched {
        /// The set.
        name: String,
    },
    /// The set's file was changed.
    #[error("the file {path} of the set {name} is damaged: {reason}")]
    Damaged {
        /// The set.
        name: String,
        /// Its file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl DataError {
    /// Whether the user's settings are at fault, not the world.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::NoFolder | Self::NotAccepted { .. } | Self::NotFetched { .. })
    }
}

impl DataError {
    /// What to do about it, where there is something to be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFolder => Some("set TILTMETER_DATA_DIR to a folder".to_owned()),
            Self::Folder { .. } => {
                Some("set TILTMETER_DATA_DIR to a folder that can be written".to_owned())
            }
            Self::NotFetched { name } => Some(format!("fetch it with `tiltmeter data fetch {name}`")),
            Self::Damaged { name, .. } => Some(format!("fetch it again with `tiltmeter data fetch {name}`")),
            Self::Source { .. } => Some(
                "what came stays there, and the next fetch goes on from it; `--from` takes the file from elsewhere"
                    .to_owned(),
            ),
            Self::Unpack { .. } | Self::WrongMember { .. } | Self::NotAccepted { .. } => None,
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
        cause = deeper.source();
    }
    text
}
