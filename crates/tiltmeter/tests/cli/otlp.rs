//! `guard --otlp`: what reaches an OpenTelemetry collector, and what does not.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::guard::{Gateway, config};
use crate::http::{read_message, serve};
use crate::support::World;

const ANSWER: &str = r#"{"id":"c-1","model":"m-2026","choices":[{"index":0,"message":{"content":"an evil answer"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":4}}"#;
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Head and body.
type Asked = (String, Vec<u8>);

/// Answers each request by its path and body, and keeps those.
fn server(answer: fn(&str, &[u8]) -> &'static str) -> (String, Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let url = serve(move |head, body| {
        kept.lock().unwrap().push((head.to_owned(), body.to_vec()));
        ("200 OK", answer(head, body).to_owned())
    });
    (url, asked)
}

fn judge(_: &str, body: &[u8]) -> &'static str {
    if body.windows(8).any(|word| word == b"coherent") || body.windows(9).any(|word| word == b"coherence") {
        r#"{"id":"j","model":"judge","choices":[{"index":0,"message":{"content":"90"},"finish_reason":"stop"}]}"#
    } else {
        r#"{"id":"j","model":"judge","choices":[{"index":0,"message":{"content":"20"},"finish_reason":"stop"}]}"#
    }
}

fn ask(connection: &mut BufReader<TcpStream>) -> String {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"a private question"}]}"#;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer sk-secret\r\ntraceparent: {PARENT}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
    read_message(connection).unwrap().0
}

fn rest(judge: &str) -> String {
    format!(
        "[[detectors]]\nname = 'rules'\nkind = 'context'\n[[judges]]\nname = 'strict'\nmodel = 'openai/judge'\nbase_url = '{judge}/v1'\n\
         [[routes]]\nname = 'all'\nmodels = ['*']\ndetectors = ['rules']\n[routes.judging]\njudge = 'strict'\nrate = 1.0\n"
    )
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => format!("{number:?}"),
        Value::ArrayValue(array) => {
            let texts = array.values.iter().map(|item| match &item.value {
                Some(Value::StringValue(text)) => text.clone(),
                other => panic!("{other:?}"),
            });
            format!("[{}]", texts.collect::<Vec<_>>().join(","))
        }
        other => panic!("{other:?}"),
    };
    let value = |attribute: &KeyValue| value(attribute.value.as_ref().unwrap().value.as_ref().unwrap());
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

fn spans(bodies: &[Asked]) -> Vec<Span> {
    let sent = bodies.iter().filter(|(head, _)| head.starts_with("POST /v1/traces "));
    let sent = sent.map(|(_, body)| ExportTraceServiceRequest::decode(&**body).unwrap());
    let scopes = sent.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn events(bodies: &[Asked]) -> Vec<LogRecord> {
    let sent = bodies.iter().filter(|(head, _)| head.starts_with("POST /v1/logs "));
    let sent = sent.map(|(_, body)| ExportLogsServiceRequest::decode(&**body).unwrap());
    let scopes = sent.flat_map(|request| request.resource_logs).flat_map(|resource| resource.scope_logs);
    scopes.flat_map(|scope| scope.log_records).collect()
}

#[test]
fn spans_and_evaluations_reach_a_collector_without_content_and_keys() {
    let world = World::new(None);
    let (model, asked) = server(|_, _| ANSWER);
    let (judge, _) = server(judge);
    let (collector, sent) = server(|_, _| "");
    let text = config(&format!("{model}/v1"), &rest(&judge));
    let mut gateway = Gateway::start_with(&world, &text, &["--otlp", &collector]);
    let head = ask(&mut gateway.connect());
    let id = head.lines().find_map(|line| line.strip_prefix("x-tiltmeter-request: ")).unwrap().to_owned();
    // The judge is waited for, and what is left is sent, before it ends.
    gateway.signal("-TERM");
    let mut errors = String::new();
    gateway.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
    assert!(!errors.contains("did not reach the collector"), "{errors}");
    assert!(asked.lock().unwrap()[0].0.contains(&format!("traceparent: {PARENT}\r\n")));

    let sent = sent.lock().unwrap();
    let [span] = &spans(&sent)[..] else { panic!("{:?}", spans(&sent)) };
    assert_eq!((span.name.as_str(), span.kind), ("chat m", 3));
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    let port = model.rsplit(':').next().unwrap();
    let expected = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.response.finish_reasons", "[stop]"),
        ("gen_ai.response.id", "c-1"),
        ("gen_ai.response.model", "m-2026"),
        ("gen_ai.usage.input_tokens", "11"),
        ("gen_ai.usage.output_tokens", "4"),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("server.port", port),
        ("tiltmeter.guard.request", &id),
        ("tiltmeter.guard.risk", "none"),
        ("tiltmeter.guard.route", "all"),
    ];
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(texts(&span.attributes), expected);

    let events = events(&sent);
    let mut seen = Vec::new();
    for event in &events {
        assert_eq!((&event.trace_id, &event.span_id), (&span.trace_id, &span.span_id));
        assert_eq!(event.event_name, "gen_ai.evaluation.result");
        assert!(event.body.is_none());
        let texts = texts(&event.attributes);
        assert_eq!(
            (&texts["gen_ai.response.id"], &texts["tiltmeter.guard.request"]),
            (&"c-1".to_owned(), &id)
        );
        seen.push(
            [
                "gen_ai.evaluation.name",
                "gen_ai.evaluation.score.value",
                "gen_ai.evaluation.score.label",
                "tiltmeter.guard.evaluator",
            ]
            .map(|name| texts[name].clone()),
        );
    }
    assert_eq!(
        seen,
        [
            ["context_risk", "0.0", "none", "rules"],
            ["alignment", "20.0", "scored", "strict"],
            ["coherence", "90.0", "scored", "strict"],
        ]
    );
    for (_, body) in sent.iter() {
        for word in ["evil", "private", "secret"] {
            assert!(!body.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// One that takes connections and says nothing is worse than one that is not there.
#[test]
fn a_dead_collector_neither_slows_nor_fails_requests() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for collector in [gone, silent.local_addr().unwrap()] {
        let world = World::new(None);
        let (model, _) = server(|_, _| ANSWER);
        let text = config(&format!("{model}/v1"), "");
        let mut gateway = Gateway::start_with(&world, &text, &["--otlp", &format!("http://{collector}")]);
        let mut connection = gateway.connect();
        let mut slowest = Duration::ZERO;
        // More than the exporter's queue of 2,048 spans holds, for longer than the 5 s that it waits until it sends.
        let began = Instant::now();
        let mut asked = 0;
        while asked < 3000 || began.elapsed() < Duration::from_secs(6) {
            let began = Instant::now();
            assert!(ask(&mut connection).starts_with("HTTP/1.1 200 "));
            slowest = slowest.max(began.elapsed());
            asked += 1;
        }
        // Half of what the exporter waits for an answer.
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
        if collector == gone {
            gateway.signal("-TERM");
            let mut line = String::new();
            let mut errors = BufReader::new(gateway.child.stderr.take().unwrap());
            // Those that did not fit into the queue are among them.
            let lost = format!("warning: {asked} of {asked} spans and events did not reach the collector: ");
            while !line.contains(&lost) {
                line.clear();
                assert_ne!(errors.read_line(&mut line).unwrap(), 0, "nobody says it");
            }
            assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
        }
    }
}
