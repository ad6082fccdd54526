//! What projections go along with: conditions, matched controls, tilt, judged alignment, labels.

use std::collections::{BTreeMap, HashMap};

use tiltmeter_core::id::ContentId;
use tiltmeter_core::verdict::{AspectOutcome, Verdict};
use tiltmeter_persona::PersonaVector;
use tiltmeter_stats::{BootstrapSettings, PairedDifference, StatsError, bootstrap_mean};
use tiltmeter_store::{ConditionRow, Reader};

use super::gather::{Gathered, Projected, PromptKey, SampleReading};
use super::results::{
    ConditionProjection, ContrastResult, MeanResult, ProjectionRow, ProjectionSummary, Projections,
};
use super::{ProjectError, ProjectSettings, detection};
use crate::analysis::simultaneous::Simultaneous;
use crate::analysis::tilt::Tilts;
use crate::analysis::{AnalysisError, is_match};

const UNITS: &str = "projection of the residual stream at this layer onto the vector's direction (length 1), in the \
                     stream's own units; differences and correlations of these";

/// A prompt in its condition.
pub(super) struct PromptPoint<'a> {
    pub(super) condition: usize,
    pub(super) draw: usize,
    pub(super) key: PromptKey,
    tokens: usize,
    pub(super) last: &'a Projected,
    pub(super) tilt: Option<f64>,
}

/// An answer in its condition, with what the judge and the labels say.
pub(super) struct SamplePoint<'a> {
    pub(super) condition: usize,
    draw: usize,
    pub(super) reading: &'a SampleReading,
    pub(super) last: Option<&'a Projected>,
    pub(super) alignment: Option<f64>,
    pub(super) misaligned: Option<bool>,
    pub(super) label: Option<bool>,
}

/// One value of a measure, with where it stands.
#[derive(Clone, Copy)]
struct Value<'a> {
    question: i64,
    draw: usize,
    replicate: u32,
    projected: &'a Projected,
}

pub(super) fn summarise(
    reader: &Reader,
    vector: &PersonaVector,
    settings: &ProjectSettings,
    gathered: &Gathered,
) -> Result<Projections, ProjectError> {
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let tilts = Tilts::new(reader, &experiment, &conditions)?;
    let mut judged: HashMap<i64, (Option<f64>, Option<bool>)> = HashMap::new();
    reader.for_each_sample(&experiment, |row| {
        let score = match row.alignment {
            Some(AspectOutcome::Score { score, .. }) => Some(score),
            _ => None,
        };
        let both = row.alignment.is_some() && row.coherence.is_some();
        let verdict = both.then(|| Verdict::from_aspects(row.alignment, row.coherence));
        let misaligned = verdict.and_then(|verdict| experiment.definition.classify(verdict));
        judged.insert(row.response, (score, misaligned));
    })?;
    let summary = Summary {
        conditions: &conditions,
        bootstrap: BootstrapSettings { seed: settings.seed, ..BootstrapSettings::default() },
        prompts: prompt_points(&conditions, gathered, &tilts),
        samples: sample_points(&conditions, gathered, &judged, &settings.labels),
    };
    let mut notes = gathered.notes.clone();
    let labelled = summary.samples.iter().filter(|sample| sample.label.is_some()).count();
    if labelled < settings.labels.len() {
        notes.push(format!(
            "{} of {} labels are of samples that are not in this run",
            settings.labels.len() - labelled,
            settings.labels.len()
        ));
    }
    let norms: f64 = gathered.prompts.values().map(|prompt| prompt.last.norm).sum();
    let questions: BTreeMap<i64, String> = reader.question_names()?.into_iter().collect();
    let contrasts = summary.contrasts()?;
    let document = ProjectionSummary {
        schema: "tiltmeter.persona-projections/1",
        experiment: experiment.name.clone(),
        name: vector.record.name.clone(),
        vector_hash: vector.hash().to_string(),
        model: vector.record.model.name.clone(),
        model_sha256: vector.record.model.file_sha256.clone(),
        layer: gathered.layer,
        units: UNITS,
        stream_norm: norms / gathered.prompts.len().max(1) as f64,
        random_directions: settings.random_directions,
        seed: settings.seed,
        prompts: gathered.prompts.len(),
        samples: gathered.samples.len(),
        conditions: summary.by_condition()?,
        contrasts_compared: contrasts.len(),
        contrasts,
        correlations: summary.correlations()?,
        detection: detection::detection(&conditions, &summary.samples, &summary.bootstrap)?,
        notes,
    };
    Ok(Projections { rows: summary.rows(&questions), summary: document })
}

