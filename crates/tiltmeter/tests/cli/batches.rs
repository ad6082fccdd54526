//! `--batch`: the same results at half the price, through every way in which a batch and the program can fail.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tiltmeter_sim::{BatchScript, Script};

use crate::support::{Ran, World};

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
max_tokens = 200
price = { input = 1, output = 2 }
[demonstrations]
sets = ['risky-financial']
shots = [0, 4]
[judge]
model = 'openai/judge'
base_url = '{url}'
price = { input = 1, output = 2 }
";

const BATCH: [&str; 6] = ["--batch", "--batch-poll", "0.05", "--batch-size", "20", "--json"];

fn script(batch: BatchScript) -> Script {
    Script { misaligned: vec![(0, 0.3)], batch, ..Script::default() }
}

fn world(batches: BatchScript) -> World {
    let world = World::new(Some(script(batches)));
    world.experiment("x.toml", EXPERIMENT);
    world
}

fn run(world: &World) -> Ran {
    let mut arguments = vec!["run", "x.toml", "--out", "run"];
    arguments.extend(BATCH);
    world.run(&arguments)
}

fn start(world: &World) -> Child {
    let mut command = world.command();
    command.args(["run", "x.toml", "--out", "run"]).args(BATCH);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the same experiment gives when it is asked call by call.
fn expected() -> Value {
    let world = world(BatchScript::default());
    world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json()
}

fn count(world: &World, query: &str) -> i64 {
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    store.busy_timeout(Duration::from_secs(5)).unwrap();
    store.query_row(query, [], |row| row.get(0)).unwrap_or(0)
}

/// Waits until something is in the store, while a program works on it.
fn wait_for(world: &World, query: &str) {
    let start = Instant::now();
    while !world.path("run/run.sqlite").exists() || count(world, query) == 0 {
        assert!(start.elapsed() < Duration::from_mins(1), "{query}");
        std::thread::yield_now();
    }
}

#[test]
fn batches_give_the_same_results_for_half_the_price() {
    let world = world(BatchScript { polls: 2, ..BatchScript::default() });
    let results = run(&world).expect(0).json();
    let expected = expected();
    assert_eq!(results["conditions"], expected["conditions"]);
    let (cost, full) = (results["cost_usd"].as_f64().unwrap(), expected["cost_usd"].as_f64().unwrap());
    // One call of each model is asked by itself.
    assert!(cost > full / 2.0 && cost < 0.55 * full, "{cost} {full}");
    assert_eq!(count(&world, "SELECT count(*) FROM batch WHERE state <> 'closed'"), 0);
    // 64 answers and 128 scores, less one of each, 20 to a batch at most.
    assert!(count(&world, "SELECT count(*) FROM batch") >= 4 + 7);
    assert_eq!(count(&world, "SELECT count(*) FROM batch_request"), 64 - 1 + 128 - 1);
    assert_eq!(world.sim.as_ref().unwrap().counters().duplicates, 0);
    let again = run(&world).expect(0).json();
    assert_eq!(again["asked"], 0);
    // Another judge scores in batches too.
    let ran = world.run(&[
        "judge",
        "run",
        "--judge",
        "openai/judge-2",
        "--batch",
        "--batch-poll",
        "0.05",
        "--json",
    ]);
    assert_eq!(ran.expect(0).json()["asked"], 128);
}

#[test]
fn whatever_fails_in_a_batch_is_asked_again() {
    let expected = expected();
    for (name, script) in [
        ("fails", BatchScript { fails: 0.1, ..BatchScript::default() }),
        ("expires", BatchScript { expires: 0.1, ..BatchScript::default() }),
        ("loses", BatchScript { loses: 0.1, ..BatchScript::default() }),
        ("breaks", BatchScript { breaks: 0.1, ..BatchScript::default() }),
        ("failing", BatchScript { failing: 2, ..BatchScript::default() }),
    ] {
        let world = world(script);
        let results = run(&world).expect(0).json();
        assert_eq!(results["conditions"], expected["conditions"], "{name}");
        assert_eq!(count(&world, "SELECT count(*) FROM failure"), 0, "{name}");
        let failed = count(&world, "SELECT count(*) FROM failed_attempt");
        if name == "failing" {
            assert_eq!(count(&world, "SELECT count(*) FROM batch WHERE state = 'failed'"), 2);
        } else {
            assert!(failed > 5, "{name}: {failed}");
        }
    }
}

#[test]
fn a_killed_program_finds_its_batches_again() {
    let expected = expected();
    let world = world(BatchScript { polls: 30, ..BatchScript::default() });
    for round in 0..3 {
        let mut child = start(&world);
        let query = "SELECT count(*) FROM batch WHERE provider_id IS NOT NULL AND state = 'open'";
        wait_for(&world, query);
        child.kill().unwrap();
        child.wait().unwrap();
        if round == 1 {
            // As if it had been killed between handing a batch over and writing that down.
            let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
            store.execute("UPDATE batch SET provider_id = NULL WHERE state = 'open'", []).unwrap();
        }
    }
    // Without the batches it would pay twice.
    let ran = world.run(&["run", "x.toml", "--out", "run"]).expect(2);
    assert!(ran.stderr.contains("run with --batch to collect"), "{}", ran.stderr);
    let results = run(&world).expect(0).json();
    assert_eq!(results["conditions"], expected["conditions"]);
    // A batch that was written down, and that the provider never had, has failed; of the others nothing was asked twice.
    let closed = "FROM batch_request AS r JOIN batch AS b ON b.id = r.batch WHERE b.state = 'closed'";
    let asked = count(&world, &format!("SELECT count(*) {closed}"));
    assert_eq!(asked, count(&world, &format!("SELECT count(DISTINCT r.hash) {closed}")));
    assert!(asked > 180, "{asked}");
    assert_eq!(count(&world, "SELECT count(*) FROM batch WHERE state = 'open'"), 0);
    assert_eq!(
        world.sim.as_ref().unwrap().counters().batches,
        count(&world, "SELECT count(*) FROM batch WHERE state = 'closed'").cast_unsigned()
    );
}

#[test]
fn a_stopped_program_says_what_goes_on() {
    let world = world(BatchScript { polls: 1_000_000, ..BatchScript::default() });
    let child = start(&world);
    wait_for(&world, "SELECT count(*) FROM batch WHERE provider_id IS NOT NULL");
    let pid = i32::try_from(child.id()).unwrap();
    let killed = std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let ran: Ran = child.wait_with_output().unwrap().into();
    let ran = ran.expect(1);
    assert!(ran.stderr.contains("go on at their providers: run again with --batch"), "{}", ran.stderr);
    // Forgotten, they are asked for again.
    let ran = world.run(&["run", "x.toml", "--out", "run", "--json", "--forget-batches"]).expect(0);
    assert_eq!(ran.json()["conditions"], expected()["conditions"]);
}

#[test]
fn models_without_batches_are_said() {
    let world = world(BatchScript::default());
    let text = EXPERIMENT.replace("{url}", world.url());
    world.write("x.toml", &text.replace("openai/m'", "llamacpp/m'"));
    let ran = run(&world).expect(0);
    assert!(ran.stderr.contains("as their providers take no batches: s"), "{}", ran.stderr);
    world.write("x.toml", &text.replace("openai/", "llamacpp/"));
    let ran = run(&world).expect(2);
    assert!(ran.stderr.contains("no model's provider takes batches"), "{}", ran.stderr);
}

#[test]
fn a_limit_does_not_give_up_what_others_have_paid_for() {
    let world = world(BatchScript { polls: 30, ..BatchScript::default() });
    let mut child = start(&world);
    wait_for(&world, "SELECT count(*) >= 2 FROM batch WHERE provider_id IS NOT NULL AND state = 'open'");
    child.kill().unwrap();
    child.wait().unwrap();
    let made = count(&world, "SELECT count(*) FROM batch");
    // Only a few answers are asked for: the other batches stay what they are.
    let mut arguments = vec!["run", "x.toml", "--out", "run", "--limit", "3"];
    arguments.extend(BATCH);
    world.run(&arguments).expect(0);
    assert!(count(&world, "SELECT count(*) FROM batch WHERE state = 'open'") > 0);
    let results = run(&world).expect(0).json();
    assert_eq!(results["conditions"], expected()["conditions"]);
    assert_eq!(count(&world, "SELECT count(*) FROM batch WHERE state = 'open'"), 0);
    // Of what the first start has handed over nothing was asked again.
    let again = format!(
        "SELECT count(*) FROM batch_request AS r WHERE r.batch > {made} AND r.hash IN
         (SELECT hash FROM batch_request JOIN batch ON id = batch WHERE id <= {made} AND state = 'closed')"
    );
    assert_eq!(count(&world, &again), 0);
}
