//! The guard as a defence, as an experiment file has it.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::PriceFile;
use crate::guarding::GuardAction;

/// How the guard looks at contexts, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardFile {
    /// What looks at contexts: the settings of the guard's detector `context`, as `[detectors.settings]` of a GUARD.toml has
    /// them (`tiltmeter guard schema`). Where empty, the built-in rules. Nothing works in the background here.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub detectors: IndexMap<String, serde_json::Value>,
    /// What is done with a context of low risk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_low: Vec<GuardAction>,
    /// What is done with a context of high risk.
    pub on_high: Vec<GuardAction>,
    /// The safety instruction; where absent, the gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// What is said instead of an answer to a request that is blocked; where absent, the gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Prices of the detectors' models, in US dollars per million tokens, where they are not known: by detector, `judge` or
    /// `tilt`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub prices: IndexMap<String, PriceFile>,
}

impl Default for GuardFile {
    fn default() -> Self {
        Self {
            detectors: IndexMap::new(),
            on_low: Vec::new(),
            on_high: vec![GuardAction::Quarantine, GuardAction::Instruct],
            instruction: None,
            refusal: None,
            prices: IndexMap::new(),
        }
    }
}
