//! The live page: what the gateway does and finds, for whoever looks after it. It is served at `server.admin` to those who
//! have the token, and loads nothing from anywhere else.

mod access;
mod document;
mod sections;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, LOCATION, SET_COOKIE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Serialize;

use self::access::Access;
use crate::answer::Answer;
use crate::board::BoardSnapshot;
use crate::drift::DriftSnapshot;
use crate::gateway::{GuardError, Shared};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing is loaded from anywhere but this server, nothing is framed, forms go here only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// What every answer carries.
const HEADERS: [(HeaderName, &str); 6] = [
    (HeaderName::from_static("content-security-policy"), POLICY),
    (HeaderName::from_static("cache-control"), "no-store"),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const HTML: &str = "text/html; charset=utf-8";

/// The longest form with a token.
const LONGEST_FORM: usize = 4096;
/// Time for it to arrive.
const FORM_TIME: Duration = Duration::from_secs(10);
/// How long whoever gives a wrong token waits.
const WRONG_TOKEN: Duration = Duration::from_millis(500);

/// What the page's sessions share.
pub(crate) struct Page {
    secret: [u8; 32],
}

impl fmt::Debug for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Page(…)")
    }
}

impl Page {
    pub(crate) fn new() -> Result<Self, GuardError> {
        use rand::TryRng as _;
        let mut secret = [0; 32];
        rand::rngs::SysRng
            .try_fill_bytes(&mut secret)
            .map_err(|error| GuardError::Random(error.to_string()))?;
        Ok(Self { secret })
    }
}

/// All that the page shows, which `/live.json` gives as it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Live {
    schema: &'static str,
    now: Timestamp,
    is_ready: bool,
    /// The configured routes, those first that stand first in the file.
    routes: Vec<RouteState>,
    board: BoardSnapshot,
    audit: Option<AuditState>,
    /// How sampled answers fare, by route; empty where none are judged.
    drift: Vec<DriftSnapshot>,
}

#[derive(Clone, Debug, Serialize)]
struct RouteState {
    name: String,
    dry_run: bool,
    detectors: usize,
}

#[derive(Clone, Debug, Serialize)]
struct AuditState {
    is_broken: bool,
    written: u64,
    lost: u64,
    waiting: u64,
    lag_seconds: f64,
    /// Whether texts are kept.
    content: bool,
}

impl Live {
    fn of(shared: &Shared) -> Self {
        let now = Timestamp::now();
        let settings = &shared.live().settings;
        let audit = shared.audit.as_ref().map(|audit| {
            let watch = audit.watch();
            AuditState {
                is_broken: watch.is_broken(),
                written: watch.written(),
                lost: watch.lost(),
                waiting: watch.waiting(),
                lag_seconds: watch.lag().as_secs_f64(),
                content: settings.audit.as_ref().is_some_and(|audit| audit.content.is_some()),
            }
        });
        Self {
            schema: "tiltmeter.guard-live/1",
            now,
            is_ready: shared.is_ready(),
            routes: settings
                .routes()
                .iter()
                .map(|route| RouteState {
                    name: route.name.clone(),
                    dry_run: route.dry_run,
                    detectors: route.detectors.len(),
                })
                .collect(),
            board: shared.metrics.snapshot(now),
            audit,
            drift: shared.drift(),
        }
    }
}

/// Answers what belongs to the page; gives back what does not, and everything where there is no page.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Request<Incoming>> {
    let live = shared.live();
    let Some(token) = live.settings.admin_token else { return Err(request) };
    let path = request.uri().path();
    if !matches!(path, "/" | "/login" | "/live" | "/live.json" | "/page.css" | "/page.js") {
        return Err(request);
    }
    let port = live.settings.admin.map_or(0, |address| address.port());
    let access = Access::new(&shared.page.secret, &token, port);
    let mut response = respond(shared, &access, request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

async fn respond(shared: &Shared, access: &Access<'_>, request: Request<Incoming>) -> Response<Answer> {
    if !access::is_own_host(request.headers()) {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            "The live page answers under this machine's own names only.\n",
        );
    }
    let path = request.uri().path();
    let allowed = if path == "/login" { &[Method::POST][..] } else { &[Method::GET, Method::HEAD] };
    if !allowed.contains(request.method()) {
        let mut response =
            plain(StatusCode::METHOD_NOT_ALLOWED, "There is nothing to do here by this method.\n");
        let names = if path == "/login" { "POST" } else { "GET, HEAD" };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(names));
        return response;
    }
    match path {
        "/page.css" => typed(StatusCode::OK, "text/css; charset=utf-8", STYLE),
        "/page.js" => typed(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
        "/login" => log_in(access, request).await,
        _ if !access.is_known(request.headers()) => match path {
            "/" => typed(StatusCode::UNAUTHORIZED, HTML, document::login(false)),
            _ => plain(StatusCode::UNAUTHORIZED, "The token of the live page is missing or wrong.\n"),
        },
        "/live" => typed(StatusCode::OK, HTML, sections::all(&Live::of(shared)).into_string()),
        "/live.json" => match serde_json::to_string(&Live::of(shared)) {
            Ok(text) => typed(StatusCode::OK, "application/json", text),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        _ => typed(StatusCode::OK, HTML, document::page(&Live::of(shared))),
    }
}

/// Takes the token of the form, and gives the cookie that stands for it.
async fn log_in(access: &Access<'_>, request: Request<Incoming>) -> Response<Answer> {
    let body = Limited::new(request.into_body(), LONGEST_FORM).collect();
    let given = match tokio::time::timeout(FORM_TIME, body).await {
        Ok(Ok(body)) => access::token_of_form(&body.to_bytes()),
        _ => None,
    };
    let cookie = given.as_deref().and_then(|token| access.cookie_for(token));
    let Some(cookie) = cookie else {
        tokio::time::sleep(WRONG_TOKEN).await;
        return typed(StatusCode::UNAUTHORIZED, HTML, document::login(true));
    };
    let mut response = plain(StatusCode::SEE_OTHER, "");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Answer> {
    typed(status, "text/plain; charset=utf-8", body)
}
