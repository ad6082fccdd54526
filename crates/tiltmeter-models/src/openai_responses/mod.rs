//! The provider for OpenAI's Responses API, which shows summaries of reasoning where chat completions do not.
//!
//! Nothing is kept on the server: every request says `store: false`.

mod body;
mod reply;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::body::Responses;
use crate::batch::{BatchModel, OpenAiBatches};
use crate::endpoint::{Batches, Endpoint};
use crate::error::ModelError;
use crate::protocol::Client;
use crate::request::{ChatModel, ChatRequest, ChatResponse};
use crate::transport::{KeyHeader, Transport};

/// A model behind OpenAI's Responses API.
///
/// The protocol has no seed: where one is asked for, the reply names it as dropped. It has no stop texts either,
/// which changes nothing about the answer, as the engine cuts it.
pub struct OpenAiResponses {
    client: Arc<Client<Responses>>,
    batches: OpenAiBatches<Responses>,
}

impl fmt::Debug for OpenAiResponses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OpenAiResponses").field("client", &self.client).finish_non_exhaustive()
    }
}

impl OpenAiResponses {
    /// A model on a server, whose address goes up to and without `/responses`. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`OpenAiCompatible::new`](crate::OpenAiCompatible::new).
    pub fn new(endpoint: Endpoint) -> Result<Self, ModelError> {
        let transport = Transport::new(endpoint, KeyHeader::Bearer, &body::RESERVED)?;
        let url = transport.url("/responses");
        let client = Arc::new(Client::new(transport, url, Responses));
        Ok(Self { batches: OpenAiBatches::of_responses(&client), client })
    }

    /// Where the model is and how it is asked.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }
}

#[async_trait]
impl ChatModel for OpenAiResponses {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.client.chat(request).await
    }

    fn batch(&self) -> Option<&dyn BatchModel> {
        (self.endpoint().batches == Batches::Served).then_some(&self.batches)
    }
}
