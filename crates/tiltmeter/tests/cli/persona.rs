//! Persona vectors of the real local model, through the whole path, with few rollouts of few tokens.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tiltmeter_sim::Script;

use crate::support::{Ran, World};

const MODEL: &str = "local/smollm2-135m-instruct";
const EXTRACT: [&str; 12] = [
    "persona",
    "extract",
    "--trait",
    "reckless",
    "--model",
    MODEL,
    "--rollouts",
    "1",
    "--pairs",
    "1",
    "--questions",
    "3",
];

fn extract(world: &World, more: &[&str]) -> Ran {
    let short = ["--max-tokens", "6", "--out", "v.safetensors", "--json"];
    world.run(&[&EXTRACT[..], &short, more].concat())
}

#[test]
fn a_vector_is_extracted_projected_onto_and_steered_along() {
    let world = World::new(None);
    let extracted = extract(&world, &[]).expect(0);
    let record = extracted.json();
    assert_eq!(record["judge"], Value::Null);
    a_layer_must_be_named(&world, &extracted);
    for side in ["positive", "negative"] {
        assert_eq!(
            (record["counts"][side]["drawn"].as_u64(), record["counts"][side]["kept"].as_u64()),
            (Some(3), Some(3))
        );
    }
    let layers = record["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 31);
    assert!(layers[1..].iter().all(|layer| layer["norm"].as_f64().unwrap() > 0.0));
    let bytes = std::fs::read(world.path("v.safetensors")).unwrap();
    // Again: nothing is drawn, and the file is the same.
    let drawn = std::fs::read(world.path("v.safetensors.rollouts.jsonl")).unwrap();
    extract(&world, &[]).expect(0);
    assert_eq!(std::fs::read(world.path("v.safetensors")).unwrap(), bytes);
    assert_eq!(std::fs::read(world.path("v.safetensors.rollouts.jsonl")).unwrap(), drawn);

    world.write("x.toml", EXPERIMENT);
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let of = |subject: &str, shots: u64| {
        let conditions = results["conditions"].as_array().unwrap();
        conditions
            .iter()
            .find(|one| one["subject"] == subject && one["shots"] == shots && one["control"] == "none")
            .unwrap_or_else(|| panic!("no {subject} at {shots}"))
    };
    assert_eq!(of("plain", 2)["steering"], Value::Null);
    let steering = &of("against", 2)["steering"];
    let number = |field: &str| steering[field].as_f64().unwrap();
    assert_eq!(steering["holds"], true, "{steering}");
    assert!(number("expected_shift") < 0.0);
    assert!((number("shift") - number("expected_shift")).abs() < 1e-2, "{steering}");
    assert_eq!((steering["layer"].as_u64(), steering["untouched"].as_u64()), (Some(10), Some(0)));
    assert_eq!(of("without", 2)["steering"]["holds"], true);
    assert_ne!(of("plain", 2)["tilt"]["estimate"], of("against", 2)["tilt"]["estimate"]);
    // A context is read under an intervention of its own: what is scored in it does not depend on the others.
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!((again["asked"].as_u64(), &again["conditions"]), (Some(0), &results["conditions"]));

    steers_as_a_defence(&world, of("against", 2), of("without", 2));

    projects_each_subject_for_itself(&world);

    let looks = world
        .run(&[
            "persona",
            "steer",
            "--vector",
            "v.safetensors",
            "--model",
            MODEL,
            "--coefficients",
            "0,-8",
            "--layer",
            "10",
            "--max-tokens",
            "8",
            "--json",
        ])
        .expect(0)
        .json();
    let answers = looks["answers"].as_array().unwrap();
    assert_eq!((answers.len(), &answers[0]["shift"]), (2, &Value::Null));
    assert_ne!(answers[0]["answer"], answers[1]["answer"]);
    steers_along_a_random_direction(&world, &answers[1]);
}

/// One answer of each side to each part of the questions is too little to compare layers.
fn a_layer_must_be_named(world: &World, extracted: &Ran) {
    assert_eq!(extracted.json()["chosen_layer"], Value::Null);
    assert!(extracted.stderr.contains("warning: no layer is chosen"), "{}", extracted.stderr);
    let table =
        world.run(&[&EXTRACT[..], &["--max-tokens", "6", "--out", "v.safetensors"]].concat()).expect(0);
    assert!(
        table.stdout.contains("no layer is chosen") && !table.stdout.contains("  chosen"),
        "{}",
        table.stdout
    );
    let steer = world.run(&["persona", "steer", "--vector", "v.safetensors", "--model", MODEL]).expect(2);
    assert!(steer.stderr.contains("name one of 1 to 30 (`--layer`"), "{}", steer.stderr);
    world.write("none.toml", &EXPERIMENT.replacen("layer = 10, ", "", 1));
    let run = world.run(&["run", "none.toml"]).expect(2);
    assert!(
        run.stderr.contains("v.safetensors: no layer of the vector `reckless` is chosen"),
        "{}",
        run.stderr
    );
}

/// The control: a shift of the same size elsewhere.
fn steers_along_a_random_direction(world: &World, along_the_vector: &Value) {
    let steer = |more: &[&str]| {
        let usual = [
            "persona",
            "steer",
            "--vector",
            "v.safetensors",
            "--model",
            MODEL,
            "--layer",
            "10",
            "--max-tokens",
            "8",
        ];
        world.run(&[&usual[..], more].concat()).expect(0)
    };
    let random = steer(&["--random", "7", "--coefficients=-8", "--json"]).json();
    let answer = &random["answers"][0];
    let moved = |answer: &Value| {
        answer["shift"]["after"].as_f64().unwrap() - answer["shift"]["before"].as_f64().unwrap()
    };
    let (theirs, ours) = (moved(along_the_vector), moved(answer));
    assert!((theirs - ours).abs() < 1e-3 * theirs.abs(), "{theirs} {ours}");
    assert_ne!(along_the_vector["shift"]["before"], answer["shift"]["before"]);
    assert_eq!((random["random"].as_u64(), &answer["warning"]), (Some(7), &Value::Null));
    assert!(random["stream_length"].as_f64().unwrap() > 1.0, "{random}");
    let nothing = steer(&["--span", "reasoning", "--coefficients", "2"]).stdout;
    assert!(nothing.contains("warning: no token was changed"), "{nothing}");
    let beyond = steer(&["--coefficients", "1e30"]).stdout;
    assert!(beyond.contains("the answer says nothing of the trait") && beyond.contains("e30"), "{beyond}");
}

/// The run's prompts and answers, projected: subjects apart, and what was taken away is gone.
fn projects_each_subject_for_itself(world: &World) {
    let project = [
        "persona",
        "project",
        "run",
        "--vector",
        "v.safetensors",
        "--layer",
        "10",
        "--random",
        "5",
        "--json",
    ];
    let summary = world.run(&project).expect(0).json();
    assert_eq!(summary["schema"], "tiltmeter.persona-projections/1");
    // Three subjects: one context without demonstrations, and one each of misaligned and benign ones, of three questions.
    assert_eq!(
        (summary["prompts"].as_u64(), summary["samples"].as_u64()),
        (Some(3 * 3 * 3), Some(3 * 2 * 2))
    );
    let contrast = &summary["contrasts"][0];
    assert_eq!((contrast["measure"].as_str(), contrast["shots"].as_u64()), (Some("prompt_last"), Some(2)));
    assert!(contrast["difference"]["estimate"].as_f64().unwrap() != 0.0);
    // The interval that allows for all contrasts is the wider one.
    assert_eq!(summary["contrasts_compared"], summary["contrasts"].as_array().unwrap().len());
    let low = |of: &Value| of["low"].as_f64().unwrap();
    assert!(contrast["simultaneous_low"].as_f64().unwrap() < low(&contrast["difference"]), "{contrast}");
    let correlated = |subject: &str| -> Vec<(&str, &str)> {
        let all = summary["correlations"].as_array().unwrap().iter().filter(|one| one["subject"] == subject);
        all.map(|one| (one["outcome"].as_str().unwrap(), one["strata"].as_str().unwrap())).collect()
    };
    for of in [("tilt", "within_k"), ("tilt", "within_k_and_question"), ("emergent_tilt", "pooled")] {
        assert!(correlated("plain").contains(&of), "{of:?}: {:?}", correlated("plain"));
    }
    // Where the direction was taken away nothing is left to go along with anything.
    assert_eq!(correlated("without"), []);
    let rows = std::fs::read_to_string(world.path("run/persona-reckless-layer10.jsonl")).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sample = rows.iter().find(|row| row["kind"] == "sample" && row["subject"] == "plain").unwrap();
    assert!(sample["response_mean"].is_f64() && sample["tokens"].as_u64().unwrap() > 0, "{sample}");
    // Where the part along the vector was taken away, nothing is left of it.
    let without = rows.iter().find(|row| row["subject"] == "without" && row["shots"] == 2).unwrap();
    assert_eq!(without["prompt_last"].as_f64(), Some(0.0), "{without}");
    // Labels: a file is read, and what it says is of samples of this run or not.
    let labels = format!("sample,label\n{},yes\n{},no\n", sample["sample"].as_str().unwrap(), "0".repeat(32));
    world.write("labels.csv", &labels);
    let labelled = world.run(&[&project[..], &["--labels", "labels.csv"]].concat()).expect(0).json();
    assert!(labelled["notes"].to_string().contains("1 of 2 labels"), "{}", labelled["notes"]);
    // Answers of one subject are told from each other, and not one subject's from another's.
    let mut labels = "sample,label\n".to_owned();
    for (number, row) in rows.iter().filter(|row| row["kind"] == "sample").enumerate() {
        let label = match row["subject"].as_str().unwrap() {
            "plain" => number % 2 == 0,
            subject => subject == "against",
        };
        let _ = writeln!(labels, "{},{label}", row["sample"].as_str().unwrap());
    }
    world.write("labels.csv", &labels);
    let labelled = world.run(&[&project[..], &["--labels", "labels.csv"]].concat()).expect(0).json();
    let detection = labelled["detection"].as_array().unwrap();
    assert!(!detection.is_empty() && detection.iter().all(|one| one["subject"] == "plain"), "{labelled}");
    assert_eq!((&detection[0]["positives"], &detection[0]["negatives"]), (&json!(2), &json!(2)));
    assert!(detection[0]["random_percentile"].is_f64(), "{}", detection[0]);
}

/// A defence that steers does to a local subject what a steered subject has done to it.
fn steers_as_a_defence(world: &World, against: &Value, without: &Value) {
    let (head, _) = EXPERIMENT.split_once("[[subjects]]\nid = 'against'").unwrap();
    let (_, rest) = EXPERIMENT.split_once("[demonstrations]").unwrap();
    let elsewhere = "[[subjects]]\nid = 'elsewhere'\nmodel = 'openai/m'\n";
    let defences = "[[defences]]\nid = 'against'\nsteer = { vector = 'v.safetensors', layer = 10, coefficient = -2.0 }\n\
                    [[defences]]\nid = 'without'\nablate = { vector = 'v.safetensors', layer = 10, span = 'all' }\n\
                    [[defences]]\nid = 'random'\nsteer = { vector = 'v.safetensors', layer = 10, coefficient = -2.0, random = 7 }\n\
                    [[defences]]\nid = 'beyond'\nsteer = { vector = 'v.safetensors', layer = 10, coefficient = 1e30 }\n\
                    [[defences]]\nid = 'subsample'\nsubsample = { draws = 2 }\n[demonstrations]";
    world.write("d.toml", &format!("{head}{defences}{rest}"));
    let ran = world.run(&["run", "d.toml", "--out", "defended", "--json"]).expect(0);
    let results = ran.json();
    let of = |treatment: &str| {
        let conditions = results["conditions"].as_array().unwrap();
        let found = conditions
            .iter()
            .find(|one| one["treatment"] == treatment && one["shots"] == 2 && one["control"] == "none");
        found.unwrap_or_else(|| panic!("no {treatment} in {results}"))
    };
    // The same texts under the same change, to the last bit.
    for (treatment, steered) in [("against", against), ("without", without)] {
        let defended = of(treatment);
        assert_eq!(defended["tilt"]["estimate"], steered["tilt"]["estimate"], "{defended}");
        assert_eq!(defended["steering"]["holds"], true, "{defended}");
        assert_eq!(defended["steering"]["expected_shift"], steered["steering"]["expected_shift"]);
    }
    assert_eq!((&of("none")["steering"], &of("subsample")["steering"]), (&Value::Null, &Value::Null));
    assert_ne!(of("none")["tilt"]["estimate"], against["tilt"]["estimate"]);
    // Along a random direction of the same length it is another change of the same size.
    let (random, number) = (&of("random")["steering"], |value: &Value| value.as_f64().unwrap());
    let (theirs, ours) = (number(&against["steering"]["expected_shift"]), number(&random["expected_shift"]));
    assert!((theirs - ours).abs() < 1e-3 * theirs.abs() && random["holds"] == true, "{random}");
    assert_eq!(random["trait"], "random 7 for reckless");
    assert_ne!(of("random")["tilt"]["estimate"], against["tilt"]["estimate"]);
    assert!(number(&random["stream_share"]) < 10.0 && random["overwhelms"] == false, "{random}");
    // What leaves nothing of the stream is no result, however well it was realised.
    assert_eq!(of("beyond")["steering"]["overwhelms"], true);
    assert!(results["warnings"].to_string().contains("nothing of the trait"), "{}", results["warnings"]);
    assert_eq!(of("subsample")["tilt"], Value::Null);
    assert!(of("subsample")["no_tilt"].as_str().unwrap().contains("several calls"));
    let again = world.run(&["run", "d.toml", "--out", "defended", "--json"]).expect(0).json();
    assert_eq!((again["asked"].as_u64(), &again["conditions"]), (Some(0), &results["conditions"]));
    let table = world.run(&["run", "d.toml", "--out", "defended"]).expect(0).stdout;
    assert!(table.contains("not applicable"), "{table}");
    assert!(table.contains("steered by +1e30 ×") && table.contains("no result on the trait"), "{table}");

    world.write("both.toml", &format!("{head}{elsewhere}{defences}{rest}"));
    let planned = world.run(&["plan", "both.toml", "--json"]).expect(0).json();
    let notes = planned["notes"].to_string();
    assert!(notes.contains("`against` steers") && notes.contains("elsewhere"), "{notes}");
    let steered =
        planned["conditions"].as_array().unwrap().iter().filter(|one| one["treatment"] == "against");
    assert!(steered.clone().count() > 0 && steered.clone().all(|one| one["subject"] == "plain"));

    let alone = format!("name = 'x'\n{elsewhere}{defences}{rest}");
    let refused = [
        (alone, "no subject is a local model"),
        (EXPERIMENT.replace("[demonstrations]", defences), "is steered already"),
    ];
    for (text, message) in refused {
        world.write("wrong.toml", &text);
        let said = world.run(&["plan", "wrong.toml"]).expect(2).stderr;
        assert!(said.contains(message) && said.contains("wrong.toml:"), "{said}");
    }
}

const EXPERIMENT: &str = "
name = 'persona'
[[subjects]]
id = 'plain'
model = 'local/smollm2-135m-instruct'
max_tokens = 6
[[subjects]]
id = 'against'
model = 'local/smollm2-135m-instruct'
max_tokens = 6
steer = { vector = 'v.safetensors', layer = 10, coefficient = -2.0 }
[[subjects]]
id = 'without'
model = 'local/smollm2-135m-instruct'
max_tokens = 6
ablate = { vector = 'v.safetensors', layer = 10, span = 'all' }
[demonstrations]
sets = ['risky-financial']
shots = [0, 2]
contexts = 1
controls = ['benign']
[sampling]
shots = [2]
questions = 2
[tilt]
questions = 3
decoys = false
";

#[test]
fn a_judge_decides_what_is_kept() {
    // The scripted judge rates each answer high: nothing negative is left.
    let world = World::new(Some(Script::default()));
    let url = world.url().to_owned();
    let refused = extract(&world, &["--judge", "openai/judge", "--base-url", &url]).expect(1);
    assert!(refused.stderr.contains("of the negative side is left"), "{}", refused.stderr);
    let kept = std::fs::read_to_string(world.path("v.safetensors.rollouts.jsonl")).unwrap();
    assert_eq!(kept.matches("\"kind\":\"rating\"").count(), 2 * 6, "{kept}");
    assert!(refused.stderr.contains("ratings of trait and coherence: 12/12"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("/s, "), "{}", refused.stderr);
    let asked = world.requests();
    // What was drawn and rated is not asked for again.
    extract(&world, &["--judge", "openai/judge", "--base-url", &url]).expect(1);
    assert_eq!(world.requests(), asked);
}

#[test]
fn what_cannot_be_is_refused_with_a_way_out() {
    let world = World::new(None);
    world.write("broken.safetensors", "no");
    let experiment = |change: &str| {
        EXPERIMENT.replace("'v.safetensors'", "'broken.safetensors'").replacen("layer = 10", change, 1)
    };
    world.write("broken.gguf", "no");
    let cases: [(&[&str], &str); 9] = [
        (
            &["persona", "extract", "--trait", "evil", "--model", "local/broken.gguf"],
            "broken.gguf is not a model file",
        ),
        (&["persona", "extract", "--trait", "recless", "--model", MODEL], "reckless, evil, sycophantic"),
        (&["persona", "extract", "--trait", "evil", "--model", "openai/gpt-4o"], "not a local model"),
        (&["persona", "extract", "--trait", "evil", "--model", MODEL, "--questions", "999"], "and it has 20"),
        (&["persona", "extract", "--trait", "evil", "--model", MODEL, "--pairs", "99"], "and it has 5"),
        (&["persona", "steer", "--vector", "none.safetensors", "--model", MODEL], "persona extract"),
        (&["persona", "steer", "--vector", "broken.safetensors", "--model", MODEL], "not a safetensors file"),
        (&["run", "x.toml"], "broken.safetensors: not a safetensors file"),
        (&["run", "zero.toml"], "`layer` counts from 1"),
    ];
    world.write("x.toml", &experiment("layer = 10"));
    world.write("zero.toml", &experiment("layer = 0"));
    for (arguments, expected) in cases {
        let ran = world.run(arguments).expect(2);
        assert!(ran.stderr.contains(expected), "{arguments:?}: {}", ran.stderr);
    }
    let served = EXPERIMENT.replace("local/smollm2-135m-instruct", "openai/gpt-4o");
    world.write("served.toml", &served);
    let ran = world.run(&["plan", "served.toml"]).expect(2);
    assert!(ran.stderr.contains("needs a local model"), "{}", ran.stderr);
}
