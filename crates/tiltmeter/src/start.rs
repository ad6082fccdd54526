//! One start of the engine on a run directory, whatever it asks for: its lock, its writer, interrupts, and what is
//! shown at the end.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tiltmeter_run::{
    BatchPolicy, Batching, Budget, ConnectError, EngineError, Means, Model, Outcome, Reach, RetryPolicy,
    RunResults, Stop, analyse, takes_batches,
};
use tiltmeter_store::{
    InvocationEnd, OpenBatch, Reader, Registration, RunDirectory, Writer, forget_batches, prepare,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::cli::{BatchArguments, Dollars, EndingArguments};
use crate::commands::report;
use crate::exit::{Exit, Failure};
use crate::log::{Log, LogArguments};
use crate::progress::Progress;
use crate::{output, prices};

/// How long calls in flight may take to end after a first interrupt.
const GRACE: Duration = Duration::from_mins(1);

/// How models are asked in batches.
pub(crate) struct Batches {
    policy: BatchPolicy,
    open: Vec<OpenBatch>,
}

impl Batches {
    pub(crate) fn with(self, means: &Means, experiment: i64, reach: Reach) -> Batching {
        Batching {
            experiment,
            reach,
            policy: self.policy,
            open: self.open,
            writer: means.writer.clone(),
            stop: means.stop.clone(),
            observer: means.observer.clone(),
            now: means.now,
        }
    }
}

/// A start.
pub(crate) struct Start {
    path: PathBuf,
    directory: RunDirectory,
    runtime: Runtime,
    progress: Arc<Progress>,
    budget: Arc<Budget>,
    /// Logs until the start is dropped.
    _log: Log,
}

impl Start {
    /// Takes a run directory.
    pub(crate) fn new(path: &Path, max_cost: Option<Dollars>, log: &LogArguments) -> Result<Self, Failure> {
        let log = Log::start(log)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
        Ok(Self {
            path: path.to_owned(),
            directory: RunDirectory::open(path).map_err(Failure::failed)?,
            runtime,
            progress: Arc::new(Progress::new()),
            budget: Arc::new(Budget::new(max_cost.map(|most| most.0))),
            _log: log,
        })
    }

    pub(crate) fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    pub(crate) fn reader(&self) -> Result<Reader, Failure> {
        Reader::open(&self.path).map_err(Failure::failed)
    }

    /// What is said of a start that ended before its end.
    pub(crate) fn stopped(&self, stop: &Stop) -> Failure {
        stopped(stop, &self.path)
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Opens models.
    pub(crate) fn connect<T>(
        &self,
        opening: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, Failure> {
        self.runtime.block_on(opening).map_err(|error| {
            if error.is_configuration() { Failure::configuration(error) } else { Failure::failed(error) }
        })
    }

    /// Waits for something that is not of the engine.
    pub(crate) fn wait<T>(&self, doing: impl Future<Output = T>) -> T {
        self.runtime.block_on(doing)
    }

    /// A reader of the store, which is made where there is none yet.
    pub(crate) fn store(&self) -> Result<Reader, Failure> {
        prepare(&self.directory).map_err(Failure::failed)?;
        self.reader()
    }

    /// A budget can be kept only where all prices are known.
    pub(crate) fn check_prices<'a>(&self, models: impl Iterator<Item = &'a Model>) -> Result<(), Failure> {
        if self.budget.most_usd().is_none() {
            return Ok(());
        }
        let mut unknown = models.filter(|model| model.price.is_none());
        let Some(model) = unknown.next() else { return Ok(()) };
        let file = prices::file().map_or_else(
            || format!("a price file that {} names", prices::VARIABLE),
            |path| path.display().to_string(),
        );
        Err(Failure::configuration(format!(
            "{}: `--max-cost` needs the price of `{1}`, which is not known\n  give `price = {{ input = …, output = … }}` \
             in its table (US dollars per million tokens), or put this into {file}:\n  [\"{1}\"]\n  input = …\n  output = …",
            model.name, model.record.model
        )))
    }

    /// How models are to be asked in batches; `None` where they are not. A start that does not ask in batches, while some of
    /// an earlier one are with their providers, would pay for their answers twice.
    pub(crate) fn batching<'a>(
        &self,
        arguments: &BatchArguments,
        reader: &Reader,
        models: impl Iterator<Item = &'a Model>,
    ) -> Result<Option<Batches>, Failure> {
        if arguments.forget_batches {
            let now = jiff::Timestamp::now().to_string();
            forget_batches(&self.directory, &now).map_err(Failure::failed)?;
        }
        let open = reader.open_batches().map_err(Failure::failed)?;
        if !arguments.batch {
            if open.is_empty() {
                return Ok(None);
            }
            return Err(Failure::configuration(format!(
                "{} batches of an earlier start are with their providers, or may be\n  run with --batch to collect their \
                 answers, or with --forget-batches to ask for them again and pay twice",
                open.len()
            )));
        }
        let mut live = Vec::new();
        let mut any = false;
        for model in models {
            if takes_batches(model) {
                any = true;
            } else {
                live.push(model.name.clone());
            }
        }
        if !any {
            return Err(Failure::configuration(
                "no model's provider takes batches: leave --batch out (OpenAI, Gemini and Anthropic do, in their own protocols)",
            ));
        }
        if !live.is_empty() {
            output::note(&format!(
                "asked one by one, as their providers take no batches: {}",
                live.join(", ")
            ));
        }
        let poll = Duration::from_secs_f64(arguments.batch_poll);
        let policy = BatchPolicy {
            most_requests: arguments.batch_size as usize,
            quiet: BatchPolicy::default().quiet.min(poll),
            poll,
            ..BatchPolicy::default()
        };
        Ok(Some(Batches { policy, open }))
    }

    /// Runs the engine, with its writer, until it ends or is interrupted for good.
    pub(crate) fn work<F>(&self, engine: impl FnOnce(Means) -> F) -> Result<Outcome, Failure>
    where
        F: Future<Output = Result<Outcome, EngineError>> + Send + 'static,
    {
        let (writer, writing) = Writer::start(&self.directory).map_err(Failure::failed)?;
        let stop = CancellationToken::new();
        let means = Means {
            writer,
            policy: RetryPolicy::default(),
            budget: self.budget.clone(),
            observer: self.progress.clone(),
            now: jiff::Timestamp::now,
            stop: stop.clone(),
        };
        let work = engine(means);
        let live = self.progress.live(&self.path);
        let outcome = self.runtime.block_on(async {
            let work = tokio::spawn(work);
            let interrupts = tokio::spawn(on_interrupt(stop, work.abort_handle()));
            let outcome = work.await;
            interrupts.abort();
            outcome
        });
        drop(live);
        let mut outcome = match outcome {
            Ok(outcome) => outcome.map_err(Failure::failed)?,
            Err(error) if error.is_cancelled() => {
                return Err(Failure::failed("stopped at once on request; what was stored is kept"));
            }
            Err(error) => return Err(Failure::failed(format!("the engine failed: {error}"))),
        };
        // All writing ends are gone by now: the thread commits what is left and ends.
        match writing.join() {
            // Whoever wrote next may have heard first that the writer is gone; it knows itself why.
            Ok(Err(error)) => outcome.stop = Some(Stop::Store(Arc::new(error))),
            Ok(Ok(())) => {}
            Err(_) => return Err(Failure::failed("the store's writer failed")),
        }
        self.progress.finish();
        Ok(outcome)
    }

    /// Writes down how it ended. Fails where it was stopped.
    pub(crate) fn close(&self, invocation: i64, outcome: &Outcome) -> Result<(), Failure> {
        let end = InvocationEnd {
            ended_at: jiff::Timestamp::now().to_string(),
            end: if outcome.stop.is_none() { "finished".to_owned() } else { "stopped".to_owned() },
            asked: outcome.asked,
            reused: outcome.reused,
            attempts: outcome.attempts,
            cost_usd: outcome.spent.known_usd,
            timing: serde_json::to_string(&outcome.timing).map_err(Failure::failed)?,
        };
        let ended = Registration::end(&self.directory, invocation, &end);
        if let Some(stop) = &outcome.stop {
            return Err(stopped(stop, &self.path));
        }
        ended.map_err(Failure::failed)
    }

    /// Tells what was asked, what it cost and how long it took.
    pub(crate) fn tell(&self, outcome: &Outcome) {
        output::note(&format!(
            "{} calls made, {} results reused; stored in {}",
            outcome.asked,
            outcome.reused,
            self.path.display()
        ));
        for line in [money(outcome), cache(outcome), time(outcome)].into_iter().flatten() {
            output::note(&line);
        }
    }

    /// Writes down how it ended, and shows the results.
    pub(crate) fn end(
        &self,
        invocation: i64,
        outcome: &Outcome,
        ending: &EndingArguments,
    ) -> Result<Exit, Failure> {
        let reader = Reader::open(&self.path).map_err(Failure::failed)?;
        let open = reader.open_batches().map_err(Failure::failed)?.len();
        if open > 0 {
            output::note(&format!(
                "{open} batches go on at their providers: run again with --batch to collect them"
            ));
        }
        self.close(invocation, outcome)?;
        let mut results = RunResults {
            asked: outcome.asked,
            reused: outcome.reused,
            attempts: outcome.attempts,
            cost_usd: outcome.spent.known_usd,
            timing: outcome.timing,
            ..analyse(&self.path).map_err(Failure::failed)?
        };
        results.gates = ending.fail_if.iter().map(|gate| gate.check(&results)).collect();
        self.show(&results, outcome, ending.json)?;
        write_for_services(&results, ending)?;
        let is_gate_shut = results.gates.iter().any(|gate| gate.failed);
        Ok(match (is_gate_shut, is_incomplete(&results)) {
            (true, _) => Exit::Gate,
            (false, true) => Exit::Incomplete,
            (false, false) => Exit::Done,
        })
    }

    fn show(&self, results: &RunResults, outcome: &Outcome, json: bool) -> Result<(), Failure> {
        let path = &self.path;
        let document = serde_json::to_string_pretty(results).map_err(Failure::failed)?;
        fs_err::write(path.join("results.json"), format!("{document}\n")).map_err(Failure::failed)?;
        if json {
            output::result(&format!("{document}\n"));
        } else {
            output::result(&tiltmeter_report::table(results));
        }
        self.tell(outcome);
        // Everything is stored by now: a report that cannot be written must not look like a run that failed.
        match report::after_run(path, results) {
            Ok(report) => output::note(&format!("report: {}", report.display())),
            Err(error) => output::note(&format!("the report was not written: {error}")),
        }
        Ok(())
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
        Stop::Budget { .. } => "what was stored is kept; run again, with a new budget, to go on",
        Stop::Screening { .. } => {
            "what was stored is kept; run again to ask for the rest, or leave the filter out"
        }
        Stop::Inspection { .. } => {
            "what was stored is kept; run again to have the rest looked at, or leave the guard out"
        }
        Stop::Store(_) | Stop::Analysis(_) | Stop::Requested => "what was stored is kept; run again to go on",
    };
    Failure::failed(format!("{stop}\n  {hint} ({})", path.display()))
}

/// What continuous-integration services read, and what the gates came to.
fn write_for_services(results: &RunResults, ending: &EndingArguments) -> Result<(), Failure> {
    // First, since a file that cannot be written ends it.
    for line in tiltmeter_report::gate_lines(&results.gates) {
        output::note(&line);
    }
    if let Some(path) = &ending.junit {
        let text = tiltmeter_report::junit(results).map_err(Failure::failed)?;
        fs_err::write(path, text).map_err(Failure::failed)?;
    }
    if let Some(path) = &ending.summary {
        fs_err::write(path, tiltmeter_report::markdown(results)).map_err(Failure::failed)?;
    }
    Ok(())
}

/// What it cost.
fn money(outcome: &Outcome) -> Option<String> {
    let spent = outcome.spent;
    let mut line = match (spent.known_usd > 0.0, spent.unpriced_calls) {
        (false, 0) => return None,
        (false, _) => "cost: not known".to_owned(),
        (true, 0) => format!("cost: US$ {:.4}", spent.known_usd),
        (true, calls) => {
            format!("cost: US$ {:.4}, and {calls} calls whose price is not known", spent.known_usd)
        }
    };
    if spent.unsure_usd > 0.0 {
        let _ = write!(line, "; up to US$ {:.4} more for calls that broke off", spent.unsure_usd);
    }
    Some(line)
}

/// What prompt caches gave.
fn cache(outcome: &Outcome) -> Option<String> {
    let cache = outcome.cache;
    if cache.cached_tokens == 0 {
        return None;
    }
    let share = 100.0 * cache.cached_tokens as f64 / cache.input_tokens.max(1) as f64;
    let mut line = format!(
        "prompt cache: {} of {} input tokens ({share:.0} %)",
        cache.cached_tokens, cache.input_tokens
    );
    if cache.saved_usd > 0.0 {
        let _ = write!(line, ", which saved US$ {:.4}", cache.saved_usd);
    }
    Some(line)
}

/// Where the time went, for starts that asked something.
fn time(outcome: &Outcome) -> Option<String> {
    let timing = outcome.timing;
    (outcome.asked > 0).then(|| {
        format!(
            "time: {:.1} s; summed over calls, {:.1} s for subjects, {:.1} s for the judge and {:.1} s for its queue, \
             {:.1} s for limits, {:.1} s before retries, {:.1} s for the disk, {:.1} s of its own",
            timing.wall_s,
            timing.subjects_s,
            timing.judge_s,
            timing.judge_queue_s,
            timing.limits_s,
            timing.retries_s,
            timing.storing_s,
            timing.own_s
        )
    })
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
