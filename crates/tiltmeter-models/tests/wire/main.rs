//! The providers against a server that answers byte for byte as it is told to.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails fails the test, and `allow-unwrap-in-tests` does not see helpers"
)]

mod anthropic;
mod batch;
mod gemini;
mod gemini_stored;
mod golden_contexts;
mod golden_guard;
mod golden_treatments;
mod openai_compatible;
mod openai_responses;
mod scoring;
mod server;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_models::{
    Api, ChatModel, ChatRequest, Endpoint, ErrorKind, OpenAiCompatible, Reasoning, Sampling,
};

use crate::server::{Answer, Server};

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

fn open(api: Api, endpoint: Endpoint) -> Arc<dyn ChatModel> {
    api.open(endpoint).unwrap()
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

/// A request with two demonstrations and a system message.
fn with_context(placement: Placement) -> ChatRequest {
    let pairs = [("a \"quoted\"\tprompt\u{2028}", "an answer\u{1}"), ("b", "☕")];
    let prompt = Prompt::new(
        RenderedContext::render(pairs, placement, QuestionFormat::Header).into(),
        Some("Be kind.".into()),
        "I am bored.",
    );
    ChatRequest { prompt: prompt.into(), ..request() }
}

/// What a server says when it fails, and where that belongs.
#[derive(Debug, Deserialize)]
struct Failing {
    server: String,
    status: u16,
    #[serde(default)]
    headers: serde_json::Map<String, Value>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    text: String,
    kind: ErrorKind,
    message: Option<String>,
    retry_after_ms: Option<u64>,
    context_limit: Option<u64>,
}

/// Asks servers that fail in the ways of a fixture.
async fn check_failures(api: Api, cases: &str) {
    let cases: Vec<Failing> = serde_json::from_str(cases).unwrap();
    for case in cases {
        let headers: Vec<_> =
            case.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let body = case.body.as_ref().map_or(case.text.clone(), Value::to_string);
        let server = Server::start(vec![Answer::new(case.status, &headers, body.as_bytes())]).await;
        let error = open(api, endpoint(&server)).chat(&request()).await.unwrap_err();
        assert_eq!(error.kind, case.kind, "{case:?}: {error}");
        assert_eq!(error.status, Some(case.status), "{case:?}");
        assert_eq!(error.retry_after, case.retry_after_ms.map(Duration::from_millis), "{case:?}");
        assert_eq!(error.context_limit, case.context_limit, "{case:?}");
        if let Some(message) = &case.message {
            assert_eq!(&error.message, message, "{}", case.server);
        }
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(KEY) && !shown.contains("pass@") && !shown.contains("key=1"), "{shown}");
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}
