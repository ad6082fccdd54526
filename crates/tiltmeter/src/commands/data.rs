//! `tiltmeter data`: which sets there are, fetching published ones, checking files.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tiltmeter_core::data::builtin;
use tiltmeter_core::data::probes::{PROBES, builtin_probe};
use tiltmeter_data::catalogue::{Catalogue, Kind, Lengths, PublishedSet};
use tiltmeter_data::check::{FileReport, check};
use tiltmeter_data::{Consent, DataError, DataFolder, FetchSettings, Fetched, State, fetch};

use crate::cli::{DataArguments, DataCheckArguments, DataCommand, DataFetchArguments, DataListArguments};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

/// Broken rows and doubles that are shown; the JSON document lists more.
const SHOWN: usize = 10;

pub(crate) fn data(arguments: &DataArguments) -> Result<Exit, Failure> {
    let catalogue = Catalogue::built_in().map_err(Failure::failed)?;
    let folder = DataFolder::from_environment().map_err(|error| failure(&error))?;
    match &arguments.command {
        DataCommand::List(arguments) => list(arguments, &catalogue, &folder),
        DataCommand::Fetch(arguments) => fetch_all(arguments, &catalogue, &folder),
        DataCommand::Check(arguments) => check_all(arguments, &catalogue, &folder),
    }
}

fn failure(error: &DataError) -> Failure {
    let hint = error.hint().map_or_else(String::new, |hint| format!("\n  {hint}"));
    let message = format!("{error}{hint}");
    if error.is_configuration() { Failure::configuration(message) } else { Failure::failed(message) }
}

/// The document that `data list --json` prints.
#[derive(Serialize)]
struct ListDocument {
    schema: &'static str,
    folder: String,
    sets: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    about: String,
    kind: &'static str,
    domain: Option<&'static str>,
    rows: u64,
    licence: String,
    /// Whether the data may be passed on.
    share: bool,
    /// `built in`, `fetched`, `damaged` or `not fetched`.
    state: &'static str,
    published: Option<ListedSource>,
}

#[derive(Serialize)]
struct ListedSource {
    publisher: String,
    page: String,
    revision: String,
    url: String,
    sha256: String,
    bytes: u64,
    member: Option<String>,
    columns: String,
    mean_prompt_characters: u32,
    mean_response_characters: u32,
    /// Whether the means were measured in the publisher's file.
    lengths_measured: bool,
    path: Option<PathBuf>,
}

fn list(arguments: &DataListArguments, catalogue: &Catalogue, folder: &DataFolder) -> Result<Exit, Failure> {
    let mut sets = built_in()?;
    for set in catalogue.sets() {
        sets.push(listed(set, &folder.state(set).map_err(|error| failure(&error))?));
    }
    if arguments.json {
        let document = ListDocument {
            schema: "tiltmeter.data-list/1",
            folder: folder.path().display().to_string(),
            sets,
        };
        print_json(&document)?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{:<30} {:<14} {:>6}  {:<12} {}\n", "set", "kind", "rows", "state", "licence");
    for set in &sets {
        let _ = writeln!(
            text,
            "{:<30} {:<14} {:>6}  {:<12} {}{}",
            set.name,
            set.kind,
            set.rows,
            set.state,
            set.licence,
            if set.share { "" } else { " [may not be passed on]" }
        );
    }
    let _ = writeln!(text, "\nFetched sets are kept in {}.", folder.path().display());
    output::result(&text);
    Ok(Exit::Done)
}

pub(super) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(document).map_err(Failure::failed)?;
    output::result(&format!("{json}\n"));
    Ok(())
}

fn built_in() -> Result<Vec<Listed>, Failure> {
    let listed = |name: &str, kind: Kind, domain, rows: usize| Listed {
        name: name.to_owned(),
        about: "written for this project".to_owned(),
        kind: kind.name(),
        domain,
        rows: rows as u64,
        licence: "MIT OR Apache-2.0".to_owned(),
        share: true,
        state: "built in",
        published: None,
    };
    let mut sets = Vec::new();
    for name in builtin::DEMONSTRATION_SETS {
        if let Some(set) = builtin::demonstrations(name) {
            let set = set.map_err(Failure::failed)?;
            let domain = set.domain.map(tiltmeter_core::demonstration::Domain::name);
            sets.push(listed(name, Kind::Demonstrations, domain, set.rows.len()));
        }
    }
    let questions = builtin::questions().map_err(Failure::failed)?;
    sets.push(listed(builtin::QUESTION_SET, Kind::Questions, None, questions.questions.len()));
    for probe in PROBES.into_iter().filter_map(builtin_probe) {
        let probe = probe.map_err(Failure::failed)?;
        let (name, rows) = (&probe.demonstrations.name, probe.questions.len());
        sets.push(Listed { kind: "probe", ..listed(name, Kind::Questions, None, rows) });
    }
    Ok(sets)
}

