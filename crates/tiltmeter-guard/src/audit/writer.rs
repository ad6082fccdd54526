//! The thread that writes, and the queue before it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::chain::Chain;
use super::log::{Keeping, Log};
use super::{AuditError, Entry};
use crate::config::AuditSettings;
use crate::config::file::AuditFailure;

/// Records that are committed together at most.
const GROUP: usize = 512;
/// How long the writer waits before it tries again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an answer waits for its record at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// The record was not written, or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritten;

/// What the writer is handed.
enum Work {
    Record(Job),
    /// Nothing more is to be written.
    Stop,
}

struct Job {
    entry: Entry,
    since: Instant,
    written: Option<oneshot::Sender<()>>,
}

/// What is known of the log at any time.
#[derive(Debug, Default)]
pub(crate) struct AuditWatch {
    is_broken: AtomicBool,
    written: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicU64,
    /// Microseconds that the last group of records had waited, the oldest of them.
    lag_us: AtomicU64,
    is_stopping: AtomicBool,
}

impl AuditWatch {
    /// Whether records cannot be written at present.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag_us.load(Ordering::Relaxed))
    }
}

/// The log, for those who have something to record.
#[derive(Debug)]
pub(crate) struct Audit {
    queue: mpsc::Sender<Work>,
    watch: Arc<AuditWatch>,
    on_failure: AuditFailure,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Opens the log and begins to write.
    pub(crate) fn start(settings: &AuditSettings) -> Result<Self, AuditError> {
        let keeping = Keeping { file_bytes: settings.file_bytes, keep_files: settings.keep_files };
        let log = Log::open(&settings.folder, Chain::new(settings.key.as_ref()), keeping)?;
        Self::with(log, settings.queue, settings.on_failure)
    }

    fn with(log: Log, queue: usize, on_failure: AuditFailure) -> Result<Self, AuditError> {
        let (sender, receiver) = mpsc::channel(queue);
        let watch = Arc::new(AuditWatch::default());
        let writer = Writer { log, watch: Arc::clone(&watch), on_failure, unrecorded: 0 };
        let thread =
            std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(receiver))?;
        Ok(Self { queue: sender, watch, on_failure, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn watch(&self) -> &Arc<AuditWatch> {
        &self.watch
    }

    pub(crate) fn on_failure(&self) -> AuditFailure {
        self.on_failure
    }

    /// A record that nobody could hand over.
    pub(crate) fn lose_one(&self) {
        self.watch.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands a record over and waits until it is on disk.
    pub(crate) async fn write(&self, entry: Entry) -> Result<(), Unwritten> {
        let (told, written) = oneshot::channel();
        let work = async {
            self.queue.send(job(entry, Some(told))).await.map_err(|_| Unwritten)?;
            written.await.map_err(|_| Unwritten)
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(Unwritten))
    }

    /// Hands a record over, and waits for a place in the queue only; where the policy is to count, not even that.
    pub(crate) async fn push(&self, entry: Entry) -> Result<(), Unwritten> {
        let job = job(entry, None);
        match self.on_failure {
            AuditFailure::Refuse => {
                let sent = tokio::time::timeout(PATIENCE, self.queue.send(job)).await;
                sent.map_err(|_| Unwritten)?.map_err(|_| Unwritten)
            }
            AuditFailure::Count => self.queue.try_send(job).map_err(|_| {
                self.lose_one();
                Unwritten
            }),
        }
    }

    /// Hands a record over from where nothing can wait. Gives it back where the queue is full.
    pub(crate) fn try_push(&self, entry: Entry) -> Result<(), Entry> {
        match self.queue.try_reserve() {
            Ok(place) => {
                place.send(job(entry, None));
                Ok(())
            }
            Err(_) => Err(entry),
        }
    }

    /// Waits until all that was handed over is written, and closes the log.
    pub(crate) async fn stop(&self) {
        self.watch.is_stopping.store(true, Ordering::Relaxed);
        // Where nobody takes it, the writer has ended already.
        let _ = self.queue.send(Work::Stop).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if !matches!(tokio::task::spawn_blocking(|| thread.join()).await, Ok(Ok(()))) {
            tracing::error!(target: "tiltmeter::guard", "the audit log's writer failed");
        }
    }
}

fn job(entry: Entry, written: Option<oneshot::Sender<()>>) -> Work {
    Work::Record(Job { entry, since: Instant::now(), written })
}

struct Writer {
    log: Log,
    watch: Arc<AuditWatch>,
    on_failure: AuditFailure,
    /// Lost records that no gap tells of yet.
    unrecorded: u64,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let mut works = Vec::with_capacity(GROUP);
        // Records that did not fit into the queue are counted by those who had them.
        let mut counted = 0;
        let mut is_over = false;
        while !is_over && queue.blocking_recv_many(&mut works, GROUP) > 0 {
            let mut group = Vec::with_capacity(works.len());
            for work in works.drain(..) {
                match work {
                    Work::Record(job) => group.push(job),
                    Work::Stop => is_over = true,
                }
            }
            self.watch.waiting.store((group.len() + queue.len()) as u64, Ordering::Relaxed);
            let lost = self.watch.lost();
            self.unrecorded += lost - counted;
            counted = lost;
            counted += self.write(group);
            self.watch.waiting.store(queue.len() as u64, Ordering::Relaxed);
        }
    }

    /// Writes a group, or as the policy says. Gives how many of it were lost.
    fn write(&mut self, group: Vec<Job>) -> u64 {
        if group.is_empty() && self.unrecorded == 0 {
            return 0;
        }
        let mut is_first_try = true;
        loop {
            match self.commit(&group) {
                Ok(()) => {
                    if self.watch.is_broken.swap(false, Ordering::Relaxed) {
                        tracing::warn!(target: "tiltmeter::guard", "the audit log can be written again");
                    }
                    self.unrecorded = 0;
                    self.watch.written.fetch_add(group.len() as u64, Ordering::Relaxed);
                    let oldest = group.iter().map(|job| job.since.elapsed()).max().unwrap_or_default();
                    let lag = u64::try_from(oldest.as_micros()).unwrap_or(u64::MAX);
                    self.watch.lag_us.store(lag, Ordering::Relaxed);
                    for told in group.into_iter().filter_map(|job| job.written) {
                        // Whoever no longer waits has answered already.
                        let _ = told.send(());
                    }
                    return 0;
                }
                Err(error) => {
                    if !self.watch.is_broken.swap(true, Ordering::Relaxed) {
                        tracing::error!(target: "tiltmeter::guard", error = %error, "the audit log cannot be written");
                    }
                }
            }
            let gives_up = match self.on_failure {
                AuditFailure::Refuse => self.watch.is_stopping.load(Ordering::Relaxed),
                AuditFailure::Count => true,
            };
            if gives_up && !is_first_try {
                let lost = group.len() as u64;
                self.watch.lost.fetch_add(lost, Ordering::Relaxed);
                self.unrecorded += lost;
                tracing::error!(target: "tiltmeter::guard", lost, "records of the audit log were lost");
                return lost;
            }
            is_first_try = false;
            std::thread::sleep(PAUSE);
        }
    }

    fn commit(&mut self, group: &[Job]) -> Result<(), AuditError> {
        let gap = (self.unrecorded > 0)
            .then(|| Entry::new("gap", "", json!({ "lost": self.unrecorded }).to_string()));
        let entries: Vec<&Entry> = gap.iter().chain(group.iter().map(|job| &job.entry)).collect();
        self.log.commit(&entries)
    }
}

#[cfg(test)]
mod tests;
