//! `tiltmeter guard`: served, reloaded, stopped, killed; its log verified.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::http::{read_message, serve};
use crate::support::{World, repository};

/// A server that answers each request alike, after some time.
fn upstream(answer: &'static str, after: Duration) -> String {
    let server = serve(move |_, _| {
        std::thread::sleep(after);
        ("200 OK", answer.to_owned())
    });
    format!("{server}/v1")
}

/// Head and body of an answer in text.
fn read_text(reader: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let (head, body) = read_message(reader)?;
    Some((head, String::from_utf8(body).ok()?))
}

/// A gateway at an address of this machine.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Gateway {
    pub(crate) fn start(world: &World, config: &str) -> Self {
        Self::start_with(world, config, &[])
    }

    pub(crate) fn start_with(world: &World, config: &str, arguments: &[&str]) -> Self {
        world.write("GUARD.toml", config);
        let mut child = world
            .command()
            .args(["guard", "--config", "GUARD.toml"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("guarding at http://").unwrap_or_else(|| panic!("{line}"));
        Self { address: address.strip_suffix("/v1").unwrap().to_owned(), child }
    }

    pub(crate) fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(&self.address).unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(connection: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.get_mut().write_all(format!("{head}{body}").as_bytes()).ok()?;
    read_text(connection)
}

pub(crate) fn config(base_url: &str, rest: &str) -> String {
    format!(
        "[server]\nlisten = '127.0.0.1:0'\n[[upstreams]]\nname = 'up'\nbase_url = '{base_url}'\ndefault = true\n{rest}"
    )
}

#[test]
fn the_example_is_a_configuration() {
    let world = World::new(None);
    let example = std::fs::read_to_string(repository().join("guard.example.toml")).unwrap();
    world.write("GUARD.toml", &example);
    let ran = world.run(&["guard", "check", "GUARD.toml"]).expect(0);
    assert!(
        ran.stdout.contains("upstream anthropic: https://api.anthropic.com/v1, with the clients' keys"),
        "{}",
        ran.stdout
    );
    let schema = world.run(&["guard", "schema"]).expect(0).json();
    assert_eq!(schema["properties"]["server"]["description"], "Where the gateway listens, and its limits.");
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_and_where() {
    let world = World::new(None);
    let cases = [
        ("GUARD.toml:9:1: unknown field `detectrs`\n  did you mean `detectors`?", "detectrs = []"),
        (
            "GUARD.toml:10:14: unknown detector `a`\n  there is no detector",
            "models = ['*']\ndetectors = ['a']",
        ),
        (
            "GUARD.toml:10:12: unknown value `blok`\n  did you mean `block`?",
            "models = ['*']\non_high = ['blok']",
        ),
        (
            "GUARD.toml:10:11: `fallback` needs the route's `fallback_model`",
            "models = ['*']\non_high = ['fallback']",
        ),
        ("GUARD.toml:9:11: `a*b` is neither a model nor a beginning", "models = ['a*b']"),
    ];
    for (expected, lines) in cases {
        let routes = format!("[[routes]]\nname = 'r'\n{lines}\n");
        world.write("GUARD.toml", &config("http://127.0.0.1:1/v1", &routes));
        let ran = world.run(&["guard", "check", "GUARD.toml"]).expect(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        let ran = world.run(&["guard", "--config", "GUARD.toml"]).expect(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    world.run(&["guard", "--config", "nowhere.toml"]).expect(2);
    world.run(&["guard"]).expect(2);
    world.run(&["guard", "verify", "."]).expect(2);
}

#[test]
fn paths_in_a_configuration_are_relative_to_it() {
    let world = World::new(None);
    std::fs::create_dir(world.path("etc")).unwrap();
    let rules = repository().join("crates/tiltmeter-guard/src/inspect/rules/rules.toml");
    world.write("etc/own.toml", &std::fs::read_to_string(rules).unwrap());
    let detector = "[[detectors]]\nname = 'd'\nkind = 'context'\nsettings = { rules = 'own.toml' }\n\
                    [[routes]]\nname = 'r'\nmodels = ['*']\ndetectors = ['d']\n[audit]\nfolder = 'log'\n";
    world.write("etc/GUARD.toml", &config("http://127.0.0.1:1/v1", detector));
    let ran = world.run(&["guard", "check", "etc/GUARD.toml"]).expect(0);
    assert!(ran.stdout.contains("audit log in etc/log"), "{}", ran.stdout);
    // The same file where the rules are not beside it.
    world.write("GUARD.toml", &config("http://127.0.0.1:1/v1", detector));
    let ran = world.run(&["guard", "check", "GUARD.toml"]).expect(2);
    assert!(ran.stderr.contains("own.toml"), "{}", ran.stderr);
}

#[test]
fn it_serves_reloads_and_stops() {
    let world = World::new(None);
    let mut gateway =
        Gateway::start(&world, &config(&upstream("one", Duration::ZERO), "[audit]\nfolder = 'log'\n"));
    let mut connection = gateway.connect();
    assert_eq!(ask(&mut connection).unwrap().1, "one");
    // A wrong configuration changes nothing, a right one the requests that follow.
    let mut errors = BufReader::new(gateway.child.stderr.take().unwrap());
    let mut line = String::new();
    world.write("GUARD.toml", "[server]\n");
    gateway.signal("-HUP");
    errors.read_line(&mut line).unwrap();
    assert!(line.contains("the configuration stays as it was"), "{line}");
    assert_eq!(ask(&mut connection).unwrap().1, "one");
    world.write("GUARD.toml", &config(&upstream("two", Duration::ZERO), "[audit]\nfolder = 'log'\n"));
    gateway.signal("-HUP");
    while !line.contains("was read again") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).unwrap(), 0);
    }
    assert_eq!(ask(&mut connection).unwrap().1, "two");
    gateway.signal("-TERM");
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
    let verified = world.run(&["guard", "verify", "log", "--json"]).expect(0).json();
    assert_eq!((&verified["schema"], &verified["records"]), (&"tiltmeter.audit-verify/1".into(), &6.into()));
    let head = verified["head"].as_str().unwrap();
    world.run(&["guard", "verify", "log", "--head", head]).expect(0);
    world.run(&["guard", "verify", "log", "--head", &"0".repeat(64)]).expect(1);
}

/// Has clients ask as fast as they can until so many are answered, and kills the gateway; gives the requests' ids.
fn answered_until_killed(gateway: &mut Gateway, answers: usize) -> Vec<String> {
    let answered = Arc::new(Mutex::new(Vec::new()));
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (mut connection, answered) = (gateway.connect(), Arc::clone(&answered));
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed)
                    && let Some((head, _)) = ask(&mut connection)
                {
                    let id =
                        head.lines().find_map(|line| line.strip_prefix("x-tiltmeter-request: ")).unwrap();
                    answered.lock().unwrap().push(id.to_owned());
                }
            })
        })
        .collect();
    while answered.lock().unwrap().len() < answers {
        std::thread::yield_now();
    }
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    answered.lock().unwrap().clone()
}

