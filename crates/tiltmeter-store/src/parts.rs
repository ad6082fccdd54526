//! Answers that take several calls: what they are put together from.
//!
//! A draw or an attempt is an answer like any other, in a context or with a replicate that no condition has, or the
//! undefended answer itself. A check is no answer and has a table of its own. The composed answer is a row among the
//! answers: it holds the totals of its parts, so that every answer's row says what the answer took.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::procedure::SelfVerdict;

use crate::error::StoreError;
use crate::reader::{Reader, collect, named};
use crate::rows::{FailedAttempt, ResponseOutcome, count, known_or_done};

/// The tables of parts and checks.
pub(crate) const MIGRATION: &str = "
-- Some defences take several calls for one answer, or steer a local subject.
ALTER TABLE treatment ADD COLUMN procedure TEXT; -- JSON: how an answer is put together
-- The row of a composed answer holds the totals of its parts, so that it says what the answer took. Sums over all calls
-- leave composed rows out. Its outcome may be withheld: its defence gave no answer.
ALTER TABLE response ADD COLUMN composed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE response ADD COLUMN calls INTEGER NOT NULL DEFAULT 1;

-- A subject's word on whether an answer of its own is harmful.
CREATE TABLE self_check (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    response INTEGER NOT NULL REFERENCES response(id),
    verdict TEXT NOT NULL,           -- harmful | harmless | unparsable
    reply TEXT NOT NULL,
    finish TEXT NOT NULL,
    model TEXT,                      -- as the provider names it
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_usd REAL,                   -- absent: not known
    attempts INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- The calls that an answer was put together from, in the order in which they were made. An answer may be a part of
-- several others, and stand for itself.
CREATE TABLE response_part (
    response INTEGER NOT NULL REFERENCES response(id),
    position INTEGER NOT NULL,
    role TEXT NOT NULL,              -- draw | attempt | check
    part INTEGER REFERENCES response(id),
    self_check INTEGER REFERENCES self_check(id),
    chosen INTEGER NOT NULL,         -- whether this is the answer that was given
    PRIMARY KEY (response, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX response_part_by_part ON response_part (part) WHERE part IS NOT NULL;

-- How a treatment steers a subject, which depends on the subject's model.
CREATE TABLE steered_under (
    subject INTEGER NOT NULL REFERENCES subject(id),
    treatment INTEGER NOT NULL REFERENCES treatment(id),
    steering TEXT NOT NULL,          -- JSON, as in a steered subject's settings
    PRIMARY KEY (subject, treatment)
) STRICT, WITHOUT ROWID;
";

/// What a part was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartRole {
    /// One of the answers that are voted on.
    Draw,
    /// An answer that was checked.
    Attempt,
    /// A check of the attempt before it.
    Check,
}

impl PartRole {
    const ALL: [Self; 3] = [Self::Draw, Self::Attempt, Self::Check];

    /// The name in the store and in exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draw => "draw",
            Self::Attempt => "attempt",
            Self::Check => "check",
        }
    }
}

/// A part of an answer, by its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartRow {
    /// A row of an answer that is voted on.
    Draw(i64),
    /// A row of an answer that is checked.
    Attempt(i64),
    /// A row of a check.
    Check(i64),
}

/// An answer that was put together from several calls, all of which are stored; or what is said where none was made.
#[derive(Clone, Debug)]
pub struct ComposedRecord {
    /// The sample's id.
    pub hash: ContentId,
    /// Row of the subject.
    pub subject: i64,
    /// Row of the context.
    pub context: i64,
    /// Row of the treatment.
    pub treatment: i64,
    /// Row of the question.
    pub question: i64,
    /// Which answer to that question in that context.
    pub replicate: u32,
    /// Which wording of the question.
    pub wording: usize,
    /// The answer, or what is said instead of one.
    pub chosen: Chosen,
    /// All parts, in the order in which they were asked for.
    pub parts: Vec<PartRow>,
    /// When it was stored, RFC 3339.
    pub created_at: String,
}

/// What an answer that takes several calls comes to.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// One of the parts, by the row of its answer.
    Part(i64),
    /// None: this text stands instead.
    Withheld(String),
}

