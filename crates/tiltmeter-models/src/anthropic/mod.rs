//! The provider for Anthropic's own protocol, the messages API.
//!
//! Its endpoint of OpenAI's protocol has no prompt caching and shows no thoughts; this one has both.

mod body;
mod reply;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::body::Messages;
use crate::batch::{AnthropicBatches, BatchModel};
use crate::endpoint::{Batches, Endpoint};
use crate::error::ModelError;
use crate::protocol::Client;
use crate::request::{ChatModel, ChatRequest, ChatResponse};
use crate::transport::{KeyHeader, Transport};

/// The version of the protocol that is spoken here.
const VERSION: &str = "2023-06-01";

/// A model behind Anthropic's messages API.
///
/// The protocol has no seed and no log-probabilities: where they are asked for, the reply names them as dropped.
/// A model that thinks draws at temperature 1, so that another temperature is dropped as well.
pub struct Anthropic {
    client: Arc<Client<Messages>>,
    batches: AnthropicBatches<Messages>,
}

impl fmt::Debug for Anthropic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Anthropic").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Anthropic {
    /// A model on a server, whose address goes up to and without `/messages`. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`OpenAiCompatible::new`](crate::OpenAiCompatible::new).
    pub fn new(endpoint: Endpoint) -> Result<Self, ModelError> {
        let transport = Transport::new(endpoint, KeyHeader::Named("x-api-key"), &body::RESERVED)?
            .with_header("anthropic-version", VERSION);
        let url = transport.url("/messages");
        let client = Arc::new(Client::new(transport, url, Messages));
        Ok(Self { batches: AnthropicBatches::new(&client), client })
    }

    /// Where the model is and how it is asked.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }
}

#[async_trait]
impl ChatModel for Anthropic {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.client.chat(request).await
    }

    fn batch(&self) -> Option<&dyn BatchModel> {
        (self.endpoint().batches == Batches::Served).then_some(&self.batches)
    }
}
