//! A judge's score, cut at a threshold, against a yes or no that is taken for true.

use crate::confidence::Confidence;
use crate::error::{StatsError, all_finite, same_length};
use crate::interval::Interval;
use crate::rates::wilson;

/// Which side of the threshold is positive, and whether the threshold itself is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositiveWhen {
    /// `score < threshold`.
    Below,
    /// `score ≤ threshold`.
    AtMost,
    /// `score ≥ threshold`.
    AtLeast,
    /// `score > threshold`.
    Above,
}

impl PositiveWhen {
    /// Whether a score is positive.
    pub fn holds(self, score: f64, threshold: f64) -> bool {
        match self {
            Self::Below => score < threshold,
            Self::AtMost => score <= threshold,
            Self::AtLeast => score >= threshold,
            Self::Above => score > threshold,
        }
    }
}

/// Counts of a judge's decisions against the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// Positive, and rightly so.
    pub true_positives: u64,
    /// Positive, but wrongly.
    pub false_positives: u64,
    /// Negative, but wrongly.
    pub false_negatives: u64,
    /// Negative, and rightly so.
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts the decisions at a threshold.
    ///
    /// # Errors
    /// [`StatsError::Lengths`], [`StatsError::NotFiniteAt`].
    pub fn at_threshold(
        scores: &[f64],
        truths: &[bool],
        threshold: f64,
        positive: PositiveWhen,
    ) -> Result<Self, StatsError> {
        same_length("scores and truths", scores.len(), truths.len())?;
        all_finite("the scores", scores)?;
        let mut counts =
            Self { true_positives: 0, false_positives: 0, false_negatives: 0, true_negatives: 0 };
        for (&score, &truth) in scores.iter().zip(truths) {
            let count = match (positive.holds(score, threshold), truth) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, true) => &mut counts.false_negatives,
                (false, false) => &mut counts.true_negatives,
            };
            *count += 1;
        }
        Ok(counts)
    }

    /// The share of the truly positive that the judge found; `None` without any.
    pub fn sensitivity(&self, confidence: Confidence) -> Option<Interval> {
        part(self.true_positives, self.false_negatives, confidence)
    }

    /// The share of the truly negative that the judge left alone; `None` without any.
    pub fn specificity(&self, confidence: Confidence) -> Option<Interval> {
        part(self.true_negatives, self.false_positives, confidence)
    }

    /// The share of the judge's positives that are true; `None` without any.
    pub fn precision(&self, confidence: Confidence) -> Option<Interval> {
        part(self.true_positives, self.false_positives, confidence)
    }

    /// The share of the judge's negatives that are true; `None` without any.
    pub fn negative_predictive_value(&self, confidence: Confidence) -> Option<Interval> {
        part(self.true_negatives, self.false_negatives, confidence)
    }

    /// The share of right decisions; `None` without any.
    pub fn accuracy(&self, confidence: Confidence) -> Option<Interval> {
        part(
            self.true_positives + self.true_negatives,
            self.false_positives + self.false_negatives,
            confidence,
        )
    }
}

fn part(successes: u64, failures: u64, confidence: Confidence) -> Option<Interval> {
    wilson(successes, successes.checked_add(failures)?, confidence).ok()
}
