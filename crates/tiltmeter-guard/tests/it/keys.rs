//! Who may ask, and whose key is sent on.

use crate::support::{Plan, post};
use crate::upstream::{Upstream, answer};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"m","messages":[]}"#;
const CLIENT: &str = "client-key-of-16-characters";

#[test]
fn an_upstreams_key_replaces_the_clients() {
    let upstream = Upstream::fixed(answer("application/json", "{}"));
    let guard = Plan::to(&upstream.base_url())
        .with("api_key_env = 'UP'")
        .server("client_keys_env = 'CLIENTS'")
        .key("UP", "sk-upstream")
        .key("CLIENTS", "another-of-16-characters, client-key-of-16-characters")
        .start();
    for header in ["authorization: Bearer ", "authorization: bearer ", "x-api-key: ", "x-tiltmeter-key: "] {
        guard.raw(post(CHAT, &format!("{header}{CLIENT}\r\n"), BODY)).expect(200, "none");
        let asked = upstream.last();
        assert_eq!(asked.header("authorization"), Some("Bearer sk-upstream"));
        assert_eq!(asked.header("x-api-key"), None);
        assert_eq!(asked.header("x-tiltmeter-key"), None);
    }
    let count = upstream.asked().len();
    for header in
        ["", "authorization: Bearer wrong\r\n", "authorization: Basic client-key-of-16-characters\r\n"]
    {
        guard.raw(post(CHAT, header, BODY)).expect(401, "no_key");
    }
    guard.raw(post("/v1/files", "", BODY)).expect(401, "no_key");
    assert_eq!(upstream.asked().len(), count);
}

#[test]
fn an_anthropic_key_goes_where_it_is_expected() {
    let upstream = Upstream::fixed(answer("application/json", "{}"));
    let guard = Plan::to(&upstream.base_url())
        .with("api_key_env = 'UP'\nkey_header = 'x-api-key'")
        .key("UP", "sk-ant")
        .start();
    guard
        .raw(post("/v1/messages", "x-api-key: whatever\r\nanthropic-version: 2023-06-01\r\n", BODY))
        .expect(200, "none");
    let asked = upstream.last();
    assert_eq!(asked.header("x-api-key"), Some("sk-ant"));
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
}

#[test]
fn a_key_for_the_gateway_is_not_sent_to_a_server_that_takes_its_own() {
    let upstream = Upstream::fixed(answer("application/json", "{}"));
    let guard =
        Plan::to(&upstream.base_url()).server("client_keys_env = 'CLIENTS'").key("CLIENTS", CLIENT).start();
    guard.raw(post(CHAT, &format!("authorization: Bearer {CLIENT}\r\n"), BODY)).expect(401, "key_misplaced");
    assert_eq!(upstream.asked().len(), 0);
    let both = format!("authorization: Bearer sk-of-the-server\r\nx-tiltmeter-key: {CLIENT}\r\n");
    guard.raw(post(CHAT, &both, BODY)).expect(200, "none");
    assert_eq!(upstream.last().header("authorization"), Some("Bearer sk-of-the-server"));
}

#[test]
fn configurations_that_give_keys_away_are_refused() {
    let open = Plan::new(
        "[[upstreams]]\nname = 'up'\nbase_url = 'https://example.org/v1'\ndefault = true\napi_key_env = 'UP'\n",
    )
    .key("UP", "sk");
    let text = open.text().replace("127.0.0.1:0", "0.0.0.0:8088");
    let sources = tiltmeter_guard::config::Sources {
        environment: &|_| Some("sk".to_owned()),
        folder: std::path::Path::new("."),
        inspector: &|_, _| Err(String::new()),
        output_check: &|_, _| Err(String::new()),
    };
    let error = tiltmeter_guard::config::read("GUARD.toml", &text, &sources).unwrap_err().to_string();
    assert!(
        error.starts_with("GUARD.toml:8:15: whoever reaches 0.0.0.0:8088 could spend this key"),
        "{error}"
    );
    let cases = [
        ("base_url = 'https://user:secret-word@host/v1'", "credentials do not stand in an address"),
        ("base_url = 'ftp://host/v1'", "must start with `http://`"),
        ("base_url = 'https://host/v1?key=secret-word'", "must have no `?`"),
        (
            "base_url = 'https://host/v1'\napi_key_env = 'MISSING'",
            "the environment variable `MISSING` is not set",
        ),
    ];
    for (line, expected) in cases {
        let plan = Plan::new(format!("[[upstreams]]\nname = 'up'\n{line}\ndefault = true\n"));
        let error = plan.settings(std::path::Path::new(".")).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret-word"), "{error}");
    }
}
