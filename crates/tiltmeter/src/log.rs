//! `--log` and `--otlp`: what happens during a start, for machines. One JSON line for each request to a model.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use tiltmeter_guard::telemetry::Telemetry;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::exit::Failure;
#[cfg(feature = "otlp")]
use crate::otlp::Collector;
use crate::output;

#[derive(Args, Debug, Default)]
pub(crate) struct LogArguments {
    /// Append one JSON line for each request to a model, with OpenTelemetry's names, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Send spans to an OpenTelemetry collector, and a guard's verdicts as events: its address of OTLP over HTTP
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

/// Logs while it lives.
pub(crate) struct Log {
    file: Option<(PathBuf, LogFile)>,
    #[cfg(feature = "otlp")]
    collector: Option<Collector>,
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
        let collector = arguments.otlp.as_deref().map(Collector::at).transpose()?;
        let log = Self {
            file,
            #[cfg(feature = "otlp")]
            collector,
        };
        log.install()?;
        Ok(log)
    }

    /// Who is told what a gateway does.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "only the feature has somebody to tell"
        )
    )]
    pub(crate) fn telemetry(&self) -> Result<Option<Arc<dyn Telemetry>>, Failure> {
        #[cfg(feature = "otlp")]
        return self.collector.as_ref().map(Collector::telemetry).transpose();
        #[cfg(not(feature = "otlp"))]
        Ok(None)
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
        let spans = self.collector.as_ref().map(|collector| collector.layer().with_filter(ours()));
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
        if let Some(lost) = self.collector.as_ref().and_then(Collector::end) {
            output::note(&format!("warning: {lost}"));
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
