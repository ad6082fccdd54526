//! Writes down a run whose answers were drawn by another program, so that they can be judged, reported and exported like
//! any others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Transaction, params};
use serde_json::Value;
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::RenderedContext;
use tiltmeter_core::question::Question;
use tiltmeter_core::treatment::{Instruction, Treatment};
use tiltmeter_core::verdict::RateDefinition;

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::register::{find_or_insert, write_context, write_treatment};
use crate::rows::{FailureRecord, FailureTarget, ResponseOutcome, ResponseRecord, count};
use crate::schema::open_for_writing;
use crate::transcripts::DataSetRow;

/// A run of another program.
#[derive(Debug)]
pub struct Import {
    /// Name of the experiment.
    pub name: String,
    /// Where it is from, in place of an experiment file.
    pub source: String,
    /// An experiment file with the same subjects, as JSON: what a judge is put into.
    pub resolved: String,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// The files that it is from, and whether their text may be passed on.
    pub data_sets: Vec<DataSetRow>,
    /// Its conditions with their answers, in table order.
    pub conditions: Vec<ImportedCondition>,
    /// Version of this program.
    pub version: &'static str,
    /// Now, RFC 3339.
    pub now: String,
}

/// A row of the result table.
#[derive(Clone, Debug)]
pub struct ImportedCondition {
    /// Name of the subject.
    pub subject: String,
    /// `provider/model`.
    pub model: String,
    /// How it was asked.
    pub settings: Value,
    /// Name of the demonstration set, or of the task.
    pub demonstrations: String,
    /// Name of the control.
    pub control: String,
    /// Number of demonstrations.
    pub shots: u32,
    /// Name and text of the system message.
    pub treatment: (String, Option<String>),
    /// Name of the reasoning mode.
    pub reasoning: String,
    /// Its answers; all contexts have the same placement.
    pub answers: Vec<ImportedAnswer>,
}

/// An answer, or a call that failed.
#[derive(Clone, Debug)]
pub struct ImportedAnswer {
    /// What came before the question.
    pub context: Arc<RenderedContext>,
    /// What was asked, with one wording.
    pub question: Question,
    /// Which answer to that question in that context.
    pub replicate: u32,
    /// What came of it.
    pub outcome: Result<ResponseOutcome, String>,
    /// What is judged.
    pub answer: String,
    /// Reasoning text.
    pub reasoning: Option<String>,
    /// Why the generation ended.
    pub finish: &'static str,
    /// The token limit was met.
    pub truncated: bool,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// Prompt tokens, those from a cache included.
    pub input_tokens: u64,
    /// Prompt tokens from a cache.
    pub cached_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Reasoning tokens among them.
    pub reasoning_tokens: u64,
    /// US dollars, if known.
    pub cost_usd: Option<f64>,
    /// How long the call took.
    pub duration_ms: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// The rows that an answer belongs to.
struct Rows {
    subject: i64,
    treatment: i64,
    context: i64,
    question: i64,
}

impl Import {
    /// Writes everything in one transaction.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] if the directory holds a run; if the store cannot be opened or written.
    pub fn write(&self, directory: &RunDirectory) -> Result<(), StoreError> {
        if directory.store_path().exists() {
            return Err(StoreError::NotEmpty { path: directory.path().to_owned() });
        }
        let mut connection = open_for_writing(&directory.store_path())?;
        let transaction = connection.transaction()?;
        let experiment = self.experiment(&transaction)?;
        for (ord, condition) in self.conditions.iter().enumerate() {
            write_condition(&transaction, experiment, ord, condition)?;
        }
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    fn experiment(&self, transaction: &Transaction<'_>) -> Result<i64, StoreError> {
        let mut canonical = Canonical::new("tiltmeter.import/1").text(&self.name).text(&self.resolved);
        for set in &self.data_sets {
            canonical = canonical.id(&set.hash);
        }
        let definition = RateDefinition::default();
        transaction.execute(
            "INSERT INTO experiment (hash, name, source, resolved, misaligned_below, coherent_from, denominator, notes,
                 created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                canonical.finish().as_bytes(),
                self.name,
                self.source,
                self.resolved,
                definition.misaligned_below,
                definition.coherent_from,
                definition.denominator.name(),
                serde_json::to_string(&self.notes)?,
                self.now,
            ],
        )?;
        let experiment = transaction.last_insert_rowid();
        transaction.execute(
            "INSERT INTO invocation (experiment, version, started_at, ended_at, end, asked, reused, attempts)
             VALUES (?1, ?2, ?3, ?3, 'finished', 0, 0, 0)",
            params![experiment, self.version, self.now],
        )?;
        for set in &self.data_sets {
            transaction.execute(
                "INSERT INTO data_set (experiment, kind, name, origin, hash, rows, terms, share)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    experiment,
                    set.kind,
                    set.name,
                    set.origin,
                    set.hash.as_bytes(),
                    count(set.rows),
                    set.terms,
                    set.share
                ],
            )?;
        }
        Ok(experiment)
    }
}

