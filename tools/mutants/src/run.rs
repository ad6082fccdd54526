//! Runs the tests on every mutant, the cheapest first, until one fails.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::build::Built;
use crate::tests::{End, Test, run_mutant};
use crate::work::Work;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A test failed.
    Found,
    /// A test did not end, which counts as found.
    TimedOut,
    /// All quick tests that reach it passed; the others were not run.
    Left,
    /// All tests that reach it passed.
    Survived,
    /// No test reaches it.
    NotReached,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) mutant: String,
    pub(crate) outcome: Outcome,
    /// The test that failed.
    pub(crate) test: Option<String>,
}

const RESULTS: &str = "results.jsonl";

/// The last verdict on each mutant.
pub(crate) fn verdicts(work: &Work) -> Result<BTreeMap<String, Verdict>> {
    let path = work.folder.join(RESULTS);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let mut verdicts = BTreeMap::new();
    for line in fs::read_to_string(&path)?.lines() {
        // A run that was ended may have left half a line.
        if let Ok(verdict) = serde_json::from_str::<Verdict>(line) {
            verdicts.insert(verdict.mutant.clone(), verdict);
        }
    }
    Ok(verdicts)
}

/// What to run.
pub(crate) struct Plan {
    /// Processes at a time.
    pub(crate) jobs: usize,
    /// Also those that survived.
    pub(crate) again: bool,
    /// Only tests of fewer milliseconds.
    pub(crate) quick: Option<u64>,
}

/// Runs the mutants that have no verdict yet.
pub(crate) fn run(work: &Work, built: &Built, tests: &[Test], plan: &Plan) -> Result<()> {
    let known = verdicts(work)?;
    let is_open = |name: &str| match known.get(name).map(|verdict| verdict.outcome) {
        None => true,
        Some(Outcome::Survived | Outcome::NotReached) => plan.again,
        Some(Outcome::Left) => plan.again || plan.quick.is_none(),
        Some(Outcome::Found | Outcome::TimedOut) => false,
    };
    let open: Vec<u32> = built
        .mutants
        .iter()
        .filter(|(number, mutant)| !built.left_out.contains_key(number) && is_open(&mutant.name))
        .map(|(&number, _)| number)
        .collect();
    let path = work.folder.join(RESULTS);
    let results =
        OpenOptions::new().create(true).append(true).open(&path).context("failed to open the results")?;
    let shared = Shared {
        work,
        built,
        tests,
        known: &known,
        quick: plan.quick,
        results: Mutex::new(results),
        killers: Mutex::default(),
    };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.jobs)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while let Some(&number) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                        shared.judge(number)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Ok(())))
    })
}

struct Shared<'a> {
    work: &'a Work,
    built: &'a Built,
    tests: &'a [Test],
    known: &'a BTreeMap<String, Verdict>,
    quick: Option<u64>,
    results: Mutex<File>,
    /// The test that found the last mutant of a function, which is likely to find the next one.
    killers: Mutex<HashMap<String, usize>>,
}

impl Shared<'_> {
    fn judge(&self, number: u32) -> Result<()> {
        let mutant = &self.built.mutants[&number];
        let function = mutant.function.as_ref().map_or("", |function| &function.function_name);
        let function = format!("{} {function}", mutant.file.display());
        let mut reaching: Vec<usize> =
            (0..self.tests.len()).filter(|&index| self.tests[index].reached.contains(&number)).collect();
        let killer = self.killers.lock().ok().and_then(|killers| killers.get(&function).copied());
        if let Some(position) = reaching.iter().position(|&index| Some(index) == killer)
            && self.tests[reaching[position]].milliseconds < 1000
        {
            reaching[..=position].rotate_right(1);
        }
        let mut outcome = if reaching.is_empty() { Outcome::NotReached } else { Outcome::Survived };
        let mut by = None;
        for index in reaching {
            if self.quick.is_some_and(|quick| self.tests[index].milliseconds >= quick) {
                outcome = Outcome::Left;
                continue;
            }
            let end = run_mutant(self.work, &self.tests[index], number)?;
            if end != End::Passed {
                outcome = if end == End::Failed { Outcome::Found } else { Outcome::TimedOut };
                by = Some(self.tests[index].name.clone());
                if let Ok(mut killers) = self.killers.lock() {
                    killers.insert(function, index);
                }
                break;
            }
        }
        // What the other tests did not find before they do not find now.
        let before = self.known.get(&mutant.name).map(|verdict| verdict.outcome);
        if outcome == Outcome::Left && before == Some(Outcome::Survived) {
            outcome = Outcome::Survived;
        }
        let verdict = Verdict { mutant: mutant.name.clone(), outcome, test: by };
        if let Ok(mut results) = self.results.lock() {
            writeln!(results, "{}", serde_json::to_string(&verdict)?)?;
        }
        Ok(())
    }
}
