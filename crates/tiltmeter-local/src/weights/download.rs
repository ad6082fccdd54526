//! A file from a web server, going on where an earlier attempt broke off.

use std::io::Write;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::{FetchTimeouts, Target};

/// Attempts in a row that got no further than the ones before, until the server is given up.
const FRUITLESS_ATTEMPTS: u32 = 2;

/// How one is let in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Access<'a> {
    /// Sent to the first server, and not to those that it sends us to.
    pub(super) token: Option<&'a SecretString>,
}

impl Access<'_> {
    fn get(self, client: &Client, url: Url) -> RequestBuilder {
        let request = client.get(url);
        match self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }
}

fn client(timeouts: FetchTimeouts) -> Result<Client, String> {
    // reqwest is built without a provider of cryptography; a second installation changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("tiltmeter/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .build()
        .map_err(|error| innermost(&error))
}

/// A small document, up to so many bytes, and the status that it came with. The error is the reason.
pub(super) async fn small(
    url: &str,
    access: Access<'_>,
    timeouts: FetchTimeouts,
    most: usize,
) -> Result<(u16, Vec<u8>), String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let mut response = timeout(timeouts.first_byte, access.get(&client(timeouts)?, url).send())
        .await
        .map_err(|_| format!("no response within {:?}", timeouts.first_byte))?
        .map_err(|error| innermost(&error))?;
    let mut body = Vec::new();
    loop {
        let piece = timeout(timeouts.stall, response.chunk())
            .await
            .map_err(|_| format!("nothing came for {:?}", timeouts.stall))?
            .map_err(|error| format!("the connection broke: {}", innermost(&error)))?;
        let Some(piece) = piece else { return Ok((response.status().as_u16(), body)) };
        if body.len() + piece.len() > most {
            return Err(format!("the reply is longer than {most} bytes"));
        }
        body.extend_from_slice(&piece);
    }
}

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
        Err(_) => "a URL that cannot be read".to_owned(),
    }
}

/// Downloads and checks a file. The error is the reason.
pub(super) async fn download(url: &str, access: Access<'_>, target: &Target<'_>) -> Result<(), String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let client = client(target.timeouts)?;
    let mut fruitless = 0;
    let mut is_resumed = length(target) > 0;
    // A server that starts anew each time must get further than ever for its attempt to count.
    let mut furthest = length(target);
    loop {
        target.progress.begin(&shown(url.as_str()), Some(target.bytes));
        let result = attempt(access.get(&client, url.clone()), target).await;
        target.progress.finish();
        match result {
            Ok(()) => match target.check().await {
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
                fruitless = if length(target) > furthest { 0 } else { fruitless + 1 };
                furthest = furthest.max(length(target));
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

async fn attempt(mut request: RequestBuilder, target: &Target<'_>) -> Result<(), Failure> {
    let total = target.bytes;
    let fail = |error: std::io::Error| Failure::Final(error.to_string());
    let mut have = length(target);
    if have == total {
        return Ok(());
    }
    if have > total {
        have = 0;
    }
    if have > 0 {
        // No If-Range: the hash tells whether the parts fit.
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let mut response = timeout(target.timeouts.first_byte, request.send())
        .await
        .map_err(|_| Failure::Final(format!("no response within {:?}", target.timeouts.first_byte)))?
        .map_err(|error| Failure::Final(innermost(&error)))?;
    let status = response.status();
    let goes_on = status == StatusCode::PARTIAL_CONTENT;
    if goes_on {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        if have == 0 || range != Some(&format!("bytes {have}-{}/{total}", total - 1)) {
            // A part of another file, or another part than was asked for.
            drop(fs_err::remove_file(target.part));
            return Err(Failure::Broken(
                "the server sent another part of the file than was asked for".to_owned(),
            ));
        }
    } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
        drop(fs_err::remove_file(target.part));
        return Err(Failure::Broken("the server's file is shorter than what is there already".to_owned()));
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
