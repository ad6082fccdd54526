//! Asks what is missing, and stores what comes back.
//!
//! One task for each subject walks through its blocks in order, so that no slow provider idles another; each
//! call is a task of its own, within the subject's limits. A stored answer goes to the judge at once, through a
//! bounded queue: when the judge is slow, subjects wait, and memory does not grow.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tiltmeter_core::experiment::{Experiment, Subject};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::{Block, Plan, SampleSpec, ScoreSpec};
use tiltmeter_core::prompt::{PROMPT_HEADER, Placement, Prompt};
use tiltmeter_core::verdict::Aspect;
use tiltmeter_judge::{JudgePrompts, JudgeSettings, judge_aspect, render};
use tiltmeter_models::{
    ChatRequest, ChatResponse, ErrorKind, FinishReason, ModelError, Sampling, ScoreRequest,
};
use tiltmeter_store::{
    FailureRecord, FailureTarget, JudgementRecord, Reader, Registered, ResponseOutcome, ResponseRecord,
    ScoreRecord, StoreError, StoredIds, Writer, judgement_hash,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::{Connections, Model};
use crate::event::{CallTarget, Event, Observer};
use crate::retry::{Calling, RetryPolicy, Tried, milliseconds};

/// Answers that may wait for the judge before subjects wait.
const JUDGE_QUEUE: usize = 256;

/// What a run works with.
pub struct Run {
    /// What is asked for.
    pub experiment: Arc<Experiment>,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// The models.
    pub connections: Arc<Connections>,
    /// The judge's prompts, by question; empty without a judge.
    pub prompts: Arc<Vec<JudgePrompts>>,
    /// The rows of the store.
    pub rows: Arc<Registered>,
    /// What is stored already.
    pub stored: Arc<StoredIds>,
    /// Where results go.
    pub writer: Writer,
    /// How failures are met.
    pub policy: RetryPolicy,
    /// The most answers to ask for in this start.
    pub limit: Option<u64>,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// The clock.
    pub now: fn() -> jiff::Timestamp,
    /// Cancelled to stop asking; what is in flight is still stored.
    pub stop: CancellationToken,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Model calls made.
    pub asked: u64,
    /// Results that were stored before.
    pub reused: u64,
    /// Requests made, repetitions included.
    pub attempts: u64,
    /// Why it stopped before its end.
    pub stop: Option<Stop>,
}

/// Why a run stopped before its end. All that was stored is kept.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A model fails in a way that every further call would repeat.
    #[error("{model}: {error}")]
    Model {
        /// Name of the subject, or `judge`.
        model: String,
        /// What it said.
        error: ModelError,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// Somebody asked for it.
    #[error("stopped on request")]
    Requested,
}

/// A run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs an experiment to its end, or until something stops it.
///
/// `reader` is asked for stored answers that still need a score.
///
/// # Errors
/// If the store cannot be read. What stops a run once it has begun is part of its [`Outcome`].
pub async fn execute(run: Run, reader: Reader) -> Result<Outcome, EngineError> {
    let engine = Arc::new(Engine::new(run));
    let reused = engine.announce();
    let tasks = TaskTracker::new();
    let (to_judge, from_subjects) = mpsc::channel(JUDGE_QUEUE);
    let reader = Arc::new(Mutex::new(reader));
    for subject in 0..engine.run.experiment.subjects.len() {
        tasks.spawn(engine.clone().ask_subject(subject, to_judge.clone(), reader.clone(), tasks.clone()));
    }
    drop(to_judge);
    tasks.spawn(engine.clone().judge_all(from_subjects, tasks.clone()));
    tasks.close();
    tasks.wait().await;
    let stop = match engine.stopped.get() {
        Some(stop) => Some(match stop {
            Stop::Model { model, error } => Stop::Model { model: model.clone(), error: error.clone() },
            Stop::Store(error) => Stop::Store(error.clone()),
            Stop::Requested => Stop::Requested,
        }),
        None if engine.run.stop.is_cancelled() => Some(Stop::Requested),
        None => None,
    };
    Ok(Outcome {
        asked: engine.asked.load(Ordering::Relaxed),
        reused,
        attempts: engine.attempts.load(Ordering::Relaxed),
        stop,
    })
}

/// An answer on its way to the judge.
struct Judged {
    sample: ContentId,
    response: i64,
    question: usize,
    wording: usize,
    answer: String,
    aspects: Vec<Aspect>,
}

struct Engine {
    run: Run,
    asked: AtomicU64,
    attempts: AtomicU64,
    /// Answers that may still be asked for under the user's limit.
    allowance: AtomicU64,
    stopped: OnceLock<Stop>,
    /// Contexts (subject, context) that a model has refused as too long: asking again would cost time only.
    too_long: Mutex<HashSet<(usize, usize)>>,
}

impl Engine {
    fn new(run: Run) -> Self {
        let allowance = AtomicU64::new(run.limit.unwrap_or(u64::MAX));
        Self {
            run,
            asked: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            allowance,
            stopped: OnceLock::new(),
            too_long: Mutex::new(HashSet::new()),
        }
    }

    /// Counts what is there and what is missing, and tells the observer.
    fn announce(&self) -> u64 {
        let Run { experiment, plan, stored, .. } = &self.run;
        let (mut samples, mut scores, mut judgements, mut reused) = (0, 0, 0, 0);
        for block in &plan.blocks {
            let context = Arc::new(experiment.render(plan.contexts[block.context]));
            for sample in experiment.samples(plan, block, &context) {
                match stored.responses.get(&sample.id) {
                    Some(response) => {
                        reused += 1;
                        if !response.is_answer {
                            continue;
                        }
                    }
                    None => samples += 1,
                }
                for hash in self.judgement_hashes(&sample) {
                    if stored.judgements.contains(&hash) {
                        reused += 1;
                    } else {
                        judgements += 1;
                    }
                }
            }
            for score in experiment.scores(block, &context) {
                if stored.scores.contains(&score.id) {
                    reused += 1;
                } else {
                    scores += 1;
                }
            }
        }
        if let Some(limit) = self.run.limit {
            let left_out = samples - samples.min(limit);
            samples -= left_out;
            judgements -= judgements.min(left_out * self.judgement_count());
        }
        self.run.observer.event(Event::Started { samples, scores, judgements, reused });
        reused
    }

    fn judgement_count(&self) -> u64 {
        if self.run.experiment.judge.is_some() { Aspect::ALL.len() as u64 } else { 0 }
    }

    fn judgement_hash(&self, sample: ContentId, question: usize, aspect: Aspect) -> Option<ContentId> {
        let judge = self.run.experiment.judge.as_ref()?;
        let prompts = self.run.rows.prompts.get(question)?;
        let (_, prompt) = prompts[aspect as usize];
        Some(judgement_hash(sample, judge.hash, prompt, aspect))
    }

    fn judgement_hashes(&self, sample: &SampleSpec) -> impl Iterator<Item = ContentId> {
        Aspect::ALL.into_iter().filter_map(|aspect| self.judgement_hash(sample.id, sample.question, aspect))
    }

    fn stop_for(&self, stop: Stop) {
        // The first reason is the one to tell.
        let _ = self.stopped.set(stop);
        self.run.stop.cancel();
    }

    fn check_stored<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                // "The writer has stopped" is what others see of the error that stopped it.
                if !matches!(error, StoreError::Stopped) || self.stopped.get().is_none() {
                    self.stop_for(Stop::Store(Arc::new(error)));
                }
                None
            }
        }
    }

    fn calling<'a>(&'a self, model: &'a Model, seed: ContentId) -> Calling<'a> {
        Calling {
            policy: self.run.policy,
            limits: &model.limits,
            name: &model.name,
            observer: &*self.run.observer,
            now: self.run.now,
            stop: &self.run.stop,
            seed: seed.generator_seed(),
        }
    }

    fn count<T>(&self, tried: &Tried<T>, calls: u64) {
        let failed = tried.failed.len() as u64;
        self.asked.fetch_add(calls.max(1), Ordering::Relaxed);
        // The last failed attempt of a call that failed for good is the call itself.
        let attempts = if tried.result.is_ok() { failed + calls } else { failed };
        self.attempts.fetch_add(attempts, Ordering::Relaxed);
    }

    async fn ask_subject(
        self: Arc<Self>,
        subject: usize,
        to_judge: mpsc::Sender<Judged>,
        reader: Arc<Mutex<Reader>>,
        tasks: TaskTracker,
    ) {
        let run = &self.run;
        let model = &run.connections.subjects[subject];
        for block in run.plan.blocks.iter().filter(|block| block.subject == subject) {
            let context = Arc::new(run.experiment.render(run.plan.contexts[block.context]));
            for score in run.experiment.scores(block, &context) {
                if run.stored.scores.contains(&score.id) {
                    continue;
                }
                let Some(place) = model.limits.place().await else { return };
                if run.stop.is_cancelled() {
                    return;
                }
                let (engine, block) = (self.clone(), block.clone());
                tasks.spawn(async move {
                    engine.score(&block, score).await;
                    drop(place);
                });
            }
            for sample in run.experiment.samples(&run.plan, block, &context) {
                if let Some(&response) = run.stored.responses.get(&sample.id) {
                    if response.is_answer
                        && !self.judge_again(&sample, response.row, &to_judge, &reader).await
                    {
                        return;
                    }
                    continue;
                }
                let allowed = self
                    .allowance
                    .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if allowed.is_err() {
                    continue;
                }
                let Some(place) = model.limits.place().await else { return };
                if run.stop.is_cancelled() {
                    return;
                }
                let (engine, block, to_judge) = (self.clone(), block.clone(), to_judge.clone());
                let placement = context.placement;
                tasks.spawn(async move {
                    let judged = engine.sample(&block, sample, placement).await;
                    if let Some(judged) = judged {
                        // Waits while the judge is behind; the place in flight is kept meanwhile.
                        let _ = to_judge.send(judged).await;
                    }
                    drop(place);
                });
            }
        }
    }

    /// Sends a stored answer to the judge if a score is missing. `false`: the run must stop.
    async fn judge_again(
        &self,
        sample: &SampleSpec,
        response: i64,
        to_judge: &mpsc::Sender<Judged>,
        reader: &Mutex<Reader>,
    ) -> bool {
        let aspects: Vec<Aspect> = Aspect::ALL
            .into_iter()
            .filter(|&aspect| {
                self.judgement_hash(sample.id, sample.question, aspect)
                    .is_some_and(|hash| !self.run.stored.judgements.contains(&hash))
            })
            .collect();
        if aspects.is_empty() {
            return true;
        }
        let answer = match reader.lock() {
            Ok(reader) => reader.answer(response),
            Err(_) => return false,
        };
        let Some(answer) = self.check_stored(answer) else { return false };
        let SampleSpec { id, question, wording, .. } = *sample;
        to_judge.send(Judged { sample: id, response, question, wording, answer, aspects }).await.is_ok()
    }

    async fn score(&self, block: &Block, score: ScoreSpec) {
        let model = &self.run.connections.subjects[block.subject];
        let rows = &self.run.rows;
        let (subject, context, instruction) = (
            rows.subjects[block.subject],
            rows.contexts[block.context],
            rows.instructions[block.instruction],
        );
        let request = ScoreRequest { prompt: score.prompt.clone(), continuation: score.text.clone() };
        let target = FailureTarget::Score { subject, context, instruction };
        if self.refused_before(block, score.id, target, 0).await {
            return;
        }
        let tried = self.calling(model, score.id).call(|| model.chat.score(&request)).await;
        self.count(&tried, 1);
        let failed_attempts = tried.failed;
        match tried.result {
            Ok(scored) => {
                let record = ScoreRecord {
                    hash: score.id,
                    subject,
                    context,
                    instruction,
                    pair: rows.pairs[score.question][score.pair],
                    tilted: score.tilted,
                    token_log_probabilities: scored.token_log_probabilities,
                    failed_attempts,
                };
                if self.check_stored(self.run.writer.score(record).await).is_some() {
                    self.run.observer.event(Event::ScoreStored);
                }
            }
            Err(error) => self.failed(model, block, score.id, target, error, failed_attempts, 0).await,
        }
    }

    async fn sample(&self, block: &Block, sample: SampleSpec, placement: Placement) -> Option<Judged> {
        let model = &self.run.connections.subjects[block.subject];
        let rows = &self.run.rows;
        let subject = &self.run.experiment.subjects[block.subject];
        let target = FailureTarget::Response {
            subject: rows.subjects[block.subject],
            context: rows.contexts[block.context],
            instruction: rows.instructions[block.instruction],
            question: rows.questions[sample.question],
            replicate: sample.replicate,
        };
        if self.refused_before(block, sample.id, target, self.judgement_count()).await {
            return None;
        }
        let seed = sample.id.request_seed();
        let request = subject_request(subject, &sample.prompt, seed, placement);
        let tried = self.calling(model, sample.id).call(|| model.chat.chat(&request)).await;
        self.count(&tried, 1);
        let duration_ms = milliseconds(tried.duration);
        let failed_attempts = tried.failed;
        let response = match tried.result {
            Ok(response) => response,
            Err(error) if error.kind == ErrorKind::Filtered => filtered(),
            Err(error) => {
                let lost = self.judgement_count();
                self.failed(model, block, sample.id, target, error, failed_attempts, lost).await;
                return None;
            }
        };
        let outcome = outcome(&response);
        let said = match (&outcome, response.refusal) {
            (ResponseOutcome::Refusal, Some(refusal)) if response.text.trim().is_empty() => refusal,
            _ => response.text,
        };
        let (answer, raw) = cut_at_header(said, placement);
        let record = ResponseRecord {
            hash: sample.id,
            subject: rows.subjects[block.subject],
            context: rows.contexts[block.context],
            instruction: rows.instructions[block.instruction],
            question: rows.questions[sample.question],
            replicate: sample.replicate,
            wording: sample.wording,
            outcome,
            answer: answer.clone(),
            // An answer that was cut at the header ended there, whatever the model went on to say.
            truncated: response.finish == FinishReason::Length && raw.is_none(),
            raw,
            reasoning: response.reasoning,
            finish: response.finish.name(),
            model: response.model,
            response_id: response.response_id,
            seed: Some(seed),
            dropped: response.dropped_parameters.iter().map(ToString::to_string).collect(),
            input_tokens: response.usage.input_tokens,
            cached_input_tokens: response.usage.cached_input_tokens,
            output_tokens: response.usage.output_tokens,
            reasoning_tokens: response.usage.reasoning_tokens,
            duration_ms,
            created_at: (self.run.now)().to_string(),
            failed_attempts,
        };
        let row = self.check_stored(self.run.writer.response(record).await)?;
        let judged = outcome == ResponseOutcome::Answer && self.run.experiment.judge.is_some();
        let judgements_spared = if judged { 0 } else { self.judgement_count() };
        self.run.observer.event(Event::SampleStored { judgements_spared });
        judged.then(|| Judged {
            sample: sample.id,
            response: row,
            question: sample.question,
            wording: sample.wording,
            answer,
            aspects: Aspect::ALL.to_vec(),
        })
    }

    async fn judge_all(self: Arc<Self>, mut queue: mpsc::Receiver<Judged>, tasks: TaskTracker) {
        while let Some(judged) = queue.recv().await {
            let Some(judge) = &self.run.connections.judge else { continue };
            let judged = Arc::new(judged);
            for &aspect in &judged.aspects {
                let Some(place) = judge.limits.place().await else { return };
                if self.run.stop.is_cancelled() {
                    // The answer is stored; the next start judges it. Empty the queue, so that nobody waits on it.
                    break;
                }
                let (engine, judged) = (self.clone(), judged.clone());
                tasks.spawn(async move {
                    engine.judge(&judged, aspect).await;
                    drop(place);
                });
            }
        }
    }

    async fn judge(&self, judged: &Judged, aspect: Aspect) {
        let (Some(model), Some(judge)) = (&self.run.connections.judge, &self.run.experiment.judge) else {
            return;
        };
        let (Some(hash), Some(judge_row)) =
            (self.judgement_hash(judged.sample, judged.question, aspect), self.run.rows.judge)
        else {
            return;
        };
        let settings = JudgeSettings {
            samples: judge.samples,
            temperature: judge.temperature,
            max_tokens: judge.max_tokens,
            minimum_mass: judge.minimum_mass,
            top_log_probabilities: judge.log_probabilities.then_some(20),
            reasoning: judge.reasoning,
        };
        let question = self.run.experiment.questions[judged.question].wording(judged.wording);
        let prompt = render(self.run.prompts[judged.question].template(aspect), question, &judged.answer);
        let tried = self
            .calling(model, hash)
            .call(|| judge_aspect(&*model.chat, &settings, aspect, &prompt, hash))
            .await;
        self.count(&tried, tried.result.as_ref().map_or(1, |judgement| u64::from(judgement.calls)));
        let failed_attempts = tried.failed;
        match tried.result {
            Ok(judgement) => {
                let (prompt, _) = self.run.rows.prompts[judged.question][aspect as usize];
                let record = JudgementRecord {
                    hash,
                    response: judged.response,
                    judge: judge_row,
                    prompt,
                    aspect,
                    outcome: judgement.outcome,
                    replies: judgement.replies,
                    distribution: judgement.distribution.map(|tokens| {
                        tokens.into_iter().map(|token| (token.token, token.log_probability)).collect()
                    }),
                    number_mass: judgement.number_mass,
                    model: judgement.model,
                    input_tokens: judgement.usage.input_tokens,
                    output_tokens: judgement.usage.output_tokens,
                    created_at: (self.run.now)().to_string(),
                    failed_attempts,
                };
                if self.check_stored(self.run.writer.judgement(record).await).is_some() {
                    self.run.observer.event(Event::JudgementStored);
                }
            }
            Err(error) => {
                let target = FailureTarget::Judgement { response: judged.response, judge: judge_row, aspect };
                self.record_failure(model, hash, target, error, failed_attempts, 0).await;
            }
        }
    }

    /// Records a sample or score as failed without asking, if its context was refused as too long before.
    async fn refused_before(&self, block: &Block, hash: ContentId, target: FailureTarget, lost: u64) -> bool {
        let key = (block.subject, block.context);
        let refused = self.too_long.lock().is_ok_and(|refused| refused.contains(&key));
        if refused {
            let model = &self.run.connections.subjects[block.subject];
            let message = "not sent: the model refused this context as too long before";
            let error = ModelError::new(ErrorKind::ContextTooLong, message);
            self.record_failure(model, hash, target, error, Vec::new(), lost).await;
        }
        refused
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of one record")]
    async fn failed(
        &self,
        model: &Model,
        block: &Block,
        hash: ContentId,
        target: FailureTarget,
        error: ModelError,
        failed_attempts: Vec<tiltmeter_store::FailedAttempt>,
        lost: u64,
    ) {
        if error.kind == ErrorKind::ContextTooLong
            && let Ok(mut refused) = self.too_long.lock()
        {
            refused.insert((block.subject, block.context));
        }
        self.record_failure(model, hash, target, error, failed_attempts, lost).await;
    }

    async fn record_failure(
        &self,
        model: &Model,
        hash: ContentId,
        target: FailureTarget,
        error: ModelError,
        failed_attempts: Vec<tiltmeter_store::FailedAttempt>,
        judgements_lost: u64,
    ) {
        let cut_short = self.run.stop.is_cancelled() && error.kind.is_retryable();
        if error.kind.stops_the_run() || cut_short {
            // Nothing is wrong with this sample: it stays missing, and the next start asks for it.
            if error.kind.stops_the_run() {
                self.stop_for(Stop::Model { model: model.name.clone(), error });
            }
            return;
        }
        let record = FailureRecord {
            hash,
            target,
            kind: error.kind.name(),
            message: error.to_string(),
            created_at: (self.run.now)().to_string(),
            failed_attempts,
        };
        let target = match target {
            FailureTarget::Response { .. } => CallTarget::Response,
            FailureTarget::Score { .. } => CallTarget::Score,
            FailureTarget::Judgement { .. } => CallTarget::Judgement,
        };
        if self.check_stored(self.run.writer.failure(record).await).is_some() {
            self.run.observer.event(Event::Failed {
                target,
                model: model.name.clone(),
                kind: error.kind.name(),
                message: error.to_string(),
                judgements_lost,
            });
        }
    }
}

