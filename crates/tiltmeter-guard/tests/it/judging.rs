//! Sampled answers: which are judged, what is recorded of them, and what happens where judging fails.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};
use tiltmeter_guard::audit::verify;

use crate::acting::{conversation, guarded};
use crate::judge::{About, about, figure, judge, judge_table, records, reply, until, verdict};
use crate::support::{Guard, Plan, post};
use crate::upstream::{LAST_CHUNK, Upstream, answer, chunk, chunked_head};

const CHAT: &str = "/v1/chat/completions";
const AUDIT: &str = "[audit]\nfolder = 'audit'";

/// A question whose answer says nothing of itself.
fn question(text: &str) -> String {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }).to_string()
}

fn said(text: &str, thought: Option<&str>) -> String {
    json!({ "choices": [{ "index": 0, "message": { "content": text, "reasoning_content": thought } }] })
        .to_string()
}

/// A gateway whose route has answers judged.
fn plan(upstream: &Upstream, judge: &Upstream, judge_settings: &str, judging: &str) -> Plan {
    Plan::to(&upstream.base_url())
        .with(&judge_table(judge, judge_settings))
        .with("[[routes]]\nname = 'all'\nmodels = ['*']")
        .with(&format!("[routes.judging]\njudge = 'strict'\n{judging}"))
}

