//! One HTTP stack for all providers: the client, how its failures map to the taxonomy, and bodies that are
//! limited in size and time.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, TryStreamExt};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::error::{ErrorKind, ModelError};

/// The largest reply that is read, after decompression: far above any answer, far below a machine's memory.
pub(crate) const BODY_LIMIT: usize = 32 << 20;

/// A client for one server.
pub(crate) fn client(endpoint: &Endpoint) -> Result<Client, ModelError> {
    // reqwest is built without a provider of cryptography; a second installation changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("tiltmeter/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(endpoint.timeouts.connect)
        .tcp_nodelay(true)
        // A redirected POST would carry the prompt and the key to an address that nobody chose.
        .redirect(Policy::none());
    if !endpoint.base_url.is_encrypted() {
        // Reading the system's certificates takes time, and fails where there are none; nobody needs them here.
        builder = builder.tls_certs_only([]);
    }
    if endpoint.base_url.is_local() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        ModelError::new(ErrorKind::Unreachable, format!("cannot set up HTTP: {}", innermost(&error)))
    })
}

/// What the deepest cause of an error says; the outer ones repeat the address, which may hold credentials.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

/// A request that got no response.
pub(crate) fn send_error(endpoint: &Endpoint, error: &reqwest::Error) -> ModelError {
    let url = &endpoint.base_url;
    let cause = innermost(error);
    if error.is_connect() {
        let message = if error.is_timeout() {
            format!("cannot connect to {url} within {:?}", endpoint.timeouts.connect)
        } else {
            format!(
                "cannot connect to {url}: {cause}; check that the address is right and the server is running"
            )
        };
        ModelError::new(ErrorKind::Unreachable, message)
    } else if error.is_timeout() {
        ModelError::new(ErrorKind::TimedOut, format!("no reply from {url}: {cause}"))
    } else {
        ModelError::new(
            ErrorKind::Interrupted,
            format!("the connection to {url} broke before a reply: {cause}"),
        )
    }
}

/// A time limit passed.
pub(crate) fn timed_out(what: &str, limit: Duration) -> ModelError {
    ModelError::new(ErrorKind::TimedOut, format!("{what} within {limit:?}, the limit set for it"))
}

/// When the pieces of a streamed body must have come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The first one: until when, and the limit that this follows from.
    pub(crate) first: (Instant, Duration),
    /// Each further one: after how long.
    pub(crate) between: Duration,
}

/// The body in pieces. Ends with an error where the connection breaks, a piece is late or the body is longer than
/// `most` bytes.
pub(crate) fn body(
    response: Response,
    pace: Option<Pace>,
    most: usize,
) -> impl Stream<Item = Result<Bytes, ModelError>> {
    let state = (response, 0_usize, true);
    stream::try_unfold(state, move |(mut response, read, is_first)| async move {
        let piece = response.chunk();
        let piece = match pace {
            None => piece.await,
            Some(pace) if is_first => tokio::time::timeout_at(pace.first.0, piece)
                .await
                .map_err(|_| timed_out("no first byte of the reply", pace.first.1))?,
            Some(pace) => tokio::time::timeout(pace.between, piece)
                .await
                .map_err(|_| timed_out("the reply stopped: nothing more came", pace.between))?,
        };
        let Some(piece) = piece.map_err(|error| body_error(&error))? else { return Ok(None) };
        let read = read + piece.len();
        if read > most {
            let limit = most >> 20;
            return Err(ModelError::new(
                ErrorKind::MalformedReply,
                format!("the reply is longer than {limit} MiB; it was not read to its end"),
            ));
        }
        Ok(Some((piece, (response, read, false))))
    })
}

fn body_error(error: &reqwest::Error) -> ModelError {
    let cause = innermost(error);
    ModelError::new(
        ErrorKind::Interrupted,
        format!("the connection broke before the reply was whole: {cause}"),
    )
}

/// The whole body at once.
pub(crate) async fn collect(
    body: impl Stream<Item = Result<Bytes, ModelError>>,
) -> Result<Vec<u8>, ModelError> {
    body.try_fold(Vec::new(), |mut whole, piece| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    })
    .await
}
