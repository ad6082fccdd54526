//! A detector behind an address of the operator's own.
//!
//! It is sent the ids of examples, and their texts only where that is configured. What it does not answer for, answers late or
//! answers badly has no verdict: that is never taken for a clean one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tiltmeter_core::id::{Canonical, ContentId};

use super::detector::{DetectorError, ExampleDetector, Finding, Verdict};
use super::example::Example;

/// The largest answer that is read.
const MOST_BYTES: usize = 1 << 20;
/// The most letters of a word for what was found.
const CODE: usize = 48;

/// What the address is sent, and how.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where to send it.
    pub url: reqwest::Url,
    /// Whether texts are sent, rather than ids and lengths alone.
    pub sends_texts: bool,
    /// Examples in one request, at least 1.
    pub batch: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Sent as `Authorization: Bearer …`.
    pub key: Option<SecretString>,
    /// What the operator changes when what answers there changes: verdicts are kept under it.
    pub version: String,
}

/// Asks an address about examples.
pub struct Webhook {
    client: reqwest::Client,
    settings: WebhookSettings,
    identity: ContentId,
}

/// The web hook cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No client for it.
    #[error("cannot set up HTTP for the web hook: {0}")]
    Client(String),
    /// The key cannot be sent.
    #[error("the key of the web hook holds characters that no header can carry")]
    Key,
}

#[derive(Serialize)]
struct Asked<'a> {
    schema: &'static str,
    examples: Vec<AskedExample<'a>>,
}

#[derive(Serialize)]
struct AskedExample<'a> {
    id: String,
    kind: &'static str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
}

#[derive(Deserialize)]
struct Answer {
    verdicts: Vec<AnswerVerdict>,
}

#[derive(Deserialize)]
struct AnswerVerdict {
    id: String,
    score: f64,
    flagged: bool,
    #[serde(default)]
    codes: Vec<String>,
}

impl Webhook {
    /// A detector at an address.
    ///
    /// # Errors
    /// Where the system's certificates cannot be read, or the key cannot be sent.
    pub fn new(settings: WebhookSettings) -> Result<Self, WebhookError> {
        // reqwest is built without a provider of cryptography; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(key) = &settings.key {
            let value = format!("Bearer {}", key.expose_secret().trim());
            let mut value = HeaderValue::from_str(&value).map_err(|_| WebhookError::Key)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tiltmeter/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .default_headers(headers)
            // A redirected request would carry texts and key to an address that nobody chose.
            .redirect(Policy::none());
        if settings.url.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        if is_here(&settings.url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| WebhookError::Client(told(&error)))?;
        let identity = Canonical::new("tiltmeter.guard-webhook/1")
            .text(settings.url.as_str())
            .text(&settings.version)
            .integer(settings.sends_texts.into())
            .finish();
        Ok(Self { client, settings, identity })
    }

    async fn ask(&self, examples: &[&Example]) -> Result<HashMap<String, Verdict>, DetectorError> {
        let shows = self.settings.sends_texts;
        let asked = examples.iter().map(|example| AskedExample {
            id: example.id.0.to_string(),
            kind: example.kind.name(),
            bytes: example.content.len(),
            prompt: shows.then_some(&*example.content.prompt),
            response: shows.then_some(&*example.content.response),
        });
        let body = Asked { schema: "tiltmeter.guard-webhook/1", examples: asked.collect() };
        let sent = self.client.post(self.settings.url.clone()).json(&body).send().await;
        let mut response = sent.map_err(|error| failed(&error))?;
        if !response.status().is_success() {
            return Err(DetectorError::Failed(format!(
                "the web hook answers {}",
                response.status().as_u16()
            )));
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| failed(&error))? {
            if answer.len() + piece.len() > MOST_BYTES {
                return Err(DetectorError::Unusable("it is too long".to_owned()));
            }
            answer.extend_from_slice(&piece);
        }
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|error| DetectorError::Unusable(error.to_string()))?;
        let mut verdicts = HashMap::new();
        for verdict in answer.verdicts {
            if !(0.0..=1.0).contains(&verdict.score) {
                return Err(DetectorError::Unusable("a score is not from 0 to 1".to_owned()));
            }
            verdicts.insert(verdict.id.clone(), own(verdict));
        }
        Ok(verdicts)
    }
}

/// Whether an address is on this machine, which no proxy knows.
fn is_here(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// An error without the address, which may hold a key.
fn told(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

fn failed(error: &reqwest::Error) -> DetectorError {
    if error.is_timeout() { DetectorError::TimedOut } else { DetectorError::Failed(told(error)) }
}

/// Takes over a verdict. Words of others go into logs: only plain ones are taken as they are.
fn own(verdict: AnswerVerdict) -> Verdict {
    let plain = |code: &String| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=CODE).contains(&code.len()) && code.bytes().all(is_plain)
    };
    let code = |code: String| if plain(&code) { Cow::Owned(code) } else { Cow::Borrowed("webhook") };
    let mut findings: Vec<Finding> = verdict
        .codes
        .into_iter()
        .take(8)
        .map(|text| Finding { code: code(text), score: verdict.score })
        .collect();
    if verdict.flagged && findings.is_empty() {
        findings.push(Finding { code: Cow::Borrowed("webhook"), score: verdict.score });
    }
    Verdict { score: verdict.score, is_flagged: verdict.flagged, findings }
}

