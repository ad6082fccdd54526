//! What filters' models said of demonstrations, and what became of the demonstrations of contexts.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::reshaping::Screened;
use tiltmeter_core::verdict::AspectOutcome;

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::guarding::GuardRow;
use crate::reader::{Reader, collect, unsigned};
use crate::register::{ModelRecord, find_or_insert, write_prompt};
use crate::rows::{FailedAttempt, count, forget_failure, outcome_columns, write_attempts};
use crate::schema::open_for_writing;

/// The rows of a filter's model and prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenRow {
    /// Of the model as it is asked, among the judges.
    pub judge: i64,
    /// Of the prompt, among those of judges.
    pub prompt: i64,
}

/// Writes down a filter's model and prompt. What is there already keeps its row.
///
/// # Errors
/// If the store cannot be opened or written.
pub fn register_screen(
    directory: &RunDirectory,
    hash: ContentId,
    record: &ModelRecord,
    prompt: &str,
) -> Result<ScreenRow, StoreError> {
    let mut connection = open_for_writing(&directory.store_path())?;
    let transaction = connection.transaction()?;
    let judge = find_or_insert(
        &transaction,
        "judge",
        hash,
        "INSERT INTO judge (hash, model, settings) VALUES (?1, ?2, ?3)",
        params![hash.as_bytes(), record.model, record.settings.to_string()],
    )?;
    let (prompt, _) = write_prompt(&transaction, prompt)?;
    transaction.commit()?;
    Ok(ScreenRow { judge, prompt })
}

/// The score of one demonstration.
#[derive(Clone, Debug)]
pub struct ScreeningRecord {
    /// Hash of demonstration, model and prompt.
    pub hash: ContentId,
    /// Hash of the demonstration's prompt and answer.
    pub demonstration: ContentId,
    /// Whose it is.
    pub screen: ScreenRow,
    /// What came of it.
    pub outcome: AspectOutcome,
    /// The model's own words.
    pub replies: Vec<String>,
    /// Probability mass on the numbers 0–100, where it was looked at.
    pub number_mass: Option<f64>,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// Calls that it took.
    pub calls: u32,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Prompt tokens from a cache.
    pub cached_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// US dollars of all its calls, if known.
    pub cost_usd: Option<f64>,
    /// When it was stored, RFC 3339.
    pub created_at: String,
    /// Attempts that failed before.
    pub failed_attempts: Vec<FailedAttempt>,
}

impl ScreeningRecord {
    /// Writes the record; one that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        write_attempts(connection, self.hash, &self.failed_attempts)?;
        forget_failure(connection, self.hash)?;
        let (outcome, score, method) = outcome_columns(self.outcome);
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO screening (hash, demonstration, judge, prompt, outcome, score, method, replies,
                     number_mass, model, calls, input_tokens, cached_input_tokens, output_tokens, cost_usd, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params![
                self.hash.as_bytes(),
                self.demonstration.as_bytes(),
                self.screen.judge,
                self.screen.prompt,
                outcome,
                score,
                method,
                serde_json::to_string(&self.replies)?,
                self.number_mass,
                self.model,
                self.calls,
                count(self.input_tokens),
                count(self.cached_input_tokens),
                count(self.output_tokens),
                self.cost_usd,
                self.created_at,
            ])?;
        Ok(0)
    }
}

/// What scoring demonstrations took, all starts together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScreeningTotals {
    /// `provider/model`.
    pub model: String,
    /// Demonstrations that were scored.
    pub demonstrations: u64,
    /// Of these, those whose reply holds no score.
    pub without_score: u64,
    /// Calls.
    pub calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// US dollars, where all costs are known.
    pub cost_usd: Option<f64>,
}

/// A treatment as a run wrote it down.
#[derive(Clone, Debug, PartialEq)]
pub struct TreatmentRow {
    /// Its name.
    pub name: String,
    /// Whether it comes with the program.
    pub is_built_in: bool,
    /// What it does, a line for each thing.
    pub does: Vec<String>,
    /// The texts that it puts into requests, each with what it is.
    pub texts: Vec<(String, String)>,
    /// Whose scores its filter goes by.
    pub screen: Option<ScreenRow>,
    /// The guard by whose word it goes.
    pub guard: Option<GuardRow>,
}

