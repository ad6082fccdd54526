//! Contexts that are stored in Gemini's cache by name.
//!
//! A stored context is whole messages: the system's, and the turns before the question. A request that refers to it
//! holds the question only, and the model sees the same prompt. Where the demonstrations stand in the question's own
//! message, that cannot be: what is stored would end a message where none ends, so that nothing is stored.
//!
//! Storing is never needed for an answer. Where it is refused, requests go out whole.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::prompt::Placement;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::body::GenerateContent;
use crate::body::BodyWriter;
use crate::error::{ErrorKind, ModelError};
use crate::http::BODY_LIMIT;
use crate::protocol::Client;
use crate::recent::Recent;
use crate::request::{ChatRequest, ChatResponse};
use crate::transport::Call;

/// Contexts whose names are kept. What falls out expires by itself.
const KEPT: usize = 256;
/// The least number of tokens that any model stores is 1,024, and few texts have more than one token for every two
/// bytes. Models with a higher limit refuse what is too short, which is remembered.
const LEAST_BYTES: usize = 2048;
/// A context is not referred to shortly before its time is over: the request is still on its way then.
const MARGIN: Duration = Duration::from_secs(10);
/// For how long a context is not stored after a failure that may pass.
const PAUSE: Duration = Duration::from_mins(1);
/// And after one that will not.
const LONG_PAUSE: Duration = Duration::from_hours(24);

/// A context with the system's message before it.
type Key = (ContentId, Option<Arc<str>>);

/// The contexts of a client.
pub(super) struct StoredContexts {
    url: Url,
    /// Such as `models/gemini-2.5-flash`.
    model: String,
    time_to_live: Duration,
    contexts: Recent<Key, Arc<Mutex<State>>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    New,
    Stored {
        name: Arc<str>,
        until: Instant,
        /// Tokens of the storing that no answer's usage has told of yet.
        unpaid: u64,
    },
    Refused {
        until: Instant,
    },
}

impl StoredContexts {
    pub(super) fn new(client: &Client<GenerateContent>, model: String, time_to_live: Duration) -> Self {
        let url = client.transport.url("/cachedContents");
        Self { url, model, time_to_live, contexts: Recent::new(KEPT) }
    }

    /// Asks, referring to the stored context where there is one.
    pub(super) async fn chat(
        &self,
        client: &Client<GenerateContent>,
        request: &ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        // Once more where the server has lost it, which includes that it was deleted by hand.
        for _ in 0..2 {
            let Some(state) = self.state(request) else { break };
            let Some(name) = self.name(client, request, &state).await else { break };
            match client.chat_after(request, Some(&name)).await {
                Ok(mut response) => {
                    if let State::Stored { unpaid, .. } = &mut *state.lock().await {
                        let written = std::mem::take(unpaid);
                        response.usage.input_tokens += written;
                        response.usage.cache_write_tokens += written;
                    }
                    return Ok(response);
                }
                Err(error) if is_gone(&error) => forget(&state, &name).await,
                Err(error) => return Err(error),
            }
        }
        client.chat(request).await
    }

    /// The state of a request's context; `None` where it cannot or need not be stored.
    fn state(&self, request: &ChatRequest) -> Option<Arc<Mutex<State>>> {
        let prompt = &request.prompt;
        let context = &prompt.context;
        let bytes = match context.placement {
            Placement::FirstUser => 0,
            Placement::System => context.text.len(),
            Placement::ChatTurns => context.turns.iter().map(|turn| turn.text.len()).sum(),
        };
        let key = (context.id, prompt.system.clone());
        (bytes >= LEAST_BYTES).then(|| self.contexts.get(key, Arc::default))
    }

    /// The name of a stored context, which whoever needs it first stores while others wait.
    async fn name(
        &self,
        client: &Client<GenerateContent>,
        request: &ChatRequest,
        state: &Mutex<State>,
    ) -> Option<Arc<str>> {
        let mut state = state.lock().await;
        match &*state {
            State::Stored { name, until, .. } if Instant::now() < *until => return Some(Arc::clone(name)),
            State::Refused { until } if Instant::now() < *until => return None,
            State::New | State::Stored { .. } | State::Refused { .. } => {}
        }
        // Tokens of an earlier storing are still to be told of.
        let before = if let State::Stored { unpaid, .. } = &*state { *unpaid } else { 0 };
        let begun = Instant::now();
        match self.store(client, request).await {
            Ok((name, tokens)) => {
                let until = begun + self.time_to_live.saturating_sub(MARGIN);
                *state = State::Stored { name: Arc::clone(&name), until, unpaid: before + tokens };
                Some(name)
            }
            Err(error) => {
                let pause = if error.kind == ErrorKind::BadRequest { LONG_PAUSE } else { PAUSE };
                *state = State::Refused { until: Instant::now() + pause };
                None
            }
        }
    }

    /// Stores a context, and gives its name and its tokens.
    async fn store(
        &self,
        client: &Client<GenerateContent>,
        request: &ChatRequest,
    ) -> Result<(Arc<str>, u64), ModelError> {
        let prompt = client.contexts.shown(&request.prompt);
        let mut writer = BodyWriter::default();
        writer.raw("{\"model\":");
        writer.json(&self.model);
        if let Some(system) = &prompt.system {
            writer.raw(",\"systemInstruction\":{\"parts\":[{\"text\":\"");
            prompt.write(&system.parts, &mut writer);
            writer.raw("\"}]}");
        }
        // Without the comma behind the last one.
        let turns = &prompt.shared.turns;
        if !turns.is_empty() {
            writer.raw(",\"contents\":[");
            writer.shared(&turns.slice(..turns.len() - 1));
            writer.raw("]");
        }
        writer.raw(&format!(",\"ttl\":\"{}s\"}}", self.time_to_live.as_secs()));
        let call = Call::post(self.url.clone(), writer.finish()?);
        let stored = client.transport.call_json(call, "a stored context", BODY_LIMIT).await?;
        let name = stored.get("name").and_then(Value::as_str).ok_or_else(|| {
            client.transport.malformed("the reply is not a stored context", stored.to_string().as_bytes())
        })?;
        let tokens = stored.pointer("/usageMetadata/totalTokenCount").and_then(Value::as_u64);
        Ok((name.into(), tokens.unwrap_or(0)))
    }
}

/// Whether an error says that the stored context is not there: Gemini answers 403 for one that has expired.
fn is_gone(error: &ModelError) -> bool {
    let message = error.message.to_lowercase();
    let is_about_it = message.contains("cachedcontent") || message.contains("cached content");
    let kind = matches!(error.kind, ErrorKind::Unauthorised | ErrorKind::NotFound | ErrorKind::BadRequest);
    kind && is_about_it
}

/// Others may have stored it anew in the meantime.
async fn forget(state: &Mutex<State>, gone: &str) {
    let mut state = state.lock().await;
    if let State::Stored { name, until, .. } = &mut *state
        && **name == *gone
    {
        *until = Instant::now();
    }
}
