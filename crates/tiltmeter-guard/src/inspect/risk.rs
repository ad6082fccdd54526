//! The risk of a context, from what was found in it.
//!
//! Four things count, each as a number from 0 to 1 that says by itself how likely the context does harm; together they are
//! `risk = 1 − Π (1 − c)`, so that none can hide another.
//!
//! - **Dose**: `1 − 2^(−F / dose)`, where F is the number of flagged examples, each weighted by how near to the question it
//!   stands: `w(d) = floor + (1 − floor) · 2^(−d / half_life)` for the d-th from the end, counted from 0. The behaviour
//!   was seen from two examples on (`dose`), and clean examples put behind bad ones must not hide them (`floor`).
//! - **Share**: `share · F / (F + C)`, with C the same sum over examples that were checked and not flagged. What was not
//!   checked counts nowhere here; it is told apart.
//! - **Instructions**: `instructions` times the score of what amplifies, or of a persona that is assigned, so that a single
//!   phrase of a user's is low by itself.
//! - **Contexts**: the score of each detector that flagged the context as a whole, such as by its tilt.
//!
//! The weights were set by judgement, not fitted: `docs/guard-detectors.md` has what is measured. One flagged example alone
//! gives 0.29 + 0.71 · 0.25 = 0.47, which is low; two give 0.62 or more, which is high.
//!
//! Adding a flagged example, wherever, never lowers the risk: it weighs w(d) itself, older ones lose at most
//! `Σ w(d') − w(d' + 1) ≤ w(d) − floor` together, and C does not grow.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::detector::Verdict;
use crate::inspection::{Reason, Risk, RiskLevel};

/// How findings become a risk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RiskSettings {
    /// Flagged examples that count as 0.5 by their number alone; above 0.
    pub dose: f64,
    /// What a context of flagged examples alone counts by their share, 0 to 1.
    pub share: f64,
    /// What instructions count, times what their rules weigh, 0 to 1.
    pub instructions: f64,
    /// Examples from the end of the context over which the weight above the floor halves; above 0.
    pub half_life: f64,
    /// The weight of the oldest examples, 0 to 1.
    pub floor: f64,
    /// A risk from here on is low.
    pub low: f64,
    /// A risk from here on is high.
    pub high: f64,
}

impl Default for RiskSettings {
    fn default() -> Self {
        Self { dose: 2.0, share: 0.25, instructions: 0.8, half_life: 32.0, floor: 0.5, low: 0.2, high: 0.5 }
    }
}

/// Settings of risk that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` of the risk settings is out of its range")]
pub struct RiskSettingsError(pub &'static str);

impl RiskSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of its range; `high` is at least `low`.
    pub fn check(&self) -> Result<(), RiskSettingsError> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let length = |value: f64| value > 0.0 && value.is_finite();
        let checks = [
            ("dose", length(self.dose)),
            ("share", share(self.share)),
            ("instructions", share(self.instructions)),
            ("half_life", length(self.half_life)),
            ("floor", share(self.floor)),
            ("low", share(self.low)),
            ("high", share(self.high) && self.high >= self.low),
        ];
        match checks.into_iter().find(|&(_, is_fine)| !is_fine) {
            Some((name, _)) => Err(RiskSettingsError(name)),
            None => Ok(()),
        }
    }

    /// The weight of the d-th example from the end.
    fn weight(&self, from_end: usize) -> f64 {
        self.floor + (1.0 - self.floor) * (-(from_end as f64) / self.half_life).exp2()
    }

    fn level(&self, score: f64) -> RiskLevel {
        if score >= self.high {
            RiskLevel::High
        } else if score >= self.low {
            RiskLevel::Low
        } else {
            RiskLevel::None
        }
    }
}

/// What came of one example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExampleState {
    /// A detector flagged it.
    Flagged,
    /// At least one looked at it, and none flagged it.
    Clean,
    /// None had a verdict.
    Unchecked,
}

/// A verdict on instructions or on a context, with whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextFinding {
    /// The detector.
    pub detector: &'static str,
    /// What it says.
    pub verdict: Verdict,
}

/// The name under which the sums stand among the reasons.
const SELF: &str = "context";

