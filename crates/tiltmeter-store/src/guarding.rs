//! What guards found in contexts, and what they did with the contexts of conditions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};
use tiltmeter_core::guarding::{GuardFinding, GuardRisk};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::prompt::{Placement, QuestionFormat, RenderedContext, Role, Turn};

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::reader::{Reader, collect, named, unsigned};
use crate::rows::{FailedAttempt, count, forget_failure, write_attempts};
use crate::schema::open_for_writing;

/// The table of inspections.
pub(crate) const MIGRATION: &str = "
-- What a guard found in a context before it was shown to anybody.
CREATE TABLE inspection (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,       -- of the guard and the context
    guard BLOB NOT NULL,             -- hash of the detectors: settings, files, models
    context BLOB NOT NULL,           -- hash of the context as it was looked at
    risk TEXT NOT NULL,              -- none | low | high
    score REAL NOT NULL,             -- 0 to 1
    examples INTEGER NOT NULL,       -- that the guard found in it
    flagged TEXT NOT NULL,           -- JSON list: places of flagged demonstrations, from 0
    reasons TEXT NOT NULL,           -- JSON list of {detector, code, score}
    unchecked TEXT NOT NULL,         -- JSON list of {detector, reason, bytes}
    remains TEXT,                    -- JSON {placement, question_format, text, turns}: without what is flagged
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL,                   -- absent: not known
    duration_ms INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX inspection_by_guard ON inspection (guard, context);

-- What a guard did with a condition's context: what it found, how many demonstrations it cut out, and what else it did.
ALTER TABLE condition_context ADD COLUMN risk TEXT;
ALTER TABLE condition_context ADD COLUMN risk_score REAL;
ALTER TABLE condition_context ADD COLUMN guard_cut INTEGER;
ALTER TABLE condition_context ADD COLUMN guard_actions TEXT; -- JSON list of names
ALTER TABLE experiment_treatment ADD COLUMN guard BLOB;
ALTER TABLE experiment_treatment ADD COLUMN guard_detectors TEXT;
ALTER TABLE context ADD COLUMN note TEXT;     -- what a guard put between demonstrations and question
ALTER TABLE context ADD COLUMN withheld TEXT; -- what a guard said instead of an answer: nobody was shown the context
";

/// Makes the store of a run directory where there is none yet, or brings it to the newest schema.
///
/// # Errors
/// If the store cannot be opened or written.
pub fn prepare(directory: &RunDirectory) -> Result<(), StoreError> {
    open_for_writing(&directory.store_path()).map(drop)
}

/// One thing that a detector found.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InspectionReason {
    /// Which detector.
    pub detector: String,
    /// A short word for it.
    pub code: String,
    /// From 0 to 1.
    pub score: f64,
}

/// Something that a detector did not look at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InspectionGap {
    /// Which detector.
    pub detector: String,
    /// Why.
    pub reason: String,
    /// How much of the request, in bytes.
    pub bytes: u64,
}

/// What a guard found in one context.
#[derive(Clone, Debug)]
pub struct InspectionRecord {
    /// Hash of guard and context.
    pub hash: ContentId,
    /// Hash of the guard.
    pub guard: ContentId,
    /// The context's id.
    pub context: ContentId,
    /// What was found.
    pub finding: GuardFinding,
    /// Examples that the guard found in it.
    pub examples: u64,
    /// Why the risk is what it is.
    pub reasons: Vec<InspectionReason>,
    /// What was not looked at.
    pub unchecked: Vec<InspectionGap>,
    /// Calls to models.
    pub calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// US dollars of all calls, if known.
    pub cost_usd: Option<f64>,
    /// How long it took.
    pub duration_ms: u64,
    /// When it was stored, RFC 3339.
    pub created_at: String,
    /// Attempts that failed before.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// A context's parts as a row of inspections holds them.
#[derive(serde::Serialize, serde::Deserialize)]
struct Remains {
    placement: String,
    question_format: String,
    text: String,
    turns: Vec<(String, String)>,
}

impl Remains {
    fn of(context: &RenderedContext) -> Self {
        let turns = context.turns.iter();
        Self {
            placement: context.placement.name().to_owned(),
            question_format: context.question_format.name().to_owned(),
            text: context.text.to_string(),
            turns: turns.map(|turn| (turn.role.name().to_owned(), turn.text.to_string())).collect(),
        }
    }

    fn context(self) -> Result<RenderedContext, StoreError> {
        let placement = named(&self.placement, &Placement::ALL, Placement::name)?;
        let format = named(
            &self.question_format,
            &[QuestionFormat::Header, QuestionFormat::Plain],
            QuestionFormat::name,
        )?;
        let turn = |(role, text): (String, String)| {
            Ok(Turn { role: named(&role, &Role::ALL, Role::name)?, text: text.into() })
        };
        let turns: rusqlite::Result<Vec<Turn>> = self.turns.into_iter().map(turn).collect();
        Ok(RenderedContext::from_parts(placement, format, self.text.into(), turns?.into()))
    }
}

impl InspectionRecord {
    /// Writes the record; one that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        write_attempts(connection, self.hash, &self.failed_attempts)?;
        forget_failure(connection, self.hash)?;
        let remains = self.finding.left.as_ref().map(|left| serde_json::to_string(&Remains::of(left)));
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO inspection (hash, guard, context, risk, score, examples, flagged, reasons, unchecked,
                     remains, calls, input_tokens, output_tokens, cost_usd, duration_ms, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params![
                self.hash.as_bytes(),
                self.guard.as_bytes(),
                self.context.as_bytes(),
                self.finding.risk.name(),
                self.finding.score,
                count(self.examples),
                serde_json::to_string(&self.finding.flagged)?,
                serde_json::to_string(&self.reasons)?,
                serde_json::to_string(&self.unchecked)?,
                remains.transpose()?,
                count(self.calls),
                count(self.input_tokens),
                count(self.output_tokens),
                self.cost_usd,
                count(self.duration_ms),
                self.created_at,
            ])?;
        Ok(0)
    }
}

