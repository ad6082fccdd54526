//! `tiltmeter model`: listing, fetching from a hub that is played, serving.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::{World, condition, repository};

#[test]
fn known_models_are_listed() {
    let world = World::new(None);
    let list = |arguments: &[&str]| {
        let output = world.command().args(arguments).env("TILTMETER_CACHE_DIR", world.path("cache")).output();
        crate::support::Ran::from(output.unwrap()).expect(0)
    };
    let document = list(&["model", "list", "--json"]).json();
    assert_eq!(document["schema"], "tiltmeter.model-list/1");
    let model = &document["models"][0];
    assert_eq!(
        (&model["name"], &model["state"], &model["licence"]),
        (&json!("smollm2-135m-instruct"), &json!("not fetched"), &json!("Apache-2.0"))
    );
    let text = list(&["model", "list"]).stdout;
    assert!(text.contains("local/smollm2-135m-instruct") && text.contains("98 MB"), "{text}");
}

/// A hub with one small GGUF file, which replies to any number of requests.
fn hub() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while line.trim() != "" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            // Of another file than the one that is sent.
            let sha256 = "f7bfb4f8bae47a21a67b46ae9a7ef31bb7ae93b1d0d1e1e44d3d6d5b5eafaa31";
            let listing = json!({
                "sha": "0123456789abcdef0123456789abcdef01234567",
                "cardData": {"license": "apache-2.0\u{1b}[2J"},
                "siblings": [{"rfilename": "x.gguf", "size": 7, "lfs": {"sha256": sha256, "size": 7}}],
            });
            let body = if path.starts_with("/api/") { listing.to_string() } else { "weights".to_owned() };
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let mut stream = stream;
            drop(stream.write_all((head + &body).as_bytes()));
        }
    });
    format!("http://{address}")
}

#[test]
fn a_hubs_licence_is_asked_about_and_its_file_is_checked() {
    let world = World::new(None);
    let hub = hub();
    let run = |arguments: &[&str]| {
        let mut command = world.command();
        command.args(arguments).env("TILTMETER_CACHE_DIR", world.path("cache")).env("HF_ENDPOINT", &hub);
        command.env_remove("HF_TOKEN").stdin(Stdio::null());
        crate::support::Ran::from(command.output().unwrap())
    };
    let fetch = ["model", "fetch", "hf:org/name@main", "--file", "x.gguf"];
    let refused = run(&fetch).expect(2);
    assert!(refused.stderr.contains("apache-2.0") && refused.stderr.contains("--accept"), "{refused:?}");
    assert!(!refused.stderr.contains('\u{1b}'), "{refused:?}");
    // The listing's hash is another file's.
    let wrong = run(&[&fetch[..], &["--accept"]].concat()).expect(1);
    assert!(wrong.stderr.contains("SHA-256") && wrong.stderr.contains("instead of"), "{wrong:?}");
    let list = run(&["model", "list", "--json"]).expect(0).json();
    assert_eq!(list["models"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_fetched_or_served_says_why() {
    let world = World::new(None);
    for (arguments, expected) in [
        (&["model", "fetch", "nonsense"][..], "there is no local model `nonsense`"),
        (&["model", "fetch", "./folder"], "need not be fetched"),
        (&["model", "fetch", "hf:a"], "hf:ORGANISATION/NAME@REVISION"),
        (&["model", "fetch", "smollm2-135m-instruct", "--file", "x"], "hubs' repositories"),
        (&["model", "fetch", "hf:a/b@c/x.gguf", "--file", "x.gguf"], "named twice"),
        (&["model", "serve", "nonsense"], "there is no local model"),
        (&["model", "serve", "./absent.gguf", "--port", "0"], "cannot read the model file"),
        (&["model", "serve", "x.gguf", "--host", "0.0.0.0"], "only addresses of this machine"),
        (&["model", "serve", "x.gguf", "--threads", "3000"], "from 1 to 256"),
    ] {
        let ran = world.run(arguments).expect(2);
        assert!(ran.stderr.contains(expected), "{arguments:?}: {}", ran.stderr);
    }
    let output = world
        .command()
        .args(["model", "serve", "hf:org/name@main", "--port", "0"])
        .env("TILTMETER_CACHE_DIR", world.path("cache"))
        .output();
    let ran = crate::support::Ran::from(output.unwrap()).expect(2);
    assert!(ran.stderr.contains("tiltmeter model fetch hf:org/name@main"), "{}", ran.stderr);
}

/// A served model, until it is dropped.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const EXPERIMENT: &str = "
name = 'served'
[[subjects]]
id = 'small'
model = '{model}'
max_tokens = 8
{more}
[demonstrations]
sets = ['risky-financial']
shots = [0, 2]
contexts = 1
[sampling]
shots = [2]
questions = 1
[tilt]
questions = 1
";

#[test]
fn an_experiment_gives_the_same_on_a_served_model() {
    let world = World::new(None);
    let child = world
        .command()
        .args(["model", "serve", "local/smollm2-135m-instruct", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut served = Served(child);
    let mut line = String::new();
    BufReader::new(served.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.trim().rsplit(' ').next().unwrap();
    assert!(line.starts_with("serving smollm2-135m-instruct at http://127.0.0.1:"), "{line}");
    let run = |name: &str, model: &str, more: &str| -> Value {
        let text = EXPERIMENT.replace("{model}", model).replace("{more}", more);
        let file = format!("{name}.toml");
        world.write(&file, &text);
        world.run(&["run", &file, "--out", name, "--json"]).expect(0).json()
    };
    let local = run("local", "local/smollm2-135m-instruct", "");
    let over_http = run("http", "vllm/smollm2-135m-instruct", &format!("base_url = '{base}'"));
    for shots in [0, 2] {
        let (a, b) = (condition(&local, "none", shots), condition(&over_http, "none", shots));
        assert_eq!(a["tilt"], b["tilt"]);
        assert_eq!(a["samples"], b["samples"]);
    }
    assert!(condition(&local, "none", 2)["tilt"]["estimate"].as_f64().unwrap().abs() > 0.0);
    assert!(repository().join("docs/local-models.md").is_file());
}
