//! How many spans and events there were, and how many reached the collector: the exporters' queues drop what does not fit,
//! and their threads tell nobody what went wrong.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

/// Counts spans and events, together. Its clones count the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(Arc<Sums>);

#[derive(Debug, Default)]
struct Sums {
    ended: AtomicU64,
    arrived: AtomicU64,
    failed: OnceLock<String>,
}

/// What did not reach the collector.
#[derive(Debug)]
pub(crate) struct Lost {
    missing: u64,
    ended: u64,
    why: Option<String>,
}

impl Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, ended, why } = self;
        let why = why.as_deref().unwrap_or("there were more than its queue holds");
        write!(formatter, "{missing} of {ended} spans and events did not reach the collector: {why}")
    }
}

impl Counts {
    /// To be asked once the exporters have ended, with what they said then.
    pub(super) fn lost(&self, at_the_end: Option<OTelSdkError>) -> Option<Lost> {
        let ended = self.0.ended.load(Ordering::Relaxed);
        let missing = ended.saturating_sub(self.0.arrived.load(Ordering::Relaxed));
        let why = self.0.failed.get().cloned().or_else(|| at_the_end.map(|error| error.to_string()));
        (missing > 0).then_some(Lost { missing, ended, why })
    }

    fn exported(&self, count: usize, result: OTelSdkResult) -> OTelSdkResult {
        match &result {
            Ok(()) => {
                self.0.arrived.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) => {
                let _ = self.0.failed.set(error.to_string());
            }
        }
        result
    }
}

impl SpanProcessor for Counts {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, _: SpanData) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Counts {
    fn emit(&self, _: &mut SdkLogRecord, _: &InstrumentationScope) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

/// An exporter that counts what arrives.
#[derive(Debug)]
pub(super) struct Counted<E> {
    exporter: E,
    counts: Counts,
}

impl<E> Counted<E> {
    pub(super) fn new(exporter: E, counts: &Counts) -> Self {
        Self { exporter, counts: counts.clone() }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.counts.exported(count, self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        self.counts.exported(count, self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
