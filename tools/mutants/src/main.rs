//! Mutation testing of one crate with all mutants of `cargo mutants` in one build. See README.md.

mod build;
mod list;
mod locate;
mod rewrite;
mod run;
mod tests;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use crate::build::Built;
use crate::run::{Outcome, Plan, verdicts};
use crate::work::Work;

/// Tests every mutant of a crate of the workspace that depends on no other crate of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The crate, a folder of `crates/`
    #[arg(default_value = "tiltmeter-stats")]
    package: String,
    /// The repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where the mutated copy, its build and the results are kept; a run that was ended goes on from here
    #[arg(long)]
    work: PathBuf,
    /// Processes at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Also test again what survived, for instance with tests that were added
    #[arg(long)]
    again: bool,
    /// Only tests that take fewer milliseconds of CPU time; what they leave over is left to a run without this
    #[arg(long)]
    quick: Option<u64>,
    /// Only build
    #[arg(long)]
    no_run: bool,
    /// Only files whose path contains this
    #[arg(long, default_value = "")]
    file: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.work).context("failed to make the work folder")?;
    let work = Work {
        root: arguments.root.canonicalize().context("the repository")?,
        package: arguments.package,
        folder: arguments.work.canonicalize().context("the work folder")?,
    };
    let mutants = list::list(&work.root, &work.package)?;
    let mut built = build::build(&work, &mutants)?;
    if !arguments.no_run {
        let recorded = tests::record(&work, &built.tests)?;
        for test in &recorded {
            println!("{:>7} ms {:>5} mutants {}", test.milliseconds, test.reached.len(), test.name);
        }
        built.mutants.retain(|_, mutant| mutant.file.to_string_lossy().contains(&arguments.file));
        built.left_out.retain(|number, _| built.mutants.contains_key(number));
        let plan = Plan { jobs: arguments.jobs, again: arguments.again, quick: arguments.quick };
        run::run(&work, &built, &recorded, &plan)?;
    }
    report(&work, &built)
}

fn report(work: &Work, built: &Built) -> Result<()> {
    for (number, why) in &built.left_out {
        println!("{why}: {}", built.mutants[number].name);
    }
    let verdicts = verdicts(work)?;
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    for (number, mutant) in &built.mutants {
        if let Some(verdict) = verdicts.get(&mutant.name).filter(|_| !built.left_out.contains_key(number)) {
            *counts.entry(verdict.outcome).or_default() += 1;
            if matches!(verdict.outcome, Outcome::Left | Outcome::Survived | Outcome::NotReached) {
                println!("{:?} {number}: {}", verdict.outcome, mutant.name);
            }
        }
    }
    println!("{} mutants, {} of them built", built.mutants.len(), built.mutants.len() - built.left_out.len());
    for (outcome, count) in counts {
        println!("{outcome:?}: {count}");
    }
    Ok(())
}
