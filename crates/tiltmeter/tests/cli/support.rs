//! A folder, a scripted server, and the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tiltmeter_sim::{Script, Sim, SimHandle};
use tokio::runtime::Runtime;

/// A folder of its own for one test, with a server if wanted.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) sim: Option<SimHandle>,
    // Dropped last: the server runs on it.
    runtime: Runtime,
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as JSON; shows everything where it is not.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl World {
    pub(crate) fn new(script: Option<Script>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sim = script.map(|script| runtime.block_on(Sim::start(script)).unwrap());
        Self { folder: TempDir::new().unwrap(), sim, runtime }
    }

    /// A further server, which lives as long as its handle and this world.
    pub(crate) fn start_late(&self, script: Script) -> SimHandle {
        self.runtime.block_on(Sim::start(script)).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn url(&self) -> &str {
        self.sim.as_ref().unwrap().base_url()
    }

    /// The program, in this folder, with no key in its environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tiltmeter"));
        command.current_dir(self.folder.path()).env_remove("OPENAI_API_KEY");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.command().args(arguments).output().unwrap().into()
    }

    /// Starts a command and kills it once the server has had so many requests in all. Gives whether there was something to
    /// kill: it may have ended before.
    pub(crate) fn killed_at(&self, arguments: &[&str], requests: usize) -> bool {
        let sim = self.sim.as_ref().unwrap();
        let mut child =
            self.command().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while sim.recorded().len() < requests && start.elapsed() < Duration::from_secs(20) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::yield_now();
        }
        let runs = child.try_wait().unwrap().is_none();
        if runs {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        runs
    }

    /// Checks that no file in the folder holds a secret.
    #[track_caller]
    pub(crate) fn holds_nowhere(&self, secret: &str) {
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                let holds = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!holds, "{} holds {secret}", path.display());
            }
        }
    }

    /// Requests that the server has had.
    pub(crate) fn requests(&self) -> u64 {
        let counters = self.sim.as_ref().unwrap().counters();
        counters.subject_requests + counters.judge_requests
    }

    /// An experiment on the scripted server: `{url}` is its address.
    pub(crate) fn experiment(&self, name: &str, text: &str) -> PathBuf {
        self.write(name, &text.replace("{url}", self.url()))
    }
}

/// The conditions of a result, by control and k.
pub(crate) fn condition<'a>(results: &'a Value, control: &str, shots: u64) -> &'a Value {
    results["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["control"] == control && condition["shots"] == shots)
        .unwrap_or_else(|| panic!("no {control} at {shots} in {results}"))
}

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A file of the published data that lies beside the repository while it is developed; says so where it is not.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = repository().join("../shared/data").join(name);
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: {name} is not present");
    None
}
