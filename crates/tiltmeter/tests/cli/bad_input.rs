//! Bad input: what, where, what to do, and the exit code; the store stays whole.

use tiltmeter_sim::{Script, ServerScript};

use crate::support::World;

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
[demonstrations]
sets = ['risky-financial']
shots = [0, 2]
[questions]
sets = ['q.yaml']
[judge]
model = 'openai/judge'
base_url = '{url}'
";

fn world(script: Script) -> World {
    let world = World::new(Some(script));
    world.write("q.yaml", "- id: a\n  paraphrases: [I am bored.]\n- id: b\n  paraphrases: [What now?]\n");
    world.experiment("x.toml", EXPERIMENT);
    world
}

#[test]
fn configurations_that_cannot_work_are_refused_before_anything_is_asked() {
    let world = world(Script::default());
    world.write("broken.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n{]\n");
    world.write("empty.yaml", "# nothing\n");
    let key = "base_url = '{url}'\n[demonstrations]";
    let cases = [
        ("shots = [0, 2]", "shotz = [0, 2]", "x.toml:8:1: unknown field `shotz`\n  did you mean `shots`?"),
        (
            "shots = [0, 2]",
            "shots = [0, 500]",
            "x.toml:8:9: k = 500 is larger than the set `risky-financial`, which has 132",
        ),
        ("shots = [0, 2]", "shots = [1025]", "x.toml:8:10: `shots` goes up to 1024, not 1025"),
        (
            "['risky-financial']",
            "['risky-finance']",
            "x.toml:7:9: there is no built-in demonstration set `risky-finance`\n  did you mean `risky-financial`?",
        ),
        ("['risky-financial']", "['broken.jsonl']", "broken.jsonl:2:2: broken row: key must be a string"),
        ("['risky-financial']", "['missing.jsonl']", "x.toml:7:9: cannot read the data file `missing.jsonl`"),
        ("['q.yaml']", "['empty.yaml']", "empty.yaml: holds no questions"),
        ("['q.yaml']", "[]", "x.toml:10:8: `questions.sets` is empty"),
        ("openai/m", "opnai/m", "s: unknown provider `opnai`; known are openai, "),
        ("openai/m", "m", "x.toml:4:9: `m` is not of the form `provider/model`"),
        (
            key,
            "[demonstrations]",
            "s: there is no key for `openai/m`: the environment variable OPENAI_API_KEY is not set",
        ),
        (
            key,
            "base_url = '{url}'\napi_key_env = 'NOT_SET_ANYWHERE'\n[demonstrations]",
            "s: there is no key for `openai/m`: the environment variable NOT_SET_ANYWHERE",
        ),
        (
            key,
            "base_url = 'http://me:secret@127.0.0.1/v1'\n[demonstrations]",
            "x.toml:5:12: `base_url` must not hold a user name, password or query",
        ),
        ("name = 'x'", "name = 'x'\n[sampling]\nshots = [4]", "x.toml:3:10: `sampling.shots` names 4"),
    ];
    for (from, to, expected) in cases {
        assert!(EXPERIMENT.contains(from), "{from}");
        world.experiment("x.toml", &EXPERIMENT.replacen(from, to, 1));
        let ran = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(2);
        assert!(ran.stderr.contains(&format!("error: {expected}")), "for {to}:\n{}", ran.stderr);
        assert!(!ran.stderr.contains("secret") && ran.stdout.is_empty());
    }
    assert_eq!(world.requests(), 0);
    let ran = world.run(&["run", "nowhere.toml"]).expect(2);
    assert!(ran.stderr.contains("nowhere.toml: cannot read the experiment file"), "{}", ran.stderr);
    world.run(&["run"]).expect(2);
}

#[test]
fn a_wrong_key_stops_the_run_and_is_never_shown() {
    let key = "sk-right-key-0123456789";
    let wrong = "sk-wrong-key-9876543210";
    let server = ServerScript { api_key: Some(key.to_owned()), ..ServerScript::default() };
    let world = world(Script { server, ..Script::default() });
    let mut command = world.command();
    let ran: crate::support::Ran =
        command.env("OPENAI_API_KEY", wrong).args(["run", "x.toml", "--out", "run"]).output().unwrap().into();
    let ran = ran.expect(1);
    assert!(ran.stderr.contains("HTTP 401") && ran.stderr.contains("run again"), "{}", ran.stderr);
    // The right key goes on where the wrong one stopped.
    let mut command = world.command();
    let done: crate::support::Ran =
        command.env("OPENAI_API_KEY", key).args(["run", "x.toml", "--out", "run"]).output().unwrap().into();
    let done = done.expect(0);
    for text in [&ran.stderr, &ran.stdout, &done.stderr, &done.stdout] {
        assert!(!text.contains(wrong) && !text.contains(key));
    }
    for secret in [key, wrong] {
        world.holds_nowhere(secret);
    }
}

