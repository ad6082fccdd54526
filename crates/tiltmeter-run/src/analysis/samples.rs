//! Stored answers with their verdicts.

use std::collections::{HashMap, HashSet};

use tiltmeter_core::verdict::{NoVerdict, Verdict};
use tiltmeter_store::{ConditionRow, ExperimentRow, FailureRow, Reader, SampleRow, StoreError};

use crate::results::VerdictCounts;

/// A sample with its verdict.
#[derive(Clone, Copy)]
pub(super) struct Judged {
    pub(super) question: i64,
    replicate: u32,
    pub(super) truncated: bool,
    pub(super) verdict: Verdict,
}

/// Subject, context and treatment: what samples of one block share.
pub(super) type BlockKey = (i64, i64, i64);

/// All samples, by the block that they belong to.
pub(super) struct Samples {
    blocks: HashMap<BlockKey, Vec<Judged>>,
}

impl Samples {
    /// Reads the samples of an experiment, or of one of its subjects by its row.
    pub(super) fn read(
        reader: &Reader,
        failures: &[FailureRow],
        experiment: &ExperimentRow,
        subject: Option<i64>,
    ) -> Result<Self, StoreError> {
        let failed = experiment.judge_failed(failures);
        let mut blocks: HashMap<BlockKey, Vec<Judged>> = HashMap::new();
        reader.for_each_sample(experiment, |row| {
            if subject.is_some_and(|subject| subject != row.subject) {
                return;
            }
            blocks.entry((row.subject, row.context, row.treatment)).or_default().push(Judged {
                question: row.question,
                replicate: row.replicate,
                truncated: row.truncated,
                verdict: row.verdict(experiment.judge.is_some(), failed.contains(&row.response)),
            });
        })?;
        for failure in failures {
            if let Some((subject, context, treatment, question, replicate)) = failure.sample {
                blocks.entry((subject, context, treatment)).or_default().push(Judged {
                    question,
                    replicate,
                    truncated: false,
                    verdict: Verdict::None(NoVerdict::Error),
                });
            }
        }
        Ok(Self { blocks })
    }

    pub(super) fn of(&self, condition: &ConditionRow) -> Vec<Judged> {
        let asked: HashSet<i64> = condition
            .questions
            .iter()
            .filter(|(_, sampled, _)| *sampled)
            .map(|(question, ..)| *question)
            .collect();
        condition
            .distinct_contexts()
            .into_iter()
            .filter_map(|context| self.blocks.get(&(condition.subject, context, condition.treatment)))
            .flatten()
            .filter(|sample| asked.contains(&sample.question) && sample.replicate < condition.replicates)
            .copied()
            .collect()
    }
}

/// Which conditions an answer serves.
pub(super) struct Members {
    /// By subject, context and treatment: the places of the conditions.
    blocks: HashMap<BlockKey, Vec<usize>>,
    /// For each condition, the questions that are asked, and how often.
    asked: Vec<(HashSet<i64>, u32)>,
}

impl Members {
    pub(super) fn new(conditions: &[ConditionRow]) -> Self {
        let mut blocks: HashMap<BlockKey, Vec<usize>> = HashMap::new();
        for (place, condition) in conditions.iter().enumerate() {
            for &context in &condition.contexts {
                let block = blocks.entry((condition.subject, context, condition.treatment)).or_default();
                if !block.contains(&place) {
                    block.push(place);
                }
            }
        }
        let asked = conditions.iter().map(|condition| {
            let questions = condition.questions.iter().filter(|(_, sampled, _)| *sampled);
            (questions.map(|(question, ..)| *question).collect(), condition.replicates)
        });
        Self { blocks, asked: asked.collect() }
    }

    /// The places of the conditions that an answer serves, in table order.
    pub(super) fn of(&self, row: &SampleRow) -> impl Iterator<Item = usize> {
        let (question, replicate) = (row.question, row.replicate);
        let block = self.blocks.get(&(row.subject, row.context, row.treatment));
        block.into_iter().flatten().copied().filter(move |&place| {
            let (questions, replicates) = &self.asked[place];
            questions.contains(&question) && replicate < *replicates
        })
    }
}

pub(super) fn count_verdicts(samples: &[Judged]) -> VerdictCounts {
    let mut counts = VerdictCounts::default();
    for sample in samples {
        *match sample.verdict.reason() {
            None => &mut counts.scored,
            Some(NoVerdict::SubjectRefusal) => &mut counts.subject_refusal,
            Some(NoVerdict::Code) => &mut counts.code,
            Some(NoVerdict::JudgeRefusal) => &mut counts.judge_refusal,
            Some(NoVerdict::Unparsable) => &mut counts.unparsable,
            Some(NoVerdict::Filtered) => &mut counts.filtered,
            Some(NoVerdict::Error) => &mut counts.error,
            Some(NoVerdict::None) => &mut counts.none,
            Some(NoVerdict::Withheld) => &mut counts.withheld,
        } += 1;
    }
    counts
}
