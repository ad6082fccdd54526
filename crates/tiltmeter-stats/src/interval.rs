//! An estimate with its interval.

/// An estimate with its interval: `low ≤ estimate ≤ high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The point estimate.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The distance between the ends.
    pub fn width(self) -> f64 {
        self.high - self.low
    }

    /// Half the distance between the ends.
    pub fn half_width(self) -> f64 {
        self.width() / 2.0
    }

    /// Whether a value lies between the ends, or on one.
    pub fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// `estimate ± quantile · standard_error`.
    pub(crate) fn symmetric(estimate: f64, standard_error: f64, quantile: f64) -> Self {
        let half = quantile * standard_error;
        Self { estimate, low: estimate - half, high: estimate + half }
    }

    /// The interval with its ends and its estimate put through an increasing function.
    pub(crate) fn map(self, increasing: impl Fn(f64) -> f64) -> Self {
        Self { estimate: increasing(self.estimate), low: increasing(self.low), high: increasing(self.high) }
    }

    /// The interval cut off at the ends of what is possible; the estimate stays.
    #[must_use]
    pub fn clamped(self, low: f64, high: f64) -> Self {
        Self { low: self.low.clamp(low, high), high: self.high.clamp(low, high), ..self }
    }
}
