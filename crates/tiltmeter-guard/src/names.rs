//! Names that others see: headers. Those of figures are in [`crate::metrics`].

use http::HeaderName;

/// What all of the gateway's own headers begin with. Neither clients nor servers can send one through it.
pub(crate) const PREFIX: &str = "x-tiltmeter-";
/// On each answer: the id that the audit log has the request under.
pub(crate) const REQUEST_HEADER: HeaderName = HeaderName::from_static("x-tiltmeter-request");
/// On answers where the policy tags: `none`, `low` or `high`.
pub(crate) const RISK_HEADER: HeaderName = HeaderName::from_static("x-tiltmeter-risk");
/// On the gateway's own errors: their code.
pub(crate) const REFUSAL_HEADER: HeaderName = HeaderName::from_static("x-tiltmeter-refusal");
/// On requests: the key for the gateway, where `Authorization` is for the model's server.
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("x-tiltmeter-key");
/// How Anthropic's clients send their key.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
