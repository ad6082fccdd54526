//! The provider for Gemini's own protocol: `generateContent` and `streamGenerateContent`.
//!
//! Its endpoint of OpenAI's protocol says nothing of block reasons, thought summaries or thought tokens; this one
//! does.

mod body;
mod reply;

use async_trait::async_trait;

use self::body::GenerateContent;
use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::protocol::Client;
use crate::request::{ChatModel, ChatRequest, ChatResponse};
use crate::transport::{KeyHeader, Transport};

/// A model behind Gemini's own protocol.
#[derive(Debug)]
pub struct Gemini {
    client: Client<GenerateContent>,
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
        Ok(Self { client: Client::new(transport, url, GenerateContent) })
    }

    /// Where the model is and how it is asked.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }
}

#[async_trait]
impl ChatModel for Gemini {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.client.chat(request).await
    }
}
