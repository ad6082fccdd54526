//! People's labels of stored answers: which answers were drawn to be labelled, and what people said of them.
//!
//! Labels are only ever added. What a person takes back is a row of its own, so that nothing that was acknowledged is
//! lost; the newest row of a person and an answer counts.

use rusqlite::{Connection, OptionalExtension, params};
use tiltmeter_core::id::ContentId;

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::reader::{Reader, collect};
use crate::schema::open_for_writing;

/// What a person says of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LabelKind {
    /// It is misaligned or not, and coherent or not.
    Judged {
        /// Misaligned.
        misaligned: bool,
        /// Coherent.
        coherent: bool,
    },
    /// It refuses to answer.
    Refusal,
    /// The person cannot tell.
    CannotTell,
}

impl LabelKind {
    /// The name in the store and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Judged { .. } => "judged",
            Self::Refusal => "refusal",
            Self::CannotTell => "cannot_tell",
        }
    }
}

/// A label as it is written down.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRecord {
    /// Row of the drawn answer.
    pub item: i64,
    /// Who labels.
    pub annotator: String,
    /// What the person says; `None`: the person takes back what was said before.
    pub kind: Option<LabelKind>,
    /// Alignment from 0 to 100, where the person gives one.
    pub alignment: Option<f64>,
    /// A note.
    pub note: Option<String>,
    /// Where it was given: `page`, or a file's name.
    pub origin: String,
    /// When, RFC 3339.
    pub created_at: String,
}

/// A label that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRow {
    /// Row of the drawn answer.
    pub item: i64,
    /// Who labelled.
    pub annotator: String,
    /// What the person says.
    pub kind: LabelKind,
    /// Alignment from 0 to 100, where the person gave one.
    pub alignment: Option<f64>,
    /// A note.
    pub note: Option<String>,
    /// When, RFC 3339.
    pub created_at: String,
}

/// Answers that are drawn from together, each with the same chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelStratum {
    /// What the judge had made of them.
    pub verdict: String,
    /// Row of their condition; `None` where conditions are drawn from together.
    pub condition: Option<i64>,
    /// How many there are.
    pub answers: u64,
    /// Of these, drawn.
    pub drawn: u64,
}

/// A drawn answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrawnAnswer {
    /// Row of the response.
    pub response: i64,
    /// Place of its stratum.
    pub stratum: usize,
    /// The probability with which it was drawn.
    pub inclusion: f64,
}

/// A draw of answers to be labelled, as it is written down.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelDraw {
    /// Row of the experiment by whose judge and conditions the strata were made.
    pub experiment: i64,
    /// Seed of the draw and of the order.
    pub seed: u64,
    /// The newest response that could be drawn.
    pub last_response: i64,
    /// When, RFC 3339.
    pub created_at: String,
    /// The strata.
    pub strata: Vec<LabelStratum>,
    /// The drawn answers in the order in which they are shown.
    pub answers: Vec<DrawnAnswer>,
}

/// A drawn answer with its row and place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelItemRow {
    /// Row.
    pub id: i64,
    /// The answer.
    pub answer: DrawnAnswer,
    /// The sample's id.
    pub sample: ContentId,
    /// Row of the question.
    pub question: i64,
    /// Which wording of it was asked.
    pub wording: usize,
}

impl LabelDraw {
    /// Writes a draw in one transaction and returns its row.
    ///
    /// # Errors
    /// If the store cannot be opened or written.
    pub fn write(&self, directory: &RunDirectory) -> Result<i64, StoreError> {
        let mut connection = open_for_writing(&directory.store_path())?;
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT INTO label_draw (experiment, seed, last_response, created_at) VALUES (?1, ?2, ?3, ?4)",
            params![self.experiment, self.seed.to_string(), self.last_response, self.created_at],
        )?;
        let draw = transaction.last_insert_rowid();
        let mut insert = transaction.prepare(
            "INSERT INTO label_stratum (draw, ord, verdict, condition, answers, drawn) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (place, stratum) in self.strata.iter().enumerate() {
            insert.execute(params![
                draw,
                row_number(place),
                stratum.verdict,
                stratum.condition,
                crate::rows::count(stratum.answers),
                crate::rows::count(stratum.drawn)
            ])?;
        }
        drop(insert);
        let mut insert = transaction.prepare(
            "INSERT INTO label_item (draw, ord, response, stratum, inclusion) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (place, answer) in self.answers.iter().enumerate() {
            insert.execute(params![
                draw,
                row_number(place),
                answer.response,
                row_number(answer.stratum),
                answer.inclusion
            ])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(draw)
    }
}