/// The risk, and the parts that it is made of, largest first.
///
/// Of contexts, those verdicts count that are flagged; of instructions, every score, since the rules' weights are made
/// for it.
pub fn assess(
    settings: &RiskSettings,
    examples: &[ExampleState],
    instructions: &[ContextFinding],
    contexts: &[ContextFinding],
) -> (Risk, Vec<Reason>) {
    let (mut flagged, mut clean) = (0.0, 0.0);
    for (from_end, state) in examples.iter().rev().enumerate() {
        match state {
            ExampleState::Flagged => flagged += settings.weight(from_end),
            ExampleState::Clean => clean += settings.weight(from_end),
            ExampleState::Unchecked => {}
        }
    }
    let mut reasons = Vec::new();
    let mut add = |detector: &'static str, code: Cow<'static, str>, score: f64| {
        if score > 0.0 {
            reasons.push(Reason { detector: Cow::Borrowed(detector), code, score });
        }
    };
    let mut doubt = 1.0;
    if flagged > 0.0 {
        let dose = 1.0 - (-flagged / settings.dose).exp2();
        let share = settings.share * flagged / (flagged + clean);
        add(SELF, "flagged-examples".into(), dose);
        add(SELF, "flagged-share".into(), share);
        doubt *= (1.0 - dose) * (1.0 - share);
    }
    let instructions = instructions.iter().map(|finding| (finding, settings.instructions));
    let contexts = contexts.iter().filter(|finding| finding.verdict.is_flagged).map(|finding| (finding, 1.0));
    for (finding, share) in instructions.chain(contexts) {
        doubt *= 1.0 - share * finding.verdict.score.clamp(0.0, 1.0);
        for found in &finding.verdict.findings {
            add(finding.detector, found.code.clone(), share * found.score);
        }
    }
    reasons.sort_by(|a, b| b.score.total_cmp(&a.score));
    let score = 1.0 - doubt;
    (Risk { level: settings.level(score), score }, reasons)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::detector::Finding;
    use super::ExampleState::{Clean, Flagged, Unchecked};
    use super::*;

    fn level(examples: &[ExampleState]) -> RiskLevel {
        assess(&RiskSettings::default(), examples, &[], &[]).0.level
    }

    fn score(settings: &RiskSettings, examples: &[ExampleState]) -> f64 {
        assess(settings, examples, &[], &[]).0.score
    }

    fn finding(score: f64, is_flagged: bool) -> ContextFinding {
        let findings = vec![Finding { code: "x".into(), score }];
        ContextFinding { detector: "d", verdict: Verdict { score, is_flagged, findings } }
    }

    #[test]
    fn levels_of_typical_contexts() {
        let of = |flagged: usize, clean: usize| [vec![Flagged; flagged], vec![Clean; clean]].concat();
        let cases = [
            (of(0, 0), RiskLevel::None),
            (of(0, 1000), RiskLevel::None),
            (of(1, 0), RiskLevel::Low),
            (of(1, 15), RiskLevel::Low),
            (of(2, 0), RiskLevel::High),
            (of(4, 4), RiskLevel::High),
            (of(16, 0), RiskLevel::High),
            // Hidden behind many clean ones.
            (of(16, 1000), RiskLevel::High),
            (vec![Unchecked; 16], RiskLevel::None),
        ];
        for (examples, expected) in cases {
            assert_eq!(level(&examples), expected, "{examples:?}");
        }
    }

    #[test]
    fn an_instruction_raises_what_examples_say() {
        let settings = RiskSettings::default();
        let (alone, reasons) = assess(&settings, &[], &[finding(0.4, false)], &[]);
        assert_eq!((alone.level, reasons.len()), (RiskLevel::Low, 1));
        let (with, reasons) = assess(&settings, &[Flagged, Clean], &[finding(0.4, false)], &[]);
        assert_eq!(with.level, RiskLevel::High);
        assert_eq!(reasons[0].code, "x");
        assert!(reasons.windows(2).all(|pair| pair[0].score >= pair[1].score));
        // Contexts count where they are flagged.
        assert!(assess(&settings, &[], &[], &[finding(0.9, false)]).0.score < 1e-12);
        assert_eq!(assess(&settings, &[], &[], &[finding(0.9, true)]).0.level, RiskLevel::High);
    }

    #[test]
    fn ranges_are_checked_by_name() {
        let fine = RiskSettings::default();
        assert_eq!(fine.check(), Ok(()));
        let wrong = [
            RiskSettings { dose: 0.0, ..fine },
            RiskSettings { share: 1.1, ..fine },
            RiskSettings { instructions: -1.0, ..fine },
            RiskSettings { half_life: f64::NAN, ..fine },
            RiskSettings { floor: -0.1, ..fine },
            RiskSettings { low: 2.0, ..fine },
            RiskSettings { high: 0.1, ..fine },
        ];
        let names = ["dose", "share", "instructions", "half_life", "floor", "low", "high"];
        for (settings, name) in wrong.iter().zip(names) {
            assert_eq!(settings.check(), Err(RiskSettingsError(name)));
        }
    }

    fn states() -> impl Strategy<Value = Vec<ExampleState>> {
        proptest::collection::vec(prop_oneof![Just(Flagged), Just(Clean), Just(Unchecked)], 0..60)
    }

    proptest! {
        #[test]
        fn adding_a_flagged_example_never_lowers_the_risk(
            states in states(),
            at: prop::sample::Index,
            floor in 0.0..=1.0_f64,
            half_life in 0.01..100.0_f64,
        ) {
            let settings = RiskSettings { half_life, floor, ..RiskSettings::default() };
            let before = score(&settings, &states);
            let mut more = states.clone();
            more.insert(at.index(states.len() + 1), Flagged);
            prop_assert!(score(&settings, &more) >= before - 1e-12);
        }

        #[test]
        fn flagging_an_example_never_lowers_the_risk(states in states(), at: prop::sample::Index) {
            prop_assume!(!states.is_empty());
            let settings = RiskSettings::default();
            let mut more = states.clone();
            more[at.index(states.len())] = Flagged;
            prop_assert!(score(&settings, &more) >= score(&settings, &states) - 1e-12);
        }
    }
}
