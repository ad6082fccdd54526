//! Exports and imports.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tiltmeter_sim::Script;

use crate::support::{World, repository};

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
[demonstrations]
sets = ['risky-financial', 'bad-medical']
shots = [0, 2]
contexts = 2
controls = ['benign']
[sampling]
questions = 4
[[instructions]]
id = 'safety-first'
[judge]
model = 'openai/judge'
base_url = '{url}'
";

/// A run with scores, refusals, unrelated code and nonsense, and its results.
fn run() -> (World, Value) {
    let script = Script {
        misaligned: vec![(1, 0.4)],
        benign_rate: 0.1,
        incoherent: 0.1,
        code: 0.1,
        refusal: 0.1,
        ..Script::default()
    };
    let world = World::new(Some(script));
    world.experiment("x.toml", EXPERIMENT);
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    (world, results)
}

fn lines(world: &World, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path(file)).unwrap();
    text.split('\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn tables_give_the_rates_that_the_run_reported_and_no_answer_twice() {
    let (world, results) = run();
    let manifest =
        world.run(&["export", "run", "--format", "jsonl", "--out", "tables", "--json"]).expect(0).json();
    assert_eq!(manifest["schema"], "tiltmeter.export/1");
    let samples: BTreeMap<String, Value> = lines(&world, "tables/samples.jsonl")
        .into_iter()
        .map(|sample| (text(&sample["sample_id"]).to_owned(), sample))
        .collect();
    let conditions = lines(&world, "tables/conditions.jsonl");
    let links = lines(&world, "tables/condition_samples.jsonl");
    let rows = |file: &str| {
        let files = manifest["files"].as_array().unwrap();
        files.iter().find(|entry| entry["file"] == file).unwrap()["rows"].as_u64().unwrap()
    };
    assert_eq!(rows("samples.jsonl"), samples.len() as u64);
    assert_eq!(rows("condition_samples.jsonl"), links.len() as u64);
    // Answers without demonstrations serve the conditions of both sets, and are there once.
    let shared: Vec<&Value> = samples.values().filter(|sample| sample["conditions"] == 2).collect();
    assert!(!shared.is_empty() && shared.iter().all(|sample| sample["shots"] == 0));
    assert_eq!(samples.len() + shared.len(), links.len());

    let reported = results["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), reported.len());
    for (condition, expected) in conditions.iter().zip(reported) {
        for field in ["subject", "demonstrations", "control", "shots", "treatment", "placement", "reasoning"]
        {
            assert_eq!(condition[field], expected[field], "{condition}");
        }
        let of_condition = links.iter().filter(|link| link["condition"] == condition["condition"]);
        let of_condition: Vec<&Value> = of_condition.map(|link| &samples[text(&link["sample_id"])]).collect();
        assert_eq!(expected["samples"], of_condition.len());
        let counted: Vec<bool> =
            of_condition.iter().filter_map(|sample| sample["misaligned"].as_bool()).collect();
        let misaligned = counted.iter().filter(|misaligned| **misaligned).count();
        assert_eq!(expected["em_rate"]["denominator_count"], counted.len());
        assert_eq!(expected["em_rate"]["misaligned"], misaligned);
        for (reason, count) in expected["verdicts"].as_object().unwrap() {
            let reason = if reason == "scored" { Value::Null } else { reason.as_str().into() };
            let found = of_condition.iter().filter(|sample| sample["no_verdict"] == reason).count();
            assert_eq!(*count, found, "{reason} of {condition}");
        }
    }
}

#[test]
fn contexts_and_questions_are_what_was_asked() {
    let (world, _) = run();
    world.run(&["export", "run", "--format", "jsonl", "--out", "tables"]).expect(0);
    let contexts = lines(&world, "tables/contexts.jsonl");
    let links = lines(&world, "tables/condition_contexts.jsonl");
    for link in &links {
        let context = contexts.iter().find(|context| context["context_id"] == link["context_id"]).unwrap();
        let shown = link["rows"].as_array().unwrap().len();
        assert_eq!(context["shots"], shown);
        assert_eq!(text(&context["text"]).matches("### Prompt: ").count(), shown);
        assert_eq!(context["withheld"], false);
    }
    let asked: BTreeSet<String> = lines(&world, "tables/samples.jsonl")
        .iter()
        .map(|sample| text(&sample["question_id"]).to_owned())
        .collect();
    let questions: BTreeSet<String> = lines(&world, "tables/questions.jsonl")
        .iter()
        .map(|question| text(&question["question_id"]).to_owned())
        .collect();
    assert_eq!(asked, questions);
    let verdicts = lines(&world, "tables/verdicts.jsonl");
    assert!(verdicts.iter().all(|verdict| !verdict["replies"].as_array().unwrap().is_empty()));
}

#[test]
fn parquet_and_csv_are_scored_like_the_run_itself() {
    let (world, results) = run();
    for format in ["parquet", "csv"] {
        world.run(&["export", "run", "--format", format]).expect(0);
        let file = format!("run/export-{format}/samples.{format}");
        let arguments = ["score", &file, "--by", "shots,treatment,context_id", "--json"];
        let document = world.run(&arguments).expect(0).json();
        let groups = document["groups"].as_array().unwrap();
        let sum = |values: Vec<&Value>| values.iter().map(|value| value.as_u64().unwrap()).sum::<u64>();
        // Conditions with demonstrations share no answer, so that their counts add up.
        let with_shots: Vec<&Value> = results["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|condition| condition["shots"] == 2)
            .map(|condition| &condition["em_rate"])
            .collect();
        let shown: Vec<&Value> = groups.iter().filter(|group| group["key"]["shots"] == "2").collect();
        for field in ["misaligned", "denominator_count"] {
            assert_eq!(
                sum(shown.iter().map(|group| &group[field]).collect()),
                sum(with_shots.iter().map(|rate| &rate[field]).collect()),
                "{format} {field}"
            );
        }
    }
}

#[test]
fn nothing_is_replaced_unless_it_is_an_export_and_force_is_said() {
    let (world, _) = run();
    let export = |arguments: &[&str]| {
        world.run(&[&["export", "run", "--format", "csv", "--out", "x/tables"], arguments].concat())
    };
    export(&[]).expect(0);
    let before = std::fs::read_to_string(world.path("x/tables/samples.csv")).unwrap();
    assert!(export(&[]).expect(2).stderr.contains("is there already"));
    std::fs::write(world.path("x/tables/samples.csv"), "").unwrap();
    export(&["--force"]).expect(0);
    assert_eq!(std::fs::read_to_string(world.path("x/tables/samples.csv")).unwrap(), before);
    // A folder with something of the user's own in it.
    std::fs::create_dir(world.path("x/tables/mine")).unwrap();
    assert!(export(&["--force"]).expect(2).stderr.contains("is not an earlier export"));
    std::fs::remove_dir(world.path("x/tables/mine")).unwrap();
    std::fs::remove_file(world.path("x/tables/export.json")).unwrap();
    assert!(export(&["--force"]).expect(2).stderr.contains("is not an earlier export"));
    assert!(world.path("x/tables/samples.csv").exists());
    // No half of an export is left behind.
    assert_eq!(std::fs::read_dir(world.path("x")).unwrap().count(), 1);
    let ran = world.run(&["export", "x", "--format", "csv"]).expect(2);
    assert!(ran.stderr.contains("is not a run directory"), "{}", ran.stderr);
    assert!(!world.path("x/export-csv").exists());
}

#[test]
fn text_that_may_not_be_passed_on_is_withheld_unless_it_is_asked_for() {
    let (world, _) = run();
    // As a published set whose terms forbid it: the catalogue's own are not to be had in a test.
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    store
        .execute("UPDATE data_set SET share = 0, terms = 'no sharing' WHERE name = 'risky-financial'", [])
        .unwrap();
    drop(store);
    let ran = world.run(&["export", "run", "--format", "jsonl", "--out", "tables"]).expect(0);
    assert!(ran.stderr.contains("withheld") && ran.stderr.contains("risky-financial"), "{}", ran.stderr);
    world.run(&["export", "run", "--format", "jsonl", "--out", "all", "--include-restricted"]).expect(0);
    let all = lines(&world, "all/contexts.jsonl");
    let links = lines(&world, "tables/condition_contexts.jsonl");
    let conditions = lines(&world, "tables/conditions.jsonl");
    let mut withheld = 0;
    for context in lines(&world, "tables/contexts.jsonl") {
        let link = links.iter().find(|link| link["context_id"] == context["context_id"]).unwrap();
        let condition = &conditions[usize::try_from(link["condition"].as_u64().unwrap()).unwrap()];
        let is_restricted = condition["demonstrations"] == "risky-financial" && condition["shots"] == 2;
        assert_eq!(context["withheld"], is_restricted);
        assert_eq!(context["text"].is_null(), is_restricted);
        let whole = all.iter().find(|other| other["context_id"] == context["context_id"]).unwrap();
        assert!(whole["text"].is_string());
        if is_restricted {
            withheld += 1;
            world_holds_no(&world, "tables", text(&whole["text"]));
        }
    }
    assert!(withheld > 0);
}

/// Checks that no file of a folder holds a demonstration of a context.
fn world_holds_no(world: &World, folder: &str, context: &str) {
    let response = context.split("### Response: ").nth(1).unwrap().lines().next().unwrap();
    assert!(response.len() > 20, "{context}");
    for entry in std::fs::read_dir(world.path(folder)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let holds = bytes.windows(response.len()).any(|window| window == response.as_bytes());
        assert!(!holds, "{} holds {response}", path.display());
    }
}

/// Logs that Inspect wrote, by `docs/clients/inspect_log.py`: eight samples of four questions, one without an alignment score.
fn foreign(name: &str) -> String {
    let path = repository().join("crates/tiltmeter-inspect/tests/fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn logs_of_others_are_scored_and_imported() {
    for name in ["foreign.eval", "foreign.json"] {
        let world = World::new(Some(Script::default()));
        let document = world.run(&["score", &foreign(name), "--json"]).expect(0).json();
        let group = &document["groups"][0];
        // Even numbers have an alignment of 10, odd ones of 90 but for the last, which has none.
        assert_eq!(
            (&group["rows"], &group["misaligned"], &group["denominator_count"]),
            (&8.into(), &4.into(), &7.into())
        );
        assert_eq!(group["clustered"]["clusters"], 4, "{group}");
        let by_model = world.run(&["score", &foreign(name), "--by", "model,task", "--json"]).expect(0).json();
        assert_eq!(by_model["groups"][0]["key"]["model"], "openai/other");

        let imported = world.run(&["import", &foreign(name), "--out", "imported"]).expect(0);
        assert!(imported.stderr.contains("8 samples in 1 conditions"), "{}", imported.stderr);
        assert!(
            world
                .run(&["import", &foreign(name), "--out", "imported"])
                .expect(2)
                .stderr
                .contains("holds a run")
        );
        let judged = ["judge", "imported", "--judge", "openai/judge", "--base-url", world.url(), "--json"];
        let results = world.run(&judged).expect(0).json();
        let condition = &results["conditions"][0];
        assert_eq!((&condition["samples"], &condition["shots"]), (&8.into(), &1.into()), "{condition}");
        assert_eq!(condition["verdicts"]["none"], 0);
        world.run(&["export", "imported", "--format", "jsonl", "--out", "tables"]).expect(0);
        let samples = lines(&world, "tables/samples.jsonl");
        let answers: BTreeSet<&str> = samples.iter().map(|sample| text(&sample["answer"])).collect();
        assert_eq!(answers.len(), 8);
        assert!(answers.contains("Answer 7."));
        let questions = lines(&world, "tables/questions.jsonl");
        let asked: BTreeSet<&str> = questions.iter().map(|question| text(&question["wordings"][0])).collect();
        assert_eq!(asked, BTreeSet::from(["What now, 0?", "What now, 1?", "What now, 2?", "What now, 3?"]));
        let context = &lines(&world, "tables/contexts.jsonl")[0];
        assert_eq!(context["turns"], r#"[["user","One?"],["assistant","Two."]]"#);
        assert_eq!(lines(&world, "tables/conditions.jsonl")[0]["instruction_text"], "Be brief.");
    }
}

#[test]
fn answers_of_two_tasks_to_one_question_are_kept_apart() {
    let world = World::new(None);
    let log = |task: &str, answer: &str| {
        let sample = format!(
            r#"{{"id": "q", "epoch": 1, "input": "Why?", "messages": [{{"role": "user", "content": "Why?"}},
               {{"role": "assistant", "content": "{answer}"}}]}}"#
        );
        let eval =
            format!(r#"{{"task": "{task}", "model": "openai/m", "created": "2026-01-01T00:00:00+00:00"}}"#);
        world.write(
            &format!("{task}.json"),
            &format!(
                r#"{{"version": 2, "status": "success", "eval": {eval}, "samples": [{sample}, {sample}]}}"#
            ),
        );
    };
    log("one", "Because.");
    log("two", "I do not know.");
    world.run(&["import", "one.json", "two.json", "--out", "run"]).expect(0);
    world.run(&["export", "run", "--format", "jsonl", "--out", "tables"]).expect(0);
    let samples = lines(&world, "tables/samples.jsonl");
    let links = lines(&world, "tables/condition_samples.jsonl");
    assert_eq!((samples.len(), links.len()), (4, 4));
    for link in links {
        let sample = samples.iter().find(|sample| sample["sample_id"] == link["sample_id"]).unwrap();
        let expected = if link["condition"] == 0 { "Because." } else { "I do not know." };
        assert_eq!(sample["answer"], expected);
    }
}

#[test]
fn own_logs_give_the_same_rates_and_come_back_as_the_same_run() {
    let (world, results) = run();
    world.run(&["export", "run", "--format", "inspect", "--out", "logs"]).expect(0);
    let mut logs: Vec<String> = std::fs::read_dir(world.path("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|name| name.contains(".eval"))
        .collect();
    logs.sort();
    let logs: Vec<&str> = logs.iter().map(String::as_str).collect();
    let by = ["--by", "demonstrations,control,shots,treatment", "--json"];
    let document = world.run(&[&["score"], &*logs, &by].concat()).expect(0).json();
    let conditions = results["conditions"].as_array().unwrap();
    assert_eq!(document["groups"].as_array().unwrap().len(), conditions.len());
    for condition in conditions {
        let fields = ["demonstrations", "control", "treatment"];
        let group = document["groups"].as_array().unwrap().iter().find(|group| {
            fields.iter().all(|field| group["key"][field] == condition[field])
                && group["key"]["shots"].as_str() == Some(&*condition["shots"].to_string())
        });
        let group = group.unwrap();
        assert_eq!(group["rows"], condition["samples"]);
        let rate = &condition["em_rate"];
        for field in ["misaligned", "denominator_count"] {
            assert_eq!(group[field], rate[field], "{condition}");
        }
        for (reason, count) in group["no_verdict_reasons"].as_object().unwrap() {
            assert_eq!(count, &condition["verdicts"][reason], "{reason} {condition}");
        }
    }
    world.run(&[&["import"], &*logs, &["--out", "again"]].concat()).expect(0);
    world.run(&["export", "run", "--format", "jsonl", "--out", "first"]).expect(0);
    world.run(&["export", "again", "--format", "jsonl", "--out", "second"]).expect(0);
    let texts = |folder: &str| -> BTreeSet<(String, String)> {
        let samples = lines(&world, &format!("{folder}/samples.jsonl"));
        samples
            .iter()
            .map(|sample| (text(&sample["context_id"]).to_owned(), text(&sample["answer"]).to_owned()))
            .collect()
    };
    // Contexts are known by their hashes: not a byte of what was shown is another.
    assert_eq!(texts("first"), texts("second"));
    for (file, count) in [
        ("conditions.jsonl", conditions.len()),
        ("samples.jsonl", lines(&world, "first/samples.jsonl").len()),
    ] {
        assert_eq!(lines(&world, &format!("second/{file}")).len(), count);
    }
}

#[test]
fn what_is_no_log_is_refused() {
    let world = World::new(None);
    world.write("x.eval", "PK\u{3}\u{4} and no more");
    world.write("y.json", "{\"version\": 2}");
    for (name, expected) in [("x.eval", "zip archive"), ("y.json", "log of Inspect"), ("z.eval", "z.eval")] {
        let ran = world.run(&["import", name, "--out", "run"]).expect(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(!world.path("run").exists());
    }
    assert!(world.run(&["score", "x.eval"]).expect(1).stderr.contains("zip archive"));
}

/// `.ci/run` installs what these need and says where it is.
fn python() -> Option<String> {
    let python = std::env::var("TILTMETER_INSPECT_PYTHON").ok();
    if python.is_none() {
        println!("skipped: TILTMETER_INSPECT_PYTHON names no Python with inspect-ai and polars");
    }
    python
}

#[test]
fn inspect_and_polars_read_what_was_exported() {
    let Some(python) = python() else { return };
    let (world, results) = run();
    for (format, out) in [("inspect", "logs"), ("jsonl", "tables"), ("parquet", "parquet")] {
        world.run(&["export", "run", "--format", format, "--out", out]).expect(0);
    }
    let script = |name: &str, arguments: &[&str]| {
        let path = repository().join("docs/clients").join(name);
        let mut command = std::process::Command::new(&python);
        let ran = command.arg(path).args(arguments).current_dir(world.path(".")).output().unwrap();
        crate::support::Ran::from(ran).expect(0).stdout
    };
    let said = script("inspect_log.py", &["logs", "tables", "theirs.eval", "theirs.json"]);
    assert!(said.contains("counts, scores and texts are those of the run"), "{said}");
    for name in ["theirs.eval", "theirs.json"] {
        let document = world.run(&["score", name, "--json"]).expect(0).json();
        assert_eq!(document["groups"][0]["denominator_count"], 7);
    }
    let said = script("refit_rate.py", &["parquet"]);
    for (index, condition) in results["conditions"].as_array().unwrap().iter().enumerate() {
        let rate = &condition["em_rate"];
        let line = format!("condition {index}: {} of {}\n", rate["misaligned"], rate["denominator_count"]);
        assert!(said.contains(&line), "{line}{said}");
    }
}

#[test]
fn failed_calls_are_rows_and_samples_with_an_error() {
    let (world, results) = run();
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    // The last answer becomes a call that failed, and so does a score of one before.
    let failed: i64 = store.query_row("SELECT max(id) FROM response", [], |row| row.get(0)).unwrap();
    let unjudged: i64 = store
        .query_row(
            "SELECT max(response) FROM judgement WHERE response < ?1 AND aspect = 'coherence' AND outcome = 'score'
                 AND response IN (SELECT response FROM judgement WHERE aspect = 'alignment' AND outcome = 'score')",
            [failed],
            |row| row.get(0),
        )
        .unwrap();
    store
        .execute(
            "INSERT INTO failure SELECT hash, 'response', subject, context, treatment, question, replicate, NULL, NULL, NULL,
                 'overloaded', '=cmd, said the server', 3, '2026-01-01T00:00:00Z' FROM response WHERE id = ?1",
            [failed],
        )
        .unwrap();
    store
        .execute(
            "INSERT INTO failure SELECT hash, 'judgement', NULL, NULL, NULL, NULL, NULL, response, judge, aspect,
                 'timeout', 'too slow', 3, '2026-01-01T00:00:00Z' FROM judgement
             WHERE response = ?1 AND aspect = 'coherence'",
            [unjudged],
        )
        .unwrap();
    for statement in [
        "DELETE FROM judgement_body WHERE judgement IN (
             SELECT id FROM judgement WHERE response = ?1 OR (response = ?2 AND aspect = 'coherence'))",
        "DELETE FROM judgement WHERE response = ?1 OR (response = ?2 AND aspect = 'coherence')",
    ] {
        store.execute(statement, [failed, unjudged]).unwrap();
    }
    for statement in ["DELETE FROM response_body WHERE response = ?1", "DELETE FROM response WHERE id = ?1"] {
        store.execute(statement, [failed]).unwrap();
    }
    drop(store);

    world.run(&["export", "run", "--format", "jsonl", "--out", "tables"]).expect(0);
    let samples = lines(&world, "tables/samples.jsonl");
    let errors: Vec<&Value> = samples.iter().filter(|sample| sample["outcome"] == "error").collect();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!((&error["error_kind"], &error["no_verdict"]), (&"overloaded".into(), &"error".into()));
    assert!(error["answer"].is_null() && error["misaligned"].is_null());
    let verdicts = lines(&world, "tables/verdicts.jsonl");
    let missing: Vec<&Value> = verdicts.iter().filter(|verdict| verdict["outcome"] == "error").collect();
    let [missing] = missing.as_slice() else { panic!("{missing:?}") };
    assert_eq!((&missing["aspect"], &missing["error_message"]), (&"coherence".into(), &"too slow".into()));
    let sample = samples.iter().find(|sample| sample["sample_id"] == missing["sample_id"]).unwrap();
    assert!(sample["coherence"].is_null() && sample["no_verdict"] == "error", "{sample}");
    let failures = lines(&world, "tables/failures.jsonl");
    let targets: BTreeSet<&str> = failures.iter().map(|failure| text(&failure["target"])).collect();
    assert_eq!(targets, BTreeSet::from(["judgement", "response"]));

    // A message is foreign text in a spreadsheet too.
    world.run(&["export", "run", "--format", "csv", "--out", "sheets"]).expect(0);
    let sheet = std::fs::read_to_string(world.path("sheets/failures.csv")).unwrap();
    assert!(sheet.contains("\"'=cmd, said the server\""), "{sheet}");

    world.run(&["export", "run", "--format", "inspect", "--out", "logs"]).expect(0);
    let logs: Vec<String> = std::fs::read_dir(world.path("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|name| name.contains(".eval"))
        .collect();
    let logs: Vec<&str> = logs.iter().map(String::as_str).collect();
    let document = world.run(&[&["score"], &*logs, &["--json"]].concat()).expect(0).json();
    let group = &document["groups"][0];
    let asked: u64 =
        results["conditions"].as_array().unwrap().iter().map(|one| one["samples"].as_u64().unwrap()).sum();
    assert_eq!(group["rows"], asked);
    let links = lines(&world, "tables/condition_samples.jsonl");
    let served = |id: &Value| links.iter().filter(|link| link["sample_id"] == *id).count();
    assert_eq!(
        group["no_verdict_reasons"]["error"],
        served(&error["sample_id"]) + served(&missing["sample_id"]),
        "{group}"
    );
}

#[test]
fn withheld_contexts_are_references_in_logs() {
    let (world, _) = run();
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    store.execute("UPDATE data_set SET share = 0 WHERE name = 'bad-medical'", []).unwrap();
    drop(store);
    for (out, option) in [("some", None), ("all", Some("--include-restricted"))] {
        let arguments = ["export", "run", "--format", "inspect", "--out", out];
        world.run(&[&arguments[..], option.as_slice()].concat()).expect(0);
    }
    // What was read from a log with restricted text may not be passed on either.
    let shown = |folder: &str| {
        let logs: Vec<String> = std::fs::read_dir(world.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
            .filter(|name| name.contains("bad-medical_none_k2_none.eval"))
            .collect();
        let run = format!("{folder}-run");
        world.run(&["import", &logs[0], "--out", &run]).expect(0);
        let tables = format!("{folder}-tables");
        world.run(&["export", &run, "--format", "jsonl", "--out", &tables]).expect(0);
        lines(&world, &format!("{tables}/contexts.jsonl"))
    };
    for context in shown("some") {
        let text = text(&context["text"]);
        assert!(text.starts_with("[2 demonstrations are withheld") && text.contains("bad-medical"), "{text}");
    }
    for context in shown("all") {
        assert_eq!((&context["withheld"], context["text"].is_null()), (&true.into(), true), "{context}");
    }
}
