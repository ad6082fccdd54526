//! Writes down that stored answers are scored again: by another judge, or because scores are missing.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};
use tiltmeter_core::experiment::Judge;
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::verdict::Aspect;

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::register::{JudgePromptTexts, ModelRecord, find_or_insert, write_prompt};
use crate::schema::open_for_writing;

/// All that is written down of one start that only judges.
#[derive(Debug)]
pub struct Rejudging<'a> {
    /// Row of the experiment whose answers are scored.
    pub experiment: i64,
    /// That experiment, with the judge that scores now, as JSON.
    pub resolved: &'a str,
    /// The judge.
    pub judge: &'a Judge,
    /// The judge as it is written down.
    pub record: ModelRecord,
    /// The judge's prompts, by row of the question.
    pub prompts: BTreeMap<i64, JudgePromptTexts>,
    /// Version of the program.
    pub version: &'a str,
    /// Now, RFC 3339.
    pub now: String,
}

/// The rows under which it was written down.
#[derive(Clone, Debug)]
pub struct Rejudged {
    /// Row of the experiment that the scores belong to: a new one where the judge or its prompts are others.
    pub experiment: i64,
    /// Row of this invocation.
    pub invocation: i64,
    /// Row of the judge.
    pub judge: i64,
    /// Rows and hashes of the judge's prompts by question: alignment, coherence.
    pub prompts: BTreeMap<i64, [(i64, ContentId); 2]>,
}

/// A stored answer that a judge may score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerToJudge {
    /// Row of the response.
    pub response: i64,
    /// The sample's id.
    pub sample: ContentId,
    /// Row of the question.
    pub question: i64,
    /// Which of the question's wordings was asked.
    pub wording: usize,
}

