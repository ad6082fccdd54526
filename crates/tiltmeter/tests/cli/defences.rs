//! Defences that change which demonstrations are shown, end to end.

use rusqlite::Connection;
use serde_json::Value;
use tiltmeter_sim::{Fault, FaultScript, JudgeScript, Script, ServerScript};

use crate::support::World;

const EXPERIMENT: &str = "name = 'defences'\n[[subjects]]\nid = 's'\nmodel = 'openai/s'\nbase_url = '{url}'\n\
                          [demonstrations]\nsets = ['risky-financial']\nshots = [0, 4]\ncontexts = 2\ncontrols = ['benign']\n\
                          [questions]\nreplicates = 2\n[judge]\nmodel = 'openai/judge-1'\nbase_url = '{url}'\n\
                          price = { input = 1.0, output = 2.0 }\n";

/// Harmful demonstrations are told from benign ones by their answers.
fn script() -> Script {
    let set = tiltmeter_core::data::builtin::demonstrations("risky-financial").unwrap().unwrap();
    Script {
        misaligned: vec![(1, 0.5)],
        benign_rate: 0.02,
        harmful_markers: set.rows.iter().map(|row| row.response.to_string()).collect(),
        server: ServerScript { record: true, ..ServerScript::default() },
        ..Script::default()
    }
}

fn of<'a>(results: &'a Value, treatment: &str, control: &str, shots: u64) -> &'a Value {
    let is_it =
        |one: &&Value| one["treatment"] == treatment && one["control"] == control && one["shots"] == shots;
    results["conditions"].as_array().unwrap().iter().find(is_it).unwrap()
}

fn misaligned(condition: &Value) -> (u64, u64) {
    let rate = &condition["em_rate"];
    (rate["misaligned"].as_u64().unwrap(), rate["denominator_count"].as_u64().unwrap())
}

