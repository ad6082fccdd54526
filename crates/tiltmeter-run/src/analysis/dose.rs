//! How the EM rate and the tilt of one subject grow with demonstrations.

use tiltmeter_stats::dose::{
    Coefficient, LogisticFit, LogisticRow, Penalty, PowerLaw, PowerLawPoint, logistic, onset, power_law,
    shots_covariate,
};
use tiltmeter_stats::{Confidence, StatsError};
use tiltmeter_store::ConditionRow;

use crate::effects::{
    DoseResult, EffectResult, Omission, OnsetDoseResult, OnsetResult, PowerLawResult, SlopeResult, finite,
};

use super::comparisons::{Test, paired, same_setting};
use super::is_match;
use super::rates::Counts;
use super::tilt::Tilts;

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// Fewer values of k, 0 among them, tell nothing of a curve with four parameters.
const LEAST_DOSES: usize = 4;

/// A condition with its counts.
#[derive(Clone, Copy)]
pub(super) struct Dose<'a> {
    pub(super) condition: &'a ConditionRow,
    pub(super) counts: &'a Counts,
}

/// The conditions of one subject, set and treatment with the set's own answers, by k.
pub(super) fn series<'a>(conditions: &'a [ConditionRow], counts: &'a [Counts]) -> Vec<Vec<Dose<'a>>> {
    let mut all: Vec<Vec<Dose<'a>>> = Vec::new();
    for (condition, counts) in conditions.iter().zip(counts) {
        if condition.control != "none" {
            continue;
        }
        let dose = Dose { condition, counts };
        let same = |one: &Vec<Dose<'_>>| {
            one.first().is_some_and(|first| {
                same_setting(first.condition, condition)
                    && first.condition.demonstrations == condition.demonstrations
            })
        };
        match all.iter_mut().find(|one| same(one)) {
            Some(series) => series.push(dose),
            None => all.push(vec![dose]),
        }
    }
    for series in &mut all {
        series.sort_by_key(|dose| dose.condition.shots);
    }
    all
}

