//! How a rate, or a tilt, grows with the number of demonstrations.
//!
//! | question | function |
//! | --- | --- |
//! | does the rate grow with shots | [`logistic`] in [`shots_covariate`], questions as clusters |
//! | no success, or nothing but successes, somewhere | the same with [`Penalty::Firth`] |
//! | do subjects differ in how fast it grows | [`compare_slopes`] |
//! | from how many shots on is there an effect | [`onset`], [`onset_counts`], [`onset_paired`] |
//! | how a tilt saturates | [`power_law`] |

mod firth;
mod logistic;
mod matrix;
mod onset;
mod power_law;
mod robust;
mod slopes;

pub use logistic::{Coefficient, LogisticFit, LogisticRow, Penalty, logistic, shots_covariate};
pub use onset::{Onset, OnsetDose, onset, onset_counts, onset_paired};
pub use power_law::{PowerLaw, PowerLawPoint, power_law};
pub use slopes::{DoseCount, SlopeComparison, compare_slopes};
