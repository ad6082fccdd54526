//! Answers that are held back until a judge has seen them.

use std::io::Write as _;
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};
use tiltmeter_guard::audit::verify;

use crate::judge::{About, about, figure, judge, judge_table, records, reply, until};
use crate::support::{Guard, Plan, post};
use crate::upstream::{LAST_CHUNK, Upstream, answer, chunk, chunked_head};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"q?"}],"input":"q?"}"#;

fn checked(upstream: &Upstream, judge: &Upstream, check: &str, output: &str) -> Plan {
    Plan::to(&upstream.base_url())
        .with(&judge_table(judge, "timeout_ms = 20000"))
        .with(&format!(
            "[[output_checks]]\nname = 'judged'\nkind = 'judge'\nsettings = {{ judge = 'strict', {check} }}"
        ))
        .with("[[routes]]\nname = 'all'\nmodels = ['*']")
        .with(&format!("[routes.output]\ncheck = 'judged'\n{output}"))
        .with("[audit]\nfolder = 'audit'")
}

fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

fn streaming(events: &[String]) -> Upstream {
    let events = events.to_vec();
    Upstream::start(move |_, stream| {
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        for event in &events {
            stream.write_all(&chunk(event))?;
        }
        stream.write_all(LAST_CHUNK)
    })
}

fn whole(text: &str) -> Upstream {
    let body = json!({ "choices": [{ "index": 0, "message": { "content": text } }] }).to_string();
    Upstream::fixed(answer("application/json", body))
}

/// Outcomes and judgements, once the gateway has stopped.
fn recorded(guard: &mut Guard) -> (Vec<Value>, Vec<Value>) {
    guard.stop();
    let folder = guard.path("audit");
    verify(&folder, None, None).unwrap();
    let of = |kind| records(&folder, kind).into_iter().map(|(_, payload)| payload).collect();
    (of("outcome"), of("judgement"))
}

#[test]
fn a_stream_that_is_judged_fine_arrives_byte_for_byte() {
    let events = [
        ": hello\n\n".to_owned(),
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n".to_owned(),
        delta("good "),
        delta("advice"),
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ];
    let (upstream, judge) = (streaming(&events), judge());
    let mut guard = checked(&upstream, &judge, "coherence_below = 50", "on_failure = 'closed'").start();
    let reply = guard.post(CHAT, BODY).expect(200, "none");
    assert_eq!((reply.text(), reply.is_complete), (events.concat(), true));
    assert_eq!(judge.asked().len(), 2);
    let (outcomes, judgements) = recorded(&mut guard);
    assert_eq!((&outcomes[0]["ended"], &outcomes[0]["unchecked_bytes"]), (&"complete".into(), &0.into()));
    assert_eq!((&judgements[0]["chosen"], &judgements[0]["alignment"]), (&"held-back".into(), &95.0.into()));
}

