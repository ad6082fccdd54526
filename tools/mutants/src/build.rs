//! Builds the crate with all of its mutants, leaving out those that do not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::list::{Mutant, Place};
use crate::locate::{Owner, Sites};
use crate::rewrite::{Choice, rewrite};
use crate::work::Work;

/// Rounds of compiling and leaving out.
const ROUNDS: usize = 60;

/// Why a mutant is not in the build.
pub(crate) const NO_SITE: &str = "no site";
pub(crate) const NOT_COMPILED: &str = "does not compile";

/// What is built.
pub(crate) struct Built {
    /// All mutants by number.
    pub(crate) mutants: BTreeMap<u32, Mutant>,
    /// Those that are not in it, and why.
    pub(crate) left_out: BTreeMap<u32, &'static str>,
    /// The test binaries.
    pub(crate) tests: Vec<PathBuf>,
}

/// Writes the mutated crate, leaves out what does not compile, and builds its tests.
pub(crate) fn build(work: &Work, mutants: &[Mutant]) -> Result<Built> {
    let mutants: BTreeMap<u32, Mutant> = (1..).zip(mutants.iter().cloned()).collect();
    copy_crate(work)?;
    // By name, so that they are remembered from one build to the next.
    let mut not_compiled: BTreeSet<String> = work.read_names("not-compiled.json")?;
    let mut repeated_names: BTreeSet<String> = work.read_names("repeated.json")?;
    let number_of = |names: &BTreeSet<String>| -> BTreeSet<u32> {
        mutants.iter().filter(|(_, mutant)| names.contains(&mutant.name)).map(|(&number, _)| number).collect()
    };
    for round in 0..ROUNDS {
        let (out, repeated) = (number_of(&not_compiled), number_of(&repeated_names));
        let placed = write_sources(work, &mutants, &out, &repeated)?;
        let failures = compile(work)?;
        eprintln!("round {round}: {} mutants, {} errors", placed.len(), failures.len());
        if failures.is_empty() {
            let left_out = mutants
                .keys()
                .filter(|number| !placed.contains(number))
                .map(|number| (*number, if out.contains(number) { NOT_COMPILED } else { NO_SITE }))
                .collect();
            let tests = build_tests(work)?;
            return Ok(Built { mutants, left_out, tests });
        }
        let mut sites: BTreeMap<PathBuf, Sites> = BTreeMap::new();
        let mut unowned = Vec::new();
        let before = not_compiled.len() + repeated_names.len();
        for failure in failures {
            let path = work.package().join(&failure.file);
            if !sites.contains_key(&path) {
                sites.insert(path.clone(), Sites::new(&fs::read_to_string(&path)?)?);
            }
            let owner = failure.places.iter().find_map(|&place| sites[&path].owner(place));
            let names = |numbers: &BTreeSet<u32>| -> Vec<String> {
                numbers.iter().map(|number| mutants[number].name.clone()).collect()
            };
            match owner {
                Some(Owner::Branch(number)) => not_compiled.extend(names(&BTreeSet::from([number]))),
                Some(Owner::Site(numbers)) if numbers.is_disjoint(&repeated) => {
                    repeated_names.extend(names(&numbers));
                }
                Some(Owner::Site(numbers)) => not_compiled.extend(names(&numbers)),
                None => unowned.push(failure.text),
            }
        }
        // What belongs to no mutant may go with what does.
        if not_compiled.len() + repeated_names.len() == before {
            bail!("errors that belong to no mutant:\n{}", unowned.join("\n"));
        }
        work.write("not-compiled.json", &not_compiled)?;
        work.write("repeated.json", &repeated_names)?;
    }
    bail!("still errors after {ROUNDS} rounds")
}

