//! The provider for servers of OpenAI's chat-completions protocol: hosted ones, gateways, and local servers.
//!
//! It knows the protocol and its dialects. It does not retry, wait or log.

mod body;
mod failure;
mod reply;
mod stream;
mod terms;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream as streams;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Request, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use self::failure::Failure;
use self::reply::{Draft, Piece};
use self::stream::Carrier;
use self::terms::{Parameter, Terms};
use crate::clean::Cleaner;
use crate::endpoint::{Endpoint, EndpointUrl};
use crate::error::{ErrorKind, ModelError};
use crate::http::{self, Pace};
use crate::request::{ChatModel, ChatRequest, ChatResponse};

/// A model behind a server of OpenAI's chat-completions protocol.
pub struct OpenAiCompatible {
    client: reqwest::Client,
    endpoint: Endpoint,
    url: Url,
    authorisation: Option<HeaderValue>,
    cleaner: Cleaner,
    /// What the model has turned out not to take.
    terms: Mutex<Terms>,
}

impl fmt::Debug for OpenAiCompatible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenAiCompatible")
            .field("base_url", &self.endpoint.base_url)
            .field("model", &self.endpoint.model)
            .finish_non_exhaustive()
    }
}

/// Why one sending gave no answer.
enum Refusal {
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

impl OpenAiCompatible {
    /// A model on a server. Nothing is sent yet; connections are kept and shared by all requests.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorised`] where the key cannot be sent, [`ErrorKind::BadRequest`] where an extra field is
    /// one that may not be replaced, and [`ErrorKind::Unreachable`] where the system's certificates cannot be
    /// read.
    pub fn new(endpoint: Endpoint) -> Result<Self, ModelError> {
        if let Some(field) = body::RESERVED.into_iter().find(|field| endpoint.extra_body.contains_key(*field))
        {
            let message = format!("`{field}` cannot be set as an extra field of the request: take it out");
            return Err(ModelError::new(ErrorKind::BadRequest, message));
        }
        // Keys are often read from files, with the line's end.
        let key =
            endpoint.api_key.as_ref().map(|key| key.expose_secret().trim()).filter(|key| !key.is_empty());
        let client = http::client(&endpoint)?;
        // This turns a user and password in the address into a header; a key takes their place.
        let template = client
            .post(endpoint.base_url.chat_completions())
            .build()
            .map_err(|error| ModelError::new(ErrorKind::BadRequest, http::innermost(&error)))?;
        let of_address = template.headers().get(AUTHORIZATION).cloned();
        Ok(Self {
            client,
            url: template.url().clone(),
            authorisation: key.map(bearer).transpose()?.or(of_address),
            cleaner: Cleaner::new(key.map(SecretString::from)),
            endpoint,
            terms: Mutex::default(),
        })
    }

    /// Where the model is and how it is asked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn terms(&self) -> Terms {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Others may have learnt something else in the meantime.
    fn remember(&self, terms: Terms) {
        let mut known = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.and(terms);
    }

    /// Sends a body once and reads the reply.
    async fn send(&self, body: Bytes) -> Result<ChatResponse, Refusal> {
        let limit = self.endpoint.timeouts.total;
        tokio::time::timeout(limit, self.send_untimed(body))
            .await
            .unwrap_or_else(|_| Err(http::timed_out("the reply was not whole", limit).into()))
    }

    async fn send_untimed(&self, body: Bytes) -> Result<ChatResponse, Refusal> {
        let timeouts = &self.endpoint.timeouts;
        let pace = self.endpoint.stream.then(|| Pace {
            first: (Instant::now() + timeouts.first_byte, timeouts.first_byte),
            between: timeouts.between_events,
        });
        let sending = self.client.execute(self.request(body));
        let response = match pace {
            None => sending.await,
            Some(pace) => tokio::time::timeout_at(pace.first.0, sending)
                .await
                .map_err(|_| http::timed_out("no reply", pace.first.1))?,
        };
        let response = response.map_err(|error| http::send_error(&self.endpoint, &error))?;
        if response.status().is_success() {
            Ok(self.read(response, pace).await?)
        } else {
            self.refused(response).await
        }
    }

    fn request(&self, body: Bytes) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept =
            if self.endpoint.stream { "text/event-stream, application/json" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(authorisation) = &self.authorisation {
            headers.insert(AUTHORIZATION, authorisation.clone());
        }
        *request.body_mut() = Some(body.into());
        request
    }

