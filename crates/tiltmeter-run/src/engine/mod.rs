//! Asks what is missing, and stores what comes back.
//!
//! One task for each subject walks through its blocks in order ([`dispatch`]), so that no slow provider idles
//! another; each call is a task of its own ([`asking`]), within the subject's limits. A stored answer goes to the
//! judge at once ([`judging`]), through a bounded queue: when the judge is slow, subjects wait, and memory does not
//! grow. What becomes of a call is entered in one place ([`ledger`]).

mod asking;
mod coding;
mod composing;
mod dispatch;
mod inspecting;
mod judging;
mod ledger;
mod rejudge;
mod rounds;
mod screening;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::{Block, Plan, SampleSpec};
use tiltmeter_core::usefulness::Purpose;
use tiltmeter_core::verdict::Aspect;
use tiltmeter_judge::JudgePrompts;
use tiltmeter_models::ModelError;
use tiltmeter_store::{Reader, Registered, StoreError, StoredIds, Writer, judgement_hash};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use coding::{CodeTraces, Coder, code_traces};
pub use inspecting::{
    DetectorModel, Inspected, Inspecting, Inspects, MissingInspection, OpenGuard, inspect,
    missing_inspections,
};
pub use judging::judge_settings;
pub use rejudge::{Rejudge, rejudge};
pub use screening::{MissingScreening, Screening, missing_screenings, screen};

use crate::budget::{Budget, Spent};
use crate::calling::RetryPolicy;
use crate::connect::{Connections, Model};
use crate::event::{Event, Observer};
use crate::meter::{CacheUse, Timing};

use composing::Shared;
use judging::{Bench, judge_queue};
use ledger::Ledger;

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
    /// The most answers to ask for in this start.
    pub limit: Option<u64>,
    /// How it is gone about.
    pub means: Means,
}

/// What every start works with, whatever it asks for.
pub struct Means {
    /// Where results go.
    pub writer: Writer,
    /// How failures are met.
    pub policy: RetryPolicy,
    /// What may be spent.
    pub budget: Arc<Budget>,
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
    /// What they cost.
    pub spent: Spent,
    /// What prompt caches gave.
    pub cache: CacheUse,
    /// Where the time went.
    pub timing: Timing,
    /// Why it stopped before its end.
    pub stop: Option<Stop>,
}

/// Why a run stopped before its end. All that was stored is kept.
#[derive(Clone, Debug, thiserror::Error)]
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
    /// Stored scores cannot be used to decide about further sampling.
    #[error(transparent)]
    Analysis(Arc<crate::analysis::AnalysisError>),
    /// The next call might cost more than is left.
    #[error(
        "the budget of US$ {most_usd} is used up: US$ {:.4} are spent{}, and the next call might cost more than the rest",
        .spent.known_usd,
        if .spent.unsure_usd > 0.0 {
            format!(", up to US$ {:.4} may have been charged for calls that broke off", .spent.unsure_usd)
        } else {
            String::new()
        }
    )]
    Budget {
        /// The limit in US dollars.
        most_usd: f64,
        /// What was spent.
        spent: Spent,
    },
    /// Demonstrations have no score by a filter's model, so that it is not known which contexts to show.
    #[error(
        "{failed} of {total} demonstrations could not be screened by the filter's model: no context is made of them"
    )]
    Screening {
        /// Demonstrations whose call failed for good.
        failed: u64,
        /// Demonstrations that were to be screened.
        total: u64,
    },
    /// A guard could not look at contexts, so that it is not known which to show.
    #[error("{failed} of {total} contexts could not be looked at by the guard: no subject is shown any")]
    Inspection {
        /// Contexts of which a detector failed.
        failed: u64,
        /// Contexts that were to be looked at.
        total: u64,
    },
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
    let start = Instant::now();
    let Run { experiment, plan, connections, prompts, rows, stored, limit, means } = run;
    let reader = Arc::new(Mutex::new(reader));
    let takes_several = experiment.treatments.iter().any(|treatment| treatment.procedure.is_some());
    let bench = experiment.judge.as_ref().zip(rows.judge).map(|(judge, row)| Bench::new(judge, row));
    let mut engine = Engine {
        experiment,
        plan,
        connections,
        prompts,
        rows,
        stored,
        allowance: AtomicU64::new(limit.unwrap_or(u64::MAX)),
        too_long: Mutex::new(HashMap::new()),
        shared: takes_several.then(Shared::default),
        reader: reader.clone(),
        complete: HashSet::new(),
        ledger: Arc::new(Ledger::new(means)),
    };
    let reused = engine.announce(limit);
    let engine = Arc::new(engine);
    let tasks = TaskTracker::new();
    let (to_judge, from_subjects) = mpsc::channel(JUDGE_QUEUE);
    for subject in 0..engine.experiment.subjects.len() {
        tasks.spawn(engine.clone().ask_subject(subject, to_judge.clone(), reader.clone(), tasks.clone()));
    }
    drop(to_judge);
    if let (Some(bench), Some(judge)) = (bench, &engine.connections.judge) {
        let ledger = engine.ledger.clone();
        tasks.spawn(judge_queue(Arc::new(bench), ledger, judge.clone(), from_subjects, tasks.clone()));
    }
    tasks.close();
    tasks.wait().await;
    Ok(engine.ledger.outcome(reused, start.elapsed()))
}

