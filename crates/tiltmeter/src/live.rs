//! The cells of a running experiment, read from its store every few seconds and drawn above the progress bars.
//!
//! The view asks nobody but the store, so that what it shows is what is on disk.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Between two looks at the store.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A look may take this share of the time: a large store is looked at less often.
const LONGEST_SHARE: u32 = 20;
/// Lines that are left for bars, messages and the prompt.
const LEFT: usize = 8;

/// A view that is drawn until it is dropped.
pub(crate) struct Live {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Begins to draw. `status` is a line of what the store does not know.
    pub(crate) fn start(
        bars: &MultiProgress,
        directory: &Path,
        status: impl Fn() -> Option<String> + Send + 'static,
    ) -> Self {
        let block = bars.insert(0, ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            block.set_style(style);
        }
        let (end, ended) = channel();
        let directory = directory.to_owned();
        let thread = std::thread::spawn(move || {
            let mut wait = Duration::ZERO;
            while matches!(ended.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
                let from = Instant::now();
                let terminal = console::Term::stderr();
                let (rows, columns) = terminal.size();
                // A store that cannot be read for a moment is shown again when it can; the engine itself says what is wrong.
                if let Ok(results) = tiltmeter_run::analyse(&directory) {
                    let height = usize::from(rows).saturating_sub(LEFT).max(3);
                    let mut lines = tiltmeter_report::live_lines(&results, usize::from(columns), height);
                    lines.extend(status());
                    block.set_message(lines.join("\n"));
                }
                wait = LOOK_EVERY.max(from.elapsed() * LONGEST_SHARE);
            }
            // The table that follows says it all.
            block.finish_and_clear();
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A view that failed has shown less; nothing else hangs on it.
            let _ = thread.join();
        }
    }
}
