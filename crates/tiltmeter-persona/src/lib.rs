//! Persona vectors (Chen et al., "Persona Vectors: Monitoring and Controlling Character Traits in Language Models",
//! 2025, arXiv 2507.21509): directions in a local model's residual stream that stand for a trait.
//!
//! This crate reads trait files, extracts vectors and keeps them as safetensors files with their provenance. It knows
//! models and judges, not experiments: `tiltmeter-run` projects the samples of a run onto a vector and steers subjects.

mod extraction;
mod random;
mod rollouts;
mod separation;
mod trait_file;
mod vector;

pub use extraction::{ExtractError, Extraction, ExtractionSettings, Step, TraitJudge, extract};
pub use random::random_directions;
pub use rollouts::{RolloutStore, Side};
pub use trait_file::{TraitError, TraitFile, builtin_traits};
pub use vector::{
    Counts, JudgeRecord, LayerRecord, ModelRecord, PersonaVector, SettingsRecord, SideCounts, VectorError,
    VectorRecord, length,
};
