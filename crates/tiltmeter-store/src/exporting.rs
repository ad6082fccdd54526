//! Reads what an export says beside the answers themselves: where a run comes from, and the log-probability of each
//! token of the scored texts.

use rusqlite::{OptionalExtension as _, params};
use serde_json::Value;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::question::PairKind;

use crate::error::StoreError;
use crate::reader::Reader;

/// What an experiment is and when it was first run here.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// Hash of the experiment with all that it names.
    pub hash: ContentId,
    /// When it was written down, RFC 3339.
    pub created_at: String,
    /// Its judge.
    pub judge: Option<JudgeRow>,
}

/// A judge as it was written down.
#[derive(Clone, Debug)]
pub struct JudgeRow {
    /// Hash of the settings that determine its scores.
    pub hash: ContentId,
    /// `provider/model`.
    pub model: String,
    /// How it was asked, as JSON.
    pub settings: Value,
}

/// The log-probability of one text of an answer pair, token by token.
#[derive(Clone, Debug)]
pub struct TextScoreRow {
    /// Hash of model, prompt and text.
    pub id: ContentId,
    /// Row of the subject.
    pub subject: i64,
    /// Row of the context.
    pub context: i64,
    /// Row of the treatment.
    pub treatment: i64,
    /// Row of the question.
    pub question: i64,
    /// Hash of the pair.
    pub pair: ContentId,
    /// What the pair is.
    pub kind: PairKind,
    /// Whether it is the tilted text.
    pub tilted: bool,
    /// The text.
    pub text: String,
    /// Sum over the tokens, nats.
    pub log_probability: f64,
    /// Of each token, nats.
    pub token_log_probabilities: Vec<f32>,
    /// US dollars; absent: not known.
    pub cost_usd: Option<f64>,
}

impl Reader {
    /// Where an experiment comes from.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn provenance(&self, experiment: i64) -> Result<Provenance, StoreError> {
        let (hash, created_at, judge): ([u8; 16], String, Option<i64>) = self.connection.query_row(
            "SELECT hash, created_at, judge FROM experiment WHERE id = ?1",
            params![experiment],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let judge: Option<([u8; 16], String, String)> = self
            .connection
            .query_row("SELECT hash, model, settings FROM judge WHERE id = ?1", params![judge], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let judge = judge.map(|(hash, model, settings)| {
            let settings = serde_json::from_str(&settings)?;
            Ok::<_, StoreError>(JudgeRow { hash: ContentId::from_bytes(hash), model, settings })
        });
        Ok(Provenance { hash: ContentId::from_bytes(hash), created_at, judge: judge.transpose()? })
    }

    /// The id of the sample that a stored answer is.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn sample_id(&self, response: i64) -> Result<ContentId, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT hash FROM response WHERE id = ?1")?
            .query_row(params![response], |row| row.get(0).map(ContentId::from_bytes))?)
    }

    /// Hands out all scored texts of the experiment's answer pairs, in the order in which they were stored, until
    /// `take` fails.
    ///
    /// # Errors
    /// If the store cannot be read, or what `take` fails with.
    pub fn for_each_text_score<E: From<StoreError>>(
        &self,
        experiment: i64,
        mut take: impl FnMut(TextScoreRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self
            .connection
            .prepare(
                "SELECT s.hash, s.subject, s.context, s.treatment, p.question, p.hash, p.kind, s.tilted,
                     CASE s.tilted WHEN 0 THEN p.upright ELSE p.tilted END, s.log_probability,
                     s.token_log_probabilities, s.cost_usd
                 FROM text_score AS s
                 JOIN experiment_pair AS e ON e.experiment = ?1 AND e.pair = s.pair
                 JOIN answer_pair AS p ON p.id = s.pair
                 ORDER BY s.id",
            )
            .map_err(StoreError::from)?;
        let mut rows = statement.query(params![experiment]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            take(read_text_score(row).map_err(StoreError::from)?)?;
        }
        Ok(())
    }
}

fn read_text_score(row: &rusqlite::Row<'_>) -> rusqlite::Result<TextScoreRow> {
    let kind = row.get_ref(6)?.as_str()?;
    let bytes = row.get_ref(10)?.as_blob()?;
    Ok(TextScoreRow {
        id: row.get(0).map(ContentId::from_bytes)?,
        subject: row.get(1)?,
        context: row.get(2)?,
        treatment: row.get(3)?,
        question: row.get(4)?,
        pair: row.get(5).map(ContentId::from_bytes)?,
        kind: if kind == PairKind::Decoy.name() { PairKind::Decoy } else { PairKind::Alignment },
        tilted: row.get(7)?,
        text: row.get(8)?,
        log_probability: row.get(9)?,
        token_log_probabilities: bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect(),
        cost_usd: row.get(11)?,
    })
}
