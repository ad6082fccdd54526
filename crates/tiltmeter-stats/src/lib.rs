//! Rates, intervals and resampling: numbers in, numbers out.
//!
//! This crate knows nothing of models, samples or files, so that every figure in a report can be checked
//! against another statistics package by its inputs alone. It does no I/O; a generator's seed is passed in.

mod bootstrap;
mod bounds;
mod cluster;
mod confidence;
mod error;
mod interval;

pub use bootstrap::{
    BootstrapInterval, BootstrapMethod, BootstrapSettings, MINIMUM_DRAWS, PairedDifference, bootstrap_mean,
};
pub use bounds::{RateBounds, rate_bounds};
pub use cluster::{ClusterCount, ClusteredRate, RateMethod, clustered_rate};
pub use confidence::Confidence;
pub use error::StatsError;
pub use interval::{Interval, wilson, wilson_with};
