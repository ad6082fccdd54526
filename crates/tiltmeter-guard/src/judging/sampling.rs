//! Which answers are judged.

use tiltmeter_core::id::Canonical;

use crate::inspection::RiskLevel;

/// Which answers are judged.
#[derive(Clone, Debug, PartialEq)]
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

/// Whether an answer is judged, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It is in the random draw.
    Drawn,
    /// It is not, but its context's risk is high.
    ForRisk,
    /// It is not judged.
    Not,
}

impl Chosen {
    /// As records name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::ForRisk => "for-risk",
            Self::Not => "not-drawn",
        }
    }
}

impl SamplingSettings {
    /// Whether the answer to a request is judged. The same request is always drawn the same way, and a higher rate draws
    /// all that a lower one does.
    ///
    /// Answers that are judged for their risk are no random draw: rates of all traffic are to be estimated from
    /// those that are [`Chosen::Drawn`] alone.
    pub fn choose(&self, request_id: &str, level: RiskLevel) -> Chosen {
        let is_risky = level >= self.always_from && level > RiskLevel::None;
        match (self.is_drawn(request_id), is_risky) {
            (true, _) => Chosen::Drawn,
            (false, true) => Chosen::ForRisk,
            (false, false) => Chosen::Not,
        }
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
        let chosen = |settings: &SamplingSettings| {
            [RiskLevel::None, RiskLevel::Low, RiskLevel::High].map(|level| settings.choose("x", level))
        };
        assert_eq!(chosen(&settings), [Chosen::Not, Chosen::Not, Chosen::ForRisk]);
        assert_eq!(chosen(&SamplingSettings { rate: 1.0, ..settings.clone() }), [Chosen::Drawn; 3]);
        // A risk of none is never a reason.
        let all = SamplingSettings { always_from: RiskLevel::None, ..settings };
        assert_eq!(chosen(&all), [Chosen::Not, Chosen::ForRisk, Chosen::ForRisk]);
    }
}
