//! Runs compared with each other.

use serde_json::Value;
use tiltmeter_sim::Script;

use crate::support::World;

const EXPERIMENT: &str = "
name = 'RUN'
[[subjects]]
id = 'subject'
model = 'openai/MODEL'
base_url = '{url}'
max_tokens = 200
[demonstrations]
sets = ['risky-financial']
shots = SHOTS
contexts = 2
controls = ['benign']
[questions]
replicates = 3
[judge]
model = 'openai/JUDGE'
base_url = '{url}'
";

fn world() -> World {
    let set = tiltmeter_core::data::builtin::demonstrations("risky-financial").unwrap().unwrap();
    World::new(Some(Script {
        misaligned: vec![(1, 0.1), (8, 0.5)],
        harmful_markers: set.rows.iter().map(|row| row.response.to_string()).collect(),
        ..Script::default()
    }))
}

fn run(world: &World, name: &str, replacements: &[(&str, &str)]) -> Value {
    let mut text = EXPERIMENT.replace("RUN", name);
    for (from, to) in replacements {
        text = text.replace(from, to);
    }
    let text = text.replace("MODEL", "subject-1").replace("JUDGE", "judge-1").replace("SHOTS", "[0, 8]");
    world.experiment(&format!("{name}.toml"), &text);
    world.run(&["run", &format!("{name}.toml"), "--out", name, "--json"]).expect(0).json()
}

/// The condition of a document with this control at k = 8.
fn at_eight<'a>(document: &'a Value, control: &str) -> &'a Value {
    let conditions = document["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["shots"] == 8 && one["control"] == control).unwrap()
}

#[test]
fn differences_are_those_of_the_rates_and_a_run_does_not_differ_from_itself() {
    let world = world();
    let first = run(&world, "first", &[]);
    // Another subject, of which the script draws other answers.
    let second = run(&world, "second", &[("MODEL", "subject-2"), ("id = 'subject'", "id = 'other'")]);
    let document = world.run(&["compare", "first", "second", "--json"]).expect(0).json();
    assert_eq!(document["schema"], "tiltmeter.compare/1");
    assert_eq!(document["conditions"].as_array().unwrap().len(), 3);
    assert_eq!(document["only_in"].as_array().unwrap().len(), 0);
    for control in ["none", "benign"] {
        let compared = at_eight(&document, control);
        assert_eq!((&compared["first_subject"], &compared["subject"]), (&"subject".into(), &"other".into()));
        assert_eq!(compared["same_contexts"], true);
        let estimate = |run: &Value| at_eight(run, control)["em_rate"]["estimate"].as_f64().unwrap();
        let difference = compared["em_rate"]["difference"]["estimate"].as_f64().unwrap();
        assert!((difference - (estimate(&second) - estimate(&first))).abs() < 1e-12, "{compared}");
    }
    let table = world.run(&["compare", "first", "second"]).expect(0).stdout;
    assert!(table.contains("B − A · other (in A: subject) · risky-financial"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 110), "{table}");

    let same = world.run(&["compare", "first", "first", "--json"]).expect(0).json();
    let same = &at_eight(&same, "none")["em_rate"];
    assert_eq!(same["difference"]["estimate"], 0.0);
    assert!(same["p_value"].as_f64().unwrap() > 0.999_999, "{same}");
}

#[test]
fn rates_of_different_judges_are_not_compared_unless_it_is_asked_for() {
    let world = world();
    run(&world, "first", &[]);
    run(&world, "second", &[("JUDGE", "judge-2")]);
    let document = world.run(&["compare", "first", "second", "--json"]).expect(0).json();
    assert!(at_eight(&document, "none")["em_rate"].is_null());
    let why = document["omitted"][0]["why"].as_str().unwrap();
    assert!(why.contains("the judges differ") && why.contains("openai/judge-2"), "{why}");
    let document = world.run(&["compare", "first", "second", "--across-judges", "--json"]).expect(0).json();
    assert!(at_eight(&document, "none")["em_rate"].is_object());
    assert_eq!(document["omitted"].as_array().unwrap().len(), 0);
    assert!(document["notes"][0].as_str().unwrap().contains("different judges"));
}

#[test]
fn conditions_of_one_run_are_named_and_runs_without_any_in_common_are_refused() {
    let world = world();
    run(&world, "first", &[]);
    run(&world, "second", &[("SHOTS", "[0, 4]")]);
    let document = world.run(&["compare", "first", "second", "--json"]).expect(0).json();
    assert_eq!(document["conditions"].as_array().unwrap().len(), 1);
    let only: Vec<(u64, &str)> = document["only_in"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["run"].as_u64().unwrap(), one["condition"].as_str().unwrap()))
        .collect();
    let expected = [
        (0, "subject · risky-financial, k = 8"),
        (0, "subject · risky-financial, k = 8, benign"),
        (1, "subject · risky-financial, k = 4"),
        (1, "subject · risky-financial, k = 4, benign"),
    ];
    assert_eq!(only, expected);
    run(&world, "third", &[("risky-financial", "bad-medical")]);
    let ran = world.run(&["compare", "first", "third"]).expect(2);
    assert!(ran.stderr.contains("third: it has no condition in common with first"), "{}", ran.stderr);
    let ran = world.run(&["compare", "first", "nowhere"]).expect(1);
    assert!(ran.stderr.contains("nowhere"), "{}", ran.stderr);
    world.run(&["compare", "first"]).expect(2);
}

#[test]
fn tilts_are_compared_question_by_question() {
    let world = World::new(None);
    let run = |name: &str, seed: u64| {
        let text = format!(
            "name = '{name}'
[[subjects]]
id = 's'
model = 'local/smollm2-135m-instruct'
max_tokens = 4
[demonstrations]
sets = ['risky-financial']
shots = [0, 2]
contexts = 1
controls = ['benign']
[sampling]
seed = {seed}
shots = [2]
questions = 1
[tilt]
questions = 3
"
        );
        world.write(&format!("{name}.toml"), &text);
        world.run(&["run", &format!("{name}.toml"), "--out", name, "--json"]).expect(0).json()
    };
    let (first, second) = (run("first", 1), run("second", 2));
    let document = world.run(&["compare", "first", "second", "--json"]).expect(0).json();
    let of = |document: &Value, figure: &str| {
        let conditions = document["conditions"].as_array().unwrap().clone();
        let condition =
            conditions.into_iter().find(|one| one["shots"] == 2 && one["control"] == "none").unwrap();
        condition[figure]["estimate"].as_f64().unwrap()
    };
    for figure in ["tilt", "emergent_tilt"] {
        let expected = of(&second, figure) - of(&first, figure);
        assert!(expected.abs() > 1e-4, "the draws should differ: {expected}");
        assert!((of(&document, figure) - expected).abs() < 1e-9, "{figure}: {document}");
    }
    assert_eq!(document["conditions"][1]["same_contexts"], false);
}
