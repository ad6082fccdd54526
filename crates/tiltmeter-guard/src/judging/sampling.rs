//! Which answers are judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tiltmeter_core::id::Canonical;

use crate::inspection::RiskLevel;

/// Which answers are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingSettings {
    /// The share of answers, 0 to 1.
    pub rate: f64,
    /// Answers to contexts of this risk and above are all judged.
    pub always_from: RiskLevel,
    /// Goes into the draw, so that whoever chooses the ids of requests cannot choose which are judged.
    pub salt: String,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self { rate: 0.01, always_from: RiskLevel::High, salt: String::new() }
    }
}

impl SamplingSettings {
    /// Whether the answer to a request is judged. The same request is always drawn the same way, and a higher rate draws
    /// all that a lower one does.
    ///
    /// Answers that are judged for their risk are no random draw: rates of all traffic are to be estimated from
    /// [`SamplingSettings::is_drawn`] alone.
    pub fn is_judged(&self, request_id: &str, level: RiskLevel) -> bool {
        (level >= self.always_from && level > RiskLevel::None) || self.is_drawn(request_id)
    }

    /// Whether a request is in the random draw.
    pub fn is_drawn(&self, request_id: &str) -> bool {
        let id = Canonical::new("tiltmeter.guard-sample/1").text(&self.salt).text(request_id).finish();
        // The 53 bits that a double holds exactly.
        let uniform = (id.generator_seed() >> 11) as f64 / (1_u64 << 53) as f64;
        uniform < self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_is_its_rate_and_higher_rates_hold_lower_ones() {
        let of = |rate| SamplingSettings { rate, ..SamplingSettings::default() };
        let drawn = |rate: f64| (0..20_000).filter(|id| of(rate).is_drawn(&format!("request-{id}"))).count();
        assert_eq!((drawn(0.0), drawn(1.0)), (0, 20_000));
        let tenth = drawn(0.1);
        // Five standard deviations.
        assert!((1788..=2212).contains(&tenth), "{tenth}");
        for id in 0..2000 {
            let id = format!("request-{id}");
            assert!(!of(0.1).is_drawn(&id) || of(0.3).is_drawn(&id));
        }
        let salted = SamplingSettings { rate: 0.5, salt: "s".to_owned(), ..SamplingSettings::default() };
        let differs =
            (0..100).any(|id| salted.is_drawn(&id.to_string()) != of(0.5).is_drawn(&id.to_string()));
        assert!(differs);
    }

    #[test]
    fn high_risk_is_always_judged() {
        let settings = SamplingSettings { rate: 0.0, ..SamplingSettings::default() };
        let judged =
            [RiskLevel::None, RiskLevel::Low, RiskLevel::High].map(|level| settings.is_judged("x", level));
        assert_eq!(judged, [false, false, true]);
        // A risk of none is never a reason.
        let all = SamplingSettings { always_from: RiskLevel::None, ..settings };
        assert!(!all.is_judged("x", RiskLevel::None) && all.is_judged("x", RiskLevel::Low));
    }
}
