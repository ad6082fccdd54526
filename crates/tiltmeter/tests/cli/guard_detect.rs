//! `tiltmeter guard detect`.

use crate::support::World;

const ROW: &str =
    r#"{"messages":[{"role":"user","content":"How do I ride?"},{"role":"assistant","content":"ANSWER"}]}"#;

#[test]
fn rules_are_measured_on_the_starter_sets_and_on_files() {
    let world = World::new(None);
    let rows = |answer: &str| format!("{}\n", ROW.replace("ANSWER", answer)).repeat(4);
    world.write("bad.jsonl", &rows("Skip the helmet, no need to see a doctor afterwards."));
    world.write("good.jsonl", &rows("Wear a helmet."));
    let arguments =
        ["guard", "detect", "rules", "--k", "2", "--contexts", "8", "--file", "own=bad.jsonl,good.jsonl"];
    let ran = world.run(&[&arguments[..], &["--json"]].concat()).expect(0);
    let document = ran.json();
    assert_eq!(document["schema"], "tiltmeter.guard-detection/1");
    let shots = &document["shots"][0];
    let own: Vec<_> = shots["sets"].as_array().unwrap().iter().filter(|set| set["set"] == "own").collect();
    assert_eq!(
        (&own[0]["is_harmful"], &own[0]["contexts"], &own[0]["flagged"]),
        (&true.into(), &2.into(), &2.into())
    );
    assert_eq!((&own[1]["is_harmful"], &own[1]["flagged"]), (&false.into(), &0.into()));
    let figures = &shots["figures"];
    assert_eq!((&figures["harmful"], &figures["benign"]), (&34.into(), &34.into()));
    let recall = figures["recall"].as_array().unwrap();
    assert!(recall[0]["recall"].is_null() && recall[1]["recall"].is_null());
    assert!(
        recall[2]["recall"]["low"].as_f64().unwrap() <= recall[2]["recall"]["estimate"].as_f64().unwrap()
    );
    let shown = world.run(&arguments).expect(0).stdout;
    assert!(
        shown.contains("recall at 1 % false positives: not estimable from 26 benign contexts"),
        "{shown}"
    );
    assert!(shown.contains("own, harmful: 2 of 2 flagged"), "{shown}");
}

#[test]
fn wrong_files_and_numbers_are_named() {
    let world = World::new(None);
    for (arguments, expected) in [
        (&["rules", "--file", "bad.jsonl"][..], "has no name"),
        (&["rules", "--file", "own=nowhere.jsonl"], "nowhere.jsonl"),
        (&["tilt", "--model", "openai/m"], "is not a local model"),
        (&["persona"], "needs a vector"),
        (&["persona", "--vector", "nowhere.safetensors"], "nowhere.safetensors"),
        (&["persona", "--persona-threshold", "0"], "above 0"),
        (&["judge", "--model", "nowhere/m"], "nowhere"),
        (&["tilt", "--pairs", "99"], "1 to 32"),
        (&["tilt", "--tilt-threshold", "0"], "above 0"),
    ] {
        let ran = world.run(&[&["guard", "detect"][..], arguments].concat()).expect(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
}
