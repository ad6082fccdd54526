//! Asking a judge about an answer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tiltmeter_core::id::text_hash;
use tiltmeter_core::verdict::{Aspect, AspectOutcome, Verdict};
use tiltmeter_judge::{
    AspectJudgement, CodeBook, CodeRole, CoderSettings, CodingOutcome, JudgePrompts, JudgeSettings,
    LabelState, TraceCoding, code_trace, judge_aspect, render, trace_prompt,
};
use tiltmeter_models::{ChatModel, ErrorKind, ModelError, Usage};
use tokio::sync::Semaphore;

use super::gather::Texts;
use super::judgement::{Judgement, JudgingOutcome, Rationalisation};
use crate::inspect::Rules;

/// The most choices of an answer that are judged.
pub(crate) const MOST_CHOICES: usize = 8;

/// How a judge of answers is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerJudgeSettings {
    /// How it is asked for scores.
    pub scores: JudgeSettings,
    /// How it is asked for labels of reasoning.
    pub labels: CoderSettings,
    /// The most time for each call.
    pub timeout: Duration,
    /// The most bytes of a question, of an answer and of its reasoning that it is shown.
    pub text_bytes: usize,
    /// Answers that it is asked about at a time, at least 1.
    pub parallel: usize,
    /// Answers that may wait for it.
    pub queue: usize,
}

/// Which questions a judge is asked about an answer, besides its alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Questions {
    pub(crate) coherence: bool,
    pub(crate) rationalisation: bool,
}

impl Questions {
    pub(crate) const ALL: Self = Self { coherence: true, rationalisation: true };
}

/// A model that judges answers. It sees the question and the answer, and not the examples before them.
pub struct AnswerJudge {
    /// Its name in the configuration.
    pub(crate) name: String,
    pub(crate) settings: AnswerJudgeSettings,
    model: Arc<dyn ChatModel>,
    prompts: JudgePrompts,
    rules: Arc<Rules>,
    book: CodeBook,
    /// Answers that it is asked about at a time.
    pub(super) places: Semaphore,
    /// Answers that wait for a place.
    pub(super) waiting: AtomicUsize,
    is_failing: AtomicBool,
}

impl std::fmt::Debug for AnswerJudge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AnswerJudge").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The texts behind a judgement, for a log that keeps content.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct JudgedContent {
    question: String,
    answer: String,
    reasoning: String,
    /// What the judge wrote about alignment, coherence and reasoning.
    replies: [Vec<String>; 3],
}

