//! Published data sets: a catalogue of where they are and what identifies them, fetching and verifying, unpacking of
//! protected archives, and checks of anybody's files.
//!
//! This crate knows files and HTTP. It does not know experiments, prints nothing, and asks nobody: consent and progress
//! are the caller's.

pub mod catalogue;
pub mod check;
mod error;
mod fetch;
mod folder;
pub mod protected;

pub use error::DataError;
pub use fetch::{Consent, FetchSettings, FetchTimeouts, Fetched, Progress, fetch};
pub use folder::{DataFolder, FOLDER_VARIABLE, Record, State};
