//! Intervals that hold at all times at once, so that looking at them and stopping is allowed.
//!
//! An ordinary 95 % interval covers with 95 % at one time that was fixed beforehand. Who looks after every round and
//! stops when he likes what he sees will be wrong far more often. A confidence sequence covers, with 95 %, at all
//! times together (Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of Mathematical
//! Statistics 41 (1970) 1397–1409; Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences",
//! Annals of Statistics 49 (2021) 1055–1080).

use crate::confidence::Confidence;
use crate::error::{StatsError, at_least, share};
use crate::interval::Interval;

/// The mixing distribution Beta(½, ½): close to the best for every rate, also near 0.
const SHAPE: f64 = 0.5;
/// Halvings of the search for an end.
const HALVINGS: u32 = 200;

/// The beta-binomial mixture sequence of a rate: all `p` for which
/// `B(s + ½, f + ½) / B(½, ½) / (p^s (1 − p)^f) < 1 / α`, with s successes and f failures so far.
///
/// Trials need not be alike: where whole rounds are added, one trial of every question of a fixed set, it holds at
/// the ends of rounds for the **mean rate of this set**, because for every s the expectation of `e^{λ s}` of a round
/// is largest where all questions have the same rate (Hoeffding, "On the distribution of the number of successes in
/// independent trials", Annals of Mathematical Statistics 27 (1956) 713–721, so that the mixture stays a
/// supermartingale). It says nothing of other questions.
///
/// # Errors
/// [`StatsError::NoTrials`], [`StatsError::MoreSuccessesThanTrials`].
pub fn rate_sequence(successes: u64, trials: u64, confidence: Confidence) -> Result<Interval, StatsError> {
    if trials == 0 {
        return Err(StatsError::NoTrials);
    }
    let Some(failures) = trials.checked_sub(successes) else {
        return Err(StatsError::MoreSuccessesThanTrials { successes, trials });
    };
    Ok(real_rate_sequence(successes as f64, failures as f64, confidence))
}

/// The sequence for counts that need not be whole, as expected ones in planning are not.
pub(super) fn real_rate_sequence(s: f64, f: f64, confidence: Confidence) -> Interval {
    let log_beta = |a: f64, b: f64| libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let mixture = log_beta(s + SHAPE, f + SHAPE) - log_beta(SHAPE, SHAPE);
    let threshold = -(2.0 * confidence.tail()).ln();
    // x ln y, which is 0 at x = 0 even where the logarithm is infinite.
    let part = |count: f64, log: f64| if count > 0.0 { count * log } else { 0.0 };
    let inside = |p: f64| mixture - part(s, p.ln()) - part(f, (-p).ln_1p()) < threshold;
    let estimate = s / (s + f);
    let end = |beyond: f64| {
        if inside(beyond) {
            return beyond;
        }
        let (mut within, mut outside) = (estimate, beyond);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(within, outside);
            if inside(middle) { within = middle } else { outside = middle }
        }
        within
    };
    Interval { estimate, low: end(0.0), high: end(1.0) }
}

/// The empirical-Bernstein sequence of the mean of values between 0 and 1 (Waudby-Smith & Ramdas, "Estimating means of
/// bounded random variables by betting", Journal of the Royal Statistical Society B 86 (2024) 1–27, theorem 2, with
/// their predictable mixture), after the last value. The values come one by one with the same mean given those
/// before them, such as the means of whole rounds. It needs some hundred values before it is narrow, whatever
/// their spread; for a rate [`rate_sequence`] on the single trials is far better.
///
/// # Errors
/// [`StatsError::TooFew`] without values; [`StatsError::OutOfRange`] for one outside 0 to 1.
pub fn mean_sequence(values: &[f64], confidence: Confidence) -> Result<Interval, StatsError> {
    at_least("values", 1, values.len())?;
    let logarithm = -confidence.tail().ln();
    let (mut weights, mut weighted, mut penalty) = (0.0, 0.0, 0.0);
    // Regularised sums, each from the values before the one at hand.
    let (mut sum, mut squares) = (0.5, 0.25);
    for (index, &value) in values.iter().enumerate() {
        share("a value", value)?;
        let t = index as f64 + 1.0;
        let mean = sum / t;
        let variance: f64 = squares / t;
        let bet = (2.0 * logarithm / (variance * t * t.ln_1p())).sqrt().min(0.5);
        let miss = value - mean;
        penalty += miss * miss * (-(-bet).ln_1p() - bet);
        weights += bet;
        weighted += bet * value;
        sum += value;
        let updated = sum / (t + 1.0);
        squares += (value - updated) * (value - updated);
    }
    let centre = weighted / weights;
    let half = (logarithm + penalty) / weights;
    Ok(Interval { estimate: centre, low: centre - half, high: centre + half }.clamped(0.0, 1.0))
}
