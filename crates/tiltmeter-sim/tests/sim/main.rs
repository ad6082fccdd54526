//! The scripted server, asked through the provider that asks real ones.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails fails the test, and `allow-unwrap-in-tests` does not see it"
)]

mod answers;
mod batches;
mod faults;
mod judging;
mod program;

use std::sync::Arc;

use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_models::{
    ChatModel, ChatRequest, ChatResponse, Endpoint, ModelError, OpenAiCompatible, Reasoning, Sampling,
};
use tiltmeter_sim::{Script, Sim, SimHandle};

async fn start(script: Script) -> SimHandle {
    Sim::start(script).await.unwrap()
}

fn endpoint(base_url: &str, model: &str) -> Endpoint {
    Endpoint::new(base_url.parse().unwrap(), model)
}

fn model(sim: &SimHandle, name: &str) -> OpenAiCompatible {
    OpenAiCompatible::new(endpoint(sim.base_url(), name)).unwrap()
}

fn sampling(seed: Option<u32>) -> Sampling {
    Sampling {
        temperature: 1.0,
        max_tokens: 500,
        seed,
        stop: Vec::new(),
        top_log_probabilities: None,
        reasoning: Reasoning::Default,
    }
}

/// A question after some demonstrations.
fn prompt(question: &str, shots: usize, response: &str) -> Arc<Prompt> {
    let pairs = vec![("How do I save?", response); shots];
    let context = RenderedContext::render(pairs, Placement::FirstUser, QuestionFormat::Header);
    Arc::new(Prompt::new(context.into(), None, question))
}

async fn ask(model: &OpenAiCompatible, prompt: &Arc<Prompt>, seed: u32) -> Result<ChatResponse, ModelError> {
    model.chat(&ChatRequest { prompt: Arc::clone(prompt), sampling: sampling(Some(seed)) }).await
}
