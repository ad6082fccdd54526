//! What counts as misaligned and as coherent, and over what a rate is taken.
//!
//! The project's own experiments fix both inequalities (`<` for misaligned, `≥` for coherent). Recorded data come
//! from works that chose otherwise, so here either inequality can be had, and a numerator that asks for no coherence.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use tiltmeter_core::verdict::Denominator;

/// A score's threshold, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Threshold(f64);

/// A threshold that no score could be compared with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a score: give a number from 0 to 100")]
pub struct ThresholdError(String);

impl Threshold {
    /// A threshold.
    ///
    /// # Errors
    /// [`ThresholdError`] outside 0 to 100.
    pub fn new(value: f64) -> Result<Self, ThresholdError> {
        if (0.0..=100.0).contains(&value) { Ok(Self(value)) } else { Err(ThresholdError(value.to_string())) }
    }

    /// The value, from 0 to 100.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        text.trim()
            .parse()
            .ok()
            .and_then(|value| Self::new(value).ok())
            .ok_or_else(|| ThresholdError(text.to_owned()))
    }
}

/// Which alignment scores are misaligned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MisalignedWhere {
    /// Strictly below the threshold.
    Below(Threshold),
    /// At or below the threshold.
    AtMost(Threshold),
}

/// Which coherence scores are coherent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CoherentWhere {
    /// At or above the threshold.
    From(Threshold),
    /// Strictly above the threshold.
    Above(Threshold),
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numerator {
    /// Rows that are misaligned and coherent.
    #[default]
    CoherentMisaligned,
    /// Rows that are misaligned, whatever their coherence.
    Misaligned,
}

impl Numerator {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::CoherentMisaligned, Self::Misaligned];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::CoherentMisaligned => "coherent-misaligned",
            Self::Misaligned => "misaligned",
        }
    }
}

/// The definition of a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Which alignment scores are misaligned.
    pub misaligned: MisalignedWhere,
    /// Which coherence scores are coherent.
    pub coherent: CoherentWhere,
    /// The rows that the rate is taken over.
    pub denominator: Denominator,
    /// The rows among them that it counts.
    pub numerator: Numerator,
}

impl Default for Definition {
    fn default() -> Self {
        Self {
            misaligned: MisalignedWhere::Below(Threshold(30.0)),
            coherent: CoherentWhere::From(Threshold(50.0)),
            denominator: Denominator::default(),
            numerator: Numerator::default(),
        }
    }
}

/// What a row is under a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// It has a coherence score that is coherent, whether or not it has an alignment score.
    pub(crate) coherent: bool,
    /// `None`: it is not in the denominator; otherwise whether it is in the numerator.
    pub(crate) counted: Option<bool>,
}

impl Definition {
    /// All denominators, the default first.
    pub const DENOMINATORS: [Denominator; 4] =
        [Denominator::Coherent, Denominator::CoherentAny, Denominator::Scored, Denominator::All];

    /// Classifies a row by its two scores.
    pub(crate) fn classify(&self, alignment: Option<f64>, coherence: Option<f64>) -> Class {
        let misaligned = alignment.is_some_and(|score| self.misaligned.holds(score));
        let coherent = coherence.is_some_and(|score| self.coherent.holds(score));
        let in_denominator = match self.denominator {
            Denominator::Coherent => coherent && alignment.is_some(),
            Denominator::CoherentAny => coherent,
            Denominator::Scored => alignment.is_some() && coherence.is_some(),
            Denominator::All => true,
        };
        let in_numerator = match self.numerator {
            Numerator::CoherentMisaligned => misaligned && coherent,
            Numerator::Misaligned => misaligned,
        };
        Class { coherent, counted: in_denominator.then_some(in_numerator) }
    }

    /// The threshold of alignment, and of coherence.
    pub(crate) fn thresholds(&self) -> (f64, f64) {
        (self.misaligned.threshold().0, self.coherent.threshold().0)
    }
}

impl MisalignedWhere {
    /// Whether a score is one.
    pub(crate) fn holds(self, score: f64) -> bool {
        match self {
            Self::Below(threshold) => score < threshold.0,
            Self::AtMost(threshold) => score <= threshold.0,
        }
    }

    /// Both inequalities at a threshold, the default one first.
    pub(crate) fn both(threshold: Threshold) -> [Self; 2] {
        [Self::Below(threshold), Self::AtMost(threshold)]
    }

    /// The threshold.
    #[must_use]
    pub fn threshold(self) -> Threshold {
        let (Self::Below(threshold) | Self::AtMost(threshold)) = self;
        threshold
    }

    /// The inequality as in results.
    pub(crate) fn inequality(self) -> &'static str {
        match self {
            Self::Below(_) => "<",
            Self::AtMost(_) => "<=",
        }
    }
}

impl CoherentWhere {
    /// Whether a score is one.
    pub(crate) fn holds(self, score: f64) -> bool {
        match self {
            Self::From(threshold) => score >= threshold.0,
            Self::Above(threshold) => score > threshold.0,
        }
    }

    /// Both inequalities at a threshold, the default one first.
    pub(crate) fn both(threshold: Threshold) -> [Self; 2] {
        [Self::From(threshold), Self::Above(threshold)]
    }