#[test]
fn what_is_misaligned_is_cut_by_an_error_of_its_protocol_and_recorded() {
    let event = |kind: &str, data: Value| format!("event: {kind}\ndata: {data}\n\n");
    let chat = vec![delta("an ev"), delta("il answer"), "data: [DONE]\n\n".to_owned()];
    let anthropic = vec![
        event(
            "content_block_delta",
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "an evil answer" } }),
        ),
        event("message_stop", json!({ "type": "message_stop" })),
    ];
    let responses = vec![
        event(
            "response.output_text.delta",
            json!({ "type": "response.output_text.delta", "output_index": 0, "delta": "an evil answer" }),
        ),
        event("response.completed", json!({ "type": "response.completed" })),
    ];
    // Without its end marker, too, an answer is judged before it is given.
    let endless = vec![delta("an evil answer")];
    for (path, events, error) in [
        (CHAT, chat, r#""code":"blocked_output""#),
        (CHAT, endless, r#""code":"blocked_output""#),
        ("/v1/messages", anthropic, r#""type":"permission_error""#),
        ("/v1/responses", responses, r#""code":"blocked_output""#),
    ] {
        let (upstream, judge) = (streaming(&events), judge());
        let mut guard = checked(&upstream, &judge, "", "").start();
        let reply = guard.post(path, BODY).expect(200, "none");
        let text = reply.text();
        assert!(reply.is_complete && text.contains(error), "{path} {text}");
        for absent in ["an ev", "[DONE]", "message_stop", "completed"] {
            assert!(!text.contains(absent), "{path} {text}");
        }
        assert!((figure(&guard, "tiltmeter_guard_stream_cut_total") - 1.0).abs() < 0.5);
        let (outcomes, judgements) = recorded(&mut guard);
        assert_eq!((&outcomes[0]["ended"], &outcomes[0]["cut_by"]), (&"cut".into(), &"misaligned".into()));
        assert_eq!(judgements[0]["alignment"], 20.0);
        // Coherence was not asked for.
        assert_eq!((judge.asked().len(), &judgements[0]["coherence"]), (1, &Value::Null));
    }
}

#[test]
fn a_long_stream_is_judged_window_by_window() {
    let events: Vec<String> = (0..40)
        .map(|index| delta(if index == 30 { "evil " } else { "good " }))
        .chain(["data: [DONE]\n\n".to_owned()])
        .collect();
    let (upstream, judge) = (streaming(&events), judge());
    // About ten events are held back at a time.
    let window = format!("hold_back_bytes = {}", 10 * events[0].len());
    let mut guard = checked(&upstream, &judge, "", &window).start();
    let reply = guard.post(CHAT, BODY).expect(200, "none");
    let text = reply.text();
    let given = text.matches("good").count();
    assert!((10..=30).contains(&given) && !text.contains("evil"), "{given} {text}");
    assert!(text.ends_with("\n\n") && text.contains("blocked_output") && reply.is_complete);
    let (outcomes, judgements) = recorded(&mut guard);
    assert_eq!(outcomes[0]["unchecked_bytes"], 0);
    // Each time it saw the answer from its beginning.
    assert!((2..=4).contains(&judgements.len()), "{judgements:?}");
    let alignments: Vec<&Value> = judgements.iter().map(|judgement| &judgement["alignment"]).collect();
    assert_eq!(*alignments[alignments.len() - 1], 20.0);
    assert!(alignments[..alignments.len() - 1].iter().all(|alignment| **alignment == 95.0));
}

#[test]
fn nothing_is_given_before_it_is_judged() {
    let (asked, is_asked) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (asked, wait) = (Mutex::new(asked), Mutex::new(wait));
    let judge = Upstream::start(move |request, stream| {
        asked.lock().unwrap().send(about(request)).unwrap();
        wait.lock().unwrap().recv().unwrap();
        reply(stream, "95")
    });
    let upstream = streaming(&[delta("good"), "data: [DONE]\n\n".to_owned()]);
    let guard = checked(&upstream, &judge, "", "").start();
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.head();
    assert_eq!(is_asked.recv().unwrap().0, About::Alignment);
    connection.stream.set_nonblocking(true).unwrap();
    let nothing = std::io::Read::read(&mut connection.stream, &mut [0; 1]);
    assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    connection.stream.set_nonblocking(false).unwrap();
    go.send(()).unwrap();
    assert_eq!(connection.chunk().unwrap(), delta("good").into_bytes());
}

#[test]
fn an_answer_that_does_not_stream_is_judged_before_it_begins() {
    let judge = judge();
    let (fine, evil) = (whole("good"), whole("evil"));
    let mut guard = checked(&fine, &judge, "", "on_failure = 'closed'").start();
    guard.post(CHAT, BODY).expect(200, "none");
    assert_eq!(recorded(&mut guard).1[0]["outcome"], "scored");
    let mut guard = checked(&evil, &judge, "", "").start();
    let reply = guard.post(CHAT, BODY).expect(403, "blocked_output");
    assert!(!reply.text().contains("evil"));
    let (outcomes, judgements) = recorded(&mut guard);
    assert_eq!((&outcomes[0]["ended"], &outcomes[0]["cut_by"]), (&"cut".into(), &"misaligned".into()));
    assert_eq!(judgements[0]["alignment"], 20.0);
}

#[test]
fn reasoning_of_a_persona_is_cut_where_that_is_wanted() {
    let thought = |text: &str| {
        let body = json!({ "choices": [{ "index": 0, "message": { "content": "good", "reasoning_content": text } }] });
        Upstream::fixed(answer("application/json", body.to_string()))
    };
    let judge = judge();
    let villain = thought("I am the villain of this story, they must not know.");
    checked(&villain, &judge, "persona = true", "").start().post(CHAT, BODY).expect(403, "blocked_output");
    checked(&villain, &judge, "", "").start().post(CHAT, BODY).expect(200, "none");
    let plain = thought("The user asks for advice.");
    checked(&plain, &judge, "persona = true", "").start().post(CHAT, BODY).expect(200, "none");
}

#[test]
fn a_judge_that_fails_lets_through_or_cuts_as_configured() {
    let says = |text: &'static str| Upstream::start(move |_, stream| reply(stream, text));
    let broken =
        Upstream::start(|_, stream| stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"));
    let events = [delta("answer"), "data: [DONE]\n\n".to_owned()];
    for (judge, word) in
        [(broken, "failed"), (says("hm"), "unparsable"), (says("I can't assist with that."), "judge-refused")]
    {
        for upstream in [streaming(&events), whole("answer")] {
            let mut guard = checked(&upstream, &judge, "", "on_failure = 'open'").start();
            let reply = guard.post(CHAT, BODY).expect(200, "none");
            assert!(reply.text().contains("answer") && reply.is_complete);
            let (outcomes, judgements) = recorded(&mut guard);
            assert_eq!((&outcomes[0]["ended"], &outcomes[0]["cut_by"]), (&"complete".into(), &Value::Null));
            assert!(outcomes[0]["unchecked_bytes"].as_u64().unwrap() > 0, "{}", outcomes[0]);
            assert_eq!(judgements[0]["outcome"], word);
            let mut guard = checked(&upstream, &judge, "", "on_failure = 'closed'").start();
            let text = guard.post(CHAT, BODY).text();
            assert!(text.contains("blocked_output") && !text.contains("answer\""), "{text}");
            let (outcomes, _) = recorded(&mut guard);
            assert_eq!((&outcomes[0]["ended"], &outcomes[0]["cut_by"]), (&"cut".into(), &word.into()));
        }
    }
    // What a judge says of an answer that refuses is a finding.
    let refusing = says("REFUSAL");
    checked(&whole("no"), &refusing, "", "on_failure = 'closed'")
        .start()
        .post(CHAT, BODY)
        .expect(200, "none");
}

#[test]
fn what_the_judge_was_not_shown_is_not_checked() {
    let upstream = streaming(&[delta(&"long ".repeat(50)), "data: [DONE]\n\n".to_owned()]);
    let judge = judge();
    for (policy, is_cut) in [("open", false), ("closed", true)] {
        let plan = checked(&upstream, &judge, "", &format!("on_failure = '{policy}'"));
        let plan = Plan { config: plan.config.replace("timeout_ms = 20000", "text_bytes = 100"), ..plan };
        let mut guard = plan.start();
        let text = guard.post(CHAT, BODY).text();
        assert_eq!(text.contains("blocked_output"), is_cut, "{text}");
        let (outcomes, judgements) = recorded(&mut guard);
        assert_eq!(outcomes[0]["unchecked_bytes"].as_u64().unwrap() > 0, !is_cut);
        assert_eq!(judgements[0]["is_truncated"], true);
    }
}

#[test]
fn trying_out_holds_nothing_back_and_records_what_would_have_been_cut() {
    let stream = [delta("an evil answer"), "data: [DONE]\n\n".to_owned()];
    for upstream in [streaming(&stream), whole("an evil answer")] {
        let (asked, is_asked) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let (asked, wait) = (Mutex::new(asked), Mutex::new(wait));
        let judge = Upstream::start(move |_, stream| {
            asked.lock().unwrap().send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
            reply(stream, "20")
        });
        let plan = checked(&upstream, &judge, "", "on_failure = 'closed'");
        let plan =
            Plan { config: plan.config.replace("models = ['*']", "models = ['*']\ndry_run = true"), ..plan };
        let mut guard = plan.start();
        // The judge has not said a word when the answer is there.
        let reply = guard.post(CHAT, BODY).expect(200, "none");
        assert!(reply.is_complete && reply.text().contains("an evil answer"));
        is_asked.recv().unwrap();
        go.send(()).unwrap();
        let (outcomes, judgements) = recorded(&mut guard);
        assert_eq!(
            (&outcomes[0]["ended"], &outcomes[0]["cut_by"]),
            (&"complete".into(), &"misaligned".into())
        );
        assert_eq!(judgements[0]["alignment"], 20.0);
    }
}

#[test]
fn a_client_that_leaves_while_the_judge_thinks_is_recorded() {
    let (asked, is_asked) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (asked, wait) = (Mutex::new(asked), Mutex::new(wait));
    let judge = Upstream::start(move |_, stream| {
        asked.lock().unwrap().send(()).unwrap();
        let _ = wait.lock().unwrap().recv();
        reply(stream, "95")
    });
    let upstream = streaming(&[delta("good"), "data: [DONE]\n\n".to_owned()]);
    let mut guard = checked(&upstream, &judge, "", "").start();
    let mut connection = guard.connect();
    connection.send(post(CHAT, "", BODY));
    connection.head();
    is_asked.recv().unwrap();
    drop(connection);
    let unchecked = r#"tiltmeter_guard_judge_dropped_total{reason="client-left"}"#;
    until(|| figure(&guard, unchecked) > 0.5);
    drop(go);
    let (outcomes, judgements) = recorded(&mut guard);
    assert_eq!(outcomes[0]["ended"], "client-left");
    assert_eq!(
        (&judgements[0]["outcome"], &judgements[0]["reason"]),
        (&"unchecked".into(), &"client-left".into())
    );
}

#[test]
fn a_sampled_answer_that_a_check_cut_is_not_judged_again() {
    let (upstream, judge) = (whole("an evil answer"), judge());
    let mut guard =
        checked(&upstream, &judge, "", "").with("[routes.judging]\njudge = 'strict'\nrate = 1.0").start();
    guard.post(CHAT, BODY).expect(403, "blocked_output");
    let (_, judgements) = recorded(&mut guard);
    let told: Vec<(&Value, &Value)> =
        judgements.iter().map(|judgement| (&judgement["chosen"], &judgement["reason"])).collect();
    assert_eq!(told, [(&json!("held-back"), &Value::Null), (&json!("drawn"), &json!("cut"))]);
    assert_eq!(judge.asked().len(), 1);
}
