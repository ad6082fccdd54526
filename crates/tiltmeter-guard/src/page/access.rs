//! Who may see the page.

use std::net::IpAddr;

use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap};
use reqwest::Url;

/// What lets somebody in: the token itself in a header, or a cookie that stands for it. The cookie holds no token, and ends
/// with the process, or with another token.
pub(super) struct Access<'a> {
    token: &'a blake3::Hash,
    session: blake3::Hash,
    port: u16,
}

impl<'a> Access<'a> {
    pub(super) fn new(secret: &[u8; 32], token: &'a blake3::Hash, port: u16) -> Self {
        Self { token, session: blake3::keyed_hash(secret, token.as_bytes()), port }
    }

    /// Cookies do not tell ports apart, so their names do.
    fn cookie_name(&self) -> String {
        format!("tiltmeter-guard-{}", self.port)
    }

    /// Hashes are compared, which takes the same time wherever they differ.
    fn is_token(&self, given: &str) -> bool {
        blake3::hash(given.trim().as_bytes()) == *self.token
    }

    /// The cookie for whoever gives the token.
    pub(super) fn cookie_for(&self, given: &str) -> Option<HeaderValue> {
        let name = self.cookie_name();
        let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict", self.session.to_hex());
        let mut value = HeaderValue::from_str(&cookie).ok().filter(|_| self.is_token(given))?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(given) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
            return self.is_token(given);
        }
        let name = self.cookie_name();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .any(|(_, value)| blake3::Hash::from_hex(value).is_ok_and(|hash| hash == self.session))
    }
}

/// Whether a request names this machine, by whatever port a tunnel has. A page of another site whose name was changed to this
/// machine's address names that site.
pub(super) fn is_own_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The field `token` of a form, which is written as a query is.
pub(super) fn token_of_form(body: &[u8]) -> Option<String> {
    let mut url = Url::parse("http://localhost/").ok()?;
    url.set_query(Some(std::str::from_utf8(body).ok()?));
    url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a token+of 16 or more é";

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_token_or_its_cookie_lets_in_and_nothing_else() {
        let token = blake3::hash(TOKEN.as_bytes());
        let access = Access::new(&[7; 32], &token, 9088);
        assert_eq!(access.cookie_for("wrong"), None);
        let cookie = access.cookie_for(TOKEN).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(!cookie.contains(token.to_hex().as_str()) && cookie.ends_with("HttpOnly; SameSite=Strict"));
        let pair = cookie.split(';').next().unwrap();
        assert!(access.is_known(&headers(COOKIE, &format!("other=1; {pair}"))));
        for wrong in
            [pair.replace("9088", "9089"), format!("{pair}0"), pair.replace('=', "=0"), "x".to_owned()]
        {
            assert!(!access.is_known(&headers(COOKIE, &wrong)), "{wrong}");
        }
        // Another process, and another token.
        assert!(!Access::new(&[8; 32], &token, 9088).is_known(&headers(COOKIE, pair)));
        let other = blake3::hash(b"other");
        assert!(!Access::new(&[7; 32], &other, 9088).is_known(&headers(COOKIE, pair)));
        let plain = blake3::hash(b"0123456789abcdef");
        let access = Access::new(&[7; 32], &plain, 1);
        assert!(access.is_known(&headers(AUTHORIZATION, "Bearer 0123456789abcdef")));
        assert!(!access.is_known(&headers(AUTHORIZATION, "Bearer 0123456789abcdeg")));
        assert!(!access.is_known(&HeaderMap::new()));
    }

    #[test]
    fn only_this_machines_names_are_its_own() {
        for (host, expected) in [
            ("127.0.0.1:9088", true),
            ("127.0.0.1", true),
            ("localhost:1", true),
            ("[::1]:9088", true),
            ("[::1]", true),
            ("guard.example:9088", false),
            ("127.0.0.1.example.org", false),
            ("10.0.0.1:9088", false),
            ("", false),
        ] {
            assert_eq!(is_own_host(&headers(HOST, host)), expected, "{host}");
        }
        assert!(!is_own_host(&HeaderMap::new()));
    }

    #[test]
    fn forms_are_decoded() {
        assert_eq!(token_of_form(b"x=1&token=a%20b%2B+%C3%A9").as_deref(), Some("a b+ é"));
        assert_eq!(token_of_form(b"token=plain").as_deref(), Some("plain"));
        for wrong in [&b"tokens=a"[..], b"", b"\xff"] {
            assert_eq!(token_of_form(wrong), None);
        }
    }
}
