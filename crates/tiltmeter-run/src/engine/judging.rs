//! The judge's scores: a queue of stored answers, and one call for each score.

use std::sync::Arc;

use tiltmeter_core::experiment::Judge;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::SampleSpec;
use tiltmeter_core::verdict::Aspect;
use tiltmeter_judge::{JudgeSettings, judge_aspect, render};
use tiltmeter_store::{FailureTarget, JudgementRecord};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Engine;
use super::ledger::{FailedCall, Ledger};
use crate::calling::Repeating;
use crate::connect::Model;
use crate::event::Event;

/// How a judge is asked, and its row.
pub(super) struct Bench {
    settings: JudgeSettings,
    row: i64,
}

/// How a judge of an experiment file is asked.
pub fn judge_settings(judge: &Judge) -> JudgeSettings {
    JudgeSettings {
        samples: judge.samples,
        temperature: judge.temperature,
        max_tokens: judge.max_tokens,
        minimum_mass: judge.minimum_mass,
        top_log_probabilities: judge.log_probabilities.then_some(20),
        reasoning: judge.reasoning,
    }
}

/// An answer on its way to the judge.
pub(super) struct Judged {
    pub(super) response: i64,
    pub(super) question: Arc<str>,
    pub(super) answer: String,
    /// The scores that are missing.
    pub(super) scores: Vec<MissingScore>,
    /// Kept until it is judged, where somebody waits for that.
    #[expect(dead_code, reason = "it is dropped with the rest, and that is what is waited for")]
    pub(super) held: Option<mpsc::Sender<()>>,
}

/// One score to ask for.
#[derive(Clone)]
pub(super) struct MissingScore {
    pub(super) aspect: Aspect,
    pub(super) hash: ContentId,
    /// Row of the prompt.
    pub(super) prompt: i64,
    pub(super) template: Arc<str>,
}

impl Bench {
    pub(super) fn new(judge: &Judge, row: i64) -> Self {
        Self { settings: judge_settings(judge), row }
    }

    /// Asks for one score and stores it.
    pub(super) async fn judge(&self, ledger: &Ledger, model: &Model, judged: &Judged, score: &MissingScore) {
        let start = Instant::now();
        let MissingScore { aspect, hash, prompt, template } = score;
        let text = render(template, &judged.question, &judged.answer);
        let repeating = Repeating::new(ledger.calling(model, *hash));
        let result = judge_aspect(&repeating, &self.settings, *aspect, &text, *hash).await;
        let made = repeating.made();
        match result {
            Ok(judgement) => {
                ledger.count(judgement.calls.max(1).into());
                let record = JudgementRecord {
                    hash: *hash,
                    response: judged.response,
                    judge: self.row,
                    prompt: *prompt,
                    aspect: *aspect,
                    outcome: judgement.outcome,
                    replies: judgement.replies,
                    distribution: judgement.distribution.map(|tokens| {
                        tokens.into_iter().map(|token| (token.token, token.log_probability)).collect()
                    }),
                    number_mass: judgement.number_mass,
                    model: judgement.model,
                    input_tokens: judgement.usage.input_tokens,
                    cached_input_tokens: judgement.usage.cached_input_tokens,
                    output_tokens: judgement.usage.output_tokens,
                    cost_usd: made.cost_usd,
                    created_at: ledger.now(),
                    failed_attempts: made.failed,
                };
                if ledger.store(|writer| async move { writer.judgement(record).await }).await.is_some() {
                    ledger.tell(Event::JudgementStored);
                }
            }
            Err(error) => {
                ledger.count(1);
                let target =
                    FailureTarget::Judgement { response: judged.response, judge: self.row, aspect: *aspect };
                let failed =
                    FailedCall { hash: *hash, target, error, attempts: made.failed, judgements_lost: 0 };
                ledger.failed(model, failed).await;
            }
        }
        ledger.meter.calls.add(start.elapsed());
    }
}

/// Has all answers of a queue scored, within the judge's limits.
pub(super) async fn judge_queue(
    bench: Arc<Bench>,
    ledger: Arc<Ledger>,
    model: Arc<Model>,
    mut queue: mpsc::Receiver<Judged>,
    tasks: TaskTracker,
) {
    while let Some(judged) = queue.recv().await {
        let judged = Arc::new(judged);
        for score in judged.scores.clone() {
            let Some(place) = model.ways.place().await else { return };
            if ledger.is_stopping() {
                // The answer is stored; the next start judges it. Empty the queue, so that nobody waits on it.
                break;
            }
            let (bench, ledger, model, judged) =
                (bench.clone(), ledger.clone(), model.clone(), judged.clone());
            tasks.spawn(async move {
                bench.judge(&ledger, &model, &judged, &score).await;
                drop(place);
            });
        }
    }
}

impl Engine {
    /// A sample's stored answer, as the judge needs it.
    pub(super) fn judged(
        &self,
        sample: &SampleSpec,
        response: i64,
        answer: String,
        aspects: &[Aspect],
    ) -> Judged {
        let score = |&aspect: &Aspect| {
            Some(MissingScore {
                aspect,
                hash: self.judgement_hash(sample.id, sample.question, aspect)?,
                prompt: self.rows.prompts.get(sample.question)?[aspect as usize].0,
                template: self.prompts.get(sample.question)?.template(aspect).clone(),
            })
        };
        Judged {
            response,
            question: self.experiment.questions[sample.question].wording(sample.wording).clone(),
            answer,
            scores: aspects.iter().filter_map(score).collect(),
            held: None,
        }
    }
}
