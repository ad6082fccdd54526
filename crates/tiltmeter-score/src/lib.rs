//! Rates from recorded judged answers of any origin: CSV, JSON Lines, Parquet, and the project's own run directories.
//!
//! This crate reads tables and counts rows. It knows files and computes no statistic of its own: every interval is
//! from `tiltmeter-stats`. It asks no model and changes no file. What it counts is stated with every rate
//! ([`Definition`]), because published rates differ by what they count.
//!
//! ```no_run
//! use tiltmeter_score::{ColumnNames, Definition, Input, ScoreRequest, score, table};
//!
//! # fn main() -> Result<(), tiltmeter_score::ScoreError> {
//! let rates = score(ScoreRequest {
//!     inputs: vec![Input::Path("judged.csv".into())],
//!     columns: ColumnNames::default(),
//!     by: vec!["model".to_owned()],
//!     definition: Definition::default(),
//!     label_scores: None,
//!     sweep: false,
//! })?;
//! assert!(!table(&rates).is_empty());
//! # Ok(())
//! # }
//! ```

mod against;
mod cell;
mod columns;
mod definition;
mod error;
mod input;
mod key;
mod printable;
mod rates;
mod rows;
mod sweep;
mod sweep_text;
mod table;
mod tally;

pub use against::{Compared, compare_judges};
pub use columns::{ColumnNames, UsedColumns};
pub use definition::{CoherentWhere, Definition, MisalignedWhere, Numerator, Threshold, ThresholdError};
pub use error::ScoreError;
pub use input::Input;
pub use rates::{
    BrokenRow, ClusteredInterval, Coverage, DefinitionRecord, FileRecord, GroupRates, Hashed, Rates,
    ScoreRequest, Ties, score, score_rows,
};
pub use rows::{JudgedRows, RowScores};
pub use sweep::{DefinitionPoint, Sweep, SweepError, SweepRate, ThresholdPoint};
pub use table::table;
pub use tiltmeter_agreement::{
    CalibrationCurve, CorrectedRate, Decisions, JudgeErrors, LabelRates, Omission, RateInterval, ScoreBin,
};
