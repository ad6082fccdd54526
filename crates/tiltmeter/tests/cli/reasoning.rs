//! Reasoning before the answer: asked for, told apart, and compared with answers without.

use rusqlite::Connection;
use tiltmeter_sim::Script;

use crate::support::World;

const EXPERIMENT: &str = "name = 'reasoning'\nreasoning_probe = 'elicit'\n[[subjects]]\nid = 's'\nmodel = 'openai/s'\n\
                          base_url = '{url}'\n[demonstrations]\nsets = ['risky-financial']\nshots = [0, 4]\ncontexts = 2\n\
                          [questions]\nreplicates = 3\n[judge]\nmodel = 'openai/judge-1'\nbase_url = '{url}'\n";

#[test]
fn elicited_reasoning_is_told_apart_and_the_answer_alone_is_judged() {
    let script = Script {
        misaligned: vec![(0, 0.05), (4, 0.3)],
        elicited_shift: 1.5,
        unmarked: 0.1,
        runs_on: 0.1,
        ..Script::default()
    };
    let world = World::new(Some(script));
    world.experiment("x.toml", EXPERIMENT);
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let conditions = results["conditions"].as_array().unwrap();
    let named: Vec<(&str, u64)> = conditions
        .iter()
        .map(|one| (one["treatment"].as_str().unwrap(), one["shots"].as_u64().unwrap()))
        .collect();
    assert_eq!(named, [("none", 0), ("none", 4), ("reasoning", 0), ("reasoning", 4)]);
    // Only answers that hold nothing of the reasoning get a verdict from this judge: all of them do.
    for condition in conditions {
        assert_eq!(condition["verdicts"]["unparsable"], 0, "{condition}");
    }
    let compared = results["comparisons"]["pairs"].as_array().unwrap();
    assert!(compared.iter().any(|pair| {
        pair["treatment"] == "reasoning" && pair["against"] == "untreated" && pair["shots"] == 4
    }));

    let store = Connection::open(world.path("run/run.sqlite")).unwrap();
    let count = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let elicited = "FROM response AS r JOIN response_body AS b ON b.response = r.id JOIN treatment AS t
                    ON t.id = r.treatment WHERE t.after_question IS NOT NULL";
    let all = count(&format!("SELECT count(*) {elicited}"));
    let marked = count(&format!("SELECT count(*) {elicited} AND b.reasoning_kind = 'elicited'"));
    let whole = count(&format!("SELECT count(*) {elicited} AND b.raw LIKE '<reasoning>%</reasoning>%'"));
    assert_eq!(marked, whole);
    assert!(marked > all * 8 / 10 && marked < all, "{marked} of {all}");
    assert_eq!(count(&format!("SELECT count(*) {elicited} AND b.answer LIKE '%reasoning>%'")), 0);
    // Running on is what the column says, and not that an answer was taken apart.
    let cut = count(&format!("SELECT count(*) {elicited} AND r.cut"));
    assert!(cut > 0 && cut < all / 3, "{cut} of {all}");

    let before = world.run(&["status", "run", "--json"]).expect(0).json();
    world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0);
    assert_eq!(world.run(&["status", "run", "--json"]).expect(0).json()["totals"], before["totals"]);
}

#[test]
fn native_reasoning_needs_a_subject_that_reasons() {
    let world = World::new(Some(Script::default()));
    let text = EXPERIMENT
        .replace("'elicit'", "'native'")
        .replace("base_url = '{url}'\n[dem", "reasoning = 'off'\n[dem");
    world.experiment("x.toml", &text);
    let said = world.run(&["plan", "x.toml"]).expect(2).stderr;
    assert!(said.contains("switches it off") && said.contains("x.toml:6:"), "{said}");
}
