//! `--log`: one line for each request, and nothing in it that should not be.

use serde_json::Value;
use tiltmeter_sim::{Fault, FaultScript, Script, ServerScript};

use crate::support::World;

const KEY: &str = "sk-log-0123456789";

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
price = { input = 1, output = 2 }
[demonstrations]
sets = ['risky-financial']
shots = [0]
[judge]
model = 'openai/judge'
base_url = '{url}'
";

#[test]
fn each_request_is_a_line_without_keys_and_texts() {
    let faults = FaultScript { rates: [(Fault::ServerError, 0.1)].into(), ..FaultScript::default() };
    let server = ServerScript { api_key: Some(KEY.to_owned()), ..ServerScript::default() };
    let world = World::new(Some(Script { faults, server, misaligned: vec![(0, 0.3)], ..Script::default() }));
    world.experiment("x.toml", EXPERIMENT);
    let run = |key: &str, limit: &str| {
        let mut command = world.command();
        command.env("OPENAI_API_KEY", key);
        command.args(["run", "x.toml", "--out", "run", "--json", "--log", "log.jsonl", "--limit", limit]);
        crate::support::Ran::from(command.output().unwrap())
    };
    let first = run(KEY, "10").expect(0).json();
    let second = run(KEY, "10").expect(0).json();
    run("sk-log-wrong-key-98765", "10").expect(1);
    let text = std::fs::read_to_string(world.path("log.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let spans: Vec<&Value> =
        lines.iter().filter(|line| line["message"] == "close").map(|line| &line["span"]).collect();
    let attempts = first["attempts"].as_u64().unwrap() + second["attempts"].as_u64().unwrap();
    let refused = |span: &&&Value| span["http.response.status_code"] == 401;
    let ours: Vec<&&Value> = spans.iter().filter(|span| !refused(span)).collect();
    assert_eq!(ours.len() as u64, attempts);
    assert!(spans.iter().any(|span| refused(&span) && span["error.type"] == "unauthorised"));
    let of = |name: &str| ours.iter().filter(|span| span["tiltmeter.model"] == name).count();
    assert!(of("s") >= 20 && of("judge") > 30, "{} {}", of("s"), of("judge"));
    for span in &ours {
        assert_eq!(span["gen_ai.operation.name"], "chat");
        assert_eq!(span["gen_ai.provider.name"], "openai");
        assert!(span["tiltmeter.duration_ms"].is_u64() && span["tiltmeter.id"].is_string());
        if span.get("error.type").is_some() {
            assert_eq!(span["error.type"], "overloaded");
            assert_eq!(span["http.response.status_code"], 500);
        } else {
            assert!(span["gen_ai.usage.input_tokens"].as_u64().unwrap() > 0);
        }
    }
    let stored = {
        let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
        let mut statement = store.prepare("SELECT answer FROM response_body").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    assert!(stored.len() == 20 && stored.iter().all(|answer| !answer.is_empty() && !text.contains(answer)));
    for secret in [KEY, "sk-log-wrong-key-98765"] {
        world.holds_nowhere(secret);
    }
}

#[test]
fn a_log_that_cannot_be_written_is_told() {
    let world = World::new(Some(Script::default()));
    world.experiment("x.toml", EXPERIMENT);
    let ran = world.run(&["run", "x.toml", "--out", "run", "--log", "no/such/folder/log.jsonl"]).expect(2);
    assert!(ran.stderr.contains("no/such/folder/log.jsonl"), "{}", ran.stderr);
    if std::path::Path::new("/dev/full").exists() {
        let ran = world.run(&["run", "x.toml", "--out", "run", "--log", "/dev/full"]).expect(0);
        assert!(ran.stderr.contains("the log /dev/full is not complete"), "{}", ran.stderr);
    }
}
