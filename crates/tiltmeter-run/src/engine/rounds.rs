//! Adaptive sampling: whole rounds, one answer to every question in every context each, until the rate of each
//! condition is known well enough, or cannot be.
//!
//! A round is over when all its answers are stored and scored. Then each condition is looked at, by an interval that
//! allows for being looked at after every round, and what is settled gets no more. A start that finds rounds in the
//! store walks through them without a call and comes to the same decisions.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tiltmeter_core::experiment::Until;
use tiltmeter_core::plan::{Block, Condition};
use tiltmeter_core::usefulness::Purpose;
use tiltmeter_core::verdict::Aspect;
use tiltmeter_stats::planning::{Assessment, Decision, StoppingRule};
use tiltmeter_store::AdaptiveRecord;
use tokio::sync::mpsc;

use super::dispatch::{Desk, Round};
use super::{Engine, Stop};
use crate::analysis::{AnalysisError, adaptive};
use crate::event::Event;

impl Engine {
    /// Asks a subject round by round. `blocks` are all of the subject's whose answers are judged.
    pub(super) async fn ask_in_rounds(
        self: &Arc<Self>,
        subject: usize,
        mut blocks: Vec<&Block>,
        until: Until,
        desk: &mut Desk,
    ) {
        let Some(rule) = self.check_analysis(adaptive::rule(until.half_width)) else { return };
        let mut open: Vec<usize> = (0..self.plan.conditions.len())
            .filter(|&index| {
                let condition = &self.plan.conditions[index];
                let is_judged = condition.purpose == Purpose::Misalignment;
                is_judged && condition.subject == subject && !condition.sampled.is_empty()
            })
            .collect();
        for replicate in 0..self.experiment.replicates {
            let (held, mut over) = mpsc::channel(1);
            desk.round = Some(Round { replicate, held });
            let walked = self.walk(blocks.iter().copied(), desk).await;
            desk.round = None;
            // Nothing is ever sent: this ends when the last answer of the round is scored, or given up.
            let _ = over.recv().await;
            let is_cut_short = self.allowance.load(Ordering::Relaxed) == 0;
            if walked.is_none() || self.ledger.is_stopping() || is_cut_short {
                // Only whole rounds are looked at: the next start completes this one.
                return;
            }
            let rounds = replicate + 1;
            let Some(states) = self.assess(subject, rounds, rule, desk).await else { return };
            let mut still_open = Vec::with_capacity(open.len());
            for index in open {
                let row = self.rows.conditions[index];
                let state =
                    states.iter().find(|(condition, _)| *condition == row).and_then(|(_, state)| *state);
                let decision = state.map_or(Decision::NotSettled, |state: Assessment| state.decision);
                let record = AdaptiveRecord {
                    condition: row,
                    half_width: until.half_width,
                    rounds,
                    decision: adaptive::name(decision).to_owned(),
                };
                if self.ledger.store(|writer| async move { writer.adaptive(record).await }).await.is_none() {
                    return;
                }
                if decision == Decision::NotSettled {
                    still_open.push(index);
                }
            }
            open = still_open;
            let still: Vec<(&Condition, usize)> = open
                .iter()
                .map(|&index| &self.plan.conditions[index])
                .map(|condition| (condition, self.experiment.asked_as(condition.treatment)))
                .collect();
            let closed = |block: &&Block| {
                !still.iter().any(|&(condition, treatment)| shares(condition, treatment, block))
            };
            self.tell_spared(blocks.iter().filter(|block| closed(block)), rounds);
            // A context without demonstrations serves several conditions, and goes on while one of them does.
            blocks.retain(|block| !closed(block));
            if blocks.is_empty() {
                return;
            }
        }
    }

    async fn assess(
        &self,
        subject: usize,
        rounds: u32,
        rule: StoppingRule,
        desk: &Desk,
    ) -> Option<Vec<(i64, Option<Assessment>)>> {
        let (reader, row) = (desk.reader.clone(), self.rows.subjects[subject]);
        // Reading many answers takes a while, in which others go on.
        let assessed = tokio::task::spawn_blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            adaptive::assess(&reader, row, rounds, rule)
        });
        self.check_analysis(assessed.await.ok()?)
    }

    /// What settled conditions need no more is taken off what is shown as still to do.
    fn tell_spared<'a>(&self, closed: impl Iterator<Item = &'a &'a Block>, rounds: u32) {
        let questions: u64 = closed.map(|block| block.sampled.len() as u64).sum();
        let samples = questions * u64::from(self.experiment.replicates - rounds);
        if samples > 0 {
            self.ledger.tell(Event::Spared { samples, judgements: samples * Aspect::ALL.len() as u64 });
        }
    }

    fn check_analysis<T>(&self, result: Result<T, AnalysisError>) -> Option<T> {
        result.map_err(|error| self.ledger.stop_for(Stop::Analysis(Arc::new(error)))).ok()
    }
}

/// Whether a block is of a condition that is asked under a treatment.
fn shares(condition: &Condition, treatment: usize, block: &Block) -> bool {
    (condition.subject, treatment) == (block.subject, block.treatment)
        && condition.contexts.contains(&block.context)
}
