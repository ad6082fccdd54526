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
use crate::tools::Style;
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
struct State {
    stored: Option<Stored>,
    /// Until when nothing is stored, since it was refused.
    refused_until: Option<Instant>,
    /// Tokens of storing that no answer's usage has told of yet.
    unpaid: u64,
}

#[derive(Debug)]
struct Stored {
    name: Arc<str>,
    until: Instant,
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
        let Some(state) = self.state(request) else { return client.chat(request).await };
        let mut response = self.ask(client, request, &state).await?;
        let written = std::mem::take(&mut state.lock().await.unpaid);
        response.usage.input_tokens += written;
        response.usage.cache_write_tokens += written;
        Ok(response)
    }

    async fn ask(
        &self,
        client: &Client<GenerateContent>,
        request: &ChatRequest,
        state: &Mutex<State>,
    ) -> Result<ChatResponse, ModelError> {
        // Once more where the server has lost it, which includes that it was deleted by hand.
        for _ in 0..2 {
            let Some(name) = self.name(client, request, state).await else { break };
            match client.chat_after(request, Some(&name)).await {
                Err(error) if is_gone(&error) => forget(state, &name).await,
                outcome => return outcome,
            }
        }
        client.chat(request).await
    }

    /// The state of a request's context; `None` where it cannot or need not be stored.
    fn state(&self, request: &ChatRequest) -> Option<Arc<Mutex<State>>> {
        if self.time_to_live <= MARGIN {
            return None;
        }
        let prompt = &request.prompt;
        let context = &prompt.context;
        let bytes = match context.placement {
            Placement::FirstUser | Placement::Retrieved | Placement::Quoted => 0,
            Placement::System => context.text.len(),
            Placement::ChatTurns | Placement::ToolOutput => {
                context.turns.iter().map(|turn| turn.text.len()).sum()
            }
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
        let now = Instant::now();
        if let Some(stored) = state.stored.as_ref().filter(|stored| now < stored.until) {
            return Some(Arc::clone(&stored.name));
        }
        if state.refused_until.is_some_and(|until| now < until) {
            return None;
        }
        match self.store(client, request).await {
            Ok((name, tokens)) => {
                let until = now + self.time_to_live.saturating_sub(MARGIN);
                state.stored = Some(Stored { name: Arc::clone(&name), until });
                state.unpaid += tokens;
                Some(name)
            }
            Err(error) => {
                let pause = if error.kind == ErrorKind::BadRequest { LONG_PAUSE } else { PAUSE };
                state.refused_until = Some(Instant::now() + pause);
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
        writer.fields(&prompt.tool_fields(Style::Gemini));
        writer.raw(&format!(",\"ttl\":\"{}s\"}}", self.time_to_live.as_secs()));
        let call = Call::post(self.url.clone(), writer.finish()?);
        let stored: Value = client.transport.call_json(call, "a stored context", BODY_LIMIT).await?;
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
    if state.stored.as_ref().is_some_and(|stored| *stored.name == *gone) {
        state.stored = None;
    }
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::prompt::{Prompt, QuestionFormat, RenderedContext};

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::request::{Reasoning, Sampling};
    use crate::transport::{KeyHeader, Transport};

    #[tokio::test]
    async fn a_name_is_used_until_its_time_is_over() {
        // Nobody listens there, so that nothing can be stored.
        let endpoint = Endpoint::new("http://127.0.0.1:1/v1".parse().unwrap(), "m");
        let transport = Transport::new(endpoint, KeyHeader::Bearer, &[]).unwrap();
        let url = transport.url("/models/m:generateContent");
        let client = Client::new(transport, url, GenerateContent);
        let pairs = vec![("How do I save?", "Put it all on one horse."); 100];
        let context = RenderedContext::render(pairs, Placement::ChatTurns, QuestionFormat::Header);
        let prompt = Prompt::new(context.into(), None, "?");
        let sampling = Sampling {
            temperature: 1.0,
            max_tokens: 500,
            seed: None,
            stop: Vec::new(),
            top_log_probabilities: None,
            reasoning: Reasoning::Default,
        };
        let request = ChatRequest { prompt: prompt.into(), sampling };
        let hour = Duration::from_hours(1);
        let contexts = StoredContexts::new(&client, "models/m".to_owned(), hour);
        let state = contexts.state(&request).unwrap();
        let stored = |until| Some(Stored { name: "cachedContents/c".into(), until });

        state.lock().await.stored = stored(Instant::now() + hour);
        assert_eq!(contexts.name(&client, &request, &state).await.as_deref(), Some("cachedContents/c"));
        assert_eq!(state.lock().await.refused_until, None);

        *state.lock().await = State { stored: stored(Instant::now()), refused_until: None, unpaid: 7 };
        assert_eq!(contexts.name(&client, &request, &state).await, None);
        let state = state.lock().await;
        assert!(state.refused_until.is_some(), "storing it anew was tried");
        assert_eq!(state.unpaid, 7, "what was paid for is still to be told");

        let brief = StoredContexts::new(&client, "models/m".to_owned(), MARGIN);
        assert!(brief.state(&request).is_none());
    }
}