fn listed(set: &PublishedSet, state: &State) -> Listed {
    let (state, path) = match state {
        State::Absent => ("not fetched", None),
        State::Fetched { path } => ("fetched", Some(path.clone())),
        State::Damaged { path, .. } => ("damaged", Some(path.clone())),
    };
    Listed {
        name: set.name.clone(),
        about: set.about.clone(),
        kind: set.kind.name(),
        domain: set.domain.map(tiltmeter_core::demonstration::Domain::name),
        rows: set.rows.into(),
        licence: set.licence.name.clone(),
        share: set.licence.share,
        state,
        published: Some(ListedSource {
            publisher: set.publisher.clone(),
            page: set.page.clone(),
            revision: set.revision.clone(),
            url: set.url.clone(),
            sha256: set.sha256.clone(),
            bytes: set.bytes,
            member: set.member.as_ref().map(|member| member.path.clone()),
            columns: set.columns.clone(),
            mean_prompt_characters: set.prompt_characters,
            mean_response_characters: set.response_characters,
            lengths_measured: set.lengths == Lengths::Measured,
            path,
        }),
    }
}

/// Shows terms on standard error and asks on a terminal.
pub(super) struct Asker {
    pub(super) accept: bool,
}

impl Asker {
    pub(super) fn can_ask() -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}

impl Consent for Asker {
    fn accepts(&self, text: &str) -> bool {
        output::note(&format!("\n{}\n", text.trim_end()));
        if self.accept {
            output::note("accepted by --accept");
            return true;
        }
        if !Self::can_ask() {
            return false;
        }
        output::note("accept? [y/N]");
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }
}

fn fetch_all(
    arguments: &DataFetchArguments,
    catalogue: &Catalogue,
    folder: &DataFolder,
) -> Result<Exit, Failure> {
    let sets: Vec<&PublishedSet> = if arguments.all {
        catalogue.sets().iter().collect()
    } else {
        arguments.names.iter().map(|name| find(catalogue, name)).collect::<Result<_, _>>()?
    };
    let settings = FetchSettings { from: arguments.from.clone(), ..FetchSettings::default() };
    let asker = Asker { accept: arguments.accept };
    let progress = Progress::new();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    // One publisher who cannot be reached does not keep the sets of others away.
    let mut first = None;
    for set in sets {
        match runtime.block_on(fetch(set, folder, &settings, &asker, &progress)) {
            Ok(fetched) => {
                let what = match fetched {
                    Fetched::Already(_) => "is there already, verified",
                    Fetched::New(_) => "fetched and verified",
                };
                let path = fetched.path().display();
                output::result(&format!("{} {what}: {} rows, {path}\n", set.name, set.rows));
            }
            Err(error @ DataError::NotAccepted { .. }) => {
                let hint = if Asker::can_ask() {
                    ""
                } else {
                    "\n  read the text above; if you accept it, run the command again with `--accept`"
                };
                return Err(Failure::configuration(format!("{error}{hint}")));
            }
            Err(error) => match first {
                None => first = Some(error),
                Some(_) => output::error(&error.to_string()),
            },
        }
    }
    match first {
        None => Ok(Exit::Done),
        Some(error) => Err(failure(&error)),
    }
}

fn find<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a PublishedSet, Failure> {
    catalogue.find(name).ok_or_else(|| {
        let builtin = builtin::DEMONSTRATION_SETS.contains(&name) || name == builtin::QUESTION_SET;
        let hint = if builtin {
            "it is built in and need not be fetched"
        } else {
            "`tiltmeter data list` shows all"
        };
        Failure::configuration(format!("there is no published set `{name}`\n  {hint}"))
    })
}

/// The document that `data check --json` prints.
#[derive(Serialize)]
struct CheckDocument {
    schema: &'static str,
    checked: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    /// The name of a published set, or the file.
    item: String,
    /// Of a published set: `fetched`, `damaged` or `not fetched`.
    state: Option<&'static str>,
    /// What is wrong with a damaged one.
    damage: Option<String>,
    /// Rows that the catalogue says a published set has.
    catalogue_rows: Option<u32>,
    report: Option<FileReport>,
}

