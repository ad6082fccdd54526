//! What a reader gives of experiments, conditions, failures and scores.

use rusqlite::Row;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::prompt::{Placement, QuestionFormat};
use tiltmeter_core::question::PairKind;
use tiltmeter_core::verdict::{Aspect, Denominator, RateDefinition};

use super::named;
use crate::error::StoreError;

/// An experiment as it was last run here.
#[derive(Clone, Debug)]
pub struct ExperimentRow {
    /// Row.
    pub id: i64,
    /// Name.
    pub name: String,
    /// The experiment file as written.
    pub source: String,
    /// With defaults filled in, as JSON.
    pub resolved: String,
    /// Row of the judge, if there is one.
    pub judge: Option<i64>,
    /// What its scores mean.
    pub definition: RateDefinition,
    /// Seed of the experiment.
    pub seed: u64,
    /// What a reader should know: rows and prompts that were not used.
    pub notes: Vec<String>,
}

/// A condition of the newest experiment.
#[derive(Clone, Debug)]
pub struct ConditionRow {
    /// Row.
    pub id: i64,
    /// Row of the subject.
    pub subject: i64,
    /// Name of the subject.
    pub subject_name: String,
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Name of the control.
    pub control: String,
    /// Number of demonstrations.
    pub shots: u32,
    /// Name of the placement.
    pub placement: Placement,
    /// How the question is put.
    pub question_format: QuestionFormat,
    /// Row of the treatment.
    pub treatment: i64,
    /// What the condition's treatment is called.
    pub treatment_name: String,
    /// Whether it asks for reasoning before the answer.
    pub asks_for_reasoning: bool,
    /// Name of the reasoning mode.
    pub reasoning: String,
    /// Answers per question and context.
    pub replicates: u32,
    /// Rows of its contexts, by draw.
    pub contexts: Vec<i64>,
    /// Rows of its questions, and whether answers are drawn and pairs scored for each.
    pub questions: Vec<(i64, bool, bool)>,
}

impl ConditionRow {
    /// Whether it takes the answer to a question, by its row, of that number.
    pub fn asks(&self, question: i64, replicate: u32) -> bool {
        let is_asked = |&(row, is_sampled, _): &(i64, bool, bool)| is_sampled && row == question;
        replicate < self.replicates && self.questions.iter().any(is_asked)
    }

    /// Rows of its contexts, each once. Draws may come to the same, as where a filter leaves nothing of them; an answer
    /// counts once all the same.
    pub fn distinct_contexts(&self) -> Vec<i64> {
        let mut seen = Vec::with_capacity(self.contexts.len());
        for &context in &self.contexts {
            if !seen.contains(&context) {
                seen.push(context);
            }
        }
        seen
    }
}

/// A call that failed for good.
#[derive(Clone, Debug)]
pub struct FailureRow {
    /// The id of the sample, judgement or score that is missing.
    pub id: ContentId,
    /// `response`, `judgement` or `score`.
    pub target: String,
    /// Rows of subject, context, treatment and question, and the replicate, for a response.
    pub sample: Option<(i64, i64, i64, i64, u32)>,
    /// Row of the response, for a judgement.
    pub response: Option<i64>,
    /// Row of the judge, for a judgement.
    pub judge: Option<i64>,
    /// What was to be scored, for a judgement.
    pub aspect: Option<Aspect>,
    /// Kind of the error.
    pub kind: String,
    /// Its message.
    pub message: String,
    /// When, RFC 3339.
    pub created_at: String,
}

/// The log-probability of a text.
#[derive(Clone, Copy, Debug)]
pub struct ScoreRow {
    /// Row of the subject.
    pub subject: i64,
    /// Row of the context.
    pub context: i64,
    /// Row of the treatment.
    pub treatment: i64,
    /// Row of the question.
    pub question: i64,
    /// Row of the pair.
    pub pair: i64,
    /// What the pair is.
    pub kind: PairKind,
    /// Whether it is the tilted text.
    pub tilted: bool,
    /// Mean log-probability per token, nats.
    pub mean_log_probability: f64,
}

/// The columns of an experiment, in the order in which they are read.
pub(super) const EXPERIMENT: &str = "e.id, e.name, e.source, e.resolved, e.judge, e.misaligned_below, e.coherent_from, \
                          e.denominator, e.notes";

/// An experiment with the texts that are parsed.
pub(super) struct StoredExperiment {
    row: ExperimentRow,
    denominator: String,
    notes: String,
}

impl StoredExperiment {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: ExperimentRow {
                id: row.get(0)?,
                name: row.get(1)?,
                source: row.get(2)?,
                resolved: row.get(3)?,
                judge: row.get(4)?,
                definition: RateDefinition {
                    misaligned_below: row.get(5)?,
                    coherent_from: row.get(6)?,
                    denominator: Denominator::default(),
                },
                seed: 0,
                notes: Vec::new(),
            },
            denominator: row.get(7)?,
            notes: row.get(8)?,
        })
    }

    pub(super) fn parsed(self) -> Result<ExperimentRow, StoreError> {
        let Self { mut row, denominator, notes } = self;
        row.notes = serde_json::from_str(&notes)?;
        let known = [Denominator::Coherent, Denominator::CoherentAny, Denominator::Scored, Denominator::All];
        row.definition.denominator = named(&denominator, &known, Denominator::name)?;
        let resolved: serde_json::Value = serde_json::from_str(&row.resolved)?;
        row.seed = resolved["sampling"]["seed"].as_u64().unwrap_or(0);
        Ok(row)
    }
}
