//! Progress for the person who waits: bars on a terminal, plain lines otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tiltmeter_run::{CallTarget, Event, Observer};

use crate::live::Live;
use crate::output;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Shows what happens.
pub(crate) struct Progress {
    terminal: bool,
    bars: MultiProgress,
    state: Mutex<State>,
}

struct State {
    samples: Task,
    scores: Task,
    judgements: Task,
    codings: Task,
    screenings: Task,
    inspections: Task,
    started: Instant,
    last_line: Instant,
    download: Option<ProgressBar>,
    downloaded: u64,
    size: Option<u64>,
    failures_shown: u32,
    spent_usd: f64,
    /// Failed attempts that were or will be made again, by kind, and calls that failed for good.
    repeated: BTreeMap<&'static str, u64>,
    failed: u64,
    /// Calls that were held back by limits, and for how long in all, by model.
    paced: BTreeMap<String, (u64, Duration)>,
    /// Requests in batches that are being worked on, done and in all, by model.
    in_batches: BTreeMap<String, (u64, u64)>,
    /// Work that comes in steps, by its name.
    step: Option<(&'static str, ProgressBar)>,
}

/// One kind of work.
struct Task {
    name: &'static str,
    done: u64,
    total: u64,
    bar: Option<ProgressBar>,
}

impl Task {
    fn new(name: &'static str) -> Self {
        Self { name, done: 0, total: 0, bar: None }
    }

    fn advance(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn shrink(&mut self, by: u64) {
        self.total = self.total.saturating_sub(by);
        if let Some(bar) = &self.bar {
            bar.set_length(self.total);
        }
    }
}

/// How many failed calls are told one by one before only the counts in the table tell of them.
const FAILURES_SHOWN: u32 = 10;

impl Progress {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let now = Instant::now();
        Self {
            terminal,
            bars: MultiProgress::with_draw_target(target),
            state: Mutex::new(State {
                samples: Task::new("answers"),
                scores: Task::new("texts scored"),
                judgements: Task::new("judge's scores"),
                codings: Task::new("traces coded"),
                screenings: Task::new("demonstrations"),
                inspections: Task::new("contexts"),
                started: now,
                last_line: now,
                download: None,
                downloaded: 0,
                size: None,
                failures_shown: 0,
                spent_usd: 0.0,
                repeated: BTreeMap::new(),
                failed: 0,
                paced: BTreeMap::new(),
                in_batches: BTreeMap::new(),
                step: None,
            }),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self, text: &str) {
        let text: String =
            text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        if self.terminal {
            let _ = self.bars.println(text);
        } else {
            output::note(&text);
        }
    }

    /// Shows how far work of a name is; another name begins another bar.
    pub(crate) fn step(&self, name: &'static str, done: u64, of: u64) {
        let line = self.with(|state| {
            if self.terminal {
                if state.step.as_ref().is_none_or(|(current, _)| *current != name) {
                    let bar = self.bars.add(ProgressBar::new(of)).with_prefix(name);
                    let template = "{prefix:>30} {wide_bar} {pos}/{len}, {eta} left {msg}";
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style);
                    }
                    state.step = Some((name, bar));
                }
                if let Some((_, bar)) = &state.step {
                    bar.set_position(done);
                    if done >= of {
                        bar.finish();
                    }
                }
                return None;
            }
            state.step_line(name, done, of)
        });
        if let Some(line) = line {
            output::note(&line);
        }
    }

    /// Draws the cells of the run in a directory, on a terminal, until what is returned is dropped.
    pub(crate) fn live(self: &Arc<Self>, directory: &Path) -> Option<Live> {
        let progress = self.clone();
        self.terminal
            .then(|| Live::start(&self.bars, directory, move || progress.with(|state| state.troubles())))
    }

    /// Ends all displays.
    pub(crate) fn finish(&self) {
        self.with(|state| {
            for task in state.tasks() {
                if let Some(bar) = &task.bar {
                    bar.finish();
                }
            }
        });
    }

    /// Begins work of several kinds.
    fn begin<const KINDS: usize>(&self, kinds: impl FnOnce(&mut State) -> [(&mut Task, u64); KINDS]) {
        let style =
            ProgressStyle::with_template("{prefix:>14} {wide_bar} {pos}/{len} {per_sec}, {eta} left {msg}");
        self.with(|state| {
            state.started = Instant::now();
            state.last_line = Instant::now();
            for (task, total) in kinds(state) {
                task.total = total;
                if total > 0 && self.terminal {
                    let bar = self.bars.add(ProgressBar::new(total)).with_prefix(task.name);
                    if let Ok(style) = &style {
                        bar.set_style(style.clone());
                    }
                    task.bar = Some(bar);
                }
            }
        });
    }

    /// A plain line now and then, where there are no bars.
    fn line(&self) {
        if self.terminal {
            return;
        }
        if let Some(line) = self.with(State::line) {
            output::note(&line);
        }
    }
}

