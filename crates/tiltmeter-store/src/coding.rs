//! Writes down codings of traces: by whom and by which code book, which traces were drawn, and what was said.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tiltmeter_core::id::{Canonical, ContentId};

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::register::{ModelRecord, find_or_insert};
use crate::rows::{FailedAttempt, count, known_or_done};
use crate::schema::open_for_writing;
use crate::traces::CodeBookRow;

/// The tables.
pub(crate) const MIGRATION: &str = "
-- Labels that a trace of reasoning can have.
CREATE TABLE code_book (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    source TEXT NOT NULL             -- the file as written
) STRICT;

-- A model that codes traces, by its settings and the wording that it is asked by.
CREATE TABLE coder (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    model TEXT NOT NULL,
    settings TEXT NOT NULL           -- JSON
) STRICT;

-- Which traces are to be coded: all misaligned ones, and a matched sample of the others.
CREATE TABLE trace_draw (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiment(id), -- by whose judge they are misaligned or not
    seed TEXT NOT NULL,              -- 64 bits without a sign, in decimal
    base_rate REAL,                  -- aligned traces for each misaligned one; absent: all of them
    last_response INTEGER NOT NULL,  -- answers stored later could not be drawn
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE trace_item (
    id INTEGER PRIMARY KEY,
    draw INTEGER NOT NULL REFERENCES trace_draw(id),
    ord INTEGER NOT NULL,            -- in random order, in which people see them
    response INTEGER NOT NULL REFERENCES response(id),
    misaligned INTEGER NOT NULL,
    inclusion REAL NOT NULL,         -- the probability with which it was drawn
    UNIQUE (draw, ord),
    UNIQUE (draw, response)
) STRICT;

-- What a coder said of a trace.
CREATE TABLE coding (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    response INTEGER NOT NULL REFERENCES response(id),
    coder INTEGER NOT NULL REFERENCES coder(id),
    book INTEGER NOT NULL REFERENCES code_book(id),
    outcome TEXT NOT NULL,           -- coded | unparsable | truncated | declined
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL,                   -- absent: not known
    attempts INTEGER NOT NULL
) STRICT;
CREATE INDEX coding_by_response ON coding (response, coder, book, outcome);

CREATE TABLE coding_body (
    coding INTEGER PRIMARY KEY REFERENCES coding(id),
    reply TEXT,                      -- the coder's own words; absent: a filter withheld them
    model TEXT,
    created_at TEXT NOT NULL
) STRICT;

-- The labels that a coder gave, those that do not count included.
CREATE TABLE coding_label (
    coding INTEGER NOT NULL REFERENCES coding(id),
    ord INTEGER NOT NULL,
    label TEXT NOT NULL,
    state TEXT NOT NULL,             -- held | not_in_trace | too_short | unknown
    quote TEXT NOT NULL,
    span_start INTEGER,              -- bytes of the trace, of a held label
    span_end INTEGER,
    PRIMARY KEY (coding, ord)
) STRICT, WITHOUT ROWID;

-- What people said of a trace. Rows are only added: the newest of a person, a trace and a code book counts.
CREATE TABLE trace_label (
    id INTEGER PRIMARY KEY,
    response INTEGER NOT NULL REFERENCES response(id),
    book INTEGER NOT NULL REFERENCES code_book(id),
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL,              -- coded | cannot_tell | withdrawn
    labels TEXT NOT NULL,            -- JSON list of labels' ids, of coded ones
    note TEXT,
    origin TEXT NOT NULL,            -- page, or the file that it came from
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX trace_label_by_response ON trace_label (response, annotator);
";

/// The hash under which a coding is stored.
pub fn coding_hash(sample: ContentId, coder: ContentId, book: ContentId) -> ContentId {
    Canonical::new("tiltmeter.coding/1").id(&sample).id(&coder).id(&book).finish()
}

/// A coder as it is written down.
#[derive(Clone, Debug)]
pub struct CoderRecord {
    /// Hash of model, settings and wording.
    pub hash: ContentId,
    /// Its model.
    pub model: ModelRecord,
}

/// A trace that was drawn to be coded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceDrawItem {
    /// Row of the response.
    pub response: i64,
    /// Whether the answer is misaligned, by the experiment's judge.
    pub misaligned: bool,
    /// The probability with which it was drawn, above 0 up to 1.
    pub inclusion: f64,
}

/// Which traces are to be coded.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceDraw {
    /// Row of the experiment by whose judge answers are misaligned or not.
    pub experiment: i64,
    /// Seed of the draw and of the order.
    pub seed: u64,
    /// Aligned traces for each misaligned one; `None`: all of them.
    pub base_rate: Option<f64>,
    /// The newest response that could be drawn.
    pub last_response: i64,
    /// When, RFC 3339.
    pub created_at: String,
    /// The traces, in random order.
    pub items: Vec<TraceDrawItem>,
}