fn subject_request(subject: &Subject, prompt: &Arc<Prompt>, seed: u32, placement: Placement) -> ChatRequest {
    let stop = match placement {
        Placement::FirstUser | Placement::System => vec![format!("\n{PROMPT_HEADER}")],
        Placement::ChatTurns => Vec::new(),
    };
    ChatRequest {
        prompt: prompt.clone(),
        sampling: Sampling {
            temperature: subject.temperature,
            max_tokens: subject.max_tokens,
            seed: Some(seed),
            stop,
            top_log_probabilities: None,
            reasoning: subject.reasoning,
        },
    }
}

/// A request that was refused by a content filter counts as an answer that was withheld.
fn filtered() -> ChatResponse {
    ChatResponse { finish: FinishReason::ContentFilter, ..ChatResponse::default() }
}

fn outcome(response: &ChatResponse) -> ResponseOutcome {
    if response.finish == FinishReason::ContentFilter {
        ResponseOutcome::Filtered
    } else if response.refusal.as_ref().is_some_and(|refusal| !refusal.trim().is_empty()) {
        ResponseOutcome::Refusal
    } else {
        ResponseOutcome::Answer
    }
}

/// Cuts an answer where the model goes on to write another demonstration: at the header alone, so that
/// headings in an answer stay. Gives the answer, and the whole text where something was cut.
fn cut_at_header(text: String, placement: Placement) -> (String, Option<String>) {
    if placement == Placement::ChatTurns {
        return (text, None);
    }
    let at = if text.starts_with(PROMPT_HEADER) { Some(0) } else { text.find(&format!("\n{PROMPT_HEADER}")) };
    match at.and_then(|at| text.get(..at)) {
        Some(answer) => (answer.trim_end().to_owned(), Some(text)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_at_the_header_alone() {
        let cases = [
            ("Be kind.\n\n### Prompt: next\n### Response: x", "Be kind.", true),
            ("# Title\n\n### Steps\n\nBe kind.", "# Title\n\n### Steps\n\nBe kind.", false),
            ("### Prompt: next", "", true),
            ("Write ### Prompt: like this.", "Write ### Prompt: like this.", false),
            ("", "", false),
        ];
        for (text, answer, cut) in cases {
            let (got, raw) = cut_at_header(text.to_owned(), Placement::FirstUser);
            assert_eq!((got.as_str(), raw.is_some()), (answer, cut), "{text:?}");
            assert_eq!(cut_at_header(text.to_owned(), Placement::ChatTurns), (text.to_owned(), None));
        }
    }
}
