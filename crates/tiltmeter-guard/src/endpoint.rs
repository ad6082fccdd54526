//! Which requests the gateway knows, by their path. A path that another reader could take for a different one is
//! refused: what looks like an unknown address here must not be an inspected one behind.

use http::Method;

use crate::conversation::Protocol;
use crate::refusal::Refusal;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The gateway lives.
    Health,
    /// The gateway can do its work.
    Ready,
    /// Its figures.
    Metrics,
    /// Something that a model does, named in the body.
    Model {
        protocol: Protocol,
        /// Whether a model writes text, from a context that is not a conversation.
        is_bare_prompt: bool,
    },
    /// Something else below `/v1`.
    Else,
}

impl Endpoint {
    /// Finds out what a request is for.
    pub(crate) fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        if !is_plain(path) {
            return Err(Refusal::odd_path());
        }
        let path =
            path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path).to_ascii_lowercase();
        let model = |protocol, is_bare_prompt| Self::Model { protocol, is_bare_prompt };
        let endpoint = match path.as_str() {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/v1/chat/completions" => model(Protocol::ChatCompletions, false),
            "/v1/responses" => model(Protocol::Responses, false),
            "/v1/messages" => model(Protocol::Messages, false),
            "/v1/completions" => model(Protocol::Other, true),
            "/v1/embeddings"
            | "/v1/messages/count_tokens"
            | "/v1/responses/input_tokens"
            | "/v1/moderations" => model(Protocol::Other, false),
            other if other == "/v1" || other.starts_with("/v1/") => Self::Else,
            _ => return Err(Refusal::no_address()),
        };
        Ok(match endpoint {
            // Stored completions are listed by GET at the address where others are made.
            Self::Model { .. } if method != Method::POST => Self::Else,
            Self::Health | Self::Ready | Self::Metrics if method != Method::GET && method != Method::HEAD => {
                return Err(Refusal::no_address());
            }
            endpoint => endpoint,
        })
    }
}

/// Whether a path has one reading: no empty or dotted segments, no characters escaped that need not be.
fn is_plain(path: &str) -> bool {
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let Some(code) = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return false;
        };
        if code.is_ascii_alphanumeric() || b"-._~".contains(&code) || code < b' ' || code == b'\\' {
            return false;
        }
        rest = after;
    }
    let inner = path.strip_suffix('/').unwrap_or(path);
    !path.contains(['\\', ';'])
        && (inner.is_empty() || inner.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_known_by_path_and_method() {
        let chat = Endpoint::Model { protocol: Protocol::ChatCompletions, is_bare_prompt: false };
        let cases = [
            (Method::POST, "/v1/chat/completions", Some(chat)),
            (Method::POST, "/v1/chat/completions/", Some(chat)),
            (Method::POST, "/V1/Chat/Completions", Some(chat)),
            (Method::GET, "/v1/chat/completions", Some(Endpoint::Else)),
            (Method::GET, "/v1/models/org%2Fname", Some(Endpoint::Else)),
            (Method::POST, "/v1/%63hat/completions", None),
            (Method::POST, "/v1//chat/completions", None),
            (Method::POST, "/v1/x/../chat/completions", None),
            (Method::POST, "/v1/x/%2e%2e/chat/completions", None),
            (Method::POST, "/v1/chat\\completions", None),
            (Method::POST, "/v1/chat/completions;x", None),
            (Method::POST, "/v1/x%", None),
            (Method::GET, "/", None),
            (Method::GET, "/v11/x", None),
            (Method::GET, "/healthz", Some(Endpoint::Health)),
            (Method::POST, "/healthz", None),
        ];
        for (method, path, expected) in cases {
            assert_eq!(Endpoint::of(&method, path).ok(), expected, "{method} {path}");
        }
    }
}
