//! A file from a web server, going on where an earlier attempt broke off.

use std::io::Write;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, StatusCode, Url};
use tokio::time::timeout;

use super::Target;

/// Attempts in a row that bring nothing new, before the server is given up.
const FRUITLESS_ATTEMPTS: u32 = 2;

/// Why an attempt ended.
enum Failure {
    /// Asking again will not help.
    Final(String),
    /// The connection broke or stalled.
    Broken(String),
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or(""), url.path())
        }
        Err(_) => "an address that cannot be read".to_owned(),
    }
}

/// Downloads and checks a file. The error is the reason.
pub(super) async fn download(url: &str, target: &Target<'_>) -> Result<(), String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    // reqwest is built without a provider of cryptography; a second installation changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!("tiltmeter/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(target.timeouts.connect)
        // Lengths and ranges are those of the file, not of a compressed form of it.
        .no_gzip()
        .build()
        .map_err(|error| innermost(&error))?;
    let mut fruitless = 0;
    let mut is_resumed = length(target) > 0;
    loop {
        let before = length(target);
        target.progress.begin(&shown(url.as_str()), target.set.bytes);
        let result = attempt(&client, url.clone(), target).await;
        target.progress.finish();
        match result {
            Ok(()) => match target.check() {
                // What was there before may have come from elsewhere.
                Err(reason) if is_resumed => {
                    target
                        .progress
                        .note(&format!("what was fetched earlier does not fit ({reason}); starting anew"));
                    is_resumed = false;
                }
                checked => return checked,
            },
            Err(Failure::Final(reason)) => return Err(reason),
            Err(Failure::Broken(reason)) => {
                fruitless = if length(target) > before { 0 } else { fruitless + 1 };
                if fruitless >= FRUITLESS_ATTEMPTS {
                    return Err(reason);
                }
                target.progress.note(&format!("{reason}; trying again"));
            }
        }
    }
}

fn length(target: &Target<'_>) -> u64 {
    fs_err::metadata(target.part).map_or(0, |metadata| metadata.len())
}

async fn attempt(client: &Client, url: Url, target: &Target<'_>) -> Result<(), Failure> {
    let total = target.set.bytes;
    let fail = |error: std::io::Error| Failure::Final(error.to_string());
    let mut have = length(target);
    if have == total {
        return Ok(());
    }
    if have > total {
        have = 0;
    }
    let mut request = client.get(url);
    if have > 0 {
        // No If-Range: the hash tells whether the parts fit.
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let mut response = timeout(target.timeouts.first_byte, request.send())
        .await
        .map_err(|_| Failure::Broken(format!("no response within {:?}", target.timeouts.first_byte)))?
        .map_err(|error| {
            if error.is_connect() || error.is_redirect() || error.is_builder() {
                Failure::Final(innermost(&error))
            } else {
                Failure::Broken(innermost(&error))
            }
        })?;
    let status = response.status();
    let goes_on = status == StatusCode::PARTIAL_CONTENT;
    if goes_on {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        if have == 0 || range != Some(&format!("bytes {have}-{}/{total}", total - 1)) {
            drop(fs_err::remove_file(target.part));
            return Err(Failure::Broken(
                "the server sent another part of the file than was asked for".to_owned(),
            ));
        }
    } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
        drop(fs_err::remove_file(target.part));
        return Err(Failure::Broken("the server's file is shorter than what is there already".to_owned()));
    } else if status.is_server_error() {
        return Err(Failure::Broken(format!("the server says HTTP {status}")));
    } else if !status.is_success() {
        return Err(Failure::Final(format!("the server says HTTP {status}")));
    } else if let Some(length) = response.content_length()
        && length != total
    {
        return Err(Failure::Final(format!("the server's file has {length} bytes instead of {total}")));
    }

    let mut options = fs_err::OpenOptions::new();
    options.create(true).write(true);
    let mut file = if goes_on { options.append(true) } else { options.truncate(true) }
        .open(target.part)
        .map_err(fail)?;
    let mut written = if goes_on { have } else { 0 };
    target.progress.advance(written);
    loop {
        let piece = timeout(target.timeouts.stall, response.chunk())
            .await
            .map_err(|_| Failure::Broken(format!("nothing came for {:?}", target.timeouts.stall)))?
            .map_err(|error| Failure::Broken(format!("the connection broke: {}", innermost(&error))))?;
        let Some(piece) = piece else { break };
        written += piece.len() as u64;
        if written > total {
            drop(fs_err::remove_file(target.part));
            return Err(Failure::Final(format!("the server's file is longer than {total} bytes")));
        }
        file.write_all(&piece).map_err(fail)?;
        target.progress.advance(piece.len() as u64);
    }
    if written < total {
        return Err(Failure::Broken(format!("the connection ended after {written} of {total} bytes")));
    }
    Ok(())
}

/// What the deepest cause of an error says; the outer ones repeat the URL, which may hold credentials.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let kind = if error.is_timeout() { "no connection in time: " } else { "" };
    format!("{kind}{}", cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string))
}
