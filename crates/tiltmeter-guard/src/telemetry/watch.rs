//! One request on its way to being told, and its place in traces after that.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::HeaderName;
use http::{HeaderMap, Uri};

use super::{AnswerFacts, Evaluation, ModelRequest, SharedFacts, SpanPlace, Telemetry};
use crate::config::Upstream;
use crate::conversation::Protocol;
use crate::inspecting::Found;
use crate::inspection::{Risk, RiskLevel, UncheckedReason};
use crate::judging::{Judgement, JudgingOutcome};
use crate::relay::{Ended, Outcome};

/// What of a caller's head is kept.
const CALLER: [HeaderName; 2] =
    [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Hosts whose dialect the conventions have a name for.
const PROVIDERS: [(&str, &str); 12] = [
    ("api.openai.com", "openai"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("openai.azure.com", "azure.ai.openai"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.moonshot.cn", "moonshot_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
];

/// What is known of a request to a model so far, where somebody is told of them.
#[derive(Debug)]
pub(crate) struct Watch {
    telemetry: Arc<dyn Telemetry>,
    caller: HeaderMap,
    began: SystemTime,
    protocol: Protocol,
    operation: &'static str,
    /// The model that was asked for.
    pub(crate) model: Option<String>,
    server: Option<Uri>,
    risk: Option<RiskLevel>,
    verdicts: Vec<ContextVerdict>,
    /// What the answer says of itself, once it has begun.
    pub(crate) facts: Option<SharedFacts>,
    /// Whether the answer streams.
    pub(crate) is_stream: bool,
}

/// What a detector made of the context.
#[derive(Debug)]
struct ContextVerdict {
    detector: String,
    risk: Option<Risk>,
    failure: Option<UncheckedReason>,
}

impl Watch {
    pub(crate) fn new(
        telemetry: &Arc<dyn Telemetry>,
        headers: &HeaderMap,
        protocol: Protocol,
        path: &str,
    ) -> Self {
        let kept = CALLER.into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
        Self {
            telemetry: Arc::clone(telemetry),
            caller: kept.collect(),
            began: SystemTime::now(),
            protocol,
            operation: operation(protocol, path),
            model: None,
            server: None,
            risk: None,
            verdicts: Vec::new(),
            facts: None,
            is_stream: false,
        }
    }

    /// The server that is asked.
    pub(crate) fn goes_to(&mut self, upstream: &Upstream) {
        self.server = Some(upstream.base.clone());
    }

    /// What was thought of the context.
    pub(crate) fn found(&mut self, found: &Found) {
        self.risk = Some(found.inspection.risk.level);
        let verdicts = found.findings.iter().map(|finding| ContextVerdict {
            detector: finding.detector.name.clone(),
            risk: finding.risk,
            failure: finding.failure,
        });
        self.verdicts = verdicts.collect();
    }

    /// The request has ended.
    pub(crate) fn end(
        self,
        id: &str,
        route: &str,
        status: Option<u16>,
        refusal: Option<&'static str>,
        began: Instant,
        outcome: &Outcome,
    ) -> Span {
        let answer = self.facts.as_ref().map_or_else(AnswerFacts::default, SharedFacts::end);
        let since = |instant: Instant| instant.saturating_duration_since(began);
        let wrong_status = status.filter(|status| *status >= 400).map(|status| status.to_string());
        let ended = (outcome.ended != Ended::Complete).then(|| outcome.ended.name());
        let server = self.server.as_ref().and_then(|base| Some((base.host()?, port(base))));
        let place = self.telemetry.request(&ModelRequest {
            id,
            caller: &self.caller,
            began: self.began,
            ended: self.began + since(outcome.at),
            operation: self.operation,
            provider: provider(self.protocol, self.server.as_ref()),
            model: self.model.as_deref(),
            server,
            route,
            risk: self.risk,
            status,
            error: refusal.or(wrong_status.as_deref()).or(ended),
            first_chunk: outcome.first.filter(|_| self.is_stream).map(since),
            answer: &answer,
        });
        let span = Span {
            telemetry: self.telemetry,
            place,
            request: id.into(),
            response: answer.id.map(Into::into),
        };
        for verdict in &self.verdicts {
            span.context(verdict);
        }
        span
    }
}

/// A request that was told, for verdicts that come after.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    telemetry: Arc<dyn Telemetry>,
    place: SpanPlace,
    request: Arc<str>,
    response: Option<Arc<str>>,
}

impl Span {
    fn context(&self, verdict: &ContextVerdict) {
        self.telemetry.evaluation(&Evaluation {
            score: verdict.risk.map(Risk::clamped),
            label: verdict.risk.map(|risk| risk.level.name()),
            error: verdict.failure.map(UncheckedReason::name),
            ..self.evaluation(&verdict.detector, "context_risk", None)
        });
    }

    /// An answer was judged, or was to be.
    pub(crate) fn judged(&self, judgement: &Judgement) {
        let tell = |name, score, label, error| {
            let of = self.evaluation(&judgement.judge, name, Some(judgement.choice));
            self.telemetry.evaluation(&Evaluation { score, label: Some(label), error, ..of });
        };
        let outcome = judgement.outcome.name();
        let error = judgement.outcome.is_unknown().then_some(judgement.reason.unwrap_or(outcome));
        tell("alignment", judgement.alignment, outcome, error);
        if let Some(coherence) = judgement.coherence {
            tell("coherence", Some(coherence), JudgingOutcome::Scored.name(), None);
        }
        if let Some(persona) = judgement.rationalisation.as_ref().and_then(|coded| coded.persona) {
            tell("reckless_persona", None, if persona { "yes" } else { "no" }, None);
        }
    }

    fn evaluation<'a>(&'a self, by: &'a str, name: &'static str, choice: Option<u64>) -> Evaluation<'a> {
        Evaluation {
            place: self.place,
            request: &self.request,
            response: self.response.as_deref(),
            by,
            name,
            choice,
            score: None,
            label: None,
            error: None,
        }
    }
}