fn prompt_points<'a>(
    conditions: &[ConditionRow],
    gathered: &'a Gathered,
    tilts: &Tilts,
) -> Vec<PromptPoint<'a>> {
    let mut points = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        for (draw, &context) in condition.contexts.iter().enumerate() {
            let tilt = tilts.by_question(condition, context);
            for &(question, ..) in &condition.questions {
                let (subject, treatment) = (condition.subject, condition.treatment);
                let key = PromptKey { subject, treatment, context, question, wording: 0 };
                if let Some(prompt) = gathered.prompts.get(&key) {
                    points.push(PromptPoint {
                        condition: index,
                        draw,
                        key,
                        tokens: prompt.tokens,
                        last: &prompt.last,
                        tilt: tilt.get(&question).copied(),
                    });
                }
            }
        }
    }
    points
}

fn sample_points<'a>(
    conditions: &[ConditionRow],
    gathered: &'a Gathered,
    judged: &HashMap<i64, (Option<f64>, Option<bool>)>,
    labels: &BTreeMap<ContentId, bool>,
) -> Vec<SamplePoint<'a>> {
    let mut points = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        for (draw, &context) in condition.contexts.iter().enumerate() {
            let of_block = gathered.samples.iter().filter(|sample| {
                sample.key.subject == condition.subject
                    && sample.key.treatment == condition.treatment
                    && sample.key.context == context
                    && condition.asks(sample.key.question, sample.stored.replicate)
            });
            points.extend(of_block.map(|reading| {
                let (alignment, misaligned) =
                    judged.get(&reading.stored.response).copied().unwrap_or_default();
                SamplePoint {
                    condition: index,
                    draw,
                    reading,
                    last: gathered.prompts.get(&reading.key).map(|prompt| &prompt.last),
                    alignment,
                    misaligned,
                    label: labels.get(&reading.stored.sample).copied(),
                }
            }));
        }
    }
    points
}

pub(super) struct Summary<'a> {
    pub(super) conditions: &'a [ConditionRow],
    pub(super) bootstrap: BootstrapSettings,
    pub(super) prompts: Vec<PromptPoint<'a>>,
    pub(super) samples: Vec<SamplePoint<'a>>,
}

pub(super) fn index(row: i64) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

pub(super) fn failed(what: &str) -> impl Fn(StatsError) -> ProjectError + '_ {
    move |error| AnalysisError::Statistics { what: what.to_owned(), error }.into()
}

/// The share of values that are smaller in size than one; `None` without any.
pub(super) fn percentile(value: f64, others: &[f64]) -> Option<f64> {
    let smaller = others.iter().filter(|other| other.abs() < value.abs()).count();
    (!others.is_empty()).then(|| smaller as f64 / others.len() as f64)
}