#[test]
fn a_server_that_is_not_there_stops_the_run_once_it_was_waited_for() {
    let world = world(Script::default());
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.write(
        "x.toml",
        &EXPERIMENT
            .replace("base_url = '{url}'", &format!("base_url = 'http://127.0.0.1:{port}/v1'\noutage_s = 2")),
    );
    let start = std::time::Instant::now();
    let ran = world.run(&["run", "x.toml", "--out", "run"]).expect(1);
    assert!(ran.stderr.contains("error: s: ") && ran.stderr.contains(&port.to_string()), "{}", ran.stderr);
    assert!(start.elapsed().as_secs() < 30);
    // The directory goes on being usable.
    world.experiment("x.toml", EXPERIMENT);
    world.run(&["run", "x.toml", "--out", "run"]).expect(0);
}

#[test]
fn a_context_that_is_too_long_is_counted_and_said() {
    let server = ServerScript { context_limit: Some(2000), ..ServerScript::default() };
    let world = world(Script { server, ..Script::default() });
    world.experiment("x.toml", &EXPERIMENT.replace("shots = [0, 2]", "shots = [0, 64]"));
    let ran = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(3);
    let results = ran.json();
    let last = crate::support::condition(&results, "none", 64);
    assert_eq!((last["samples"].as_u64(), last["verdicts"]["error"].as_u64()), (Some(2), Some(2)));
    assert_eq!(results["failures"][0]["kind"], "context_too_long");
    assert!(results["failures"].to_string().contains("2000"), "{results}");
    // A longer limit on another day: only what failed is asked.
    let again = World::new(Some(Script::default()));
    world.write(
        "x.toml",
        &EXPERIMENT.replace("shots = [0, 2]", "shots = [0, 64]").replace("{url}", again.url()),
    );
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!((results["asked"].as_u64(), results["reused"].as_u64()), (Some(6), Some(6)));
}

#[test]
fn two_processes_do_not_share_a_run_directory() {
    let server = ServerScript { latency_ms: 2000, ..ServerScript::default() };
    let world = world(Script { server, ..Script::default() });
    let mut first = world
        .command()
        .args(["run", "x.toml", "--out", "run"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while world.requests() == 0 {
        std::thread::yield_now();
    }
    let ran = world.run(&["run", "x.toml", "--out", "run"]).expect(1);
    assert!(ran.stderr.contains("another process is working on this run directory"), "{}", ran.stderr);
    assert!(first.wait().unwrap().success());
}

#[test]
fn answers_that_a_filter_withholds_are_counted_and_not_asked_again() {
    let server = ServerScript { content_filter: 1.0, ..ServerScript::default() };
    let world = world(Script { server, ..Script::default() });
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let first = crate::support::condition(&results, "none", 0);
    assert_eq!((first["samples"].as_u64(), first["verdicts"]["filtered"].as_u64()), (Some(2), Some(2)));
    assert!(first["em_rate"].is_null());
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(again["asked"], 0);
}

#[test]
fn calls_that_fail_for_good_are_counted_and_asked_again_next_time() {
    let server = ServerScript { refused_fields: vec!["top_p".to_owned()], ..ServerScript::default() };
    let world = world(Script { server, ..Script::default() });
    world.experiment("x.toml", &EXPERIMENT.replace("id = 's'", "id = 's'\nextra_body = { top_p = 0.9 }"));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(3).json();
    let first = crate::support::condition(&results, "none", 0);
    assert_eq!((first["samples"].as_u64(), first["verdicts"]["error"].as_u64()), (Some(2), Some(2)));
    assert_eq!(
        (results["failures"][0]["kind"].as_str(), results["asked"].as_u64()),
        (Some("bad_request"), Some(4))
    );
    let again = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(3).json();
    assert_eq!(again["asked"], 4);
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let world = world(Script::default());
    std::fs::create_dir(world.path("run")).unwrap();
    world.write("run/run.sqlite", "this is no database, and longer than a header of one hundred bytes would be, so that it is looked at");
    let ran = world.run(&["run", "x.toml", "--out", "run"]).expect(1);
    assert!(ran.stderr.contains("is not a Tiltmeter store"), "{}", ran.stderr);
}

/// A file system of a given size, mounted for as long as this lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount one.
    fn mount(at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1100k", "tmpfs"])
            .arg(&at)
            .stderr(std::process::Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        println!("skipped: a full disk, since this user may not mount a small one");
        None
    }

    fn grow(&self) {
        let grown =
            std::process::Command::new("mount").args(["-o", "remount,size=60m"]).arg(&self.0).status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let world = world(Script::default());
    let Some(disk) = SmallDisk::mount(world.path("disk")) else { return };
    let many = EXPERIMENT
        .replace("sets = ['q.yaml']", "replicates = 8")
        .replace("shots = [0, 2]", "shots = [0, 2, 4]");
    world.experiment("x.toml", &many);
    let ran = world.run(&["run", "x.toml", "--out", "disk/run", "--json"]).expect(1);
    assert!(
        ran.stderr.contains("error: the disk is full; what was stored before is intact"),
        "{}",
        ran.stderr
    );
    disk.grow();
    let results = world.run(&["run", "x.toml", "--out", "disk/run", "--json"]).expect(0).json();
    let (asked, reused) = (results["asked"].as_u64().unwrap(), results["reused"].as_u64().unwrap());
    // 32 questions, 8 answers each, at three k; each answer is scored twice.
    assert_eq!(asked + reused, 32 * 8 * 3 * 3);
    assert!(reused > 0);
}
