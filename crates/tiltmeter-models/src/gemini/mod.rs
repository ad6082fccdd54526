//! The provider for Gemini's own protocol: `generateContent` and `streamGenerateContent`.
//!
//! Its endpoint of OpenAI's protocol says nothing of block reasons, thought summaries or thought tokens; this one
//! does.

mod body;
mod cache;
mod reply;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::body::GenerateContent;
use self::cache::StoredContexts;
use crate::batch::{BatchModel, GeminiBatches};
use crate::endpoint::{Batches, ContextCaching, Endpoint};
use crate::error::ModelError;
use crate::protocol::Client;
use crate::request::{ChatModel, ChatRequest, ChatResponse};
use crate::transport::{KeyHeader, Transport};

/// A model behind Gemini's own protocol.
///
/// Where the endpoint asks for it ([`ContextCaching::Explicit`]), a context is stored once by name, and its requests
/// refer to it. The first answer after that tells of the tokens that were stored, as `cache_write_tokens` and among
/// the tokens of its input, since they were paid for; what storage costs by the hour is in no answer. Batches do not
/// refer to stored contexts, which would be gone before most of them are answered.
pub struct Gemini {
    client: Arc<Client<GenerateContent>>,
    stored: Option<StoredContexts>,
    batches: GeminiBatches<GenerateContent>,
}

impl fmt::Debug for Gemini {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gemini").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Gemini {
    /// A model on a server, whose address goes up to and without `/models/…`. Nothing is sent yet. The key goes
    /// in a header, never in the address.
    ///
    /// # Errors
    /// As [`OpenAiCompatible::new`](crate::OpenAiCompatible::new).
    pub fn new(endpoint: Endpoint) -> Result<Self, ModelError> {
        let transport = Transport::new(endpoint, KeyHeader::Named("x-goog-api-key"), &body::RESERVED)?;
        let Endpoint { model, stream, .. } = &transport.endpoint;
        let method = if *stream { "streamGenerateContent" } else { "generateContent" };
        // `models/…` is what the list of models says; `tunedModels/…` are a user's own.
        let path = if model.contains('/') { model.clone() } else { format!("models/{model}") };
        let mut url = transport.url(&format!("/{path}:{method}"));
        if *stream {
            // Without it, a stream is one JSON list that comes in pieces.
            url.query_pairs_mut().append_pair("alt", "sse");
        }
        let caching = transport.endpoint.context_caching;
        let client = Arc::new(Client::new(transport, url, GenerateContent));
        let batches = GeminiBatches::new(&client, &path);
        let stored = match caching {
            ContextCaching::Implicit => None,
            ContextCaching::Explicit { time_to_live } => {
                Some(StoredContexts::new(&client, path, time_to_live))
            }
        };
        Ok(Self { client, stored, batches })
    }

    /// Where the model is and how it is asked.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }
}

#[async_trait]
impl ChatModel for Gemini {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        match &self.stored {
            None => self.client.chat(request).await,
            Some(stored) => stored.chat(&self.client, request).await,
        }
    }

    fn batch(&self) -> Option<&dyn BatchModel> {
        (self.endpoint().batches == Batches::Served).then_some(&self.batches)
    }
}
