//! What `/metrics` says of what detectors keep and measure.

use std::path::Path;

use async_trait::async_trait;
use tiltmeter_guard::built_in;
use tiltmeter_guard::inspection::{Inspection, Inspector, InspectorFigures, Projection, RequestView};

use crate::acting::conversation;
use crate::judge::figure;
use crate::support::{Guard, Plan};
use crate::upstream::{Upstream, answer};

const CHAT: &str = "/v1/chat/completions";

fn plan() -> (Upstream, Plan) {
    let upstream = Upstream::fixed(answer("application/json", "{}"));
    let plan = Plan::to(&upstream.base_url());
    (upstream, plan)
}

fn route(kind: &str) -> String {
    format!(
        "[[detectors]]\nname = 'd'\nkind = '{kind}'\ntimeout_ms = 5000\n[[routes]]\nname = 'all'\nmodels = ['*']\ndetectors = ['d']"
    )
}

fn cache(guard: &Guard) -> (f64, f64) {
    let of =
        |name: &str| figure(guard, &format!("tiltmeter_guard_verdict_cache_{name}_total{{detector=\"d\"}}"));
    (of("hits"), of("misses"))
}

#[test]
fn verdicts_that_were_kept_are_counted() {
    let (_upstream, mut plan) = plan();
    let rules = built_in::inspector(Path::new(""), "rules", &toml::Table::new()).unwrap();
    plan.inspectors.insert("rules", rules);
    let guard = plan.with(&route("rules")).start();
    // There before anything was asked for.
    assert!(guard.get("/metrics").text().contains("verdict_cache_hits_total{detector=\"d\"} 0"));
    guard.post(CHAT, conversation(&["fine", "good"])).expect(200, "none");
    let (hits, new) = cache(&guard);
    assert!(hits < 0.5 && new > 1.5, "{hits} {new}");
    guard.post(CHAT, conversation(&["fine", "good"])).expect(200, "none");
    assert_eq!(cache(&guard), (new, new));
    // One of the examples is known.
    guard.post(CHAT, conversation(&["fine", "else"])).expect(200, "none");
    let (hits, misses) = cache(&guard);
    assert!(hits > new + 0.5 && misses > new + 0.5, "{hits} {misses}");
    assert!(misses < 2.0 * new - 0.5, "{misses}");
}

/// Says what it was given to say.
struct Along(&'static [(&'static str, f64)]);

#[async_trait]
impl Inspector for Along {
    async fn inspect(&self, _: &RequestView) -> Inspection {
        Inspection::default()
    }

    fn figures(&self) -> InspectorFigures {
        let of = |(persona, last): &(&str, f64)| Projection {
            persona: (*persona).to_owned(),
            layer: 7,
            last: *last,
        };
        InspectorFigures { cache: None, projections: self.0.iter().map(of).collect() }
    }
}

#[test]
fn projections_are_told_by_trait_and_layer_and_go_with_their_detector() {
    let (upstream, plan) = plan();
    let plan = plan.inspector("along", Along(&[("evil", 1.5), ("sycophantic", -0.25)])).with(&route("along"));
    let mut guard = plan.start();
    let text = guard.get("/metrics").text();
    for line in [
        r#"tiltmeter_guard_persona_projection{detector="d",trait="evil",layer="7"} 1.5"#,
        r#"tiltmeter_guard_persona_projection{detector="d",trait="sycophantic",layer="7"} -0.25"#,
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
    // It keeps no verdicts, and none is made up.
    assert!(!text.contains("verdict_cache_hits_total{"), "{text}");
    guard.reload(Plan::to(&upstream.base_url()));
    assert!(!guard.get("/metrics").text().contains("persona_projection{"));
}