#[async_trait]
impl ExampleDetector for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn identity(&self) -> ContentId {
        self.identity
    }

    fn batch(&self) -> usize {
        self.settings.batch
    }

    async fn detect(&self, examples: &[&Example]) -> Vec<Result<Verdict, DetectorError>> {
        let answered = self.ask(examples).await;
        let result = |example: &&Example| match &answered {
            Ok(verdicts) => verdicts
                .get(&example.id.0.to_string())
                .cloned()
                .ok_or_else(|| DetectorError::Unusable("it leaves the example out".to_owned())),
            Err(error) => Err(error.clone()),
        };
        examples.iter().map(result).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use serde_json::{Value, json};

    use super::super::example::{Content, ExampleKind};
    use super::*;

    type Seen = Arc<Mutex<Vec<(Option<String>, Value)>>>;

    /// A server on loopback whose answer is made from what it is sent.
    async fn serve(
        answer: impl Fn(&Value) -> (StatusCode, String) + Clone + Send + Sync + 'static,
    ) -> (String, Seen) {
        let seen = Seen::default();
        let kept = seen.clone();
        let handler = move |headers: HeaderMap, body: String| async move {
            let body: Value = serde_json::from_str(&body).unwrap();
            let key = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            let answer = answer(&body);
            kept.lock().unwrap().push((key, body));
            if answer.1 == "never" {
                std::future::pending::<()>().await;
            }
            answer
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/check?token=secret", listener.local_addr().unwrap());
        let router = Router::new().route("/check", post(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, seen)
    }

    fn webhook(url: &str, sends_texts: bool) -> Webhook {
        Webhook::new(WebhookSettings {
            url: url.parse().unwrap(),
            sends_texts,
            batch: 8,
            timeout: Duration::from_millis(300),
            key: Some(SecretString::from("k".to_owned())),
            version: "1".to_owned(),
        })
        .unwrap()
    }

    fn example(response: &str) -> Example {
        let content = Content { prompt: "p".to_owned(), response: response.to_owned() };
        Example { id: content.id(), kind: ExampleKind::Pair, content, places: Vec::new() }
    }

    #[tokio::test]
    async fn verdicts_come_by_id_and_what_is_left_out_has_none() {
        let (url, seen) = serve(|body| {
            let id = &body["examples"][1]["id"];
            let verdicts = json!({"verdicts": [
                {"id": id, "score": 0.9, "flagged": true, "codes": ["bad-advice", "<b>hostile</b>"]},
                {"id": "other", "score": 0.1, "flagged": false},
            ]});
            (StatusCode::OK, verdicts.to_string())
        })
        .await;
        let (first, second) = (example("a"), example("b"));
        let results = webhook(&url, false).detect(&[&first, &second]).await;
        assert!(matches!(results[0], Err(DetectorError::Unusable(_))));
        let verdict = results[1].clone().unwrap();
        assert!(verdict.is_flagged);
        let codes: Vec<&str> = verdict.findings.iter().map(|finding| &*finding.code).collect();
        assert_eq!(codes, ["bad-advice", "webhook"]);
        webhook(&url, true).detect(&[&first, &second]).await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen[0].0.as_deref(), Some("Bearer k"));
        assert_eq!(seen[0].1["examples"][0]["bytes"], 2);
        assert!(seen[0].1["examples"][0].get("prompt").is_none());
        assert_eq!(seen[1].1["examples"][0]["response"], "a");
    }

    #[tokio::test]
    async fn late_broken_and_refusing_answers_are_errors_without_the_address() {
        let cases: [(StatusCode, &str); 5] = [
            (StatusCode::OK, "never"),
            (StatusCode::OK, "not JSON"),
            (StatusCode::OK, r#"{"verdicts":[{"id":"x","score":7,"flagged":false}]}"#),
            (StatusCode::INTERNAL_SERVER_ERROR, "{}"),
            (StatusCode::TEMPORARY_REDIRECT, "{}"),
        ];
        for (status, text) in cases {
            let (url, _) = serve(move |_| (status, text.to_owned())).await;
            let example = example("a");
            let results = webhook(&url, false).detect(&[&example]).await;
            let error = results[0].clone().unwrap_err();
            assert_eq!(error == DetectorError::TimedOut, text == "never", "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let nobody = webhook("http://127.0.0.1:1/?token=secret", false).detect(&[&example("a")]).await;
        let error = nobody[0].clone().unwrap_err();
        assert!(
            matches!(error, DetectorError::Failed(_)) && !error.to_string().contains("secret"),
            "{error}"
        );
    }
}
