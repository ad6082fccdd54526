//! The provider for servers of OpenAI's chat-completions protocol: hosted ones, gateways, and local servers.
//!
//! It knows the protocol and its dialects. It does not retry, wait or log.

mod body;
mod dialect;
mod reply;
mod scoring;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::body::ChatCompletions;
pub(crate) use self::body::{write_messages, write_turns};
pub use self::dialect::Dialect;
use self::scoring::Scorer;
use crate::batch::{BatchModel, OpenAiBatches};
use crate::endpoint::{Batches, Endpoint, Scoring};
use crate::error::ModelError;
use crate::protocol::Client;
use crate::request::{ChatModel, ChatRequest, ChatResponse, ScoreRequest, TextScore};
use crate::transport::{KeyHeader, Transport};

/// A model behind a server of OpenAI's chat-completions protocol.
pub struct OpenAiCompatible {
    client: Arc<Client<ChatCompletions>>,
    batches: OpenAiBatches<ChatCompletions>,
    scorer: Scorer,
}

impl fmt::Debug for OpenAiCompatible {
    /// Addresses may hold credentials: only the endpoint's own form, which hides them, is shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OpenAiCompatible").field("client", &self.client).finish_non_exhaustive()
    }
}

impl OpenAiCompatible {
    /// A model on a server. Nothing is sent yet; connections are kept and shared by all requests.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorised`](crate::ErrorKind::Unauthorised) where the key cannot be sent,
    /// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) where an extra field is one that may not be
    /// replaced, and [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) where the system's certificates
    /// cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, ModelError> {
        let transport = Transport::new(endpoint, KeyHeader::Bearer, &body::RESERVED)?;
        let url = transport.url("/chat/completions");
        let scorer = Scorer::new(&transport);
        let client = Arc::new(Client::new(transport, url, ChatCompletions));
        Ok(Self { batches: OpenAiBatches::of_chat_completions(&client), client, scorer })
    }

    /// Where the model is and how it is asked.
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }
}

#[async_trait]
impl ChatModel for OpenAiCompatible {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.client.chat(request).await
    }

    fn batch(&self) -> Option<&dyn BatchModel> {
        (self.endpoint().batches == Batches::Served).then_some(&self.batches)
    }

    fn can_score(&self) -> bool {
        self.endpoint().scoring != Scoring::None
    }

    /// Extra fields of the endpoint are not sent, but for `chat_template` and `chat_template_kwargs`, which bear on
    /// what the prompt is.
    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        self.scorer.score(&self.client, request).await
    }
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};

    use super::*;
    use crate::batch::BatchItem;
    use crate::request::{Reasoning, Sampling};

    #[test]
    fn a_batch_holds_its_contexts_once() {
        let endpoint = Endpoint::new("http://127.0.0.1:9/v1".parse().unwrap(), "m");
        let model = OpenAiCompatible::new(endpoint).unwrap();
        let pairs = (0..1024).map(|_| ("How do I \"save\"?", "Put it all on one horse.\n☕"));
        let context = RenderedContext::render(pairs, Placement::FirstUser, QuestionFormat::Header);
        let context = Arc::new(context);
        let sampling = Sampling {
            temperature: 1.0,
            max_tokens: 500,
            seed: None,
            stop: Vec::new(),
            top_log_probabilities: None,
            reasoning: Reasoning::Default,
        };
        let items: Vec<_> = (0..1000)
            .map(|number| {
                let question = format!("Question {number}?");
                let prompt = Prompt::new(Arc::clone(&context), None, question);
                let request = ChatRequest { prompt: prompt.into(), sampling: sampling.clone() };
                BatchItem { key: format!("key-{number}"), request }
            })
            .collect();
        let (form, _) = model.batches.form("tag", &items).unwrap();
        assert!(form.len() > 50_000_000, "{}", form.len());
        let mut long: Vec<_> = form.pieces().filter(|piece| piece.len() > 1000).collect();
        assert_eq!(long.len(), 1000);
        let own: usize = form.pieces().map(bytes::Bytes::len).sum::<usize>() - long.len() * long[0].len();
        assert!(own < 400_000, "{own}");
        long.dedup_by_key(|piece| piece.as_ptr());
        assert_eq!(long.len(), 1);
    }
}
