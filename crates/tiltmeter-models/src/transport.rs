//! Sends a body to a server and reads the reply, within the endpoint's time limits, in whatever protocol.

mod calls;

use bytes::Bytes;
use futures_util::stream as streams;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Request, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::body::Body;
use crate::clean::Cleaner;
use crate::endpoint::{Endpoint, EndpointUrl};
use crate::error::{ErrorKind, ModelError};
use crate::events::{self, Carrier, Draft};
use crate::failure::Failure;
use crate::http::{self, Pace};
use crate::rate_limits::RateLimits;
use crate::request::ChatResponse;

pub(crate) use self::calls::Call;

/// The header that carries a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyHeader {
    /// `Authorization: Bearer …`
    Bearer,
    /// A header of its own, with nothing but the key.
    Named(&'static str),
}

/// Why one sending gave no answer.
pub(crate) enum Refusal {
    /// The server refused the request; its terms may be met.
    ByServer { status: u16, failure: Box<Failure>, error: ModelError },
    /// Anything else.
    Final(ModelError),
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        Self::Final(error)
    }
}

impl Refusal {
    pub(crate) fn into_error(self) -> ModelError {
        match self {
            Self::ByServer { error, .. } | Self::Final(error) => error,
        }
    }

    fn with_limits(self, limits: Option<Box<RateLimits>>) -> Self {
        match self {
            Self::ByServer { status, failure, error } => {
                Self::ByServer { status, failure, error: ModelError { rate_limits: limits, ..error } }
            }
            Self::Final(error) => Self::Final(ModelError { rate_limits: limits, ..error }),
        }
    }
}

/// A way to one server, with one key. Connections are kept and shared by all requests.
pub(crate) struct Transport {
    client: reqwest::Client,
    pub(crate) endpoint: Endpoint,
    /// Those that every request carries, the key's among them.
    headers: HeaderMap,
    cleaner: Cleaner,
}

