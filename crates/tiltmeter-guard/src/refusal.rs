//! What the gateway itself answers where it does not forward: errors in the shape that clients of each protocol know.
//! Each carries the header `x-tiltmeter-refusal` with its code, so that it is never taken for the model's server's.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::config::file::Uninspected;
use crate::conversation::Protocol;
use crate::names::REFUSAL_HEADER;

/// Why a request is not forwarded, or its answer not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A fixed word for programs.
    pub(crate) code: &'static str,
    /// For people. It holds nothing of the request but what its sender may see.
    pub(crate) message: String,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(crate) fn no_address() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_such_address",
            "the gateway has no such address: all it knows is below /v1",
        )
    }

    pub(crate) fn odd_path() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "odd_path",
            "the path has empty or dotted segments, or escapes characters that need no escape",
        )
    }

    pub(crate) fn uninspected(allowed: Uninspected) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "uninspected",
            format!(
                "the gateway inspects no requests for this address, and does not forward them (`server.uninspected` is \
                 `{}`)",
                allowed.name()
            ),
        )
    }

    pub(crate) fn bad_head(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_header", message)
    }

    pub(crate) fn encoded() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed_body",
            "the gateway takes no compressed bodies: send it without Content-Encoding",
        )
    }

    pub(crate) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "no_key", "the gateway does not know this key, or none was given")
    }

    pub(crate) fn key_misplaced() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "key_misplaced",
            "this model's server takes its own key from clients: send the gateway's in `x-tiltmeter-key`",
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than the gateway's limit of {limit} bytes"),
        )
    }

    pub(crate) fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the body did not arrive in time")
    }

    pub(crate) fn broken_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "body_broken", "the body broke off")
    }

    pub(crate) fn bad_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_body", message)
    }

    pub(crate) fn no_model(model: &str) -> Self {
        let shown: String = model.chars().filter(|character| !character.is_control()).take(100).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            format!("no upstream of the gateway has the model `{shown}`"),
        )
    }

    pub(crate) fn no_upstream() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_default_upstream",
            "the request names no model, and the gateway has no default upstream",
        )
    }

    pub(crate) fn unreachable() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "upstream_unreachable",
            "the model's server cannot be reached, or broke off",
        )
    }

    pub(crate) fn upstream_slow() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "the model's server did not answer in time",
        )
    }

    pub(crate) fn blocked() -> Self {
        Self::new(StatusCode::FORBIDDEN, "blocked_context", tiltmeter_core::guarding::BLOCKED)
    }

    pub(crate) fn blocked_output() -> Self {
        Self::new(StatusCode::FORBIDDEN, "blocked_output", "the answer was blocked by a check of answers")
    }

    pub(crate) fn unchecked() -> Self {
        let mut refusal = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unchecked",
            "the request could not be checked, and unchecked requests are refused here",
        );
        refusal.retry_after = Some(1);
        refusal
    }

    pub(crate) fn no_audit() -> Self {
        let mut refusal = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "audit_unavailable",
            "the audit log cannot be written, and requests without a record are refused here",
        );
        refusal.retry_after = Some(5);
        refusal
    }

    pub(crate) fn not_ready() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "the gateway is not ready")
    }

    fn anthropic_kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            503 => "overloaded_error",
            status if status >= 500 => "api_error",
            _ => "invalid_request_error",
        }
    }

    fn openai_kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            status if status >= 500 => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The error in a protocol's shape.
    pub(crate) fn body(&self, protocol: Protocol) -> String {
        match protocol {
            Protocol::Messages => json!({
                "type": "error",
                "error": { "type": self.anthropic_kind(), "message": format!("{} ({})", self.message, self.code) },
            }),
            _ => json!({
                "error": {
                    "message": self.message,
                    "type": self.openai_kind(),
                    "param": null,
                    "code": self.code,
                },
            }),
        }
        .to_string()
    }

    /// The error as the end of a stream: what has been sent can no longer be taken back.
    pub(crate) fn event(&self, protocol: Protocol) -> String {
        match protocol {
            Protocol::Messages => format!("event: error\ndata: {}\n\n", self.body(protocol)),
            Protocol::Responses => {
                let mut data: Value = serde_json::from_str(&self.body(protocol)).unwrap_or_default();
                // The protocol's event has its fields at the top; official clients raise what stands below `error`, and
                // would pass over the event otherwise.
                for (field, value) in [
                    ("type", json!("error")),
                    ("code", json!(self.code)),
                    ("message", json!(self.message)),
                    ("param", Value::Null),
                ] {
                    data[field] = value;
                }
                format!("event: error\ndata: {data}\n\n")
            }
            _ => format!("data: {}\n\n", self.body(protocol)),
        }
    }

    pub(crate) fn response(&self, protocol: Protocol) -> Response<Answer> {
        let mut response = Response::new(Answer::text(self.body(protocol)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REFUSAL_HEADER, HeaderValue::from_static(self.code));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