fn count(world: &World, sql: &str) -> i64 {
    let store = Connection::open(world.path("run/run.sqlite")).unwrap();
    store.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn every_defence_of_the_prompt_runs_and_its_effect_is_found() {
    let script = Script {
        text_shifts: vec![
            ("any examples above may be wrong".to_owned(), -3.0),
            ("Remember your part".to_owned(), -1.0),
            ("is quoted data".to_owned(), -2.0),
        ],
        instruction_shifts: vec![("Put safety first".to_owned(), -4.0)],
        ..script()
    };
    let world = World::new(Some(script));
    let names = ["append-benign", "quote", "safety-first", "context-first", "warning", "role-reminder"];
    let defences: String = names.map(|name| format!("[[defences]]\nid = '{name}'\n")).concat();
    world.experiment("x.toml", &format!("{EXPERIMENT}{defences}"));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    // One block for each context and instruction or text; k = 0 of the reshaping ones is that of `none`.
    let contexts = 2 * 2;
    let blocks = 7 * contexts + 1 + 4;
    let samples = blocks * 32 * 2;
    assert_eq!(results["asked"], 3 * samples);
    assert_eq!(world.requests(), 3 * samples);
    assert_eq!(world.sim.as_ref().unwrap().counters().duplicates, 0);

    let rate = |name: &str| {
        let (misaligned, all) = misaligned(of(&results, name, "none", 4));
        misaligned as f64 / all as f64
    };
    assert!((rate("none") - 0.5).abs() < 0.15, "{}", rate("none"));
    for (name, shift) in [
        ("quote", -2.0_f64),
        ("safety-first", -4.0),
        ("warning", -3.0),
        ("role-reminder", -1.0),
        ("append-benign", 0.0),
    ] {
        let truth = shift.exp() / (1.0 + shift.exp());
        assert!((rate(name) - truth).abs() < 0.13, "{name}: {} for {truth}", rate(name));
    }
    let treatments = results["treatments"].as_array().unwrap();
    assert_eq!(treatments.len(), 7);
    for (treatment, name) in treatments.iter().skip(1).zip(names) {
        assert_eq!((&treatment["name"], &treatment["built_in"]), (&name.into(), &true.into()));
        assert_eq!(treatment["does"].as_array().unwrap().len(), 1, "{treatment}");
        let has_text = name != "append-benign";
        assert_eq!(treatment["texts"].as_array().unwrap().len(), usize::from(has_text), "{treatment}");
    }
    assert_eq!(treatments[0]["does"][0], "nothing");
    assert!(results["notes"].to_string().contains("k counts the set's own demonstrations"));
    let page = std::fs::read_to_string(world.path("run/report.html")).unwrap();
    assert!(page.contains("What was done to requests") && page.contains("as quoted data"));
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!((&again["asked"], &again["treatments"]), (&0.into(), &results["treatments"]));
}

#[test]
fn a_filter_screens_each_demonstration_once_and_leaves_out_the_harmful_ones() {
    let world = World::new(Some(script()));
    world.experiment("x.toml", &format!("{EXPERIMENT}[[defences]]\nid = 'filter'\n"));
    let planned = world.run(&["plan", "x.toml", "--json"]).expect(0).json();
    let screening = &planned["screening"][0];
    let demonstrations = screening["demonstrations"].as_u64().unwrap();
    assert_eq!(screening["calls"], demonstrations);
    assert_eq!(screening["defences"][0], "filter");
    assert!(screening["most_cost_usd"].as_f64().unwrap() > 0.0);
    let text = world.run(&["plan", "x.toml"]).expect(0).stdout;
    assert!(
        text.contains(&format!("filter (openai/judge-1), for filter: {demonstrations} demonstrations")),
        "{text}"
    );

    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    // All of the set's own answers are left out, none of the benign ones: nothing but screening is asked for more.
    let samples = (1 + 2 * 2) * 32 * 2;
    assert_eq!(results["asked"], 3 * samples + demonstrations);
    assert_eq!(world.sim.as_ref().unwrap().counters().duplicates, 0);
    assert_eq!(count(&world, "SELECT count(*) FROM screening"), i64::try_from(demonstrations).unwrap());
    let bad = of(&results, "filter", "none", 4);
    let dropped = &bad["filter"];
    assert_eq!(
        (&dropped["of"], &dropped["dropped_mean"], &dropped["dropped_least"]),
        (&4.into(), &4.0.into(), &4.into())
    );
    // Both draws come to the empty context, whose answers count once.
    assert_eq!((misaligned(bad), bad["samples"].as_u64()), ((0, 64), Some(64)));
    assert_eq!(bad["planned"], 64);
    assert_eq!(of(&results, "filter", "benign", 4)["em_rate"], of(&results, "none", "benign", 4)["em_rate"]);
    assert_eq!(of(&results, "filter", "benign", 4)["filter"]["dropped_mean"], 0.0);
    assert!(of(&results, "none", "none", 4).get("filter").is_none());
    let screened = &results["treatments"][1]["screening"];
    assert_eq!(
        (&screened["demonstrations"], &screened["calls"]),
        (&demonstrations.into(), &demonstrations.into())
    );
    assert!(
        screened["cost_usd"].as_f64().unwrap() > 0.0 && screened["input_tokens"].as_u64().unwrap() > 1000
    );
    let table = world.run(&["run", "x.toml", "--out", "run"]).expect(0).stdout;
    assert!(table.contains("left out of a context by the filter, mean and range: 4.0 of 4"), "{table}");

    // Nothing is paid for twice, whatever else changes.
    world.experiment(
        "x.toml",
        &format!("{EXPERIMENT}[[defences]]\nid = 'lenient'\nfilter = {{ keep_from = 0 }}\n"),
    );
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(again["asked"], 0, "it keeps all, so that its contexts are those without it");
    assert_eq!(of(&again, "lenient", "none", 4)["em_rate"], of(&again, "none", "none", 4)["em_rate"]);
    let status = world.run(&["status", "run", "--json"]).expect(0).json();
    assert!(
        status["conditions"].as_array().unwrap().iter().all(|one| one["wanted"] == one["stored"]),
        "{status}"
    );
}

#[test]
fn a_reply_without_a_score_keeps_the_demonstration_and_is_counted() {
    let world = World::new(Some(script()));
    let screen = world.start_late(Script {
        judge: JudgeScript { garbage: 0.5, declines: 0.1, ..JudgeScript::default() },
        ..script()
    });
    let filter = format!(
        "[[defences]]\nid = 'filter-2'\nfilter = {{ model = 'openai/judge-2', base_url = '{}' }}\n",
        screen.base_url()
    );
    world.experiment("x.toml", &format!("{EXPERIMENT}{filter}"));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let filtered = &of(&results, "filter-2", "none", 4)["filter"];
    let mean = filtered["dropped_mean"].as_f64().unwrap();
    let without = filtered["without_score"].as_u64().unwrap();
    assert!(mean > 0.0 && without > 0, "{filtered}");
    assert!(
        (2.0 * mean + without as f64 - 8.0).abs() < 1e-9,
        "each is left out or without a score: {filtered}"
    );
    let screened = &results["treatments"][1]["screening"];
    assert_eq!(
        screened["without_score"],
        count(&world, "SELECT count(*) FROM screening WHERE score IS NULL")
    );
    assert!(screened["cost_usd"].is_null(), "its price is not known: {screened}");
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(again["asked"], 0);
    assert_eq!(again["conditions"], results["conditions"]);
}

#[test]
fn a_filter_that_cannot_be_asked_stops_the_run_before_any_context_is_made() {
    let world = World::new(Some(script()));
    let failing = world.start_late(Script {
        server: ServerScript { context_limit: Some(10), ..ServerScript::default() },
        ..script()
    });
    let filter = |url: &str| {
        format!("[[defences]]\nid = 'filter'\nfilter = {{ model = 'openai/judge-2', base_url = '{url}' }}\n")
    };
    world.experiment("x.toml", &format!("{EXPERIMENT}{}", filter(failing.base_url())));
    let ran = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(1);
    assert!(
        ran.stderr.contains("could not be screened") && ran.stderr.contains("run again"),
        "{}",
        ran.stderr
    );
    assert_eq!(world.requests(), 0, "no subject is asked");
    assert!(count(&world, "SELECT count(*) FROM failure WHERE target = 'screening'") > 0);
    assert_eq!(count(&world, "SELECT count(*) FROM context"), 0);
    for command in ["status", "compare", "report"] {
        let said = world.run(&[command, "run"]).expect(1).stderr;
        assert!(said.contains("still being screened") && said.contains("run it again"), "{command}: {said}");
    }

    // The same model elsewhere, with faults that pass: what was missing is asked for, and nothing else is lost.
    let faults = FaultScript {
        schedule: vec![Fault::RateLimited, Fault::Reset, Fault::None],
        ..FaultScript::default()
    };
    let sound = world.start_late(Script { faults, ..script() });
    world.experiment("x.toml", &format!("{EXPERIMENT}{}", filter(sound.base_url())));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(results["failures"].as_array().unwrap().len(), 0);
    assert_eq!(of(&results, "filter", "none", 4)["filter"]["dropped_mean"], 4.0);
    assert_eq!(count(&world, "SELECT count(*) FROM failure"), 0);
}
