//! A connected model whose calls are repeated, paced and paid for as those of a run are, for whoever asks outside one.

use std::sync::Arc;

use async_trait::async_trait;
use tiltmeter_models::{ChatModel, ChatRequest, ChatResponse, ModelError, ScoreRequest, TextScore};
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::calling::{Calling, RetryPolicy};
use crate::connect::Model;
use crate::event::Observer;
use crate::meter::Meter;

/// A model that is asked patiently.
pub struct PatientModel {
    model: Model,
    policy: RetryPolicy,
    budget: Arc<Budget>,
    observer: Arc<dyn Observer>,
    meter: Meter,
    now: fn() -> jiff::Timestamp,
    stop: CancellationToken,
}

impl PatientModel {
    /// Takes a connected model; `stop` ends the patience.
    pub fn new(
        model: Model,
        policy: RetryPolicy,
        budget: Arc<Budget>,
        observer: Arc<dyn Observer>,
        now: fn() -> jiff::Timestamp,
        stop: CancellationToken,
    ) -> Self {
        Self { model, policy, budget, observer, meter: Meter::default(), now, stop }
    }

    fn calling(&self, id: tiltmeter_core::id::ContentId) -> Calling<'_> {
        Calling {
            policy: self.policy,
            model: &self.model,
            observer: &*self.observer,
            budget: &self.budget,
            meter: &self.meter,
            now: self.now,
            stop: &self.stop,
            id,
            seed: id.generator_seed(),
        }
    }
}

#[async_trait]
impl ChatModel for PatientModel {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.calling(request.prompt.id()).chat(request).await.result
    }

    fn can_score(&self) -> bool {
        self.model.can_score
    }

    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        self.calling(request.prompt.id()).score(request).await.result
    }
}
