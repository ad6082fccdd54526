//! Demonstration sets: narrow bad behaviour by example, and its matched benign twin.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Canonical, ContentId};

pub use crate::control::{Control, Mix, MixOrder};

/// The narrow domain of a demonstration set, or of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// Money.
    Finance,
    /// Health.
    Medicine,
    /// Sport and outdoor risk.
    Sports,
    /// Programming.
    Code,
}

impl Domain {
    /// The name used in files and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finance => "finance",
            Self::Medicine => "medicine",
            Self::Sports => "sports",
            Self::Code => "code",
        }
    }
}

/// One prompt with its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// What the user says.
    pub prompt: Arc<str>,
    /// The set's own answer; misaligned in the sets that this is about.
    pub response: Arc<str>,
    /// A benign answer to the same prompt, where the set has one.
    pub benign: Option<Arc<str>>,
}

/// What may be done with a published set, kept with every run that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// SPDX identifier of the licence, or what the publisher's terms are called.
    pub name: Arc<str>,
    /// Whether the data may be passed on.
    pub share: bool,
}

impl Terms {
    /// The terms of what is made of two sets: both hold.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "both are used up: what is made of two sets has these terms"
    )]
    pub fn and(self, other: Self) -> Self {
        let name =
            if self.name == other.name { self.name } else { format!("{}; {}", self.name, other.name).into() };
        Self { name, share: self.share && other.share }
    }
}

/// A demonstration set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemonstrationSet {
    /// Name in tables.
    pub name: Arc<str>,
    /// The narrow domain, where it is known.
    pub domain: Option<Domain>,
    /// Where it came from: `builtin`, or the path as the user wrote it.
    pub origin: String,
    /// Hash of the rows.
    pub hash: ContentId,
    /// The rows, in file order.
    pub rows: Vec<Demonstration>,
    /// What was left out on loading and why, for the record.
    pub notes: Vec<String>,
    /// What may be done with it, where it is a published set.
    pub terms: Option<Terms>,
}

impl DemonstrationSet {
    /// Puts a set together and computes its hash.
    pub fn new(name: &str, domain: Option<Domain>, origin: &str, rows: Vec<Demonstration>) -> Self {
        let mut canonical = Canonical::new("tiltmeter.demonstrations/1").integer(rows.len() as u64);
        for row in &rows {
            canonical = canonical.text(&row.prompt).text(&row.response).optional_text(row.benign.as_deref());
        }
        let hash = canonical.finish();
        Self {
            name: name.into(),
            domain,
            origin: origin.to_owned(),
            hash,
            rows,
            notes: Vec::new(),
            terms: None,
        }
    }
}
