//! Connections to the servers of models.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::{Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::Upstream;
use crate::refusal::Refusal;

/// How long a connection may lie idle before it is closed.
const IDLE: Duration = Duration::from_mins(1);

/// What is sent: a body that was read, or one that is passed on as it comes.
pub(crate) type Outgoing = Either<Full<Bytes>, Limited<Incoming>>;

/// A server of models, and the connections to it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) upstream: Arc<Upstream>,
    client: HyperClient<HttpsConnector<HttpConnector>, Outgoing>,
}

/// The system's certificates cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS for the upstream `{upstream}`: {source}")]
pub struct TlsError {
    upstream: String,
    source: rustls::Error,
}

impl Server {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Result<Self, TlsError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(upstream.connect_time));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wrong = |source| TlsError { upstream: upstream.name.clone(), source };
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let tls = if upstream.base.scheme_str() == Some("https") {
            builder.try_with_platform_verifier().map_err(wrong)?.with_no_client_auth()
        } else {
            // Never used, and a machine without certificates must not need any.
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { upstream, client })
    }

    /// The address that a request is sent to: the upstream's own, and what follows `/v1` in the request's path.
    pub(crate) fn address(&self, uri: &Uri) -> Option<Uri> {
        let wanted = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let rest = wanted.get(3..).unwrap_or("");
        let mut parts = self.upstream.base.clone().into_parts();
        let path = parts.path_and_query.as_ref().map_or("", |path| path.path()).trim_end_matches('/');
        let joined = if path.is_empty() && !rest.starts_with('/') {
            format!("/{rest}")
        } else {
            format!("{path}{rest}")
        };
        parts.path_and_query = Some(joined.parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Sends a request and waits for its answer to begin.
    pub(crate) async fn send(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, Refusal> {
        match tokio::time::timeout(self.upstream.answer_time, self.client.request(request)).await {
            Err(_) => Err(Refusal::upstream_slow()),
            Ok(Err(error)) => {
                tracing::warn!(target: "tiltmeter::guard", upstream = %self.upstream.name, error = %error, "no answer");
                let limited = std::error::Error::source(&error)
                    .and_then(std::error::Error::source)
                    .is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
                Err(if limited { Refusal::broken_body() } else { Refusal::unreachable() })
            }
            Ok(Ok(response)) => Ok(response),
        }
    }
}
