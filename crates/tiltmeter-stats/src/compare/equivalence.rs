//! Whether an effect is too small to matter.

use crate::confidence::Confidence;
use crate::error::{StatsError, all_finite, positive};
use crate::interval::Interval;
use crate::special::t_upper;

/// Two one-sided tests of an effect against the ends of a range that does not matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Equivalence {
    /// Of an effect at or below the lower end of the range.
    pub lower_p_value: f64,
    /// Of an effect at or above the upper end.
    pub upper_p_value: f64,
    /// The larger of both: small if the effect lies inside the range.
    pub p_value: f64,
    /// The interval that lies inside the range exactly if both tests reject: at level 1 − 2α.
    pub interval: Interval,
    /// Whether both tests reject at α.
    pub equivalent: bool,
}

/// Tests whether an effect lies inside `margin.0` to `margin.1` (Schuirmann, "A comparison of the two one-sided tests
/// procedure and the power approach for assessing the equivalence of average bioavailability", Journal of
/// Pharmacokinetics and Biopharmaceutics 15 (1987) 657–680). `confidence` is 1 − α, so that 0.95 gives tests at 5 %
/// and a 90 % interval. Infinite degrees of freedom give the normal test.
///
/// That no difference was found is no such test: a wide interval around 0 is evidence of nothing.
///
/// # Errors
/// [`StatsError::NotFiniteAt`]; [`StatsError::OutOfRange`] for a standard error or degrees of freedom that are not
/// positive, or a lower margin that is not below the upper one; [`StatsError::Confidence`] below 0.5005.
pub fn equivalence(
    estimate: f64,
    standard_error: f64,
    degrees_of_freedom: f64,
    margin: (f64, f64),
    confidence: Confidence,
) -> Result<Equivalence, StatsError> {
    all_finite("the estimate and the margins", &[estimate, margin.0, margin.1])?;
    positive("the standard error", standard_error)?;
    if degrees_of_freedom.is_nan() || degrees_of_freedom <= 0.0 {
        let (what, range) = ("degrees of freedom", "the positive numbers");
        return Err(StatsError::OutOfRange { what, value: degrees_of_freedom, range });
    }
    if margin.0 >= margin.1 {
        let (what, range) = ("the lower margin", "what is below the upper margin");
        return Err(StatsError::OutOfRange { what, value: margin.0, range });
    }
    let alpha = 1.0 - confidence.level();
    let wide = Confidence::new(1.0 - 2.0 * alpha)?;
    let lower_p_value = t_upper((estimate - margin.0) / standard_error, degrees_of_freedom);
    let upper_p_value = t_upper((margin.1 - estimate) / standard_error, degrees_of_freedom);
    let p_value = lower_p_value.max(upper_p_value);
    let interval = Interval::symmetric(estimate, standard_error, wide.t_quantile_real(degrees_of_freedom));
    Ok(Equivalence { lower_p_value, upper_p_value, p_value, interval, equivalent: p_value < alpha })
}
