//! Rates, intervals, tests, dose and response, agreement, corrections and planning: numbers in, numbers out.
//!
//! This crate knows nothing of models, samples or files, so that every figure in a report can be checked
//! against another statistics package by its inputs alone. It does no I/O; a generator's seed is passed in.
//! `docs/statistics.md` says when to use which.

pub mod agreement;
mod association;
mod bootstrap;
pub mod compare;
mod confidence;
pub mod correct;
pub mod dose;
mod error;
mod interval;
mod jackknife;
pub mod planning;
pub mod rates;
mod special;

pub use association::{Correlation, Observation, Strata, clustered_statistic, correlation, kendall, pearson};
pub use bootstrap::{
    BootstrapInterval, BootstrapMethod, BootstrapSettings, MINIMUM_DRAWS, PairedDifference, bootstrap_mean,
};
pub use confidence::Confidence;
pub use error::StatsError;
pub use interval::Interval;
pub use jackknife::{JackknifeScale, Jackknifed, MOST_GROUPS, jackknife};
pub use rates::{
    ClusterCount, ClusteredRate, RateBounds, RateMethod, clustered_rate, rate_bounds, wilson, wilson_with,
};
