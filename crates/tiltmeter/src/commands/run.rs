//! `tiltmeter run`: runs an experiment, or goes on where it stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tiltmeter_core::experiment::Experiment;
use tiltmeter_judge::JudgePrompts;
use tiltmeter_run::{
    GuardModels, Model, Outcome, Reach, Run, Screening, connect, execute, gives_log_probabilities,
    missing_screenings, screen,
};
use tiltmeter_store::{JudgePromptTexts, Reader, Registration, ScreenRow, register_screen};

use crate::cli::RunArguments;
use crate::exit::{Exit, Failure};
use crate::start::Start;
use crate::{files, guards, prices};

pub(crate) fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let (mut experiment, source) = files::experiment(&arguments.experiment)?;
    if arguments.asking.batch.batch {
        no_several_calls(&experiment)?;
    }
    let path = arguments.out.clone().unwrap_or_else(|| default_directory(&experiment.name));
    let prompts = judge_prompts(&experiment)?;
    let prices = prices::load()?;
    // Before anything is fetched or asked: is the directory ours?
    let start = Start::new(&path, arguments.asking.max_cost, &arguments.asking.log)?;
    let connections =
        start.connect(connect(&experiment, &prices, &|name| std::env::var(name).ok(), start.progress()))?;
    let models = connections.subjects.iter().chain(connections.judge.as_deref());
    let before = connections.screens.iter().chain(connections.guards.iter().flat_map(GuardModels::all));
    start.check_prices(models.chain(before.map(AsRef::as_ref)))?;
    let screened = screen_demonstrations(&start, &mut experiment, &connections.screens)?;
    let folder = arguments.experiment.parent().unwrap_or(Path::new(""));
    let looked = guards::look_at_contexts(&start, &mut experiment, &connections.guards, folder)?;
    let plan = experiment.plan(gives_log_probabilities);
    let registration = Registration {
        experiment: &experiment,
        plan: &plan,
        source: &source,
        subjects: connections.subjects.iter().map(|model| model.record.clone()).collect(),
        steering: connections.steering_records(),
        judge: connections.judge.as_ref().map(|model| model.record.clone()),
        prompts: prompts
            .iter()
            .map(|prompts| JudgePromptTexts {
                alignment: prompts.alignment.clone(),
                coherence: prompts.coherence.clone(),
            })
            .collect(),
        screens: screened.rows,
        guards: looked.guards,
        version: env!("CARGO_PKG_VERSION"),
        now: jiff::Timestamp::now().to_string(),
    };
    let rows = registration.write(start.directory()).map_err(Failure::failed)?;
    let reader = Reader::open(&path).map_err(Failure::failed)?;
    let stored = reader.stored_ids().map_err(Failure::failed)?;
    let invocation = rows.invocation;
    let models = connections.subjects.iter().chain(connections.judge.as_deref());
    let batches = start.batching(&arguments.asking.batch, &reader, models)?;
    let limit = arguments.limit;
    let outcome = start.work(|means| async move {
        let connections = match batches {
            Some(batches) => {
                let reach = if limit.is_none() { Reach::Whole } else { Reach::Part };
                batches.with(&means, rows.experiment, reach).wrap(connections, &rows.subjects, rows.judge)
            }
            None => connections,
        };
        let run = Run {
            experiment: Arc::new(experiment),
            plan: Arc::new(plan),
            connections: Arc::new(connections),
            prompts: Arc::new(prompts),
            rows: Arc::new(rows),
            stored: Arc::new(stored),
            limit,
            means,
        };
        execute(run, reader).await
    })?;
    let before = [screened.outcome, looked.outcome];
    let outcome = before.iter().flatten().fold(outcome, Outcome::after);
    start.end(invocation, &outcome, &arguments.ending)
}

/// The calls of one answer follow each other, and each would wait for a batch of its own.
fn no_several_calls(experiment: &Experiment) -> Result<(), Failure> {
    match experiment.treatments.iter().find(|treatment| treatment.procedure.is_some()) {
        Some(treatment) => Err(Failure::configuration(format!(
            "the defence `{}` takes several calls for one answer, which are not made in batches\n  leave --batch out, or \
             put the defence into an experiment of its own",
            treatment.id
        ))),
        None => Ok(()),
    }
}

/// What filters' models said, and what asking them took.
#[derive(Default)]
struct Screened {
    rows: Vec<ScreenRow>,
    outcome: Option<Outcome>,
}

/// Has the models of filters look at all demonstrations that they have not seen yet, and puts what they said into the
/// experiment, whose contexts go by it.
fn screen_demonstrations(
    start: &Start,
    experiment: &mut Experiment,
    models: &[Arc<Model>],
) -> Result<Screened, Failure> {
    if experiment.screens.is_empty() {
        return Ok(Screened::default());
    }
    let rows: Vec<ScreenRow> = experiment
        .screens
        .iter()
        .zip(models)
        .map(|(screen, model)| {
            register_screen(start.directory(), screen.model.hash, &model.record, &screen.prompt)
        })
        .collect::<Result<_, _>>()
        .map_err(Failure::failed)?;
    let plan = experiment.plan(gives_log_probabilities);
    let reader = start.reader()?;
    let (missing, reused) = missing_screenings(experiment, &plan, &rows, &reader).map_err(Failure::failed)?;
    let outcome = start.work(|means| {
        let run = Screening { models: models.to_vec(), rows: rows.clone(), missing, reused, means };
        let experiment = Arc::new(experiment.clone());
        async move { Ok(screen(run, experiment).await) }
    })?;
    if let Some(stop) = &outcome.stop {
        return Err(start.stopped(stop));
    }
    for (screen, &row) in experiment.screens.iter_mut().zip(&rows) {
        screen.verdicts = Some(reader.screenings(row).map_err(Failure::failed)?);
    }
    Ok(Screened { rows, outcome: Some(outcome) })
}

/// The prompts by which answers to each question are judged: the question file's own, else the user's, else
/// the project's.
fn judge_prompts(experiment: &Experiment) -> Result<Vec<JudgePrompts>, Failure> {
    let Some(judge) = &experiment.judge else { return Ok(Vec::new()) };
    experiment
        .evaluation_questions()
        .iter()
        .map(|question| {
            let own = &question.judge_prompts;
            JudgePrompts::default()
                .replaced(judge.alignment_prompt.clone(), judge.coherence_prompt.clone())
                .and_then(|prompts| prompts.replaced(own.alignment.clone(), own.coherence.clone()))
                .map_err(|error| Failure::configuration(format!("question `{}`: {error}", question.id)))
        })
        .collect()
}

/// `runs/NAME`, with what a file name cannot hold replaced.
fn default_directory(name: &str) -> PathBuf {
    let name: String = name
        .chars()
        .map(
            |character| {
                if character.is_alphanumeric() || "-_.".contains(character) { character } else { '-' }
            },
        )
        .collect();
    let name = name.trim_start_matches('.');
    Path::new("runs").join(if name.is_empty() { "run" } else { name })
}
