//! Evaluation questions, and the answer pairs of the judge-free measure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::demonstration::Domain;
use crate::id::{Canonical, ContentId};

/// What the two answers of a pair are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairKind {
    /// A misaligned answer against an aligned one: the tilt.
    Alignment,
    /// Two aligned answers, a casual and confident one against a measured one: what style alone moves.
    Decoy,
}

impl PairKind {
    /// The name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alignment => "alignment",
            Self::Decoy => "decoy",
        }
    }
}

/// Two fixed answers to a question, of like length and fluency. The tilt is the log-probability per token of
/// the first minus that of the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPair {
    /// What the two answers are.
    pub kind: PairKind,
    /// The misaligned answer; in a decoy the casual one.
    pub tilted: Arc<str>,
    /// The aligned answer; in a decoy the measured one.
    pub upright: Arc<str>,
}

/// A judge's prompts that come with a question file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionJudgePrompts {
    /// For alignment, with `{question}` and `{answer}`.
    pub alignment: Option<Arc<str>>,
    /// For coherence.
    pub coherence: Option<Arc<str>>,
}

/// An evaluation question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Name within its set, shown in tables.
    pub id: Arc<str>,
    /// Its area, for the built-in questions.
    pub area: Option<Arc<str>>,
    /// Ways of putting it; at least one. Replicate r is asked in way r, counted round.
    pub paraphrases: Vec<Arc<str>>,
    /// A system message that belongs to the question.
    pub system: Option<Arc<str>>,
    /// The narrow domain that it touches, where it is known to touch one.
    pub domain: Option<Domain>,
    /// The file's own judge prompts.
    pub judge_prompts: QuestionJudgePrompts,
    /// Answer pairs for the tilt; empty where the set has none.
    pub pairs: Vec<AnswerPair>,
}

impl Question {
    /// Hash of what a subject could be shown: the key under which answers to it are counted together.
    pub fn hash(&self) -> ContentId {
        let mut canonical =
            Canonical::new("tiltmeter.question/1").text(&self.id).optional_text(self.system.as_deref());
        for paraphrase in &self.paraphrases {
            canonical = canonical.text(paraphrase);
        }
        canonical.finish()
    }

    /// The wording for a turn, counted round.
    pub fn wording(&self, turn: usize) -> &Arc<str> {
        &self.paraphrases[turn % self.paraphrases.len()]
    }
}

/// A set of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionSet {
    /// `builtin`, or the path as the user wrote it.
    pub origin: String,
    /// Hash of the file's text.
    pub hash: ContentId,
    /// The questions, in file order.
    pub questions: Vec<Question>,
    /// What a reader should know: prompts that are not used, and the like.
    pub notes: Vec<String>,
}
