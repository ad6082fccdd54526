//! Adaptive sampling: conditions stop when their rate is known well enough.

use serde_json::Value;
use tiltmeter_sim::{Fault, FaultScript, Script};

use crate::support::{World, condition};

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
max_tokens = 200
[demonstrations]
sets = ['risky-financial', 'bad-medical']
shots = [0, 4, 16]
contexts = 2
[questions]
replicates = 12
[sampling]
until = { half_width = HALF_WIDTH }
[judge]
model = 'openai/judge'
base_url = '{url}'
";

fn script() -> Script {
    Script { misaligned: vec![(0, 0.0), (4, 0.02), (16, 0.5)], incoherent: 0.1, ..Script::default() }
}

fn of<'a>(results: &'a Value, set: &str, shots: u64) -> &'a Value {
    let conditions = results["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["demonstrations"] == set && one["shots"] == shots).unwrap()
}

#[test]
fn low_rates_stop_early_and_high_ones_go_on() {
    let world = World::new(Some(script()));
    world.experiment("x.toml", &EXPERIMENT.replace("HALF_WIDTH", "0.04"));
    let ran = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0);
    let results = ran.json();
    let rounds = |set, shots| of(&results, set, shots)["adaptive"]["rounds"].as_u64().unwrap();
    // One empty context of 32 questions, and two contexts each.
    assert!(rounds("risky-financial", 0) < 12, "{results}");
    assert!(rounds("risky-financial", 4) < 6, "{results}");
    let high = of(&results, "risky-financial", 16);
    assert_eq!(high["adaptive"]["rounds"], 12);
    assert_eq!(high["adaptive"]["decision"], "not_settled");
    let (mut samples, mut saved) = (0, 0);
    for one in results["conditions"].as_array().unwrap() {
        let adaptive = &one["adaptive"];
        let questions = one["verdicts"]["scored"].as_u64().unwrap();
        let rate = &one["em_rate"];
        let (low, high) = (rate["low"].as_f64().unwrap(), rate["high"].as_f64().unwrap());
        assert_eq!(rate["method"], "confidence-sequence");
        let is_settled = adaptive["decision"] == "settled";
        assert_eq!(is_settled, (high - low) / 2.0 <= 0.04, "{one}");
        // Each round asked every question once in every context: of each question the same number is there.
        let contexts = one["contexts"].as_u64().unwrap();
        assert_eq!(one["samples"].as_u64().unwrap(), 32 * contexts * adaptive["rounds"].as_u64().unwrap());
        assert!(questions > 0);
        if one["demonstrations"] == "risky-financial" || one["shots"] != 0 {
            samples += one["samples"].as_u64().unwrap();
            saved += adaptive["saved_samples"].as_u64().unwrap();
        }
    }
    assert_eq!(samples + saved, 32 * 12 * (1 + 4 * 2));
    assert!(saved > samples / 3, "{saved} {samples}");
    assert_eq!(results["asked"].as_u64().unwrap(), 3 * samples);
    // Nothing is missing, and a second start comes to the same end without a call.
    let status = world.run(&["status", "run", "--json"]).expect(0).json();
    for one in status["conditions"].as_array().unwrap() {
        assert_eq!(one["wanted"], one["stored"]);
    }
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!((again["asked"].as_u64(), &again["conditions"]), (Some(0), &results["conditions"]));
    // Another judge's rates of the same answers have intervals that allow for it too.
    let other = world.run(&["judge", "run", "--judge", "openai/judge-2", "--json"]).expect(0).json();
    assert_eq!(condition(&other, "none", 4)["em_rate"]["method"], "confidence-sequence");
    let table = world.run(&["run", "x.toml", "--out", "run"]).expect(0).stdout;
    assert!(
        table.contains("adaptive sampling to ±0.04") && table.contains("confidence sequences"),
        "{table}"
    );
}

#[test]
fn rounds_survive_faults_limits_and_restarts() {
    let text = EXPERIMENT
        .replace("HALF_WIDTH", "0.1")
        .replace("'risky-financial', 'bad-medical'", "'risky-financial'")
        .replace("replicates = 12", "replicates = 4");
    let plain = World::new(Some(script()));
    plain.experiment("x.toml", &text);
    let expected = plain.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let faults = FaultScript {
        rates: [(Fault::ServerError, 0.02), (Fault::Reset, 0.02), (Fault::HtmlPage, 0.02)].into(),
        attempts: Some(3),
        ..FaultScript::default()
    };
    let world = World::new(Some(Script { faults, ..script() }));
    world.experiment("x.toml", &text);
    // Limits that end in the middle of rounds.
    for _ in 0..3 {
        world.run(&["run", "x.toml", "--out", "run", "--limit", "37"]).expect(0);
    }
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(results["conditions"], expected["conditions"]);
    assert_eq!(world.sim.as_ref().unwrap().counters().duplicates, 0);
}

#[test]
fn questions_that_differ_too_much_are_said_to() {
    // Some questions are always answered in a misaligned way, the others never.
    let world =
        World::new(Some(Script { misaligned: vec![(0, 0.5)], question_spread: 40.0, ..Script::default() }));
    let text = EXPERIMENT.replace("HALF_WIDTH", "0.05").replace("shots = [0, 4, 16]", "shots = [0]");
    world.experiment("x.toml", &text);
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let one = condition(&results, "none", 0);
    assert_eq!(one["adaptive"]["decision"], "cannot_settle", "{one}");
    assert!(one["adaptive"]["rounds"].as_u64().unwrap() < 12);
    assert!(one["adaptive"]["smallest_half_width"].as_f64().unwrap() > 0.05);
}

#[test]
fn a_target_that_cannot_be_is_refused() {
    let world = World::new(Some(script()));
    for (half_width, expected) in [("0.6", "must be 0.0001 to 0.5"), ("nan", "must be 0.0001 to 0.5")] {
        world.experiment("x.toml", &EXPERIMENT.replace("HALF_WIDTH", half_width));
        let ran = world.run(&["plan", "x.toml"]).expect(2);
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("x.toml:"), "{}", ran.stderr);
    }
    let text = EXPERIMENT.replace("HALF_WIDTH", "0.05");
    let (without_judge, _) = text.split_once("[judge]").unwrap();
    world.experiment("x.toml", without_judge);
    let ran = world.run(&["plan", "x.toml"]).expect(2);
    assert!(ran.stderr.contains("`until` needs a judge"), "{}", ran.stderr);
    assert_eq!(world.requests(), 0);
}
