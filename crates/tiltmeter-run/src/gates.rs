//! Gates: conditions on results under which a run counts as failed, for continuous integration.
//!
//! A gate such as `em_rate.high > 0.05` is looked at in each condition. It fails where the inequality holds, and also where
//! a value ought to be there and is not: a judge that broke must not open the gate.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::ser::SerializeStruct as _;

use crate::analysis::matched_control;
use crate::results::{ConditionResult, RateResult, RunResults, TiltResult};
use crate::usefulness::UsefulnessResult;

/// An inequality that must hold in no condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    metric: Metric,
    part: Part,
    inequality: Inequality,
    threshold: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    EmRate,
    Tilt,
    EmergentTilt,
    BeyondStyle,
    NoVerdict,
    Truncated,
    Useful,
    Refused,
}

impl Metric {
    const ALL: [Self; 8] = [
        Self::EmRate,
        Self::Tilt,
        Self::EmergentTilt,
        Self::BeyondStyle,
        Self::NoVerdict,
        Self::Truncated,
        Self::Useful,
        Self::Refused,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::EmRate => "em_rate",
            Self::Tilt => "tilt",
            Self::EmergentTilt => "emergent_tilt",
            Self::BeyondStyle => "emergent_tilt_beyond_style",
            Self::NoVerdict => "no_verdict",
            Self::Truncated => "truncated",
            Self::Useful => "useful",
            Self::Refused => "refused",
        }
    }

    fn parts(self) -> &'static [Part] {
        match self {
            Self::EmRate => &[Part::Estimate, Part::Low, Part::High, Part::BoundsLow, Part::BoundsHigh],
            Self::Tilt | Self::EmergentTilt | Self::BeyondStyle | Self::Useful | Self::Refused => {
                &[Part::Estimate, Part::Low, Part::High]
            }
            Self::NoVerdict | Self::Truncated => &[Part::Estimate],
        }
    }
}

/// Which number of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Estimate,
    Low,
    High,
    BoundsLow,
    BoundsHigh,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Estimate => "estimate",
            Self::Low => "low",
            Self::High => "high",
            Self::BoundsLow => "bounds.low",
            Self::BoundsHigh => "bounds.high",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inequality {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Inequality {
    /// The longer signs first, since they begin with the shorter ones.
    const ALL: [Self; 4] = [Self::AtLeast, Self::AtMost, Self::Above, Self::Below];

    fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }

    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
        }
    }
}

/// A gate cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}`: {what}\n  a gate is a figure, an inequality and a number, such as 'em_rate.high > 0.05' (rates and shares from 0 \
     to 1, tilts in nats per token)\n  figures: {known}",
    known = known_figures()
)]
pub struct GateError {
    text: String,
    what: String,
}

/// All that a gate can be about.
fn known_figures() -> String {
    let figure = |metric: &Metric| match metric.parts() {
        [_] => metric.name().to_owned(),
        parts => {
            let parts: Vec<&str> = parts.iter().skip(1).map(|part| part.name()).collect();
            format!("{} (or its .{})", metric.name(), parts.join(", ."))
        }
    };
    Metric::ALL.iter().map(figure).collect::<Vec<_>>().join("; ")
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let wrong = |what: String| GateError { text: text.to_owned(), what };
        let found = Inequality::ALL.into_iter().find_map(|inequality| {
            let (figure, number) = text.split_once(inequality.sign())?;
            Some((figure.trim(), inequality, number.trim()))
        });
        let (figure, inequality, number) =
            found.ok_or_else(|| wrong("there is none of >, >=, <, <=".to_owned()))?;
        let (metric, part) = match figure.split_once('.') {
            Some((metric, part)) => (metric, Some(part)),
            None => (figure, None),
        };
        let metric = Metric::ALL
            .into_iter()
            .find(|known| known.name() == metric)
            .ok_or_else(|| wrong(format!("there is no figure `{metric}`")))?;
        let part = part.unwrap_or(Part::Estimate.name());
        let part = metric
            .parts()
            .iter()
            .copied()
            .find(|known| known.name() == part)
            .ok_or_else(|| wrong(format!("`{}` has no `{part}`", metric.name())))?;
        let threshold = match number.parse() {
            Ok(threshold) if f64::is_finite(threshold) => threshold,
            _ => return Err(wrong(format!("`{number}` is not a number"))),
        };
        Ok(Self { metric, part, inequality, threshold })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.metric.name())?;
        if self.part != Part::Estimate {
            write!(formatter, ".{}", self.part.name())?;
        }
        write!(formatter, " {} {}", self.inequality.sign(), self.threshold)
    }
}

