//! `tiltmeter guard`: the gateway, its configuration and its audit log.

pub(crate) mod arguments;
mod detect;
mod serve;

use std::fmt::Write as _;
use std::path::Path;

use secrecy::SecretString;
use serde::Serialize;
use tiltmeter_guard::audit::{AuditError, Verified, verify};
use tiltmeter_guard::built_in;
use tiltmeter_guard::config::{self, Settings, Sources};

use self::arguments::{GuardArguments, GuardCheckArguments, GuardCommand, GuardVerifyArguments};
use super::data::print_json;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn guard(arguments: &GuardArguments) -> Result<Exit, Failure> {
    match &arguments.command {
        None => serve::serve(&arguments.serve),
        Some(GuardCommand::Check(arguments)) => check(arguments),
        Some(GuardCommand::Verify(arguments)) => verify_log(arguments),
        Some(GuardCommand::Schema) => {
            output::result(&config::schema());
            Ok(Exit::Done)
        }
        Some(GuardCommand::Detect(arguments)) => detect::detect(arguments),
    }
}

/// Reads a configuration, with the environment's keys.
fn read(path: &Path) -> Result<Settings, Failure> {
    let text = fs_err::read_to_string(path).map_err(Failure::configuration)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let sources = Sources {
        environment: &|name| std::env::var(name).ok(),
        folder,
        inspector: &|kind, settings| built_in::inspector(folder, kind, settings),
        output_check: &built_in::output_check,
    };
    config::read(&path.display().to_string(), &text, &sources).map_err(Failure::configuration)
}

fn check(arguments: &GuardCheckArguments) -> Result<Exit, Failure> {
    let settings = read(&arguments.config)?;
    let mut text = format!("{}: nothing wrong\nlistens at {}\n", arguments.config.display(), settings.listen);
    for upstream in &settings.upstreams {
        let key = if upstream.key.is_some() { "its own key" } else { "the clients' keys" };
        let _ = writeln!(text, "upstream {}: {}, with {key}", upstream.name, upstream.base);
    }
    for detector in settings.detectors() {
        let _ = writeln!(text, "detector {}: fails {}", detector.name, detector.on_failure.name());
    }
    for route in settings.routes() {
        if let Some(judging) = &route.judging {
            let (rate, from) = (100.0 * judging.sampling.rate, judging.sampling.always_from.name());
            let _ = writeln!(
                text,
                "route {}: {rate} % of answers are judged, and all from risk {from} on",
                route.name
            );
        }
    }
    let _ = match &settings.audit {
        Some(audit) => writeln!(text, "audit log in {}", audit.folder.display()),
        None => writeln!(text, "no audit log"),
    };
    output::result(&text);
    Ok(Exit::Done)
}

/// The document that `guard verify --json` prints.
#[derive(Serialize)]
struct VerifyDocument {
    schema: &'static str,
    #[serde(flatten)]
    verified: Verified,
}

fn verify_log(arguments: &GuardVerifyArguments) -> Result<Exit, Failure> {
    let secret = match &arguments.key_env {
        Some(name) => Some(
            std::env::var(name).map(|value| SecretString::from(value.trim().to_owned())).map_err(|_| {
                Failure::configuration(format!(
                    "the environment variable `{name}` is not set: it holds the chain's secret"
                ))
            })?,
        ),
        None => None,
    };
    let verified =
        verify(&arguments.log, secret.as_ref(), arguments.head.as_deref()).map_err(|error| match error {
            AuditError::Missing(_) | AuditError::Keyed { .. } | AuditError::Foreign(_) => {
                Failure::configuration(error)
            }
            _ => Failure::failed(error),
        })?;
    if arguments.json {
        print_json(&VerifyDocument { schema: "tiltmeter.audit-verify/1", verified })?;
        return Ok(Exit::Done);
    }
    let mut text = format!(
        "the chain holds: {} records in {} files, from {} to {}\n",
        verified.records, verified.files, verified.first, verified.last
    );
    if verified.removed_files > 0 {
        let _ = writeln!(text, "{} older files were removed, as the log records", verified.removed_files);
    }
    if verified.lost > 0 {
        let _ = writeln!(text, "{} records were lost, as the log records", verified.lost);
    }
    if !verified.unjudged.is_empty() {
        let _ = writeln!(
            text,
            "{} answers that were to be judged were not: the gateway was killed before, or is still at them (`--json` has the requests)",
            verified.unjudged.len()
        );
    }
    let _ = writeln!(text, "head {}", verified.head);
    output::result(&text);
    Ok(Exit::Done)
}
