//! What steering came to: whether the subject was steered as it should be.

use std::collections::{BTreeMap, HashSet};

use tiltmeter_store::{ConditionRow, Reader, ShiftRow, StoreError};

use crate::results::SteeringResult;
use crate::steering::SteeringRecord;

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

/// Says so where a condition's subject was not steered as it should have been.
pub(super) fn warning(condition: &str, steering: &SteeringResult) -> Option<String> {
    if steering.answers + steering.texts == 0 || steering.holds {
        return None;
    }
    Some(match (steering.tokens, steering.shift) {
        (0, _) | (_, None) => format!(
            "{condition}: no token was steered, since none is in the span `{}`: this is the model as it is",
            steering.span
        ),
        (_, Some(shift)) => format!(
            "{condition}: steering moved the projection by {shift:.4}, and should have by {}: do not trust it",
            steering.expected_shift.map_or_else(|| "its own size".to_owned(), |shift| format!("{shift:.4}"))
        ),
    })
}