/// A subject's word on an answer of its own.
#[derive(Clone, Debug)]
pub struct SelfCheckRecord {
    /// Hash of the subject, the answer and the wording.
    pub hash: ContentId,
    /// Row of the answer.
    pub response: i64,
    /// What it comes to.
    pub verdict: SelfVerdict,
    /// The subject's own words.
    pub reply: String,
    /// Why the reply ended.
    pub finish: &'static str,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Prompt tokens from a cache.
    pub cached_input_tokens: u64,
    /// Prompt tokens put into a cache.
    pub cache_write_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Reasoning tokens among them.
    pub reasoning_tokens: u64,
    /// US dollars, if known.
    pub cost_usd: Option<f64>,
    /// How long the successful attempt took.
    pub duration_ms: u64,
    /// When it was stored, RFC 3339.
    pub created_at: String,
    /// Attempts that failed before.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// A stored answer, as far as others are put together from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerText {
    /// What came of asking.
    pub outcome: ResponseOutcome,
    /// The answer.
    pub answer: String,
}

/// A part of an answer with what was said.
#[derive(Clone, Debug, PartialEq)]
pub struct PartText {
    /// What it was for.
    pub role: PartRole,
    /// The sample's id of a draw or an attempt; the check's own of a check.
    pub id: ContentId,
    /// What was said.
    pub text: String,
    /// What came of a draw or an attempt: `answer`, `refusal`, `filtered`; of a check: `harmful`, `harmless`,
    /// `unparsable`.
    pub outcome: String,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens of the reply.
    pub output_tokens: u64,
    /// US dollars; absent: not known.
    pub cost_usd: Option<f64>,
    /// Whether this is the answer that was given.
    pub is_chosen: bool,
}

impl ComposedRecord {
    /// Writes the record and returns its row; one that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        // Attempts that failed stand with the parts.
        if let Some(row) = known_or_done(connection, "response", self.hash, &[])? {
            return Ok(row);
        }
        let chosen = match &self.chosen {
            Chosen::Part(row) => Some(*row),
            Chosen::Withheld(_) => None,
        };
        // The chosen part's own columns; totals follow when the parts are there.
        let row = connection
            .prepare_cached(
                "INSERT INTO response (hash, subject, context, treatment, question, replicate, wording, outcome,
                     truncated, cut, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                     reasoning_tokens, attempts, duration_ms, steered_tokens, projection_before, projection_after,
                     composed)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, coalesce(c.outcome, ?9), coalesce(c.truncated, 0),
                     coalesce(c.cut, 0), 0, 0, 0, 0, 0, 0, 0, c.steered_tokens, c.projection_before,
                     c.projection_after, 1
                 FROM (SELECT 1) LEFT JOIN response AS c ON c.id = ?8",
            )?
            .insert(params![
                self.hash.as_bytes(),
                self.subject,
                self.context,
                self.treatment,
                self.question,
                self.replicate,
                count(self.wording as u64),
                chosen,
                ResponseOutcome::Withheld.name(),
            ])?;
        match &self.chosen {
            Chosen::Part(chosen) => connection
                .prepare_cached(
                    "INSERT INTO response_body (response, answer, raw, reasoning, finish, model, response_id, seed,
                         dropped, created_at, reasoning_kind)
                     SELECT ?1, answer, raw, reasoning, finish, model, response_id, seed, dropped, ?3, reasoning_kind
                     FROM response_body WHERE response = ?2",
                )?
                .execute(params![row, chosen, self.created_at])?,
            Chosen::Withheld(text) => connection
                .prepare_cached(
                    "INSERT INTO response_body (response, answer, finish, created_at)
                     VALUES (?1, ?2, 'withheld', ?3)",
                )?
                .execute(params![row, text, self.created_at])?,
        };
        let mut insert = connection.prepare_cached(
            "INSERT INTO response_part (response, position, role, part, self_check, chosen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (position, part) in self.parts.iter().enumerate() {
            let (role, answer, check) = match *part {
                PartRow::Draw(answer) => (PartRole::Draw, Some(answer), None),
                PartRow::Attempt(answer) => (PartRole::Attempt, Some(answer), None),
                PartRow::Check(check) => (PartRole::Check, None, Some(check)),
            };
            let is_chosen = answer.is_some() && answer == chosen;
            insert.execute(params![row, count(position as u64), role.name(), answer, check, is_chosen])?;
        }
        connection
            .prepare_cached(
                "UPDATE response SET (calls, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                     reasoning_tokens, attempts, duration_ms, cost_usd) =
                     (SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(cached_input_tokens), 0),
                         coalesce(sum(cache_write_tokens), 0), coalesce(sum(output_tokens), 0),
                         coalesce(sum(reasoning_tokens), 0), coalesce(sum(attempts), 0), coalesce(sum(duration_ms), 0),
                         CASE WHEN count(cost_usd) = count(*) THEN total(cost_usd) END
                     FROM (SELECT r.input_tokens, r.cached_input_tokens, r.cache_write_tokens, r.output_tokens,
                             r.reasoning_tokens, r.attempts, r.duration_ms, r.cost_usd
                         FROM response_part AS p JOIN response AS r ON r.id = p.part WHERE p.response = ?1
                         UNION ALL
                         SELECT c.input_tokens, c.cached_input_tokens, c.cache_write_tokens, c.output_tokens,
                             c.reasoning_tokens, c.attempts, c.duration_ms, c.cost_usd
                         FROM response_part AS p JOIN self_check AS c ON c.id = p.self_check WHERE p.response = ?1))
                 WHERE id = ?1",
            )?
            .execute(params![row])?;
        Ok(row)
    }
}

