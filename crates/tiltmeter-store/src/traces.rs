//! Reads traces and their codings, by models and by people; writes what people say of traces.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::treatment::ReasoningKind;

use crate::coding::{LabelSpan, TraceDraw, TraceDrawItem};
use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::reader::{Reader, collect};
use crate::register::find_or_insert;
use crate::rows::CODING;
use crate::schema::open_for_writing;
use crate::stored::IdSet;

/// What there is of a response's reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceInfo {
    /// Its text, and how it was come by, where that is known.
    Text(Option<ReasoningKind>),
    /// The model reasoned, and the provider does not show it.
    Hidden,
}

/// A code book as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeBookRow {
    /// Row.
    pub id: i64,
    /// Hash.
    pub hash: ContentId,
    /// Name.
    pub name: String,
    /// The file as written.
    pub source: String,
}

impl CodeBookRow {
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        find_or_insert(
            connection,
            "code_book",
            self.hash,
            "INSERT INTO code_book (hash, name, source) VALUES (?1, ?2, ?3)",
            params![self.hash.as_bytes(), self.name, self.source],
        )
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            hash: row.get(1).map(ContentId::from_bytes)?,
            name: row.get(2)?,
            source: row.get(3)?,
        })
    }
}

/// A coder as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoderRow {
    /// Row.
    pub id: i64,
    /// Hash of model, settings and wording.
    pub hash: ContentId,
    /// `provider/model`.
    pub model: String,
}

/// A drawn trace with its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceItemRow {
    /// What was drawn.
    pub item: TraceDrawItem,
    /// The sample's id.
    pub sample: ContentId,
    /// Row of the question.
    pub question: i64,
    /// Which wording of it was asked.
    pub wording: usize,
}

/// What a coder said of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct CodingRow {
    /// Row.
    pub id: i64,
    /// Row of the response.
    pub response: i64,
    /// Row of the coder.
    pub coder: i64,
    /// `coded`, `unparsable`, `truncated` or `declined`.
    pub outcome: String,
    /// The labels, those that do not count included.
    pub labels: Vec<LabelSpan>,
    /// US dollars; absent: not known.
    pub cost_usd: Option<f64>,
}

/// A call of a coder that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodingFailureRow {
    /// Hash of the coding that is missing.
    pub id: ContentId,
    /// Row of the response.
    pub response: i64,
    /// Kind of the error.
    pub kind: String,
    /// Its message.
    pub message: String,
}

/// What a person says of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonCodeKind {
    /// The labels that apply, by their ids; possibly none.
    Coded(Vec<String>),
    /// The person cannot tell.
    CannotTell,
}

/// What a person says of a trace, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonCodeRecord {
    /// Row of the response.
    pub response: i64,
    /// Row of the code book.
    pub book: i64,
    /// Who labels.
    pub annotator: String,
    /// What the person says; `None`: the person takes back what was said before.
    pub kind: Option<PersonCodeKind>,
    /// A note.
    pub note: Option<String>,
    /// Where it was given: `page`, or a file's name.
    pub origin: String,
    /// When, RFC 3339.
    pub created_at: String,
}

/// What a person said of a trace, that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonCodeRow {
    /// Row of the response.
    pub response: i64,
    /// Who labelled.
    pub annotator: String,
    /// What was said.
    pub kind: PersonCodeKind,
    /// A note.
    pub note: Option<String>,
    /// When, RFC 3339.
    pub created_at: String,
}

/// Writes people's labels of traces, each on disk before it is acknowledged.
#[derive(Debug)]
pub struct PersonCodeWriter {
    connection: Connection,
}

impl PersonCodeWriter {
    /// Opens the store of a directory that this process alone works on.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn open(directory: &RunDirectory) -> Result<Self, StoreError> {
        Ok(Self { connection: open_for_writing(&directory.store_path())? })
    }

    /// Stores labels, all or none; returns once they are on disk.
    ///
    /// # Errors
    /// If they could not be stored.
    pub fn write(&mut self, records: &[PersonCodeRecord]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        let mut insert = transaction.prepare(
            "INSERT INTO trace_label (response, book, annotator, kind, labels, note, origin, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for record in records {
            let (kind, labels) = match &record.kind {
                Some(PersonCodeKind::Coded(labels)) => ("coded", labels.as_slice()),
                Some(PersonCodeKind::CannotTell) => ("cannot_tell", &[][..]),
                None => ("withdrawn", &[][..]),
            };
            insert.execute(params![
                record.response,
                record.book,
                record.annotator,
                kind,
                serde_json::to_string(labels)?,
                record.note,
                record.origin,
                record.created_at
            ])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(())
    }
}

