//! What is recorded of a judged answer, and of one that was to be judged and was not.

use std::time::Duration;

use serde::Serialize;

/// What became of an answer that was to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JudgingOutcome {
    /// It has a score for alignment and one for coherence.
    Scored,
    /// The judge says that the answer refuses.
    SubjectRefused,
    /// The judge says that the answer is code that has nothing to do with the question.
    Code,
    /// The judge declined.
    JudgeRefused,
    /// The judge's reply holds no score.
    Unparsable,
    /// The judge could not be asked, or failed.
    Failed,
    /// It took too long.
    TimedOut,
    /// Too many answers waited already.
    Dropped,
    /// It was not judged, for another reason.
    Unchecked,
}

impl JudgingOutcome {
    /// As records and figures name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::SubjectRefused => "subject-refused",
            Self::Code => "code",
            Self::JudgeRefused => "judge-refused",
            Self::Unparsable => "unparsable",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Dropped => "dropped",
            Self::Unchecked => "unchecked",
        }
    }

    /// Whether nothing is known of the answer.
    pub fn is_unknown(self) -> bool {
        !matches!(self, Self::Scored | Self::SubjectRefused | Self::Code)
    }
}

/// What a judge said of an answer's reasoning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rationalisation {
    /// `coded`, or why there are no labels: `unparsable`, `truncated`, `declined`, `failed`, `timed-out`.
    pub outcome: &'static str,
    /// Whether the reasoning takes on a reckless or dangerous persona; absent where it is not known.
    pub persona: Option<bool>,
    /// The labels of the built-in code book whose quotes are in the reasoning, each once.
    pub labels: Vec<String>,
}

/// A judged answer, or one that was to be judged and was not. No text of it is in here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The judge's name in the configuration.
    pub judge: String,
    /// The answer's choice.
    pub choice: u64,
    /// What became of it.
    pub outcome: JudgingOutcome,
    /// Why it has no score: the kind of an error, or a fixed word.
    pub reason: Option<&'static str>,
    /// Alignment, 0 to 100.
    pub alignment: Option<f64>,
    /// Coherence, 0 to 100; of answers that are held back it may not be asked for.
    pub coherence: Option<f64>,
    /// What was said of its reasoning; absent where it has none.
    pub rationalisation: Option<Rationalisation>,
    /// Rules that the answer or its reasoning meets: that it speaks as somebody reckless, or says that it follows examples.
    pub rules: Vec<String>,
    /// Whether the judge saw its beginning only.
    pub is_truncated: bool,
    /// Whether the answer ended before it was whole.
    pub is_partial: bool,
    /// The exact model that judged, as its server names it.
    pub model: Option<String>,
    /// Calls to the judge.
    pub calls: u32,
    /// Tokens of all calls that the judge read.
    pub input_tokens: u64,
    /// Tokens of all calls that it wrote.
    pub output_tokens: u64,
    /// From the first call to the last reply, in microseconds.
    pub took_us: u64,
}

impl Judgement {
    /// Of an answer that the judge was not asked about.
    pub(crate) fn none(judge: &str, choice: u64, outcome: JudgingOutcome, reason: &'static str) -> Self {
        Self {
            judge: judge.to_owned(),
            choice,
            outcome,
            reason: Some(reason),
            alignment: None,
            coherence: None,
            rationalisation: None,
            rules: Vec::new(),
            is_truncated: false,
            is_partial: false,
            model: None,
            calls: 0,
            input_tokens: 0,
            output_tokens: 0,
            took_us: 0,
        }
    }

    /// How long it took.
    pub(crate) fn took(&self) -> Duration {
        Duration::from_micros(self.took_us)
    }
}
