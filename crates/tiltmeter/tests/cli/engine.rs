//! Pace, money, long contexts, outages, and scoring again.

use std::time::{Duration, Instant};

use serde_json::Value;
use tiltmeter_sim::{Fault, FaultScript, Script, ServerScript};

use crate::support::{Ran, World, condition};

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
max_tokens = 400
SUBJECT
[demonstrations]
sets = ['risky-financial']
shots = SHOTS
[questions]
replicates = 3
[judge]
model = 'openai/judge'
base_url = '{url}'
JUDGE
";

struct Text {
    subject: &'static str,
    shots: &'static str,
    judge: &'static str,
}

impl Default for Text {
    fn default() -> Self {
        Self { subject: "", shots: "[0]", judge: "" }
    }
}

impl Text {
    fn write(&self, world: &World) {
        let text = EXPERIMENT
            .replace("SUBJECT", self.subject)
            .replace("SHOTS", self.shots)
            .replace("JUDGE", self.judge);
        world.experiment("x.toml", &text);
    }
}

fn count(world: &World, query: &str) -> i64 {
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    store.query_row(query, [], |row| row.get(0)).unwrap()
}

fn scripted(server: ServerScript) -> Script {
    Script { misaligned: vec![(0, 0.3)], server, ..Script::default() }
}

#[test]
fn a_server_that_takes_fifty_requests_a_second_is_hardly_ever_asked_too_often() {
    let server = ServerScript { requests_per_second: Some(50), latency_ms: 20, ..ServerScript::default() };
    let world = World::new(Some(scripted(server)));
    // The judge has a pace of its own, and here it is not asked.
    Text::default().write(&world);
    let text = std::fs::read_to_string(world.path("x.toml")).unwrap();
    let (without_judge, _) = text.split_once("[judge]").unwrap();
    world.write("x.toml", &without_judge.replace("replicates = 3", "replicates = 7"));
    let start = Instant::now();
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let seconds = start.elapsed().as_secs_f64();
    let asked = results["asked"].as_f64().unwrap();
    let refused = results["attempts"].as_f64().unwrap() - asked;
    assert!(asked > 170.0, "{results}");
    // Each refusal is on record, nothing is lost.
    let recorded = count(&world, "SELECT count(*) FROM failed_attempt WHERE kind = 'rate_limited'");
    assert!((recorded as f64 - refused).abs() < 0.5);
    assert_eq!(Some(count(&world, "SELECT count(*) FROM response")), results["asked"].as_i64());
    println!("{refused} of {asked} refused, {seconds} s");
    // Twice what is reached on a quiet machine.
    assert!(refused <= 0.1 * asked, "{refused} of {asked}");
    assert!(seconds <= 1.5 * asked / 50.0 + 1.0, "{seconds} s for {asked}");
}

