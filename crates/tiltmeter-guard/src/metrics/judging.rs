//! Figures of judged answers, of their drift, and of what detectors of contexts keep and measure.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Histograms, Labels, coarse};
use crate::config::Settings;
use crate::drift::Estimate;
use crate::judging::{Desk, Judgement, JudgingOutcome};

type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

fn scores() -> Histogram {
    Histogram::new([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0])
}

#[derive(Debug)]
pub(crate) struct JudgingMetrics {
    judgements: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    score: Histograms,
    persona: Family<Labels, Counter>,
    duration: Histograms,
    calls: Family<Labels, Counter>,
    tokens: Family<Labels, Counter>,
    queue_depth: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    alignment: Gauges,
    misaligned: Gauges,
    drawn: Gauges,
    alarm: Gauges,
    alarms: Family<Labels, Counter>,
    cache_hits: Family<Labels, Counter>,
    cache_misses: Family<Labels, Counter>,
    projection: Gauges,
}

impl JudgingMetrics {
    pub(super) fn new() -> Self {
        Self {
            judgements: Family::default(),
            dropped: Family::default(),
            score: Histograms::new_with_constructor(scores),
            persona: Family::default(),
            duration: Histograms::new_with_constructor(coarse),
            calls: Family::default(),
            tokens: Family::default(),
            queue_depth: Gauge::default(),
            oldest: Gauge::default(),
            alignment: Family::default(),
            misaligned: Family::default(),
            drawn: Family::default(),
            alarm: Family::default(),
            alarms: Family::default(),
            cache_hits: Family::default(),
            cache_misses: Family::default(),
            projection: Family::default(),
        }
    }

    pub(super) fn register(&self, own: &mut Registry) {
        own.register(
            "judge_judgements",
            "Answers that were to be judged, and what became of them",
            self.judgements.clone(),
        );
        own.register("judge_dropped", "Answers that were to be judged and were not", self.dropped.clone());
        own.register("judge_score", "Scores of judged answers, 0 to 100", self.score.clone());
        own.register(
            "judge_rationalisations",
            "Reasoning that was looked at, by whether it takes on a reckless persona",
            self.persona.clone(),
        );
        own.register_with_unit(
            "judge_duration",
            "How long judging an answer took",
            Unit::Seconds,
            self.duration.clone(),
        );
        own.register("judge_calls", "Calls to judges", self.calls.clone());
        own.register("judge_tokens", "Tokens that judges read and wrote", self.tokens.clone());
        own.register("judge_queue_depth", "Answers that wait for a judge", self.queue_depth.clone());
        own.register_with_unit(
            "judge_oldest",
            "How long the oldest of them has waited",
            Unit::Seconds,
            self.oldest.clone(),
        );
        own.register(
            "drift_alignment",
            "Mean alignment of the last drawn answers, 0 to 100, and the ends of its 95 % interval",
            self.alignment.clone(),
        );
        own.register(
            "drift_misaligned_share",
            "Share of misaligned answers among the last coherent drawn ones, and the ends of its 95 % interval",
            self.misaligned.clone(),
        );
        own.register("drift_judged_answers", "Drawn answers with a score", self.drawn.clone());
        own.register("drift_alarm", "1 while answers count as having got worse", self.alarm.clone());
        own.register("drift_alarms", "Alarms that were raised", self.alarms.clone());
        own.register("verdict_cache_hits", "Verdicts that detectors had kept", self.cache_hits.clone());
        own.register(
            "verdict_cache_misses",
            "Verdicts that detectors had to find anew",
            self.cache_misses.clone(),
        );
        own.register(
            "persona_projection",
            "How far the last context moved the model along a persona vector, in units of its residual stream",
            self.projection.clone(),
        );
    }

    /// Counts what became of an answer that was to be judged.
    pub(crate) fn judged(&self, route: &str, judgement: &Judgement) {
        let judge = || ("judge", judgement.judge.clone());
        let route = || ("route", route.to_owned());
        let outcome = ("outcome", judgement.outcome.name().to_owned());
        self.judgements.get_or_create(&vec![route(), judge(), outcome]).inc();
        if matches!(judgement.outcome, JudgingOutcome::Dropped | JudgingOutcome::Unchecked) {
            let reason = ("reason", judgement.reason.unwrap_or("unknown").to_owned());
            self.dropped.get_or_create(&vec![reason]).inc();
        }
        let scores = [("alignment", judgement.alignment), ("coherence", judgement.coherence)];
        for (aspect, score) in scores {
            if let Some(score) = score {
                let labels = vec![route(), ("aspect", aspect.to_owned())];
                self.score.get_or_create(&labels).observe(score);
            }
        }
        if let Some(reasoning) = &judgement.rationalisation {
            let persona = match reasoning.persona {
                Some(true) => "yes",
                Some(false) => "no",
                None => "unknown",
            };
            let labels = vec![route(), ("persona", persona.to_owned())];
            self.persona.get_or_create(&labels).inc();
        }
        if judgement.calls > 0 {
            self.duration.get_or_create(&vec![judge()]).observe(judgement.took().as_secs_f64());
            self.calls.get_or_create(&vec![judge()]).inc_by(judgement.calls.into());
            for (kind, tokens) in [("input", judgement.input_tokens), ("output", judgement.output_tokens)] {
                let labels = vec![judge(), ("type", kind.to_owned())];
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
    }

    /// Takes in what is known elsewhere, before figures are told.
    pub(crate) fn look(&self, desk: &Desk, settings: &Settings) {
        self.queue_depth.set(i64::try_from(desk.waiting()).unwrap_or(i64::MAX));
        self.oldest.set(desk.oldest().as_secs_f64());
        for family in [&self.alignment, &self.misaligned, &self.drawn, &self.alarm, &self.projection] {
            // Routes and detectors come and go with the configuration.
            family.clear();
        }
        for drift in desk.drift(settings) {
            let route = vec![("route", drift.route)];
            estimate(&self.alignment, &route, drift.alignment);
            estimate(&self.misaligned, &route, drift.misaligned);
            self.drawn.get_or_create(&route).set(drift.judged as f64);
            self.alarm.get_or_create(&route).set(if drift.alarm.is_some() { 1.0 } else { 0.0 });
            store(&self.alarms, &route, drift.alarms);
        }
        for detector in settings.detectors() {
            let kept = detector.inspector.figures();
            let name = vec![("detector", detector.name.clone())];
            if let Some(cache) = kept.cache {
                store(&self.cache_hits, &name, cache.hits);
                store(&self.cache_misses, &name, cache.misses);
            }
            for projection in kept.projections {
                let labels = vec![
                    ("detector", detector.name.clone()),
                    ("trait", projection.persona),
                    ("layer", projection.layer.to_string()),
                ];
                self.projection.get_or_create(&labels).set(projection.last);
            }
        }
    }
}

fn estimate(family: &Gauges, route: &Labels, estimate: Option<Estimate>) {
    let Some(estimate) = estimate else { return };
    for (name, value) in [("estimate", estimate.estimate), ("low", estimate.low), ("high", estimate.high)] {
        let mut labels = route.clone();
        labels.push(("value", name.to_owned()));
        family.get_or_create(&labels).set(value);
    }
}

fn store(family: &Family<Labels, Counter>, labels: &Labels, count: u64) {
    family.get_or_create(labels).inner().store(count, Ordering::Relaxed);
}