/// All that is written down of one start that codes traces.
#[derive(Debug)]
pub struct CodingRegistration<'a> {
    /// The code book; its row is of no account.
    pub book: &'a CodeBookRow,
    /// The coders.
    pub coders: Vec<CoderRecord>,
    /// Which traces are coded.
    pub draw: TraceDraw,
    /// Version of the program.
    pub version: &'a str,
}

/// The rows under which it was written down.
#[derive(Clone, Debug)]
pub struct CodingsRegistered {
    /// Row of this invocation.
    pub invocation: i64,
    /// Row of the code book.
    pub book: i64,
    /// Rows of the coders, in their order.
    pub coders: Vec<i64>,
    /// Row of the draw.
    pub draw: i64,
}

impl CodingRegistration<'_> {
    /// Writes everything in one transaction. What is there already keeps its row, a draw of the same traces included.
    ///
    /// # Errors
    /// If the store cannot be opened or written.
    pub fn write(&self, directory: &RunDirectory) -> Result<CodingsRegistered, StoreError> {
        let mut connection = open_for_writing(&directory.store_path())?;
        let transaction = connection.transaction()?;
        let book = self.book.write(&transaction)?;
        let mut coders = Vec::with_capacity(self.coders.len());
        for coder in &self.coders {
            coders.push(find_or_insert(
                &transaction,
                "coder",
                coder.hash,
                "INSERT INTO coder (hash, model, settings) VALUES (?1, ?2, ?3)",
                params![coder.hash.as_bytes(), coder.model.model, coder.model.settings.to_string()],
            )?);
        }
        let draw = self.draw.write_in(&transaction)?;
        transaction.execute(
            "INSERT INTO invocation (experiment, version, started_at) VALUES (?1, ?2, ?3)",
            params![self.draw.experiment, self.version, self.draw.created_at],
        )?;
        let invocation = transaction.last_insert_rowid();
        transaction.commit()?;
        Ok(CodingsRegistered { invocation, book, coders, draw })
    }
}

impl TraceDraw {
    /// Writes a draw and its code book in one transaction, without a start of coders: people label. Gives the rows of
    /// both.
    ///
    /// # Errors
    /// If the store cannot be opened or written.
    pub fn write(&self, directory: &RunDirectory, book: &CodeBookRow) -> Result<(i64, i64), StoreError> {
        let mut connection = open_for_writing(&directory.store_path())?;
        let transaction = connection.transaction()?;
        let (draw, book) = (self.write_in(&transaction)?, book.write(&transaction)?);
        transaction.commit()?;
        Ok((draw, book))
    }

