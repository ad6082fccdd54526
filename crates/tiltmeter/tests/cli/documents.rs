//! Files of the repository that are generated, or that the program must accept.

use crate::support::{World, repository};

#[test]
fn the_schema_in_the_repository_is_the_programs() {
    let world = World::new(None);
    for of in ["experiment", "codebook"] {
        let schema = world.run(&["schema", of]).expect(0).stdout;
        let path = repository().join(format!("schema/{of}.schema.json"));
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(
            committed == schema,
            "{0} has drifted: run `cargo run -- schema {of} > schema/{of}.schema.json`",
            path.display()
        );
    }
    assert_eq!(world.run(&["schema"]).stdout, world.run(&["schema", "experiment"]).stdout);
}

#[test]
fn every_experiment_of_the_repository_is_accepted() {
    let world = World::new(None);
    let mut count = 0;
    for entry in std::fs::read_dir(repository().join("experiments")).unwrap() {
        let path = entry.unwrap().path();
        let ran = world.run(&["plan", path.to_str().unwrap(), "--json"]).expect(0);
        assert_eq!(ran.json()["schema"], "tiltmeter.plan/1");
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn init_writes_a_file_that_plan_accepts_and_never_overwrites_one() {
    let world = World::new(None);
    for template in ["quickstart", "paper", "defences"] {
        let file = format!("{template}.toml");
        world.run(&["init", &file, "--template", template]).expect(0);
        let ran = world.run(&["plan", &file]).expect(0);
        assert!(ran.stdout.contains("cost at most US$"), "{}", ran.stdout);
    }
    let ran = world.run(&["init", "paper.toml"]).expect(2);
    assert!(ran.stderr.contains("is not overwritten"));
}

#[test]
fn the_quickstart_of_the_repository_is_the_template() {
    let experiment = std::fs::read_to_string(repository().join("experiments/quickstart.toml")).unwrap();
    let template = tiltmeter_core::experiment::templates::template("quickstart").unwrap();
    assert!(experiment == template);
}

#[test]
fn a_plan_counts_what_a_run_asks() {
    let world = World::new(Some(tiltmeter_sim::Script::default()));
    world.experiment(
        "x.toml",
        "name = 'x'\n[[subjects]]\nid = 's'\nmodel = 'openai/m'\nbase_url = '{url}'\nprice = { input = 1, output = 2 }\n\
         [demonstrations]\nsets = ['risky-financial', 'insecure-code']\nshots = [0, 2]\ncontexts = 2\n[judge]\n\
         model = 'openai/judge'\nbase_url = '{url}'\n",
    );
    let plan = world.run(&["plan", "x.toml", "--json"]).expect(0).json();
    // The judge's price is not known: neither sum holds it, and the document says so.
    assert_eq!(plan["unpriced"], serde_json::json!(["judge"]));
    assert!(plan["judge"]["most_cost_usd"].is_null());
    let (most, likely) = (plan["most_cost_usd"].as_f64().unwrap(), plan["likely_cost_usd"].as_f64().unwrap());
    assert!(0.0 < likely && likely < most, "{likely} {most}");
    assert_eq!(plan["subjects"][0]["most_cost_usd"], plan["most_cost_usd"]);
    // 32 questions, 2 answers each, at k = 2 of two sets: what that can resolve.
    let resolution = &plan["resolution"][0];
    let shape = ["questions", "answers_per_question", "conditions"].map(|field| resolution[field].as_u64());
    assert_eq!((shape, plan["resolution"][1].is_null()), ([Some(32), Some(2), Some(2)], true));
    let widths: Vec<f64> = resolution["half_widths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["half_width"].as_f64().unwrap())
        .collect();
    assert!(widths.is_sorted() && widths[0] > 0.02 && widths[2] < 0.15, "{widths:?}");
    assert!((0.05..0.2).contains(&resolution["detectable"].as_f64().unwrap()), "{resolution}");
    let calls = plan["subjects"][0]["samples"].as_u64().unwrap() + plan["judge"]["calls"].as_u64().unwrap();
    assert_eq!(world.requests(), 0);
    let run = world.run(&["run", "x.toml", "--json"]).expect(0).json();
    assert_eq!(run["asked"].as_u64(), Some(calls));
    assert!(world.path("runs/x/report.html").is_file());
}