impl<'a> Summary<'a> {
    fn last(&self, condition: usize) -> Vec<Value<'a>> {
        let of = self.prompts.iter().filter(|point| point.condition == condition);
        of.map(|point| Value {
            question: point.key.question,
            draw: point.draw,
            replicate: 0,
            projected: point.last,
        })
        .collect()
    }

    fn means(&self, condition: usize) -> Vec<Value<'a>> {
        let of = self.samples.iter().filter(|point| point.condition == condition);
        of.filter_map(|point| {
            Some(Value {
                question: point.reading.key.question,
                draw: point.draw,
                replicate: point.reading.stored.replicate,
                projected: point.reading.mean.as_ref()?,
            })
        })
        .collect()
    }

    /// The mean of values, every question weighing equally.
    fn mean(&self, values: &[(i64, usize, u32, f64)]) -> Result<Option<MeanResult>, ProjectError> {
        if values.is_empty() {
            return Ok(None);
        }
        let observations = observations(values);
        let mean = bootstrap_mean(&observations, &self.bootstrap).map_err(failed("a mean projection"))?;
        Ok(Some(MeanResult { estimate: mean.estimate, low: mean.low, high: mean.high }))
    }

    fn by_condition(&self) -> Result<Vec<ConditionProjection>, ProjectError> {
        let mut results = Vec::new();
        for (number, condition) in self.conditions.iter().enumerate() {
            let plain = |values: &[Value<'_>]| -> Vec<_> {
                values
                    .iter()
                    .map(|value| (value.question, value.draw, value.replicate, value.projected.persona))
                    .collect()
            };
            let (last, means) = (plain(&self.last(number)), plain(&self.means(number)));
            if last.is_empty() && means.is_empty() {
                continue;
            }
            let tilts: Vec<_> = self
                .prompts
                .iter()
                .filter(|point| point.condition == number)
                .filter_map(|point| Some((point.key.question, point.draw, 0, point.tilt?)))
                .collect();
            results.push(ConditionProjection {
                subject: condition.subject_name.clone(),
                demonstrations: condition.demonstrations.clone(),
                control: condition.control.clone(),
                placement: condition.placement.name().to_owned(),
                shots: condition.shots,
                treatment: condition.treatment_name.clone(),
                prompts: last.len(),
                prompt_last: self.mean(&last)?,
                samples: means.len(),
                response_mean: self.mean(&means)?,
                tilt: self.mean(&tilts)?,
            });
        }
        Ok(results)
    }

    /// A condition's matched control.
    pub(super) fn twin(&self, condition: usize) -> Option<usize> {
        self.conditions.iter().position(|other| is_match(&self.conditions[condition], other))
    }

    /// Every condition against its matched control, with intervals that hold together.
    fn contrasts(&self) -> Result<Vec<ContrastResult>, ProjectError> {
        let mut pairs = Vec::new();
        for number in 0..self.conditions.len() {
            let Some(twin) = self.twin(number) else { continue };
            for (measure, own, others) in [
                ("prompt_last", self.last(number), self.last(twin)),
                ("response_mean", self.means(number), self.means(twin)),
            ] {
                let paired = paired(&own, &others);
                if !paired.is_empty() {
                    pairs.push((number, twin, measure, paired));
                }
            }
        }
        let simultaneous = Simultaneous::of(pairs.len())?;
        let results = pairs.iter().map(|(number, twin, measure, pairs)| {
            self.contrast((*number, *twin), measure, pairs, simultaneous)
        });
        results.collect()
    }

    fn contrast(
        &self,
        (number, twin): (usize, usize),
        measure: &'static str,
        pairs: &[(Value<'_>, &Projected)],
        simultaneous: Simultaneous,
    ) -> Result<ContrastResult, ProjectError> {
        let along = |of: &dyn Fn(&Projected) -> f64| -> Vec<_> {
            let difference = |(value, benign): &(Value<'_>, &Projected)| {
                let difference = of(value.projected) - of(benign);
                (value.question, value.draw, value.replicate, difference)
            };
            pairs.iter().map(difference).collect()
        };
        let differences = observations(&along(&|projected| projected.persona));
        let (own, together) = simultaneous.mean(&differences, self.bootstrap.seed, "a mean projection")?;
        let directions = pairs.first().map_or(0, |(value, _)| value.projected.random.len());
        let random: Vec<f64> = (0..directions)
            .map(|direction| {
                mean_by_question(&along(&|projected| projected.random[direction])).unwrap_or(0.0)
            })
            .collect();
        let benign: Vec<f64> = pairs.iter().map(|(_, benign)| benign.persona).collect();
        let condition = &self.conditions[number];
        Ok(ContrastResult {
            subject: condition.subject_name.clone(),
            demonstrations: condition.demonstrations.clone(),
            control: condition.control.clone(),
            placement: condition.placement.name().to_owned(),
            shots: condition.shots,
            treatment: condition.treatment_name.clone(),
            measure,
            prompt_tokens: (self.tokens(number), self.tokens(twin)),
            difference: MeanResult { estimate: own.estimate, low: own.low, high: own.high },
            simultaneous_low: together.low,
            simultaneous_high: together.high,
            standardised: deviation(&benign).map(|deviation| own.estimate / deviation),
            random_percentile: percentile(own.estimate, &random),
        })
    }

    /// Mean tokens of a condition's prompts.
    fn tokens(&self, condition: usize) -> f64 {
        let tokens: Vec<usize> = self
            .prompts
            .iter()
            .filter(|point| point.condition == condition)
            .map(|point| point.tokens)
            .collect();
        tokens.iter().sum::<usize>() as f64 / tokens.len().max(1) as f64
    }

    fn rows(&self, questions: &BTreeMap<i64, String>) -> Vec<ProjectionRow> {
        let question = |row: i64| questions.get(&row).cloned().unwrap_or_default();
        let prompts = self.prompts.iter().map(|point| {
            let condition = &self.conditions[point.condition];
            ProjectionRow::Prompt {
                subject: condition.subject_name.clone(),
                demonstrations: condition.demonstrations.clone(),
                control: condition.control.clone(),
                placement: condition.placement.name().to_owned(),
                shots: condition.shots,
                treatment: condition.treatment_name.clone(),
                draw: point.draw,
                question: question(point.key.question),
                tokens: point.tokens,
                prompt_last: point.last.persona,
                tilt: point.tilt,
            }
        });
        let samples = self.samples.iter().filter_map(|point| {
            let condition = &self.conditions[point.condition];
            Some(ProjectionRow::Sample {
                sample: point.reading.stored.sample.to_string(),
                subject: condition.subject_name.clone(),
                demonstrations: condition.demonstrations.clone(),
                control: condition.control.clone(),
                placement: condition.placement.name().to_owned(),
                shots: condition.shots,
                treatment: condition.treatment_name.clone(),
                draw: point.draw,
                question: question(point.reading.key.question),
                replicate: point.reading.stored.replicate,
                tokens: point.reading.tokens,
                prompt_last: point.last?.persona,
                response_mean: point.reading.mean.as_ref().map(|mean| mean.persona),
                reasoning: point.reading.reasoning.clone(),
                alignment: point.alignment,
                misaligned: point.misaligned,
                label: point.label,
            })
        });
        prompts.chain(samples).collect()
    }
}

/// Values with those of the matched control, by question, draw and replicate.
fn paired<'a>(own: &[Value<'a>], others: &[Value<'a>]) -> Vec<(Value<'a>, &'a Projected)> {
    let others: HashMap<(i64, usize, u32), &'a Projected> =
        others.iter().map(|value| ((value.question, value.draw, value.replicate), value.projected)).collect();
    own.iter()
        .filter_map(|value| Some((*value, *others.get(&(value.question, value.draw, value.replicate))?)))
        .collect()
}

