//! Guards look at contexts before any is shown to a subject, each once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::guarding::GuardFinding;
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::plan::{Plan, ToInspect};
use tiltmeter_models::{
    ChatModel, ChatRequest, ChatResponse, ErrorKind, ModelError, ScoreRequest, TextScore, Usage,
};
use tiltmeter_store::{
    FailedAttempt, FailureRecord, FailureTarget, InspectionGap, InspectionReason, InspectionRecord, Reader,
};

use super::ledger::Ledger;
use super::{EngineError, Means, Outcome, Stop};
use crate::calling::{Repeating, milliseconds};
use crate::connect::Model;
use crate::event::{CallTarget, Event};

/// What looks at contexts. This crate knows the guard by this alone.
#[async_trait]
pub trait Inspects: Send + Sync {
    /// Hash of all that findings depend on besides the context: rules, prompts, models, settings.
    fn identity(&self) -> ContentId;

    /// Looks at one context.
    async fn inspect(&self, context: &ToInspect) -> Inspected;
}

/// What came of looking at a context.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// What was found.
    pub finding: GuardFinding,
    /// Examples that were found in it.
    pub examples: u64,
    /// Why the risk is what it is.
    pub reasons: Vec<InspectionReason>,
    /// What was not looked at.
    pub unchecked: Vec<InspectionGap>,
}

/// A guard that is ready to look at contexts.
pub struct OpenGuard {
    /// What looks.
    pub inspector: Arc<dyn Inspects>,
    /// The models that its detectors ask.
    pub models: Vec<Arc<DetectorModel>>,
    /// Hash that its findings are stored under: of its settings, and of what these open.
    pub hash: ContentId,
}

impl OpenGuard {
    /// A guard of these settings.
    pub fn new(settings: ContentId, inspector: Arc<dyn Inspects>, models: Vec<Arc<DetectorModel>>) -> Self {
        let canonical = Canonical::new("tiltmeter.open-guard/1").id(&settings).id(&inspector.identity());
        Self { inspector, models, hash: canonical.finish() }
    }
}

/// A model that a detector asks: with the engine's patience, within its budget, and counted.
pub struct DetectorModel {
    model: Arc<Model>,
    ledger: OnceLock<Arc<Ledger>>,
    took: Mutex<Took>,
}

/// What calls took since it was last asked for.
#[derive(Default)]
struct Took {
    calls: u64,
    usage: Usage,
    cost_usd: f64,
    has_unpriced: bool,
    failed: Vec<FailedAttempt>,
    error: Option<ModelError>,
}

impl Took {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.usage.input_tokens += other.usage.input_tokens;
        self.usage.output_tokens += other.usage.output_tokens;
        self.cost_usd += other.cost_usd;
        self.has_unpriced |= other.has_unpriced;
        self.failed.extend(other.failed);
        self.error = other.error.or(self.error.take());
    }
}

impl DetectorModel {
    /// A model that is not asked before [`inspect`] says by what rules.
    pub fn new(model: Arc<Model>) -> Arc<Self> {
        Arc::new(Self { model, ledger: OnceLock::new(), took: Mutex::default() })
    }

    fn take(&self) -> Took {
        std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ledger(&self) -> Result<&Arc<Ledger>, ModelError> {
        let early = || ModelError::new(ErrorKind::Interrupted, "asked before the run began");
        self.ledger.get().ok_or_else(early)
    }

    /// Enters a call.
    fn enter<T>(
        &self,
        repeating: Repeating<'_>,
        result: Result<T, ModelError>,
        usage: impl Fn(&T) -> Usage,
    ) -> Result<T, ModelError> {
        let made = repeating.made();
        if let Some(ledger) = self.ledger.get() {
            ledger.count(1);
        }
        let mut took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        took.failed.extend(made.failed);
        match &result {
            Ok(reply) => {
                let usage = usage(reply);
                took.calls += 1;
                took.usage.input_tokens += usage.input_tokens;
                took.usage.output_tokens += usage.output_tokens;
                match made.cost_usd {
                    Some(cost) => took.cost_usd += cost,
                    None => took.has_unpriced = true,
                }
            }
            // What a filter refuses is an outcome: asking again would give the same.
            Err(error) if error.kind == ErrorKind::Filtered => took.calls += 1,
            Err(error) => took.error = Some(error.clone()),
        }
        result
    }
}

#[async_trait]
impl ChatModel for DetectorModel {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        let repeating = Repeating::new(self.ledger()?.calling(&self.model, request.prompt.id()));
        let result = repeating.chat(request).await;
        self.enter(repeating, result, |reply| reply.usage)
    }

    fn can_score(&self) -> bool {
        self.model.can_score
    }

    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        let repeating = Repeating::new(self.ledger()?.calling(&self.model, request.prompt.id()));
        let result = repeating.score(request).await;
        self.enter(repeating, result, |score| Usage {
            // The text is read with the prompt, and nothing is written.
            input_tokens: score.prompt_tokens + score.token_log_probabilities.len() as u64,
            ..Usage::default()
        })
    }
}

/// What looking at contexts works with.
pub struct Inspecting {
    /// The guards, in the experiment's order.
    pub guards: Vec<OpenGuard>,
    /// What is missing.
    pub missing: Vec<MissingInspection>,
    /// Findings that were stored before.
    pub reused: u64,
    /// How it is gone about.
    pub means: Means,
}

