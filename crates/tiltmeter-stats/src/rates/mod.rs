//! Rates with their intervals.
//!
//! | question | function |
//! | --- | --- |
//! | independent trials | [`wilson()`]; [`clopper_pearson`] where the level must be kept for certain |
//! | several samples of each question | [`clustered_rate`], or [`robust_rate`] for its parts |
//! | questions and contexts both vary | [`bootstrap_rate`] with [`RateResampling::QuestionsAndContexts`] |
//! | comparison with a paper that used `p ± 1.96 √(p q / n)` | [`normal_interval`] |
//! | how a rate depends on its definition | [`sweep()`] |
//! | how far an interval is to be trusted | [`measured_coverage`] |

mod bootstrap;
mod bounds;
mod cluster;
mod counts;
mod coverage;
mod robust;
mod sweep;
mod wilson;

pub use bootstrap::{CellCount, RateBootstrap, RateResampling, bootstrap_rate, bootstrap_t_rate};
pub use bounds::{RateBounds, rate_bounds};
pub use cluster::{ClusterCount, ClusteredRate, RateMethod, clustered_rate};
pub use counts::{IntervalMethod, clopper_pearson, jeffreys, normal_interval};
pub use coverage::{
    ASSUMED_CORRELATION, CoverageAssessment, MeasuredCoverage, intra_cluster_correlation, measured_coverage,
};
pub use robust::{RobustRate, robust_rate};
pub use sweep::{Outcome, SweepPoint, sweep};
pub use wilson::{wilson, wilson_with};

pub(crate) use cluster::{matched_degrees, total};