impl SelfCheckRecord {
    /// Writes the record and returns its row; one that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        if let Some(row) = known_or_done(connection, "self_check", self.hash, &self.failed_attempts)? {
            return Ok(row);
        }
        let row = connection
            .prepare_cached(
                "INSERT INTO self_check (hash, response, verdict, reply, finish, model, input_tokens,
                     cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd, attempts,
                     duration_ms, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?
            .insert(params![
                self.hash.as_bytes(),
                self.response,
                self.verdict.name(),
                self.reply,
                self.finish,
                self.model,
                count(self.input_tokens),
                count(self.cached_input_tokens),
                count(self.cache_write_tokens),
                count(self.output_tokens),
                count(self.reasoning_tokens),
                self.cost_usd,
                count(self.failed_attempts.len() as u64 + 1),
                count(self.duration_ms),
                self.created_at,
            ])?;
        Ok(row)
    }
}

impl Reader {
    /// A stored answer and what came of asking for it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn stored_answer(&self, response: i64) -> Result<AnswerText, StoreError> {
        let (outcome, answer): (String, String) = self
            .connection
            .prepare_cached(
                "SELECT r.outcome, b.answer FROM response AS r JOIN response_body AS b ON b.response = r.id
                 WHERE r.id = ?1",
            )?
            .query_row(params![response], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(AnswerText { outcome: ResponseOutcome::from_name(&outcome)?, answer })
    }

    /// The row of a check by its hash, and what it came to, if it is stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn self_check(&self, hash: ContentId) -> Result<Option<(i64, SelfVerdict)>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT id, verdict FROM self_check WHERE hash = ?1")?
            .query_row(params![hash.as_bytes()], |row| Ok((row.get(0)?, verdict(row.get_ref(1)?.as_str()?)?)))
            .optional()?)
    }

    /// What an answer that took several calls is put together from, in the order in which they were made; nothing of
    /// an answer that is one call.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn parts_of(&self, response: i64) -> Result<Vec<PartText>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT p.role, coalesce(r.hash, c.hash), coalesce(b.answer, c.reply), coalesce(r.outcome, c.verdict),
                 coalesce(r.input_tokens, c.input_tokens), coalesce(r.output_tokens, c.output_tokens),
                 CASE WHEN r.id IS NULL THEN c.cost_usd ELSE r.cost_usd END, p.chosen
             FROM response_part AS p
             LEFT JOIN response AS r ON r.id = p.part
             LEFT JOIN response_body AS b ON b.response = p.part
             LEFT JOIN self_check AS c ON c.id = p.self_check
             WHERE p.response = ?1 ORDER BY p.position",
        )?;
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        collect(&mut statement, params![response], |row| {
            Ok(PartText {
                role: named(row.get_ref(0)?.as_str()?, &PartRole::ALL, PartRole::name)?,
                id: row.get(1).map(ContentId::from_bytes)?,
                text: row.get(2)?,
                outcome: row.get(3)?,
                input_tokens: unsigned(row.get(4)?),
                output_tokens: unsigned(row.get(5)?),
                cost_usd: row.get(6)?,
                is_chosen: row.get(7)?,
            })
        })
    }

    /// The treatments under which an answer takes several calls, by row, with how it is put together as JSON.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn procedures(&self) -> Result<BTreeMap<i64, serde_json::Value>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT id, procedure FROM treatment WHERE procedure IS NOT NULL")?;
        let rows: Vec<(i64, String)> =
            collect(&mut statement, params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.into_iter().map(|(id, text)| Ok((id, serde_json::from_str(&text)?))).collect()
    }

    /// How treatments steer subjects, by rows of subject and treatment, as JSON.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn steered_under(&self) -> Result<BTreeMap<(i64, i64), serde_json::Value>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT subject, treatment, steering FROM steered_under")?;
        let rows: Vec<((i64, i64), String)> =
            collect(&mut statement, params![], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        rows.into_iter().map(|(key, text)| Ok((key, serde_json::from_str(&text)?))).collect()
    }
}

fn verdict(name: &str) -> rusqlite::Result<SelfVerdict> {
    named(name, &SelfVerdict::ALL, SelfVerdict::name)
}
