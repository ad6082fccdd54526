//! `--otlp`: what is sent to an OpenTelemetry collector, by OTLP over HTTP.

mod counted;
mod guard;

use std::sync::{Arc, OnceLock};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tiltmeter_guard::telemetry::Telemetry;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use self::counted::{Counted, Counts, Lost};
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
    counts: Counts,
}

impl Collector {
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        // The exporter's client takes the process's; whoever set it first is right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = url.trim_end_matches('/').trim_end_matches("/v1/traces").to_owned();
        let exporter = SpanExporter::builder().with_http().with_endpoint(format!("{base}/v1/traces")).build();
        let counts = Counts::default();
        let exporter = Counted::new(exporter.map_err(|error| wrong(&error))?, &counts);
        let spans = SdkTracerProvider::builder()
            .with_span_processor(counts.clone())
            .with_batch_exporter(exporter)
            .with_resource(resource())
            .build();
        Ok(Self { base, spans, events: OnceLock::new(), counts })
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
        let exporter = Counted::new(exporter.map_err(|error| wrong(&error))?, &self.counts);
        Ok(SdkLoggerProvider::builder()
            .with_log_processor(self.counts.clone())
            .with_batch_exporter(exporter)
            .with_resource(resource())
            .build())
    }

    /// Sends what is left, and tells what did not arrive.
    pub(crate) fn end(&self) -> Option<Lost> {
        let spans = self.spans.shutdown();
        let events = self.events.get().map_or(Ok(()), SdkLoggerProvider::shutdown);
        self.counts.lost(spans.and(events).err())
    }
}

fn wrong(error: &ExporterBuildError) -> Failure {
    Failure::configuration(format!("--otlp: {error}"))
}

fn resource() -> Resource {
    Resource::builder().with_service_name(NAME).build()
}
