//! The `data` command and published sets in experiment files, without a network.

use std::process::Command;

use crate::support::{Ran, World, shared};

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
[demonstrations]
sets = ['betley/insecure']
shots = [0, 2]
";

/// The program with a data folder of its own, which is empty at first.
fn command(world: &World) -> Command {
    let mut command = world.command();
    command.env("TILTMETER_DATA_DIR", world.path("data"));
    command
}

fn run(world: &World, arguments: &[&str]) -> Ran {
    command(world).args(arguments).stdin(std::process::Stdio::null()).output().unwrap().into()
}

#[test]
fn a_set_that_is_not_fetched_can_be_planned_and_not_run() {
    let world = World::new(Some(tiltmeter_sim::Script::default()));
    world.experiment("x.toml", EXPERIMENT);
    let plan = run(&world, &["plan", "x.toml", "--json"]).expect(0).json();
    assert_eq!(plan["not_fetched"], serde_json::json!(["betley/insecure"]));
    assert!(plan["subjects"][0]["input_tokens"].as_u64().unwrap() > 1000, "{plan}");
    let ran = run(&world, &["run", "x.toml"]).expect(2);
    assert!(ran.stderr.contains("x.toml:7:9: the set `betley/insecure` is not fetched"), "{}", ran.stderr);
    assert!(ran.stderr.contains("tiltmeter data fetch betley/insecure"), "{}", ran.stderr);
    world.experiment("x.toml", &EXPERIMENT.replace("betley/insecure", "betley/insecur"));
    let ran = run(&world, &["run", "x.toml"]).expect(2);
    assert!(ran.stderr.contains("did you mean the published set `betley/insecure`?"), "{}", ran.stderr);
    assert_eq!(world.requests(), 0);
}

#[test]
fn nothing_is_fetched_before_its_terms_are_accepted() {
    let world = World::new(None);
    world.write("wrong.jsonl", "{}\n");
    let ran = run(&world, &["data", "fetch", "turner/extreme-sports", "--from", "wrong.jsonl"]).expect(2);
    assert!(
        ran.stderr.contains("may not be passed on") || ran.stderr.contains("passed on"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("`--accept`"), "{}", ran.stderr);
    let ran =
        run(&world, &["data", "fetch", "betley/insecure", "--accept", "--from", "wrong.jsonl"]).expect(1);
    assert!(ran.stderr.contains("bytes instead of"), "{}", ran.stderr);
    let list = run(&world, &["data", "list", "--json"]).expect(0).json();
    let sets = list["sets"].as_array().unwrap();
    assert!(sets.iter().all(|set| set["state"] != "fetched"), "{list}");
    let ran = run(&world, &["data", "fetch", "betley/nothing"]).expect(2);
    assert!(ran.stderr.contains("betley/nothing"), "{}", ran.stderr);
}

#[test]
fn a_fetched_set_runs_by_its_name() {
    let Some(insecure) = shared("demonstrations/insecure.jsonl") else { return };
    let world = World::new(Some(tiltmeter_sim::Script::default()));
    world.experiment("x.toml", EXPERIMENT);
    let from = insecure.to_str().unwrap();
    run(&world, &["data", "fetch", "betley/insecure", "--accept", "--from", from]).expect(0);
    assert!(world.path("data/betley/insecure.terms.txt").is_file());
    let checked = run(&world, &["data", "check", "betley/insecure"]).expect(0);
    assert!(checked.stdout.contains("6000 rows, 0 broken"), "{}", checked.stdout);
    let results = run(&world, &["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(results["conditions"][1]["demonstrations"], "betley/insecure");
    // A set that was changed on disk is not used.
    std::fs::write(world.path("data/betley/insecure.jsonl"), "{}").unwrap();
    let ran = run(&world, &["run", "x.toml", "--out", "run"]).expect(2);
    assert!(ran.stderr.contains("is damaged"), "{}", ran.stderr);
}

#[test]
fn a_file_of_ones_own_is_checked() {
    let world = World::new(None);
    let row = |prompt: &str, answer: &str| serde_json::json!({"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]});
    world.write("a.jsonl", &format!("{}\n{}\n{{]\n", row("p", "x"), row("q", "y")));
    world.write("b.jsonl", &format!("{}\n", row("q", "z")));
    let ran = run(&world, &["data", "check", "a.jsonl", "--benign", "b.jsonl"]).expect(3);
    assert!(ran.stdout.contains("a.jsonl:3: broken row"), "{}", ran.stdout);
    assert!(ran.stdout.contains("2 rows, 1 broken"), "{}", ran.stdout);
}
