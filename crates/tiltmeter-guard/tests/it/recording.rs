//! What the audit log holds, and what it does not.

use rusqlite::Connection;
use serde_json::Value;
use tiltmeter_guard::audit::verify;

use crate::acting::{conversation, guarded};
use crate::judge::records;
use crate::support::{Plan, post};
use crate::upstream::{Upstream, answer};

const CHAT: &str = "/v1/chat/completions";

fn upstream() -> Upstream {
    Upstream::fixed(answer("application/json", "{\"a\":1}"))
}

#[test]
fn decisions_and_outcomes_are_recorded_without_content() {
    let upstream = upstream();
    let mut guard = guarded(&upstream, "on_low = ['tag', 'quarantine']\non_high = ['block']")
        .with("[audit]\nfolder = 'audit'\nwhen = 'before-answer'")
        .start();
    let body = conversation(&["fine", "reckless secret-content"]);
    let reply = guard.raw(post(CHAT, "authorization: Bearer sk-secret-key\r\n", &body)).expect(200, "none");
    let id = reply.header("x-tiltmeter-request").unwrap().to_owned();
    let folder = guard.path("audit");
    // The decision is there as soon as the answer is.
    let decision = records(&folder, "decision").pop().unwrap();
    assert_eq!(decision.0, id);
    assert_eq!(decision.1["risk"], "low");
    assert_eq!(decision.1["actions"], serde_json::json!(["tag", "quarantine"]));
    assert_eq!(decision.1["request_hash"], blake3::hash(body.as_bytes()).to_hex().to_string());
    assert_eq!(decision.1["forwarded_hash"], blake3::hash(&upstream.last().body).to_hex().to_string());
    assert_eq!((&decision.1["examples"], &decision.1["upstream"]), (&2.into(), &"up".into()));
    guard.post(CHAT, conversation(&["reckless", "reckless"])).expect(403, "blocked_context");
    guard.post(CHAT, "nonsense").expect(400, "bad_body");
    guard.get("/nowhere");
    guard.stop();
    let outcomes = records(&folder, "outcome");
    assert_eq!(outcomes.len(), 3);
    assert_eq!(outcomes[0].0, id);
    assert_eq!((&outcomes[0].1["status"], &outcomes[0].1["ended"]), (&200.into(), &"complete".into()));
    assert_eq!(outcomes[0].1["answer_hash"], blake3::hash(b"{\"a\":1}").to_hex().to_string());
    assert_eq!(outcomes[0].1["unchecked_bytes"], 7);
    assert_eq!(outcomes[1].1["refusal"], "blocked_context");
    assert_eq!(outcomes[2].1["refusal"], "bad_body");
    assert_eq!(verify(&folder, None, None).unwrap().records, 5);
    for secret in ["secret-content", "sk-secret-key"] {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
}

#[test]
fn what_passes_uninspected_is_recorded_as_unchecked() {
    let upstream = upstream();
    let mut guard = Plan::to(&upstream.base_url()).with("[audit]\nfolder = 'audit'").start();
    guard.get("/v1/files").expect(200, "none");
    guard.post("/v1/files", "12345").expect(200, "none");
    guard.stop();
    let unchecked: Vec<Value> = records(&guard.path("audit"), "decision")
        .into_iter()
        .map(|(_, decision)| decision["unchecked"].clone())
        .collect();
    let upload = serde_json::json!({ "detector": "all", "reason": "uninspected", "bytes": 5 });
    assert_eq!(unchecked, [serde_json::json!([]), serde_json::json!([upload])]);
}

#[test]
fn content_is_kept_where_it_is_wanted_and_redacted() {
    let upstream = upstream();
    let mut guard = Plan::to(&upstream.base_url())
        .with("[audit]\nfolder = 'audit'\ncontent = true\nredact = ['[0-9]{4,}', 'name: \\w+']")
        .start();
    guard.post(CHAT, r#"{"model":"m","messages":[{"role":"user","content":"card 12345678, name: Ann!"}]}"#);
    guard.stop();
    let connection = Connection::open(guard.path("audit/audit-000001.sqlite")).unwrap();
    let content: Vec<u8> = connection
        .query_row("SELECT content FROM record WHERE kind = 'decision'", [], |row| row.get(0))
        .unwrap();
    let text = String::from_utf8(content).unwrap();
    assert!(text.contains("card [redacted], [redacted]!"), "{text}");
    verify(&guard.path("audit"), None, None).unwrap();
}

#[test]
fn trying_out_records_what_would_have_been_done() {
    let upstream = upstream();
    let mut guard =
        guarded(&upstream, "on_high = ['block']\ndry_run = true").with("[audit]\nfolder = 'audit'").start();
    guard.post(CHAT, conversation(&["reckless", "reckless"])).expect(200, "none");
    guard.stop();
    let decision = records(&guard.path("audit"), "decision").pop().unwrap().1;
    assert_eq!((&decision["dry_run"], &decision["not_done"]), (&true.into(), &serde_json::json!(["block"])));
    assert_eq!(decision["actions"], serde_json::json!([]));
}

#[test]
fn what_passes_uninspected_is_recorded_too() {
    let upstream = upstream();
    let mut guard = Plan::to(&upstream.base_url()).with("[audit]\nfolder = 'audit'").start();
    guard.get("/v1/models").expect(200, "none");
    guard.stop();
    let decision = records(&guard.path("audit"), "decision").pop().unwrap().1;
    assert_eq!((&decision["path"], &decision["request_hash"]), (&"/v1/models".into(), &Value::Null));
}

#[test]
fn a_log_that_cannot_be_opened_is_told() {
    let upstream = upstream();
    let plan = Plan::to(&upstream.base_url()).with("[audit]\nfolder = 'audit'");
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("audit")).unwrap();
    std::fs::write(folder.path().join("audit/audit-000001.sqlite"), "not a log, but of some length").unwrap();
    let settings = plan.settings(folder.path()).unwrap();
    let error = tiltmeter_guard::Gateway::new(settings).unwrap_err().to_string();
    assert!(error.contains("audit-000001.sqlite"), "{error}");
}

#[test]
fn figures_have_the_documented_names() {
    let upstream = upstream();
    let mut guard = guarded(&upstream, "on_low = ['quarantine']").with("[audit]\nfolder = 'audit'").start();
    guard.post(CHAT, conversation(&["reckless"])).expect(200, "none");
    let figures = guard.get("/metrics");
    assert!(figures.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let figures = figures.text();
    for name in [
        "tiltmeter_guard_overhead_seconds_bucket{le=\"0.001\",phase=\"inspect\"}",
        "tiltmeter_guard_overhead_seconds_sum{phase=\"prepare\"}",
        "tiltmeter_guard_detector_duration_seconds_count{detector=\"word\"} 1",
        "tiltmeter_guard_verdicts_total{detector=\"word\",verdict=\"low\",action=\"quarantine\"} 1",
        "tiltmeter_guard_fail_open_total 0",
        "tiltmeter_guard_context_shots_count 1",
        "tiltmeter_guard_examples_scanned_total 1",
        "tiltmeter_guard_examples_flagged_total 1",
        "tiltmeter_guard_examples_quarantined_total 1",
        "tiltmeter_guard_prefix_changes_total 1",
        "tiltmeter_guard_stream_holdback_seconds_count 0",
        "tiltmeter_guard_stream_cut_total 0",
        "tiltmeter_guard_stream_unchecked_bytes_total",
        "tiltmeter_guard_audit_records_total{state=\"lost\"} 0",
        "tiltmeter_guard_audit_lag_seconds",
    ] {
        assert!(figures.contains(name), "{name} in\n{figures}");
    }
    guard.stop();
}