/// Dose and response of one series, which is not empty.
pub(super) fn dose(
    series: &[Dose<'_>],
    conditions: &[ConditionRow],
    tilts: &Tilts,
    has_judge: bool,
) -> Option<DoseResult> {
    let first = series.first()?.condition;
    let mut omitted = Vec::new();
    let mut kept = |what: &str, error: &dyn ToString| omitted.push(Omission::new(what, error.to_string()));
    let slope = slope(series, has_judge).map_err(|why| kept("slope", &why)).ok();
    let onset = onset_of(series, has_judge).map_err(|why| kept("onset", &why)).ok();
    let tilt_law = law(series, |one| tilts.draws(one, None)).map_err(|why| kept("tilt_law", &why)).ok();
    let twin_of = |one: &ConditionRow| conditions.iter().find(|other| is_match(one, other));
    let emergent_tilt_law = if series.iter().any(|dose| twin_of(dose.condition).is_some()) {
        // Without its twin a condition has no emergent tilt, and must not be taken for one with the plain one.
        let of = |one: &ConditionRow| twin_of(one).map_or_else(Vec::new, |twin| tilts.draws(one, Some(twin)));
        law(series, of).map_err(|why| kept("emergent_tilt_law", &why)).ok()
    } else {
        kept("emergent_tilt_law", &"there is no benign control");
        None
    };
    Some(DoseResult {
        subject: first.subject_name.clone(),
        demonstrations: first.demonstrations.clone(),
        placement: first.placement.name().to_owned(),
        treatment: first.treatment_name.clone(),
        shots: series.iter().map(|dose| dose.condition.shots).collect(),
        slope,
        onset,
        tilt_law,
        emergent_tilt_law,
        omitted,
    })
}

/// Why a rate cannot be related to anything, if it cannot.
pub(super) fn rates_are_missing(series: &[Dose<'_>], has_judge: bool) -> Option<&'static str> {
    if !has_judge {
        return Some("there is no judge");
    }
    let counts = || series.iter().flat_map(|dose| dose.counts.values());
    let doses = series.iter().filter(|dose| !dose.counts.is_empty()).count();
    let (successes, trials): (u64, u64) = counts()
        .fold((0, 0), |(successes, trials), count| (successes + count.successes, trials + count.trials));
    if trials == 0 {
        Some("there is no answer in the denominator")
    } else if doses < 2 {
        Some("only one k has answers in the denominator")
    } else if successes == 0 {
        Some("no answer is misaligned at any k")
    } else if successes == trials {
        Some("every answer is misaligned at every k")
    } else {
        None
    }
}

/// A question's row number, which is positive, as a cluster.
pub(super) fn cluster(row: i64) -> u64 {
    row.unsigned_abs()
}

fn slope(series: &[Dose<'_>], has_judge: bool) -> Result<SlopeResult, String> {
    if let Some(why) = rates_are_missing(series, has_judge) {
        return Err(why.to_owned());
    }
    let rows: Vec<LogisticRow> = series
        .iter()
        .flat_map(|dose| dose.counts.iter().map(move |counted| (dose.condition.shots, counted)))
        .map(|(shots, (&question, count))| LogisticRow {
            successes: count.successes,
            trials: count.trials,
            covariates: vec![shots_covariate(u64::from(shots))],
            cluster: cluster(question),
        })
        .collect();
    let fit =
        logistic(&rows, Penalty::FirthIfSeparated, LEVEL).map_err(|error: StatsError| error.to_string())?;
    fit.coefficients.get(1).map(|one| coefficient(one, &fit)).ok_or_else(|| "there is no slope".to_owned())
}

/// A coefficient as a result: by the profile where the fit is penalised, else cluster-robust.
pub(super) fn coefficient(one: &Coefficient, fit: &LogisticFit) -> SlopeResult {
    let (interval, p_value, method) = match one.profile {
        Some(profile) => (profile, one.profile_p_value, "firth-profile"),
        None => (one.interval, Some(one.p_value), "logistic-cr2"),
    };
    SlopeResult {
        estimate: interval.estimate,
        low: finite(interval.low),
        high: finite(interval.high),
        p_value: p_value.and_then(finite),
        standard_error: finite(one.cr2_error),
        independent_standard_error: finite(one.model_error),
        degrees_of_freedom: finite(one.degrees_of_freedom),
        clusters: fit.clusters as u64,
        method,
    }
}

fn onset_of(series: &[Dose<'_>], has_judge: bool) -> Result<OnsetResult, String> {
    if !has_judge {
        return Err("there is no judge".to_owned());
    }
    let baseline = series.iter().find(|dose| dose.condition.shots == 0 && !dose.counts.is_empty());
    let Some(baseline) = baseline else { return Err("k = 0 has no answers in the denominator".to_owned()) };
    let mut p_values = Vec::new();
    for dose in series.iter().filter(|dose| dose.condition.shots > 0 && !dose.counts.is_empty()) {
        let test = Test::new(&paired(dose.counts, baseline.counts)).and_then(|test| test.one_sided());
        p_values.push((u64::from(dose.condition.shots), test.map_err(|error| error.to_string())?));
    }
    if p_values.is_empty() {
        return Err("no k above 0 has answers in the denominator".to_owned());
    }
    let found = onset(&p_values, LEVEL).map_err(|error| error.to_string())?;
    Ok(OnsetResult {
        shots: found.shots,
        doses: found
            .doses
            .iter()
            .map(|dose| OnsetDoseResult {
                shots: dose.shots,
                p_value: dose.p_value,
                adjusted_p_value: dose.adjusted_p_value,
            })
            .collect(),
    })
}

/// The law of the tilts of single context draws at each k. Every draw starts from 0 at k = 0, where there is no tilt by
/// definition.
fn law(series: &[Dose<'_>], values_of: impl Fn(&ConditionRow) -> Vec<f64>) -> Result<PowerLawResult, String> {
    let mut points = Vec::new();
    let (mut doses, mut most_draws) = (1, 0);
    for dose in series.iter().filter(|dose| dose.condition.shots > 0) {
        let values = values_of(dose.condition);
        doses += usize::from(!values.is_empty());
        most_draws = most_draws.max(values.len());
        let shots = f64::from(dose.condition.shots);
        points.extend(values.into_iter().map(|value| PowerLawPoint { shots, value, weight: 1.0 }));
    }
    if points.is_empty() {
        return Err("there is no tilt above k = 0".to_owned());
    }
    if doses < LEAST_DOSES {
        return Err(format!("{doses} values of k, 0 among them, where at least {LEAST_DOSES} are needed"));
    }
    points.extend((0..most_draws).map(|_| PowerLawPoint { shots: 0.0, value: 0.0, weight: 1.0 }));
    let fitted = power_law(&points, LEVEL).map_err(|error| error.to_string())?;
    let PowerLaw { amplitude, scale, exponent, limit, at_bound, .. } = fitted;
    let effect = |interval| EffectResult::new(interval, "least-squares");
    Ok(PowerLawResult {
        amplitude: effect(amplitude),
        scale: effect(scale),
        exponent: effect(exponent),
        limit: effect(limit),
        at_bound,
        points: points.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tiltmeter_core::prompt::{Placement, QuestionFormat};
    use tiltmeter_stats::ClusterCount;

    fn condition(shots: u32) -> ConditionRow {
        ConditionRow {
            id: i64::from(shots),
            subject: 1,
            subject_name: "s".to_owned(),
            demonstrations: "d".to_owned(),
            control: "none".to_owned(),
            shots,
            placement: Placement::FirstUser,
            question_format: QuestionFormat::Header,
            treatment: 1,
            treatment_name: "none".to_owned(),
            asks_for_reasoning: false,
            reasoning: "default".to_owned(),
            replicates: 1,
            contexts: vec![1, 2],
            questions: vec![(1, true, true)],
        }
    }

    /// Tilts of two draws on either side of 0.5 (1 − (1 + k / 8)^(−0.7)).
    fn planted(condition: &ConditionRow) -> Vec<f64> {
        let middle = 0.5 * (1.0 - (1.0 + f64::from(condition.shots) / 8.0).powf(-0.7));
        vec![middle - 0.002, middle + 0.002]
    }

    fn fitted(shots: &[u32], draws: usize) -> Result<PowerLawResult, String> {
        let counts = Counts::new();
        let conditions: Vec<ConditionRow> = shots.iter().map(|&shots| condition(shots)).collect();
        let series: Vec<Dose<'_>> =
            conditions.iter().map(|condition| Dose { condition, counts: &counts }).collect();
        law(&series, |condition| planted(condition).into_iter().take(draws).collect())
    }

    #[test]
    fn a_planted_power_law_is_recovered_and_starts_from_nothing() {
        let law = fitted(&[0, 1, 2, 4, 8, 16, 32, 64, 128, 256], 2).unwrap();
        assert_eq!((law.points, law.at_bound), (20, false));
        for (found, truth) in [(law.limit, 0.5), (law.amplitude, -0.5), (law.scale, 8.0), (law.exponent, 0.7)]
        {
            let ends = (found.low.unwrap(), found.high.unwrap());
            assert!(ends.0 <= truth && truth <= ends.1, "{truth}: {found:?}");
            assert!((found.estimate - truth).abs() < 0.1 * truth.abs(), "{truth}: {found:?}");
        }
    }

    #[test]
    fn what_too_few_doses_do_not_tell_is_left_out_with_the_reason() {
        assert!(fitted(&[0, 4, 16], 2).unwrap_err().contains("3 values of k"));
        assert!(fitted(&[0], 2).unwrap_err().contains("no tilt above k = 0"));
        assert!(fitted(&[0, 1, 4, 16], 0).unwrap_err().contains("no tilt above k = 0"));
        assert!(fitted(&[0, 1, 4, 16], 1).unwrap_err().contains("points"), "four points");
        assert!(fitted(&[0, 1, 4, 16], 2).is_ok());
    }

    #[test]
    fn rates_that_say_nothing_of_a_dose_are_left_out_with_the_reason() {
        let counts = |successes, trials| -> Counts {
            BTreeMap::from([(1, ClusterCount { successes, trials }), (2, ClusterCount { successes, trials })])
        };
        let conditions = [condition(0), condition(4)];
        let why = |first: &Counts, second: &Counts, has_judge| {
            let series = [
                Dose { condition: &conditions[0], counts: first },
                Dose { condition: &conditions[1], counts: second },
            ];
            (rates_are_missing(&series, has_judge), slope(&series, has_judge).err())
        };
        let (empty, none, some, all) = (Counts::new(), counts(0, 5), counts(2, 5), counts(5, 5));
        for (first, second, has_judge, expected) in [
            (&some, &some, false, "there is no judge"),
            (&empty, &empty, true, "there is no answer in the denominator"),
            (&empty, &some, true, "only one k has answers in the denominator"),
            (&none, &none, true, "no answer is misaligned at any k"),
            (&all, &all, true, "every answer is misaligned at every k"),
        ] {
            assert_eq!(why(first, second, has_judge), (Some(expected), Some(expected.to_owned())));
        }
        assert_eq!(why(&none, &some, true), (None, None));
        // Nothing at k = 0 and everything beyond it: the penalised fit.
        let series = [
            Dose { condition: &conditions[0], counts: &none },
            Dose { condition: &conditions[1], counts: &all },
        ];
        let separated = slope(&series, true).unwrap();
        assert_eq!(separated.method, "firth-profile");
        assert!(separated.low.unwrap() > 0.0 && separated.p_value.unwrap() < 0.01, "{separated:?}");
    }
}
