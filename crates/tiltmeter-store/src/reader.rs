//! Reads a run directory: what is there, and what tables are computed from.

mod rows;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::prompt::{Placement, QuestionFormat, RenderedContext, Role, Turn};
use tiltmeter_core::question::PairKind;
use tiltmeter_core::verdict::Aspect;

pub use self::rows::{ConditionRow, ExperimentRow, FailureRow, ScoreRow};
use self::rows::{EXPERIMENT, StoredExperiment};
use crate::directory::store_path;
use crate::error::StoreError;
use crate::register::JudgePromptTexts;
use crate::rejudging::AnswerToJudge;
use crate::rows::{AdaptiveRecord, CODING, ResponseOutcome};
use crate::schema::open_for_reading;
use crate::stored::{IdSet, StoredIds, StoredResponse, StoredResponses};

/// A store, opened for reading. It may be read while a run writes to it.
pub struct Reader {
    pub(crate) connection: Connection,
}

impl Reader {
    /// Opens the store of a run directory.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = store_path(directory);
        if !path.is_file() {
            return Err(StoreError::NotARun { path: directory.to_owned() });
        }
        Ok(Self { connection: open_for_reading(&path)? })
    }

    /// The experiment that was run last.
    ///
    /// # Errors
    /// If the store cannot be read, or holds no experiment.
    pub fn experiment(&self) -> Result<ExperimentRow, StoreError> {
        let query = format!(
            "SELECT {EXPERIMENT} FROM invocation AS i JOIN experiment AS e ON e.id = i.experiment
             ORDER BY i.id DESC LIMIT 1"
        );
        let found = self.connection.query_row(&query, [], StoredExperiment::read).optional()?;
        found.ok_or(StoreError::NothingRun)?.parsed()
    }

    /// All experiments that were run here with a judge, oldest first: one for each judge that scored the answers, and
    /// those of another grid.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn judged_experiments(&self) -> Result<Vec<ExperimentRow>, StoreError> {
        let query =
            format!("SELECT {EXPERIMENT} FROM experiment AS e WHERE e.judge IS NOT NULL ORDER BY e.id");
        let mut statement = self.connection.prepare(&query)?;
        let stored = collect(&mut statement, params![], StoredExperiment::read)?;
        stored.into_iter().map(StoredExperiment::parsed).collect()
    }

    /// The rows of all judges, with the model of each as `provider/model`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn judge_models(&self) -> Result<BTreeMap<i64, String>, StoreError> {
        let mut statement = self.connection.prepare("SELECT id, model FROM judge")?;
        Ok(collect(&mut statement, params![], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
    }

    /// The conditions of an experiment whose answers are judged, in table order. Those of probes of usefulness are none of
    /// them, so that nothing that is computed from these knows of probes: see [`Reader::probed`].
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn conditions(&self, experiment: i64) -> Result<Vec<ConditionRow>, StoreError> {
        self.conditions_where(experiment, IS_JUDGED)
    }

    /// The conditions of an experiment for which an expression in SQL holds, in table order.
    pub(crate) fn conditions_where(
        &self,
        experiment: i64,
        holds: &str,
    ) -> Result<Vec<ConditionRow>, StoreError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT c.id, c.subject, s.name, c.demonstrations, c.control, c.shots, c.placement, c.treatment, c.treatment_name,
                 c.reasoning, c.replicates, c.question_format, t.after_question IS NOT NULL
             FROM condition AS c JOIN subject AS s ON s.id = c.subject JOIN treatment AS t ON t.id = c.treatment
             WHERE c.experiment = ?1 AND {holds} ORDER BY c.ord"
        ))?;
        let mut conditions = collect(&mut statement, params![experiment], |row| {
            Ok(ConditionRow {
                id: row.get(0)?,
                subject: row.get(1)?,
                subject_name: row.get(2)?,
                demonstrations: row.get(3)?,
                control: row.get(4)?,
                shots: row.get(5)?,
                placement: placement(row.get_ref(6)?.as_str()?)?,
                question_format: question_format(row.get_ref(11)?.as_str()?)?,
                treatment: row.get(7)?,
                treatment_name: row.get(8)?,
                asks_for_reasoning: row.get(12)?,
                reasoning: row.get(9)?,
                replicates: row.get(10)?,
                contexts: Vec::new(),
                questions: Vec::new(),
            })
        })?;
        let mut contexts = self
            .connection
            .prepare("SELECT context FROM condition_context WHERE condition = ?1 ORDER BY draw")?;
        let mut questions = self.connection.prepare(
            "SELECT question, sampled, scored FROM condition_question WHERE condition = ?1 ORDER BY question",
        )?;
        for condition in &mut conditions {
            condition.contexts = collect(&mut contexts, params![condition.id], |row| row.get(0))?;
            condition.questions = collect(&mut questions, params![condition.id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        }
        Ok(conditions)
    }

    /// How far adaptive sampling has come in the conditions of an experiment.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn adaptive(&self, experiment: i64) -> Result<Vec<AdaptiveRecord>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT a.condition, a.half_width, a.rounds, a.decision
             FROM adaptive AS a JOIN condition AS c ON c.id = a.condition WHERE c.experiment = ?1 ORDER BY c.ord",
        )?;
        collect(&mut statement, params![experiment], |row| {
            Ok(AdaptiveRecord {
                condition: row.get(0)?,
                half_width: row.get(1)?,
                rounds: row.get(2)?,
                decision: row.get(3)?,
            })
        })
    }

    /// All calls of subjects and judges that failed for good and have not succeeded since. Those of coders are apart, see
    /// [`coding_failures`](Self::coding_failures): no rate hangs on them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn failures(&self) -> Result<Vec<FailureRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT target, subject, context, treatment, question, response, judge, kind, message, replicate,
                 hash, aspect, created_at
             FROM failure WHERE target <> ?1 ORDER BY hash",
        )?;
        collect(&mut statement, params![CODING], |row| {
            let question: Option<i64> = row.get(4)?;
            let scored: Option<String> = row.get(11)?;
            Ok(FailureRow {
                id: row.get(10).map(ContentId::from_bytes)?,
                target: row.get(0)?,
                sample: match question {
                    Some(question) => Some((row.get(1)?, row.get(2)?, row.get(3)?, question, row.get(9)?)),
                    None => None,
                },
                response: row.get(5)?,
                judge: row.get(6)?,
                aspect: scored.as_deref().map(crate::samples::aspect).transpose()?,
                kind: row.get(7)?,
                message: row.get(8)?,
                created_at: row.get(12)?,
            })
        })
    }

    /// All scored texts of the experiment's answer pairs.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn scores(&self, experiment: i64) -> Result<Vec<ScoreRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT s.subject, s.context, s.treatment, p.question, s.pair, p.kind, s.tilted,
                 s.log_probability / s.tokens
             FROM text_score AS s
             JOIN experiment_pair AS e ON e.experiment = ?1 AND e.pair = s.pair
             JOIN answer_pair AS p ON p.id = s.pair
             ORDER BY s.id",
        )?;
        collect(&mut statement, params![experiment], |row| {
            let kind: String = row.get(5)?;
            Ok(ScoreRow {
                subject: row.get(0)?,
                context: row.get(1)?,
                treatment: row.get(2)?,
                question: row.get(3)?,
                pair: row.get(4)?,
                kind: if kind == PairKind::Decoy.name() { PairKind::Decoy } else { PairKind::Alignment },
                tilted: row.get(6)?,
                mean_log_probability: row.get(7)?,
            })
        })
    }

    /// Content addresses of all that is stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn stored_ids(&self) -> Result<StoredIds, StoreError> {
        let mut responses = Vec::with_capacity(self.rows_of("response")?);
        let mut statement = self.connection.prepare("SELECT hash, id, outcome FROM response")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let outcome = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            let is_answer = outcome == ResponseOutcome::Answer.name();
            responses.push((hash(row)?, StoredResponse { row: row.get(1)?, is_answer }));
        }
        Ok(StoredIds {
            responses: StoredResponses::new(responses),
            judgements: self.hashes("judgement")?,
            scores: self.hashes("text_score")?,
        })
    }

    /// About how many rows a table has that nothing is ever removed from.
    fn rows_of(&self, table: &str) -> Result<usize, StoreError> {
        let query = format!("SELECT coalesce(max(id), 0) FROM {table}");
        let most: i64 = self.connection.query_row(&query, [], |row| row.get(0))?;
        Ok(usize::try_from(most).unwrap_or(0))
    }

    fn hashes(&self, table: &str) -> Result<IdSet, StoreError> {
        let mut ids = Vec::with_capacity(self.rows_of(table)?);
        // The index on the hashes is all that this reads.
        let mut statement = self.connection.prepare(&format!("SELECT hash FROM {table} ORDER BY hash"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            ids.push(hash(row)?);
        }
        Ok(IdSet::new(ids))
    }

    /// The text of a stored answer, as it is judged.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn answer(&self, response: i64) -> Result<String, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT answer FROM response_body WHERE response = ?1")?
            .query_row(params![response], |row| row.get(0))?)
    }

    /// The row of a context by its content address, if it is stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn context_row(&self, hash: ContentId) -> Result<Option<i64>, StoreError> {
        Ok(self
            .connection
            .query_row("SELECT id FROM context WHERE hash = ?1", params![hash.as_bytes()], |row| row.get(0))
            .optional()?)
    }

    /// A stored context, as it was shown.
    ///
    /// # Errors
    /// If the store cannot be read or the context is damaged.
    pub fn context(&self, id: i64) -> Result<RenderedContext, StoreError> {
        let (hash, placement, format, [text, turns], guarded) = self.connection.query_row(
            "SELECT hash, placement, question_format, text, turns, note, withheld FROM context WHERE id = ?1",
            params![id],
            |row| {
                let placement = placement(row.get_ref(1)?.as_str()?)?;
                let format = question_format(row.get_ref(2)?.as_str()?)?;
                let packed: [Vec<u8>; 2] = [row.get(3)?, row.get(4)?];
                let guarded: [Option<String>; 2] = [row.get(5)?, row.get(6)?];
                Ok((hash(row)?, placement, format, packed, guarded))
            },
        )?;
        let damaged = |what: &str| StoreError::Damaged { what: format!("context {id}: {what}") };
        let text = String::from_utf8(zstd::decode_all(&*text)?).map_err(|_| damaged("its text"))?;
        let turns: Vec<(String, String)> = serde_json::from_slice(&zstd::decode_all(&*turns)?)?;
        let turns: Vec<Turn> = turns
            .into_iter()
            .map(|(role, text)| {
                let role = named(&role, &Role::ALL, Role::name)?;
                Ok(Turn { role, text: text.into() })
            })
            .collect::<rusqlite::Result<_>>()?;
        let mut context = RenderedContext::from_parts(placement, format, text.into(), turns.into());
        let [note, withheld] = guarded;
        if let Some(note) = note {
            context = context.noted(note.into());
        }
        if let Some(said) = withheld {
            context = context.withheld(said.into());
        }
        if context.id == hash { Ok(context) } else { Err(damaged("its hash")) }
    }

    /// The rows and names of all questions.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn question_names(&self) -> Result<Vec<(i64, String)>, StoreError> {
        let mut statement = self.connection.prepare("SELECT id, name FROM question ORDER BY id")?;
        collect(&mut statement, params![], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The rows of all subjects, with the model of each as `provider/model`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn subject_models(&self) -> Result<Vec<(i64, String)>, StoreError> {
        let mut statement = self.connection.prepare("SELECT id, model FROM subject ORDER BY id")?;
        collect(&mut statement, params![], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The stored answers of an experiment's conditions, oldest first; without refusals and withheld ones, and without
    /// those to probes of usefulness.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn answers_to_judge(&self, experiment: i64) -> Result<Vec<AnswerToJudge>, StoreError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT r.id, r.hash, r.question, r.wording FROM response AS r
             WHERE r.outcome = 'answer' AND EXISTS (
                 SELECT 1 FROM condition AS c
                 JOIN condition_context AS x ON x.condition = c.id AND x.context = r.context
                 JOIN condition_question AS q ON q.condition = c.id AND q.question = r.question AND q.sampled
                 WHERE c.experiment = ?1 AND c.subject = r.subject AND c.treatment = r.treatment
                     AND r.replicate < c.replicates AND {IS_JUDGED})
             ORDER BY r.id"
        ))?;
        collect(&mut statement, params![experiment], |row| {
            Ok(AnswerToJudge {
                response: row.get(0)?,
                sample: row.get(1).map(ContentId::from_bytes)?,
                question: row.get(2)?,
                wording: usize::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
            })
        })
    }

    /// The wordings of all questions, by row.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn question_wordings(&self) -> Result<BTreeMap<i64, Vec<String>>, StoreError> {
        let mut statement = self.connection.prepare("SELECT id, wordings FROM question")?;
        let rows: Vec<(i64, String)> =
            collect(&mut statement, params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.into_iter().map(|(id, wordings)| Ok((id, serde_json::from_str(&wordings)?))).collect()
    }

    /// The texts of the judge's prompts of an experiment, by row of the question; empty without a judge.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn judge_prompts(&self, experiment: i64) -> Result<BTreeMap<i64, JudgePromptTexts>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT a.question, pa.text, pc.text FROM experiment_prompt AS a
             JOIN experiment_prompt AS c ON c.experiment = a.experiment AND c.question = a.question
                 AND c.aspect = 'coherence'
             JOIN judge_prompt AS pa ON pa.id = a.prompt
             JOIN judge_prompt AS pc ON pc.id = c.prompt
             WHERE a.experiment = ?1 AND a.aspect = 'alignment'",
        )?;
        let rows: Vec<(i64, String, String)> =
            collect(&mut statement, params![experiment], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let texts = |(question, alignment, coherence): (i64, String, String)| {
            (question, JudgePromptTexts { alignment: alignment.into(), coherence: coherence.into() })
        };
        Ok(rows.into_iter().map(texts).collect())
    }
}

