//! What rows of different run directories are told to be the same by.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, params};
use tiltmeter_core::id::ContentId;

use crate::error::StoreError;
use crate::reader::{ExperimentRow, Reader, collect};

impl Reader {
    /// Content addresses of all questions, by row.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn question_ids(&self) -> Result<BTreeMap<i64, ContentId>, StoreError> {
        self.ids("SELECT id, hash FROM question")
    }

    /// Content addresses of all contexts, by row.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn context_ids(&self) -> Result<BTreeMap<i64, ContentId>, StoreError> {
        self.ids("SELECT id, hash FROM context")
    }

    fn ids(&self, query: &str) -> Result<BTreeMap<i64, ContentId>, StoreError> {
        let mut statement = self.connection.prepare(query)?;
        let rows: Vec<(i64, ContentId)> = collect(&mut statement, params![], |row| {
            Ok((row.get(0)?, row.get(1).map(ContentId::from_bytes)?))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Content address and model of an experiment's judge, and those of its prompts in the order of their rows.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn judge_identity(&self, experiment: &ExperimentRow) -> Result<Option<JudgeIdentity>, StoreError> {
        let judge = self
            .connection
            .query_row("SELECT hash, model FROM judge WHERE id = ?1", params![experiment.judge], |row| {
                Ok((row.get(0).map(ContentId::from_bytes)?, row.get(1)?))
            })
            .optional()?;
        let Some((id, model)) = judge else { return Ok(None) };
        let mut statement = self.connection.prepare(
            "SELECT q.hash, e.aspect, p.hash FROM experiment_prompt AS e
             JOIN question AS q ON q.id = e.question JOIN judge_prompt AS p ON p.id = e.prompt
             WHERE e.experiment = ?1",
        )?;
        let rows: Vec<(ContentId, String, ContentId)> =
            collect(&mut statement, params![experiment.id], |row| {
                Ok((
                    row.get(0).map(ContentId::from_bytes)?,
                    row.get(1)?,
                    row.get(2).map(ContentId::from_bytes)?,
                ))
            })?;
        let prompts =
            rows.into_iter().map(|(question, aspect, prompt)| ((question, aspect), prompt)).collect();
        Ok(Some(JudgeIdentity { id, model, prompts }))
    }
}

/// Who judged, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeIdentity {
    /// Of its model and settings.
    pub id: ContentId,
    /// `provider/model`.
    pub model: String,
    /// Prompts, by question and aspect.
    pub prompts: BTreeMap<(ContentId, String), ContentId>,
}
