//! Reads a run directory: each stored answer of the experiment that was run last, with its judge's scores.
//!
//! An answer may serve several conditions, such as the context without demonstrations that all sets share. It counts
//! once in each group that it belongs to, so once for all where the groups do not tell those conditions apart.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sha2::{Digest, Sha256};
use tiltmeter_core::verdict::{AspectOutcome, NoVerdict, RateDefinition, Verdict};
use tiltmeter_store::{ConditionRow, ExperimentRow, FailureRow, Reader, SampleRow};

use crate::cell::{Absence, Reading};
use crate::columns::{Field, Layout};
use crate::error::ScoreError;
use crate::key::KeyBuilder;
use crate::tally::Row;

use super::stream::hexadecimal;
use super::{Job, Table};

/// What a run directory has for columns, in the order in which [`Answer::values`] gives them.
const COLUMNS: [&str; 13] = [
    "subject",
    "model",
    "demonstrations",
    "control",
    "shots",
    "treatment",
    "placement",
    "reasoning",
    "context",
    "question",
    "replicate",
    "alignment",
    "coherence",
];

/// Subject, context, treatment: what the samples of one block share.
type Block = (i64, i64, i64);

/// An answer that was asked for.
struct Answer {
    question: i64,
    replicate: u32,
    alignment: Reading,
    coherence: Reading,
}

/// Reads a run directory and gives a hash of the rows: the store's file itself changes with every start.
pub(super) fn read(job: &mut Job<'_>, directory: &Path) -> Result<(Table, String), ScoreError> {
    let columns: Vec<String> = COLUMNS.iter().map(|&name| name.to_owned()).collect();
    let layout = job.wanted.layout(job.file, &columns)?;
    let reader = Reader::open(directory)?;
    let experiment = reader.experiment()?;
    if experiment.definition != RateDefinition::default() {
        let RateDefinition { misaligned_below, coherent_from, denominator } = experiment.definition;
        job.warnings.push(format!(
            "{}: the experiment's own definition is alignment < {misaligned_below}, coherence ≥ {coherent_from}, \
             denominator `{}`; this table goes by the one above",
            job.file,
            denominator.name()
        ));
    }
    let names = Names {
        questions: reader.question_names()?.into_iter().collect(),
        models: reader.subject_models()?.into_iter().collect(),
    };
    let answers = answers(&reader, &experiment)?;
    let mut counting = Counting {
        layout: &layout,
        names: &names,
        key: KeyBuilder::default(),
        counted: HashSet::new(),
        rows: HashSet::new(),
        hashes: Vec::new(),
    };
    for condition in reader.conditions(experiment.id)? {
        counting.condition(job, &condition, &answers);
    }
    let hash = counting.hash();
    Ok((Table { rows: counting.rows.len() as u64, columns: layout.used(&columns) }, hash))
}

struct Names {
    questions: HashMap<i64, String>,
    models: HashMap<i64, String>,
}

/// An answer's block and its place in it.
type Place = (Block, usize);

struct Counting<'a> {
    layout: &'a Layout,
    names: &'a Names,
    key: KeyBuilder,
    /// Group and answer.
    counted: HashSet<(usize, Place)>,
    rows: HashSet<Place>,
    hashes: Vec<[u8; 32]>,
}

impl Counting<'_> {
    fn condition(
        &mut self,
        job: &mut Job<'_>,
        condition: &ConditionRow,
        answers: &HashMap<Block, Vec<Answer>>,
    ) {
        let sampled: HashSet<i64> = condition
            .questions
            .iter()
            .filter(|(_, sampled, _)| *sampled)
            .map(|(question, ..)| *question)
            .collect();
        // Draws that came out alike are one context, whose answers count once.
        let mut seen = HashSet::new();
        for (draw, &context) in
            condition.contexts.iter().enumerate().filter(|(_, context)| seen.insert(**context))
        {
            let block = (condition.subject, context, condition.treatment);
            for (index, answer) in answers.get(&block).into_iter().flatten().enumerate() {
                let is_asked = answer.replicate < condition.replicates;
                if is_asked && sampled.contains(&answer.question) {
                    self.rows.insert((block, index));
                    self.answer(job, &values(condition, draw, answer, self.names), (block, index), answer);
                }
            }
        }
    }

    fn answer(&mut self, job: &mut Job<'_>, values: &[String; COLUMNS.len()], place: Place, answer: &Answer) {
        let mut hash = Sha256::new();
        for value in values {
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        self.hashes.push(hash.finalize().into());
        let value = |field: &Field| match field {
            Field::Column(index) => values.get(*index).map_or("", String::as_str),
            Field::File => job.file,
        };
        self.key.clear();
        for by in &self.layout.by {
            self.key.push(value(by).as_bytes());
        }
        let cluster = self.layout.cluster.as_ref().map(|field| value(field).as_bytes());
        let group = job.tally.group(self.key.bytes());
        if self.counted.insert((group, place)) {
            let (alignment, coherence) = (answer.alignment, answer.coherence);
            job.tally.add(&Row {
                key: self.key.bytes(),
                cluster,
                alignment,
                coherence,
                label: None,
                against: None,
            });
        }
    }

    /// Over the rows in an order that does not depend on that in which they were stored.
    fn hash(&mut self) -> String {
        self.hashes.sort_unstable();
        let mut hash = Sha256::new();
        for row in &self.hashes {
            hash.update(row);
        }
        hexadecimal(&hash.finalize())
    }
}

