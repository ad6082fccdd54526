//! The gateway's figures, by the names that are documented. All names are here.

mod judging;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::audit::AuditWatch;
use crate::board::{Board, BoardSnapshot, Counted};

/// What `/metrics` is served as.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values of labels. They come from the configuration and from fixed lists, never from requests.
type Labels = Vec<(&'static str, String)>;

type Histograms = Family<Labels, Histogram>;

/// Upper bounds in seconds, from what the gateway adds to what an answer takes.
const FINE: [f64; 12] = [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 0.25, 1.0];
/// The bounds that OpenTelemetry advises for durations of models' operations.
const COARSE: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const SHOTS: [f64; 12] = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

fn fine() -> Histogram {
    Histogram::new(FINE)
}

fn coarse() -> Histogram {
    Histogram::new(COARSE)
}

/// The figures.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// What the live page shows of the same.
    pub(crate) board: Board,
    registry: Registry,
    requests: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    overhead: Histograms,
    detector_duration: Histograms,
    verdicts: Family<Labels, Counter>,
    detector_errors: Family<Labels, Counter>,
    unchecked: Family<Labels, Counter>,
    fail_open: Counter,
    context_shots: Histogram,
    examples_scanned: Counter,
    examples_flagged: Counter,
    examples_quarantined: Counter,
    prefix_changes: Counter,
    stream_holdback: Histogram,
    stream_cut: Counter,
    stream_unchecked_bytes: Counter,
    audit_records: Family<Labels, Counter>,
    audit_lag: Gauge<f64, AtomicU64>,
    audit_waiting: Gauge,
    duration: Histograms,
    first_chunk: Histograms,
    /// Of judges, drift, and what detectors keep.
    pub(crate) judging: judging::JudgingMetrics,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            board: Board::new(),
            requests: Family::default(),
            refusals: Family::default(),
            overhead: Histograms::new_with_constructor(fine),
            detector_duration: Histograms::new_with_constructor(fine),
            verdicts: Family::default(),
            detector_errors: Family::default(),
            unchecked: Family::default(),
            fail_open: Counter::default(),
            context_shots: Histogram::new(SHOTS),
            examples_scanned: Counter::default(),
            examples_flagged: Counter::default(),
            examples_quarantined: Counter::default(),
            prefix_changes: Counter::default(),
            stream_holdback: coarse(),
            stream_cut: Counter::default(),
            stream_unchecked_bytes: Counter::default(),
            audit_records: Family::default(),
            audit_lag: Gauge::default(),
            audit_waiting: Gauge::default(),
            duration: Histograms::new_with_constructor(coarse),
            first_chunk: Histograms::new_with_constructor(coarse),
            judging: judging::JudgingMetrics::new(),
            registry: Registry::default(),
        };
        metrics.register(&mut registry);
        Self { registry, ..metrics }
    }

    fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix("tiltmeter_guard");
        own.register("requests", "Requests, by route, status and how they ended", self.requests.clone());
        own.register("refusals", "Answers of the gateway's own, by code", self.refusals.clone());
        own.register_with_unit(
            "overhead",
            "What the gateway adds to a request, by phase",
            Unit::Seconds,
            self.overhead.clone(),
        );
        own.register_with_unit(
            "detector_duration",
            "How long detectors took",
            Unit::Seconds,
            self.detector_duration.clone(),
        );
        own.register("verdicts", "What detectors said, and what was done", self.verdicts.clone());
        own.register(
            "detector_errors",
            "Failures of detectors, and what they mean for requests",
            self.detector_errors.clone(),
        );
        own.register(
            "unchecked",
            "Checks that were not done, by detector and reason",
            self.unchecked.clone(),
        );
        own.register("fail_open", "Requests that went on though a check failed", self.fail_open.clone());
        own.register("context_shots", "Examples in contexts", self.context_shots.clone());
        own.register("examples_scanned", "Examples in inspected contexts", self.examples_scanned.clone());
        own.register("examples_flagged", "Examples that were flagged", self.examples_flagged.clone());
        own.register("examples_quarantined", "Examples that were cut out", self.examples_quarantined.clone());
        own.register(
            "prefix_changes",
            "Requests whose beginning was changed, so that providers' caches miss it",
            self.prefix_changes.clone(),
        );
        own.register_with_unit(
            "stream_holdback",
            "How long pieces of checked answers were held back, the longest of each",
            Unit::Seconds,
            self.stream_holdback.clone(),
        );
        own.register("stream_cut", "Answers that a check ended", self.stream_cut.clone());
        own.register_with_unit(
            "stream_unchecked",
            "Bytes of answers that no check saw before they were given",
            Unit::Bytes,
            self.stream_unchecked_bytes.clone(),
        );
        own.register("audit_records", "Records of the audit log, by state", self.audit_records.clone());
        own.register_with_unit(
            "audit_lag",
            "How long the records that were written last had waited",
            Unit::Seconds,
            self.audit_lag.clone(),
        );
        own.register("audit_waiting", "Records that wait to be written", self.audit_waiting.clone());
        self.judging.register(own);
        registry.register_with_unit(
            "gen_ai_client_operation_duration",
            "From a request's beginning to the end of its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "gen_ai_client_operation_time_to_first_chunk",
            "From a request's beginning to the first piece of its answer",
            Unit::Seconds,
            self.first_chunk.clone(),
        );
    }

    /// What the live page shows.
    pub(crate) fn snapshot(&self, now: Timestamp) -> BoardSnapshot {
        let counted = Counted {
            failed_open: self.fail_open.get(),
            cut: self.stream_cut.get(),
            unchecked_bytes: self.stream_unchecked_bytes.get(),
        };
        self.board.snapshot(now, counted)
    }

    pub(crate) fn request(&self, route: &str, status: Option<u16>, ended: &'static str) {
        self.board.ended(route, status, ended);
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let labels = vec![("route", route.to_owned()), ("status", status), ("ended", ended.to_owned())];
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn refusal(&self, code: &'static str) {
        self.board.refused(code);
        self.refusals.get_or_create(&vec![("code", code.to_owned())]).inc();
    }

    pub(crate) fn overhead(&self, phase: &'static str, took: Duration) {
        self.overhead.get_or_create(&vec![("phase", phase.to_owned())]).observe(took.as_secs_f64());
    }

    pub(crate) fn detector(&self, detector: &str, took: Duration) {
        self.detector_duration
            .get_or_create(&vec![("detector", detector.to_owned())])
            .observe(took.as_secs_f64());
    }

    pub(crate) fn verdict(&self, detector: &str, verdict: &'static str, action: &str) {
        let labels = vec![
            ("detector", detector.to_owned()),
            ("verdict", verdict.to_owned()),
            ("action", action.to_owned()),
        ];
        self.verdicts.get_or_create(&labels).inc();
    }

    pub(crate) fn detector_error(&self, detector: &str, policy: &'static str) {
        let labels = vec![("detector", detector.to_owned()), ("policy", policy.to_owned())];
        self.detector_errors.get_or_create(&labels).inc();
    }

    pub(crate) fn unchecked(&self, detector: &str, reason: &'static str) {
        self.board.unchecked(detector, reason);
        self.unchecked
            .get_or_create(&vec![("detector", detector.to_owned()), ("reason", reason.to_owned())])
            .inc();
    }

    pub(crate) fn failed_open(&self) {
        self.fail_open.inc();
    }

    pub(crate) fn examples(&self, found: usize, flagged: usize) {
        self.context_shots.observe(found as f64);
        self.examples_scanned.inc_by(found as u64);
        self.examples_flagged.inc_by(flagged as u64);
    }

    pub(crate) fn quarantined(&self, examples: usize) {
        self.examples_quarantined.inc_by(examples as u64);
        self.prefix_changes.inc();
    }

    pub(crate) fn stream(&self, held_back: Option<Duration>, is_cut: bool, unchecked: u64) {
        if let Some(held_back) = held_back {
            self.stream_holdback.observe(held_back.as_secs_f64());
        }
        if is_cut {
            self.stream_cut.inc();
        }
        self.stream_unchecked_bytes.inc_by(unchecked);
    }

    /// `first` and `total` are counted from the request's beginning.
    pub(crate) fn answered(&self, upstream: &str, first: Option<Duration>, total: Duration) {
        let labels = vec![("upstream", upstream.to_owned())];
        self.duration.get_or_create(&labels).observe(total.as_secs_f64());
        if let Some(first) = first {
            self.first_chunk.get_or_create(&labels).observe(first.as_secs_f64());
        }
    }

    /// All figures as text.
    pub(crate) fn text(&self, audit: Option<&AuditWatch>) -> String {
        if let Some(audit) = audit {
            let set = |state: &str, count| {
                let counter = self.audit_records.get_or_create_owned(&vec![("state", state.to_owned())]);
                counter.inner().store(count, std::sync::atomic::Ordering::Relaxed);
            };
            set("written", audit.written());
            set("lost", audit.lost());
            self.audit_lag.set(audit.lag().as_secs_f64());
            self.audit_waiting.set(i64::try_from(audit.waiting()).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