impl Transport {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorised`] where the key cannot be sent, [`ErrorKind::BadRequest`] where an extra field is
    /// reserved, and [`ErrorKind::Unreachable`] where the system's certificates cannot be read.
    pub(crate) fn new(
        endpoint: Endpoint,
        key_header: KeyHeader,
        reserved: &[&str],
    ) -> Result<Self, ModelError> {
        if let Some(field) = reserved.iter().find(|field| endpoint.extra_body.contains_key(**field)) {
            let message = format!("`{field}` cannot be set as an extra field of the request: take it out");
            return Err(ModelError::new(ErrorKind::BadRequest, message));
        }
        // Keys are often read from files, with the line's end.
        let key =
            endpoint.api_key.as_ref().map(|key| key.expose_secret().trim()).filter(|key| !key.is_empty());
        let client = http::client(&endpoint)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if endpoint.stream { "text/event-stream, application/json" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        // This turns a user and password in the address into a header; a key takes their place.
        let template = client
            .post(endpoint.base_url.join(""))
            .build()
            .map_err(|error| ModelError::new(ErrorKind::BadRequest, http::innermost(&error)))?;
        if let Some(of_address) = template.headers().get(AUTHORIZATION) {
            headers.insert(AUTHORIZATION, of_address.clone());
        }
        if let Some(key) = key {
            let (name, value) = match key_header {
                KeyHeader::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
                KeyHeader::Named(name) => (HeaderName::from_static(name), key.to_owned()),
            };
            headers.insert(name, secret(&value)?);
        }
        let cleaner = Cleaner::new(key.map(SecretString::from));
        Ok(Self { client, endpoint, headers, cleaner })
    }

    /// The same, with one more header on every request.
    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// An address on the server, without the user and password that the base may hold: they go as a header.
    pub(crate) fn url(&self, suffix: &str) -> Url {
        let mut url = self.endpoint.base_url.join(suffix);
        // Fails for addresses without a host only, which an endpoint's never is.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url
    }

    /// Sends a body once and reads the reply.
    pub(crate) async fn ask<D: Draft>(&self, url: &Url, body: Body) -> Result<ChatResponse, Refusal> {
        let limit = self.endpoint.timeouts.total;
        tokio::time::timeout(limit, self.ask_untimed::<D>(url, body))
            .await
            .unwrap_or_else(|_| Err(http::timed_out("the reply was not whole", limit).into()))
    }

    async fn ask_untimed<D: Draft>(&self, url: &Url, body: Body) -> Result<ChatResponse, Refusal> {
        let timeouts = &self.endpoint.timeouts;
        let pace = self.endpoint.stream.then(|| Pace {
            first: (Instant::now() + timeouts.first_byte, timeouts.first_byte),
            between: timeouts.between_events,
        });
        let sending = self.client.execute(self.request(url, body));
        let response = match pace {
            None => sending.await,
            Some(pace) => tokio::time::timeout_at(pace.first.0, sending)
                .await
                .map_err(|_| http::timed_out("no reply", pace.first.1))?,
        };
        let response = response.map_err(|error| http::send_error(&self.endpoint, &error))?;
        let limits = RateLimits::read(response.headers());
        let outcome = if response.status().is_success() {
            self.read::<D>(response, pace).await.map_err(Refusal::Final)
        } else {
            Err(self.refused(response).await)
        };
        match outcome {
            Ok(response) => Ok(ChatResponse { rate_limits: limits, ..response }),
            Err(refusal) => Err(refusal.with_limits(limits)),
        }
    }

    /// Sends a body once and gives the reply's bytes, for replies that are no chat.
    pub(crate) async fn fetch(&self, url: &Url, body: Body, most: usize) -> Result<Bytes, ModelError> {
        let limit = self.endpoint.timeouts.total;
        tokio::time::timeout(limit, self.fetch_untimed(url, body, most))
            .await
            .unwrap_or_else(|_| Err(http::timed_out("the reply was not whole", limit)))
    }

    async fn fetch_untimed(&self, url: &Url, body: Body, most: usize) -> Result<Bytes, ModelError> {
        let sending = self.client.execute(self.request(url, body));
        let response = sending.await.map_err(|error| http::send_error(&self.endpoint, &error))?;
        let limits = RateLimits::read(response.headers());
        if response.status().is_success() {
            let whole = http::collect(http::body(response, None, most)).await;
            whole.map(Bytes::from).map_err(|error| ModelError { rate_limits: limits, ..error })
        } else {
            Err(self.refused(response).await.with_limits(limits).into_error())
        }
    }

    fn request(&self, url: &Url, body: Body) -> Request {
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = Some(body.into_http());
        request
    }

    /// Reads a reply. Whether it is streamed is the server's choice, whatever was asked for.
    async fn read<D: Draft>(
        &self,
        response: Response,
        pace: Option<Pace>,
    ) -> Result<ChatResponse, ModelError> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let carrier = Carrier { status, headers: &headers, cleaner: &self.cleaner };
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let body = http::body(response, pace, http::BODY_LIMIT);
        if content_type.to_ascii_lowercase().starts_with("text/event-stream") {
            return events::read::<D, _>(body, carrier).await;
        }
        let whole = http::collect(body).await?;
        if ["data:", "event:", ":"].iter().any(|start| whole.trim_ascii_start().starts_with(start.as_bytes()))
        {
            return events::read::<D, _>(streams::iter([Ok(Bytes::from(whole))]), carrier).await;
        }
        events::read_whole::<D>(&whole, carrier)
    }

    /// Reads a response whose status says that the request failed.
    async fn refused(&self, response: Response) -> Refusal {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let carrier = Carrier { status, headers: &headers, cleaner: &self.cleaner };
        if response.status().is_redirection() {
            return Refusal::Final(self.redirected(status, response.url(), headers.get(LOCATION)));
        }
        // The status is worth more than a body that does not come.
        let whole = http::collect(http::body(response, None, http::BODY_LIMIT)).await.unwrap_or_default();
        let failure = Failure::read(&whole).unwrap_or_else(|| Failure::of_text(self.cleaner.excerpt(&whole)));
        let error = carrier.failed(failure.clone());
        Refusal::ByServer { status, failure: Box::new(failure), error }
    }

    fn redirected(&self, status: u16, url: &Url, location: Option<&HeaderValue>) -> ModelError {
        let from = &self.endpoint.base_url;
        let to = location
            .and_then(|location| url.join(location.to_str().ok()?).ok())
            .and_then(|url| url.as_str().parse::<EndpointUrl>().ok())
            .map_or(String::new(), |url| format!(" to {}", self.cleaner.message(&url.to_string())));
        let message =
            format!("{from} redirects{to}, which is not followed: set the base URL to the right address");
        ModelError { status: Some(status), ..ModelError::new(ErrorKind::NotFound, message) }
    }

    /// A reply with a good status that is not what the protocol promises.
    pub(crate) fn malformed(&self, what: &str, body: &[u8]) -> ModelError {
        let headers = HeaderMap::new();
        Carrier { status: 200, headers: &headers, cleaner: &self.cleaner }.malformed(what, body)
    }
}

fn secret(value: &str) -> Result<HeaderValue, ModelError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        let message =
            "the key holds characters that cannot be sent: check that nothing but the key was copied";
        ModelError::new(ErrorKind::Unauthorised, message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