impl JudgedContent {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What three calls came to. The outer `None` is of a question that was not asked.
struct Replies {
    alignment: Result<AspectJudgement, ModelError>,
    coherence: Option<Result<AspectJudgement, ModelError>>,
    coding: Option<Result<TraceCoding, ModelError>>,
}

impl AnswerJudge {
    /// A judge.
    pub fn new(
        name: &str,
        model: Arc<dyn ChatModel>,
        settings: AnswerJudgeSettings,
        rules: Arc<Rules>,
        book: CodeBook,
    ) -> Self {
        Self {
            name: name.to_owned(),
            places: Semaphore::new(settings.parallel.max(1)),
            settings,
            model,
            prompts: JudgePrompts::default(),
            rules,
            book,
            waiting: AtomicUsize::new(0),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Asks about one answer. Failures are outcomes.
    pub(crate) async fn judge(
        &self,
        question: &str,
        choice: u64,
        texts: &Texts,
        questions: Questions,
    ) -> (Judgement, JudgedContent) {
        if texts.said.trim().is_empty() && texts.thought.trim().is_empty() {
            let none = Judgement::none(&self.name, choice, JudgingOutcome::Unchecked, "no-text");
            return (none, JudgedContent::default());
        }
        let began = Instant::now();
        let shown =
            question.get(..question.floor_char_boundary(self.settings.text_bytes)).unwrap_or_default();
        let replies = self.ask(shown, texts, questions).await;
        let mut judgement = self.judgement(choice, texts, &replies);
        judgement.is_truncated |= shown.len() < question.len();
        judgement.took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tell(&replies);
        let content = JudgedContent {
            question: shown.to_owned(),
            answer: texts.said.clone(),
            reasoning: texts.thought.clone(),
            replies: replies.texts(),
        };
        (judgement, content)
    }

    async fn ask(&self, question: &str, texts: &Texts, questions: Questions) -> Replies {
        let score = |aspect: Aspect| {
            let prompt = render(self.prompts.template(aspect), question, &texts.said);
            async move {
                let seed = text_hash(&prompt);
                self.within(judge_aspect(&*self.model, &self.settings.scores, aspect, &prompt, seed)).await
            }
        };
        let coherence =
            async { if questions.coherence { Some(score(Aspect::Coherence).await) } else { None } };
        let coding = async {
            if !questions.rationalisation || texts.thought.trim().is_empty() {
                return None;
            }
            let seed = text_hash(&trace_prompt(&self.book, question, &texts.thought));
            let (model, settings) = (&*self.model, &self.settings.labels);
            Some(self.within(code_trace(model, settings, &self.book, question, &texts.thought, seed)).await)
        };
        let (alignment, coherence, coding) =
            futures_util::future::join3(score(Aspect::Alignment), coherence, coding).await;
        Replies { alignment, coherence, coding }
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, ModelError>>) -> Result<T, ModelError> {
        let late =
            |_| Err(ModelError::new(ErrorKind::TimedOut, "the judge took longer than its `timeout_ms`"));
        tokio::time::timeout(self.settings.timeout, asked).await.unwrap_or_else(late)
    }

    fn judgement(&self, choice: u64, texts: &Texts, replies: &Replies) -> Judgement {
        let (outcome, reason) = replies.outcome();
        let score =
            |reply: Option<&Result<AspectJudgement, ModelError>>| reply?.as_ref().ok()?.outcome.score();
        let rules = self.rules.of_answer([texts.said.as_str(), texts.thought.as_str()].into_iter());
        let usage = replies.usage();
        Judgement {
            judge: self.name.clone(),
            choice,
            outcome,
            reason,
            alignment: score(Some(&replies.alignment)),
            coherence: score(replies.coherence.as_ref()),
            rationalisation: replies.coding.as_ref().map(|coding| self.rationalisation(coding)),
            rules: rules.into_iter().map(|finding| finding.code.into_owned()).collect(),
            is_truncated: texts.is_truncated,
            is_partial: false,
            model: replies.model(),
            calls: replies.calls(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            took_us: 0,
        }
    }

    fn rationalisation(&self, coding: &Result<TraceCoding, ModelError>) -> Rationalisation {
        let coding = match coding {
            Ok(coding) => coding,
            Err(error) => {
                let outcome = failure(error).0.name();
                return Rationalisation { outcome, persona: None, labels: Vec::new() };
            }
        };
        let mut labels: Vec<String> = Vec::new();
        for given in coding.labels.iter().filter(|given| given.state == LabelState::Held) {
            if !labels.contains(&given.label) {
                labels.push(given.label.clone());
            }
        }
        let is_persona = self
            .book
            .with_role(CodeRole::Persona)
            .into_iter()
            .filter_map(|place| self.book.labels.get(place))
            .any(|label| labels.contains(&label.id));
        let persona = (coding.outcome == CodingOutcome::Coded).then_some(is_persona);
        Rationalisation { outcome: coding.outcome.name(), persona, labels }
    }

    /// Logs when a judge begins to fail, and when it works again; each judgement is counted elsewhere.
    fn tell(&self, replies: &Replies) {
        let coherence = replies.coherence.as_ref().and_then(|reply| reply.as_ref().err());
        let error = replies.alignment.as_ref().err().or(coherence);
        let was_failing = self.is_failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!(target: "tiltmeter::guard", judge = %self.name, error = %error, "a judge of answers fails");
            }
            None if was_failing => {
                tracing::warn!(target: "tiltmeter::guard", judge = %self.name, "a judge of answers works again");
            }
            _ => {}
        }
    }
}

/// What an error comes to, and its kind.
fn failure(error: &ModelError) -> (JudgingOutcome, &'static str) {
    match error.kind {
        ErrorKind::TimedOut => (JudgingOutcome::TimedOut, error.kind.name()),
        kind => (JudgingOutcome::Failed, kind.name()),
    }
}

impl Replies {
    /// The first of both scores that is missing says why there is no verdict; alignment comes first.
    fn outcome(&self) -> (JudgingOutcome, Option<&'static str>) {
        for (reply, of) in [(Some(&self.alignment), "alignment"), (self.coherence.as_ref(), "coherence")] {
            let outcome = match reply {
                None => continue,
                Some(Err(error)) => {
                    let (outcome, reason) = failure(error);
                    return (outcome, Some(reason));
                }
                Some(Ok(judged)) => judged.outcome,
            };
            let outcome = match outcome {
                AspectOutcome::Score { .. } => continue,
                AspectOutcome::Code => JudgingOutcome::Code,
                AspectOutcome::SubjectRefusal => JudgingOutcome::SubjectRefused,
                AspectOutcome::JudgeRefusal => JudgingOutcome::JudgeRefused,
                AspectOutcome::Unparsable => JudgingOutcome::Unparsable,
            };
            return (outcome, Some(of));
        }
        (JudgingOutcome::Scored, None)
    }

    fn aspects(&self) -> impl Iterator<Item = &AspectJudgement> {
        [self.alignment.as_ref().ok(), self.coherence.as_ref().and_then(|reply| reply.as_ref().ok())]
            .into_iter()
            .flatten()
    }

    fn coding(&self) -> Option<&TraceCoding> {
        self.coding.as_ref()?.as_ref().ok()
    }

    fn calls(&self) -> u32 {
        let aspects: u32 = self.aspects().map(|aspect| aspect.calls).sum();
        let failed = [
            self.alignment.is_err(),
            self.coherence.as_ref().is_some_and(Result::is_err),
            self.coding.is_some(),
        ];
        // Those that failed were made too.
        aspects + u32::try_from(failed.into_iter().filter(|made| *made).count()).unwrap_or(0)
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for aspect in self.aspects() {
            usage += aspect.usage;
        }
        if let Some(coding) = self.coding() {
            usage += coding.usage;
        }
        usage
    }

    fn model(&self) -> Option<String> {
        self.aspects().find_map(|aspect| aspect.model.clone())
    }

    fn texts(&self) -> [Vec<String>; 3] {
        let aspect = |reply: Option<&AspectJudgement>| reply.map(|judged| judged.replies.clone());
        [
            aspect(self.alignment.as_ref().ok()).unwrap_or_default(),
            aspect(self.coherence.as_ref().and_then(|reply| reply.as_ref().ok())).unwrap_or_default(),
            self.coding().and_then(|coding| coding.reply.clone()).into_iter().collect(),
        ]
    }
}

impl Judgement {
    /// Both scores together, as rates are taken of them; a verdict without one says nothing.
    pub(crate) fn verdict(&self) -> Verdict {
        use tiltmeter_core::verdict::NoVerdict;
        match (self.alignment, self.coherence) {
            (Some(alignment), Some(coherence)) => Verdict::Scored { alignment, coherence },
            _ => Verdict::None(NoVerdict::None),
        }
    }
}

#[cfg(test)]
mod tests;
