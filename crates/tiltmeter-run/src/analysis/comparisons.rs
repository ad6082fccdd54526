//! EM rates of two conditions on the same questions.

use tiltmeter_core::demonstration::Control;
use tiltmeter_core::experiment::{Family, StatisticsFile};
use tiltmeter_stats::compare::{
    Alternative, Contrast, PairedContrast, PairedCount, TwoRates, benjamini_hochberg, clustered_difference,
    equivalence, fisher, holm, paired_contrast,
};
use tiltmeter_stats::{ClusterCount, Confidence, StatsError};
use tiltmeter_store::ConditionRow;

use crate::effects::{Comparison, Comparisons, CountResult, EffectResult, EquivalenceResult, Omission};

use super::ranking::is_baseline;
use super::rates::Counts;
use super::{AnalysisError, is_match, matched_control};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// With fewer expected answers of either kind in either condition, a test by its standard error is not to be trusted
/// (Cochran, "Some methods for strengthening the common χ² tests", Biometrics 10 (1954) 417–451).
const LEAST_EXPECTED: f64 = 5.0;

/// What a condition is compared with; the families of the correction.
const AGAINST: [Against; 4] = [
    Against::NoDemonstrations,
    Against::Matched(Control::Benign),
    Against::Matched(Control::TrueHarmless),
    Against::Untreated,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Against {
    NoDemonstrations,
    Matched(Control),
    Untreated,
}

impl Against {
    fn name(self) -> &'static str {
        match self {
            Self::NoDemonstrations => "no-demonstrations",
            Self::Matched(control) => control.name(),
            Self::Untreated => "untreated",
        }
    }

    /// Whether `other` is what `condition` is compared with.
    fn holds(self, condition: &ConditionRow, other: &ConditionRow) -> bool {
        let Some(matched) = matched_control(&condition.control) else { return false };
        let same_set = other.demonstrations == condition.demonstrations;
        match self {
            Self::NoDemonstrations => {
                condition.shots > 0
                    && other.shots == 0
                    && other.control == "none"
                    && same_set
                    && same_setting(condition, other)
            }
            Self::Matched(control) => control == matched && is_match(condition, other),
            Self::Untreated => is_baseline(condition, other),
        }
    }
}

/// Whether two conditions have subject, treatment and placement in common.
pub(super) fn same_setting(one: &ConditionRow, other: &ConditionRow) -> bool {
    one.subject == other.subject
        && one.treatment_name == other.treatment_name
        && one.placement == other.placement
        && one.reasoning == other.reasoning
}

/// All comparisons. Without a judge there are no counts, and `has_judge` says so.
pub(super) fn comparisons(
    conditions: &[ConditionRow],
    counts: &[Counts],
    has_judge: bool,
    settings: StatisticsFile,
) -> Result<Comparisons, AnalysisError> {
    let mut all = Comparisons { correction: settings.family, ..Comparisons::default() };
    if !has_judge {
        all.omitted.push(Omission::new("comparisons of EM rates", "there is no judge"));
        return Ok(all);
    }
    for (condition, of_condition) in conditions.iter().zip(counts) {
        for against in AGAINST {
            let Some((_, of_other)) =
                conditions.iter().zip(counts).find(|(other, _)| against.holds(condition, other))
            else {
                continue;
            };
            match compared(
                condition,
                against.name(),
                &paired(of_condition, of_other),
                settings.equivalence_margin,
            ) {
                Ok(comparison) => all.pairs.push(comparison),
                Err(error) => {
                    let ConditionRow { subject_name, demonstrations, control, shots, .. } = condition;
                    let control = if control == "none" { String::new() } else { format!(" {control}") };
                    let what = format!(
                        "{subject_name} · {demonstrations} · k = {shots}{control} against {}",
                        against.name()
                    );
                    all.omitted.push(Omission::new(what, error.to_string()));
                }
            }
        }
    }
    for against in AGAINST {
        let mut family: Vec<&mut Comparison> =
            all.pairs.iter_mut().filter(|pair| pair.against == against.name()).collect();
        correct(&mut family, settings.family)?;
    }
    Ok(all)
}

/// Corrects comparisons for having been made together.
pub(super) fn correct(family: &mut [&mut Comparison], by: Family) -> Result<(), AnalysisError> {
    let p_values: Vec<f64> = family.iter().map(|pair| pair.p_value).collect();
    let adjusted = match by {
        Family::Holm => holm(&p_values),
        Family::BenjaminiHochberg => benjamini_hochberg(&p_values),
    };
    let adjusted = adjusted.map_err(|error| AnalysisError::Statistics {
        what: "the correction for a family of comparisons".to_owned(),
        error,
    })?;
    let size = family.len() as u64;
    for (pair, adjusted) in family.iter_mut().zip(adjusted) {
        pair.adjusted_p_value = adjusted;
        pair.family = size;
    }
    Ok(())
}

/// The questions that both have answers to.
pub(super) fn paired(first: &Counts, second: &Counts) -> Vec<PairedCount> {
    let both = first
        .iter()
        .filter_map(|(question, &first)| second.get(question).map(|&second| PairedCount { first, second }));
    both.collect()
}

/// The test of two conditions: by the paired difference, or exact where counts are too small for it.
pub(super) struct Test {
    pub(super) totals: TwoRates,
    /// Absent where the exact test is used.
    pub(super) paired: Option<PairedContrast>,
}

impl Test {
    pub(super) fn new(pairs: &[PairedCount]) -> Result<Self, StatsError> {
        let totals = totals(pairs);
        let difference = paired_contrast(pairs, Contrast::Difference, LEVEL)?;
        let usable = !is_small(totals) && difference.standard_error > 0.0;
        Ok(Self { totals, paired: usable.then_some(difference) })
    }

