//! Reads what it takes to show a model its prompts and answers again, and what steering did.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::params;
use serde_json::Value;
use tiltmeter_core::id::ContentId;

use crate::error::StoreError;
use crate::reader::{Reader, collect};

/// The columns of a subject.
type SubjectColumns = (i64, [u8; 16], String, String, String, Option<String>);

/// A subject as it was written down.
#[derive(Clone, Debug)]
pub struct SubjectRow {
    /// Row.
    pub id: i64,
    /// Hash of the settings that determine its answers.
    pub hash: ContentId,
    /// Id in the experiment file.
    pub name: String,
    /// `provider/model`.
    pub model: String,
    /// How it was asked, as JSON.
    pub settings: Value,
    /// What is known of the model; the weights' hash for a local one.
    pub description: Option<Value>,
}

/// A question as it is put.
#[derive(Clone, Debug)]
pub struct QuestionRow {
    /// Hash of what a subject could be shown.
    pub hash: ContentId,
    /// Name.
    pub name: String,
    /// Its area, for the built-in questions.
    pub area: Option<String>,
    /// Name of the narrow domain that it touches, where it is known to touch one.
    pub domain: Option<String>,
    /// The question's own system message.
    pub system: Option<String>,
    /// Its wordings.
    pub wordings: Vec<String>,
}

/// A stored answer with its text.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    /// Row of the response.
    pub response: i64,
    /// The sample's id.
    pub sample: ContentId,
    /// Row of the context.
    pub context: i64,
    /// Row of the treatment.
    pub treatment: i64,
    /// Row of the question.
    pub question: i64,
    /// Which answer to that question in that context.
    pub replicate: u32,
    /// Which wording of the question was asked.
    pub wording: usize,
    /// The answer, as it is judged.
    pub answer: String,
    /// Reasoning that was told apart from it.
    pub reasoning: Option<String>,
}

/// What a treatment puts into a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreatmentTexts {
    /// The system message's instruction.
    pub instruction: Option<Arc<str>>,
    /// Between the demonstrations and the question.
    pub after_examples: Option<Arc<str>>,
    /// Behind the question.
    pub after_question: Option<Arc<str>>,
}

/// What steering did to the answers, or to the scored texts, of one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShiftRow {
    /// Row of the subject.
    pub subject: i64,
    /// Row of the context.
    pub context: i64,
    /// Row of the treatment.
    pub treatment: i64,
    /// Row of the question.
    pub question: i64,
    /// Answers or texts.
    pub count: u64,
    /// Of these, those without a token that was changed.
    pub untouched: u64,
    /// Tokens that were changed.
    pub tokens: u64,
    /// Sum over these of the projection before.
    pub before: f64,
    /// Sum over these of the projection after.
    pub after: f64,
}

impl Reader {
    /// All subjects.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn subjects(&self) -> Result<Vec<SubjectRow>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT id, hash, name, model, settings, description FROM subject ORDER BY id")?;
        let rows: Vec<SubjectColumns> = collect(&mut statement, params![], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?;
        let subject = |(id, hash, name, model, settings, description): SubjectColumns| {
            Ok(SubjectRow {
                id,
                hash: ContentId::from_bytes(hash),
                name,
                model,
                settings: serde_json::from_str(&settings)?,
                description: description.as_deref().map(serde_json::from_str).transpose()?,
            })
        };
        rows.into_iter().map(subject).collect()
    }

    /// What all treatments put into a prompt, by row.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn treatment_texts(&self) -> Result<BTreeMap<i64, TreatmentTexts>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT id, text, after_examples, after_question FROM treatment")?;
        let rows: Vec<(i64, TreatmentTexts)> = collect(&mut statement, params![], |row| {
            let text =
                |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.map(Into::into));
            let texts =
                TreatmentTexts { instruction: text(1)?, after_examples: text(2)?, after_question: text(3)? };
            Ok((row.get(0)?, texts))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// All questions, by row.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn questions(&self) -> Result<BTreeMap<i64, QuestionRow>, StoreError> {
        type Columns = ([u8; 16], String, Option<String>, Option<String>, Option<String>, String);
        let mut statement = self
            .connection
            .prepare("SELECT id, hash, name, area, domain, system, wordings FROM question ORDER BY id")?;
        let rows: Vec<(i64, Columns)> = collect(&mut statement, params![], |row| {
            let columns = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?);
            Ok((row.get(0)?, columns))
        })?;
        let question = |(id, (hash, name, area, domain, system, wordings)): (i64, Columns)| {
            let (hash, wordings) = (ContentId::from_bytes(hash), serde_json::from_str(&wordings)?);
            Ok((id, QuestionRow { hash, name, area, domain, system, wordings }))
        };
        rows.into_iter().map(question).collect()
    }

    /// The stored answers of a subject, in the order in which they were stored; without refusals and withheld ones.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn answers_of(&self, subject: i64) -> Result<Vec<StoredAnswer>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT r.id, r.hash, r.context, r.treatment, r.question, r.replicate, r.wording, b.answer, b.reasoning
             FROM response AS r JOIN response_body AS b ON b.response = r.id
             WHERE r.subject = ?1 AND r.outcome = 'answer' ORDER BY r.id",
        )?;
        collect(&mut statement, params![subject], |row| {
            Ok(StoredAnswer {
                response: row.get(0)?,
                sample: row.get(1).map(ContentId::from_bytes)?,
                context: row.get(2)?,
                treatment: row.get(3)?,
                question: row.get(4)?,
                replicate: row.get(5)?,
                wording: usize::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
                answer: row.get(7)?,
                reasoning: row.get(8)?,
            })
        })
    }

    /// What steering did to answers, by block and question.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn shifts_of_answers(&self) -> Result<Vec<ShiftRow>, StoreError> {
        self.shifts(
            "SELECT subject, context, treatment, question, count(*), sum(steered_tokens = 0), sum(steered_tokens),
                 sum(steered_tokens * projection_before), sum(steered_tokens * projection_after)
             FROM response WHERE steered_tokens IS NOT NULL
             GROUP BY subject, context, treatment, question ORDER BY subject, context, treatment, question",
        )
    }

    /// What steering did to scored texts, by block and question.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn shifts_of_texts(&self) -> Result<Vec<ShiftRow>, StoreError> {
        self.shifts(
            "SELECT s.subject, s.context, s.treatment, p.question, count(*), sum(s.steered_tokens = 0),
                 sum(s.steered_tokens), sum(s.steered_tokens * s.projection_before),
                 sum(s.steered_tokens * s.projection_after)
             FROM text_score AS s JOIN answer_pair AS p ON p.id = s.pair WHERE s.steered_tokens IS NOT NULL
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        )
    }

    fn shifts(&self, query: &str) -> Result<Vec<ShiftRow>, StoreError> {
        let mut statement = self.connection.prepare(query)?;
        collect(&mut statement, params![], |row| {
            let unsigned =
                |index| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0));
            Ok(ShiftRow {
                subject: row.get(0)?,
                context: row.get(1)?,
                treatment: row.get(2)?,
                question: row.get(3)?,
                count: unsigned(4)?,
                untouched: unsigned(5)?,
                tokens: unsigned(6)?,
                before: row.get(7)?,
                after: row.get(8)?,
            })
        })
    }
}
