//! What is done with requests by what is found in them, and what happens where checks fail.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use tiltmeter_core::id::Canonical;
use tiltmeter_guard::inspection::{
    ExampleId, FlaggedExample, Inspection, Inspector, Place, Reason, RequestView, Risk, RiskLevel, Role,
    Unchecked, UncheckedReason,
};
use tokio::sync::Notify;

use crate::support::{Guard, Plan, post};
use crate::upstream::{Upstream, answer};

const CHAT: &str = "/v1/chat/completions";

/// Flags the answers that hold a word, each with the question before it.
pub(crate) struct Word;

#[async_trait]
impl Inspector for Word {
    async fn inspect(&self, request: &RequestView) -> Inspection {
        let mut inspection = Inspection::default();
        for (index, message) in request.messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            inspection.examples += 1;
            let text: String = message.texts.iter().map(|text| request.text(text)).collect();
            if text.contains("reckless") {
                let id = ExampleId(Canonical::new("test").text(&text).finish());
                let places = vec![Place::Messages(index - 1..index + 1)];
                inspection.flagged.push(FlaggedExample { id, places });
            }
        }
        let level = match inspection.flagged.len() {
            0 => RiskLevel::None,
            1 => RiskLevel::Low,
            _ => RiskLevel::High,
        };
        inspection.risk = Risk { level, score: 0.5 };
        if level != RiskLevel::None {
            let reason = Reason { detector: "word".into(), code: "reckless".into(), score: 0.5 };
            inspection.reasons.push(reason);
        }
        inspection
    }
}

/// A request whose assistant says these.
pub(crate) fn conversation(answers: &[&str]) -> String {
    let turns: Vec<String> = answers
        .iter()
        .map(|answer| {
            format!(r#"{{"role":"user","content":"q"}}, {{"role":"assistant","content":"{answer}"}}, "#)
        })
        .collect();
    format!(r#"{{"model": "m", "messages": [{}{{"role":"user","content":"last"}}], "n":2}}"#, turns.concat())
}

pub(crate) fn guarded(upstream: &Upstream, route: &str) -> Plan {
    Plan::to(&upstream.base_url())
        .inspector("word", Word)
        .with("[[detectors]]\nname = 'word'\nkind = 'word'\ntimeout_ms = 5000")
        .with("[[routes]]\nname = 'all'\nmodels = ['*']\ndetectors = ['word']")
        .with(route)
}

fn upstream() -> Upstream {
    Upstream::fixed(answer("application/json", "{}"))
}

#[test]
fn actions_follow_the_risk() {
    let upstream = upstream();
    let other = Upstream::fixed(answer("application/json", "\"other\""));
    let guard = guarded(
        &upstream,
        "on_low = ['tag', 'instruct', 'quarantine']\non_high = ['block']\ninstruction = 'be safe'",
    )
    .with(&format!("[[upstreams]]\nname = 'other'\nbase_url = '{}'\nmodels = ['safe']", other.base_url()))
    .start();
    let harmless = conversation(&["fine", "good"]);
    let reply = guard.post(CHAT, &harmless).expect(200, "none");
    assert_eq!(reply.header("x-tiltmeter-risk"), None);
    assert_eq!(upstream.last().body, harmless.as_bytes());

    let reply = guard.post(CHAT, conversation(&["fine", "reckless", "good"])).expect(200, "none");
    assert_eq!(reply.header("x-tiltmeter-risk"), Some("low"));
    let expected = conversation(&["fine", "good"]).replace(
        r#"{"role":"user","content":"last"}"#,
        r#"{"role":"system","content":"be safe"},{"role":"user","content":"last"}"#,
    );
    assert_eq!(String::from_utf8(upstream.last().body).unwrap(), expected);

    let asked = upstream.asked().len();
    let reply = guard.post(CHAT, conversation(&["reckless", "reckless"])).expect(403, "blocked_context");
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap()["error"]["code"], "blocked_context");
    let reply =
        guard.post("/v1/messages", conversation(&["reckless", "reckless"])).expect(403, "blocked_context");
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap()["error"]["type"], "permission_error");
    assert_eq!(upstream.asked().len(), asked);
}

