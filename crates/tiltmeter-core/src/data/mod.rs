//! Data sets: the starter sets that are built in, and readers for published formats.

pub mod builtin;
pub(crate) mod filler;
mod in_domain;
pub mod messages;
pub mod probes;
pub mod questions_yaml;
pub mod statements;
pub mod truthful_qa;

pub use in_domain::known_domain;
