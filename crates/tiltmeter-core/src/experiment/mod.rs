//! Experiment files: what a user writes ([`mod@file`]), where an error in it stands (`locate`), and what is
//! left once names are looked up, defaults filled in and contradictions refused ([`resolve()`]).

pub mod defence_file;
mod error;
pub mod file;
pub mod guard_file;
mod guarding;
mod locate;
mod models;
mod price;
mod procedures;
pub mod published;
mod read;
mod reshaping;
mod resolve;
mod resolved;
pub mod schema;
mod sets;
pub mod templates;
mod treatments;
mod usefulness;

pub use error::{ConfigError, Position, suggestion};
pub use file::{ContextCache, Family, Reasoning, Scoring, StatisticsFile, SteerSpan, TiltMode};
pub use locate::{Step, locate};
pub use price::{Price, Rates};
pub use read::{read, read_toml};
pub use resolve::{DataSource, resolve, resolve_judge};
pub use resolved::{
    Experiment, Judge, ModelAddress, ModelSettings, SamplingPlan, Steering, SteeringKind, Subject, TiltPlan,
    Until, VectorFile,
};
pub use usefulness::{ProbeInUse, UsefulnessPlan};
