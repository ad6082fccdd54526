//! What can go wrong with the files.

use std::io;

use crate::columns::Role;
use crate::printable::printable;

/// The longest list of columns in a message.
const MOST_COLUMNS: usize = 60;

/// Rates cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// There are no files.
    #[error("name at least one file of judged answers")]
    NoInput,
    /// A file cannot be opened.
    #[error("{file}: cannot be opened: {source}")]
    Open {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read to its end.
    #[error("{file}: reading failed: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file holds nothing.
    #[error("{file}: is empty, without even a header")]
    Empty {
        /// The file.
        file: String,
    },
    /// A file is of a kind that is not read.
    #[error("{file}: {what}\n  {advice}")]
    Unsupported {
        /// The file.
        file: String,
        /// What it is.
        what: String,
        /// What to do.
        advice: String,
    },
    /// A column that is needed is not there.
    #[error("{file}: there is no {what}; {existing}\n  {advice}")]
    MissingColumn {
        /// The file.
        file: String,
        /// Which.
        what: String,
        /// The columns that there are, in words.
        existing: String,
        /// What to do.
        advice: String,
    },
    /// Several columns could be meant.
    #[error("{file}: {what}\n  {advice}")]
    AmbiguousColumn {
        /// The file.
        file: String,
        /// Which.
        what: String,
        /// What to do.
        advice: String,
    },
    /// A Parquet file is damaged.
    #[error("{file}: is not a Parquet file that can be read: {what}")]
    Parquet {
        /// The file.
        file: String,
        /// What the decoder says.
        what: String,
    },
    /// A log of Inspect is damaged, or is none.
    #[error("{file}: {source}")]
    Inspect {
        /// The file.
        file: String,
        /// Why.
        source: tiltmeter_inspect::InspectError,
    },
    /// A run directory cannot be read.
    #[error(transparent)]
    Store(#[from] tiltmeter_store::StoreError),
    /// A statistic cannot be had.
    #[error("compute a rate: {0}")]
    Statistics(#[from] tiltmeter_stats::StatsError),
    /// A sweep cannot be had.
    #[error("compute a sweep: {0}")]
    Sweep(#[from] crate::sweep::SweepError),
}

impl ScoreError {
    /// Whether other arguments would help, rather than another machine or day.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::NoInput
            | Self::Open { .. }
            | Self::Empty { .. }
            | Self::Unsupported { .. }
            | Self::MissingColumn { .. }
            | Self::AmbiguousColumn { .. } => true,
            Self::Store(error) => matches!(
                error,
                tiltmeter_store::StoreError::NotARun { .. } | tiltmeter_store::StoreError::Foreign { .. }
            ),
            Self::Read { .. }
            | Self::Parquet { .. }
            | Self::Inspect { .. }
            | Self::Statistics(_)
            | Self::Sweep(_) => false,
        }
    }

    pub(crate) fn missing_column(file: &str, name: &str, existing: &[String]) -> Self {
        Self::MissingColumn {
            file: printable(file),
            what: format!("column `{}`", printable(name)),
            existing: listed(existing),
            advice: "name one of these".to_owned(),
        }
    }

    pub(crate) fn missing_role(file: &str, role: Role, tried: &[&str], existing: &[String]) -> Self {
        Self::MissingColumn {
            file: printable(file),
            what: format!("{} column (one of {})", role.name(), tried.join(", ")),
            existing: listed(existing),
            advice: format!("say which one it is by {}", role.option()),
        }
    }

    pub(crate) fn ambiguous_column(
        file: &str,
        what: &str,
        first: &str,
        second: &str,
        option: Option<&'static str>,
    ) -> Self {
        if first == second {
            return Self::AmbiguousColumn {
                file: printable(file),
                what: format!("the column `{}` is there twice", printable(first)),
                advice: "rename one of them".to_owned(),
            };
        }
        let purpose = if what.is_empty() { "that".to_owned() } else { format!("the {what} column") };
        Self::AmbiguousColumn {
            file: printable(file),
            what: format!("both `{}` and `{}` could be {purpose}", printable(first), printable(second)),
            advice: match option {
                Some(option) => format!("say which one it is by {option}"),
                None => "write its name exactly as in the file".to_owned(),
            },
        }
    }

    /// A column that would have been chosen from the start shows up after rows were counted without it.
    pub(crate) fn late_column(file: &str, line: u64, first: &str, late: &str) -> Self {
        Self::AmbiguousColumn {
            file: printable(file),
            what: format!(
                "`{}` was used for the rows before, and line {line} has `{}`, which goes before it",
                printable(first),
                printable(late)
            ),
            advice: "name the column to use, as by --question-column".to_owned(),
        }
    }
}

fn listed(columns: &[String]) -> String {
    if columns.is_empty() {
        return "there are no columns".to_owned();
    }
    let names: Vec<String> =
        columns.iter().take(MOST_COLUMNS).map(|column| format!("`{}`", printable(column))).collect();
    let more = columns.len().saturating_sub(MOST_COLUMNS);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("its columns are {}{rest}", names.join(", "))
}
