//! Subjects compared: whether their rates grow alike, and what their size has to do with it.

use std::collections::BTreeSet;

use serde::Deserialize;
use tiltmeter_stats::dose::{DoseCount, LogisticRow, Penalty, compare_slopes, logistic, shots_covariate};
use tiltmeter_stats::{Confidence, StatsError};

use crate::effects::{AcrossSubjects, Omission, ScaleResult, SubjectSlope, WaldResult};

use super::dose::{Dose, cluster, coefficient, rates_are_missing};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// Subjects are the clusters of the regression on size; with fewer there is no degree of freedom left for its error.
const LEAST_SUBJECTS: usize = 4;

/// What the experiment file says of a subject's size.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct KnownSize {
    id: String,
    family: Option<String>,
    parameters_b: Option<f64>,
    size_rank: Option<u32>,
}

/// The sizes in an experiment with its defaults filled in. One that an earlier version wrote may lack them all.
pub(super) fn sizes(resolved: &str) -> Vec<KnownSize> {
    #[derive(Deserialize)]
    struct Subjects {
        subjects: Vec<KnownSize>,
    }
    serde_json::from_str::<Subjects>(resolved).map_or_else(|_| Vec::new(), |found| found.subjects)
}

/// Compares the subjects of each set and treatment that several were asked with.
pub(super) fn across_subjects(
    all: &[Vec<Dose<'_>>],
    sizes: &[KnownSize],
    has_judge: bool,
) -> Vec<AcrossSubjects> {
    let mut groups: Vec<Vec<&[Dose<'_>]>> = Vec::new();
    for series in all {
        let Some(dose) = series.first() else { continue };
        let same = |group: &Vec<&[Dose<'_>]>| {
            group.first().and_then(|one| one.first()).is_some_and(|first| {
                first.condition.demonstrations == dose.condition.demonstrations
                    && first.condition.treatment_name == dose.condition.treatment_name
                    && first.condition.placement == dose.condition.placement
            })
        };
        match groups.iter_mut().find(|group| same(group)) {
            Some(group) => group.push(series),
            None => groups.push(vec![series]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups.iter().filter_map(|group| compared(group, sizes, has_judge)).collect()
}

fn compared(group: &[&[Dose<'_>]], sizes: &[KnownSize], has_judge: bool) -> Option<AcrossSubjects> {
    let first = group.first()?.first()?.condition;
    let mut omitted = Vec::new();
    let mut usable: Vec<(&str, &[Dose<'_>])> = Vec::new();
    for series in group {
        let name = subject(series);
        match rates_are_missing(series, has_judge) {
            Some(why) => omitted.push(Omission::new(format!("slope of {name}"), why)),
            None => usable.push((name, series)),
        }
    }
    let (mut slopes, mut equal_slopes) = (Vec::new(), None);
    let counts: Vec<Vec<DoseCount>> = usable.iter().map(|(_, series)| dose_counts(series)).collect();
    match compare_slopes(&counts, LEVEL) {
        Ok(found) => {
            slopes = usable
                .iter()
                .zip(&found.slopes)
                .map(|((name, _), slope)| SubjectSlope {
                    subject: (*name).to_owned(),
                    slope: coefficient(slope, &found.fit),
                })
                .collect();
            if found.f_statistic.is_finite() && found.p_value.is_finite() {
                equal_slopes = Some(WaldResult {
                    f: found.f_statistic,
                    numerator_degrees: found.numerator_degrees,
                    denominator_degrees: found.denominator_degrees,
                    p_value: found.p_value,
                });
            } else {
                omitted.push(Omission::new("equal_slopes", "the slopes have no variance"));
            }
        }
        Err(error) => omitted.push(Omission::new("equal_slopes", error.to_string())),
    }
    let scale = match scale(group, sizes, has_judge) {
        Ok(scale) => Some(scale),
        Err(why) => {
            omitted.push(Omission::new("scale", why));
            None
        }
    };
    Some(AcrossSubjects {
        demonstrations: first.demonstrations.clone(),
        placement: first.placement.name().to_owned(),
        treatment: first.treatment_name.clone(),
        slopes,
        equal_slopes,
        scale,
        omitted,
    })
}

fn subject<'a>(series: &[Dose<'a>]) -> &'a str {
    series.first().map_or("", |dose| &dose.condition.subject_name)
}

fn dose_counts(series: &[Dose<'_>]) -> Vec<DoseCount> {
    series
        .iter()
        .flat_map(|dose| {
            dose.counts.iter().map(|(&question, count)| DoseCount {
                shots: u64::from(dose.condition.shots),
                successes: count.successes,
                trials: count.trials,
                cluster: cluster(question),
            })
        })
        .collect()
}

/// A subject with what its size is by one measure.
struct Sized<'a> {
    subject: &'a str,
    family: Option<&'a str>,
    size: f64,
    series: &'a [Dose<'a>],
}

fn scale(group: &[&[Dose<'_>]], sizes: &[KnownSize], has_judge: bool) -> Result<ScaleResult, String> {
    if !has_judge {
        return Err("there is no judge".to_owned());
    }
    let of = |measure: fn(&KnownSize) -> Option<f64>| -> Vec<Sized<'_>> {
        let sized = group.iter().filter_map(|series| {
            let size = sizes.iter().find(|size| size.id == subject(series))?;
            let answers = series.iter().any(|dose| !dose.counts.is_empty());
            answers.then_some(Sized {
                subject: subject(series),
                family: size.family.as_deref(),
                size: measure(size)?,
                series,
            })
        });
        sized.collect()
    };
    let by_parameters = of(|size| {
        size.parameters_b.filter(|billions| *billions > 0.0 && billions.is_finite()).map(f64::log2)
    });
    let by_rank = of(|size| size.size_rank.map(f64::from));
    let (measure, subjects) = if by_parameters.len() >= by_rank.len() {
        ("parameters_b", by_parameters)
    } else {
        ("size_rank", by_rank)
    };
    if subjects.len() < LEAST_SUBJECTS {
        let known = subjects.len();
        return Err(format!(
            "`parameters_b` or `size_rank` is known of {known} subjects with answers, where at least {LEAST_SUBJECTS} are \
             needed"
        ));
    }
    let families: BTreeSet<Option<&str>> = subjects.iter().map(|one| one.family).collect();
    let several = families.len() > 1;
    // Each family's constant takes a degree of freedom; a rank means nothing from one family to the next.
    let within_families = several && subjects.len() >= families.len() + LEAST_SUBJECTS - 1;
    if several && !within_families && measure == "size_rank" {
        return Err("ranks hold within a family, and the families have too few subjects".to_owned());
    }
    let families: Vec<Option<&str>> =
        if within_families { families.into_iter().skip(1).collect() } else { Vec::new() };
    let middle = subjects.iter().map(|one| one.size).sum::<f64>() / subjects.len() as f64;
    let fit = |interaction: bool| {
        let mut rows = Vec::new();
        for (number, one) in (0_u64..).zip(&subjects) {
            for dose in dose_counts(one.series) {
                let (shots, size) = (shots_covariate(dose.shots), one.size - middle);
                let mut covariates = vec![size, shots];
                covariates.extend(interaction.then_some(size * shots));
                covariates.extend(families.iter().map(|family| f64::from(u8::from(one.family == *family))));
                let DoseCount { successes, trials, .. } = dose;
                rows.push(LogisticRow { successes, trials, covariates, cluster: number });
            }
        }
        logistic(&rows, Penalty::FirthIfSeparated, LEVEL)
    };
    let plain = fit(false).map_err(|error: StatsError| error.to_string())?;
    let effect = plain.coefficients.get(1).map(|one| coefficient(one, &plain));
    let with_interaction = fit(true).ok();
    let change_of_slope =
        with_interaction.as_ref().and_then(|fit| fit.coefficients.get(3).map(|one| coefficient(one, fit)));
    Ok(ScaleResult {
        measure,
        within_families,
        subjects: subjects.iter().map(|one| one.subject.to_owned()).collect(),
        effect: effect.ok_or_else(|| "there is no coefficient".to_owned())?,
        change_of_slope,
    })
}