/// The requests that have a record of a kind.
fn requests_of(world: &World, kind: &str) -> BTreeSet<String> {
    let mut recorded = BTreeSet::new();
    for entry in std::fs::read_dir(world.path("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sqlite") {
            let log = rusqlite::Connection::open(path).unwrap();
            let mut statement = log.prepare("SELECT request FROM record WHERE kind = ?1").unwrap();
            let ids = statement.query_map([kind], |row| row.get::<_, String>(0)).unwrap();
            recorded.extend(ids.map(Result::unwrap));
        }
    }
    recorded
}

/// Each answer that anybody got has its record.
#[test]
fn killed_under_load_it_loses_no_record_of_an_answer() {
    let world = World::new(None);
    let audit = "[audit]\nfolder = 'log'\nwhen = 'before-answer'\nfile_bytes = 65536\n";
    let text = config(&upstream("one", Duration::ZERO), audit);
    let mut answered = Vec::new();
    for _ in 0..2 {
        let mut gateway = Gateway::start(&world, &text);
        answered.extend(answered_until_killed(&mut gateway, 200));
        world.run(&["guard", "verify", "log"]).expect(0);
    }
    let recorded = requests_of(&world, "decision");
    assert!(answered.len() >= 400);
    for id in &answered {
        assert!(recorded.contains(id), "{id} was answered and is not recorded");
    }
}

/// Answers are given faster than their judge judges, and the gateway is killed: what was not judged is told.
#[test]
fn killed_while_answers_wait_for_their_judge_it_tells_which_were_not_judged() {
    let world = World::new(None);
    let judge = upstream(
        r#"{"choices":[{"index":0,"message":{"content":"90"},"finish_reason":"stop"}]}"#,
        Duration::from_millis(40),
    );
    let model =
        upstream(r#"{"choices":[{"index":0,"message":{"content":"a fine answer"}}]}"#, Duration::ZERO);
    let rest = format!(
        "[audit]\nfolder = 'log'\nwhen = 'before-answer'\nfile_bytes = 65536\n\
         [[judges]]\nname = 'strict'\nmodel = 'openai/judge'\nbase_url = '{judge}'\nparallel = 2\nqueue = 50\n\
         [[routes]]\nname = 'all'\nmodels = ['*']\n[routes.judging]\njudge = 'strict'\nrate = 1.0\n"
    );
    let mut gateway = Gateway::start(&world, &config(&model, &rest));
    let answered = answered_until_killed(&mut gateway, 200);
    let verified = world.run(&["guard", "verify", "log", "--json"]).expect(0).json();
    let told = world.run(&["guard", "verify", "log"]).expect(0).stdout;
    let unjudged: BTreeSet<&str> =
        verified["unjudged"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let line = format!("{} answers that were to be judged were not", unjudged.len());
    assert!(told.contains(&line), "{told}");
    // Each answer that anybody got was to be judged, and was, or was dropped, or is told.
    let decisions = requests_of(&world, "decision");
    let judgements = requests_of(&world, "judgement");
    assert!(!judgements.is_empty() && !unjudged.is_empty());
    for id in &answered {
        assert!(decisions.contains(id), "{id} was answered and is not recorded");
        assert_ne!(judgements.contains(id), unjudged.contains(id.as_str()), "{id}");
    }
    // A gateway that stops as it should leaves none, and takes none of those before for its own.
    let mut gateway = Gateway::start(&world, &config(&model, &rest));
    for _ in 0..5 {
        ask(&mut gateway.connect()).unwrap();
    }
    gateway.signal("-TERM");
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
    let later = world.run(&["guard", "verify", "log", "--json"]).expect(0).json();
    assert_eq!(later["unjudged"], verified["unjudged"]);
}
