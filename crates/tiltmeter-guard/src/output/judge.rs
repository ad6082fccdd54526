//! A check by a judge: answers that it finds misaligned are cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AnswerTo, Asked, AskedVerdict, Asking, OutputCheck, OutputVerdict, OutputWatch, Piece};
use crate::judging::{AnswerJudge, Judgement, JudgingOutcome, MOST_CHOICES, Questions, Texts, choice_of};

/// Settings of the check `judge`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeCheckFile {
    /// The name of a judge, of `[[judges]]`.
    pub judge: String,
    /// An alignment below this cuts the answer, 0 to 100.
    #[serde(default = "alignment_below")]
    pub alignment_below: f64,
    /// A coherence below this cuts it too; not asked for without it.
    pub coherence_below: Option<f64>,
    /// Whether reasoning that takes on a reckless or dangerous persona cuts it.
    #[serde(default)]
    pub persona: bool,
}

fn alignment_below() -> f64 {
    30.0
}

/// Asks a judge about all that is held back, whenever no more may be, and at the end. Each time it sees the answer from its
/// beginning.
#[derive(Clone, Debug)]
pub struct JudgeCheck {
    judge: Arc<AnswerJudge>,
    alignment_below: f64,
    coherence_below: Option<f64>,
    persona: bool,
}

impl JudgeCheck {
    /// A check of a judge.
    ///
    /// # Errors
    /// Where a bound is not from 0 to 100; the text says which.
    pub fn new(judge: Arc<AnswerJudge>, file: &JudgeCheckFile) -> Result<Self, String> {
        let bounds =
            [("alignment_below", Some(file.alignment_below)), ("coherence_below", file.coherence_below)];
        for (name, bound) in bounds {
            if bound.is_some_and(|bound| !(0.0..=100.0).contains(&bound)) {
                return Err(format!("`{name}` is from 0 to 100"));
            }
        }
        Ok(Self {
            judge,
            alignment_below: file.alignment_below,
            coherence_below: file.coherence_below,
            persona: file.persona,
        })
    }

    /// The bound that a judgement breaks, by its word.
    fn cut(&self, judgement: &Judgement) -> Option<&'static str> {
        let is_below = |score: Option<f64>, bound| score.is_some_and(|score| score < bound);
        let persona = judgement.rationalisation.as_ref().and_then(|reasoning| reasoning.persona);
        if is_below(judgement.alignment, self.alignment_below) {
            Some("misaligned")
        } else if self.coherence_below.is_some_and(|bound| is_below(judgement.coherence, bound)) {
            Some("incoherent")
        } else if self.persona && persona == Some(true) {
            Some("persona")
        } else {
            None
        }
    }

    /// What was to be found out and was not.
    fn unknown(&self, judgement: &Judgement) -> Option<&'static str> {
        let reasoning = judgement.rationalisation.as_ref();
        if judgement.outcome == JudgingOutcome::Unchecked && judgement.reason == Some("no-text") {
            // There is nothing in it that could harm.
            None
        } else if judgement.outcome.is_unknown() {
            Some(judgement.outcome.name())
        } else if self.persona && reasoning.is_some_and(|reasoning| reasoning.persona.is_none()) {
            Some("persona-unknown")
        } else {
            None
        }
    }

    async fn ask(self, to: AnswerTo, answers: BTreeMap<u64, Texts>) -> Asked {
        let questions =
            Questions { coherence: self.coherence_below.is_some(), rationalisation: self.persona };
        let question = to.question.text().await;
        let question = question.as_deref().unwrap_or_default();
        let asked = answers
            .iter()
            .take(MOST_CHOICES)
            .map(|(choice, texts)| self.judge.judge(question, *choice, texts, questions));
        let judged = futures_util::future::join_all(asked).await;
        let mut judgements: Vec<Judgement> = judged.into_iter().map(|(judgement, _)| judgement).collect();
        for choice in answers.keys().skip(MOST_CHOICES) {
            let reason = "too-many-choices";
            judgements.push(Judgement::none(&self.judge.name, *choice, JudgingOutcome::Unchecked, reason));
        }
        let verdict = if let Some(word) = judgements.iter().find_map(|judgement| self.cut(judgement)) {
            AskedVerdict::Cut(word.into())
        } else if let Some(word) = judgements.iter().find_map(|judgement| self.unknown(judgement)) {
            AskedVerdict::Failed(word)
        } else if answers.values().any(|texts| texts.is_truncated) {
            // What the judge was not shown is not checked.
            AskedVerdict::Failed("truncated")
        } else {
            AskedVerdict::Release
        };
        Asked { verdict, judgements }
    }
}

impl OutputCheck for JudgeCheck {
    fn begin(&self, to: &AnswerTo) -> Box<dyn OutputWatch> {
        Box::new(JudgeWatch {
            check: self.clone(),
            to: to.clone(),
            answers: BTreeMap::new(),
            has_news: false,
        })
    }

    fn wants_question(&self) -> bool {
        true
    }
}

struct JudgeWatch {
    check: JudgeCheck,
    to: AnswerTo,
    /// All that was seen so far, as far as the judge is shown it.
    answers: BTreeMap<u64, Texts>,
    /// Whether any of it was not asked about.
    has_news: bool,
}

impl OutputWatch for JudgeWatch {
    fn text(&mut self, piece: &Piece) -> OutputVerdict {
        let texts = self.answers.entry(choice_of(self.to.protocol, piece)).or_default();
        texts.add(piece, self.check.judge.settings.text_bytes);
        self.has_news = true;
        OutputVerdict::Release { but_last: usize::MAX }
    }

    fn end(&mut self) -> OutputVerdict {
        if self.has_news { OutputVerdict::Ask } else { OutputVerdict::Release { but_last: 0 } }
    }

    fn asks_when_full(&self) -> bool {
        self.has_news
    }

    fn give_up(&mut self) -> Vec<Judgement> {
        let name = &self.check.judge.name;
        let none = |choice: &u64| Judgement::none(name, *choice, JudgingOutcome::Unchecked, "client-left");
        self.answers.keys().take(MOST_CHOICES).map(none).collect()
    }

    fn ask(&mut self) -> Asking {
        self.has_news = false;
        Box::pin(self.check.clone().ask(self.to.clone(), self.answers.clone()))
    }
}
