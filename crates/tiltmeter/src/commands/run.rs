//! `tiltmeter run`: runs an experiment, or goes on where it stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::plan::Plan;
use tiltmeter_judge::JudgePrompts;
use tiltmeter_run::{
    Connections, Outcome, RetryPolicy, Run, RunResults, Stop, analyse, connect, execute,
    gives_log_probabilities,
};
use tiltmeter_store::{
    InvocationEnd, JudgePromptTexts, Reader, Registered, Registration, RunDirectory, Writer,
};
use tokio_util::sync::CancellationToken;

use crate::cli::RunArguments;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::{files, output};

/// How long calls in flight may take to end after a first interrupt.
const GRACE: Duration = Duration::from_mins(1);

pub(crate) fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let (experiment, source) = files::experiment(&arguments.experiment)?;
    let path = arguments.out.clone().unwrap_or_else(|| default_directory(&experiment.name));
    let prompts = judge_prompts(&experiment)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let progress = Arc::new(Progress::new());
    // Before anything is fetched or asked: is the directory ours?
    let directory = RunDirectory::open(&path).map_err(Failure::failed)?;
    let environment = |name: &str| std::env::var(name).ok();
    let connections = runtime.block_on(connect(&experiment, &environment, &*progress)).map_err(|error| {
        if error.is_configuration() { Failure::configuration(error) } else { Failure::failed(error) }
    })?;
    let plan = experiment.plan(gives_log_probabilities);
    let work = Work {
        experiment: Arc::new(experiment),
        plan: Arc::new(plan),
        connections: Arc::new(connections),
        prompts: Arc::new(prompts),
        source,
        limit: arguments.limit,
    };
    let (outcome, registered) = work.execute(&directory, &runtime, &progress)?;
    progress.finish();
    let end = InvocationEnd {
        ended_at: jiff::Timestamp::now().to_string(),
        end: if outcome.stop.is_none() { "finished".to_owned() } else { "stopped".to_owned() },
        asked: outcome.asked,
        reused: outcome.reused,
        attempts: outcome.attempts,
    };
    let ended = Registration::end(&directory, registered.invocation, &end);
    if let Some(stop) = outcome.stop {
        return Err(stopped(&stop, &path));
    }
    ended.map_err(Failure::failed)?;
    let results = RunResults {
        asked: outcome.asked,
        reused: outcome.reused,
        attempts: outcome.attempts,
        ..analyse(&path).map_err(Failure::failed)?
    };
    show(&results, &path, arguments.json)?;
    Ok(if is_incomplete(&results) { Exit::Incomplete } else { Exit::Done })
}

struct Work {
    experiment: Arc<Experiment>,
    plan: Arc<Plan>,
    connections: Arc<Connections>,
    prompts: Arc<Vec<JudgePrompts>>,
    source: String,
    limit: Option<u64>,
}

impl Work {
    fn execute(
        self,
        directory: &RunDirectory,
        runtime: &tokio::runtime::Runtime,
        progress: &Arc<Progress>,
    ) -> Result<(Outcome, Arc<Registered>), Failure> {
        let registration = Registration {
            experiment: &self.experiment,
            plan: &self.plan,
            source: &self.source,
            subjects: self.connections.subjects.iter().map(|model| model.record.clone()).collect(),
            judge: self.connections.judge.as_ref().map(|model| model.record.clone()),
            prompts: self
                .prompts
                .iter()
                .map(|prompts| JudgePromptTexts {
                    alignment: prompts.alignment.clone(),
                    coherence: prompts.coherence.clone(),
                })
                .collect(),
            version: env!("CARGO_PKG_VERSION"),
            now: jiff::Timestamp::now().to_string(),
        };
        let rows = Arc::new(registration.write(directory).map_err(Failure::failed)?);
        let reader = Reader::open(directory.path()).map_err(Failure::failed)?;
        let stored = Arc::new(reader.stored_ids().map_err(Failure::failed)?);
        let (writer, writing) = Writer::start(directory).map_err(Failure::failed)?;
        let stop = CancellationToken::new();
        let run = Run {
            experiment: self.experiment,
            plan: self.plan,
            connections: self.connections,
            prompts: self.prompts,
            rows: rows.clone(),
            stored,
            writer,
            policy: RetryPolicy::default(),
            limit: self.limit,
            observer: progress.clone(),
            now: jiff::Timestamp::now,
            stop: stop.clone(),
        };
        let outcome = runtime.block_on(async {
            let work = tokio::spawn(execute(run, reader));
            let interrupts = tokio::spawn(on_interrupt(stop, work.abort_handle()));
            let outcome = work.await;
            interrupts.abort();
            outcome
        });
        let outcome = match outcome {
            Ok(outcome) => outcome.map_err(Failure::failed)?,
            Err(error) if error.is_cancelled() => {
                return Err(Failure::failed("stopped at once on request; what was stored is kept"));
            }
            Err(error) => return Err(Failure::failed(format!("the engine failed: {error}"))),
        };
        // All writing ends are gone by now: the thread commits what is left and ends.
        match writing.join() {
            Ok(Err(error)) if outcome.stop.is_none() => return Err(Failure::failed(error)),
            // A writer that failed has stopped the run already, which says why.
            Ok(_) => {}
            Err(_) => return Err(Failure::failed("the store's writer failed")),
        }
        Ok((outcome, rows))
    }
}

/// The first interrupt stops asking and lets what is in flight end; a second one, or the end of the grace time,
/// stops at once.
async fn on_interrupt(stop: CancellationToken, work: tokio::task::AbortHandle) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    output::note("stopping: calls in flight are finished and stored; press ^C again to stop at once");
    stop.cancel();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = tokio::time::sleep(GRACE) => {}
    }
    work.abort();
}

fn stopped(stop: &Stop, path: &Path) -> Failure {
    let hint = match stop {
        Stop::Model { .. } => "what was stored is kept; put this right and run again to go on",
        Stop::Store(_) | Stop::Requested => "what was stored is kept; run again to go on",
    };
    Failure::failed(format!("{stop}\n  {hint} ({})", path.display()))
}

/// The prompts by which answers to each question are judged: the question file's own, else the user's, else
/// the project's.
fn judge_prompts(experiment: &Experiment) -> Result<Vec<JudgePrompts>, Failure> {
    let Some(judge) = &experiment.judge else { return Ok(Vec::new()) };
    experiment
        .questions
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

fn show(results: &RunResults, path: &Path, json: bool) -> Result<(), Failure> {
    let document = serde_json::to_string_pretty(results).map_err(Failure::failed)?;
    fs_err::write(path.join("results.json"), format!("{document}\n")).map_err(Failure::failed)?;
    let plot = tiltmeter_report::plot(results);
    let plot_path = path.join("plot.svg");
    if let Some(svg) = &plot {
        fs_err::write(&plot_path, svg).map_err(Failure::failed)?;
    }
    if json {
        output::result(&format!("{document}\n"));
    } else {
        output::result(&tiltmeter_report::table(results));
    }
    output::note(&format!(
        "{} calls made, {} results reused; stored in {}",
        results.asked,
        results.reused,
        path.display()
    ));
    if plot.is_some() {
        output::note(&format!("plot: {}", plot_path.display()));
    }
    Ok(())
}

/// Whether measurements are missing that were asked for.
fn is_incomplete(results: &RunResults) -> bool {
    let missing = results
        .conditions
        .iter()
        .map(|condition| condition.verdicts)
        .any(|counts| counts.error + counts.unparsable + counts.judge_refusal > 0);
    missing || !results.failures.is_empty()
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