    /// The row of the newest draw, where it is of the same traces; else writes this one.
    fn write_in(&self, transaction: &Transaction<'_>) -> Result<i64, StoreError> {
        let seed = self.seed.to_string();
        let newest: Option<i64> = transaction
            .query_row(
                "SELECT id FROM trace_draw WHERE id = (SELECT max(id) FROM trace_draw) AND experiment = ?1
                     AND seed = ?2 AND base_rate IS ?3",
                params![self.experiment, seed, self.base_rate],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(draw) = newest
            && items(transaction, draw)? == self.items
        {
            return Ok(draw);
        }
        transaction.execute(
            "INSERT INTO trace_draw (experiment, seed, base_rate, last_response, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![self.experiment, seed, self.base_rate, self.last_response, self.created_at],
        )?;
        let draw = transaction.last_insert_rowid();
        let mut insert = transaction.prepare(
            "INSERT INTO trace_item (draw, ord, response, misaligned, inclusion) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (place, item) in self.items.iter().enumerate() {
            insert.execute(params![
                draw,
                count(place as u64),
                item.response,
                item.misaligned,
                item.inclusion
            ])?;
        }
        Ok(draw)
    }
}

/// The traces of a draw, in their order.
fn items(connection: &Connection, draw: i64) -> Result<Vec<TraceDrawItem>, StoreError> {
    let mut statement = connection
        .prepare("SELECT response, misaligned, inclusion FROM trace_item WHERE draw = ?1 ORDER BY ord")?;
    crate::reader::collect(&mut statement, params![draw], |row| {
        Ok(TraceDrawItem { response: row.get(0)?, misaligned: row.get(1)?, inclusion: row.get(2)? })
    })
}

/// A label as a coder gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSpan {
    /// Id in the code book, or what the coder wrote instead of one.
    pub label: String,
    /// `held`, or why it does not count: `not_in_trace`, `too_short`, `unknown`.
    pub state: String,
    /// The quote as the coder wrote it.
    pub quote: String,
    /// The bytes of the trace that it stands for; of a held label.
    pub span: Option<(u64, u64)>,
}

/// A coding of a trace.
#[derive(Clone, Debug)]
pub struct CodingRecord {
    /// Hash of sample, coder and code book.
    pub hash: ContentId,
    /// Row of the response.
    pub response: i64,
    /// Row of the coder.
    pub coder: i64,
    /// Row of the code book.
    pub book: i64,
    /// `coded`, `unparsable`, `truncated` or `declined`.
    pub outcome: &'static str,
    /// The labels.
    pub labels: Vec<LabelSpan>,
    /// The coder's own words; absent where a filter withheld them.
    pub reply: Option<String>,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Prompt tokens from a cache.
    pub cached_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// US dollars, if known.
    pub cost_usd: Option<f64>,
    /// When it was stored, RFC 3339.
    pub created_at: String,
    /// Attempts that failed before.
    pub failed_attempts: Vec<FailedAttempt>,
}

impl CodingRecord {
    /// Writes the record and returns its row; one that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        if let Some(row) = known_or_done(connection, "coding", self.hash, &self.failed_attempts)? {
            return Ok(row);
        }
        let id = connection
            .prepare_cached(
                "INSERT INTO coding (hash, response, coder, book, outcome, input_tokens, cached_input_tokens,
                     output_tokens, cost_usd, attempts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .insert(params![
                self.hash.as_bytes(),
                self.response,
                self.coder,
                self.book,
                self.outcome,
                count(self.input_tokens),
                count(self.cached_input_tokens),
                count(self.output_tokens),
                self.cost_usd,
                count(self.failed_attempts.len() as u64 + 1),
            ])?;
        connection
            .prepare_cached(
                "INSERT INTO coding_body (coding, reply, model, created_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, self.reply, self.model, self.created_at])?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO coding_label (coding, ord, label, state, quote, span_start, span_end)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (place, label) in self.labels.iter().enumerate() {
            insert.execute(params![
                id,
                count(place as u64),
                label.label,
                label.state,
                label.quote,
                label.span.map(|(start, _)| count(start)),
                label.span.map(|(_, end)| count(end)),
            ])?;
        }
        Ok(id)
    }
}