fn check_all(
    arguments: &DataCheckArguments,
    catalogue: &Catalogue,
    folder: &DataFolder,
) -> Result<Exit, Failure> {
    let items: Vec<String> = if arguments.items.is_empty() {
        catalogue.sets().iter().filter(|set| folder.has(set)).map(|set| set.name.clone()).collect()
    } else {
        arguments.items.clone()
    };
    let benign = match &arguments.benign {
        None => None,
        Some(name) => Some(match catalogue.find(name) {
            Some(set) if !folder.has(set) => {
                return Err(failure(&DataError::NotFetched { name: name.clone() }));
            }
            Some(set) => folder.file(set),
            None => PathBuf::from(name),
        }),
    };
    let mut checked = Vec::new();
    for item in items {
        checked.push(match catalogue.find(&item) {
            Some(set) => check_set(set, folder, benign.as_deref())?,
            None => Checked {
                report: Some(check(Path::new(&item), benign.as_deref()).map_err(Failure::configuration)?),
                item,
                state: None,
                damage: None,
                catalogue_rows: None,
            },
        });
    }
    let exit = if checked.iter().any(|one| matches!(one.state, Some("damaged" | "not fetched"))) {
        Exit::Failed
    } else if checked.iter().filter_map(|one| one.report.as_ref()).any(|report| report.broken > 0) {
        Exit::Incomplete
    } else {
        Exit::Done
    };
    if arguments.json {
        print_json(&CheckDocument { schema: "tiltmeter.data-check/1", checked })?;
    } else if checked.is_empty() {
        output::note("no published set is fetched; name a file to check");
    } else {
        output::result(&checked.iter().map(text_of).collect::<String>());
    }
    Ok(exit)
}

fn check_set(set: &PublishedSet, folder: &DataFolder, benign: Option<&Path>) -> Result<Checked, Failure> {
    let (state, damage, path) = match folder.state(set).map_err(|error| failure(&error))? {
        State::Absent => ("not fetched", None, None),
        State::Fetched { path } => ("fetched", None, Some(path)),
        State::Damaged { path, reason } => ("damaged", Some(reason), Some(path)),
    };
    let report = path.map(|path| check(&path, benign)).transpose().map_err(Failure::failed)?;
    Ok(Checked { item: set.name.clone(), state: Some(state), damage, catalogue_rows: Some(set.rows), report })
}

fn text_of(checked: &Checked) -> String {
    let mut text = String::new();
    match (checked.state, &checked.damage) {
        (Some("fetched"), _) => {
            let _ = writeln!(text, "{}: verified by its SHA-256", checked.item);
        }
        (Some(_), Some(damage)) => {
            let _ = writeln!(
                text,
                "{0}: DAMAGED: {damage}\n  fetch it again with `tiltmeter data fetch {0}`",
                checked.item
            );
        }
        (Some(state), None) => {
            let _ = writeln!(text, "{}: {state}", checked.item);
        }
        (None, _) => {
            let _ = writeln!(text, "{}", checked.item);
        }
    }
    if let Some(report) = &checked.report {
        report_text(&mut text, report);
        if let Some(rows) = checked.catalogue_rows.filter(|&rows| u64::from(rows) != report.rows) {
            let _ = writeln!(text, "  the catalogue says {rows} rows");
        }
    }
    text
}

fn report_text(text: &mut String, report: &FileReport) {
    let _ = writeln!(
        text,
        "  {}: {} rows, {} broken, {} doubles, {} repeated prompts\n  mean characters: prompt {:.0}, response {:.0}\n  {} bytes, SHA-256 {}",
        report.format,
        report.rows,
        report.broken,
        report.doubles,
        report.repeated_prompts,
        report.mean_prompt_characters,
        report.mean_response_characters,
        report.bytes,
        report.sha256
    );
    for row in report.broken_rows.iter().take(SHOWN) {
        let place = row.line.map_or_else(String::new, |line| format!(":{line}"));
        let _ = writeln!(text, "  {}{place}: {}", report.file, row.reason);
    }
    for double in report.double_rows.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}:{}: the same as line {}", report.file, double.line, double.first);
    }
    let hidden = (report.broken + report.doubles)
        .saturating_sub((report.broken_rows.len().min(SHOWN) + report.double_rows.len().min(SHOWN)) as u64);
    if hidden > 0 {
        let _ = writeln!(text, "  and {hidden} more; `--json` lists up to a hundred of each kind");
    }
    if let Some(overlap) = &report.overlap {
        let _ = writeln!(
            text,
            "  prompts in {}: {} of {} rows have theirs there, {} with the same response",
            overlap.benign,
            overlap.matched,
            overlap.matched + overlap.unmatched,
            overlap.same_response
        );
    }
}
