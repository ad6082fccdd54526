//! Log-probabilities of given text, from servers of open-weight models.
//!
//! What is scored is the text and nothing else: every reply is checked against the tokens that were asked about,
//! and a boundary that no token keeps is an error, not an approximation.

mod echo;
mod prompt_tokens;

use bytes::Bytes;
use reqwest::Url;
use serde::de::DeserializeOwned;

use self::prompt_tokens::Tokens;
use super::body::ChatCompletions;
use crate::body::Body;
use crate::endpoint::Scoring;
use crate::error::{ErrorKind, ModelError};
use crate::protocol::Client;
use crate::request::{ScoreRequest, TextScore};
use crate::transport::Transport;

/// The longest reply that is read: each token of the prompt comes with a hundred bytes or so.
const BODY_LIMIT: usize = 256 << 20;

/// What scoring needs beside the client.
pub(super) struct Scorer {
    completions: Url,
    tokens: Tokens,
}

impl Scorer {
    pub(super) fn new(transport: &Transport) -> Self {
        Self { completions: sibling(transport, "/completions"), tokens: Tokens::new(transport) }
    }

    pub(super) async fn score(
        &self,
        client: &Client<ChatCompletions>,
        request: &ScoreRequest,
    ) -> Result<TextScore, ModelError> {
        let scoring = client.endpoint().scoring;
        if scoring == Scoring::None {
            return Err(ModelError::unsupported("this model does not give log-probabilities of given text"));
        }
        if request.continuation.is_empty() {
            return Err(ModelError::new(ErrorKind::BadRequest, "an empty text has no log-probability"));
        }
        let score = if scoring == Scoring::VllmTokens {
            self.tokens.score(&self.completions, client, request).await?
        } else {
            echo::score(&self.completions, client, request).await?
        };
        match score.token_log_probabilities.iter().find(|value| !value.is_finite()) {
            None => Ok(score),
            Some(value) => {
                let message = format!("the server gave {value} as a token's log-probability");
                Err(ModelError::new(ErrorKind::MalformedReply, message))
            }
        }
    }
}

/// An address beside that of chat completions, whether or not the base names it.
fn sibling(transport: &Transport, path: &str) -> Url {
    let mut url = transport.url("/chat/completions");
    let base = url.path().trim_end_matches("/chat/completions").to_owned();
    url.set_path(&format!("{base}{path}"));
    url
}

/// Asks, and reads the reply as JSON.
async fn ask<T: DeserializeOwned>(
    transport: &Transport,
    url: &Url,
    body: Body,
    what: &str,
) -> Result<T, ModelError> {
    let reply = fetch(transport, url, body, what).await?;
    serde_json::from_slice(&reply)
        .map_err(|_| transport.malformed(&format!("the reply is not {what}"), &reply))
}

async fn fetch(transport: &Transport, url: &Url, body: Body, what: &str) -> Result<Bytes, ModelError> {
    transport.fetch(url, body, BODY_LIMIT).await.map_err(|error| {
        if error.kind != ErrorKind::NotFound {
            return error;
        }
        // It may as well be the model that is not found: what the server says is kept.
        let message =
            format!("the server gives no {what} at {}, which scoring needs: {}", url.path(), error.message);
        ModelError { message, ..error }
    })
}
