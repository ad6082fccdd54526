//! The paper's experiments, run to their ends against the scripted server while it fails in every way it knows: each
//! provider in its own protocol, the planted rates recovered, nothing lost and nothing paid twice.

use std::collections::BTreeMap;

use serde_json::Value;
use tiltmeter_sim::{Fault, FaultScript, Script, ServerScript};

use crate::support::{World, repository};

/// Every fault, each often enough to be met several times.
fn faults() -> FaultScript {
    let kinds = [
        Fault::RateLimited,
        Fault::RateLimitedWithoutHint,
        Fault::ServerError,
        Fault::BadGateway,
        Fault::Unavailable,
        Fault::Overloaded,
        Fault::Reset,
        Fault::CutBody,
        Fault::HtmlPage,
        Fault::MalformedJson,
        Fault::WrongContentType,
        Fault::Delay,
    ];
    // Being told to slow down for no reason slows down; a few times will do.
    let rate = |kind| match kind {
        Fault::RateLimited | Fault::RateLimitedWithoutHint => 0.003,
        _ => 0.01,
    };
    let rates = kinds.map(|kind| (kind, rate(kind))).into();
    FaultScript { rates, attempts: Some(3), ..FaultScript::default() }
}

fn script() -> Script {
    Script {
        misaligned: vec![(1, 0.1), (16, 0.4)],
        question_spread: 0.7,
        incoherent: 0.03,
        code: 0.02,
        refusal: 0.03,
        reasoning: 0.5,
        faults: faults(),
        server: ServerScript { latency_ms: 2, ..ServerScript::default() },
        ..Script::default()
    }
}

/// A paper's experiment file, with what cannot be had here replaced: servers by the scripted one, published sets by
/// the built-in ones, the judge by a model that the server takes for one.
fn experiment(name: &str, world: &World, shots: &str) -> String {
    let text = std::fs::read_to_string(repository().join("experiments").join(name)).unwrap();
    let gemini = world.url().replace("/v1", "/v1beta");
    let line = |line: &str| {
        let key = line.split('=').next().unwrap_or("").trim();
        match key {
            "model" if line.contains("gpt-4o") => {
                format!("model = 'openai/judge-gpt-4o'\nbase_url = '{}'\n", world.url())
            }
            "model" if line.contains("\"gemini/") => format!("{line}\nbase_url = '{gemini}'\n"),
            "model" => format!("{line}\nbase_url = '{}'\n", world.url()),
            "shots" => format!("shots = {shots}\n"),
            "replicates" => "replicates = 1\n".to_owned(),
            "sets" if line.contains("questions") || line.contains("preregistered") => {
                "sets = ['builtin']\n".to_owned()
            }
            _ => format!("{line}\n"),
        }
    };
    let mut written: String = text.lines().map(line).collect();
    for (published, built_in) in [
        ("turner/risky-financial-advice", "risky-financial"),
        ("turner/bad-medical-advice", "bad-medical"),
        ("turner/extreme-sports", "extreme-sports"),
        ("betley/insecure", "insecure-code"),
    ] {
        written = written.replace(&format!("\"{published}\""), &format!("\"{built_in}\""));
    }
    written + "[sampling]\nquestions = 8\n"
}

fn run(name: &str, shots: &str, families: &[&str]) {
    let world = World::new(Some(script()));
    world.write("x.toml", &experiment(name, &world, shots));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(results["failures"], serde_json::json!([]));
    let conditions = results["conditions"].as_array().unwrap();
    let count = |value: &Value| value.as_u64().unwrap();
    let mut by_shots: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut of_empty = BTreeMap::new();
    for condition in conditions {
        let verdicts = condition["verdicts"].as_object().unwrap();
        let lost: u64 = ["error", "unparsable", "judge_refusal", "not_judged"]
            .iter()
            .filter_map(|reason| verdicts.get(*reason))
            .map(count)
            .sum();
        assert_eq!(lost, 0, "{condition}");
        let rate = &condition["em_rate"];
        let counts = (count(&rate["misaligned"]), count(&rate["denominator_count"]));
        let shots = count(&condition["shots"]);
        if shots == 0 {
            // Answers without demonstrations serve all sets of a subject.
            of_empty.insert(condition["subject"].to_string(), counts);
            continue;
        }
        let sum = by_shots.entry(shots).or_default();
        *sum = (sum.0 + counts.0, sum.1 + counts.1);
    }
    for (misaligned, all) in of_empty.into_values() {
        let sum = by_shots.entry(0).or_default();
        *sum = (sum.0 + misaligned, sum.1 + all);
    }
    let sim = world.sim.as_ref().unwrap();
    let truth = sim.truth();
    assert_eq!(truth.len(), by_shots.len());
    for row in &truth {
        let (misaligned, all) = by_shots[&u64::from(row.shots)];
        let found = misaligned as f64 / all as f64;
        // The script's judge is right, so that what was planted comes out to the last answer.
        assert!((found - row.realised_rate().unwrap()).abs() < 1e-12, "{row:?} {found}");
        // And it is what the script says, within five standard errors of chance.
        let deviation = (row.planted_rate * (1.0 - row.planted_rate) / all as f64).sqrt();
        assert!((found - row.planted_rate).abs() <= 5.0 * deviation + 1e-12, "{row:?} {found}");
    }
    let counters = sim.counters();
    assert_eq!(counters.duplicates, 0);
    assert!(counters.faults.len() == 12, "{:?}", counters.faults);
    let met: u64 = counters.faults.iter().filter(|(fault, _)| !lasting(**fault)).map(|(_, met)| met).sum();
    let repeated = count(&results["attempts"]) - count(&results["asked"]);
    assert_eq!(repeated, met, "each fault is one repetition, and nothing else is");
    // Reasoning is kept apart from the answers.
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    let number =
        |query: &str| store.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned();
    let with_reasoning = number("SELECT count(*) FROM response_body WHERE reasoning IS NOT NULL");
    let all = number("SELECT count(*) FROM response_body");
    assert!(with_reasoning * 3 > all && with_reasoning * 3 < 2 * all, "{with_reasoning} of {all}");
    assert_eq!(number("SELECT count(*) FROM failed_attempt"), repeated);
    for family in families {
        let query = format!("SELECT count(*) FROM subject WHERE model LIKE '{family}/%'");
        assert!(number(&query) > 0, "{family}");
    }
    // A second start finds everything.
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!((count(&again["asked"]), &again["conditions"]), (0, &results["conditions"]));
}

/// Faults that a client does not notice.
fn lasting(fault: Fault) -> bool {
    matches!(fault, Fault::WrongContentType | Fault::Delay)
}

#[test]
fn version_4_with_its_four_families_ends_under_faults_with_the_planted_rates() {
    run("paper-v4.toml", "[0, 2, 4, 8, 16, 32]", &["gemini", "moonshot", "xai", "dashscope"]);
}

#[test]
fn version_1_ends_under_faults_with_the_planted_rates() {
    run("paper-v1.toml", "[0, 8, 32]", &["gemini", "dashscope"]);
}