impl State {
    /// The line on how far all tasks are, where one is due. Without a task there is none: what is asked outside a run is
    /// told of in steps.
    fn line(&mut self) -> Option<String> {
        let done: u64 = self.tasks().map(|task| task.done).sum();
        let total: u64 = self.tasks().map(|task| task.total).sum();
        let ended = done >= total;
        if total == 0 || (self.last_line.elapsed() < LINE_EVERY && !ended) {
            return None;
        }
        self.last_line = Instant::now();
        let parts: Vec<String> = self
            .tasks()
            .filter(|task| task.total > 0)
            .map(|task| format!("{} {}/{}", task.name, task.done, task.total))
            .collect();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = done as f64 / seconds;
        let left = match total.saturating_sub(done) {
            _ if ended => format!("{seconds:.0} s in all"),
            _ if done == 0 => "none has come yet".to_owned(),
            left => format!("about {:.0} s left", left as f64 / rate),
        };
        let mut batches = String::new();
        for (model, (done, total)) in &self.in_batches {
            let _ = write!(batches, "; {model}'s batch {done}/{total}");
        }
        Some(format!("{}; {rate:.1}/s, {left}{}{batches}", parts.join(", "), self.money()))
    }

    /// The line on how far a step is, where one is due.
    fn step_line(&mut self, name: &str, done: u64, of: u64) -> Option<String> {
        if self.last_line.elapsed() < LINE_EVERY && done < of {
            return None;
        }
        self.last_line = Instant::now();
        Some(format!("{name}: {done}/{of}{}", self.money()))
    }

    fn money(&self) -> String {
        if self.spent_usd > 0.0 { format!(", US$ {:.4} spent", self.spent_usd) } else { String::new() }
    }

    /// A line of limits and errors; `None` if there was none.
    fn troubles(&self) -> Option<String> {
        let mut parts = Vec::new();
        for (model, (calls, waited)) in &self.paced {
            parts.push(format!(
                "{model}: {calls} calls waited for limits, {:.1} s in all",
                waited.as_secs_f64()
            ));
        }
        if !self.repeated.is_empty() {
            let kinds: Vec<String> =
                self.repeated.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            parts.push(format!("asked again after {}", kinds.join(", ")));
        }
        if self.failed > 0 {
            parts.push(format!("{} failed for good", self.failed));
        }
        (!parts.is_empty()).then(|| parts.join(" · "))
    }

    fn tasks(&self) -> impl Iterator<Item = &Task> {
        [&self.screenings, &self.inspections, &self.scores, &self.samples, &self.judgements, &self.codings]
            .into_iter()
    }

    /// The task that a failed call belongs to.
    fn task_of(&mut self, target: CallTarget) -> &mut Task {
        match target {
            CallTarget::Response => &mut self.samples,
            CallTarget::Screening => &mut self.screenings,
            CallTarget::Inspection => &mut self.inspections,
            CallTarget::Score => &mut self.scores,
            CallTarget::Judgement => &mut self.judgements,
            CallTarget::Coding => &mut self.codings,
        }
    }

