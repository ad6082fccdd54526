//! The endpoint against the model itself, asked through the project's own client and by hand.

#![allow(missing_docs, reason = "tests")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod by_hand;
mod client;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_local::{LocalModel, LocalSettings, ModelSource};
use tiltmeter_serve::{ServeSettings, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The name that the model is served under.
const NAME: &str = "tiny";

/// A served model. Dropping it stops the server.
struct Place {
    model: LocalModel,
    base: String,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    client: reqwest::Client,
}

impl Place {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ServeSettings)) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tiltmeter-local/tests/fixtures/tiny-qwen3");
        let settings =
            LocalSettings { threads: Some(std::num::NonZeroUsize::MIN), ..LocalSettings::default() };
        let model = tiltmeter_local::open(&ModelSource::File(path), settings, &()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = ServeSettings::new(NAME);
        change(&mut settings);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let server = tokio::spawn(serve(model.clone(), listener, settings, stopped));
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { model, base, stop: Some(stop), server, client: reqwest::Client::new() }
    }

    /// Posts a body; the status and the reply.
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }

    /// The events of a streamed reply, without the last one, which must be `[DONE]`.
    async fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let response = self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        let mut data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.pop(), Some("[DONE]"));
        data.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

/// A chat of one message.
#[expect(clippy::needless_pass_by_value, reason = "it is written in place by all callers")]
fn chat(text: &str, more: Value) -> Value {
    let mut body = json!({ "model": NAME, "messages": [{ "role": "user", "content": text }] });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn prompt(placement: Placement, question: &str) -> Arc<Prompt> {
    let pairs = [("hello there", "the other"), ("in the morning", "and then")];
    let context = RenderedContext::render(pairs, placement, QuestionFormat::Header);
    Arc::new(Prompt::new(context.into(), Some("Be there.".into()), question))
}