impl Rejudging<'_> {
    /// Writes everything in one transaction. What is there already keeps its row.
    ///
    /// # Errors
    /// If the store cannot be opened or written.
    pub fn write(&self, directory: &RunDirectory) -> Result<Rejudged, StoreError> {
        let mut connection = open_for_writing(&directory.store_path())?;
        let transaction = connection.transaction()?;
        let judge = find_or_insert(
            &transaction,
            "judge",
            self.judge.hash,
            "INSERT INTO judge (hash, model, settings) VALUES (?1, ?2, ?3)",
            params![self.judge.hash.as_bytes(), self.record.model, self.record.settings.to_string()],
        )?;
        let mut prompts = BTreeMap::new();
        for (&question, texts) in &self.prompts {
            let alignment = write_prompt(&transaction, &texts.alignment)?;
            let coherence = write_prompt(&transaction, &texts.coherence)?;
            prompts.insert(question, [alignment, coherence]);
        }
        let experiment = self.experiment(&transaction, judge, &prompts)?;
        transaction.execute(
            "INSERT INTO invocation (experiment, version, started_at) VALUES (?1, ?2, ?3)",
            params![experiment, self.version, self.now],
        )?;
        let invocation = transaction.last_insert_rowid();
        transaction.commit()?;
        Ok(Rejudged { experiment, invocation, judge, prompts })
    }

    fn experiment(
        &self,
        transaction: &Transaction<'_>,
        judge: i64,
        prompts: &BTreeMap<i64, [(i64, ContentId); 2]>,
    ) -> Result<i64, StoreError> {
        let (old_hash, old_judge): ([u8; 16], Option<i64>) = transaction.query_row(
            "SELECT hash, judge FROM experiment WHERE id = ?1",
            params![self.experiment],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if old_judge == Some(judge) && self.has_prompts(transaction, prompts)? {
            return Ok(self.experiment);
        }
        let mut canonical = Canonical::new("tiltmeter.rejudged/1")
            .id(&ContentId::from_bytes(old_hash))
            .id(&self.judge.hash)
            .text(self.resolved);
        for [alignment, coherence] in prompts.values() {
            canonical = canonical.id(&alignment.1).id(&coherence.1);
        }
        let hash = canonical.finish();
        let found = transaction
            .query_row("SELECT id FROM experiment WHERE hash = ?1", params![hash.as_bytes()], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(row) = found {
            return Ok(row);
        }
        let definition = self.judge.definition;
        transaction.execute(
            "INSERT INTO experiment (hash, name, source, resolved, judge, misaligned_below, coherent_from, denominator,
                 notes, created_at)
             SELECT ?2, name, source, ?3, ?4, ?5, ?6, ?7, notes, ?8 FROM experiment WHERE id = ?1",
            params![
                self.experiment,
                hash.as_bytes(),
                self.resolved,
                judge,
                definition.misaligned_below,
                definition.coherent_from,
                definition.denominator.name(),
                self.now,
            ],
        )?;
        let row = transaction.last_insert_rowid();
        self.copy(transaction, row)?;
        let mut insert = transaction.prepare(
            "INSERT INTO experiment_prompt (experiment, question, aspect, prompt) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (question, of_question) in prompts {
            for (aspect, (prompt, _)) in Aspect::ALL.into_iter().zip(of_question) {
                insert.execute(params![row, question, aspect.name(), prompt])?;
            }
        }
        Ok(row)
    }

    /// Whether the experiment's answers were scored by just these prompts.
    fn has_prompts(
        &self,
        transaction: &Transaction<'_>,
        prompts: &BTreeMap<i64, [(i64, ContentId); 2]>,
    ) -> Result<bool, StoreError> {
        let mut statement = transaction.prepare(
            "SELECT prompt FROM experiment_prompt WHERE experiment = ?1 AND question = ?2 AND aspect = ?3",
        )?;
        for (question, of_question) in prompts {
            for (aspect, (prompt, _)) in Aspect::ALL.into_iter().zip(of_question) {
                let stored: Option<i64> = statement
                    .query_row(params![self.experiment, question, aspect.name()], |row| row.get(0))
                    .optional()?;
                if stored != Some(*prompt) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// All that belongs to the experiment but the judge's prompts.
    fn copy(&self, transaction: &Transaction<'_>, to: i64) -> Result<(), StoreError> {
        for statement in [
            "INSERT INTO data_set SELECT ?2, kind, name, origin, hash, rows, terms, share FROM data_set WHERE experiment = ?1",
            "INSERT INTO experiment_pair SELECT ?2, pair FROM experiment_pair WHERE experiment = ?1",
            "INSERT INTO expectation SELECT ?2, question, expected FROM expectation WHERE experiment = ?1",
            "INSERT INTO experiment_treatment SELECT ?2, ord, name, built_in, does, texts, judge, prompt, guard,
                 guard_detectors FROM experiment_treatment WHERE experiment = ?1",
        ] {
            transaction.execute(statement, params![self.experiment, to])?;
        }
        let conditions: Vec<i64> = transaction
            .prepare("SELECT id FROM condition WHERE experiment = ?1 ORDER BY ord")?
            .query_map(params![self.experiment], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for condition in conditions {
            transaction.execute(
                "INSERT INTO condition (experiment, ord, subject, demonstrations, control, shots, placement,
                     question_format, treatment, reasoning, replicates, treatment_name)
                 SELECT ?2, ord, subject, demonstrations, control, shots, placement, question_format, treatment,
                     reasoning, replicates, treatment_name FROM condition WHERE id = ?1",
                params![condition, to],
            )?;
            let row = transaction.last_insert_rowid();
            for statement in [
                "INSERT INTO condition_context SELECT ?2, draw, context, rows, dropped, without_score, risk, risk_score, guard_cut,
                 guard_actions FROM condition_context WHERE condition = ?1",
                "INSERT INTO condition_question SELECT ?2, question, sampled, scored FROM condition_question
                 WHERE condition = ?1",
                "INSERT INTO usefulness SELECT ?2, probe, kind FROM usefulness WHERE condition = ?1",
                "INSERT INTO adaptive SELECT ?2, half_width, rounds, decision FROM adaptive WHERE condition = ?1",
            ] {
                transaction.execute(statement, params![condition, row])?;
            }
        }
        Ok(())
    }
}
