//! Labels of samples from a CSV file: who adopts a persona, say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tiltmeter_core::id::ContentId;

/// A file of labels that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// It cannot be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: csv::Error,
    },
    /// Its header is another.
    #[error("{}: the header must name the columns `sample` and `label`, and is `{header}`", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What it is.
        header: String,
    },
    /// A row means nothing.
    #[error("{}:{line}: {reason}", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Why.
        reason: String,
    },
}

/// Reads labels: the columns `sample` (a sample's id) and `label` (true or false, yes or no, 1 or 0; empty: none).
///
/// # Errors
/// Where the file cannot be read, or a row means nothing or contradicts another.
pub fn read_labels(path: &Path) -> Result<BTreeMap<ContentId, bool>, LabelsError> {
    let read = |error| LabelsError::Read { path: path.to_owned(), error };
    let mut reader = csv::Reader::from_path(path).map_err(read)?;
    let header = reader.headers().map_err(read)?.clone();
    let column = |name: &str| header.iter().position(|field| field.trim() == name);
    let (Some(sample), Some(label)) = (column("sample"), column("label")) else {
        let header = header.iter().collect::<Vec<_>>().join(",");
        return Err(LabelsError::Header { path: path.to_owned(), header });
    };
    let mut labels = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(read)?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |reason: String| LabelsError::Row { path: path.to_owned(), line, reason };
        let field = |index: usize| record.get(index).unwrap_or_default().trim();
        let value = match field(label).to_ascii_lowercase().as_str() {
            "" => continue,
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            other => return Err(wrong(format!("the label is `{other}`; write true or false"))),
        };
        let id: ContentId = field(sample).parse().map_err(|error| wrong(format!("{error}")))?;
        if labels.insert(id, value).is_some_and(|before| before != value) {
            return Err(wrong(format!("sample {id} is labelled both ways")));
        }
    }
    Ok(labels)
}
