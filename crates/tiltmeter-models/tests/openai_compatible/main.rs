//! The provider against a server that answers byte for byte as it is told to.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails fails the test, and `allow-unwrap-in-tests` does not see helpers"
)]

mod errors;
mod replies;
mod requests;
mod server;

use std::sync::Arc;

use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ChatRequest, Endpoint, OpenAiCompatible, Reasoning, Sampling};

use crate::server::Server;

const KEY: &str = "sk-test-key";

fn endpoint(server: &Server) -> Endpoint {
    Endpoint { api_key: Some(KEY.into()), ..Endpoint::new(server.base_url.parse().unwrap(), "model-1") }
}

fn streamed(server: &Server) -> Endpoint {
    Endpoint { stream: true, ..endpoint(server) }
}

fn model(endpoint: Endpoint) -> OpenAiCompatible {
    OpenAiCompatible::new(endpoint).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        prompt: Arc::new(Prompt::single("I am bored.")),
        sampling: Sampling {
            temperature: 1.0,
            max_tokens: 500,
            seed: None,
            stop: Vec::new(),
            top_log_probabilities: None,
            reasoning: Reasoning::Default,
        },
    }
}