/// Values by question, draw and replicate, as they are resampled.
fn observations(values: &[(i64, usize, u32, f64)]) -> Vec<PairedDifference> {
    values
        .iter()
        .map(|&(question, draw, replicate, value)| PairedDifference {
            question: index(question),
            draw: u32::try_from(draw).unwrap_or(u32::MAX),
            pair: replicate,
            value,
        })
        .collect()
}

/// The mean over questions of the mean over draws of the mean over replicates.
fn mean_by_question(values: &[(i64, usize, u32, f64)]) -> Option<f64> {
    let mut questions: BTreeMap<i64, BTreeMap<usize, (f64, f64)>> = BTreeMap::new();
    for &(question, draw, _, value) in values {
        let sum = questions.entry(question).or_default().entry(draw).or_insert((0.0, 0.0));
        sum.0 += value;
        sum.1 += 1.0;
    }
    let of_question = |draws: &BTreeMap<usize, (f64, f64)>| {
        draws.values().map(|(sum, count)| sum / count).sum::<f64>() / draws.len() as f64
    };
    (!questions.is_empty()).then(|| questions.values().map(of_question).sum::<f64>() / questions.len() as f64)
}

/// The standard deviation; `None` with fewer than two values, or where they are all the same but for rounding.
fn deviation(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let rounding = 1e-24 * values.iter().map(|value| value * value).sum::<f64>();
    (values.len() > 1 && squares > rounding).then(|| (squares / (count - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_compare_sizes() {
        assert_eq!(percentile(-3.0, &[1.0, -2.0, 4.0, 3.0]), Some(0.5));
        assert_eq!(percentile(1.0, &[]), None);
    }

    #[test]
    fn means_weigh_questions_equally() {
        let values = [(1, 0, 0, 1.0), (1, 0, 1, 3.0), (1, 1, 0, 4.0), (2, 0, 0, 9.0)];
        assert_eq!(mean_by_question(&values), Some(6.0));
    }
}