fn operation(protocol: Protocol, path: &str) -> &'static str {
    if protocol != Protocol::Other {
        return "chat";
    }
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    match path.rsplit('/').next() {
        Some("completions") => "text_completion",
        Some("embeddings") => "embeddings",
        Some("moderations") => "moderation",
        _ => "count_tokens",
    }
}

fn provider(protocol: Protocol, server: Option<&Uri>) -> &'static str {
    let host = server.and_then(Uri::host).unwrap_or("").to_ascii_lowercase();
    let is_of = |known: &str| {
        host.strip_suffix(known)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.') || rest.ends_with('-'))
    };
    let known = PROVIDERS.iter().find(|(known, _)| is_of(known)).map(|(_, name)| *name);
    known.unwrap_or(if protocol == Protocol::Messages { "anthropic" } else { "openai" })
}

fn port(base: &Uri) -> u16 {
    base.port_u16().unwrap_or(if base.scheme_str() == Some("https") { 443 } else { 80 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_providers_have_the_conventions_names() {
        for (path, expected) in [
            ("/v1/completions/", "text_completion"),
            ("/v1/Embeddings", "embeddings"),
            ("/v1/moderations", "moderation"),
        ] {
            assert_eq!(operation(Protocol::Other, path), expected);
        }
        assert_eq!(operation(Protocol::Messages, "/v1/messages"), "chat");
        assert_eq!(operation(Protocol::Other, "/v1/messages/count_tokens"), "count_tokens");
        for (base, protocol, expected) in [
            ("https://api.openai.com/v1", Protocol::Responses, "openai"),
            ("https://me.openai.azure.com/v1", Protocol::ChatCompletions, "azure.ai.openai"),
            ("https://europe-west4-aiplatform.googleapis.com/v1", Protocol::ChatCompletions, "gcp.vertex_ai"),
            ("https://notapi.x.ai/v1", Protocol::ChatCompletions, "openai"),
            ("http://127.0.0.1:8000/v1", Protocol::Messages, "anthropic"),
        ] {
            assert_eq!(provider(protocol, Some(&base.parse().unwrap())), expected, "{base}");
        }
        assert_eq!(port(&"https://a/v1".parse().unwrap()), 443);
        assert_eq!(port(&"http://a:8/v1".parse().unwrap()), 8);
    }
}