fn values(condition: &ConditionRow, draw: usize, answer: &Answer, names: &Names) -> [String; COLUMNS.len()] {
    let name = |names: &HashMap<i64, String>, row: i64| names.get(&row).cloned().unwrap_or_default();
    let reading = |reading: Reading| match reading {
        Reading::Score(score) => score.to_string(),
        Reading::Absent(absence) => absence.name().to_owned(),
    };
    [
        condition.subject_name.clone(),
        name(&names.models, condition.subject),
        condition.demonstrations.clone(),
        condition.control.clone(),
        condition.shots.to_string(),
        condition.treatment_name.clone(),
        condition.placement.name().to_owned(),
        condition.reasoning.clone(),
        draw.to_string(),
        name(&names.questions, answer.question),
        answer.replicate.to_string(),
        reading(answer.alignment),
        reading(answer.coherence),
    ]
}

/// All answers that were asked for, those included for which the call failed, by block.
fn answers(reader: &Reader, experiment: &ExperimentRow) -> Result<HashMap<Block, Vec<Answer>>, ScoreError> {
    let failures = reader.failures()?;
    let judge_failed = experiment.judge_failed(&failures);
    let mut answers: HashMap<Block, Vec<Answer>> = HashMap::new();
    reader.for_each_sample(experiment, |row| {
        let (alignment, coherence) =
            readings(&row, experiment.judge.is_some(), judge_failed.contains(&row.response));
        answers.entry((row.subject, row.context, row.treatment)).or_default().push(Answer {
            question: row.question,
            replicate: row.replicate,
            alignment,
            coherence,
        });
    })?;
    let failed = failures.iter().filter_map(|FailureRow { sample, .. }| *sample);
    for (subject, context, treatment, question, replicate) in failed {
        let error = absent(NoVerdict::Error);
        answers.entry((subject, context, treatment)).or_default().push(Answer {
            question,
            replicate,
            alignment: error,
            coherence: error,
        });
    }
    Ok(answers)
}

/// The two scores of a stored answer, by the rules of the engine's own tables.
fn readings(row: &SampleRow, has_judge: bool, judge_failed: bool) -> (Reading, Reading) {
    match row.verdict(has_judge, judge_failed) {
        Verdict::Scored { alignment, coherence } => (Reading::Score(alignment), Reading::Score(coherence)),
        Verdict::CoherenceOnly { coherence, reason } => (absent(reason), Reading::Score(coherence)),
        // With the wide numerator an alignment score counts even where coherence has none.
        Verdict::None(reason) => match row.alignment.and_then(AspectOutcome::score) {
            Some(alignment) if reason != NoVerdict::None => (Reading::Score(alignment), absent(reason)),
            _ => (absent(reason), absent(reason)),
        },
    }
}

fn absent(reason: NoVerdict) -> Reading {
    Reading::Absent(Absence::Said(reason))
}

#[cfg(test)]
mod tests {
    use tiltmeter_store::ResponseOutcome;

    use super::*;
    use tiltmeter_core::verdict::ScoringMethod;

    #[test]
    fn readings_are_those_of_the_engine() {
        let score = |score| Some(AspectOutcome::Score { score, method: ScoringMethod::Parsed });
        let row = |outcome, alignment, coherence| SampleRow {
            response: 1,
            subject: 1,
            context: 1,
            treatment: 1,
            question: 1,
            replicate: 0,
            outcome,
            truncated: false,
            alignment,
            coherence,
        };
        let answer = ResponseOutcome::Answer;
        let both = |reason| (absent(reason), absent(reason));
        let cases = [
            (
                row(answer, score(10.0), score(80.0)),
                (true, false),
                (Reading::Score(10.0), Reading::Score(80.0)),
            ),
            (
                row(answer, Some(AspectOutcome::Code), score(80.0)),
                (true, false),
                (absent(NoVerdict::Code), Reading::Score(80.0)),
            ),
            (row(answer, score(10.0), None), (true, true), (Reading::Score(10.0), absent(NoVerdict::Error))),
            (row(answer, score(10.0), None), (true, false), both(NoVerdict::None)),
            (row(answer, None, None), (false, false), both(NoVerdict::None)),
            (row(ResponseOutcome::Refusal, None, None), (true, false), both(NoVerdict::SubjectRefusal)),
            (row(ResponseOutcome::Filtered, None, None), (true, false), both(NoVerdict::Filtered)),
        ];
        for (row, (has_judge, judge_failed), expected) in cases {
            assert_eq!(readings(&row, has_judge, judge_failed), expected, "{row:?}");
        }
    }
}
