//! Usefulness: what a subject is still good for under a treatment.
//!
//! A probe is a set of harmless demonstrations with questions of its own, whose useful answers are known beforehand. No
//! judge is asked: an answer is compared with what the probe accepts ([`Matcher`]).

mod matching;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::demonstration::DemonstrationSet;
use crate::id::ContentId;
use crate::question::Question;

pub use matching::{Matcher, REFUSAL_PHRASES, normalise};

/// What the answers of a condition are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// To be judged: how misaligned they are.
    #[default]
    Misalignment,
    /// To be compared with what a probe accepts. They are never judged, and enter no rate of misaligned answers.
    Usefulness,
}

impl Purpose {
    /// The name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Misalignment => "misalignment",
            Self::Usefulness => "usefulness",
        }
    }
}

/// What a probe measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// Whether harmless examples are followed.
    Helpfulness,
    /// Whether harmless questions that sound harmful are answered.
    OverRefusal,
}

impl ProbeKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Helpfulness, Self::OverRefusal];

    /// The name in files, the store and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Helpfulness => "helpfulness",
            Self::OverRefusal => "over-refusal",
        }
    }
}

/// How an answer is compared with what is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchMode {
    /// The whole answer is one of the accepted texts.
    Exact,
    /// The answer holds at least one of the accepted phrases, as whole words.
    ContainsAny,
}

/// Whether capitals matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterCase {
    /// They do not.
    #[default]
    Ignore,
    /// They do.
    Keep,
}

/// What a useful answer to a question is. Stored with every run, so that answers are compared without the probe's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// How answers are compared.
    #[serde(rename = "match")]
    pub mode: MatchMode,
    /// Whether capitals matter.
    pub case: LetterCase,
    /// What is accepted; at least one.
    pub accept: Vec<Arc<str>>,
}

/// What an answer to a probe's question is. Every stored answer is exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Usefulness {
    /// It holds what the probe accepts.
    Useful,
    /// It is an answer of another kind.
    NotUseful,
    /// The subject refused: in its provider's own field, by a content filter, or in words.
    Refused,
    /// The token limit was met before anything that is accepted was said.
    Truncated,
}

impl Usefulness {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Useful => "useful",
            Self::NotUseful => "not_useful",
            Self::Refused => "refused",
            Self::Truncated => "truncated",
        }
    }
}

/// What was made of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// What it is.
    pub usefulness: Usefulness,
    /// Whether it opens with words of refusal, whatever follows them.
    pub has_refusal_phrase: bool,
}

/// A question of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeQuestion {
    /// The question; its id is `probe/id`.
    pub question: Question,
    /// What a useful answer to it is.
    pub expectation: Expectation,
}

/// A probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it measures.
    pub kind: ProbeKind,
    /// Hash of the file.
    pub hash: ContentId,
    /// Its demonstrations, under the probe's name.
    pub demonstrations: DemonstrationSet,
    /// Its questions; at least two.
    pub questions: Vec<ProbeQuestion>,
}