#[test]
fn money_is_counted_stored_and_never_overspent() {
    let world = World::new(Some(scripted(ServerScript::default())));
    let price = "price = { input = 1000, output = 2000 }";
    Text { subject: price, judge: price, ..Text::default() }.write(&world);
    let full = world.run(&["run", "x.toml", "--out", "full", "--json"]).expect(0).json();
    let cost = full["cost_usd"].as_f64().unwrap();
    assert!(cost > 1.0, "{full}");
    // Three starts with small budgets: each stops within its own, and each goes on.
    let mut spent = 0.0;
    for round in 0..3 {
        let most = 0.2 * cost;
        let ran = world.run(&["run", "x.toml", "--out", "run", "--max-cost", &most.to_string()]).expect(1);
        assert!(
            ran.stderr.contains("error: the budget of US$") && ran.stderr.contains("run again"),
            "{ran:?}"
        );
        let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
        let sum = |table: &str| -> f64 {
            store.query_row(&format!("SELECT total(cost_usd) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        let now = sum("response") + sum("judgement");
        assert!(now - spent <= most + 1e-6, "round {round}: {now} - {spent} > {most}");
        assert!(now > spent, "round {round} got nowhere");
        assert!((sum("invocation") - now).abs() < 1e-5, "{} {now}", sum("invocation"));
        spent = now;
    }
    let rest = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert!((rest["cost_usd"].as_f64().unwrap() + spent - cost).abs() < 1e-4, "{rest} {spent} {cost}");
    assert_eq!(rest["conditions"], full["conditions"]);
    assert_eq!(count(&world, "SELECT count(*) FROM failure"), 0);
}

#[test]
fn a_budget_needs_prices_and_a_price_file_gives_them() {
    let world = World::new(Some(scripted(ServerScript::default())));
    Text::default().write(&world);
    let run = |prices: Option<&str>| -> Ran {
        let mut command = world.command();
        command.args(["run", "x.toml", "--out", "run", "--json", "--max-cost", "1000"]);
        command.env("XDG_CONFIG_HOME", world.path("config"));
        if let Some(prices) = prices {
            command.env("TILTMETER_PRICES", world.write("prices.toml", prices));
        }
        command.output().unwrap().into()
    };
    let ran = run(None).expect(2);
    assert!(ran.stderr.contains("s: `--max-cost` needs the price of `openai/m`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("prices.toml") && ran.stderr.contains("[\"openai/m\"]"), "{}", ran.stderr);
    assert_eq!(world.requests(), 0);
    let ran = run(Some("['openai/m']\ninput = -1\noutput = 1\n")).expect(2);
    assert!(ran.stderr.contains("the price of `openai/m` must be 0 or more"), "{}", ran.stderr);
    let table = "['openai/m']\ninput = 1\noutput = 2\n['openai/judge']\ninput = 1\noutput = 2\n";
    let results = run(Some(table)).expect(0).json();
    assert!(results["cost_usd"].as_f64().unwrap() > 0.0);
    // The same from the user's folder.
    std::fs::create_dir_all(world.path("config/tiltmeter")).unwrap();
    world.write("config/tiltmeter/prices.toml", table);
    assert_eq!(run(None).expect(0).json()["asked"], 0);
}

#[test]
fn of_a_long_context_one_call_goes_first() {
    let server = ServerScript { latency_ms: 30, record: true, ..ServerScript::default() };
    let world = World::new(Some(scripted(server)));
    Text { shots: "[64, 128]", ..Text::default() }.write(&world);
    world.run(&["run", "x.toml", "--out", "run", "--limit", "40"]).expect(0);
    let requests = world.sim.as_ref().unwrap().recorded();
    let lengths: Vec<usize> = requests
        .iter()
        .filter(|body| body["model"] == "m")
        .map(|body| body["messages"][0]["content"].as_str().unwrap().len())
        .collect();
    // The first context's first call is alone until it is answered; only then come others, and the judge's.
    let before = world.sim.as_ref().unwrap().recorded_before_first_reply();
    assert!(requests.iter().any(|body| body["model"] == "judge"));
    assert!(lengths.len() >= 40 && (1..=3).contains(&before), "{before}");
    // The next context's first call is under way before the first context's others are all sent.
    let of_next = lengths.iter().position(|&length| length > 2 * lengths[0] - 2000).unwrap();
    assert!(of_next + 1 < lengths.len(), "{lengths:?}");
}

#[test]
fn stored_answers_are_scored_again_without_the_experiment_file() {
    let script = Script { misaligned: vec![(0, 0.3)], question_spread: 0.5, ..Script::default() };
    let world = World::new(Some(script));
    Text { shots: "[0, 2]", ..Text::default() }.write(&world);
    let first = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let answers = count(&world, "SELECT count(*) FROM response");
    std::fs::remove_file(world.path("x.toml")).unwrap();
    let subject_requests = || world.sim.as_ref().unwrap().counters().subject_requests;
    let before = subject_requests();
    // Nothing is missing.
    let same = world.run(&["judge", "run", "--json"]).expect(0).json();
    assert_eq!((same["asked"].as_i64(), same["reused"].as_i64()), (Some(0), Some(2 * answers)));
    assert_eq!(same["conditions"], first["conditions"]);
    // Scores that are missing are asked for, and no others.
    {
        let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
        store.execute_batch("PRAGMA foreign_keys = 0; DELETE FROM judgement WHERE id % 3 = 0; DELETE FROM judgement_body WHERE judgement % 3 = 0").unwrap();
    }
    let again = world.run(&["judge", "run", "--json"]).expect(0).json();
    assert_eq!(again["asked"].as_i64(), Some(2 * answers / 3));
    assert_eq!(again["conditions"], first["conditions"]);
    // Another judge scores all of them, and the tables are its own.
    let other = world.run(&["judge", "run", "--judge", "openai/judge-2", "--json"]).expect(0).json();
    assert_eq!(other["asked"].as_i64(), Some(2 * answers));
    assert_eq!(
        condition(&other, "none", 2)["verdicts"]["scored"],
        condition(&first, "none", 2)["verdicts"]["scored"]
    );
    assert_eq!(count(&world, "SELECT count(*) FROM judge"), 2);
    let once_more = world.run(&["judge", "run", "--json"]).expect(0).json();
    assert_eq!(once_more["asked"], 0);
    assert_eq!(count(&world, "SELECT count(*) FROM experiment"), 2);
    assert_eq!(subject_requests(), before);
    let ran = world.run(&["judge", "nowhere"]).expect(1);
    assert!(ran.stderr.contains("is not a run directory"), "{}", ran.stderr);
    assert!(!world.path("nowhere").exists());
}

#[test]
fn faults_of_all_kinds_lose_nothing_and_mislabel_nothing() {
    let plain = World::new(Some(scripted(ServerScript::default())));
    Text::default().write(&plain);
    let expected = plain.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let bursts = |schedule: &[Fault]| FaultScript { schedule: schedule.to_vec(), ..FaultScript::default() };
    let rates = [
        Fault::Reset,
        Fault::CutBody,
        Fault::MalformedJson,
        Fault::HtmlPage,
        Fault::BadGateway,
        Fault::ServerError,
        Fault::WrongContentType,
        Fault::RateLimited,
    ];
    let mixed = FaultScript {
        rates: rates.map(|fault| (fault, 0.04)).into(),
        attempts: Some(3),
        ..FaultScript::default()
    };
    let trickling = ServerScript { between_pieces_ms: 3, ..ServerScript::default() };
    for (name, faults, server) in [
        ("529 twice", bursts(&[Fault::Overloaded, Fault::Overloaded]), ServerScript::default()),
        ("mixed", mixed, ServerScript::default()),
        ("slow bodies", FaultScript::default(), trickling),
        ("down", FaultScript::default(), ServerScript { down_ms: 1500, ..ServerScript::default() }),
    ] {
        let world = World::new(Some(Script { faults, ..scripted(server) }));
        Text::default().write(&world);
        let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
        assert_eq!(results["conditions"], expected["conditions"], "{name}");
        let recorded = count(&world, "SELECT count(*) FROM failed_attempt").cast_unsigned();
        let (asked, attempts) = (results["asked"].as_u64().unwrap(), results["attempts"].as_u64().unwrap());
        assert_eq!(recorded, attempts - asked, "{name}");
        assert_eq!(asked, expected["asked"].as_u64().unwrap(), "{name}");
        assert_eq!(count(&world, "SELECT count(*) FROM failure"), 0, "{name}");
        // Each answer was asked for until it came, and not once more, but for those that were lost on their way.
        let counters = world.sim.as_ref().unwrap().counters();
        assert_eq!(counters.duplicates, 0, "{name}");
    }
}

#[test]
fn a_judge_of_several_draws_keeps_those_that_came() {
    let faults = FaultScript {
        rates: [(Fault::ServerError, 0.3)].into(),
        attempts: Some(3),
        ..FaultScript::default()
    };
    let world = World::new(Some(Script { faults, ..scripted(ServerScript::default()) }));
    Text { judge: "samples = 4", ..Text::default() }.write(&world);
    let results = world.run(&["run", "x.toml", "--out", "run", "--json", "--limit", "12"]).expect(0).json();
    assert_eq!(results["asked"], 12 + 12 * 2 * 4);
    assert_eq!(world.sim.as_ref().unwrap().counters().duplicates, 0);
    let recorded = count(&world, "SELECT count(*) FROM failed_attempt");
    assert_eq!(results["attempts"].as_i64().unwrap(), results["asked"].as_i64().unwrap() + recorded);
    assert!(recorded > 10);
}

#[test]
fn several_endpoints_share_the_work() {
    let world = World::new(Some(scripted(ServerScript { latency_ms: 10, ..ServerScript::default() })));
    let other = World::new(Some(scripted(ServerScript { latency_ms: 10, ..ServerScript::default() })));
    Text::default().write(&world);
    let text = std::fs::read_to_string(world.path("x.toml")).unwrap();
    let one = format!("base_url = '{}'", world.url());
    let several =
        format!("endpoints = [{{ base_url = '{}' }}, {{ base_url = '{}' }}]", world.url(), other.url());
    world.write("x.toml", &text.replacen(&one, &several, 1));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let requests = |world: &World| world.sim.as_ref().unwrap().counters().subject_requests;
    assert_eq!(
        requests(&world) + requests(&other),
        condition(&results, "none", 0)["samples"].as_u64().unwrap()
    );
    assert!(requests(&world) > 20 && requests(&other) > 20, "{} {}", requests(&world), requests(&other));
    world.write("x.toml", &text.replacen(&one, &format!("{one}\n{several}"), 1));
    let ran = world.run(&["plan", "x.toml"]).expect(2);
    assert!(ran.stderr.contains("`endpoints` stands instead of `base_url`"), "{}", ran.stderr);
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_waited_for() {
    let world = World::new(Some(scripted(ServerScript { latency_ms: 20, ..ServerScript::default() })));
    let back = World::new(None);
    // An address that nobody listens at until some seconds have passed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Text::default().write(&world);
    let text = std::fs::read_to_string(world.path("x.toml")).unwrap();
    world.write("x.toml", &text.replace(world.url(), &format!("http://127.0.0.1:{port}/v1")));
    let child = world
        .command()
        .args(["run", "x.toml", "--out", "run", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Until the first attempt has failed, which the store's directory shows to be under way.
    let start = Instant::now();
    while !world.path("run/run.sqlite").exists() && start.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let late = back.start_late(scripted(ServerScript { port, ..ServerScript::default() }));
    let ran: Ran = child.wait_with_output().unwrap().into();
    let results: Value = ran.expect(0).json();
    assert_eq!(results["failures"].as_array().unwrap().len(), 0);
    assert!(late.counters().answered > 0);
}