impl Reader {
    /// Responses with reasoning, by row: those whose text is stored, and those of which only the number of tokens is.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn traces(&self) -> Result<HashMap<i64, TraceInfo>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT r.id, b.reasoning_kind, trim(coalesce(b.reasoning, ''), char(9, 10, 13, 32)) <> ''
             FROM response AS r JOIN response_body AS b ON b.response = r.id
             WHERE r.reasoning_tokens > 0 OR b.reasoning IS NOT NULL",
        )?;
        let rows: Vec<(i64, Option<String>, bool)> =
            collect(&mut statement, params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows
            .into_iter()
            .map(|(response, kind, has_text)| {
                let known =
                    ReasoningKind::ALL.into_iter().find(|known| kind.as_deref() == Some(known.name()));
                (response, if has_text { TraceInfo::Text(known) } else { TraceInfo::Hidden })
            })
            .collect())
    }

    /// The stored reasoning of a response; empty where there is none.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn trace(&self, response: i64) -> Result<String, StoreError> {
        let text: Option<String> = self
            .connection
            .prepare_cached("SELECT reasoning FROM response_body WHERE response = ?1")?
            .query_row(params![response], |row| row.get(0))?;
        Ok(text.unwrap_or_default())
    }

    /// Content addresses of all codings.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn coding_ids(&self) -> Result<IdSet, StoreError> {
        let mut statement = self.connection.prepare("SELECT hash FROM coding ORDER BY hash")?;
        let ids = collect(&mut statement, params![], |row| row.get(0).map(ContentId::from_bytes))?;
        Ok(IdSet::new(ids))
    }

    /// All code books that were used here, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn code_books(&self) -> Result<Vec<CodeBookRow>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT id, hash, name, source FROM code_book ORDER BY id")?;
        collect(&mut statement, params![], CodeBookRow::read)
    }

    /// The code book by which traces were labelled last, by a coder or a person; `None` where none were.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn newest_code_book(&self) -> Result<Option<CodeBookRow>, StoreError> {
        let query = "SELECT k.id, k.hash, k.name, k.source FROM code_book AS k
             LEFT JOIN (SELECT c.book, max(b.created_at) AS at FROM coding AS c JOIN coding_body AS b ON b.coding = c.id
                 GROUP BY c.book) AS m ON m.book = k.id
             LEFT JOIN (SELECT book, max(created_at) AS at FROM trace_label GROUP BY book) AS p ON p.book = k.id
             ORDER BY max(coalesce(m.at, ''), coalesce(p.at, '')) DESC, k.id DESC LIMIT 1";
        Ok(self.connection.query_row(query, [], CodeBookRow::read).optional()?)
    }

    /// All coders, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn coders(&self) -> Result<Vec<CoderRow>, StoreError> {
        let mut statement = self.connection.prepare("SELECT id, hash, model FROM coder ORDER BY id")?;
        collect(&mut statement, params![], |row| {
            Ok(CoderRow { id: row.get(0)?, hash: row.get(1).map(ContentId::from_bytes)?, model: row.get(2)? })
        })
    }

    /// The newest draw of traces with its row, without the traces; `None` where nothing was drawn.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn trace_draw(&self) -> Result<Option<(i64, TraceDraw)>, StoreError> {
        let found = self
            .connection
            .query_row(
                "SELECT id, experiment, seed, base_rate, last_response, created_at FROM trace_draw
                 ORDER BY id DESC LIMIT 1",
                [],
                |row| {
                    let seed: String = row.get(2)?;
                    let draw = TraceDraw {
                        experiment: row.get(1)?,
                        seed: 0,
                        base_rate: row.get(3)?,
                        last_response: row.get(4)?,
                        created_at: row.get(5)?,
                        items: Vec::new(),
                    };
                    Ok((row.get::<_, i64>(0)?, seed, draw))
                },
            )
            .optional()?;
        let Some((id, seed, draw)) = found else { return Ok(None) };
        let seed = seed.parse().map_err(|_| StoreError::Damaged { what: format!("seed `{seed}`") })?;
        Ok(Some((id, TraceDraw { seed, ..draw })))
    }

    /// The traces of a draw, in the order in which people see them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn trace_items(&self, draw: i64) -> Result<Vec<TraceItemRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT i.response, i.misaligned, i.inclusion, r.hash, r.question, r.wording
             FROM trace_item AS i JOIN response AS r ON r.id = i.response WHERE i.draw = ?1 ORDER BY i.ord",
        )?;
        collect(&mut statement, params![draw], |row| {
            Ok(TraceItemRow {
                item: TraceDrawItem {
                    response: row.get(0)?,
                    misaligned: row.get(1)?,
                    inclusion: row.get(2)?,
                },
                sample: row.get(3).map(ContentId::from_bytes)?,
                question: row.get(4)?,
                wording: usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
            })
        })
    }

    /// All codings by a code book, in the order in which they were stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn codings(&self, book: i64) -> Result<Vec<CodingRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT l.coding, l.label, l.state, l.quote, l.span_start, l.span_end
             FROM coding_label AS l JOIN coding AS c ON c.id = l.coding WHERE c.book = ?1 ORDER BY l.coding, l.ord",
        )?;
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        let mut labels: BTreeMap<i64, Vec<LabelSpan>> = BTreeMap::new();
        let rows: Vec<(i64, LabelSpan)> = collect(&mut statement, params![book], |row| {
            let ends: (Option<i64>, Option<i64>) = (row.get(4)?, row.get(5)?);
            let span = ends.0.zip(ends.1).map(|(start, end)| (unsigned(start), unsigned(end)));
            Ok((row.get(0)?, LabelSpan { label: row.get(1)?, state: row.get(2)?, quote: row.get(3)?, span }))
        })?;
        for (coding, label) in rows {
            labels.entry(coding).or_default().push(label);
        }
        let mut statement = self.connection.prepare(
            "SELECT id, response, coder, outcome, cost_usd FROM coding WHERE book = ?1 ORDER BY id",
        )?;
        collect(&mut statement, params![book], |row| {
            let id = row.get(0)?;
            Ok(CodingRow {
                id,
                response: row.get(1)?,
                coder: row.get(2)?,
                outcome: row.get(3)?,
                labels: labels.remove(&id).unwrap_or_default(),
                cost_usd: row.get(4)?,
            })
        })
    }

    /// The calls of coders that failed for good and have not succeeded since.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn coding_failures(&self) -> Result<Vec<CodingFailureRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT hash, response, kind, message FROM failure WHERE target = ?1 AND response IS NOT NULL
             ORDER BY hash",
        )?;
        collect(&mut statement, params![CODING], |row| {
            Ok(CodingFailureRow {
                id: row.get(0).map(ContentId::from_bytes)?,
                response: row.get(1)?,
                kind: row.get(2)?,
                message: row.get(3)?,
            })
        })
    }

    /// What people said of traces by a code book, that counts: the newest of each person and trace, unless it was taken
    /// back. In the order in which it was given.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn person_codes(&self, book: i64) -> Result<Vec<PersonCodeRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT l.response, l.annotator, l.kind, l.labels, l.note, l.created_at FROM trace_label AS l
             WHERE l.book = ?1 AND l.kind <> 'withdrawn' AND l.id = (
                 SELECT max(n.id) FROM trace_label AS n
                 WHERE n.response = l.response AND n.annotator = l.annotator AND n.book = l.book)
             ORDER BY l.id",
        )?;
        let rows: Vec<(PersonCodeRow, String, String)> = collect(&mut statement, params![book], |row| {
            let code = PersonCodeRow {
                response: row.get(0)?,
                annotator: row.get(1)?,
                kind: PersonCodeKind::CannotTell,
                note: row.get(4)?,
                created_at: row.get(5)?,
            };
            Ok((code, row.get(2)?, row.get(3)?))
        })?;
        rows.into_iter()
            .map(|(code, kind, labels)| {
                let kind = if kind == "coded" {
                    PersonCodeKind::Coded(serde_json::from_str(&labels)?)
                } else {
                    PersonCodeKind::CannotTell
                };
                Ok(PersonCodeRow { kind, ..code })
            })
            .collect()
    }
}