#[test]
fn another_model_answers() {
    let upstream = upstream();
    let other = Upstream::fixed(answer("application/json", "\"other\""));
    let guard = guarded(&upstream, "on_low = ['fallback']\nfallback_model = 'safe-1'")
        .with(&format!(
            "[[upstreams]]\nname = 'other'\nbase_url = '{}'\nmodels = ['safe*']",
            other.base_url()
        ))
        .start();
    let body = conversation(&["reckless"]);
    assert_eq!(guard.post(CHAT, &body).text(), "\"other\"");
    let asked = String::from_utf8(other.last().body).unwrap();
    assert_eq!(asked, body.replace(r#""model": "m""#, r#""model": "safe-1""#));
    assert_eq!(upstream.asked().len(), 0);
}

#[test]
fn trying_out_changes_nothing() {
    let upstream = upstream();
    let guard =
        guarded(&upstream, "on_low = ['tag', 'quarantine']\non_high = ['block']\ndry_run = true").start();
    for answers in [&["reckless"][..], &["reckless", "reckless"]] {
        let body = conversation(answers);
        let reply = guard.post(CHAT, &body).expect(200, "none");
        assert_eq!(reply.header("x-tiltmeter-risk"), None);
        assert_eq!(upstream.last().body, body.as_bytes());
    }
}

#[test]
fn what_two_readers_could_read_differently_is_not_inspected_but_refused() {
    let upstream = upstream();
    let guard = guarded(&upstream, "").start();
    for body in [
        r#"{"model":"m","messages":[],"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}"#,
        r#"{"model":"m"}"#,
    ] {
        guard.post(CHAT, body).expect(400, "bad_body");
    }
    assert_eq!(upstream.asked().len(), 0);
}

/// Fails in the way that it is told to.
struct Failing(Arc<Mutex<&'static str>>);

#[async_trait]
impl Inspector for Failing {
    async fn inspect(&self, _: &RequestView) -> Inspection {
        let how = *self.0.lock().unwrap();
        match how {
            "panics" => panic!("the detector panics, as the test wants it to"),
            "hangs" => std::future::pending().await,
            "says so" => Inspection {
                unchecked: vec![Unchecked {
                    detector: "failing".into(),
                    reason: UncheckedReason::Failed,
                    bytes: 1,
                }],
                ..Inspection::default()
            },
            _ => Inspection { risk: Risk { level: RiskLevel::High, score: 1.0 }, ..Inspection::default() },
        }
    }
}

fn failing(upstream: &Upstream, detector: &str) -> (Guard, Arc<Mutex<&'static str>>) {
    let how = Arc::new(Mutex::new("works"));
    let guard = Plan::to(&upstream.base_url())
        .inspector("failing", Failing(Arc::clone(&how)))
        .with(&format!("[[detectors]]\nname = 'failing'\nkind = 'failing'\n{detector}"))
        .with("[[routes]]\nname = 'all'\nmodels = ['*']\ndetectors = ['failing']\non_high = ['tag']")
        .start();
    (guard, how)
}

#[test]
fn a_check_that_fails_lets_through_or_refuses_as_configured() {
    for (policy, status, refusal) in [("open", 200, "none"), ("closed", 503, "unchecked")] {
        let upstream = upstream();
        let (guard, how) =
            failing(&upstream, &format!("timeout_ms = 50\nrest_after = 0\non_failure = '{policy}'"));
        for failure in ["panics", "hangs", "says so"] {
            *how.lock().unwrap() = failure;
            guard.post(CHAT, conversation(&[])).expect(status, refusal);
        }
        *how.lock().unwrap() = "works";
        assert_eq!(guard.post(CHAT, conversation(&[])).header("x-tiltmeter-risk"), Some("high"));
        // Bare prompts hold contexts that nobody looks at.
        guard.post("/v1/completions", r#"{"model":"m","prompt":"x"}"#).expect(status, refusal);
        guard.post("/v1/embeddings", r#"{"model":"m","input":"x"}"#).expect(200, "none");
        let figures = guard.get("/metrics").text();
        let errors =
            format!(r#"tiltmeter_guard_detector_errors_total{{detector="failing",policy="{policy}"}} 4"#);
        assert!(figures.contains(&errors), "{figures}");
        let open = if policy == "open" { 4 } else { 0 };
        assert!(figures.contains(&format!("tiltmeter_guard_fail_open_total {open}")), "{figures}");
        for reason in ["timed-out", "failed", "unknown"] {
            assert!(figures.contains(&format!(r#"reason="{reason}""#)), "{figures}");
        }
    }
}

#[test]
fn a_context_that_is_kept_elsewhere_is_unchecked() {
    const RESPONSES: &str = "/v1/responses";
    for (policy, status, refusal) in [("open", 200, "none"), ("closed", 503, "unchecked")] {
        let upstream = upstream();
        let (guard, _) = failing(&upstream, &format!("timeout_ms = 5000\non_failure = '{policy}'"));
        guard.post(RESPONSES, r#"{"model":"m","input":"x"}"#).expect(200, "none");
        for fields in [
            r#""previous_response_id":"r""#,
            r#""conversation":"c""#,
            r#""prompt":{"id":"p"}"#,
            r#""x":[],"input":[{"type":"item_reference","id":"i"}]"#,
        ] {
            let reply = guard.post(RESPONSES, format!(r#"{{"model":"m",{fields}}}"#)).expect(status, refusal);
            // What is there was looked at all the same.
            assert_eq!(reply.header("x-tiltmeter-risk"), (policy == "open").then_some("high"), "{fields}");
        }
        let figures = guard.get("/metrics").text();
        let unchecked = r#"tiltmeter_guard_unchecked_total{detector="failing",reason="stored-elsewhere"} 4"#;
        assert!(figures.contains(unchecked), "{figures}");
        // The detector itself worked: it does not rest.
        assert!(!figures.contains("resting"), "{figures}");
    }
}

#[test]
fn what_no_detector_is_for_passes_as_configured() {
    let closed = "[[detectors]]\nname = 'strict'\nkind = 'word'\non_failure = 'closed'\n\
                  [[routes]]\nname = 'strict'\nmodels = ['s']\ndetectors = ['strict']";
    // Without a setting, it is as strict as the detectors are.
    for (setting, further, read, write) in [
        ("", "", 200, 200),
        ("", closed, 200, 404),
        ("uninspected = 'pass'", closed, 200, 200),
        ("uninspected = 'read'", "", 200, 404),
        ("uninspected = 'refuse'", "", 404, 404),
    ] {
        let upstream = upstream();
        let guard = guarded(&upstream, "").with(further).server(setting).start();
        for path in ["/v1/files", "/v1/batches", "/v1/messages/batches", "/v1/chat/completions/c"] {
            assert_eq!(guard.get(path).status, read, "{setting} {path}");
            assert_eq!(guard.post(path, "{}").status, write, "{setting} {path}");
        }
        let unchecked = r#"tiltmeter_guard_unchecked_total{detector="all",reason="uninspected"} 4"#;
        assert_eq!(guard.get("/metrics").text().contains(unchecked), write == 200, "{setting}");
    }
}

#[test]
fn a_detector_that_fails_in_a_row_rests() {
    let upstream = upstream();
    let (guard, how) = failing(&upstream, "timeout_ms = 5000\nrest_after = 2\nrest_seconds = 3600");
    for failure in ["panics", "works", "panics", "panics"] {
        *how.lock().unwrap() = failure;
        guard.post(CHAT, conversation(&[])).expect(200, "none");
    }
    // It would work now, but is not asked.
    *how.lock().unwrap() = "works";
    assert_eq!(guard.post(CHAT, conversation(&[])).header("x-tiltmeter-risk"), None);
    assert!(
        guard
            .get("/metrics")
            .text()
            .contains(r#"tiltmeter_guard_unchecked_total{detector="failing",reason="resting"} 1"#)
    );
}

/// Waits for the test.
struct Slow {
    began: std::sync::mpsc::Sender<()>,
    go: Arc<Notify>,
}

#[async_trait]
impl Inspector for Slow {
    async fn inspect(&self, _: &RequestView) -> Inspection {
        let _ = self.began.send(());
        self.go.notified().await;
        Inspection::default()
    }
}

#[test]
fn checks_are_shed_before_requests() {
    let upstream = upstream();
    let (began, has_begun) = std::sync::mpsc::channel();
    let go = Arc::new(Notify::new());
    let guard = Plan::to(&upstream.base_url())
        .inspector("slow", Slow { began, go: Arc::clone(&go) })
        .with("[inspection]\nconcurrent = 1")
        .with("[[detectors]]\nname = 'slow'\nkind = 'slow'\ntimeout_ms = 60000")
        .with("[[detectors]]\nname = 'less'\nkind = 'slow'\ntimeout_ms = 60000\nrank = -1")
        .with("[[routes]]\nname = 'all'\nmodels = ['*']\ndetectors = ['less', 'slow']")
        .start();
    let mut first = guard.connect();
    first.send(post(CHAT, "", conversation(&[])));
    for _ in 0..2 {
        has_begun.recv().unwrap();
    }
    // The first takes the only place: the second goes on, and nobody looks at it.
    guard.post(CHAT, conversation(&[])).expect(200, "none");
    let figures = guard.get("/metrics").text();
    for detector in ["less", "slow"] {
        let line = format!(r#"tiltmeter_guard_unchecked_total{{detector="{detector}",reason="shed"}} 1"#);
        assert!(figures.contains(&line), "{figures}");
    }
    assert!(has_begun.try_recv().is_err());
    go.notify_waiters();
    first.reply().expect(200, "none");
}

#[test]
fn what_is_too_large_to_inspect_is_said() {
    let upstream = upstream();
    let guard = guarded(&upstream, "on_low = ['tag']").with("[inspection]\nbody_bytes = 300").start();
    assert_eq!(guard.post(CHAT, conversation(&["reckless"])).header("x-tiltmeter-risk"), Some("low"));
    let reply = guard.post(CHAT, conversation(&["reckless", &"x".repeat(300)])).expect(200, "none");
    assert_eq!(reply.header("x-tiltmeter-risk"), None);
    assert!(
        guard
            .get("/metrics")
            .text()
            .contains(r#"tiltmeter_guard_unchecked_total{detector="word",reason="too-large"} 1"#)
    );
}
