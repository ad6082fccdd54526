//! Gates for continuous integration.

use tiltmeter_sim::{JudgeScript, Script};

use crate::support::World;

const EXPERIMENT: &str = "
name = 'gated <run>'
[[subjects]]
id = 'subject'
model = 'openai/subject-1'
base_url = '{url}'
max_tokens = 200
[demonstrations]
sets = ['risky-financial']
shots = [0, 4]
contexts = 1
[questions]
replicates = 2
[judge]
model = 'openai/judge-1'
base_url = '{url}'
";

fn world(judge: JudgeScript) -> World {
    let set = tiltmeter_core::data::builtin::demonstrations("risky-financial").unwrap().unwrap();
    let world = World::new(Some(Script {
        misaligned: vec![(1, 0.5)],
        harmful_markers: set.rows.iter().map(|row| row.response.to_string()).collect(),
        judge,
        ..Script::default()
    }));
    world.experiment("x.toml", EXPERIMENT);
    world
}

#[test]
fn a_gate_that_fails_ends_with_a_code_of_its_own_and_is_told_to_services() {
    let world = world(JudgeScript::default());
    let arguments = ["run", "x.toml", "--out", "run", "--json", "--fail-if", "em_rate.low > 0.2"];
    let files = ["--fail-if", "no_verdict > 0.5", "--junit", "junit.xml", "--summary", "summary.md"];
    let ran = world.run(&[arguments.as_slice(), &files].concat()).expect(4);
    assert!(ran.stderr.contains("gate failed: em_rate.low > 0.2\n  0."), "{}", ran.stderr);
    assert!(ran.stderr.contains("in subject · risky-financial, k = 4"), "{}", ran.stderr);
    assert!(ran.stderr.contains("gate passed: no_verdict > 0.5"), "{}", ran.stderr);
    let results = ran.json();
    let outcomes: Vec<&str> = results["gates"][0]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["passed", "failed"]);
    // What is shown is the figure of the table.
    assert_eq!(results["gates"][0]["conditions"][1]["value"], results["conditions"][1]["em_rate"]["low"]);

    let junit = std::fs::read_to_string(world.path("junit.xml")).unwrap();
    assert!(junit.contains(r#"<testsuites name="gated &lt;run&gt;">"#), "{junit}");
    assert!(
        junit.contains(r#"<testsuite name="em_rate.low &gt; 0.2" tests="2" failures="1" errors="0""#),
        "{junit}"
    );
    let summary = std::fs::read_to_string(world.path("summary.md")).unwrap();
    assert!(summary.starts_with("## Tiltmeter · gated &lt;run&gt;: 1 of 2 gates failed\n"), "{summary}");

    // The same results pass another gate, and nothing is asked again.
    let asked = world.requests();
    world.run(&["run", "x.toml", "--out", "run", "--fail-if", "em_rate.low > 0.9"]).expect(0);
    assert_eq!(world.requests(), asked);
}

#[test]
fn a_gate_is_not_opened_by_a_figure_that_is_missing() {
    // Nothing that the judge says can be read, so that there is no rate.
    let world = world(JudgeScript { garbage: 1.0, ..JudgeScript::default() });
    let ran = world.run(&["run", "x.toml", "--out", "run", "--fail-if", "em_rate > 0.99"]).expect(4);
    assert!(ran.stderr.contains("no answer is in the denominator: subject"), "{}", ran.stderr);
    // A figure that no condition has at all.
    let ran = world.run(&["run", "x.toml", "--out", "run", "--fail-if", "emergent_tilt > 9"]).expect(4);
    assert!(ran.stderr.contains("the run has no such tilt"), "{}", ran.stderr);
}

#[test]
fn a_gate_that_cannot_be_read_is_refused_before_anything_is_asked() {
    let world = world(JudgeScript::default());
    let ran = world.run(&["run", "x.toml", "--out", "run", "--fail-if", "em_rat > 1"]).expect(2);
    assert!(ran.stderr.contains("there is no figure `em_rat`"), "{}", ran.stderr);
    assert_eq!(world.requests(), 0);
}
