//! Headers: what is refused, what belongs to one connection only, who asks.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap,
    HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use secrecy::ExposeSecret as _;

use crate::config::file::KeyHeader;
use crate::config::{Settings, Upstream};
use crate::names::{KEY_HEADER, PREFIX, X_API_KEY};
use crate::refusal::Refusal;

/// Headers that may stand in a request once only, and hold visible characters only.
const SINGLE: [HeaderName; 7] =
    [HOST, CONTENT_LENGTH, CONTENT_TYPE, AUTHORIZATION, X_API_KEY, CONTENT_ENCODING, TRANSFER_ENCODING];

/// Headers of one connection. They are neither asked for nor answered through a gateway.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Refuses what two readers could understand differently.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    for name in SINGLE {
        let mut values = headers.get_all(&name).iter();
        let Some(first) = values.next() else { continue };
        if values.next().is_some() {
            return Err(Refusal::bad_head(format!("the header {name} stands twice")));
        }
        if first.to_str().is_err() {
            return Err(Refusal::bad_head(format!("the header {name} holds odd characters")));
        }
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(Refusal::bad_head("Transfer-Encoding and Content-Length contradict one another"));
        }
        if headers
            .get(TRANSFER_ENCODING)
            .is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
        {
            return Err(Refusal::bad_head("the only Transfer-Encoding that is taken is `chunked`"));
        }
    }
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::encoded());
    }
    Ok(())
}

/// Takes away what belongs to one connection, and the gateway's own names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Whoever names these wants them to be lost on the way.
        .filter(|name: &HeaderName| !SINGLE.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    let own: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// What of a request's headers is sent on. Its length is that of the body that is sent.
pub(crate) fn outgoing(mut headers: HeaderMap, upstream: &Upstream) -> HeaderMap {
    strip(&mut headers);
    for name in [HOST, CONTENT_LENGTH, EXPECT] {
        headers.remove(name);
    }
    if let Some(key) = &upstream.key {
        headers.remove(AUTHORIZATION);
        headers.remove(X_API_KEY);
        let (name, value) = match upstream.key_header {
            KeyHeader::Authorization => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
            KeyHeader::XApiKey => (X_API_KEY, key.expose_secret().to_owned()),
        };
        // Whether it can be sent was seen when the configuration was read.
        if let Ok(mut value) = HeaderValue::try_from(value) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers
}

/// What of an answer's headers is given to the client.
pub(crate) fn incoming(headers: &mut HeaderMap) {
    strip(headers);
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// A short hash of the key, for the audit log.
    pub(crate) id: Option<String>,
    /// Whether the key for the gateway stands where that for an upstream would.
    is_in_upstreams_place: bool,
}

impl Client {
    /// Refuses those without a key where keys are wanted. The key stands in `x-tiltmeter-key`, or where clients put that for
    /// the model's server.
    pub(crate) fn of(headers: &HeaderMap, settings: &Settings) -> Result<Self, Refusal> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let bearer = text(AUTHORIZATION).and_then(|value| {
            value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer ")).and(value.get(7..))
        });
        let own = text(KEY_HEADER);
        let theirs = bearer.or_else(|| text(X_API_KEY));
        let Some(keys) = &settings.client_keys else {
            let id = theirs.map(|key| short(&blake3::hash(key.as_bytes())));
            return Ok(Self { id, is_in_upstreams_place: false });
        };
        // Hashes are compared, in constant time at that.
        let hash = blake3::hash(own.or(theirs).ok_or_else(Refusal::no_key)?.trim().as_bytes());
        if keys.contains(&hash) {
            Ok(Self { id: Some(short(&hash)), is_in_upstreams_place: own.is_none() })
        } else {
            Err(Refusal::no_key())
        }
    }

    /// A key for the gateway must not be sent to a server as if it were the server's.
    pub(crate) fn check_for(&self, upstream: &Upstream) -> Result<(), Refusal> {
        if upstream.key.is_none() && self.is_in_upstreams_place {
            Err(Refusal::key_misplaced())
        } else {
            Ok(())
        }
    }
}

fn short(hash: &blake3::Hash) -> String {
    hash.to_hex().chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn contradictions_are_refused() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[("content-type", "application/json"), ("content-type", "text/plain")], "bad_header"),
            (&[("content-length", "3"), ("transfer-encoding", "chunked")], "bad_header"),
            (&[("transfer-encoding", "gzip, chunked")], "bad_header"),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], "bad_header"),
            (&[("content-encoding", "gzip")], "compressed_body"),
            (&[("content-encoding", "identity"), ("content-encoding", "zstd")], "bad_header"),
        ];
        for (headers, code) in cases {
            assert_eq!(check(&map(headers)).unwrap_err().code, code, "{headers:?}");
        }
        check(&map(&[("content-encoding", "identity"), ("accept", "a"), ("accept", "b")])).unwrap();
    }

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let mut headers = map(&[
            ("connection", "keep-alive, x-odd, authorization"),
            ("keep-alive", "5"),
            ("x-odd", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("authorization", "Bearer a"),
            ("x-tiltmeter-risk", "none"),
            ("x-kept", "1"),
        ]);
        incoming(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "x-kept"]);
    }
}
