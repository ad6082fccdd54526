//! What is refused, in OpenAI's form.

use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tiltmeter_models::{ErrorKind, ModelError};

/// An error reply.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    code: Option<&'static str>,
    /// The field of the request that is at fault.
    parameter: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>, code: Option<&'static str>) -> Self {
        Self { status, message: message.into(), code, parameter: None }
    }

    /// The request is at fault.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, None)
    }

    /// A field of the request is at fault.
    pub(crate) fn field(name: &str, message: impl Into<String>) -> Self {
        Self { parameter: Some(name.to_owned()), ..Self::bad(message) }
    }

    /// A field that would change the answer and is not supported.
    pub(crate) fn unsupported(name: &str) -> Self {
        let message = format!("`{name}` is not supported by this server, and would change the answer");
        Self { code: Some("unsupported_parameter"), ..Self::field(name, message) }
    }

    pub(crate) fn no_model(asked: &str, served: &str) -> Self {
        let asked: String = asked.chars().take(100).collect();
        let message = format!("The model `{asked}` does not exist; this server has `{served}`");
        Self::new(StatusCode::NOT_FOUND, message, Some("model_not_found"))
    }

    pub(crate) fn no_address() -> Self {
        let message = "there is nothing at this address; chat is at /v1/chat/completions";
        Self::new(StatusCode::NOT_FOUND, message, None)
    }

    pub(crate) fn no_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method", None)
    }

    pub(crate) fn foreign_host() -> Self {
        let message = "this server is for programs on this machine: address it as 127.0.0.1 or localhost";
        Self::new(StatusCode::FORBIDDEN, message, None)
    }

    pub(crate) fn not_json() -> Self {
        let message = "the request's content type must be application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message, None)
    }

    /// The error's body.
    pub(crate) fn body(&self) -> Value {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        json!({ "error": {
            "message": self.message,
            "type": kind,
            "param": self.parameter,
            "code": self.code,
        } })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body())).into_response()
    }
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        let (status, code) = match error.kind {
            ErrorKind::ContextTooLong => (StatusCode::BAD_REQUEST, Some("context_length_exceeded")),
            ErrorKind::BadRequest | ErrorKind::Unsupported => (StatusCode::BAD_REQUEST, None),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        let message = match error.context_limit {
            // As OpenAI's servers put it, which clients look for.
            Some(limit) => {
                format!("This model's maximum context length is {limit} tokens: {}", error.message)
            }
            None => error.message,
        };
        Self::new(status, message, code)
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        let status = rejection.status();
        let message = if status == StatusCode::PAYLOAD_TOO_LARGE {
            "the request's body is larger than this server takes".to_owned()
        } else {
            rejection.body_text()
        };
        Self::new(status, message, None)
    }
}
