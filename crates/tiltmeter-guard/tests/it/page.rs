//! The live page: who may see it, what it shows, and that what it shows stays text.

use serde_json::Value;

use crate::acting::{conversation, guarded};
use crate::support::{Guard, Plan, Reply, post};
use crate::upstream::{Upstream, answer};

const CHAT: &str = "/v1/chat/completions";
const TOKEN: &str = "a-token-of-the-test";
const ADMIN: &str = "admin = '127.0.0.1:0'\nadmin_token_env = 'PAGE_TOKEN'";

fn upstream() -> Upstream {
    Upstream::fixed(answer("application/json", "{}"))
}

fn with_page(plan: Plan) -> Plan {
    plan.server(ADMIN).key("PAGE_TOKEN", TOKEN)
}

fn ask(guard: &Guard, path: &str, headers: &str) -> Reply {
    guard.admin(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"))
}

fn live(guard: &Guard) -> Value {
    let reply = ask(guard, "/live.json", &format!("authorization: Bearer {TOKEN}\r\n"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

fn log_in(guard: &Guard, token: &str) -> Reply {
    let form = format!("token={token}");
    guard.admin(format!(
        "POST /login HTTP/1.1\r\nhost: 127.0.0.1:1\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    ))
}

#[test]
fn a_page_needs_an_address_of_this_machine_and_a_token() {
    let upstream = upstream();
    let cases = [
        (
            "admin_token_env = 'PAGE_TOKEN'",
            TOKEN,
            "GUARD.toml:3:19: the live page is served at `server.admin`, which is missing",
        ),
        (
            "admin = '0.0.0.0:0'\nadmin_token_env = 'PAGE_TOKEN'",
            TOKEN,
            "GUARD.toml:3:9: whoever reaches 0.0.0.0:0 could ask for the live page",
        ),
        (ADMIN, "", "GUARD.toml:4:19: the environment variable `PAGE_TOKEN` is not set, or empty"),
        (ADMIN, "short", "GUARD.toml:4:19: `PAGE_TOKEN` needs a token of at least 16 characters"),
    ];
    for (server, token, expected) in cases {
        let plan = Plan::to(&upstream.base_url()).server(server).key("PAGE_TOKEN", token);
        let error = plan.settings(std::path::Path::new("")).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    // Figures alone need no token, as before.
    let guard = Plan::to(&upstream.base_url()).server("admin = '127.0.0.1:0'").start();
    ask(&guard, "/", "").expect(404, "no_such_address");
    assert_eq!(ask(&guard, "/metrics", "").status, 200);
}

#[test]
fn the_token_lets_in_and_is_shown_nowhere() {
    let upstream = upstream();
    let guard = with_page(Plan::to(&upstream.base_url())).start();
    for path in ["/", "/live", "/live.json"] {
        for headers in ["", "authorization: Bearer wrong\r\n", "cookie: tiltmeter-guard-0=00\r\n"] {
            assert_eq!(ask(&guard, path, headers).status, 401, "{path} {headers}");
        }
        // Another site's page whose name leads to this machine.
        let reply = guard.admin(format!(
            "GET {path} HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        ));
        assert_eq!(reply.status, 421);
        // Clients have another address.
        guard.get(path).expect(404, "no_such_address");
    }
    assert_eq!(log_in(&guard, "wrong-wrong-wrong-wrong").status, 401);
    assert_eq!(ask(&guard, "/login", "").status, 405);
    let reply = log_in(&guard, TOKEN);
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
    let cookie = reply.header("set-cookie").unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    for path in ["/", "/live", "/live.json", "/page.css", "/page.js"] {
        let reply = ask(&guard, path, &format!("cookie: a=b; {pair}\r\n"));
        assert_eq!(reply.status, 200, "{path}");
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(!reply.text().contains(TOKEN) && !format!("{:?}", reply.headers).contains(TOKEN));
        assert!(!reply.text().contains("http://") || path == "/live", "{path} names another address");
    }
    assert!(!cookie.contains(TOKEN));
    // Figures and health stay where they are.
    assert_eq!(ask(&guard, "/metrics", "").status, 200);
    assert_eq!(upstream.asked().len(), 0);
}

#[test]
fn what_is_done_and_found_is_shown() {
    let upstream = upstream();
    let plan = guarded(&upstream, "on_low = ['tag']\non_high = ['block']")
        .with("[[routes]]\nname = 'tried <b>out</b>'\nmodels = ['try*']\ndetectors = ['word']\non_high = ['block']\ndry_run = true")
        .with("[audit]\nfolder = 'audit'\ncontent = true\nredact = ['[0-9]{5}']");
    let mut guard = with_page(plan).start();
    guard.post(CHAT, conversation(&["fine"])).expect(200, "none");
    let hostile = r"reckless <script>alert(1)</script> 12345 \u202e\u001b[31m";
    for _ in 0..2 {
        guard.post(CHAT, conversation(&[hostile])).expect(200, "none");
    }
    guard.post(CHAT, conversation(&["reckless", "reckless 2"])).expect(403, "blocked_context");
    let tried = conversation(&["reckless", "reckless 2"]).replace(r#""model": "m""#, r#""model": "try""#);
    guard.post(CHAT, tried).expect(200, "none");
    guard.post(CHAT, "nonsense").expect(400, "bad_body");
    guard.post("/v1/files", "x").expect(200, "none");
    let seen = live(&guard);
    let board = &seen["board"];
    assert_eq!(board["routes"]["all"]["since_start"]["answered"], 3, "{board:#}");
    assert_eq!(board["routes"]["all"]["last_hour"]["blocked"], 1);
    assert_eq!(
        board["routes"][""]["since_start"],
        serde_json::json!({ "answered": 1, "blocked": 0, "refused": 1, "failed": 0, "left": 0 })
    );
    assert_eq!(
        board["risk"]["all"],
        serde_json::json!({ "none": { "nothing": 1 }, "low": { "tag": 2 }, "high": { "block": 1 } })
    );
    assert_eq!(board["risk"]["tried <b>out</b>"]["high"], serde_json::json!({ "would block": 1 }));
    assert_eq!(board["failures"]["refusals"], serde_json::json!({ "bad_body": 1, "blocked_context": 1 }));
    assert_eq!(
        board["failures"]["unchecked"][0],
        serde_json::json!({ "detector": "all", "reason": "uninspected", "count": 1 })
    );
    let examples = board["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 3);
    assert_eq!(
        (&examples[0]["count"], &examples[0]["reasons"]),
        (&2.into(), &serde_json::json!([["word", "reckless"]]))
    );
    assert_eq!(examples[0]["id"].as_str().unwrap().len(), 32);
    // What was redacted in the log is so here.
    let text =
        examples.iter().find_map(|row| row["text"].as_str().filter(|text| text.contains("script"))).unwrap();
    assert!(text.contains("[redacted]") && !text.contains("12345"), "{text}");
    assert_eq!(seen["audit"]["lost"], 0);
    let page = ask(&guard, "/", &format!("authorization: Bearer {TOKEN}\r\n")).text();
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; [redacted] ⟦U+202E⟧␛[31m"), "{page}");
    assert!(page.contains("tried &lt;b&gt;out&lt;/b&gt;") && !page.contains("<b>out"), "{page}");
    assert!(page.contains("would block") && page.contains("passed uninspected"));
    guard.stop();
}

#[test]
fn texts_are_not_shown_where_the_log_keeps_none() {
    let upstream = upstream();
    for audit in ["", "[audit]\nfolder = 'audit'"] {
        let guard = with_page(guarded(&upstream, "").with(audit)).start();
        guard.post(CHAT, conversation(&["reckless secret"])).expect(200, "none");
        let seen = live(&guard);
        assert_eq!(seen["board"]["examples"][0]["count"], 1);
        assert!(!seen.to_string().contains("secret"), "{seen}");
    }
}

#[test]
fn another_token_ends_what_the_one_before_let_in() {
    let upstream = upstream();
    let mut guard = with_page(Plan::to(&upstream.base_url())).start();
    let cookie = log_in(&guard, TOKEN).header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(ask(&guard, "/", &format!("cookie: {cookie}\r\n")).status, 200);
    let other = Plan::to(&upstream.base_url()).server(ADMIN).key("PAGE_TOKEN", "another-token-of-the-test");
    guard.reload(other);
    assert_eq!(ask(&guard, "/", &format!("cookie: {cookie}\r\n")).status, 401);
    assert_eq!(ask(&guard, "/live.json", &format!("authorization: Bearer {TOKEN}\r\n")).status, 401);
    // The log of requests is none of the page's business.
    guard.raw(post(CHAT, "", r#"{"model":"m"}"#)).expect(200, "none");
}
