//! One request, from its head to the beginning of its answer.

mod sending;

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::audit::{Decision, Entry};
use crate::config::Route;
use crate::config::file::{AuditFailure, AuditWhen, ClientLeaves};
use crate::conversation::{self, Protocol, RequestView};
use crate::endpoint::Endpoint;
use crate::finish::Finish;
use crate::gateway::{Face, Live, Shared};
use crate::head::{self, Client};
use crate::inspecting::Found;
use crate::inspection::UncheckedReason;
use crate::looks::Looks;
use crate::metrics;
use crate::names::REQUEST_HEADER;
use crate::page;
use crate::policy::{self, Deed};
use crate::refusal::Refusal;
use crate::relay::Leaving;
use crate::telemetry::Watch;
use crate::uninspected;

use self::sending::Sending;

/// Bodies from this size on are not parsed where other requests would wait for it.
const LARGE: usize = 128 << 10;

/// Answers a request.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    face: Face,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let request = match face {
        Face::Admin => match page::answer(&shared, request).await {
            Ok(response) => return Ok(response),
            Err(request) => request,
        },
        Face::Only | Face::Clients => request,
    };
    let endpoint = Endpoint::of(request.method(), request.uri().path());
    let protocol = match endpoint {
        Ok(Endpoint::Model { protocol, .. }) => protocol,
        // Only errors are shaped by it: Anthropic's further addresses are below that of its messages.
        _ if request.uri().path().starts_with("/v1/messages") => Protocol::Messages,
        _ => Protocol::Other,
    };
    let counted = Arc::clone(&shared);
    let result = match (endpoint, face) {
        (Err(refusal), _) => Err(refusal),
        (Ok(Endpoint::Health), _) => Ok(Response::new(Answer::text("ok\n"))),
        (Ok(Endpoint::Ready), _) if shared.is_ready() => Ok(Response::new(Answer::text("ready\n"))),
        (Ok(Endpoint::Ready), _) => Err(Refusal::not_ready()),
        (Ok(Endpoint::Metrics), Face::Only | Face::Admin) => {
            let mut response = Response::new(Answer::text(shared.figures()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            Ok(response)
        }
        (Ok(Endpoint::Metrics), Face::Clients) | (Ok(_), Face::Admin) => Err(Refusal::no_address()),
        (Ok(endpoint), _) => forward(shared, endpoint, protocol, request).await,
    };
    Ok(result.unwrap_or_else(|refusal| {
        counted.metrics.refusal(refusal.code);
        refusal.response(protocol)
    }))
}

async fn forward(
    shared: Arc<Shared>,
    endpoint: Endpoint,
    protocol: Protocol,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let live = shared.live();
    let (parts, body) = request.into_parts();
    // Before anything is recorded: whoever may not ask cannot fill the log.
    head::check(&parts.headers)?;
    let client = Client::of(&parts.headers, &live.settings)?;
    let exchange = Arc::new(Exchange {
        id: shared.request_id(),
        path: parts.uri.path().to_owned(),
        started: Instant::now(),
        shared,
        live,
        protocol,
        client,
    });
    let mut finish = Finish::new(&exchange.shared, &exchange.id, exchange.started);
    if let (Some(telemetry), Endpoint::Model { .. }) = (&exchange.shared.telemetry, endpoint) {
        finish.watch = Some(Box::new(Watch::new(telemetry, &parts.headers, protocol, &exchange.path)));
    }
    let result = match exchange.request(endpoint, &parts, body).await {
        Ok(wanted) => exchange.go_on(wanted, parts, &mut finish).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = result.unwrap_or_else(|refusal| {
        exchange.shared.metrics.refusal(refusal.code);
        finish.refuse(&refusal);
        refusal.response(protocol)
    });
    if let Ok(id) = HeaderValue::from_str(&exchange.id) {
        response.headers_mut().insert(REQUEST_HEADER, id);
    }
    Ok(response)
}

struct Exchange {
    shared: Arc<Shared>,
    live: Arc<Live>,
    id: String,
    path: String,
    protocol: Protocol,
    client: Client,
    started: Instant,
}

/// What is asked for, once the body is read as far as it is.
struct Wanted {
    body: WantedBody,
    /// The model and where the body names it.
    model: Option<(String, Range<usize>)>,
    /// The upstream, by its place.
    server: usize,
    route: Option<Arc<Route>>,
    /// Whether the route's detectors are for it.
    is_inspected: bool,
    /// When the body was there.
    since: Instant,
}

enum WantedBody {
    Read(Bytes),
    PassedThrough(Limited<Incoming>),
}

impl Exchange {
    /// Reads what is asked for.
    async fn request(&self, endpoint: Endpoint, parts: &Parts, body: Incoming) -> Result<Wanted, Refusal> {
        let settings = &self.live.settings;
        let limit = settings.limits.body_bytes;
        let declared =
            parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|bytes| bytes > limit) {
            return Err(Refusal::too_large(limit));
        }
        if self.shared.must_refuse() {
            return Err(Refusal::no_audit());
        }
        let body = Limited::new(body, limit);
        let Endpoint::Model { protocol, is_bare_prompt } = endpoint else {
            uninspected::check(settings.uninspected, &parts.method)?;
            let server = self.server(None)?;
            let body = WantedBody::PassedThrough(body);
            return Ok(Wanted {
                body,
                model: None,
                server,
                route: None,
                is_inspected: false,
                since: Instant::now(),
            });
        };
        let body = self.read(body).await?;
        let since = Instant::now();
        let model = conversation::model(&body).map_err(|error| Refusal::bad_body(error.to_string()))?;
        let model = model.map(|(name, literal)| (name.into_owned(), literal));
        let name = model.as_ref().map(|(name, _)| name.as_str());
        let server = self.server(name)?;
        let route = settings.route(name.unwrap_or("")).cloned();
        let is_inspected = protocol != Protocol::Other || is_bare_prompt;
        Ok(Wanted { body: WantedBody::Read(body), model, server, route, is_inspected, since })
    }

    fn server(&self, model: Option<&str>) -> Result<usize, Refusal> {
        let settings = &self.live.settings;
        let found = settings
            .upstream(model)
            .ok_or_else(|| model.map_or_else(Refusal::no_upstream, Refusal::no_model))?;
        let upstream = settings.upstreams.get(found).ok_or_else(Refusal::no_upstream)?;
        self.client.check_for(upstream)?;
        Ok(found)
    }

    async fn read(&self, body: Limited<Incoming>) -> Result<Bytes, Refusal> {
        let limits = &self.live.settings.limits;
        match tokio::time::timeout(limits.body_time, body.collect()).await {
            Err(_) => Err(Refusal::slow_body()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limits.body_bytes)),
            Ok(Err(_)) => Err(Refusal::broken_body()),
            Ok(Ok(body)) => Ok(body.to_bytes()),
        }
    }

    /// Inspects, decides, records and sends.
    async fn go_on(
        self: &Arc<Self>,
        mut wanted: Wanted,
        parts: Parts,
        finish: &mut Finish,
    ) -> Result<Response<Answer>, Refusal> {
        let route = wanted.route.clone();
        finish.route = route.as_ref().map_or_else(String::new, |route| route.name.clone());
        if let Some(watch) = &mut finish.watch {
            watch.model = wanted.model.as_ref().map(|(model, _)| model.clone());
        }
        let mut found = Found::default();
        let mut deed = Deed::default();
        let mut view = None;
        let original = match &wanted.body {
            WantedBody::Read(body) => Some(body.clone()),
            WantedBody::PassedThrough(_) => None,
        };
        if let WantedBody::PassedThrough(_) = &wanted.body
            && uninspected::is_write(&parts.method)
        {
            found.inspection.unchecked.push(uninspected::unchecked(&parts.headers));
            self.shared.metrics.unchecked(uninspected::ALL, UncheckedReason::Uninspected.name());
        }
        if let (Some(route), Some(body), true) = (&route, &original, wanted.is_inspected)
            && !route.detectors.is_empty()
        {
            view = self.view(body).await?;
            found = self.live.detectors.run(route, view.as_ref(), body.len()).await;
            let literal = wanted.model.as_ref().map(|(_, literal)| literal);
            deed = policy::decide(route, &found, view.as_ref(), literal);
            self.tell(route, &found, &deed);
            if let Some(watch) = &mut finish.watch {
                watch.found(&found);
            }
            let content = self.live.settings.audit.as_ref().and_then(|audit| audit.content.as_ref());
            self.shared.metrics.board.inspected(route, &found, &deed, view.as_deref().zip(content));
        }
        if let Some(changed) = deed.body.take() {
            wanted.body = WantedBody::Read(changed);
        }
        let mut refusal = deed.refusal.clone();
        if let Some(model) = &deed.fallback {
            match self.server(Some(model)) {
                Ok(server) => wanted.server = server,
                Err(wrong) => refusal = Some(wrong),
            }
        }
        let live = Arc::clone(&self.live);
        let server = live.servers.get(wanted.server).ok_or_else(Refusal::no_upstream)?;
        finish.upstream.clone_from(&server.upstream.name);
        if let Some(watch) = &mut finish.watch {
            watch.goes_to(&server.upstream);
        }
        let looks = route.as_ref().filter(|_| wanted.is_inspected);
        let looks = looks.map(|route| Looks::of(route, &self.id, found.inspection.risk.level));
        let looks = looks.unwrap_or_default();
        let entry = self.decision(&wanted, &found, &deed, original.as_ref(), refusal.as_ref(), &looks);
        if let Some(refusal) = refusal {
            self.record(entry).await?;
            return Err(refusal);
        }
        let question = looks.question(self.protocol, original.as_ref(), view);
        finish.sampled = looks.sampled(&self.id, &question);
        let policy = route.as_ref().map_or(ClientLeaves::Cancel, |route| route.client_leaves);
        let sending = Sending {
            exchange: Arc::clone(self),
            server: wanted.server,
            output: looks.output,
            question,
            tag: deed.tag,
            leaving: Leaving { policy, tasks: self.shared.tasks.clone() },
            finish: finish.take(),
        };
        self.shared.metrics.overhead("prepare", wanted.since.elapsed());
        let work = sending.run(parts, wanted.body, entry);
        match policy {
            ClientLeaves::Cancel => work.await,
            // The task goes on where this future is dropped.
            ClientLeaves::Finish => {
                self.shared.tasks.spawn(work).await.unwrap_or_else(|_| Err(Refusal::unreachable()))
            }
        }
    }

    /// The conversation; `None` where the protocol has none.
    async fn view(&self, body: &Bytes) -> Result<Option<Arc<RequestView>>, Refusal> {
        if self.protocol == Protocol::Other {
            return Ok(None);
        }
        let (protocol, bytes) = (self.protocol, body.clone());
        let view = if body.len() < LARGE {
            RequestView::read(protocol, bytes)
        } else {
            let read = tokio::task::spawn_blocking(move || RequestView::read(protocol, bytes)).await;
            read.map_err(|_| Refusal::bad_body("the body cannot be read"))?
        };
        // What cannot be read here may be read behind, and by others than who looks at it now.
        view.map(|view| Some(Arc::new(view))).map_err(|error| Refusal::bad_body(error.to_string()))
    }

    /// Counts and logs what was found and is done.
    fn tell(&self, route: &Route, found: &Found, deed: &Deed) {
        let metrics = &self.shared.metrics;
        let action = if deed.done.is_empty() { "none".to_owned() } else { deed.done.join("+") };
        metrics.overhead("inspect", found.took);
        metrics.examples(found.inspection.examples, found.inspection.flagged.len());
        let mut has_failed = false;
        for finding in &found.findings {
            let name = &finding.detector.name;
            metrics.detector(name, finding.took);
            if let Some(risk) = finding.risk {
                metrics.verdict(name, risk.level.name(), &action);
            }
            if finding.failure.is_some() {
                has_failed = true;
                metrics.detector_error(name, finding.detector.on_failure.name());
            }
        }
        for unchecked in &found.inspection.unchecked {
            metrics.unchecked(&unchecked.detector, unchecked.reason.name());
        }
        let level = found.inspection.risk.level.name();
        if has_failed && deed.refusal.is_none() {
            metrics.failed_open();
            tracing::warn!(target: "tiltmeter::guard", request = %self.id, route = %route.name, "a check failed, the request goes on");
        }
        if deed.done.contains(&"log") {
            let score = found.inspection.risk.clamped();
            tracing::warn!(target: "tiltmeter::guard", request = %self.id, route = %route.name, risk = level, score, actions = %action, "a context was found risky");
        }
        if deed.quarantined > 0 {
            metrics.quarantined(deed.quarantined);
        }
    }

    /// The record of what is decided, where a log is kept.
    fn decision(
        &self,
        wanted: &Wanted,
        found: &Found,
        deed: &Deed,
        original: Option<&Bytes>,
        refusal: Option<&Refusal>,
        looks: &Looks,
    ) -> Option<Entry> {
        self.shared.audit.as_ref()?;
        let settings = self.live.settings.audit.as_ref();
        let content = settings.and_then(|audit| audit.content.as_ref()).zip(original);
        let hash = |body: &Bytes| blake3::hash(body).to_hex().to_string();
        let forwarded = match &wanted.body {
            WantedBody::Read(body) if Some(body) != original => Some(hash(body)),
            _ => None,
        };
        let decision = Decision {
            path: &self.path,
            model: wanted.model.as_ref().map(|(model, _)| model.as_str()),
            route: wanted.route.as_ref().map(|route| route.name.as_str()),
            upstream: self.live.settings.upstreams.get(wanted.server).map(|upstream| upstream.name.as_str()),
            client: self.client.id.as_deref(),
            request_bytes: original.map(|body| body.len() as u64),
            request_hash: original.map(hash),
            forwarded_hash: forwarded,
            risk: found.inspection.risk.level.name(),
            score: found.inspection.risk.clamped(),
            reasons: &found.inspection.reasons,
            examples: found.inspection.examples,
            flagged: Decision::flagged(&found.inspection),
            unchecked: &found.inspection.unchecked,
            actions: &deed.done,
            not_done: &deed.not_done,
            dry_run: wanted.route.as_ref().is_some_and(|route| route.dry_run),
            judging: looks.judging(),
            refusal: refusal.map(|refusal| refusal.code),
            inspection_us: u64::try_from(found.took.as_micros()).unwrap_or(u64::MAX),
        };
        let content = content.map(|(redaction, body)| redaction.apply(body));
        Some(decision.entry(&self.id, content))
    }

    /// Records, and waits for it as the configuration says.
    async fn record(&self, entry: Option<Entry>) -> Result<(), Refusal> {
        let (Some(audit), Some(entry)) = (&self.shared.audit, entry) else { return Ok(()) };
        let settings = self.live.settings.audit.as_ref();
        let written = match settings.map(|audit| audit.when) {
            Some(AuditWhen::BeforeAnswer) => audit.write(entry).await,
            _ => audit.push(entry).await,
        };
        match (written, settings.map(|audit| audit.on_failure)) {
            (Err(_), Some(AuditFailure::Refuse) | None) => Err(Refusal::no_audit()),
            _ => Ok(()),
        }
    }
}
