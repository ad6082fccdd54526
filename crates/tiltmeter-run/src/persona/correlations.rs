//! What projections go along with: tilt, emergent tilt, judged alignment.

use std::collections::{BTreeMap, HashMap};

use tiltmeter_core::prompt::Placement;
use tiltmeter_stats::{BootstrapSettings, Observation, Strata, correlation};
use tiltmeter_store::ConditionRow;

use super::ProjectError;
use super::gather::Projected;
use super::results::CorrelationResult;
use super::summary::{PromptPoint, SamplePoint, Summary, failed, index, percentile};

/// A row to be correlated.
struct Row {
    question: i64,
    within: String,
    across: String,
    persona: f64,
    random: Vec<f64>,
    outcome: f64,
}

impl<'a> Summary<'a> {
    pub(super) fn correlations(&self) -> Result<Vec<CorrelationResult>, ProjectError> {
        let mut results = Vec::new();
        let mut subjects: Vec<i64> = self.conditions.iter().map(|condition| condition.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        for subject in subjects {
            self.correlate(subject, "tilt", "prompt_last_shift", &self.shifts(subject), &mut results)?;
            let contrasts = self.contrasted(subject);
            self.correlate(subject, "emergent_tilt", "prompt_last_contrast", &contrasts, &mut results)?;
            let last = self.judged(subject, |point| point.last);
            self.correlate(subject, "alignment", "prompt_last", &last, &mut results)?;
            let means = self.judged(subject, |point| point.reading.mean.as_ref());
            self.correlate(subject, "alignment", "response_mean", &means, &mut results)?;
        }
        Ok(results)
    }

    fn condition(&self, point: &PromptPoint<'a>) -> &ConditionRow {
        &self.conditions[point.condition]
    }

    /// Prompts with demonstrations, against the same question without. Without demonstrations tilt and shift are 0 by
    /// definition; an empty context is in several conditions.
    fn shifts(&self, subject: i64) -> Vec<Row> {
        let of_subject = || self.prompts.iter().filter(|point| point.key.subject == subject);
        let baselines: HashMap<(Placement, i64, i64), &Projected> = of_subject()
            .filter(|point| self.condition(point).shots == 0)
            .map(|point| {
                ((self.condition(point).placement, point.key.treatment, point.key.question), point.last)
            })
            .collect();
        of_subject()
            .filter(|point| self.condition(point).shots > 0)
            .filter_map(|point| {
                let placement = self.condition(point).placement;
                let before = baselines.get(&(placement, point.key.treatment, point.key.question))?;
                Some(self.row(point.condition, point.key.question, point.tilt?, point.last, Some(before)))
            })
            .collect()
    }

    /// Prompts against those under the matched control, of the same question and draw: what either measure shares with all
    /// demonstrations alike is taken away.
    fn contrasted(&self, subject: i64) -> Vec<Row> {
        let points: HashMap<(usize, usize, i64), &PromptPoint<'a>> = self
            .prompts
            .iter()
            .map(|point| ((point.condition, point.draw, point.key.question), point))
            .collect();
        let twins: Vec<Option<usize>> = (0..self.conditions.len()).map(|number| self.twin(number)).collect();
        self.prompts
            .iter()
            .filter(|point| point.key.subject == subject)
            .filter_map(|point| {
                let matched = points.get(&(twins[point.condition]?, point.draw, point.key.question))?;
                let emergent = point.tilt? - matched.tilt?;
                let question = point.key.question;
                Some(self.row(point.condition, question, emergent, point.last, Some(matched.last)))
            })
            .collect()
    }

    /// Answers that a judge scored.
    fn judged(&self, subject: i64, of: fn(&SamplePoint<'a>) -> Option<&'a Projected>) -> Vec<Row> {
        self.samples
            .iter()
            .filter(|point| self.conditions[point.condition].subject == subject)
            .filter_map(|point| {
                let question = point.reading.key.question;
                Some(self.row(point.condition, question, point.alignment?, of(point)?, None))
            })
            .collect()
    }

    fn row(
        &self,
        condition: usize,
        question: i64,
        outcome: f64,
        projected: &Projected,
        before: Option<&Projected>,
    ) -> Row {
        let ConditionRow { demonstrations, shots, treatment_name: treatment, control, placement, .. } =
            &self.conditions[condition];
        let placement = placement.name();
        let random = match before {
            Some(before) => {
                projected.random.iter().zip(&before.random).map(|(after, before)| after - before).collect()
            }
            None => projected.random.clone(),
        };
        Row {
            question,
            within: format!("{demonstrations}\u{0}{placement}\u{0}{treatment}\u{0}{shots}"),
            across: format!("{demonstrations}\u{0}{placement}\u{0}{treatment}\u{0}{shots}\u{0}{control}"),
            persona: projected.persona - before.map_or(0.0, |before| before.persona),
            random,
            outcome,
        }
    }

    fn correlate(
        &self,
        subject: i64,
        outcome: &'static str,
        measure: &'static str,
        rows: &[Row],
        results: &mut Vec<CorrelationResult>,
    ) -> Result<(), ProjectError> {
        let name = self.conditions.iter().find(|condition| condition.subject == subject);
        let subject = name.map_or_else(String::new, |condition| condition.subject_name.clone());
        for (name, strata) in [
            ("pooled", Strata::Pooled),
            ("within_k", Strata::Within),
            ("within_k_and_question", Strata::WithinBoth),
            ("across_k", Strata::Across),
        ] {
            let strata_of = strata_numbers(rows, strata);
            let observations = |x: &dyn Fn(&Row) -> f64| -> Vec<Observation> {
                rows.iter()
                    .zip(&strata_of)
                    .map(|(row, &stratum)| Observation {
                        cluster: index(row.question),
                        stratum,
                        x: x(row),
                        y: row.outcome,
                    })
                    .collect()
            };
            let what = failed("a correlation of projections");
            let found =
                correlation(&observations(&|row| row.persona), strata, &self.bootstrap).map_err(&what)?;
            let Some(found) = found else { continue };
            let directions = rows.first().map_or(0, |row| row.random.len());
            // The interval of a random direction is not asked for.
            let once = BootstrapSettings { resamples: 1, ..self.bootstrap };
            let mut random = Vec::with_capacity(directions);
            for direction in 0..directions {
                let of =
                    correlation(&observations(&|row| row.random[direction]), strata, &once).map_err(&what)?;
                random.extend(of.map(|of| of.estimate));
            }
            results.push(CorrelationResult {
                subject: subject.clone(),
                outcome,
                measure,
                strata: name,
                estimate: found.estimate,
                low: found.low,
                high: found.high,
                observations: found.observations,
                questions: found.clusters,
                random_percentile: percentile(found.estimate, &random),
            });
        }
        Ok(())
    }
}

/// Of each row, the number of its stratum.
fn strata_numbers(rows: &[Row], strata: Strata) -> Vec<u32> {
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    rows.iter()
        .map(|row| {
            let key = if strata == Strata::Across { &row.across } else { &row.within };
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            *numbers.entry(key).or_insert(next)
        })
        .collect()
}
