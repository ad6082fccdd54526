//! Scores what is stored, without asking a subject: by the same judge where scores are missing, or by another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tiltmeter_core::experiment::Judge;
use tiltmeter_core::verdict::Aspect;
use tiltmeter_store::{AnswerToJudge, IdSet, JudgePromptTexts, Reader, Rejudged, StoreError, judgement_hash};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::judging::{Bench, Judged, MissingScore, judge_queue};
use super::ledger::Ledger;
use super::{EngineError, JUDGE_QUEUE, Means, Outcome};
use crate::connect::Model;
use crate::event::Event;

/// What scoring stored answers works with.
pub struct Rejudge {
    /// The judge.
    pub judge: Judge,
    /// The judge, connected.
    pub model: Arc<Model>,
    /// The rows of the store.
    pub rows: Rejudged,
    /// The judge's prompts, by row of the question.
    pub prompts: BTreeMap<i64, JudgePromptTexts>,
    /// How it is gone about.
    pub means: Means,
}

/// What the feeding task walks through.
struct Work {
    wordings: BTreeMap<i64, Vec<String>>,
    answers: Vec<(AnswerToJudge, Vec<MissingScore>)>,
}

/// Has all stored answers of an experiment scored that have no score by this judge and these prompts yet.
///
/// # Errors
/// If the store cannot be read. What stops it once it has begun is part of the [`Outcome`].
pub async fn rejudge(run: Rejudge, reader: Reader) -> Result<Outcome, EngineError> {
    let start = Instant::now();
    let stored = reader.stored_ids()?.judgements;
    let answers = reader.answers_to_judge(run.rows.experiment)?;
    let wordings = reader.question_wordings()?;
    let mut reused = 0;
    let mut missing = Vec::new();
    for answer in answers {
        let scores = run.missing(&answer, &stored);
        reused += (Aspect::ALL.len() - scores.len()) as u64;
        if !scores.is_empty() {
            missing.push((answer, scores));
        }
    }
    let judgements = missing.iter().map(|(_, scores)| scores.len() as u64).sum();
    let Rejudge { judge, model, rows, means, .. } = run;
    let ledger = Arc::new(Ledger::new(means));
    ledger.tell(Event::Started { samples: 0, scores: 0, judgements, reused });
    let bench = Arc::new(Bench::new(&judge, rows.judge));
    let (to_judge, queue) = mpsc::channel(JUDGE_QUEUE);
    let tasks = TaskTracker::new();
    let work = Work { wordings, answers: missing };
    tasks.spawn(work.feed(ledger.clone(), Mutex::new(reader), to_judge));
    tasks.spawn(judge_queue(bench, ledger.clone(), model, queue, tasks.clone()));
    tasks.close();
    tasks.wait().await;
    Ok(ledger.outcome(reused, start.elapsed()))
}

impl Rejudge {
    fn missing(&self, answer: &AnswerToJudge, stored: &IdSet) -> Vec<MissingScore> {
        let (Some(rows), Some(texts)) =
            (self.rows.prompts.get(&answer.question), self.prompts.get(&answer.question))
        else {
            return Vec::new();
        };
        let templates = [&texts.alignment, &texts.coherence];
        let scores = Aspect::ALL.into_iter().zip(rows).zip(templates).map(|((aspect, row), template)| {
            let &(prompt, prompt_hash) = row;
            let hash = judgement_hash(answer.sample, self.judge.hash, prompt_hash, aspect);
            MissingScore { aspect, hash, prompt, template: template.clone() }
        });
        scores.filter(|score| !stored.contains(&score.hash)).collect()
    }
}

impl Work {
    /// Reads one answer after the other, as fast as the judge takes them.
    async fn feed(self, ledger: Arc<Ledger>, reader: Mutex<Reader>, to_judge: mpsc::Sender<Judged>) {
        for (AnswerToJudge { response, question, wording, .. }, scores) in self.answers {
            if ledger.is_stopping() {
                return;
            }
            let Ok(answer) = reader.lock().map(|reader| reader.answer(response)) else { return };
            let Some(answer) = ledger.check(answer) else { return };
            let wordings = self.wordings.get(&question).map(Vec::as_slice).unwrap_or_default();
            let asked = wordings
                .get(wording % wordings.len().max(1))
                .ok_or_else(|| StoreError::Damaged { what: format!("question {question} has no wordings") });
            let Some(asked) = ledger.check(asked) else { return };
            let judged = Judged { response, question: asked.as_str().into(), answer, scores, held: None };
            if to_judge.send(judged).await.is_err() {
                return;
            }
        }
    }
}
