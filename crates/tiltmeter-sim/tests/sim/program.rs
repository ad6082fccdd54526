//! The program.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use tiltmeter_models::OpenAiCompatible;

use crate::{ask, endpoint, prompt};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tiltmeter-sim");

/// Ends the program with the test, whatever the test's end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_prints_its_address_and_serves() {
    let mut script = tempfile::NamedTempFile::new().unwrap();
    script.write_all(b"misaligned = [[0, 0.0]]\n[server]\napi_key = 'unused'\n").unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("--script").arg(script.path()).args([
        "--port",
        "0",
        "--misaligned",
        "1.0",
        "--api-key",
        "sk-1",
    ]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut address = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let mut endpoint = endpoint(&address, "m");
    endpoint.api_key = Some("sk-1".into());
    let model = OpenAiCompatible::new(endpoint).unwrap();
    for (shots, tag) in [(0, "[sim: fine]"), (2, "[sim: harm]")] {
        let answer = ask(&model, &prompt("I am bored.", shots, "x"), 1).await.unwrap();
        assert!(answer.text.contains(tag), "{}", answer.text);
    }
}

#[test]
fn a_wrong_script_is_a_usage_error() {
    for arguments in [["--misaligned", "7"], ["--script", "/nowhere/script.toml"]] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.starts_with("error: failed to start: ") && output.stdout.is_empty(), "{errors}");
    }
}
