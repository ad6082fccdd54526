//! What a planned condition can resolve, before anything is asked.

use serde::Serialize;
use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::plan::{Condition, Plan};
use tiltmeter_core::usefulness::Purpose;
use tiltmeter_stats::planning::{ComparisonDesign, SampleDesign, detectable_difference};
use tiltmeter_stats::{Confidence, StatsError};

/// How much alike two answers to one question are assumed to be, unless the field's data say otherwise: rates of
/// this kind have intra-question correlations of some 0.05 to 0.5.
const CORRELATION: f64 = 0.2;
/// How much of what is particular to a question is assumed to be the same in two conditions.
const SHARED: f64 = 0.5;
/// The rates at which a half-width is told.
const RATES: [f64; 3] = [0.02, 0.1, 0.3];
/// The rate without demonstrations that a difference is told from.
const BASELINE: f64 = 0.01;
/// The probability of seeing a difference that is there.
const POWER: f64 = 0.8;

/// What conditions of one size can resolve, at 95 % confidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resolution {
    /// Questions of a condition.
    pub questions: u64,
    /// Answers to each of them: contexts × replicates.
    pub answers_per_question: u64,
    /// How many conditions have this size.
    pub conditions: u64,
    /// The correlation of answers to one question that is assumed.
    pub assumed_correlation: f64,
    /// Half the width of the rate's interval, by rate.
    pub half_widths: Vec<HalfWidth>,
    /// The baseline rate of `detectable`.
    pub baseline: f64,
    /// The smallest rate that is told from the baseline with a probability of 0.8; absent where none is.
    pub detectable: Option<f64>,
}

/// Half the width of an interval that is to be expected at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HalfWidth {
    /// The true rate.
    pub rate: f64,
    /// Half the width.
    pub half_width: f64,
}

/// What the plan's conditions can resolve, one entry for each size, largest first. Conditions without demonstrations,
/// without answers or with fewer than two questions have none.
///
/// # Errors
/// Never for a plan of this program; the statistics' error otherwise.
pub fn resolution(experiment: &Experiment, plan: &Plan) -> Result<Vec<Resolution>, StatsError> {
    let size = |condition: &Condition| {
        let answers = condition.contexts.len() as u64 * u64::from(experiment.replicates);
        (condition.sampled.len() as u64, answers)
    };
    let mut sizes: Vec<(u64, u64)> = plan
        .conditions
        .iter()
        .filter(|one| one.purpose == Purpose::Misalignment && one.shots > 0 && one.sampled.len() > 1)
        .map(size)
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut all = Vec::new();
    for of_size in sizes.chunk_by(|a, b| a == b) {
        let Some(&(questions, answers_per_question)) = of_size.first() else { continue };
        let samples =
            SampleDesign { questions, samples_per_question: answers_per_question, correlation: CORRELATION };
        let half_width = |rate| {
            let half_width = samples.expected_half_width(rate, Confidence::NINETY_FIVE)?;
            Ok(HalfWidth { rate, half_width })
        };
        let comparison = ComparisonDesign { samples, shared: SHARED };
        all.push(Resolution {
            questions,
            answers_per_question,
            conditions: of_size.len() as u64,
            assumed_correlation: CORRELATION,
            half_widths: RATES.into_iter().map(half_width).collect::<Result<_, StatsError>>()?,
            baseline: BASELINE,
            detectable: detectable_difference(BASELINE, POWER, &comparison, Confidence::NINETY_FIVE)?,
        });
    }
    Ok(all)
}