/// A context that has not been looked at yet.
pub struct MissingInspection {
    guard: usize,
    id: ContentId,
    context: ToInspect,
}

/// The contexts of a plan that no guard has looked at yet, and how many have been looked at.
///
/// # Errors
/// If the store cannot be read.
pub fn missing_inspections(
    experiment: &Experiment,
    plan: &Plan,
    guards: &[OpenGuard],
    reader: &Reader,
) -> Result<(Vec<MissingInspection>, u64), EngineError> {
    let mut missing = Vec::new();
    let mut reused = 0;
    for (guard, open) in guards.iter().enumerate() {
        let stored = reader.inspections(open.hash)?;
        for context in experiment.to_be_inspected(plan, guard) {
            if stored.contains_key(&context.context) {
                reused += 1;
                continue;
            }
            let id = Canonical::new("tiltmeter.inspection/1").id(&open.hash).id(&context.context).finish();
            missing.push(MissingInspection { guard, id, context });
        }
    }
    Ok((missing, reused))
}

/// Has each context looked at that has not been, and stores what is found. One after the other, so that each has its own
/// time and calls; detectors ask several times at once where their settings say so. Where a detector fails for good, the
/// outcome says so: it is not known then what to show.
pub async fn inspect(run: Inspecting) -> Outcome {
    let start = Instant::now();
    let Inspecting { guards, missing, reused, means } = run;
    let ledger = Arc::new(Ledger::new(means));
    for model in guards.iter().flat_map(|guard| &guard.models) {
        // Asked for the first time in this start.
        let _ = model.ledger.set(ledger.clone());
    }
    let total = missing.len() as u64;
    ledger.tell(Event::InspectionStarted { contexts: total, reused });
    let mut failed = 0;
    for one in missing {
        if ledger.is_stopping() {
            break;
        }
        let Some(guard) = guards.get(one.guard) else { continue };
        if !look(&ledger, guard, &one).await {
            failed += 1;
        }
    }
    if failed > 0 && !ledger.is_stopping() {
        ledger.stop_for(Stop::Inspection { failed, total });
    }
    ledger.outcome(reused, start.elapsed())
}

/// The kind of such failures.
const INSPECTION: &str = "inspection";

/// Whether it is a gap that another try may close. A model's reply that cannot be used is kept, like every reply.
fn has_to_be_repeated(gap: &InspectionGap, a_call_failed: bool) -> bool {
    match gap.reason.as_str() {
        "timed-out" | "shed" | "resting" | "pending" => true,
        "failed" => a_call_failed || !matches!(gap.detector.as_str(), "judge" | "tilt"),
        _ => false,
    }
}

/// Looks at one context; says whether what was found is stored.
async fn look(ledger: &Ledger, guard: &OpenGuard, missing: &MissingInspection) -> bool {
    let start = Instant::now();
    let inspected = guard.inspector.inspect(&missing.context).await;
    let duration = start.elapsed();
    ledger.meter.calls.add(duration);
    let mut took = Took::default();
    for model in &guard.models {
        let one = model.take();
        if let Some(error) = one.error.as_ref().filter(|error| error.kind.stops_the_run()) {
            ledger.stop_for(Stop::Model { model: model.model.name.clone(), error: error.clone() });
        }
        took.add(one);
    }
    let Inspected { finding, examples, reasons, unchecked } = inspected;
    if let Some(gap) = unchecked.iter().find(|gap| has_to_be_repeated(gap, took.error.is_some())) {
        if ledger.is_stopping() {
            // Nothing is wrong with the context: the next start looks at it.
            if !took.failed.is_empty() {
                ledger.store(|writer| async move { writer.attempts(missing.id, took.failed).await }).await;
            }
            return false;
        }
        let error = took.error.map_or_else(String::new, |error| format!(": {error}"));
        let message = format!("detector `{}`: {}{error}", gap.detector, gap.reason);
        let record = FailureRecord {
            hash: missing.id,
            target: FailureTarget::Inspection,
            kind: INSPECTION,
            message: message.clone(),
            created_at: ledger.now(),
            failed_attempts: took.failed,
        };
        if ledger.store(|writer| async move { writer.failure(record).await }).await.is_some() {
            ledger.tell(Event::Failed {
                target: CallTarget::Inspection,
                model: "guard".to_owned(),
                kind: INSPECTION,
                message,
                judgements_lost: 0,
            });
        }
        return false;
    }
    let record = InspectionRecord {
        hash: missing.id,
        guard: guard.hash,
        context: missing.context.context,
        finding,
        examples,
        reasons,
        unchecked,
        calls: took.calls,
        input_tokens: took.usage.input_tokens,
        output_tokens: took.usage.output_tokens,
        cost_usd: (!took.has_unpriced).then_some(took.cost_usd),
        duration_ms: milliseconds(duration),
        created_at: ledger.now(),
        failed_attempts: took.failed,
    };
    let stored = ledger.store(|writer| async move { writer.inspection(record).await }).await;
    if stored.is_some() {
        ledger.tell(Event::ContextInspected);
    }
    stored.is_some()
}