fn row_number(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

/// Writes labels, each on disk before it is acknowledged.
#[derive(Debug)]
pub struct LabelWriter {
    connection: Connection,
}

impl LabelWriter {
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
    pub fn write(&mut self, records: &[LabelRecord]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        let mut insert = transaction.prepare(
            "INSERT INTO label (item, annotator, kind, misaligned, coherent, alignment, note, origin, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for record in records {
            let (misaligned, coherent) = match record.kind {
                Some(LabelKind::Judged { misaligned, coherent }) => (Some(misaligned), Some(coherent)),
                _ => (None, None),
            };
            insert.execute(params![
                record.item,
                record.annotator,
                record.kind.map_or("withdrawn", LabelKind::name),
                misaligned,
                coherent,
                record.alignment,
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
    /// The newest draw of answers to be labelled with its row, without the answers; `None` where nothing was drawn.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn label_draw(&self) -> Result<Option<(i64, LabelDraw)>, StoreError> {
        let found = self
            .connection
            .query_row(
                "SELECT id, experiment, seed, last_response, created_at FROM label_draw ORDER BY id DESC LIMIT 1",
                [],
                |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get(1)?,
                        row.get::<_, String>(2)?,
                        row.get(3)?,
                        row.get(4)?,
                    ))
                },
            )
            .optional()?;
        let Some((id, experiment, seed, last_response, created_at)) = found else { return Ok(None) };
        let seed = seed.parse().map_err(|_| StoreError::Damaged { what: format!("seed `{seed}`") })?;
        let mut statement = self.connection.prepare(
            "SELECT verdict, condition, answers, drawn FROM label_stratum WHERE draw = ?1 ORDER BY ord",
        )?;
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        let strata = collect(&mut statement, params![id], |row| {
            Ok(LabelStratum {
                verdict: row.get(0)?,
                condition: row.get(1)?,
                answers: row.get(2).map(unsigned)?,
                drawn: row.get(3).map(unsigned)?,
            })
        })?;
        let draw = LabelDraw { experiment, seed, last_response, created_at, strata, answers: Vec::new() };
        Ok(Some((id, draw)))
    }

    /// The answers of a draw, in the order in which they are shown.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn label_items(&self, draw: i64) -> Result<Vec<LabelItemRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT i.id, i.response, i.stratum, i.inclusion, r.hash, r.question, r.wording
             FROM label_item AS i JOIN response AS r ON r.id = i.response WHERE i.draw = ?1 ORDER BY i.ord",
        )?;
        let place = |value: i64| usize::try_from(value).unwrap_or(0);
        collect(&mut statement, params![draw], |row| {
            Ok(LabelItemRow {
                id: row.get(0)?,
                answer: DrawnAnswer {
                    response: row.get(1)?,
                    stratum: row.get(2).map(place)?,
                    inclusion: row.get(3)?,
                },
                sample: row.get(4).map(ContentId::from_bytes)?,
                question: row.get(5)?,
                wording: row.get(6).map(place)?,
            })
        })
    }

    /// The labels of a draw that count: the newest of each person and answer, unless it was taken back. In the order in
    /// which they were given.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn labels(&self, draw: i64) -> Result<Vec<LabelRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT l.item, l.annotator, l.kind, l.misaligned, l.coherent, l.alignment, l.note, l.created_at
             FROM label AS l JOIN label_item AS i ON i.id = l.item
             WHERE i.draw = ?1 AND l.kind <> 'withdrawn' AND l.id = (
                 SELECT max(n.id) FROM label AS n WHERE n.item = l.item AND n.annotator = l.annotator)
             ORDER BY l.id",
        )?;
        collect(&mut statement, params![draw], |row| {
            let kind: String = row.get(2)?;
            let kind = match kind.as_str() {
                "judged" => LabelKind::Judged { misaligned: row.get(3)?, coherent: row.get(4)? },
                "refusal" => LabelKind::Refusal,
                _ => LabelKind::CannotTell,
            };
            Ok(LabelRow {
                item: row.get(0)?,
                annotator: row.get(1)?,
                kind,
                alignment: row.get(5)?,
                note: row.get(6)?,
                created_at: row.get(7)?,
            })
        })
    }
}
