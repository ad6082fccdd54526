//! Runs as tables (Parquet, CSV, JSON Lines) and as logs of Inspect, and logs of Inspect as runs.
//!
//! An export is a function of a run directory: it asks no model and computes no statistic. Answers are written as they are
//! read, so that memory does not grow with them. It appears whole or not at all. Text whose terms forbid passing it on is
//! replaced by references unless the user says otherwise.

mod cell;
mod error;
mod files;
mod import;
mod inspect;
mod manifest;
mod probes;
mod run;
mod schema;
mod tables;
mod target;
mod traces;

use std::path::Path;

use tiltmeter_store::Reader;

pub use error::ExportError;
pub use files::TableFormat;
pub use import::{Imported, import};
pub use manifest::{ExperimentRecord, FileEntry, Manifest};
pub use run::Restricted;
pub use schema::{Column, Kind, TABLES, Table};
pub use target::Existing;

use self::run::Run;
use self::target::Target;

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tables.
    Tables(TableFormat),
    /// One log of Inspect for each condition.
    Inspect,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [
        Self::Tables(TableFormat::Parquet),
        Self::Tables(TableFormat::Csv),
        Self::Tables(TableFormat::JsonLines),
        Self::Inspect,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tables(format) => format.ending(),
            Self::Inspect => "inspect",
        }
    }
}

/// Writes the experiment that was run last in a directory into a folder, and says what was written.
///
/// # Errors
/// If the run cannot be read or the folder not be written; then there is no folder.
pub fn export(
    directory: &Path,
    format: Format,
    to: &Path,
    restricted: Restricted,
    existing: Existing,
) -> Result<Manifest, ExportError> {
    let reader = Reader::open(directory)?;
    let target = Target::start(to, existing)?;
    let run = Run::read(&reader, restricted)?;
    let mut manifest = Manifest::new(&run, format.name())?;
    match format {
        Format::Tables(format) => tables::write(&reader, &run, target.folder(), format, &mut manifest)?,
        Format::Inspect => inspect::write(directory, &reader, &run, target.folder(), &mut manifest)?,
    }
    manifest.write(target.folder())?;
    target.place()?;
    Ok(manifest)
}
