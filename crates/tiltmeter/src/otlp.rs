//! `--otlp`: what is sent to an OpenTelemetry collector, by OTLP over HTTP.

mod guard;

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, SdkLoggerProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
use tiltmeter_guard::telemetry::Telemetry;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use self::guard::GuardTelemetry;
use crate::exit::Failure;

/// The name of what is sent, as its resource and its scope have it.
const NAME: &str = "tiltmeter";

/// Sends spans and events to a collector in batches, from threads of its own. What does not fit into their queues is lost.
pub(crate) struct Collector {
    /// Its address, without the part that names a signal.
    base: String,
    spans: SdkTracerProvider,
    events: OnceLock<SdkLoggerProvider>,
    failed: FirstFailure,
}

/// What went wrong first: the exporters' threads tell nobody.
type FirstFailure = Arc<OnceLock<String>>;

impl Collector {
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        // The exporter's client takes the process's; whoever set it first is right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = url.trim_end_matches('/').trim_end_matches("/v1/traces").to_owned();
        let exporter = SpanExporter::builder().with_http().with_endpoint(format!("{base}/v1/traces")).build();
        let failed = FirstFailure::default();
        let exporter = Telling { exporter: exporter.map_err(|error| wrong(&error))?, failed: failed.clone() };
        let spans =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        Ok(Self { base, spans, events: OnceLock::new(), failed })
    }

    /// For spans of requests that a run makes.
    pub(crate) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer().with_tracer(self.spans.tracer(NAME))
    }

    /// For what a gateway tells.
    pub(crate) fn telemetry(&self) -> Result<Arc<dyn Telemetry>, Failure> {
        let events = if let Some(events) = self.events.get() {
            events
        } else {
            let events = self.events()?;
            self.events.get_or_init(|| events)
        };
        Ok(Arc::new(GuardTelemetry::new(self.spans.tracer(NAME), events)))
    }

    fn events(&self) -> Result<SdkLoggerProvider, Failure> {
        let exporter =
            LogExporter::builder().with_http().with_endpoint(format!("{}/v1/logs", self.base)).build();
        let exporter =
            Telling { exporter: exporter.map_err(|error| wrong(&error))?, failed: self.failed.clone() };
        Ok(SdkLoggerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
    }

    /// Sends what is left, and gives what went wrong first.
    pub(crate) fn end(&self) -> Option<String> {
        let spans = self.spans.shutdown();
        let events = self.events.get().map_or(Ok(()), SdkLoggerProvider::shutdown);
        let ended = spans.and(events);
        self.failed.get().cloned().or_else(|| ended.err().map(|error| error.to_string()))
    }
}

fn wrong(error: &ExporterBuildError) -> Failure {
    Failure::configuration(format!("--otlp: {error}"))
}

fn resource() -> Resource {
    Resource::builder().with_service_name(NAME).build()
}

/// Remembers what went wrong first.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    failed: FirstFailure,
}

impl<E> Telling<E> {
    fn tell<T, Error: Display>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            let _ = self.failed.set(error.to_string());
        }
        result
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Telling<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.tell(self.exporter.export(batch).await)
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

impl opentelemetry_sdk::logs::LogExporter for Telling<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.tell(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
