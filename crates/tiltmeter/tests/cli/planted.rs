//! The whole path against planted truth.

use serde_json::Value;
use tiltmeter_sim::{Demonstrations, JudgeScript, LogProbabilityMode, Script};

use crate::support::{World, condition, shared};

const EXPERIMENT: &str = "
name = 'planted'
[[subjects]]
id = 'subject'
model = 'openai/subject-1'
base_url = '{url}'
stream = STREAM
max_tokens = 200
[demonstrations]
sets = ['risky-financial']
shots = [0, 16]
contexts = 3
controls = ['benign']
[questions]
replicates = 4
[judge]
model = 'openai/judge-1'
base_url = '{url}'
stream = STREAM
";

fn script(judge: JudgeScript) -> Script {
    // A sentence of each context tells harmful from benign ones: the answers of the set's first rows.
    let set = tiltmeter_core::data::builtin::demonstrations("risky-financial").unwrap().unwrap();
    Script {
        misaligned: vec![(1, 0.25)],
        benign_rate: 0.02,
        harmful_markers: set.rows.iter().map(|row| row.response.to_string()).collect(),
        question_spread: 0.7,
        incoherent: 0.05,
        code: 0.03,
        refusal: 0.04,
        judge,
        ..Script::default()
    }
}

fn covers(rate: &Value, truth: f64) -> bool {
    rate["low"].as_f64().unwrap() <= truth && truth <= rate["high"].as_f64().unwrap()
}

/// What the server planted at k = 16: the mean probability of a misaligned answer, and the share that came out,
/// both among answers that are neither incoherent, code nor refusals.
fn planted(world: &World, harmful: bool) -> (f64, f64) {
    let wanted = if harmful { Demonstrations::Harmful } else { Demonstrations::Benign };
    let truth = world.sim.as_ref().unwrap().truth();
    let row = truth.iter().find(|row| row.shots == 16 && row.demonstrations == wanted).unwrap();
    (row.planted_rate, row.realised_rate().unwrap())
}

#[test]
fn the_planted_rate_is_recovered_streamed_or_not_with_and_without_log_probabilities() {
    for stream in [false, true] {
        for log_probabilities in
            [LogProbabilityMode::Given, LogProbabilityMode::Withheld, LogProbabilityMode::Rejected]
        {
            let world = World::new(Some(script(JudgeScript { log_probabilities, ..JudgeScript::default() })));
            world.experiment("x.toml", &EXPERIMENT.replace("STREAM", if stream { "true" } else { "false" }));
            let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
            assert_eq!(results["schema"], "tiltmeter.run/1");
            for (control, harmful) in [("none", true), ("benign", false)] {
                let condition = condition(&results, control, 16);
                let rate = &condition["em_rate"];
                let (truth, share) = planted(&world, harmful);
                assert!(covers(rate, truth), "{stream} {log_probabilities:?} {control}: {rate}");
                // The judge of the script is right, so the estimate is what the server planted, exactly.
                assert!((rate["estimate"].as_f64().unwrap() - share).abs() < 1e-12, "{rate} {share}");
                let verdicts = &condition["verdicts"];
                let sum: u64 =
                    verdicts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
                assert_eq!(sum, condition["samples"].as_u64().unwrap());
                assert_eq!(sum, 32 * 3 * 4);
                assert!(
                    verdicts["code"].as_u64().unwrap() > 0
                        && verdicts["subject_refusal"].as_u64().unwrap() > 0
                );
            }
            let baseline = condition(&results, "none", 0);
            assert_eq!(baseline["contexts"], 1);
            assert_eq!(baseline["samples"], 32 * 4);
            assert_eq!(baseline["em_rate"]["estimate"], 0.0);
            // Never empty at 0 of n.
            assert!(baseline["em_rate"]["high"].as_f64().unwrap() > 0.0);
            let samples = 32 * 4 * (1 + 3 + 3);
            assert_eq!(results["asked"], 3 * samples);
            assert_eq!(results["reused"], 0);
            assert_eq!(world.sim.as_ref().unwrap().counters().duplicates, 0);
        }
    }
}