/// The crate alone in a workspace of its own, with one profile for all that tests are made of.
fn copy_crate(work: &Work) -> Result<()> {
    let text = fs::read_to_string(work.root.join("Cargo.toml"))?;
    let mut manifest: toml::Table = toml::from_str(&text)?;
    let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut);
    let workspace = workspace.context("the root has no workspace")?;
    workspace.remove("default-members");
    workspace.remove("exclude");
    let member = Path::new("crates").join(&work.package);
    workspace.insert("members".to_owned(), vec![member.to_string_lossy().into_owned()].into());
    // Checks of overflow as in the profile that tests have, with optimisation.
    let profile = toml::toml! {
        [dev]
        opt-level = 2
        debug = false
        incremental = true
    };
    manifest.insert("profile".to_owned(), profile.into());
    let scratch = work.scratch();
    fs::create_dir_all(&scratch)?;
    fs::write(scratch.join("Cargo.toml"), toml::to_string(&manifest)?)?;
    fs::copy(work.root.join("Cargo.lock"), scratch.join("Cargo.lock"))?;
    copy(&work.root.join(&member), &scratch.join(&member))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn write_sources(
    work: &Work,
    mutants: &BTreeMap<u32, Mutant>,
    out: &BTreeSet<u32>,
    repeated: &BTreeSet<u32>,
) -> Result<BTreeSet<u32>> {
    let mut files: BTreeMap<&Path, BTreeMap<u32, &Mutant>> = BTreeMap::new();
    for (&number, mutant) in mutants.iter().filter(|(number, _)| !out.contains(number)) {
        files.entry(&mutant.file).or_default().insert(number, mutant);
    }
    let mut placed = BTreeSet::new();
    for (file, mutants) in files {
        let source = fs::read_to_string(work.root.join(file))?;
        let (text, numbers) = rewrite(&source, &Choice { mutants, repeated })
            .with_context(|| format!("failed to rewrite {}", file.display()))?;
        write_if_changed(&work.scratch().join(file), &text)?;
        placed.extend(numbers);
    }
    let module = include_str!("../mutant.rs.in").replace("SIZE", &(mutants.len() + 1).to_string());
    write_if_changed(&work.package().join("src/mutant.rs"), &module)?;
    let lib = work.package().join("src/lib.rs");
    let text = fs::read_to_string(&lib)?;
    if !text.contains("mod mutant;") {
        fs::write(&lib, format!("{text}\nmod mutant;\n"))?;
    }
    Ok(placed)
}

/// Compilers look at times of files.
fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// An error of the compiler.
struct Failure {
    /// Relative to the package.
    file: PathBuf,
    /// Primary places first.
    places: Vec<Place>,
    text: String,
}

fn cargo(work: &Work, arguments: &[&str]) -> Result<(bool, Vec<Value>)> {
    let output = Command::new("cargo")
        .args(arguments)
        .arg("--message-format=json")
        .current_dir(work.package())
        .env("CARGO_TARGET_DIR", work.folder.join("target"))
        // Lints look at what mutants do, not at what was written.
        .env("RUSTFLAGS", "--cap-lints allow")
        .stderr(Stdio::inherit())
        .output()
        .context("failed to run cargo")?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok((output.status.success(), messages))
}

fn compile(work: &Work) -> Result<Vec<Failure>> {
    let (passed, messages) = cargo(work, &["check", "--lib", "--quiet"])?;
    let mut failures = Vec::new();
    for message in messages.iter().map(|message| &message["message"]) {
        let spans = message["spans"].as_array().map_or(&[][..], Vec::as_slice);
        if message["level"] != "error" || spans.is_empty() {
            continue;
        }
        let (primary, secondary): (Vec<&Value>, Vec<&Value>) =
            spans.iter().partition(|span| span["is_primary"] == true);
        let Some(file) = primary.first().and_then(|span| span["file_name"].as_str()) else { continue };
        let relative = Path::new("crates").join(&work.package);
        let file = Path::new(file);
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        let places = primary.iter().chain(&secondary).filter_map(|span| {
            Some(Place { line: number(&span["line_start"])?, column: number(&span["column_start"])? })
        });
        failures.push(Failure {
            file: file.strip_prefix(&relative).unwrap_or(file).to_owned(),
            places: places.collect(),
            text: message["rendered"].as_str().unwrap_or_default().to_owned(),
        });
    }
    ensure!(passed || !failures.is_empty(), "cargo failed without errors in the crate");
    Ok(failures)
}

fn build_tests(work: &Work) -> Result<Vec<PathBuf>> {
    let (passed, messages) = cargo(work, &["test", "--no-run", "--lib", "--tests"])?;
    ensure!(passed, "the tests do not build");
    let tests = messages.iter().filter(|message| message["reason"] == "compiler-artifact");
    let tests: BTreeSet<PathBuf> =
        tests.filter_map(|message| message["executable"].as_str()).map(PathBuf::from).collect();
    Ok(tests.into_iter().collect())
}