/// What is missing, and what is there.
#[derive(Clone, Copy, Default)]
struct Counts {
    samples: u64,
    scores: u64,
    judgements: u64,
    reused: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.scores += other.scores;
        self.judgements += other.judgements;
        self.reused += other.reused;
    }

    fn is_complete(self) -> bool {
        self.samples + self.scores + self.judgements == 0
    }
}

/// What the tasks of a run share.
struct Engine {
    experiment: Arc<Experiment>,
    plan: Arc<Plan>,
    connections: Arc<Connections>,
    prompts: Arc<Vec<JudgePrompts>>,
    rows: Arc<Registered>,
    stored: Arc<StoredIds>,
    /// Answers that may still be asked for under the user's limit.
    allowance: AtomicU64,
    /// Contexts (subject, context) that a model has refused as too long, and what it said.
    too_long: Mutex<HashMap<(usize, usize), String>>,
    /// Where some answers are put together from several calls: the calls that several answers may need.
    shared: Option<Shared>,
    reader: Arc<Mutex<Reader>>,
    /// Blocks (purpose, subject, context, treatment) of which nothing is missing: nobody walks through them again.
    complete: HashSet<(Purpose, usize, usize, usize)>,
    ledger: Arc<Ledger>,
}

impl Engine {
    /// The model that a block is asked of.
    fn model(&self, block: &Block) -> &Model {
        self.connections.asked(block.subject, block.treatment)
    }

    /// Counts what is there and what is missing, block by block, and tells the observer. Gives the results that are
    /// there.
    fn announce(&mut self, limit: Option<u64>) -> u64 {
        let counts: Vec<Counts> = self.plan.blocks.par_iter().map(|block| self.count(block)).collect();
        let mut all = Counts::default();
        for (block, counts) in self.plan.blocks.iter().zip(counts) {
            if counts.is_complete() {
                self.complete.insert((block.purpose, block.subject, block.context, block.treatment));
            }
            all.add(counts);
        }
        let Counts { mut samples, scores, mut judgements, reused } = all;
        if let Some(limit) = limit {
            let left_out = samples - samples.min(limit);
            samples -= left_out;
            judgements -= judgements.min(left_out * self.judgement_count(Purpose::Misalignment));
        }
        self.ledger.tell(Event::Started { samples, scores, judgements, reused });
        reused
    }

    fn count(&self, block: &Block) -> Counts {
        let Self { experiment, plan, stored, .. } = self;
        let mut counts = Counts::default();
        let context = Arc::new(experiment.render(plan.contexts[block.context]));
        for sample in experiment.samples(plan, block, &context) {
            match stored.responses.get(&sample.id) {
                Some(response) => {
                    counts.reused += 1;
                    if !response.is_answer {
                        continue;
                    }
                }
                None => counts.samples += 1,
            }
            for hash in self.judgement_hashes(&sample) {
                if stored.judgements.contains(&hash) {
                    counts.reused += 1;
                } else {
                    counts.judgements += 1;
                }
            }
        }
        for score in experiment.scores(block, &context) {
            if stored.scores.contains(&score.id) {
                counts.reused += 1;
            } else {
                counts.scores += 1;
            }
        }
        counts
    }

    fn judgement_count(&self, purpose: Purpose) -> u64 {
        if self.is_judged(purpose) { Aspect::ALL.len() as u64 } else { 0 }
    }

    /// Whether answers are sent to the judge.
    fn is_judged(&self, purpose: Purpose) -> bool {
        purpose == Purpose::Misalignment && self.experiment.judge.is_some()
    }

    fn judgement_hash(&self, sample: ContentId, question: usize, aspect: Aspect) -> Option<ContentId> {
        let judge = self.experiment.judge.as_ref()?;
        let prompts = self.rows.prompts.get(question)?;
        let (_, prompt) = prompts[aspect as usize];
        Some(judgement_hash(sample, judge.hash, prompt, aspect))
    }

    fn judgement_hashes(&self, sample: &SampleSpec) -> impl Iterator<Item = ContentId> {
        Aspect::ALL.into_iter().filter_map(|aspect| self.judgement_hash(sample.id, sample.question, aspect))
    }
}
