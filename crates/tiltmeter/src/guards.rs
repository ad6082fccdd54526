//! The guard as a defence: its detectors look at contexts before any is shown to a subject.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::guarding::Guard;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::ToInspect;
use tiltmeter_guard::inspect::{ContextFile, ContextInspector, GivenModels, Surroundings, inspect_prompt};
use tiltmeter_models::ChatModel;
use tiltmeter_run::{
    DetectorModel, GuardModels, Inspected, Inspecting, Inspects, Model, OpenGuard, Outcome,
    gives_log_probabilities, inspect, missing_inspections,
};
use tiltmeter_store::{InspectionGap, InspectionReason};

use crate::exit::Failure;
use crate::start::Start;

/// The guard's inspector, as a run knows it.
struct InProcess(ContextInspector);

#[async_trait]
impl Inspects for InProcess {
    fn identity(&self) -> ContentId {
        self.0.identity()
    }

    async fn inspect(&self, context: &ToInspect) -> Inspected {
        match inspect_prompt(&self.0, &context.prompt, &context.demonstrations).await {
            Ok((inspection, finding)) => Inspected {
                finding,
                examples: inspection.examples as u64,
                reasons: inspection
                    .reasons
                    .into_iter()
                    .map(|reason| InspectionReason {
                        detector: reason.detector.into_owned(),
                        code: reason.code.into_owned(),
                        score: reason.score,
                    })
                    .collect(),
                unchecked: inspection
                    .unchecked
                    .into_iter()
                    .map(|gap| InspectionGap {
                        detector: gap.detector.into_owned(),
                        reason: gap.reason.name().to_owned(),
                        bytes: gap.bytes,
                    })
                    .collect(),
            },
            Err(error) => Inspected {
                unchecked: vec![InspectionGap {
                    detector: error.to_string(),
                    reason: "failed".to_owned(),
                    bytes: 0,
                }],
                ..Inspected::default()
            },
        }
    }
}

/// Opens the guards of an experiment. `folder` is that of its file.
pub(crate) fn open(
    start: &Start,
    experiment: &Experiment,
    models: &[GuardModels],
    folder: &Path,
) -> Result<Vec<OpenGuard>, Failure> {
    experiment
        .guards
        .iter()
        .zip(models)
        .map(|(guard, models)| open_one(start, guard, models, folder))
        .collect()
}

fn open_one(start: &Start, guard: &Guard, models: &GuardModels, folder: &Path) -> Result<OpenGuard, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::configuration(format!(
            "the guard's detectors: {error}\n  `tiltmeter guard schema` describes them"
        ))
    };
    let file: ContextFile = serde_json::from_value(guard.detectors.clone()).map_err(|error| wrong(&error))?;
    let asked = |model: &Option<Arc<Model>>| model.clone().map(DetectorModel::new);
    let (judge, tilt) = (asked(&models.judge), asked(&models.tilt));
    let given = |model: &Option<Arc<DetectorModel>>| model.clone().map(|model| model as Arc<dyn ChatModel>);
    let surroundings =
        Surroundings { folder, environment: &|name| std::env::var(name).ok(), progress: start.progress() };
    let opening = file.open_with(&surroundings, GivenModels { judge: given(&judge), tilt: given(&tilt) });
    let inspector = start.wait(opening).map_err(|error| wrong(&error))?;
    let models = judge.into_iter().chain(tilt).collect();
    Ok(OpenGuard::new(guard.hash, Arc::new(InProcess(inspector)), models))
}

/// What guards found, and what looking took.
#[derive(Default)]
pub(crate) struct Looked {
    /// Their hashes, in the experiment's order.
    pub(crate) guards: Vec<ContentId>,
    pub(crate) outcome: Option<Outcome>,
}

/// Has guards look at all contexts that they have not seen yet, and puts what they found into the experiment, whose contexts
/// go by it.
pub(crate) fn look_at_contexts(
    start: &Start,
    experiment: &mut Experiment,
    models: &[GuardModels],
    folder: &Path,
) -> Result<Looked, Failure> {
    if experiment.guards.is_empty() {
        return Ok(Looked::default());
    }
    let guards = open(start, experiment, models, folder)?;
    let hashes: Vec<ContentId> = guards.iter().map(|guard| guard.hash).collect();
    let plan = experiment.plan(gives_log_probabilities);
    let reader = start.store()?;
    let (missing, reused) =
        missing_inspections(experiment, &plan, &guards, &reader).map_err(Failure::failed)?;
    let outcome = start.work(|means| {
        let run = Inspecting { guards, missing, reused, means };
        async move { Ok(inspect(run).await) }
    })?;
    if let Some(stop) = &outcome.stop {
        return Err(start.stopped(stop));
    }
    for (guard, hash) in experiment.guards.iter_mut().zip(&hashes) {
        guard.findings = Some(reader.inspections(*hash).map_err(Failure::failed)?);
    }
    Ok(Looked { guards: hashes, outcome: Some(outcome) })
}