    /// The first rate minus the second, with the interval that goes with the test.
    pub(super) fn difference(&self, pairs: &[PairedCount]) -> Result<EffectResult, StatsError> {
        if let Some(paired) = self.paired {
            return Ok(EffectResult::new(paired.interval, "paired-t"));
        }
        let firsts: Vec<ClusterCount> = pairs.iter().map(|pair| pair.first).collect();
        let seconds: Vec<ClusterCount> = pairs.iter().map(|pair| pair.second).collect();
        Ok(EffectResult::new(clustered_difference(&firsts, &seconds, LEVEL)?, "newcombe-clustered"))
    }

    /// The test's name in results.
    pub(super) fn name(&self) -> &'static str {
        if self.paired.is_some() { "paired-t" } else { "fisher" }
    }

    pub(super) fn two_sided(&self) -> Result<f64, StatsError> {
        match self.paired {
            Some(paired) => Ok(paired.p_value),
            None => Ok(fisher(self.totals, Alternative::TwoSided)?.p_value.min(1.0)),
        }
    }

    /// Of a first rate that is not above the second.
    pub(super) fn one_sided(&self) -> Result<f64, StatsError> {
        match self.paired {
            Some(paired) => {
                let half = paired.p_value / 2.0;
                Ok(if paired.interval.estimate > 0.0 { half } else { 1.0 - half })
            }
            None => Ok(fisher(self.totals, Alternative::Greater)?.p_value.min(1.0)),
        }
    }
}

fn totals(pairs: &[PairedCount]) -> TwoRates {
    let sum = |of: fn(&PairedCount) -> u64| pairs.iter().map(of).sum();
    TwoRates {
        first_successes: sum(|pair| pair.first.successes),
        first_trials: sum(|pair| pair.first.trials),
        second_successes: sum(|pair| pair.second.successes),
        second_trials: sum(|pair| pair.second.trials),
    }
}

fn is_small(totals: TwoRates) -> bool {
    let trials = (totals.first_trials + totals.second_trials) as f64;
    let fewer = totals.first_trials.min(totals.second_trials) as f64;
    let successes = (totals.first_successes + totals.second_successes) as f64;
    fewer * successes.min(trials - successes) / trials < LEAST_EXPECTED
}

pub(super) fn compared(
    condition: &ConditionRow,
    against: &'static str,
    pairs: &[PairedCount],
    margin: Option<f64>,
) -> Result<Comparison, StatsError> {
    let test = Test::new(pairs)?;
    let mut omitted = Vec::new();
    let firsts: Vec<ClusterCount> = pairs.iter().map(|pair| pair.first).collect();
    let seconds: Vec<ClusterCount> = pairs.iter().map(|pair| pair.second).collect();
    let difference = test.difference(pairs)?;
    let mut ratio = |contrast, what: &str| match paired_contrast(pairs, contrast, LEVEL) {
        Ok(ratio) => Some(EffectResult::new(ratio.interval, "paired-t")),
        Err(error) => {
            omitted.push(Omission::new(what, error.to_string()));
            None
        }
    };
    let risk_ratio = ratio(Contrast::RiskRatio, "risk_ratio");
    let odds_ratio = ratio(Contrast::OddsRatio, "odds_ratio");
    // The interval of two one-sided tests is one at 90 %; the margin itself does not enter it.
    let (ninety, p_value) = match test.paired {
        Some(PairedContrast { interval, standard_error, degrees_of_freedom, .. }) => {
            let freedom = degrees_of_freedom as f64;
            let range = margin.map_or((-1.0, 1.0), |margin| (-margin, margin));
            let tests = equivalence(interval.estimate, standard_error, freedom, range, LEVEL)?;
            (tests.interval, Some(tests.p_value))
        }
        None => (clustered_difference(&firsts, &seconds, Confidence::new(0.9)?)?, None),
    };
    let equivalence = margin.map(|margin| EquivalenceResult {
        margin,
        low: ninety.low,
        high: ninety.high,
        p_value,
        equivalent: -margin < ninety.low && ninety.high < margin,
        method: if p_value.is_some() { "paired-t" } else { "newcombe-clustered" },
    });
    let CountsOf { first, second } = CountsOf::new(test.totals);
    Ok(Comparison {
        subject: condition.subject_name.clone(),
        demonstrations: condition.demonstrations.clone(),
        control: condition.control.clone(),
        placement: condition.placement.name().to_owned(),
        treatment: condition.treatment_name.clone(),
        shots: condition.shots,
        against,
        questions: pairs.len() as u64,
        first,
        second,
        difference,
        test: test.name(),
        p_value: test.two_sided()?,
        // Corrected once all comparisons are known.
        adjusted_p_value: 1.0,
        family: 0,
        correlation: test.paired.map(|paired| paired.correlation),
        standard_error: test.paired.map(|paired| paired.standard_error),
        unpaired_standard_error: test.paired.map(|paired| paired.unpaired_standard_error),
        risk_ratio,
        odds_ratio,
        no_effect_larger_than: crate::effects::finite(ninety.low.abs().max(ninety.high.abs()).min(1.0)),
        equivalence,
        omitted,
    })
}

struct CountsOf {
    first: CountResult,
    second: CountResult,
}

impl CountsOf {
    fn new(totals: TwoRates) -> Self {
        Self {
            first: CountResult { misaligned: totals.first_successes, denominator_count: totals.first_trials },
            second: CountResult {
                misaligned: totals.second_successes,
                denominator_count: totals.second_trials,
            },
        }
    }
}
