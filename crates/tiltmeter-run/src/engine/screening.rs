//! A filter's model looks at demonstrations before contexts are made of them, each once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::Plan;
use tiltmeter_core::reshaping::Screen;
use tiltmeter_core::verdict::Aspect;
use tiltmeter_judge::{judge_aspect, render};
use tiltmeter_store::{FailureTarget, Reader, ScreenRow, ScreeningRecord};
use tokio_util::task::TaskTracker;

use super::judging::judge_settings;
use super::ledger::{FailedCall, Ledger};
use super::{EngineError, Means, Outcome, Stop};
use crate::calling::Repeating;
use crate::connect::Model;
use crate::event::Event;

/// What screening works with.
pub struct Screening {
    /// The filters' models, connected, in the experiment's order.
    pub models: Vec<Arc<Model>>,
    /// Their rows.
    pub rows: Vec<ScreenRow>,
    /// What is missing.
    pub missing: Vec<MissingScreening>,
    /// Scores that were stored before.
    pub reused: u64,
    /// How it is gone about.
    pub means: Means,
}

/// A demonstration that has no score yet.
pub struct MissingScreening {
    /// Which of the models is to give it.
    screen: usize,
    id: ContentId,
    demonstration: ContentId,
    /// What it is asked.
    text: String,
}

/// The demonstrations of a plan that no filter's model has looked at yet, and how many have been looked at.
///
/// # Errors
/// If the store cannot be read.
pub fn missing_screenings(
    experiment: &Experiment,
    plan: &Plan,
    rows: &[ScreenRow],
    reader: &Reader,
) -> Result<(Vec<MissingScreening>, u64), EngineError> {
    let mut missing = Vec::new();
    let mut reused = 0;
    for (index, (screen, &row)) in experiment.screens.iter().zip(rows).enumerate() {
        let stored = reader.screenings(row)?;
        for (demonstration, prompt, response) in experiment.to_be_screened(plan, index) {
            if stored.contains_key(&demonstration) {
                reused += 1;
                continue;
            }
            missing.push(MissingScreening {
                screen: index,
                id: screen.screening_id(&demonstration),
                demonstration,
                text: render(&screen.prompt, &prompt, &response),
            });
        }
    }
    Ok((missing, reused))
}

/// Has each demonstration scored that has no score yet, and stores what comes of it. A reply without a score is one too:
/// it is not asked for again. Where a call fails for good, the outcome says so: contexts cannot be made then.
pub async fn screen(run: Screening, experiment: Arc<Experiment>) -> Outcome {
    let start = Instant::now();
    let Screening { models, rows, missing, reused, means } = run;
    let ledger = Arc::new(Ledger::new(means));
    ledger.tell(Event::ScreeningStarted { demonstrations: missing.len() as u64, reused });
    let failed = Arc::new(AtomicU64::new(0));
    let tasks = TaskTracker::new();
    let total = missing.len() as u64;
    for one in missing {
        let (Some(model), Some(&row)) = (models.get(one.screen).cloned(), rows.get(one.screen)) else {
            continue;
        };
        let Some(place) = model.ways.place().await else { break };
        if ledger.is_stopping() {
            break;
        }
        let (ledger, experiment, failed) = (ledger.clone(), experiment.clone(), failed.clone());
        tasks.spawn(async move {
            let screen = &experiment.screens[one.screen];
            if !score(&ledger, screen, &model, row, &one).await {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
    let failed = failed.load(Ordering::Relaxed);
    if failed > 0 && !ledger.is_stopping() {
        ledger.stop_for(Stop::Screening { failed, total });
    }
    ledger.outcome(reused, start.elapsed())
}

/// Asks for one score; says whether there is one, or a reply without one.
async fn score(
    ledger: &Ledger,
    screen: &Screen,
    model: &Model,
    row: ScreenRow,
    missing: &MissingScreening,
) -> bool {
    let start = Instant::now();
    let repeating = Repeating::new(ledger.calling(model, missing.id));
    let settings = judge_settings(&screen.model);
    let result = judge_aspect(&repeating, &settings, Aspect::Alignment, &missing.text, missing.id).await;
    let made = repeating.made();
    let is_stored = match result {
        Ok(judgement) => {
            ledger.count(judgement.calls.max(1).into());
            let record = ScreeningRecord {
                hash: missing.id,
                demonstration: missing.demonstration,
                screen: row,
                outcome: judgement.outcome,
                replies: judgement.replies,
                number_mass: judgement.number_mass,
                model: judgement.model,
                calls: judgement.calls.max(1),
                input_tokens: judgement.usage.input_tokens,
                cached_input_tokens: judgement.usage.cached_input_tokens,
                output_tokens: judgement.usage.output_tokens,
                cost_usd: made.cost_usd,
                created_at: ledger.now(),
                failed_attempts: made.failed,
            };
            let stored = ledger.store(|writer| async move { writer.screening(record).await }).await;
            if stored.is_some() {
                ledger.tell(Event::DemonstrationScreened);
            }
            stored.is_some()
        }
        Err(error) => {
            ledger.count(1);
            let failed = FailedCall {
                hash: missing.id,
                target: FailureTarget::Screening,
                error,
                attempts: made.failed,
                judgements_lost: 0,
            };
            ledger.failed(model, failed).await;
            false
        }
    };
    ledger.meter.calls.add(start.elapsed());
    is_stored
}

impl Outcome {
    /// The outcome of a whole start, of which screening was the first part. What was spent is counted by the budget,
    /// which both share.
    #[must_use]
    pub fn after(self, screening: &Self) -> Self {
        Self {
            asked: self.asked + screening.asked,
            reused: self.reused + screening.reused,
            attempts: self.attempts + screening.attempts,
            timing: self.timing.plus(&screening.timing),
            ..self
        }
    }
}