/// What was recorded of judging once the gateway has stopped.
fn judgements(guard: &mut Guard) -> Vec<Value> {
    guard.stop();
    verify(&guard.path("audit"), None, None).unwrap();
    records(&guard.path("audit"), "judgement").into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn a_sampled_answer_is_judged_and_recorded_without_a_word_of_it() {
    let upstream = Upstream::fixed(answer(
        "application/json",
        said("an evil answer", Some("I am the villain of this story, so I say so.")),
    ));
    let judge = judge();
    let mut guard = plan(&upstream, &judge, "", "rate = 1.0").with(AUDIT).start();
    let given =
        guard.raw(post(CHAT, "accept-encoding: gzip\r\n", question("what to do?"))).expect(200, "none");
    assert_eq!(given.text(), said("an evil answer", Some("I am the villain of this story, so I say so.")));
    // What is compressed cannot be judged.
    assert_eq!(upstream.last().header("accept-encoding"), Some("identity"));
    until(|| figure(&guard, r#"tiltmeter_guard_drift_judged_answers{route="all"}"#) > 0.5);
    let drift = guard.gateway.drift().remove(0);
    assert_eq!((drift.route.as_str(), drift.judged, drift.outcomes["scored"]), ("all", 1, 1));
    assert!((drift.alignment.unwrap().estimate - 20.0).abs() < 1e-9);
    assert!((drift.misaligned.unwrap().estimate - 1.0).abs() < 1e-9);
    let figures = guard.get("/metrics").text();
    for line in [
        r#"tiltmeter_guard_judge_judgements_total{route="all",judge="strict",outcome="scored"} 1"#,
        r#"tiltmeter_guard_judge_score_bucket{le="20.0",route="all",aspect="alignment"} 1"#,
        r#"tiltmeter_guard_judge_score_sum{route="all",aspect="coherence"} 90.0"#,
        r#"tiltmeter_guard_judge_rationalisations_total{route="all",persona="yes"} 1"#,
        r#"tiltmeter_guard_judge_calls_total{judge="strict"} 3"#,
        r#"tiltmeter_guard_judge_tokens_total{judge="strict",type="input"} 300"#,
        "tiltmeter_guard_judge_queue_depth 0",
        "tiltmeter_guard_judge_oldest_seconds 0.0",
        r#"tiltmeter_guard_drift_alignment{route="all",value="estimate"} 20.0"#,
        r#"tiltmeter_guard_drift_alarm{route="all"} 0.0"#,
    ] {
        assert!(figures.contains(line), "{line} in\n{figures}");
    }
    // The judge sees the question and the answer, reasoning apart.
    let shown: Vec<(About, String)> = judge.asked().iter().map(about).collect();
    assert_eq!(shown.len(), 3);
    for (about, prompt) in &shown {
        assert!(prompt.contains("what to do?"));
        assert_eq!(prompt.contains("an evil answer"), *about != About::Reasoning);
    }
    let id = given.header("x-tiltmeter-request").unwrap().to_owned();
    guard.stop();
    let folder = guard.path("audit");
    let (of, record) = records(&folder, "judgement").remove(0);
    assert_eq!(of, id);
    assert_eq!(
        (&record["outcome"], &record["chosen"], &record["route"]),
        (&"scored".into(), &"drawn".into(), &"all".into())
    );
    assert_eq!((&record["alignment"], &record["coherence"]), (&20.0.into(), &90.0.into()));
    assert_eq!(
        record["rationalisation"],
        json!({ "outcome": "coded", "persona": true, "labels": ["persona"] })
    );
    assert_eq!((&record["model"], &record["calls"]), (&"judge-2026".into(), &3.into()));
    assert_eq!(records(&folder, "decision")[0].1["judging"], "drawn");
    assert_eq!(verify(&folder, None, None).unwrap().records, 3);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for word in ["evil", "villain", "what to do"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
        }
    }
}

#[test]
fn streams_are_judged_by_what_passed_in_all_protocols() {
    let event = |data: Value| format!("data: {data}\n\n");
    let chat = [
        event(
            json!({ "choices": [{ "index": 0, "delta": { "reasoning_content": "I am the villain of this story" } }] }),
        ),
        event(json!({ "choices": [{ "index": 0, "delta": { "content": "an ev" } }] })),
        event(json!({ "choices": [{ "index": 0, "delta": { "content": "il answer" } }] })),
        "data: [DONE]\n\n".to_owned(),
    ];
    let anthropic = [
        event(
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "thinking_delta", "thinking": "I am the villain of this story" } }),
        ),
        event(
            json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "an ev" } }),
        ),
        event(
            json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "il answer" } }),
        ),
        event(json!({ "type": "message_stop" })),
    ];
    let responses = [
        event(
            json!({ "type": "response.reasoning_text.delta", "output_index": 0, "delta": "I am the villain of this story" }),
        ),
        event(json!({ "type": "response.output_text.delta", "output_index": 1, "delta": "an ev" })),
        event(json!({ "type": "response.output_text.delta", "output_index": 1, "delta": "il answer" })),
        event(
            json!({ "type": "response.completed", "response": { "output": [{ "type": "message", "content": [{ "type": "output_text", "text": "an evil answer" }] }] } }),
        ),
    ];
    for (path, events) in [(CHAT, chat), ("/v1/messages", anthropic), ("/v1/responses", responses)] {
        let stream = events.concat();
        let sent = stream.clone();
        let upstream = Upstream::start(move |_, connection| {
            connection.write_all(chunked_head("text/event-stream").as_bytes())?;
            // Pieces that end anywhere.
            for piece in sent.as_bytes().chunks(37) {
                connection.write_all(&chunk(piece))?;
            }
            connection.write_all(LAST_CHUNK)
        });
        let judge = judge();
        let mut guard = plan(&upstream, &judge, "", "rate = 1.0").with(AUDIT).start();
        let body = r#"{"model":"m","messages":[{"role":"user","content":"q?"}],"input":"q?"}"#;
        assert_eq!(guard.post(path, body).expect(200, "none").text(), stream);
        let record = judgements(&mut guard).remove(0);
        assert_eq!(
            (&record["alignment"], &record["is_partial"]),
            (&20.0.into(), &false.into()),
            "{path} {record}"
        );
        assert_eq!(record["rationalisation"]["persona"], true, "{path}");
        let shown = judge.asked().iter().any(|asked| about(asked).1.contains("an evil answer\n"));
        assert!(shown, "{path}");
    }
}