/// What looking at contexts took, all starts together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InspectionTotals {
    /// Contexts that were looked at.
    pub contexts: u64,
    /// Of these, those of which something was not looked at.
    pub with_gaps: u64,
    /// Calls to models.
    pub calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// US dollars, where all costs are known.
    pub cost_usd: Option<f64>,
    /// Time for all of them, in milliseconds.
    pub duration_ms: u64,
}

/// The guard of a treatment as a run wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardRow {
    /// Hash of the guard.
    pub hash: ContentId,
    /// Its detectors.
    pub detectors: Vec<String>,
}

/// What a guard did with one context of a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardedRow {
    /// Which draw of the context.
    pub draw: u32,
    /// The risk.
    pub risk: GuardRisk,
    /// The number that it was taken from.
    pub score: f64,
    /// Demonstrations that were cut out.
    pub cut: u32,
    /// What was done, by name.
    pub actions: Vec<String>,
}

impl Reader {
    /// What a guard found, by the context's id.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn inspections(&self, guard: ContentId) -> Result<HashMap<ContentId, GuardFinding>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT context, risk, score, flagged, remains FROM inspection WHERE guard = ?1")?;
        let rows = collect(&mut statement, params![guard.as_bytes()], |row| {
            let risk = named(row.get_ref(1)?.as_str()?, &GuardRisk::ALL, GuardRisk::name)?;
            let finding = GuardFinding { risk, score: row.get(2)?, ..GuardFinding::default() };
            let json: (String, Option<String>) = (row.get(3)?, row.get(4)?);
            Ok((row.get(0).map(ContentId::from_bytes)?, finding, json))
        })?;
        let read = |(context, finding, (flagged, remains)): (_, _, (String, Option<String>))| {
            let left = match remains {
                Some(json) => Some(Arc::new(serde_json::from_str::<Remains>(&json)?.context()?)),
                None => None,
            };
            Ok((context, GuardFinding { left, flagged: serde_json::from_str(&flagged)?, ..finding }))
        };
        rows.into_iter().map(read).collect()
    }

    /// What a guard's looking at contexts took.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn inspection_totals(&self, guard: ContentId) -> Result<InspectionTotals, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT count(*), coalesce(sum(unchecked != '[]'), 0), coalesce(sum(calls), 0),
                 coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), count(cost_usd),
                 coalesce(sum(cost_usd), 0.0), coalesce(sum(duration_ms), 0)
             FROM inspection WHERE guard = ?1",
        )?;
        let totals = statement.query_row(params![guard.as_bytes()], |row| {
            let contexts = unsigned(row, 0)?;
            let cost: f64 = row.get(6)?;
            Ok(InspectionTotals {
                contexts,
                with_gaps: unsigned(row, 1)?,
                calls: unsigned(row, 2)?,
                input_tokens: unsigned(row, 3)?,
                output_tokens: unsigned(row, 4)?,
                cost_usd: (unsigned(row, 5)? == contexts).then_some(cost),
                duration_ms: unsigned(row, 7)?,
            })
        })?;
        Ok(totals)
    }

    /// What guards did with the contexts of an experiment, by row of the condition and in the order of draws.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn guarded_contexts(&self, experiment: i64) -> Result<BTreeMap<i64, Vec<GuardedRow>>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT x.condition, x.risk, x.risk_score, x.guard_cut, x.guard_actions, x.draw FROM condition_context AS x
             JOIN condition AS c ON c.id = x.condition
             WHERE c.experiment = ?1 AND x.risk IS NOT NULL ORDER BY x.condition, x.draw",
        )?;
        let rows: Vec<(i64, GuardedRow, String)> = collect(&mut statement, params![experiment], |row| {
            let risk = named(&row.get::<_, String>(1)?, &GuardRisk::ALL, GuardRisk::name)?;
            let (score, cut, draw) = (row.get(2)?, row.get(3)?, row.get(5)?);
            let guarded = GuardedRow { draw, risk, score, cut, actions: Vec::new() };
            Ok((row.get(0)?, guarded, row.get(4)?))
        })?;
        let mut by_condition: BTreeMap<i64, Vec<GuardedRow>> = BTreeMap::new();
        for (condition, row, actions) in rows {
            let actions = serde_json::from_str(&actions)?;
            by_condition.entry(condition).or_default().push(GuardedRow { actions, ..row });
        }
        Ok(by_condition)
    }
}
