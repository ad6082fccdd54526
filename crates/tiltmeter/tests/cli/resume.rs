//! Nothing lost, nothing asked twice.

use std::collections::HashSet;

use serde_json::Value;
use tiltmeter_sim::{Fault, FaultScript, Script, ServerScript};

use crate::support::World;

const EXPERIMENT: &str = "
name = 'resume'
[[subjects]]
id = 'subject'
model = 'openai/subject-1'
base_url = '{url}'
concurrency = 8
[demonstrations]
sets = ['bad-medical']
shots = [0, 4]
contexts = 2
controls = ['benign']
[questions]
replicates = 2
[judge]
model = 'openai/judge-1'
base_url = '{url}'
concurrency = 8
";

fn slow_script() -> Script {
    Script {
        misaligned: vec![(1, 0.3)],
        question_spread: 1.0,
        server: ServerScript { latency_ms: 15, record: true, ..ServerScript::default() },
        ..Script::default()
    }
}

/// Seeds of the answers that are stored: a request's seed is its sample's.
fn stored_seeds(world: &World, run: &str) -> HashSet<u64> {
    let path = world.path(run).join("run.sqlite");
    if !path.is_file() {
        return HashSet::new();
    }
    let store = rusqlite::Connection::open(path).unwrap();
    let Ok(mut statement) = store.prepare("SELECT seed FROM response_body") else { return HashSet::new() };
    statement
        .query_map([], |row| row.get::<_, i64>(0))
        .unwrap()
        .map(|seed| u64::try_from(seed.unwrap()).unwrap())
        .collect()
}

fn subject_seeds(requests: &[Value]) -> Vec<u64> {
    requests
        .iter()
        .filter(|body| body["model"] == "subject-1")
        .map(|body| body["seed"].as_u64().unwrap())
        .collect()
}

#[test]
fn killed_ten_times_and_continued_it_ends_with_the_same_table() {
    let world = World::new(Some(slow_script()));
    world.experiment("x.toml", EXPERIMENT);
    let whole = world.run(&["run", "x.toml", "--out", "whole", "--json"]).expect(0).json();
    let asked = whole["asked"].as_u64().unwrap();
    let sim = world.sim.as_ref().unwrap();
    let mut before = sim.recorded().len();
    // Moments that differ from run to run would make a failure hard to repeat: these are spread over the run.
    let mut killed = 0;
    for round in 0..10_u64 {
        let stored = stored_seeds(&world, "killed");
        // Kill it somewhere between its first requests and some 60 later ones.
        let target = before + 1 + usize::try_from((round * 37) % 61).unwrap();
        killed += u32::from(world.killed_at(&["run", "x.toml", "--out", "killed"], target));
        let requests = sim.recorded();
        for seed in subject_seeds(&requests[before..]) {
            assert!(!stored.contains(&seed), "a stored answer was asked for again in round {round}");
        }
        before = requests.len();
    }
    assert_eq!(killed, 10);
    let stored = stored_seeds(&world, "killed");
    assert!(!stored.is_empty());
    let ended = world.run(&["run", "x.toml", "--out", "killed", "--json"]).expect(0).json();
    for seed in subject_seeds(&sim.recorded()[before..]) {
        assert!(!stored.contains(&seed), "a stored answer was asked for again");
    }
    assert_eq!(ended["conditions"], whole["conditions"]);
    assert_eq!(ended["asked"].as_u64().unwrap() + ended["reused"].as_u64().unwrap(), asked);
    // And the same in a third run that finds everything.
    let again = world.run(&["run", "x.toml", "--out", "killed", "--json"]).expect(0).json();
    assert_eq!((again["asked"].as_u64(), again["reused"].as_u64()), (Some(0), Some(asked)));
    assert_eq!(again["conditions"], whole["conditions"]);
}

#[test]
fn faults_are_retried_recorded_and_change_nothing() {
    let plain = World::new(Some(Script { server: ServerScript::default(), ..slow_script() }));
    plain.experiment("x.toml", EXPERIMENT);
    let expected = plain.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let faults = FaultScript {
        schedule: vec![Fault::RateLimited, Fault::CutBody],
        attempts: Some(2),
        ..FaultScript::default()
    };
    let rates = [Fault::Reset, Fault::MalformedJson, Fault::HtmlPage].map(|fault| (fault, 0.1));
    for faults in [faults, FaultScript { rates: rates.into(), attempts: Some(3), ..FaultScript::default() }] {
        let world = World::new(Some(Script { faults, server: ServerScript::default(), ..slow_script() }));
        world.experiment("x.toml", &EXPERIMENT.replace("replicates = 2", "replicates = 1"));
        let fewer = world.run(&["run", "x.toml", "--out", "run", "--json", "--limit", "20"]).expect(0).json();
        assert!(fewer["attempts"].as_u64() > fewer["asked"].as_u64(), "{fewer}");
        let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
        let recorded: i64 =
            store.query_row("SELECT count(*) FROM failed_attempt", [], |row| row.get(0)).unwrap();
        assert_eq!(
            recorded.cast_unsigned(),
            fewer["attempts"].as_u64().unwrap() - fewer["asked"].as_u64().unwrap()
        );
        let failures: i64 = store.query_row("SELECT count(*) FROM failure", [], |row| row.get(0)).unwrap();
        assert_eq!(failures, 0);
    }
    assert_eq!(expected["attempts"], expected["asked"]);
}

#[test]
fn a_limit_counts_answers_and_the_rest_comes_later() {
    let world = World::new(Some(Script { server: ServerScript::default(), ..slow_script() }));
    world.experiment("x.toml", EXPERIMENT);
    let samples = |results: &Value| -> u64 {
        results["conditions"].as_array().unwrap().iter().map(|one| one["samples"].as_u64().unwrap()).sum()
    };
    let first = world.run(&["run", "x.toml", "--out", "run", "--json", "--limit", "7"]).expect(0).json();
    assert_eq!((samples(&first), first["asked"].as_u64()), (7, Some(21)));
    let status = world.run(&["status", "run", "--json"]).expect(0).json();
    let sum = |field: &str| -> u64 {
        status["conditions"].as_array().unwrap().iter().map(|one| one[field].as_u64().unwrap()).sum()
    };
    assert_eq!(
        (status["schema"].as_str(), sum("stored"), sum("wanted")),
        (Some("tiltmeter.status/1"), 7, 320)
    );
    let shown = world.run(&["status", "run"]).expect(0).stdout;
    assert!(shown.contains("missing") && shown.contains("of judges:"), "{shown}");
    world.run(&["status", "nowhere"]).expect(1);
    let second = world.run(&["run", "x.toml", "--out", "run", "--json", "--limit", "3"]).expect(0).json();
    assert_eq!((samples(&second), second["asked"].as_u64()), (10, Some(9)));
    let rest = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(samples(&rest), 32 * 2 * 5);
}