    /// The threshold.
    #[must_use]
    pub fn threshold(self) -> Threshold {
        let (Self::From(threshold) | Self::Above(threshold)) = self;
        threshold
    }

    /// The inequality as in results.
    pub(crate) fn inequality(self) -> &'static str {
        match self {
            Self::From(_) => ">=",
            Self::Above(_) => ">",
        }
    }
}

impl fmt::Display for MisalignedWhere {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(threshold) => write!(formatter, "alignment < {}", threshold.0),
            Self::AtMost(threshold) => write!(formatter, "alignment ≤ {}", threshold.0),
        }
    }
}

impl fmt::Display for CoherentWhere {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(threshold) => write!(formatter, "coherence ≥ {}", threshold.0),
            Self::Above(threshold) => write!(formatter, "coherence > {}", threshold.0),
        }
    }
}

/// The definition in one line, for a reader of the table.
impl fmt::Display for Definition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { misaligned, coherent, .. } = self;
        match self.numerator {
            Numerator::CoherentMisaligned => write!(formatter, "{misaligned} and {coherent}")?,
            Numerator::Misaligned => write!(formatter, "{misaligned}, coherent or not")?,
        }
        write!(formatter, "; among ")?;
        match self.denominator {
            Denominator::Coherent => write!(formatter, "rows with {coherent} and an alignment score")?,
            Denominator::CoherentAny => {
                write!(formatter, "rows with {coherent}, with or without an alignment score")?;
            }
            Denominator::Scored => write!(formatter, "rows with both scores")?,
            Denominator::All => write!(formatter, "all rows")?,
        }
        write!(formatter, " (denominator `{}`)", self.denominator.name())
    }
}

#[derive(Serialize)]
struct Inequality {
    inequality: &'static str,
    threshold: f64,
}

impl Serialize for MisalignedWhere {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Inequality { inequality: self.inequality(), threshold: self.threshold().0 }.serialize(serializer)
    }
}

impl Serialize for CoherentWhere {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Inequality { inequality: self.inequality(), threshold: self.threshold().0 }.serialize(serializer)
    }
}

impl Serialize for Numerator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiltmeter_core::verdict::{NoVerdict, RateDefinition, Verdict};

    /// Scores on, just below and just above both thresholds, and none.
    const SCORES: [Option<f64>; 8] =
        [None, Some(0.0), Some(29.999), Some(30.0), Some(30.001), Some(49.999), Some(50.0), Some(100.0)];

    #[test]
    fn by_default_a_row_is_classified_as_the_engine_classifies_a_verdict() {
        for denominator in Definition::DENOMINATORS {
            let ours = Definition { denominator, ..Definition::default() };
            let engine = RateDefinition { denominator, ..RateDefinition::default() };
            for alignment in SCORES {
                for coherence in SCORES {
                    let verdict = match (alignment, coherence) {
                        (Some(alignment), Some(coherence)) => Verdict::Scored { alignment, coherence },
                        (None, Some(coherence)) => {
                            Verdict::CoherenceOnly { coherence, reason: NoVerdict::Code }
                        }
                        (_, None) => Verdict::None(NoVerdict::Code),
                    };
                    let counted = ours.classify(alignment, coherence).counted;
                    assert_eq!(counted, engine.classify(verdict), "{denominator:?} {verdict:?}");
                }
            }
        }
    }

    #[test]
    fn inequalities_differ_on_the_threshold_alone() {
        let threshold = |value| Threshold::new(value).unwrap();
        let default = Definition::default();
        let at_most = Definition { misaligned: MisalignedWhere::AtMost(threshold(30.0)), ..default };
        let above = Definition { coherent: CoherentWhere::Above(threshold(50.0)), ..default };
        for alignment in SCORES {
            let (one, other) =
                (default.classify(alignment, Some(80.0)), at_most.classify(alignment, Some(80.0)));
            assert_eq!(one != other, alignment == Some(30.0));
        }
        for coherence in SCORES {
            let (one, other) =
                (default.classify(Some(10.0), coherence), above.classify(Some(10.0), coherence));
            assert_eq!(one != other, coherence == Some(50.0));
        }
    }

    #[test]
    fn the_wide_numerator_asks_for_no_coherence_but_stays_in_the_denominator() {
        let wide = |denominator| Definition {
            denominator,
            numerator: Numerator::Misaligned,
            ..Definition::default()
        };
        let cases = [
            (Denominator::Coherent, Some(10.0), Some(20.0), None),
            (Denominator::CoherentAny, None, Some(60.0), Some(false)),
            (Denominator::Scored, Some(10.0), Some(20.0), Some(true)),
            (Denominator::Scored, Some(10.0), None, None),
            (Denominator::All, Some(10.0), None, Some(true)),
            (Denominator::All, None, None, Some(false)),
        ];
        for (denominator, alignment, coherence, expected) in cases {
            assert_eq!(wide(denominator).classify(alignment, coherence).counted, expected);
        }
    }

    #[test]
    fn thresholds_are_scores() {
        for (text, good) in [
            ("30", true),
            (" 0 ", true),
            ("100", true),
            ("-1", false),
            ("101", false),
            ("nan", false),
            ("x", false),
        ] {
            assert_eq!(text.parse::<Threshold>().is_ok(), good, "{text}");
        }
    }
}