    /// Reads a reply. Whether it is streamed is the server's choice, whatever was asked for.
    async fn read(&self, response: Response, pace: Option<Pace>) -> Result<ChatResponse, ModelError> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let carrier = Carrier { status, headers: &headers, cleaner: &self.cleaner };
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if content_type.to_ascii_lowercase().starts_with("text/event-stream") {
            return stream::read(http::body(response, pace), carrier).await;
        }
        let whole = http::collect(http::body(response, pace)).await?;
        if ["data:", "event:", ":"].iter().any(|start| whole.trim_ascii_start().starts_with(start.as_bytes()))
        {
            return stream::read(streams::iter([Ok(Bytes::from(whole))]), carrier).await;
        }
        read_whole(&whole, carrier)
    }

    /// Reads a response whose status says that the request failed.
    async fn refused(&self, response: Response) -> Result<ChatResponse, Refusal> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let carrier = Carrier { status, headers: &headers, cleaner: &self.cleaner };
        if response.status().is_redirection() {
            return Err(Refusal::Final(self.redirected(status, headers.get(LOCATION))));
        }
        // The status is worth more than a body that does not come.
        let whole = http::collect(http::body(response, None)).await.unwrap_or_default();
        let failure = Failure::read(&whole).unwrap_or_else(|| Failure::of_text(self.cleaner.excerpt(&whole)));
        let error = carrier.failed(failure.clone());
        Err(Refusal::ByServer { status, failure: Box::new(failure), error })
    }

    fn redirected(&self, status: u16, location: Option<&HeaderValue>) -> ModelError {
        let from = &self.endpoint.base_url;
        let to = location
            .and_then(|location| self.url.join(location.to_str().ok()?).ok())
            .and_then(|url| url.as_str().parse::<EndpointUrl>().ok())
            .map_or(String::new(), |url| format!(" to {}", self.cleaner.message(&url.to_string())));
        let message =
            format!("{from} redirects{to}, which is not followed: set the base URL to the right address");
        ModelError { status: Some(status), ..ModelError::new(ErrorKind::NotFound, message) }
    }

    /// The settings that were asked for and are not sent under these terms.
    fn dropped(&self, request: &ChatRequest, terms: Terms) -> Vec<&'static str> {
        let was_dropped = |parameter: &Parameter| {
            terms.leaves_out(*parameter) && body::sends(&self.endpoint, request, Terms::default(), *parameter)
        };
        Parameter::ALL.into_iter().filter(was_dropped).filter_map(Parameter::setting).collect()
    }
}

#[async_trait]
impl ChatModel for OpenAiCompatible {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        let mut terms = self.terms();
        loop {
            let sends = |parameter| body::sends(&self.endpoint, request, terms, parameter);
            match self.send(body::write(&self.endpoint, request, terms)?).await {
                Ok(response) => {
                    self.remember(terms);
                    let asked = request.sampling.top_log_probabilities.is_some();
                    return Ok(ChatResponse {
                        log_probabilities: response.log_probabilities.filter(|_| asked),
                        dropped_parameters: self.dropped(request, terms),
                        ..response
                    });
                }
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::ByServer { status, failure, error }) => {
                    // A context that is too long may be told in words that also name `max_tokens`.
                    let is_negotiable = matches!(error.kind, ErrorKind::BadRequest | ErrorKind::Unauthorised);
                    let next = terms.after(status, &failure, self.endpoint.token_field, sends);
                    match next.filter(|_| is_negotiable) {
                        Some(next) => terms = next,
                        None => return Err(error),
                    }
                }
            }
        }
    }
}

fn bearer(key: &str) -> Result<HeaderValue, ModelError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
        let message =
            "the key holds characters that cannot be sent: check that nothing but the key was copied";
        ModelError::new(ErrorKind::Unauthorised, message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a reply that came in one piece.
fn read_whole(body: &[u8], carrier: Carrier<'_>) -> Result<ChatResponse, ModelError> {
    let malformed = || carrier.malformed("the reply is not a chat completion", body);
    let value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    if let Some(failure) = Failure::from_value(&value) {
        return Err(carrier.failed(failure));
    }
    let piece: Piece = serde_json::from_value(value).map_err(|_| malformed())?;
    let mut draft = Draft::default();
    draft.add(piece).map_err(|failure| carrier.failed(*failure))?;
    if draft.has_choice() { Ok(draft.finish()) } else { Err(malformed()) }
}