/// What holds of conditions `c` whose answers are judged.
const IS_JUDGED: &str = "c.id NOT IN (SELECT condition FROM usefulness)";

/// A count; SQLite has no unsigned integers.
pub(crate) fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0))
}

pub(crate) fn collect<T>(
    statement: &mut rusqlite::Statement<'_>,
    parameters: &[&dyn rusqlite::ToSql],
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    Ok(statement.query_map(parameters, read)?.collect::<rusqlite::Result<_>>()?)
}

/// Reads a name that the schema allows; another one is damage.
pub(crate) fn named<T: Copy>(
    name: &str,
    known: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    known.iter().copied().find(|&one| name_of(one) == name).ok_or_else(|| {
        let error = StoreError::Damaged { what: format!("`{name}`") };
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn placement(name: &str) -> rusqlite::Result<Placement> {
    named(name, &Placement::ALL, Placement::name)
}

fn question_format(name: &str) -> rusqlite::Result<QuestionFormat> {
    named(name, &[QuestionFormat::Header, QuestionFormat::Plain], QuestionFormat::name)
}

fn hash(row: &Row<'_>) -> rusqlite::Result<ContentId> {
    row.get(0).map(ContentId::from_bytes)
}

/// The hash under which a judgement is stored.
pub fn judgement_hash(sample: ContentId, judge: ContentId, prompt: ContentId, aspect: Aspect) -> ContentId {
    tiltmeter_core::id::Canonical::new("tiltmeter.judgement/1")
        .id(&sample)
        .id(&judge)
        .id(&prompt)
        .text(aspect.name())
        .finish()
}