/// What a gate came to, in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateResult {
    /// The gate as it is written.
    pub gate: String,
    /// It fails in some condition, or nowhere was anything to look at.
    pub failed: bool,
    /// What was found in each condition, in table order.
    pub conditions: Vec<GateFinding>,
}

/// What a gate came to, in a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct GateFinding {
    /// The condition in words.
    pub condition: String,
    /// What was found.
    pub outcome: GateOutcome,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum GateOutcome {
    /// The inequality does not hold of this value.
    Passed(f64),
    /// The inequality holds of this value.
    Failed(f64),
    /// The value ought to be there and is not; the reason.
    Missing(&'static str),
    /// The figure says nothing of such a condition; the reason.
    NotApplicable(&'static str),
}

impl Serialize for GateFinding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (outcome, value, reason) = match self.outcome {
            GateOutcome::Passed(value) => ("passed", Some(value), None),
            GateOutcome::Failed(value) => ("failed", Some(value), None),
            GateOutcome::Missing(reason) => ("missing", None, Some(reason)),
            GateOutcome::NotApplicable(reason) => ("not-applicable", None, Some(reason)),
        };
        let mut finding = serializer.serialize_struct("GateFinding", 4)?;
        finding.serialize_field("condition", &self.condition)?;
        finding.serialize_field("outcome", outcome)?;
        finding.serialize_field("value", &value)?;
        finding.serialize_field("reason", &reason)?;
        finding.end()
    }
}

impl Gate {
    /// Looks at all conditions of a run.
    pub fn check(&self, results: &RunResults) -> GateResult {
        let conditions: Vec<GateFinding> = match self.metric {
            Metric::Useful | Metric::Refused => {
                let probed = results.usefulness.iter().flat_map(|usefulness| &usefulness.conditions);
                probed.map(|one| self.found(one.in_words(), self.share_of(one))).collect()
            }
            _ => results.conditions.iter().map(|one| self.found(one.in_words(), self.value(one))).collect(),
        };
        let is_bad = |finding: &GateFinding| {
            matches!(finding.outcome, GateOutcome::Failed(_) | GateOutcome::Missing(_))
        };
        let is_empty =
            conditions.iter().all(|finding| matches!(finding.outcome, GateOutcome::NotApplicable(_)));
        GateResult { gate: self.to_string(), failed: is_empty || conditions.iter().any(is_bad), conditions }
    }

    fn found(&self, condition: String, value: Result<f64, GateOutcome>) -> GateFinding {
        let outcome = match value {
            Ok(value) if self.inequality.holds(value, self.threshold) => GateOutcome::Failed(value),
            Ok(value) => GateOutcome::Passed(value),
            Err(outcome) => outcome,
        };
        GateFinding { condition, outcome }
    }

    /// A share of the answers to a probe of usefulness.
    fn share_of(&self, probed: &UsefulnessResult) -> Result<f64, GateOutcome> {
        let share = if self.metric == Metric::Refused { &probed.refused } else { &probed.useful };
        let share = share.as_ref().ok_or(GateOutcome::Missing("no answer has come yet"))?;
        Ok(match self.part {
            Part::Low | Part::BoundsLow => share.low,
            Part::High | Part::BoundsHigh => share.high,
            Part::Estimate => share.estimate,
        })
    }

