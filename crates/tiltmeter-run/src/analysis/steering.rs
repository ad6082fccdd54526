//! What steering came to: whether the subject was steered as it should be.

use std::collections::{BTreeMap, HashSet};

use tiltmeter_store::{ConditionRow, Reader, ShiftRow, StoreError};

use crate::results::SteeringResult;
use crate::steering::{OVERWHELMING, SteeringRecord};

/// Share of the expected shift by which the realised one may differ: single precision gives more than that.
const TOLERANCE: f64 = 1e-3;

/// All steered subjects, those that a treatment steers too, and what was done to their answers and scored texts.
pub(super) struct Steered {
    subjects: BTreeMap<i64, SteeringRecord>,
    /// By rows of subject and treatment.
    treatments: BTreeMap<(i64, i64), SteeringRecord>,
    answers: Vec<ShiftRow>,
    texts: Vec<ShiftRow>,
}

impl Steered {
    pub(super) fn read(reader: &Reader) -> Result<Self, StoreError> {
        let mut subjects = BTreeMap::new();
        for subject in reader.subjects()? {
            if let Some(record) = subject.settings.get("steering") {
                subjects.insert(subject.id, serde_json::from_value(record.clone())?);
            }
        }
        let mut treatments = BTreeMap::new();
        for (key, record) in reader.steered_under()? {
            treatments.insert(key, serde_json::from_value(record)?);
        }
        let (answers, texts) = if subjects.is_empty() && treatments.is_empty() {
            (Vec::new(), Vec::new())
        } else {
            (reader.shifts_of_answers()?, reader.shifts_of_texts()?)
        };
        Ok(Self { subjects, treatments, answers, texts })
    }

    /// What came of a condition's steering; `None` where neither its subject nor its treatment steers.
    pub(super) fn of(&self, condition: &ConditionRow) -> Option<SteeringResult> {
        let by_treatment = || self.treatments.get(&(condition.subject, condition.treatment));
        let record = self.subjects.get(&condition.subject).or_else(by_treatment)?;
        let total = |rows: &[ShiftRow], is_used: &dyn Fn(&(i64, bool, bool)) -> bool| {
            let used: HashSet<i64> = condition
                .questions
                .iter()
                .filter(|question| is_used(question))
                .map(|(row, ..)| *row)
                .collect();
            let mut total = Total::default();
            let of_condition = rows.iter().filter(|row| {
                row.subject == condition.subject
                    && row.treatment == condition.treatment
                    && condition.contexts.contains(&row.context)
                    && used.contains(&row.question)
            });
            of_condition.for_each(|row| total.add(row));
            total
        };
        let answers = total(&self.answers, &|(_, sampled, _)| *sampled);
        let texts = total(&self.texts, &|(_, _, scored)| *scored);
        let tokens = answers.tokens + texts.tokens;
        let mean = |sum: f64| (tokens > 0).then(|| sum / tokens as f64);
        let (before, after) = (mean(answers.before + texts.before), mean(answers.after + texts.after));
        let shift = before.zip(after).map(|(before, after)| after - before);
        let holds = match (record.expected_shift, shift, before.zip(after)) {
            (Some(expected), Some(shift), _) => {
                (shift - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
            }
            (None, _, Some((before, after))) => after.abs() <= TOLERANCE * before.abs().max(1.0),
            _ => false,
        };
        let stream_share =
            record.expected_shift.zip(record.stream_length).map(|(shift, stream)| shift.abs() / stream);
        Some(SteeringResult {
            kind: record.kind.clone(),
            name: record.name.clone(),
            vector_hash: record.vector_hash.clone(),
            layer: record.layer,
            coefficient: record.coefficient,
            span: record.span.clone(),
            answers: answers.count,
            texts: texts.count,
            untouched: answers.untouched + texts.untouched,
            tokens,
            before,
            after,
            shift,
            expected_shift: record.expected_shift,
            holds,
            stream_share,
            overwhelms: stream_share.is_some_and(|share| share > OVERWHELMING),
        })
    }
}

#[derive(Default)]
struct Total {
    count: u64,
    untouched: u64,
    tokens: u64,
    before: f64,
    after: f64,
}

impl Total {
    fn add(&mut self, row: &ShiftRow) {
        self.count += row.count;
        self.untouched += row.untouched;
        self.tokens += row.tokens;
        self.before += row.before;
        self.after += row.after;
    }
}

/// Says so where a condition's subject was not steered as it should have been, or beyond all measure.
pub(super) fn warning(condition: &str, steering: &SteeringResult) -> Option<String> {
    if steering.answers + steering.texts == 0 {
        return None;
    }
    let (Some(shift), true) = (steering.shift, steering.tokens > 0) else {
        return Some(format!(
            "{condition}: no token was steered, since none is in the span `{}`: this is the model as it is",
            steering.span
        ));
    };
    if !steering.holds {
        let expected = steering.expected_shift.map_or_else(|| "its own size".to_owned(), written);
        return Some(format!(
            "{condition}: steering moved the projection by {}, and should have by {expected}: do not trust it",
            written(shift)
        ));
    }
    let share = steering.stream_share.filter(|_| steering.overwhelms)?;
    Some(format!(
        "{condition}: steering adds {} times the length of the residual stream, and more than {OVERWHELMING} leaves \
         nothing of it: this says nothing of the trait; take a smaller coefficient",
        written(share)
    ))
}

/// A number as people read it, however large.
fn written(value: f64) -> String {
    if value.abs() < 1e6 { format!("{value:.4}") } else { format!("{value:.4e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steered(tokens: u64, stream_share: f64) -> SteeringResult {
        SteeringResult {
            kind: "steer".to_owned(),
            name: "loud".to_owned(),
            vector_hash: "00".to_owned(),
            layer: 3,
            coefficient: Some(2.0),
            span: "reasoning".to_owned(),
            answers: 4,
            texts: 0,
            untouched: if tokens == 0 { 4 } else { 0 },
            tokens,
            before: Some(0.5),
            after: Some(4.5),
            shift: (tokens > 0).then_some(4.0),
            expected_shift: Some(4.0),
            holds: tokens > 0,
            stream_share: Some(stream_share),
            overwhelms: stream_share > OVERWHELMING,
        }
    }

    #[test]
    fn what_is_no_steering_is_warned_of() {
        assert_eq!(warning("c", &steered(9, 0.2)), None);
        let nothing = warning("c", &steered(0, 0.2)).unwrap();
        assert!(nothing.contains("none is in the span `reasoning`"), "{nothing}");
        let beyond = warning("c", &steered(9, 4e35)).unwrap();
        assert!(beyond.contains("4.0000e35 times") && beyond.contains("nothing of the trait"), "{beyond}");
        let wrong = warning("c", &SteeringResult { holds: false, ..steered(9, 0.2) }).unwrap();
        assert!(wrong.contains("do not trust it"), "{wrong}");
        assert_eq!(warning("c", &SteeringResult { answers: 0, ..steered(0, 0.2) }), None);
    }
}
