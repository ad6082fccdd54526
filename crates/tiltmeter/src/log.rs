//! `--log` and `--otlp`: what happens during a start, for machines. One JSON line for each request to a model.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::exit::Failure;
use crate::output;

#[derive(Args, Debug, Default)]
pub(crate) struct LogArguments {
    /// Append one JSON line for each request to a model, with OpenTelemetry's names, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Send the same as spans to an OpenTelemetry collector: its address of OTLP over HTTP
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

/// Logs while it lives.
pub(crate) struct Log {
    file: Option<(PathBuf, LogFile)>,
    #[cfg(feature = "otlp")]
    spans: Option<otlp::Spans>,
}

impl Log {
    /// Starts logging, where it is asked for. Once in a process.
    pub(crate) fn start(arguments: &LogArguments) -> Result<Self, Failure> {
        let file = match &arguments.log {
            Some(path) => {
                let file = fs_err::OpenOptions::new().create(true).append(true).open(path);
                let file = file.map_err(Failure::configuration)?.into_parts().0;
                Some((path.clone(), LogFile::new(file)))
            }
            None => None,
        };
        #[cfg(feature = "otlp")]
        let spans = arguments.otlp.as_deref().map(otlp::Spans::to).transpose()?;
        let log = Self {
            file,
            #[cfg(feature = "otlp")]
            spans,
        };
        log.install()?;
        Ok(log)
    }

    fn install(&self) -> Result<(), Failure> {
        // What libraries say about their own work is not ours to tell.
        let ours = || Targets::new().with_target("tiltmeter", LevelFilter::INFO);
        let lines = self.file.as_ref().map(|(_, file)| {
            tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_span_events(FmtSpan::CLOSE)
                .with_writer(file.clone())
                .with_filter(ours())
        });
        #[cfg(feature = "otlp")]
        let spans = self.spans.as_ref().map(|spans| spans.layer().with_filter(ours()));
        #[cfg(not(feature = "otlp"))]
        let spans = None::<tracing_subscriber::layer::Identity>;
        if lines.is_none() && spans.is_none() {
            return Ok(());
        }
        let subscriber = tracing_subscriber::registry().with(lines).with(spans);
        tracing::subscriber::set_global_default(subscriber).map_err(Failure::failed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some((path, file)) = &self.file
            && let Some(error) = file.end()
        {
            output::note(&format!("warning: the log {} is not complete: {error}", path.display()));
        }
        #[cfg(feature = "otlp")]
        if let Some(error) = self.spans.as_ref().and_then(otlp::Spans::end) {
            output::note(&format!("warning: not all spans reached the collector: {error}"));
        }
    }
}

/// A file that many threads append lines to, and that remembers what went wrong first: whoever logs does not hear of
/// it.
#[derive(Clone)]
struct LogFile(Arc<Mutex<Lines>>);

struct Lines {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl LogFile {
    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(Lines { file: BufWriter::new(file), failed: None })))
    }

    /// Writes out what is left, and gives what went wrong first.
    fn end(&self) -> Option<io::Error> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = lines.file.flush();
        lines.failed.take().or(flushed.err())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.failed.is_none()
            && let Err(error) = lines.file.write_all(line)
        {
            lines.failed = Some(error);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(feature = "otlp")]
mod otlp {
    use std::sync::{Arc, OnceLock};
    use std::time::Duration;

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
    use tracing_opentelemetry::OpenTelemetryLayer;
    use tracing_subscriber::registry::LookupSpan;

    use crate::exit::Failure;

    /// Sends spans to a collector in batches, from a thread of its own.
    pub(super) struct Spans {
        provider: SdkTracerProvider,
        failed: Arc<OnceLock<String>>,
    }

    impl Spans {
        pub(super) fn to(url: &str) -> Result<Self, Failure> {
            // The exporter's client takes the process's; whoever set it first is right.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let address = format!("{}/v1/traces", url.trim_end_matches('/').trim_end_matches("/v1/traces"));
            let exporter = SpanExporter::builder()
                .with_http()
                .with_endpoint(address)
                .build()
                .map_err(|error| Failure::configuration(format!("--otlp: {error}")))?;
            let failed = Arc::new(OnceLock::new());
            let exporter = Telling { exporter, failed: failed.clone() };
            let resource = Resource::builder().with_service_name("tiltmeter").build();
            let provider =
                SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
            Ok(Self { provider, failed })
        }

        pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
        where
            S: tracing::Subscriber + for<'span> LookupSpan<'span>,
        {
            tracing_opentelemetry::layer().with_tracer(self.provider.tracer("tiltmeter"))
        }

        /// Sends what is left, and gives what went wrong first.
        pub(super) fn end(&self) -> Option<String> {
            let ended = self.provider.shutdown();
            self.failed.get().cloned().or_else(|| ended.err().map(|error| error.to_string()))
        }
    }

    /// Remembers what went wrong first: the exporter's thread tells nobody.
    #[derive(Debug)]
    struct Telling {
        exporter: SpanExporter,
        failed: Arc<OnceLock<String>>,
    }

    impl opentelemetry_sdk::trace::SpanExporter for Telling {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let result = self.exporter.export(batch).await;
            if let Err(error) = &result {
                let _ = self.failed.set(error.to_string());
            }
            result
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
}
