//! Requests that are no chat: files, batches, and what else a provider keeps on its servers.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::Transport;
use crate::body::Body;
use crate::error::{ErrorKind, ModelError};
use crate::events::{self, Carrier, Draft};
use crate::failure::Failure;
use crate::http::{self, Pace};
use crate::rate_limits::RateLimits;
use crate::request::ChatResponse;

/// The longest file of results that is read. A batch has at most 100,000 answers.
const FILE_LIMIT: usize = 2 << 30;

/// The slowest connection, in bytes a second, on which an upload comes to its end.
const SLOWEST_UPLOAD: u64 = 128 << 10;

/// A request.
pub(crate) struct Call {
    method: Method,
    url: Url,
    body: Option<Body>,
    headers: Vec<(&'static str, String)>,
}

impl Call {
    pub(crate) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: None, headers: Vec::new() }
    }

    /// A request with a body of JSON, unless a header says otherwise.
    pub(crate) fn post(url: Url, body: Body) -> Self {
        Self { method: Method::POST, url, body: Some(body), headers: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a call was answered with.
pub(crate) struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Transport {
    /// Makes a call and gives its reply, which is at most so long, within the limit for a whole reply and the time
    /// that an upload may take.
    pub(crate) async fn call(&self, call: Call, most: usize) -> Result<Reply, ModelError> {
        let upload = call.body.as_ref().map_or(0, Body::len) / SLOWEST_UPLOAD;
        let limit = self.endpoint.timeouts.total + Duration::from_secs(upload);
        let reply = async {
            let response = self.send(call).await?;
            let headers = response.headers().clone();
            let body = http::collect(http::body(response, None, most)).await?;
            Ok(Reply { headers, body: body.into() })
        };
        tokio::time::timeout(limit, reply)
            .await
            .unwrap_or_else(|_| Err(http::timed_out("the reply was not whole", limit)))
    }

    /// Makes a call whose reply is JSON of a form.
    pub(crate) async fn call_json<T: DeserializeOwned>(
        &self,
        call: Call,
        what: &str,
        most: usize,
    ) -> Result<T, ModelError> {
        let Reply { body, .. } = self.call(call, most).await?;
        serde_json::from_slice(&body).map_err(|_| self.malformed(&format!("the reply is not {what}"), &body))
    }

    /// Makes a call whose reply is lines, and hands them on as they come, until told to stop. There is no limit
    /// for the whole, only for the first byte and between pieces. A line that is absurdly long is handed on cut.
    ///
    /// # Errors
    /// Also where the reply breaks off, after the lines before that were handed on.
    pub(crate) async fn call_lines(
        &self,
        call: Call,
        mut each: impl FnMut(&[u8]) -> ControlFlow<()> + Send,
    ) -> Result<(), ModelError> {
        let timeouts = &self.endpoint.timeouts;
        let pace = Pace {
            first: (Instant::now() + timeouts.first_byte, timeouts.first_byte),
            between: timeouts.between_events,
        };
        let response = tokio::time::timeout_at(pace.first.0, self.send(call))
            .await
            .map_err(|_| http::timed_out("no reply", pace.first.1))??;
        let mut body = pin!(http::body(response, Some(pace), FILE_LIMIT));
        let mut line = Vec::new();
        while let Some(piece) = body.try_next().await? {
            let mut rest = &*piece;
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let (before, after) = rest.split_at(end);
                extend(&mut line, before);
                if !line.trim_ascii().is_empty() && each(line.trim_ascii()).is_break() {
                    return Ok(());
                }
                line.clear();
                rest = after.trim_ascii_start();
            }
            extend(&mut line, rest);
        }
        if !line.trim_ascii().is_empty() {
            // Whatever it says: there is nothing left to stop.
            let _ = each(line.trim_ascii());
        }
        Ok(())
    }

    /// Sends a call and gives a response whose status is good.
    async fn send(&self, call: Call) -> Result<Response, ModelError> {
        let Call { method, url, body, headers } = call;
        // Addresses may come from the server's replies; the key goes to nobody else.
        if url.origin() != self.endpoint.base_url.join("").origin() {
            let message = format!(
                "the server names an address on another host than {}, which is not asked: it would be sent the key",
                self.endpoint.base_url
            );
            return Err(ModelError::new(ErrorKind::MalformedReply, message));
        }
        let mut request = Request::new(method, url);
        let all = request.headers_mut();
        *all = self.headers.clone();
        all.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if body.is_none() {
            all.remove(CONTENT_TYPE);
        }
        for (name, value) in headers {
            let value = HeaderValue::from_str(&value).map_err(|_| {
                ModelError::new(ErrorKind::BadRequest, format!("`{name}` cannot be sent as a header"))
            })?;
            all.insert(HeaderName::from_static(name), value);
        }
        *request.body_mut() = body.map(Body::into_http);
        let sending = self.client.execute(request);
        let response = sending.await.map_err(|error| http::send_error(&self.endpoint, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let limits = RateLimits::read(response.headers());
        Err(self.refused(response).await.with_limits(limits).into_error())
    }

    /// Reads a reply to a chat request that stands in a larger document, with the status that it would have had by
    /// itself.
    pub(crate) fn read_item<D: Draft>(&self, status: u16, body: Value) -> Result<ChatResponse, ModelError> {
        if status >= 400 {
            return Err(self.failed_item(status, &body));
        }
        let headers = HeaderMap::new();
        let carrier = Carrier { status, headers: &headers, cleaner: &self.cleaner };
        let excerpt = body.to_string();
        let malformed = || carrier.malformed(&format!("the reply is not {}", D::WHAT), excerpt.as_bytes());
        events::read_value::<D>(body, carrier, malformed)
    }

    /// What went wrong, by the account in a larger document.
    pub(crate) fn failed_item(&self, status: u16, body: &Value) -> ModelError {
        let headers = HeaderMap::new();
        let carrier = Carrier { status, headers: &headers, cleaner: &self.cleaner };
        let failure = Failure::of_value(body)
            .unwrap_or_else(|| Failure::of_text(self.cleaner.excerpt(body.to_string().as_bytes())));
        carrier.failed(failure)
    }
}

/// Adds to a line, as long as it is one that anybody would read.
fn extend(line: &mut Vec<u8>, more: &[u8]) {
    let room = http::BODY_LIMIT.saturating_sub(line.len());
    line.extend_from_slice(more.get(..room).unwrap_or(more));
}
