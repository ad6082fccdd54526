//! Confidence levels, and the quantiles that belong to them.

use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};

use crate::error::StatsError;
use crate::special::t_point;

/// A two-sided confidence level from 0.001 to 0.999999; beyond these its quantiles would lose their digits.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Confidence(f64);

impl Default for Confidence {
    fn default() -> Self {
        Self::NINETY_FIVE
    }
}

impl Confidence {
    /// 95 %, the level of every interval that a report shows.
    pub const NINETY_FIVE: Self = Self(0.95);

    /// A level, such as 0.95.
    ///
    /// # Errors
    /// [`StatsError::Confidence`] outside the range.
    pub fn new(level: f64) -> Result<Self, StatsError> {
        if (0.001..=0.999_999).contains(&level) {
            Ok(Self(level))
        } else {
            Err(StatsError::Confidence(level))
        }
    }

    /// The level.
    pub fn level(self) -> f64 {
        self.0
    }

    /// The probability that is left out at either end, such as 0.025.
    pub fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// The two-sided quantile of the standard normal distribution, such as 1.96.
    pub fn normal_quantile(self) -> f64 {
        // The lower tail is the one that keeps its digits for levels close to 1.
        -Normal::standard().inverse_cdf(self.tail())
    }

    /// The two-sided quantile of Student's t distribution. Fewer than one degree of freedom count as one.
    pub fn t_quantile(self, degrees_of_freedom: u64) -> f64 {
        let degrees_of_freedom = degrees_of_freedom.max(1) as f64;
        let Ok(distribution) = StudentsT::new(0.0, 1.0, degrees_of_freedom) else {
            return self.normal_quantile();
        };
        // The library's inverse is good to about eight digits for many degrees of freedom; its distribution
        // function is better, and two of Newton's steps carry that over.
        let mut quantile = -distribution.inverse_cdf(self.tail());
        for _ in 0..2 {
            quantile += (distribution.cdf(-quantile) - self.tail()) / distribution.pdf(quantile);
        }
        quantile
    }

    /// The two-sided quantile of Student's t distribution for degrees of freedom that need not be whole, such as
    /// Welch's or Bell and `McCaffrey`'s. Fewer than one count as one.
    pub fn t_quantile_real(self, degrees_of_freedom: f64) -> f64 {
        // Also false for what is not a number, for which no quantile would be right.
        if degrees_of_freedom < 1e9 {
            t_point(self.tail(), degrees_of_freedom.max(1.0))
        } else {
            self.normal_quantile()
        }
    }
}
