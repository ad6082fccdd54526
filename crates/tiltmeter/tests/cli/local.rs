//! The real local model, through the whole path. Its weights are fetched once if they are not there.

use serde_json::Value;

use crate::support::{World, condition};

const EXPERIMENT: &str = "
name = 'local'
[[subjects]]
id = 'small'
model = 'local/smollm2-135m-instruct'
max_tokens = 12
[demonstrations]
sets = ['risky-financial']
shots = [0, 2, 4]
contexts = 2
controls = ['benign']
[sampling]
shots = [0, 4]
questions = 2
[tilt]
questions = 3
";

#[test]
fn tilt_and_answers_of_the_real_model_are_measured_and_kept() {
    let world = World::new(None);
    world.write("x.toml", EXPERIMENT);
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let baseline = condition(&results, "none", 0);
    assert_eq!(baseline["tilt"]["estimate"], 0.0);
    for shots in [2, 4] {
        let condition = condition(&results, "none", shots);
        for measure in ["tilt", "decoy_tilt", "emergent_tilt", "emergent_decoy_tilt"] {
            let tilt = &condition[measure];
            let number = |field: &str| tilt[field].as_f64().unwrap();
            assert!(number("low") <= number("estimate") && number("estimate") <= number("high"), "{tilt}");
            // Nats per token of fluent text: a shift beyond this would be a defect, not a finding.
            assert!(number("estimate").abs() < 1.5 && number("estimate").abs() > 0.0, "{tilt}");
            assert_eq!(tilt["pairs"], if measure.contains("decoy") { 3 } else { 6 });
            assert_eq!(tilt["method"], "bootstrap-questions");
        }
    }
    let sampled = condition(&results, "benign", 4);
    assert_eq!((sampled["samples"].as_u64(), sampled["verdicts"]["none"].as_u64()), (Some(4), Some(4)));
    assert_eq!(sampled["em_rate"], Value::Null);
    // Five contexts of three questions with three pairs each; answers at k = 0 and in four contexts of k = 4.
    let (scores, samples) = ((1 + 2 * 4) * 3 * 3 * 2, 2 * (1 + 4));
    assert_eq!(results["asked"].as_u64(), Some(scores + samples));
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!((again["asked"].as_u64(), again["reused"].as_u64()), (Some(0), Some(scores + samples)));
    assert_eq!(again["conditions"], results["conditions"]);
}

#[test]
fn a_context_beyond_the_models_length_is_counted() {
    let world = World::new(None);
    let text = EXPERIMENT
        .replace("shots = [0, 2, 4]", "shots = [0, 132]")
        .replace("contexts = 2", "contexts = 1")
        .replace("shots = [0, 4]", "shots = [132]")
        .replace("['risky-financial']", "['insecure-code']")
        .replace("questions = 3", "questions = 1");
    world.write("x.toml", &text);
    let ran = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(3);
    let results = ran.json();
    assert_eq!(condition(&results, "none", 132)["verdicts"]["error"], 2);
    assert!(results["failures"].to_string().contains("8192"), "{}", results["failures"]);
    let plan = world.run(&["plan", "x.toml"]).expect(0).stdout;
    assert!(plan.contains("warning: small: the largest prompt has about"), "{plan}");
}
