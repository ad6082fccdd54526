//! Experiment files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a reasoning model may think, where the provider has a setting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Reasoning {
    /// No reasoning, where it can be switched off.
    Off,
    /// Whatever the provider does when nothing is said.
    #[default]
    Default,
    /// Little reasoning.
    Low,
    /// A medium amount.
    Medium,
    /// Much reasoning.
    High,
}

impl Reasoning {
    /// The name used in experiment files, tables and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Default => "default",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}