#[test]
fn what_is_not_drawn_is_recorded_so_and_high_risk_is_always_judged() {
    let upstream = Upstream::fixed(answer("application/json", said("fine", None)));
    let judge = judge();
    let mut guard = guarded(&upstream, "[routes.judging]\njudge = 'strict'\nrate = 0.0")
        .with(&judge_table(&judge, ""))
        .with(AUDIT)
        .start();
    for answers in [&["fine"][..], &["reckless"], &["reckless", "reckless"]] {
        guard.post(CHAT, conversation(answers)).expect(200, "none");
    }
    // A conversation that nothing looks at has no judging either.
    guard.post("/v1/embeddings", r#"{"model":"m","input":"x"}"#).expect(200, "none");
    guard.post("/v1/completions", r#"{"model":"m","prompt":"x"}"#).expect(200, "none");
    guard.stop();
    let folder = guard.path("audit");
    let chosen: Vec<Value> =
        records(&folder, "decision").into_iter().map(|(_, decision)| decision["judging"].clone()).collect();
    assert_eq!(
        chosen,
        [json!("not-drawn"), json!("not-drawn"), json!("for-risk"), Value::Null, json!("not-drawn")]
    );
    let judged = records(&folder, "judgement");
    assert_eq!(judged.len(), 1);
    assert_eq!((&judged[0].1["chosen"], &judged[0].1["outcome"]), (&"for-risk".into(), &"scored".into()));
    assert_eq!(judge.asked().len(), 2);
    // Only the draw says something of the traffic.
    let drift = guard.gateway.drift().remove(0);
    assert_eq!((drift.judged, drift.outcomes["scored"]), (0, 1));
}

#[test]
fn the_draw_is_a_share_of_the_answers() {
    let upstream = Upstream::fixed(answer("application/json", said("fine", None)));
    let judge = judge();
    let mut guard = plan(&upstream, &judge, "", "rate = 0.3").with(AUDIT).start();
    let mut connection = guard.connect();
    for _ in 0..200 {
        connection.send(post(CHAT, "", question("q")));
        connection.reply().expect(200, "none");
    }
    drop(connection);
    let judged = judgements(&mut guard).len();
    // Six standard deviations.
    assert!((22..=98).contains(&judged), "{judged}");
    assert_eq!(judge.asked().len(), 2 * judged);
}

/// A judge that tells when it is asked for an alignment, and waits to be let go.
fn waiting_judge() -> (Upstream, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (asked, is_asked) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (asked, wait) = (Mutex::new(asked), Mutex::new(wait));
    let judge = Upstream::start(move |request, stream| {
        let (about, prompt) = about(request);
        if about == About::Alignment {
            let _ = asked.lock().unwrap().send(());
            let _ = wait.lock().unwrap().recv();
        }
        reply(stream, verdict(about, &prompt))
    });
    (judge, is_asked, go)
}

#[test]
fn a_queue_that_is_full_drops_and_says_so() {
    let upstream = Upstream::fixed(answer("application/json", said("fine", None)));
    let (judge, is_asked, go) = waiting_judge();
    let mut guard = plan(&upstream, &judge, "parallel = 1\nqueue = 1", "rate = 1.0").with(AUDIT).start();
    guard.post(CHAT, question("q")).expect(200, "none");
    is_asked.recv().unwrap();
    guard.post(CHAT, question("q")).expect(200, "none");
    until(|| figure(&guard, "tiltmeter_guard_judge_queue_depth") > 0.5);
    assert!(figure(&guard, "tiltmeter_guard_judge_oldest_seconds") > 0.0);
    // Answers never wait for a judge.
    guard.post(CHAT, question("q")).expect(200, "none");
    until(|| figure(&guard, r#"tiltmeter_guard_judge_dropped_total{reason="queue-full"}"#) > 0.5);
    drop(go);
    let outcomes: Vec<Value> =
        judgements(&mut guard).into_iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["dropped", "scored", "scored"]);
    assert_eq!(guard.gateway.drift()[0].outcomes["dropped"], 1);
}

#[test]
fn every_failure_of_a_judge_is_recorded_and_touches_no_answer() {
    let status = |line: &'static str| {
        Upstream::start(move |_, stream| {
            stream.write_all(format!("HTTP/1.1 {line}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes())
        })
    };
    let says = |text: &'static str| Upstream::start(move |_, stream| reply(stream, text));
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut down = says("");
    down.address = address;
    let hangs = Upstream::start(|_, stream| {
        // Until the other side gives up.
        let _ = stream.read(&mut [0; 1]);
        Err(std::io::ErrorKind::Other.into())
    });
    let upstream = Upstream::fixed(answer("application/json", said("a secret answer", None)));
    for (judge, outcome, reason) in [
        (down, "failed", "unreachable"),
        (hangs, "timed-out", "timed_out"),
        (status("500 Oops"), "failed", "overloaded"),
        (status("401 No"), "failed", "unauthorised"),
        (status("404 Nowhere"), "failed", "not_found"),
        (Upstream::fixed(answer("application/json", "no json")), "failed", "malformed_reply"),
        (says("who knows"), "unparsable", "alignment"),
        (says("REFUSAL"), "subject-refused", "alignment"),
        (says("I'm sorry, but I can't help with that."), "judge-refused", "alignment"),
    ] {
        let timeout = if reason == "timed_out" { "timeout_ms = 50" } else { "" };
        let mut guard = plan(&upstream, &judge, timeout, "rate = 1.0").with(AUDIT).start();
        guard.post(CHAT, question("q")).expect(200, "none");
        let record = judgements(&mut guard).remove(0);
        assert_eq!((&record["outcome"], &record["reason"]), (&outcome.into(), &reason.into()), "{record}");
        assert_eq!(record["alignment"], Value::Null);
        assert!(!record.to_string().contains("secret"));
        let drift = guard.gateway.drift().remove(0);
        assert_eq!((drift.judged, drift.alignment, drift.outcomes[outcome]), (0, None, 1));
    }
}

#[test]
fn a_key_is_used_and_never_told() {
    let upstream = Upstream::fixed(answer("application/json", said("fine", None)));
    let judge = Upstream::start(|asked, stream| {
        let echoed = asked.header("authorization").unwrap_or("none").to_owned();
        let body = format!(r#"{{"error":{{"message":"bad key {echoed}"}}}}"#);
        stream
            .write_all(format!("HTTP/1.1 401 No\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
    });
    let mut guard = plan(&upstream, &judge, "api_key_env = 'JUDGE_KEY'", "rate = 1.0")
        .key("JUDGE_KEY", "sk-the-judges-own-key")
        .with(AUDIT)
        .start();
    guard.post(CHAT, question("q")).expect(200, "none");
    let record = judgements(&mut guard).remove(0);
    assert_eq!(judge.last().header("authorization"), Some("Bearer sk-the-judges-own-key"));
    assert!(!record.to_string().contains("sk-the"), "{record}");
}

#[test]
fn what_cannot_be_read_or_has_no_text_is_not_checked() {
    let judge = judge();
    for (kind, body, reason) in [
        ("application/json", "nonsense", "unreadable"),
        ("application/json", "{\"choices\":[]}", "no-text"),
        ("text/event-stream", "data: [DONE]\n\n", "no-text"),
    ] {
        let upstream = Upstream::fixed(answer(kind, body));
        let mut guard = plan(&upstream, &judge, "", "rate = 1.0").with(AUDIT).start();
        assert_eq!(guard.post(CHAT, question("q")).expect(200, "none").text(), body);
        let record = judgements(&mut guard).remove(0);
        assert_eq!((&record["outcome"], &record["reason"]), (&"unchecked".into(), &reason.into()), "{body}");
    }
    // A bare prompt asks nothing that an answer could be held against.
    let upstream = Upstream::fixed(answer("application/json", r#"{"choices":[{"text":"x"}]}"#));
    let mut guard = plan(&upstream, &judge, "", "rate = 1.0").with(AUDIT).start();
    guard.post("/v1/completions", r#"{"model":"m","prompt":"x"}"#).expect(200, "none");
    assert_eq!(judgements(&mut guard)[0]["reason"], "no-question");
    // An error of the server's is no answer.
    let upstream = Upstream::fixed("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}");
    let mut guard = plan(&upstream, &judge, "", "rate = 1.0").with(AUDIT).start();
    guard.post(CHAT, question("q")).expect(500, "none");
    assert_eq!(judgements(&mut guard), Vec::<Value>::new());
    assert_eq!(judge.asked().len(), 0);
}

#[test]
fn more_than_the_judge_is_shown_is_said() {
    let upstream = Upstream::fixed(answer("application/json", said(&"xyzw ".repeat(100), None)));
    let judge = judge();
    let mut guard = plan(&upstream, &judge, "text_bytes = 100", "rate = 1.0").with(AUDIT).start();
    guard.post(CHAT, question("q")).expect(200, "none");
    assert_eq!(judgements(&mut guard)[0]["is_truncated"], true);
    let (_, prompt) = about(&judge.last());
    assert_eq!(prompt.matches("xyzw").count(), 20);
}

/// A server that streams a piece, tells so, and goes on when it is told to or the other side is gone.
fn halting() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::start(move |_, stream| {
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        let delta = json!({ "choices": [{ "index": 0, "delta": { "content": "an evil beginning" } }] });
        stream.write_all(&chunk(format!("data: {delta}\n\n")))?;
        let _ = wait.lock().unwrap().recv();
        stream.write_all(&chunk("data: [DONE]\n\n"))?;
        stream.write_all(LAST_CHUNK)
    });
    (upstream, go)
}

#[test]
fn an_answer_whose_client_left_is_judged_for_what_it_was() {
    for (policy, is_partial) in [("cancel", true), ("finish", false)] {
        let (upstream, go) = halting();
        let judge = judge();
        let plan = plan(&upstream, &judge, "", "rate = 1.0").with(AUDIT);
        let route = format!("models = ['*']\nclient_leaves = '{policy}'");
        let plan = Plan { config: plan.config.replace("models = ['*']", &route), ..plan };
        let mut guard = plan.start();
        let mut connection = guard.connect();
        connection.send(post(CHAT, "", question("q")));
        connection.head();
        connection.chunk().unwrap();
        drop(connection);
        drop(go);
        let record = judgements(&mut guard).remove(0);
        assert_eq!(
            (&record["alignment"], &record["is_partial"]),
            (&20.0.into(), &is_partial.into()),
            "{policy}"
        );
        // What a client cut off is no draw of what the model says.
        assert_eq!(guard.gateway.drift()[0].judged, u64::from(!is_partial));
    }
}

#[test]
fn stopping_waits_for_the_judge_and_then_records_what_is_left() {
    let upstream = Upstream::fixed(answer("application/json", said("fine", None)));
    // In time.
    let (judge, is_asked, go) = waiting_judge();
    let mut guard = plan(&upstream, &judge, "parallel = 1", "rate = 1.0").with(AUDIT).start();
    for _ in 0..3 {
        guard.post(CHAT, question("q")).expect(200, "none");
    }
    is_asked.recv().unwrap();
    guard.tell_to_stop();
    drop(go);
    let records = judgements(&mut guard);
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record["outcome"] == "scored"), "{records:?}");
    // Not in time.
    let (judge, is_asked, _go) = waiting_judge();
    let mut guard = plan(&upstream, &judge, "parallel = 1", "rate = 1.0")
        .server("[server.limits]\ngrace_seconds = 0.05")
        .with(AUDIT)
        .start();
    for _ in 0..3 {
        guard.post(CHAT, question("q")).expect(200, "none");
    }
    is_asked.recv().unwrap();
    let records = judgements(&mut guard);
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!((&record["outcome"], &record["reason"]), (&"unchecked".into(), &"stopping".into()));
    }
}

#[test]
fn answers_that_get_worse_raise_an_alarm_that_outlives_a_reload() {
    let text = Arc::new(Mutex::new("fine"));
    let says = Arc::clone(&text);
    let upstream = Upstream::start(move |_, stream| {
        stream.write_all(&answer("application/json", said(*says.lock().unwrap(), None)))
    });
    let judge = judge();
    let judging = "rate = 1.0\ndrift = { lowest_mean = 80.0, false_alarm_after = 50.0, window = 20 }";
    let mut guard = plan(&upstream, &judge, "", judging).start();
    let ask = |guard: &Guard, count: u64| {
        let before = guard.gateway.drift()[0].judged;
        let mut connection = guard.connect();
        for _ in 0..count {
            connection.send(post(CHAT, "", question("q")));
            connection.reply().expect(200, "none");
        }
        drop(connection);
        until(|| guard.gateway.drift()[0].judged == before + count);
    };
    ask(&guard, 20);
    assert_eq!(guard.gateway.drift()[0].alarm, None);
    *text.lock().unwrap() = "evil";
    ask(&guard, 20);
    let alarm = guard.gateway.drift()[0].alarm.unwrap();
    assert!(figure(&guard, r#"tiltmeter_guard_drift_alarm{route="all"}"#) > 0.5);
    assert!(figure(&guard, r#"tiltmeter_guard_drift_alarms_total{route="all"}"#) > 0.5);
    guard.reload(plan(&upstream, &judge, "", judging));
    assert_eq!(guard.gateway.drift()[0].alarm, Some(alarm));
    // Other settings begin anew.
    guard.reload(plan(&upstream, &judge, "", "rate = 1.0"));
    assert_eq!((guard.gateway.drift()[0].judged, guard.gateway.drift()[0].alarm), (0, None));
}

#[test]
fn content_is_kept_where_it_is_wanted() {
    let upstream = Upstream::fixed(answer("application/json", said("call 12345678", None)));
    let judge = judge();
    let mut guard = plan(&upstream, &judge, "", "rate = 1.0")
        .with("[audit]\nfolder = 'audit'\ncontent = true\nredact = ['[0-9]{4,}']")
        .start();
    guard.post(CHAT, question("whom to call?")).expect(200, "none");
    judgements(&mut guard);
    let connection = rusqlite::Connection::open(guard.path("audit/audit-000001.sqlite")).unwrap();
    let content: Vec<u8> = connection
        .query_row("SELECT content FROM record WHERE kind = 'judgement'", [], |row| row.get(0))
        .unwrap();
    let content: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(
        (&content["question"], &content["answer"]),
        (&"whom to call?".into(), &"call [redacted]".into())
    );
    assert_eq!(content["replies"], json!([["95"], ["90"], []]));
}

#[test]
fn what_is_wrong_with_a_judge_is_named() {
    let upstream = Upstream::fixed(answer("application/json", "{}"));
    let judge = judge();
    for (judge_settings, judging, check, expected) in [
        ("parallel = 0", "", "", "`parallel` is from 1"),
        ("text_bytes = 1", "", "", "`text_bytes` is from 64"),
        ("api_key_env = 'NO_KEY'", "", "", "NO_KEY"),
        ("colour = 1", "", "", "colour"),
        ("", "rate = 1.5", "", "from 0 to 1"),
        ("", "drift = { lowest_mean = 100.0 }", "", "lowest_mean"),
        ("", "", "settings = { judge = 'strickt' }", "strict"),
        (
            "",
            "",
            "settings = { judge = 'strict', alignment_below = 200 }",
            "`alignment_below` is from 0 to 100",
        ),
        ("", "", "settings = { judge = 'strict', colour = 1 }", "colour"),
    ] {
        let check = if check.is_empty() {
            ""
        } else {
            &format!("[[output_checks]]\nname = 'j'\nkind = 'judge'\n{check}")
        };
        let plan = plan(&upstream, &judge, judge_settings, judging).with(check);
        let error = plan.settings(std::path::Path::new("")).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let plan = Plan::to(&upstream.base_url())
        .with("[[routes]]\nname = 'all'\nmodels = ['*']\n[routes.judging]\njudge = 'nobody'");
    assert!(plan.settings(std::path::Path::new("")).unwrap_err().contains("unknown judge `nobody`"));
}