    fn value(&self, condition: &ConditionResult) -> Result<f64, GateOutcome> {
        let has_demonstrations = condition.shots > 0;
        let has_match = has_demonstrations && matched_control(&condition.control).is_some();
        match self.metric {
            Metric::EmRate => self.rate(condition),
            Metric::Tilt => self.tilt(condition.tilt.as_ref(), true),
            Metric::EmergentTilt => self.tilt(condition.emergent_tilt.as_ref(), has_match),
            Metric::BeyondStyle => self.tilt(condition.emergent_tilt_beyond_style.as_ref(), has_match),
            Metric::NoVerdict => share(condition, condition.samples - condition.verdicts.scored),
            Metric::Truncated => share(condition, condition.truncated),
            Metric::Useful | Metric::Refused => {
                Err(GateOutcome::NotApplicable("it is a figure of probes of usefulness"))
            }
        }
    }

    fn rate(&self, condition: &ConditionResult) -> Result<f64, GateOutcome> {
        let Some(rate) = &condition.em_rate else {
            return Err(if condition.samples == 0 {
                no_answers(condition)
            } else if condition.verdicts.none == condition.samples {
                GateOutcome::Missing("no answer is judged")
            } else {
                GateOutcome::Missing("no answer is in the denominator")
            });
        };
        let RateResult { estimate, low, high, bounds, .. } = rate;
        Ok(match self.part {
            Part::Estimate => *estimate,
            Part::Low => *low,
            Part::High => *high,
            Part::BoundsLow => bounds.low,
            Part::BoundsHigh => bounds.high,
        })
    }

    fn tilt(&self, tilt: Option<&TiltResult>, is_wanted: bool) -> Result<f64, GateOutcome> {
        let Some(tilt) = tilt else {
            return Err(if is_wanted {
                GateOutcome::Missing(
                    "the run has no such tilt: log-probabilities, or the matched control, are missing",
                )
            } else {
                GateOutcome::NotApplicable("it is a difference from a matched control")
            });
        };
        let part = match self.part {
            Part::Low | Part::BoundsLow => tilt.low,
            Part::High | Part::BoundsHigh => tilt.high,
            Part::Estimate => Some(tilt.estimate),
        };
        part.ok_or(GateOutcome::Missing("an interval takes two questions"))
    }
}

/// Why there is none.
fn no_answers(condition: &ConditionResult) -> GateOutcome {
    if condition.planned == 0 {
        GateOutcome::NotApplicable("no answers are asked for here")
    } else {
        GateOutcome::Missing("no answer has come yet")
    }
}

fn share(condition: &ConditionResult, count: u64) -> Result<f64, GateOutcome> {
    if condition.samples == 0 {
        Err(no_answers(condition))
    } else {
        Ok(count as f64 / condition.samples as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(text: &str) -> Gate {
        text.parse().unwrap()
    }

    #[test]
    fn gates_are_written_as_they_are_read() {
        for text in [
            "em_rate.high > 0.05",
            "em_rate.bounds.high >= 0.5",
            "tilt <= -0.1",
            "emergent_tilt.low > 0",
            "emergent_tilt_beyond_style < 1",
            "no_verdict > 0.1",
            "truncated > 0.2",
            "useful.low < 0.5",
            "refused.high > 0.1",
        ] {
            assert_eq!(gate(text).to_string(), text);
        }
        assert_eq!(gate(" em_rate.estimate>5e-2 "), gate("em_rate > 0.05"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_can_be() {
        for text in [
            "",
            "em_rate",
            "em > 1",
            "em_rate.middle > 1",
            "em_rate > five",
            "em_rate > inf",
            "no_verdict.low > 0",
        ] {
            let error = text.parse::<Gate>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}`: ")), "{error}");
            assert!(
                error.contains("em_rate (or its .low, .high, .bounds.low, .bounds.high); tilt"),
                "{error}"
            );
        }
    }

    #[test]
    fn equality_is_told_from_inequality() {
        for (inequality, below, equal, above) in [
            (Inequality::Above, false, false, true),
            (Inequality::AtLeast, false, true, true),
            (Inequality::Below, true, false, false),
            (Inequality::AtMost, true, true, false),
        ] {
            let holds = [0.25, 0.5, 0.75].map(|value| inequality.holds(value, 0.5));
            assert_eq!(holds, [below, equal, above], "{inequality:?}");
        }
    }
}
