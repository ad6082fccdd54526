//! How well detectors find harmful contexts: labelled contexts with their benign twins, and the figures of scores.
//!
//! Nothing here asks a model. A threshold is always chosen on other domains than those that it is held against.

mod cases;
mod figures;

pub use cases::{Case, cases};
pub use figures::{Figures, RecallAt, Scored, figures};