    fn spent(&mut self, total_usd: f64) {
        self.spent_usd = self.spent_usd.max(total_usd);
        let text = format!("US$ {:.4}", self.spent_usd);
        let step = self.step.iter().map(|(_, bar)| bar);
        for bar in self.tasks().filter_map(|task| task.bar.as_ref()).chain(step) {
            bar.set_message(text.clone());
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        match event {
            Event::Started { samples, scores, judgements, reused } => {
                self.say(&format!(
                    "to do: {scores} texts to score, {samples} answers, {judgements} scores by the judge; {reused} results \
                     stored already"
                ));
                self.begin(|state| {
                    state.screenings = Task::new(state.screenings.name);
                    state.inspections = Task::new(state.inspections.name);
                    [
                        (&mut state.scores, scores),
                        (&mut state.samples, samples),
                        (&mut state.judgements, judgements),
                    ]
                });
                return;
            }
            Event::CodingStarted { codings, reused } => {
                self.say(&format!("to do: {codings} traces to code; {reused} codings stored already"));
                self.begin(|state| [(&mut state.codings, codings)]);
                return;
            }
            Event::ScreeningStarted { demonstrations, reused } => {
                self.say(&format!(
                    "before contexts are made: {demonstrations} demonstrations to screen; {reused} screened already"
                ));
                self.begin(|state| [(&mut state.screenings, demonstrations)]);
                return;
            }
            Event::InspectionStarted { contexts, reused } => {
                self.say(&format!(
                    "before contexts are shown: {contexts} for the guard to look at; {reused} looked at already"
                ));
                self.begin(|state| [(&mut state.inspections, contexts)]);
                return;
            }
            Event::ContextInspected => self.with(|state| state.inspections.advance()),
            Event::DemonstrationScreened => self.with(|state| state.screenings.advance()),
            Event::SampleStored { judgements_spared } => self.with(|state| {
                state.samples.advance();
                state.judgements.shrink(judgements_spared);
            }),
            Event::Spent { total_usd } => {
                self.with(|state| state.spent(total_usd));
                return;
            }
            Event::Spared { samples, judgements } => self.with(|state| {
                state.samples.shrink(samples);
                state.judgements.shrink(judgements);
            }),
            Event::BatchSubmitted { model, requests } => {
                self.say(&format!("{model}: a batch of {requests} requests is with the provider"));
            }
            Event::BatchRunning { model, done, total } => self.with(|state| {
                state.in_batches.insert(model, (done, total));
            }),
            Event::BatchEnded { model, answered, failed } => {
                self.with(|state| state.in_batches.remove(&model));
                let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
                self.say(&format!("{model}: a batch is over, {answered} requests answered{failed}"));
            }
            Event::ScoreStored => self.with(|state| state.scores.advance()),
            Event::CodingStored => self.with(|state| state.codings.advance()),
            Event::JudgementStored => self.with(|state| state.judgements.advance()),
            Event::Paced { model, waited } => self.with(|state| {
                let held = state.paced.entry(model).or_insert((0, Duration::ZERO));
                held.0 += 1;
                held.1 += waited;
            }),
            Event::Retrying { model, kind, message, wait } => {
                let shown = self.with(|state| {
                    *state.repeated.entry(kind).or_insert(0) += 1;
                    state.failures_shown += 1;
                    state.failures_shown <= FAILURES_SHOWN
                });
                if shown {
                    self.say(&format!("{model}: {kind}, again in {:.1} s: {message}", wait.as_secs_f64()));
                }
            }
            Event::Failed { model, kind, message, judgements_lost, target } => {
                let shown = self.with(|state| {
                    state.task_of(target).advance();
                    state.judgements.shrink(judgements_lost);
                    state.failed += 1;
                    state.failures_shown += 1;
                    state.failures_shown <= FAILURES_SHOWN
                });
                if shown {
                    self.say(&format!("{model}: failed, {kind}: {message}"));
                }
            }
        }
        self.line();
    }
}

impl Progress {
    /// Shows the beginning of a transfer; `text` says of what.
    fn begin_transfer(&self, text: &str, total: Option<u64>) {
        self.say(text);
        if !self.terminal {
            self.with(|state| (state.downloaded, state.size, state.last_line) = (0, total, Instant::now()));
            return;
        }
        let bar = self.bars.add(ProgressBar::new(total.unwrap_or(0)));
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
        {
            bar.set_style(style);
        }
        self.with(|state| state.download = Some(bar));
    }
}

impl tiltmeter_local::Progress for Progress {
    fn begin(&self, source: &str, total: Option<u64>) {
        self.begin_transfer(&format!("fetching the model from {source}"), total);
    }

    fn advance(&self, bytes: u64) {
        let line = self.with(|state| {
            if let Some(bar) = &state.download {
                bar.inc(bytes);
                return None;
            }
            state.downloaded += bytes;
            if state.last_line.elapsed() < LINE_EVERY {
                return None;
            }
            state.last_line = Instant::now();
            let total = state.size.map_or(String::new(), |size| format!(" of {}", size / 1_000_000));
            Some(format!("{}{total} MB", state.downloaded / 1_000_000))
        });
        if let Some(line) = line {
            output::note(&line);
        }
    }

    fn note(&self, text: &str) {
        self.say(text);
    }

    fn finish(&self) {
        let bar = self.with(|state| state.download.take());
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

impl tiltmeter_data::Progress for Progress {
    fn begin(&self, source: &str, total: u64) {
        self.begin_transfer(&format!("fetching from {source}"), Some(total));
    }

    fn advance(&self, bytes: u64) {
        tiltmeter_local::Progress::advance(self, bytes);
    }

    fn note(&self, text: &str) {
        self.say(text);
    }

    fn finish(&self) {
        tiltmeter_local::Progress::finish(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_outside_a_run_have_no_line_of_tasks() {
        let progress = Progress::new();
        assert_eq!(progress.with(State::line), None);
        // However often they wait for their turn, the step's line comes when it is due.
        progress.event(Event::Paced { model: "judge".to_owned(), waited: Duration::ZERO });
        progress.event(Event::Spent { total_usd: 0.5 });
        let step = |done| progress.with(|state| state.step_line("ratings", done, 12));
        assert_eq!(step(3), None);
        progress.with(|state| state.last_line -= LINE_EVERY);
        progress.event(Event::Paced { model: "judge".to_owned(), waited: Duration::ZERO });
        assert_eq!(step(4).as_deref(), Some("ratings: 4/12, US$ 0.5000 spent"));
        assert_eq!(step(5), None);
        assert_eq!(step(12).as_deref(), Some("ratings: 12/12, US$ 0.5000 spent"));
    }

    #[test]
    fn tasks_have_a_line_now_and_then_and_at_the_end() {
        let progress = Progress::new();
        progress.with(|state| state.samples.total = 2);
        assert_eq!(progress.with(State::line), None);
        progress.with(|state| state.last_line -= LINE_EVERY);
        let line = progress.with(State::line).unwrap();
        assert!(line.starts_with("answers 0/2; ") && line.ends_with("none has come yet"), "{line}");
        progress.with(|state| state.samples.done = 2);
        assert!(progress.with(State::line).unwrap().contains("in all"));
    }
}
