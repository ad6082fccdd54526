//! The gateway as a whole: what its requests share, and how it listens.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::audit::{Audit, AuditError, Entry};
use crate::client::{Server, TlsError};
use crate::config::Settings;
use crate::config::file::AuditFailure;
use crate::drift::DriftSnapshot;
use crate::exchange;
use crate::inspecting::Detectors;
use crate::judging::Desk;
use crate::metrics::Metrics;
use crate::page::Page;
use crate::telemetry::Telemetry;

/// Settings, and what was built from them.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) settings: Settings,
    pub(crate) servers: Vec<Server>,
    pub(crate) detectors: Detectors,
}

impl Live {
    fn new(settings: Settings) -> Result<Self, GuardError> {
        let servers = settings.upstreams.iter().map(|upstream| Server::new(Arc::clone(upstream)));
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            detectors: Detectors::new(&settings),
            settings,
        })
    }
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    live: RwLock<Arc<Live>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) audit: Option<Audit>,
    pub(crate) metrics: Metrics,
    /// Where sampled answers are judged.
    pub(crate) desk: Desk,
    is_stopping: AtomicBool,
    /// Part of all ids of this process.
    started: u64,
    requests: AtomicU64,
    pub(crate) page: Page,
    /// Who is told of requests and verdicts.
    pub(crate) telemetry: Option<Arc<dyn Telemetry>>,
}

impl Shared {
    /// What a request begins with, and keeps.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether requests without a record are refused, and none can be written.
    pub(crate) fn must_refuse(&self) -> bool {
        self.audit
            .as_ref()
            .is_some_and(|audit| audit.on_failure() == AuditFailure::Refuse && audit.watch().is_broken())
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.must_refuse() && !self.is_stopping.load(Ordering::Relaxed)
    }

    /// How sampled answers fare.
    pub(crate) fn drift(&self) -> Vec<DriftSnapshot> {
        self.desk.drift(&self.live().settings)
    }

    /// All figures as text.
    pub(crate) fn figures(&self) -> String {
        let live = self.live();
        self.metrics.judging.look(&self.desk, &live.settings);
        self.metrics.text(self.audit.as_ref().map(|audit| &**audit.watch()))
    }

    /// Hands a record over from where nothing can wait; it is lost, and counted so, where it cannot be.
    pub(crate) fn hand_over(self: &Arc<Self>, entry: Entry) {
        let Some(audit) = &self.audit else { return };
        let Err(entry) = audit.try_push(entry) else { return };
        // The queue is full. Here is no place to wait.
        match (audit.on_failure(), tokio::runtime::Handle::try_current()) {
            (AuditFailure::Refuse, Ok(_)) => {
                let shared = Arc::clone(self);
                self.tasks.spawn(async move {
                    if let Some(audit) = &shared.audit
                        && audit.push(entry).await.is_err()
                    {
                        audit.lose_one();
                    }
                });
            }
            _ => audit.lose_one(),
        }
    }

    /// An id that no other request has.
    pub(crate) fn request_id(&self) -> String {
        format!("{:x}-{:x}", self.started, self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

/// Why a gateway cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Random bytes for the live page's sessions.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

/// A gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// Which of its addresses a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// Clients, and everything else where there is no other.
    Only,
    /// Clients.
    Clients,
    /// Whoever looks after the gateway.
    Admin,
}

impl Gateway {
    /// Makes a gateway; it does not listen yet.
    ///
    /// # Errors
    /// Where TLS cannot be set up, or the audit log cannot be opened.
    pub fn new(settings: Settings) -> Result<Self, GuardError> {
        Self::telling(settings, None)
    }

    /// Makes a gateway that tells somebody of requests to models and of verdicts on them.
    ///
    /// # Errors
    /// As [`Gateway::new`].
    pub fn telling(settings: Settings, telemetry: Option<Arc<dyn Telemetry>>) -> Result<Self, GuardError> {
        let audit = settings.audit.as_ref().map(Audit::start).transpose()?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Shared {
            live: RwLock::new(Arc::new(Live::new(settings)?)),
            tasks: TaskTracker::new(),
            audit,
            metrics: Metrics::new(),
            desk: Desk::default(),
            is_stopping: AtomicBool::new(false),
            started: u64::try_from(started.as_micros()).unwrap_or(0),
            requests: AtomicU64::new(0),
            page: Page::new()?,
            telemetry,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes other settings. Requests in flight keep theirs. Addresses, limits of connections and the audit log stay what
    /// they were at the start.
    ///
    /// # Errors
    /// Where TLS cannot be set up; the settings stay then.
    pub fn reload(&self, settings: Settings) -> Result<(), GuardError> {
        let live = Arc::new(Live::new(settings)?);
        *self.shared.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        Ok(())
    }

    /// How the sampled answers of each route fare that has them judged.
    pub fn drift(&self) -> Vec<DriftSnapshot> {
        self.shared.drift()
    }

    /// Serves until `stop` is ready, and then until requests in flight are done or the time for that is over.
    ///
    /// # Errors
    /// Where a listener fails for good.
    pub async fn serve(
        &self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let graceful = GracefulShutdown::new();
        let limits = self.shared.live().settings.limits;
        let places = Arc::new(Semaphore::new(limits.connections));
        {
            let face = if admin.is_some() { Face::Clients } else { Face::Only };
            let clients = self.accept(&listener, face, &graceful, &places);
            // Whoever looks must get in where clients have taken all places.
            let spare = Arc::new(Semaphore::new(16));
            let admins = async {
                match &admin {
                    Some(listener) => self.accept(listener, Face::Admin, &graceful, &spare).await,
                    None => std::future::pending().await,
                }
            };
            let mut stop = pin!(stop);
            tokio::select! {
                result = clients => result?,
                result = admins => result?,
                () = &mut stop => {}
            }
        }
        drop((listener, admin));
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        self.shared.tasks.close();
        let over = async {
            graceful.shutdown().await;
            self.shared.tasks.wait().await;
            self.shared.desk.settle().await;
        };
        if tokio::time::timeout(limits.grace, over).await.is_err() {
            tracing::warn!(target: "tiltmeter::guard", "requests in flight, or answers that were to be judged, were given up at the end of the grace");
        }
        self.shared.desk.give_up().await;
        if let Some(audit) = &self.shared.audit {
            audit.stop().await;
        }
        Ok(())
    }

    async fn accept(
        &self,
        listener: &TcpListener,
        face: Face,
        graceful: &GracefulShutdown,
        places: &Arc<Semaphore>,
    ) -> io::Result<()> {
        let limits = self.shared.live().settings.limits;
        loop {
            let Ok(place) = Arc::clone(places).acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_passing(&error) => continue,
                Err(error) => {
                    // No descriptors left, most likely: the connections that are there need time to end.
                    tracing::warn!(target: "tiltmeter::guard", error = %error, "cannot accept connections");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Small pieces of streams must not wait for one another; without it they are slower, not wrong.
            let _ = stream.set_nodelay(true);
            let shared = Arc::clone(&self.shared);
            let service = service_fn(move |request| exchange::answer(Arc::clone(&shared), face, request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_time)
                .max_headers(limits.headers)
                .max_header_size(limits.head_bytes)
                .max_buf_size(limits.head_bytes.max(64 << 10))
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(target: "tiltmeter::guard", error = %error, "a connection ended early");
                }
                drop(place);
            });
        }
    }
}

/// Whether only one connection is concerned.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