/// What a filter did to one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilteredContext {
    /// Demonstrations that were left out.
    pub dropped: u32,
    /// Demonstrations that were kept without a score.
    pub without_score: u32,
}

impl Reader {
    /// What a filter's model said, by the hash of the demonstration.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn screenings(&self, screen: ScreenRow) -> Result<HashMap<ContentId, Screened>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT demonstration, score FROM screening WHERE judge = ?1 AND prompt = ?2")?;
        let rows: Vec<([u8; 16], Option<f64>)> =
            collect(&mut statement, params![screen.judge, screen.prompt], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let screened = rows.into_iter().map(|(demonstration, score)| {
            (ContentId::from_bytes(demonstration), score.map_or(Screened::NoScore, Screened::Score))
        });
        Ok(screened.collect())
    }

    /// What a filter's model took.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn screening_totals(&self, screen: ScreenRow) -> Result<ScreeningTotals, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT (SELECT model FROM judge WHERE id = ?1), count(*), count(*) - count(score), coalesce(sum(calls), 0),
                 coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), count(cost_usd),
                 coalesce(sum(cost_usd), 0.0)
             FROM screening WHERE judge = ?1 AND prompt = ?2",
        )?;
        let totals = statement.query_row(params![screen.judge, screen.prompt], |row| {
            let demonstrations = unsigned(row, 1)?;
            let cost: f64 = row.get(7)?;
            Ok(ScreeningTotals {
                model: row.get(0)?,
                demonstrations,
                without_score: unsigned(row, 2)?,
                calls: unsigned(row, 3)?,
                input_tokens: unsigned(row, 4)?,
                output_tokens: unsigned(row, 5)?,
                cost_usd: (unsigned(row, 6)? == demonstrations).then_some(cost),
            })
        })?;
        Ok(totals)
    }

    /// The treatments of an experiment in its order; empty where an earlier version wrote it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn treatments(&self, experiment: i64) -> Result<Vec<TreatmentRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT name, built_in, does, texts, judge, prompt, guard, guard_detectors
             FROM experiment_treatment WHERE experiment = ?1 ORDER BY ord",
        )?;
        let rows = collect(&mut statement, params![experiment], |row| {
            let screen = Option::zip(row.get(4)?, row.get(5)?);
            let treatment = TreatmentRow {
                name: row.get(0)?,
                is_built_in: row.get(1)?,
                does: Vec::new(),
                texts: Vec::new(),
                screen: screen.map(|(judge, prompt)| ScreenRow { judge, prompt }),
                guard: None,
            };
            let guard: (Option<[u8; 16]>, Option<String>) = (row.get(6)?, row.get(7)?);
            Ok((treatment, row.get::<_, String>(2)?, row.get::<_, String>(3)?, guard))
        })?;
        let read = |(treatment, does, texts, guard): (TreatmentRow, String, String, (_, Option<String>))| {
            let guard = match guard {
                (Some(hash), Some(detectors)) => Some(GuardRow {
                    hash: ContentId::from_bytes(hash),
                    detectors: serde_json::from_str(&detectors)?,
                }),
                _ => None,
            };
            Ok(TreatmentRow {
                guard,
                does: serde_json::from_str(&does)?,
                texts: serde_json::from_str(&texts)?,
                ..treatment
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// What filters did to the contexts of an experiment, by row of the condition and by draw.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn filtered_contexts(
        &self,
        experiment: i64,
    ) -> Result<BTreeMap<i64, Vec<FilteredContext>>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT x.condition, x.dropped, x.without_score FROM condition_context AS x
             JOIN condition AS c ON c.id = x.condition
             WHERE c.experiment = ?1 AND x.dropped IS NOT NULL ORDER BY x.condition, x.draw",
        )?;
        let rows: Vec<(i64, FilteredContext)> = collect(&mut statement, params![experiment], |row| {
            Ok((row.get(0)?, FilteredContext { dropped: row.get(1)?, without_score: row.get(2)? }))
        })?;
        let mut by_condition: BTreeMap<i64, Vec<FilteredContext>> = BTreeMap::new();
        for (condition, filtered) in rows {
            by_condition.entry(condition).or_default().push(filtered);
        }
        Ok(by_condition)
    }
}
