//! The inspectors: what looks at a context and says what is to be thought of it. No HTTP server here.
//!
//! A request is split into examples ([`split()`]), and every example is addressed by its content, so that a history that
//! is sent again costs nothing and one bad example never condemns a session.

mod cache;
mod detector;
mod example;
mod few_shot;
mod in_process;
mod inspector;
mod judge;
mod local;
mod open;
mod risk;
mod rules;
mod split;
mod transform;
mod webhook;

pub use cache::{CacheCounts, VerdictCache, VerdictKey};
pub use detector::{ContextDetector, DetectorError, ExampleDetector, Finding, Verdict};
pub use example::{Content, Example, ExampleKind};
pub use in_process::inspect_prompt;
pub use inspector::{ContextInspector, DetectorTerms, Timing};
pub use judge::{ExampleJudge, ExampleJudgeSettings};
pub use local::{AnswerPairs, PersonaDetector, PersonaSettings, TiltDetector, TiltSettings};
pub(crate) use open::Address;
pub use open::{
    ContextFile, GivenModels, JudgeFile, OpenError, PersonaFile, RulesFile, Surroundings, TiltFile,
    TimingFile, WebhookFile,
};
pub use risk::{ContextFinding, ExampleState, RiskSettings, RiskSettingsError, assess};
pub use rules::{Rules, RulesError};
pub use split::{Split, split};
pub use transform::{PromptAction, request_of, transform};
pub use webhook::{Webhook, WebhookError, WebhookSettings};
