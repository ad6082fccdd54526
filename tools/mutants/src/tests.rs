//! The tests of the built binaries, and running one of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::work::Work;

/// Address space of a test, in KiB: a mutant may ask for more and more.
const MEMORY: u64 = 4 << 20;
/// Signals of a limit of CPU time, soft and hard.
const OUT_OF_TIME: [i32; 2] = [24, 9];

/// One test.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) binary: PathBuf,
    pub(crate) name: String,
    /// CPU time of the unchanged crate, in milliseconds.
    pub(crate) milliseconds: u64,
    /// The mutants that it reaches.
    pub(crate) reached: BTreeSet<u32>,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed,
    TimedOut,
}

/// All tests, each run once without a mutant.
pub(crate) fn record(work: &Work, binaries: &[PathBuf]) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    let path = work.folder.join("reached");
    for binary in binaries {
        let ignored = names(binary, &["--ignored"])?;
        for name in names(binary, &[])?.into_iter().filter(|name| !ignored.contains(name)) {
            fs::write(&path, "")?;
            let before = cpu_milliseconds()?;
            let mut test = Test { binary: binary.clone(), name, milliseconds: 0, reached: BTreeSet::new() };
            let end = run(work, &test, 3600, &[("MUTANTS_REACHED", path.to_string_lossy().into_owned())])?;
            ensure!(end == End::Passed, "`{}` fails without a mutant", test.name);
            test.milliseconds = cpu_milliseconds()? - before;
            let reached = fs::read_to_string(&path)?;
            test.reached = reached.lines().map(str::parse).collect::<Result<_, _>>()?;
            tests.push(test);
        }
    }
    tests.sort_by_key(|test| test.milliseconds);
    Ok(tests)
}

fn names(binary: &PathBuf, arguments: &[&str]) -> Result<BTreeSet<String>> {
    let output = Command::new(binary).args(["--list", "--format", "terse"]).args(arguments).output()?;
    let text = String::from_utf8(output.stdout).context("names of tests")?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

fn cpu_milliseconds() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(u64::try_from(usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds())?)
}

/// Runs a test with a mutant. The limit is on CPU seconds, which do not depend on what else the machine does.
pub(crate) fn run_mutant(work: &Work, test: &Test, mutant: u32) -> Result<End> {
    let limit = 3 + test.milliseconds * 5 / 1000;
    run(work, test, limit, &[("MUTANT", mutant.to_string())])
}

fn run(work: &Work, test: &Test, seconds: u64, variables: &[(&str, String)]) -> Result<End> {
    let status = Command::new("sh")
        .args(["-c", "ulimit -t $0; ulimit -v $1; ulimit -c 0; shift; exec \"$@\""])
        .args([seconds.to_string(), MEMORY.to_string()])
        .arg(&test.binary)
        .args(["--exact", &test.name, "--test-threads=1", "--quiet"])
        .current_dir(work.package())
        .env("RAYON_NUM_THREADS", "1")
        // The same cases for every mutant, and no search for smaller ones.
        .env("PROPTEST_RNG_SEED", "1")
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
        .envs(variables.iter().cloned())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("failed to run a test")?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(End::Passed),
        (Some(126 | 127), _) => bail!("failed to start {}", test.binary.display()),
        (_, Some(signal)) if OUT_OF_TIME.contains(&signal) => Ok(End::TimedOut),
        _ => Ok(End::Failed),
    }
}