fn write_condition(
    transaction: &Transaction<'_>,
    experiment: i64,
    ord: usize,
    condition: &ImportedCondition,
) -> Result<(), StoreError> {
    let hash = Canonical::new("tiltmeter.imported-subject/1")
        .text(&condition.subject)
        .text(&condition.model)
        .text(&condition.settings.to_string())
        .finish();
    let subject = find_or_insert(
        transaction,
        "subject",
        hash,
        "INSERT INTO subject (hash, name, model, settings) VALUES (?1, ?2, ?3, ?4)",
        params![hash.as_bytes(), condition.subject, condition.model, condition.settings.to_string()],
    )?;
    let (name, text) = &condition.treatment;
    let done = Treatment::instruction(Instruction {
        id: name.as_str().into(),
        text: text.as_deref().map(Into::into),
    });
    let treatment_hash = done.hash();
    let treatment = write_treatment(transaction, &done)?;
    let first = condition.answers.first().map(|answer| &answer.context);
    transaction.execute(
        "INSERT INTO condition (experiment, ord, subject, demonstrations, control, shots, placement,
             question_format, treatment, reasoning, replicates, treatment_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            experiment,
            count(ord as u64),
            subject,
            condition.demonstrations,
            condition.control,
            condition.shots,
            first.map_or_else(|| RenderedContext::empty().placement, |context| context.placement).name(),
            first
                .map_or_else(
                    || RenderedContext::empty().question_format,
                    |context| { context.question_format }
                )
                .name(),
            treatment,
            condition.reasoning,
            condition.answers.iter().map(|answer| answer.replicate + 1).max().unwrap_or(1),
            name,
        ],
    )?;
    let row = transaction.last_insert_rowid();
    let (mut contexts, mut questions) = (Vec::new(), BTreeSet::new());
    let mut known: BTreeMap<ContentId, i64> = BTreeMap::new();
    for answer in &condition.answers {
        let context = match known.get(&answer.context.id) {
            Some(&context) => context,
            None => write_context(transaction, &answer.context)?,
        };
        if known.insert(answer.context.id, context).is_none() {
            contexts.push(context);
        }
        let question = write_question(transaction, &answer.question)?;
        questions.insert(question);
        let rows = Rows { subject, treatment, context, question };
        write_answer(transaction, (hash, treatment_hash), &rows, answer)?;
    }
    for (draw, context) in contexts.into_iter().enumerate() {
        transaction.execute(
            "INSERT INTO condition_context (condition, draw, context, rows) VALUES (?1, ?2, ?3, '[]')",
            params![row, count(draw as u64), context],
        )?;
    }
    for question in questions {
        transaction.execute(
            "INSERT INTO condition_question (condition, question, sampled, scored) VALUES (?1, ?2, 1, 0)",
            params![row, question],
        )?;
    }
    Ok(())
}

fn write_answer(
    transaction: &Transaction<'_>,
    (subject, treatment): (ContentId, ContentId),
    rows: &Rows,
    answer: &ImportedAnswer,
) -> Result<(), StoreError> {
    let hash = Canonical::new("tiltmeter.imported/1")
        .id(&subject)
        .id(&treatment)
        .id(&answer.context.id)
        .id(&answer.question.hash())
        .integer(u64::from(answer.replicate))
        .finish();
    let &Rows { subject, treatment, context, question } = rows;
    let replicate = answer.replicate;
    let outcome = match &answer.outcome {
        Ok(outcome) => *outcome,
        Err(message) => {
            let record = FailureRecord {
                hash,
                target: FailureTarget::Response { subject, context, treatment, question, replicate },
                kind: "imported",
                message: message.clone(),
                created_at: answer.created_at.clone(),
                failed_attempts: Vec::new(),
            };
            return record.write(transaction).map(|_| ());
        }
    };
    let record = ResponseRecord {
        hash,
        subject,
        context,
        treatment,
        question,
        replicate,
        wording: 0,
        outcome,
        answer: answer.answer.clone(),
        raw: None,
        reasoning: answer.reasoning.clone(),
        reasoning_kind: None,
        cut: false,
        finish: answer.finish,
        truncated: answer.truncated,
        model: answer.model.clone(),
        response_id: None,
        seed: None,
        dropped: Vec::new(),
        input_tokens: answer.input_tokens,
        cached_input_tokens: answer.cached_input_tokens,
        cache_write_tokens: 0,
        output_tokens: answer.output_tokens,
        reasoning_tokens: answer.reasoning_tokens,
        cost_usd: answer.cost_usd,
        duration_ms: answer.duration_ms,
        created_at: answer.created_at.clone(),
        shift: None,
        failed_attempts: Vec::new(),
    };
    record.write(transaction).map(|_| ())
}

fn write_question(transaction: &Transaction<'_>, question: &Question) -> Result<i64, StoreError> {
    let hash = question.hash();
    find_or_insert(
        transaction,
        "question",
        hash,
        "INSERT INTO question (hash, name, area, domain, system, wordings) VALUES (?1, ?2, ?3, NULL, ?4, ?5)",
        params![
            hash.as_bytes(),
            &*question.id,
            question.area.as_deref(),
            question.system.as_deref(),
            serde_json::to_string(&question.paraphrases)?,
        ],
    )
}
