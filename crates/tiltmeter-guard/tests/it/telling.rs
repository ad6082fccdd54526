//! What is told of requests and of verdicts on them, for traces.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tiltmeter_guard::telemetry::{AnswerFacts, Evaluation, ModelRequest, SpanPlace, Telemetry};

use crate::acting::{conversation, guarded};
use crate::judge::{judge, judge_table, until};
use crate::support::{Plan, post};
use crate::upstream::{LAST_CHUNK, Upstream, answer, chunk, chunked_head};

const CHAT: &str = "/v1/chat/completions";

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Told {
    requests: Mutex<Vec<(String, AnswerFacts)>>,
    evaluations: Mutex<Vec<String>>,
}

impl Told {
    fn requests(&self) -> Vec<(String, AnswerFacts)> {
        self.requests.lock().unwrap().clone()
    }

    fn evaluations(&self) -> Vec<String> {
        self.evaluations.lock().unwrap().clone()
    }

    /// All of it, as a text to look for words in.
    fn all(&self) -> String {
        format!("{:?} {:?}", self.requests(), self.evaluations())
    }
}

impl Telemetry for Told {
    fn request(&self, request: &ModelRequest<'_>) -> SpanPlace {
        assert!(request.ended >= request.began);
        let caller: Vec<&str> = request.caller.values().map(|value| value.to_str().unwrap()).collect();
        let text = format!(
            "{} {} {:?} {} {:?} {:?} {:?} streams {} {caller:?}",
            request.operation,
            request.provider,
            request.model,
            request.route,
            request.risk.map(tiltmeter_guard::inspection::RiskLevel::name),
            request.status,
            request.error,
            request.first_chunk.is_some(),
        );
        let mut requests = self.requests.lock().unwrap();
        requests.push((text, request.answer.clone()));
        SpanPlace { trace: [7; 16], span: [u8::try_from(requests.len()).unwrap(); 8], is_sampled: true }
    }

    fn evaluation(&self, of: &Evaluation<'_>) {
        assert_eq!(of.place.trace, [7; 16]);
        self.evaluations.lock().unwrap().push(format!(
            "{} {} {} {:?} {:?} {:?} {:?} {:?}",
            of.place.span[0], of.by, of.name, of.choice, of.score, of.label, of.error, of.response
        ));
    }
}

fn told(plan: Plan) -> (Plan, Arc<Told>) {
    let told = Arc::new(Told::default());
    let telemetry: Arc<dyn Telemetry> = told.clone();
    (Plan { telemetry: Some(telemetry), ..plan }, told)
}

#[test]
fn requests_and_verdicts_are_told_without_content_and_keys() {
    let body = json!({
        "id": "c-1", "model": "m-2026",
        "choices": [{ "index": 0, "message": { "content": "an evil answer" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 4 },
    });
    let upstream = Upstream::fixed(answer("application/json", body.to_string()));
    let judge = judge();
    let route = "on_low = ['tag']\non_high = ['block']\n[routes.judging]\njudge = 'strict'\nrate = 1.0";
    let plan = guarded(&upstream, route).with(&judge_table(&judge, ""));
    let (plan, told) = told(plan);
    let mut guard = plan.start();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!("authorization: Bearer sk-secret\r\ntraceparent: {parent}\r\ntracestate: a=b\r\n");
    guard.raw(post(CHAT, &headers, conversation(&["fine", "reckless", "good"]))).expect(200, "none");
    // What is told takes nothing away from the server.
    assert_eq!(upstream.last().header("traceparent"), Some(parent));
    assert_eq!(upstream.last().header("tracestate"), Some("a=b"));
    until(|| told.evaluations().len() == 3);
    guard.stop();
    let (request, facts) = told.requests().remove(0);
    assert_eq!(
        request,
        format!(r#"chat openai Some("m") all Some("low") Some(200) None streams false ["{parent}", "a=b"]"#)
    );
    assert_eq!((facts.id.as_deref(), facts.model.as_deref()), (Some("c-1"), Some("m-2026")));
    assert_eq!((facts.input_tokens, facts.output_tokens), (Some(11), Some(4)));
    assert_eq!(facts.finish_reasons[&0], "stop");
    let evaluations = told.evaluations();
    assert!(evaluations[0].starts_with("1 word context_risk None Some(0."), "{evaluations:?}");
    assert!(evaluations[0].ends_with(r#" Some("low") None Some("c-1")"#), "{evaluations:?}");
    assert_eq!(
        evaluations[1..],
        [
            r#"1 strict alignment Some(0) Some(20.0) Some("scored") None Some("c-1")"#,
            r#"1 strict coherence Some(0) Some(90.0) Some("scored") None Some("c-1")"#,
        ]
    );
    for word in ["evil", "reckless", "secret"] {
        assert!(!told.all().contains(word), "{word} in {}", told.all());
    }
}

#[test]
fn failures_are_told_by_their_kind() {
    let events = ["data: {\"id\":\"s-1\",\"model\":\"exact\",\"choices\":[]}\n\n"];
    let upstream = Upstream::start(move |asked, stream| {
        use std::io::Write as _;
        if asked.body.windows(5).any(|word| word == b"fail!") {
            return stream.write_all(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n");
        }
        stream.write_all(chunked_head("text/event-stream").as_bytes())?;
        for event in events {
            stream.write_all(&chunk(event))?;
        }
        if asked.body.windows(6).any(|word| word == b"break!") {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        stream.write_all(LAST_CHUNK)
    });
    let (plan, told) = told(guarded(&upstream, "on_high = ['block']"));
    let guard = plan.start();
    // Requests are told as they end, which their clients may see before.
    let all_told = |count| until(|| told.requests().len() == count);
    guard.post(CHAT, conversation(&["fail!"])).expect(429, "none");
    all_told(1);
    guard.post(CHAT, conversation(&["fine"])).expect(200, "none");
    all_told(2);
    assert!(!guard.post(CHAT, conversation(&["break!"])).is_complete);
    all_told(3);
    guard.post(CHAT, "{").expect(400, "bad_body");
    all_told(4);
    // Nothing is told of what names no model.
    guard.get("/v1/models");
    guard.get("/metrics").expect(200, "none");
    let requests = told.requests();
    let told_of = |status, error, streams| {
        format!(r#"chat openai Some("m") all Some("none") Some({status}) {error} streams {streams} []"#)
    };
    assert_eq!(requests[0].0, told_of(429, r#"Some("429")"#, false));
    assert_eq!(requests[1].0, told_of(200, "None", true));
    assert_eq!(requests[1].1.id.as_deref(), Some("s-1"));
    assert_eq!(requests[2].0, told_of(200, r#"Some("broken-off")"#, true));
    assert_eq!(requests[3].0, r#"chat openai None  None Some(400) Some("bad_body") streams false []"#);
    assert_eq!(requests.len(), 4);
}