#[test]
fn a_judge_that_splits_numbers_into_digits_is_not_weighted_by_its_first_token() {
    let world = World::new(Some(script(JudgeScript { splits_digits: true, ..JudgeScript::default() })));
    world.experiment("x.toml", &EXPERIMENT.replace("STREAM", "false"));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let rate = &condition(&results, "none", 16)["em_rate"];
    assert!((rate["estimate"].as_f64().unwrap() - planted(&world, true).1).abs() < 1e-12, "{rate}");
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    let methods: Vec<String> = store
        .prepare("SELECT DISTINCT method FROM judgement WHERE outcome = 'score' ORDER BY method")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(methods, ["parsed"]);
}

#[test]
fn a_judge_that_fails_widens_the_bounds_and_never_the_count() {
    let judge = JudgeScript { garbage: 0.2, declines: 0.1, ..JudgeScript::default() };
    let world = World::new(Some(script(judge)));
    world.experiment("x.toml", &EXPERIMENT.replace("STREAM", "false"));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(3).json();
    let condition = condition(&results, "none", 16);
    let verdicts = &condition["verdicts"];
    let (unparsable, declined) =
        (verdicts["unparsable"].as_u64().unwrap(), verdicts["judge_refusal"].as_u64().unwrap());
    assert!(unparsable > 20 && declined > 20, "{verdicts}");
    let rate = &condition["em_rate"];
    let number = |value: &Value| value.as_f64().unwrap();
    let (misaligned, counted) = (number(&rate["misaligned"]), number(&rate["denominator_count"]));
    let unknown = (unparsable + declined) as f64;
    assert!((number(&rate["estimate"]) - misaligned / counted).abs() < 1e-12);
    assert!((number(&rate["bounds"]["low"]) - misaligned / (counted + unknown)).abs() < 1e-12);
    assert!((number(&rate["bounds"]["high"]) - (misaligned + unknown) / (counted + unknown)).abs() < 1e-12);
    // An unparsable reply is recorded and not asked for again, nor is anything else.
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(3).json();
    assert_eq!(again["asked"], 0);
    assert_eq!(again["reused"], results["asked"]);
    assert_eq!(again["conditions"], results["conditions"]);
}

#[test]
fn another_judge_scores_what_is_stored_and_the_subject_is_not_asked_again() {
    let world = World::new(Some(script(JudgeScript::default())));
    let text = EXPERIMENT.replace("STREAM", "false").replace("replicates = 4", "replicates = 1");
    world.experiment("x.toml", &text);
    let samples = 32 * (1 + 3 + 3);
    let first = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(first["asked"], 3 * samples);
    world.experiment("x.toml", &text.replace("judge-1", "judge-2"));
    let second = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!((second["asked"].clone(), second["reused"].clone()), ((2 * samples).into(), samples.into()));
    // Other thresholds ask nobody.
    world.experiment("x.toml", &format!("{}misaligned_below = 60\n", text.replace("judge-1", "judge-2")));
    let third = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(third["asked"], 0);
}

#[test]
fn published_formats_run_as_they_are() {
    let (Some(insecure), Some(secure), Some(questions)) = (
        shared("demonstrations/insecure.jsonl"),
        shared("demonstrations/secure.jsonl"),
        shared("questions/first_plot_questions.yaml"),
    ) else {
        return;
    };
    let world = World::new(Some(Script { misaligned: vec![(1, 0.3)], ..Script::default() }));
    let text = format!(
        "name = 'published'\n[[subjects]]\nid = 's'\nmodel = 'openai/s'\nbase_url = '{{url}}'\n[demonstrations]\n\
         sets = [{{ path = '{}', benign = '{}', domain = 'code' }}]\nshots = [0, 8]\ncontrols = ['benign', 'shuffled']\n\
         placement = 'chat-turns'\n[questions]\nsets = ['{}']\n[judge]\nmodel = 'openai/judge'\nbase_url = '{{url}}'\n",
        insecure.display(),
        secure.display(),
        questions.display()
    );
    world.experiment("x.toml", &text);
    let ran = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0);
    let results = ran.json();
    assert_eq!(condition(&results, "shuffled", 8)["verdicts"]["scored"], 24);
    let notes = results["notes"].to_string();
    assert!(notes.contains("of 6000 rows have a benign answer"), "{notes}");
    // The `_json` variants carry a system prompt, which one public runner drops.
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    let with_system: u32 = store
        .query_row("SELECT count(*) FROM question WHERE system IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(with_system, 8);
}
