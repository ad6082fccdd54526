//! What a gateway tells, as spans and events under OpenTelemetry's names. Events are log records: events of spans are being
//! given up, and verdicts on answers come after the span has ended.

use std::time::SystemTime;

use http::HeaderMap;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanId, SpanKind, Status, TraceFlags, TraceId, Tracer as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use tiltmeter_guard::telemetry::{Evaluation, ModelRequest, SpanPlace, Telemetry};

/// The most bytes of a model's name, which a client may choose.
const LONGEST_NAME: usize = 256;

#[derive(Debug)]
pub(super) struct GuardTelemetry {
    spans: SdkTracer,
    events: SdkLogger,
}

impl GuardTelemetry {
    pub(super) fn new(spans: SdkTracer, events: &SdkLoggerProvider) -> Self {
        Self { spans, events: events.logger(super::NAME) }
    }
}

/// A caller's headers, as the propagator reads them.
struct Caller<'a>(&'a HeaderMap);

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

impl Telemetry for GuardTelemetry {
    fn request(&self, request: &ModelRequest<'_>) -> SpanPlace {
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Caller(request.caller));
        let model = request.model.map(short);
        let name = match &model {
            Some(model) => format!("{} {model}", request.operation),
            None => request.operation.to_owned(),
        };
        // The conventions' kind for a call of a model, whoever makes it for whom.
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_start_time(request.began)
            .with_attributes(attributes(request, model));
        let mut span = self.spans.build_with_context(builder, &parent);
        if request.error.is_some() {
            span.set_status(Status::error(""));
        }
        let context = span.span_context();
        let place = SpanPlace {
            trace: context.trace_id().to_bytes(),
            span: context.span_id().to_bytes(),
            is_sampled: context.is_sampled(),
        };
        span.end_with_timestamp(request.ended);
        place
    }

    fn evaluation(&self, evaluation: &Evaluation<'_>) {
        let mut record = self.events.create_log_record();
        record.set_event_name("gen_ai.evaluation.result");
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Info);
        let place = evaluation.place;
        let flags = if place.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        record.set_trace_context(
            TraceId::from_bytes(place.trace),
            SpanId::from_bytes(place.span),
            Some(flags),
        );
        record.add_attribute("gen_ai.evaluation.name", evaluation.name);
        if let Some(score) = evaluation.score {
            record.add_attribute("gen_ai.evaluation.score.value", score);
        }
        let texts = [
            ("gen_ai.evaluation.score.label", evaluation.label),
            ("gen_ai.response.id", evaluation.response),
            ("error.type", evaluation.error),
            ("tiltmeter.guard.evaluator", Some(evaluation.by)),
            ("tiltmeter.guard.request", Some(evaluation.request)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                record.add_attribute(name, AnyValue::String(text.to_owned().into()));
            }
        }
        if let Some(choice) = evaluation.choice {
            record.add_attribute("tiltmeter.guard.choice", whole(choice));
        }
        self.events.emit(record);
    }
}

fn attributes(request: &ModelRequest<'_>, model: Option<&str>) -> Vec<KeyValue> {
    let answer = request.answer;
    let reasons: Vec<StringValue> =
        answer.finish_reasons.values().map(|reason| reason.clone().into()).collect();
    let text = |text: Option<&str>| text.map(|text| Value::String(text.to_owned().into()));
    let count = |count: Option<u64>| count.map(|count| Value::I64(whole(count)));
    let seconds = request.first_chunk.map(|time| Value::F64(time.as_secs_f64()));
    let named = [
        ("gen_ai.operation.name", text(Some(request.operation))),
        ("gen_ai.provider.name", text(Some(request.provider))),
        ("gen_ai.request.model", text(model)),
        ("gen_ai.response.id", text(answer.id.as_deref())),
        ("gen_ai.response.model", text(answer.model.as_deref())),
        (
            "gen_ai.response.finish_reasons",
            (!reasons.is_empty()).then_some(Value::Array(Array::String(reasons))),
        ),
        ("gen_ai.response.time_to_first_chunk", seconds),
        ("gen_ai.usage.input_tokens", count(answer.input_tokens)),
        ("gen_ai.usage.output_tokens", count(answer.output_tokens)),
        ("server.address", text(request.server.map(|(host, _)| host))),
        ("server.port", count(request.server.map(|(_, port)| port.into()))),
        ("http.response.status_code", count(request.status.map(u64::from))),
        ("error.type", text(request.error)),
        ("tiltmeter.guard.request", text(Some(request.id))),
        ("tiltmeter.guard.route", text(Some(request.route).filter(|route| !route.is_empty()))),
        ("tiltmeter.guard.risk", text(request.risk.map(tiltmeter_guard::inspection::RiskLevel::name))),
    ];
    named.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, value?))).collect()
}

/// A client may put anything where the model's name stands.
fn short(model: &str) -> &str {
    model.get(..model.floor_char_boundary(LONGEST_NAME)).unwrap_or_default()
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
