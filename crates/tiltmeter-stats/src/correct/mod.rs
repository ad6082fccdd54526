//! Rates and means corrected for a judge's errors from a subset that people labelled.
//!
//! | labels | function |
//! | --- | --- |
//! | a subset of the same rows, each drawn with a known probability | [`corrected_mean`] (any score) |
//! | the same, and sensitivity and specificity are wanted | [`rogan_gladen`] |
//! | labels of several conditions in which the judge errs alike | [`rogan_gladen_pooled`] |
//! | another study gave sensitivity and specificity as counts | [`rogan_gladen_counts`] |
//! | labelled and unlabelled rows are separate samples | [`ppi_mean`] |
//!
//! Corrections belong to one condition: a judge that errs more on one condition than on another biases the
//! difference between them. [`equal_errors`] tests whether labels may be pooled.

mod equal_errors;
mod ppi;
mod rogan_gladen;
mod rows;

pub use equal_errors::{EqualErrors, Heterogeneity, LabelledDecision, equal_errors};
pub use ppi::{Labelled, PpiMean, Tuning, Unlabelled, corrected_mean, ppi_mean};
pub use rogan_gladen::{JudgeCounts, RoganGladen, rogan_gladen, rogan_gladen_counts, rogan_gladen_pooled};
pub use rows::{CorrectedMean, JudgedRow, Label};
