//! Who may ask the server, and what every reply says to the browser.

use std::net::SocketAddr;

use axum::http::header::{CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};

use crate::token::Token;

/// Nothing is loaded from anywhere but this server, nothing is framed, no form goes anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What every reply carries.
pub(crate) const HEADERS: [(HeaderName, &str); 6] = [
    (HeaderName::from_static("content-security-policy"), POLICY),
    (HeaderName::from_static("cache-control"), "no-store"),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The longest body of a request: a label with its note.
pub(crate) const LONGEST_BODY: usize = 64 << 10;

/// Who may ask.
#[derive(Debug)]
pub(crate) struct Guard {
    address: SocketAddr,
    session: Token,
}

impl Guard {
    pub(crate) fn new(address: SocketAddr, session: Token) -> Self {
        Self { address, session }
    }

    /// The cookie that holds the session. Cookies do not tell ports apart, so their names do.
    fn cookie(&self) -> String {
        format!("tiltmeter-{}", self.address.port())
    }

    /// What lets the browser in from now on.
    pub(crate) fn set_cookie(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie(), self.session.expose())
    }

    /// Refuses requests under another name than this server's, as pages of other sites make them whose name was changed to
    /// this machine's address.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if host.is_some_and(|host| self.names().iter().any(|name| name.eq_ignore_ascii_case(host))) {
            Ok(())
        } else {
            Err(StatusCode::MISDIRECTED_REQUEST)
        }
    }

    /// Refuses requests without the session; changes also from another page, or in a form that a page may send unasked.
    pub(crate) fn check_session(&self, method: &Method, headers: &HeaderMap) -> Result<(), StatusCode> {
        let name = self.cookie();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let is_known = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(key, value)| key == name && self.session.is(value));
        if !is_known {
            return Err(StatusCode::FORBIDDEN);
        }
        if *method == Method::GET {
            return Ok(());
        }
        let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
        let is_own = origin.is_none_or(|origin| {
            self.names().iter().any(|name| format!("http://{name}").as_bytes() == origin)
        });
        if !is_own {
            return Err(StatusCode::FORBIDDEN);
        }
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.eq_ignore_ascii_case("application/json") {
            Ok(())
        } else {
            Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        }
    }

    fn names(&self) -> [String; 2] {
        [self.address.to_string(), format!("localhost:{}", self.address.port())]
    }
}
