//! One request, from its head to the end of its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::client::{Outgoing, Server};
use crate::config::file::ClientLeaves;
use crate::conversation::Protocol;
use crate::endpoint::Endpoint;
use crate::gateway::{Face, Live, Shared};
use crate::head;
use crate::names::REQUEST_HEADER;
use crate::refusal::Refusal;
use crate::relay::{Leaving, Relay, Source};

/// Answers a request.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    face: Face,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let endpoint = match Endpoint::of(request.method(), request.uri().path()) {
        Ok(endpoint) => endpoint,
        Err(refusal) => return Ok(refusal.response(Protocol::Other)),
    };
    let protocol = match endpoint {
        Endpoint::Model { protocol, .. } => protocol,
        // Only errors are shaped by it: Anthropic's further addresses are below that of its messages.
        _ if request.uri().path().starts_with("/v1/messages") => Protocol::Messages,
        _ => Protocol::Other,
    };
    let result = match (endpoint, face) {
        (Endpoint::Health | Endpoint::Ready, _) => Ok(Response::new(Answer::text("ok\n"))),
        (Endpoint::Metrics, Face::Only | Face::Admin) => Ok(Response::new(Answer::text(""))),
        (Endpoint::Metrics, Face::Clients) | (_, Face::Admin) => Err(Refusal::no_address()),
        (Endpoint::Model { .. } | Endpoint::Else, _) => forward(shared, endpoint, protocol, request).await,
    };
    Ok(result.unwrap_or_else(|refusal| refusal.response(protocol)))
}

async fn forward(
    shared: Arc<Shared>,
    endpoint: Endpoint,
    protocol: Protocol,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let exchange =
        Exchange { live: shared.live(), id: shared.request_id(), shared, protocol, started: Instant::now() };
    let mut response = exchange.run(endpoint, request).await?;
    if let Ok(id) = HeaderValue::from_str(&exchange.id) {
        response.headers_mut().insert(REQUEST_HEADER, id);
    }
    Ok(response)
}

struct Exchange {
    shared: Arc<Shared>,
    live: Arc<Live>,
    id: String,
    protocol: Protocol,
    started: Instant,
}

impl Exchange {
    async fn run(&self, endpoint: Endpoint, request: Request<Incoming>) -> Result<Response<Answer>, Refusal> {
        let settings = &self.live.settings;
        let (parts, body) = request.into_parts();
        head::check(&parts.headers)?;
        let client = head::Client::of(&parts.headers, settings)?;
        let declared =
            parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|bytes| bytes > settings.limits.body_bytes) {
            return Err(Refusal::too_large(settings.limits.body_bytes));
        }
        let body = Limited::new(body, settings.limits.body_bytes);
        if matches!(endpoint, Endpoint::Else) {
            if !settings.pass_through {
                return Err(Refusal::pass_through_off());
            }
            let server = self.server(None)?;
            client.check_for(&server.upstream)?;
            return self.send(server, parts, Either::Right(body)).await;
        }
        let body = self.read(body).await?;
        let named =
            crate::conversation::model(&body).map_err(|error| Refusal::bad_body(error.to_string()))?;
        let model = named.as_ref().map(|(model, _)| model.as_ref());
        let server = self.server(model)?;
        client.check_for(&server.upstream)?;
        self.send(server, parts, Either::Left(Full::new(body.clone()))).await
    }

    fn server(&self, model: Option<&str>) -> Result<&Server, Refusal> {
        let found = self.live.settings.upstream(model).and_then(|index| self.live.servers.get(index));
        found.ok_or_else(|| model.map_or_else(Refusal::no_upstream, Refusal::no_model))
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

    async fn send(&self, server: &Server, parts: Parts, body: Outgoing) -> Result<Response<Answer>, Refusal> {
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = server.address(&parts.uri).ok_or_else(Refusal::odd_path)?;
        *request.headers_mut() = head::outgoing(parts.headers, &server.upstream);
        let (mut parts, body) = server.send(request).await?.into_parts();
        head::incoming(&mut parts.headers);
        // The client's connection has a version of its own.
        parts.version = http::Version::HTTP_11;
        let source = Source::new(body, server.upstream.idle_time);
        let leaving = Leaving { policy: ClientLeaves::Cancel, tasks: self.shared.tasks.clone() };
        Ok(Response::from_parts(
            parts,
            Answer::Relay(Box::new(Relay::new(source, leaving, Box::new(|_| {})))),
        ))
    }
}
