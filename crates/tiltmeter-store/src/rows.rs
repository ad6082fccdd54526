//! What is written: plain records, with every conversion to columns in one place.

use rusqlite::{Connection, OptionalExtension as _, params};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::treatment::ReasoningKind;
use tiltmeter_core::verdict::{Aspect, AspectOutcome};

use crate::error::StoreError;

/// What came of asking a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseOutcome {
    /// An answer, possibly empty.
    Answer,
    /// A refusal in the provider's own field.
    Refusal,
    /// Withheld by the provider's content filter.
    Filtered,
    /// Withheld by a defence, which found no answer to let through.
    Withheld,
}

impl ResponseOutcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Refusal => "refusal",
            Self::Filtered => "filtered",
            Self::Withheld => "withheld",
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Self, StoreError> {
        [Self::Answer, Self::Refusal, Self::Filtered, Self::Withheld]
            .into_iter()
            .find(|outcome| outcome.name() == name)
            .ok_or_else(|| StoreError::Damaged { what: format!("response outcome `{name}`") })
    }
}

/// A failed attempt of a call, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Counted from 1.
    pub attempt: u32,
    /// Kind in the error taxonomy.
    pub kind: &'static str,
    /// HTTP status.
    pub status: Option<u16>,
    /// What was said.
    pub message: String,
    /// How long the attempt took.
    pub duration_ms: u64,
    /// How long was waited afterwards.
    pub waited_ms: u64,
    /// When it was made, RFC 3339.
    pub at: String,
}

/// What steering did to the residual stream, for one answer or one scored text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShiftRecord {
    /// Tokens that were changed.
    pub tokens: u64,
    /// Their mean projection onto the direction before.
    pub before: f64,
    /// And after.
    pub after: f64,
}

/// An answer of a subject. Row numbers are those of [`Registered`](crate::Registered).
#[derive(Clone, Debug)]
pub struct ResponseRecord {
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
    /// What came of it.
    pub outcome: ResponseOutcome,
    /// What is judged.
    pub answer: String,
    /// All that the model said, where the answer was cut out of it.
    pub raw: Option<String>,
    /// Whether the model ran on into another demonstration, which was cut off.
    pub cut: bool,
    /// Reasoning text.
    pub reasoning: Option<String>,
    /// Where it comes from, where there is one and it is known.
    pub reasoning_kind: Option<ReasoningKind>,
    /// Why the generation ended.
    pub finish: &'static str,
    /// The token limit was met.
    pub truncated: bool,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// The provider's id of the reply.
    pub response_id: Option<String>,
    /// The seed that was sent.
    pub seed: Option<u32>,
    /// Request fields that the server does not take.
    pub dropped: Vec<String>,
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
    /// What steering did, where the subject was steered.
    pub shift: Option<ShiftRecord>,
    /// Attempts that failed before.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// One score of one answer.
#[derive(Clone, Debug)]
pub struct JudgementRecord {
    /// Hash of sample, judge, prompt and aspect.
    pub hash: ContentId,
    /// Row of the response.
    pub response: i64,
    /// Row of the judge.
    pub judge: i64,
    /// Row of the judge's prompt.
    pub prompt: i64,
    /// What was scored.
    pub aspect: Aspect,
    /// What came of it.
    pub outcome: AspectOutcome,
    /// The judge's own words.
    pub replies: Vec<String>,
    /// Tokens and log-probabilities at the first position.
    pub distribution: Option<Vec<(String, f64)>>,
    /// Probability mass on the numbers 0–100 there.
    pub number_mass: Option<f64>,
    /// The model as the provider names it.
    pub model: Option<String>,
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

/// The log-probability of one given text.
#[derive(Clone, Debug)]
pub struct ScoreRecord {
    /// Hash of model, prompt and text.
    pub hash: ContentId,
    /// Row of the subject.
    pub subject: i64,
    /// Row of the context.
    pub context: i64,
    /// Row of the treatment.
    pub treatment: i64,
    /// Row of the answer pair.
    pub pair: i64,
    /// Whether it is the tilted text of the pair.
    pub tilted: bool,
    /// Natural log-probability of each token.
    pub token_log_probabilities: Vec<f32>,
    /// US dollars, if known.
    pub cost_usd: Option<f64>,
    /// What steering did, where the subject was steered.
    pub shift: Option<ShiftRecord>,
    /// Attempts that failed before.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// What a failed call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureTarget {
    /// An answer.
    Response {
        /// Row of the subject.
        subject: i64,
        /// Row of the context.
        context: i64,
        /// Row of the treatment.
        treatment: i64,
        /// Row of the question.
        question: i64,
        /// Which answer to that question in that context.
        replicate: u32,
    },
    /// A score by the judge.
    Judgement {
        /// Row of the response.
        response: i64,
        /// Row of the judge.
        judge: i64,
        /// What was to be scored.
        aspect: Aspect,
    },
    /// A filter's score of a demonstration.
    Screening,
    /// A guard's look at a context.
    Inspection,
    /// The log-probability of a text.
    Score {
        /// Row of the subject.
        subject: i64,
        /// Row of the context.
        context: i64,
        /// Row of the treatment.
        treatment: i64,
    },
    /// A coding of a trace.
    Coding {
        /// Row of the response.
        response: i64,
    },
}

/// A call that failed for good. It is asked again on the next start.
#[derive(Clone, Debug)]
pub struct FailureRecord {
    /// Hash of the sample, judgement or score.
    pub hash: ContentId,
    /// What it was for.
    pub target: FailureTarget,
    /// Kind of the last error.
    pub kind: &'static str,
    /// Its message.
    pub message: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// All attempts.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// How far adaptive sampling has come in a condition. Written after every round, in the place of the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptiveRecord {
    /// Row of the condition.
    pub condition: i64,
    /// The target.
    pub half_width: f64,
    /// Whole rounds so far.
    pub rounds: u32,
    /// `settled`, `cannot_settle` or `not_settled`.
    pub decision: String,
}

impl AdaptiveRecord {
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO adaptive (condition, half_width, rounds, decision) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![self.condition, self.half_width, self.rounds, self.decision])?;
        Ok(self.condition)
    }
}

/// How an invocation ended.
#[derive(Clone, Debug)]
pub struct InvocationEnd {
    /// When, RFC 3339.
    pub ended_at: String,
    /// In a word: `finished`, `stopped`, `failed`.
    pub end: String,
    /// Model calls made.
    pub asked: u64,
    /// Model calls answered from the store.
    pub reused: u64,
    /// Attempts made.
    pub attempts: u64,
    /// US dollars of all calls whose cost is known.
    pub cost_usd: f64,
    /// Where the time went, as JSON.
    pub timing: String,
}

pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn write_attempts(
    connection: &Connection,
    hash: ContentId,
    attempts: &[FailedAttempt],
) -> Result<(), StoreError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO failed_attempt (hash, attempt, kind, status, message, duration_ms, waited_ms, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for attempt in attempts {
        statement.execute(params![
            hash.as_bytes(),
            attempt.attempt,
            attempt.kind,
            attempt.status,
            attempt.message,
            count(attempt.duration_ms),
            count(attempt.waited_ms),
            attempt.at,
        ])?;
    }
    Ok(())
}

/// The row under which something is stored by its hash.
pub(crate) fn row_of(
    connection: &Connection,
    table: &str,
    hash: ContentId,
) -> Result<Option<i64>, StoreError> {
    let find = format!("SELECT id FROM {table} WHERE hash = ?1");
    Ok(connection.prepare_cached(&find)?.query_row(params![hash.as_bytes()], |row| row.get(0)).optional()?)
}

/// The row of a result that is there already. For one that is not, its failed attempts are written down, and the failure
/// that an earlier start left is taken back.
pub(crate) fn known_or_done(
    connection: &Connection,
    table: &str,
    hash: ContentId,
    attempts: &[FailedAttempt],
) -> Result<Option<i64>, StoreError> {
    let found = row_of(connection, table, hash)?;
    if found.is_none() {
        write_attempts(connection, hash, attempts)?;
        forget_failure(connection, hash)?;
    }
    Ok(found)
}

pub(crate) fn forget_failure(connection: &Connection, hash: ContentId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM failure WHERE hash = ?1")?.execute(params![hash.as_bytes()])?;
    Ok(())
}

/// Outcome, score and method of a judge's score, as columns.
pub(crate) fn outcome_columns(outcome: AspectOutcome) -> (&'static str, Option<f64>, Option<&'static str>) {
    match outcome {
        AspectOutcome::Score { score, method } => ("score", Some(score), Some(method.name())),
        AspectOutcome::Code => ("code", None, None),
        AspectOutcome::SubjectRefusal => ("subject_refusal", None, None),
        AspectOutcome::JudgeRefusal => ("judge_refusal", None, None),
        AspectOutcome::Unparsable => ("unparsable", None, None),
    }
}

impl ResponseRecord {
    /// Writes the record and returns its row; a record that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        if let Some(row) = known_or_done(connection, "response", self.hash, &self.failed_attempts)? {
            return Ok(row);
        }
        let id = connection
            .prepare_cached(
                "INSERT INTO response (hash, subject, context, treatment, question, replicate, wording, outcome,
                     truncated, cut, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, attempts,
                     duration_ms, cache_write_tokens, cost_usd, steered_tokens, projection_before, projection_after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
            )?
            .insert(params![
                self.hash.as_bytes(),
                self.subject,
                self.context,
                self.treatment,
                self.question,
                self.replicate,
                count(self.wording as u64),
                self.outcome.name(),
                self.truncated,
                self.cut,
                count(self.input_tokens),
                count(self.cached_input_tokens),
                count(self.output_tokens),
                count(self.reasoning_tokens),
                count(self.failed_attempts.len() as u64 + 1),
                count(self.duration_ms),
                count(self.cache_write_tokens),
                self.cost_usd,
                self.shift.map(|shift| count(shift.tokens)),
                self.shift.map(|shift| shift.before),
                self.shift.map(|shift| shift.after),
            ])?;
        let dropped =
            if self.dropped.is_empty() { None } else { Some(serde_json::to_string(&self.dropped)?) };
        connection
            .prepare_cached(
                "INSERT INTO response_body (response, answer, raw, reasoning, finish, model, response_id, seed,
                     dropped, created_at, reasoning_kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                id,
                self.answer,
                self.raw,
                self.reasoning,
                self.finish,
                self.model,
                self.response_id,
                self.seed,
                dropped,
                self.created_at,
                self.reasoning_kind.map(ReasoningKind::name),
            ])?;
        Ok(id)
    }
}

impl JudgementRecord {
    /// Writes the record and returns its row; one that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        if let Some(row) = known_or_done(connection, "judgement", self.hash, &self.failed_attempts)? {
            return Ok(row);
        }
        let (outcome, score, method) = outcome_columns(self.outcome);
        let id = connection
            .prepare_cached(
                "INSERT INTO judgement (hash, response, judge, prompt, aspect, outcome, score, method, input_tokens,
                     output_tokens, attempts, cached_input_tokens, cost_usd)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .insert(params![
                self.hash.as_bytes(),
                self.response,
                self.judge,
                self.prompt,
                self.aspect.name(),
                outcome,
                score,
                method,
                count(self.input_tokens),
                count(self.output_tokens),
                count(self.failed_attempts.len() as u64 + 1),
                count(self.cached_input_tokens),
                self.cost_usd,
            ])?;
        let distribution = self.distribution.as_ref().map(serde_json::to_string).transpose()?;
        connection
            .prepare_cached(
                "INSERT INTO judgement_body (judgement, replies, distribution, number_mass, model, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                id,
                serde_json::to_string(&self.replies)?,
                distribution,
                self.number_mass,
                self.model,
                self.created_at,
            ])?;
        Ok(id)
    }
}

impl ScoreRecord {
    /// Writes the record and returns its row; one that is there already stays as it is.
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        write_attempts(connection, self.hash, &self.failed_attempts)?;
        forget_failure(connection, self.hash)?;
        let bytes: Vec<u8> =
            self.token_log_probabilities.iter().flat_map(|value| value.to_le_bytes()).collect();
        let total: f64 = self.token_log_probabilities.iter().map(|&value| f64::from(value)).sum();
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO text_score (hash, subject, context, treatment, pair, tilted, tokens,
                     log_probability, token_log_probabilities, cost_usd, steered_tokens, projection_before,
                     projection_after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                self.hash.as_bytes(),
                self.subject,
                self.context,
                self.treatment,
                self.pair,
                self.tilted,
                count(self.token_log_probabilities.len() as u64),
                total,
                bytes,
                self.cost_usd,
                self.shift.map(|shift| count(shift.tokens)),
                self.shift.map(|shift| shift.before),
                self.shift.map(|shift| shift.after),
            ])?;
        Ok(connection.last_insert_rowid())
    }
}

/// The target of failed calls of coders.
pub(crate) const CODING: &str = "coding";

/// What a failed call was for, as columns.
#[derive(Default)]
struct FailureColumns {
    target: &'static str,
    subject: Option<i64>,
    context: Option<i64>,
    treatment: Option<i64>,
    question: Option<i64>,
    replicate: Option<u32>,
    response: Option<i64>,
    judge: Option<i64>,
    aspect: Option<&'static str>,
}

impl FailureRecord {
    pub(crate) fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        write_attempts(connection, self.hash, &self.failed_attempts)?;
        let mut columns = FailureColumns::default();
        match self.target {
            FailureTarget::Response { subject, context, treatment, question, replicate } => {
                columns.target = "response";
                (columns.subject, columns.context, columns.treatment) =
                    (Some(subject), Some(context), Some(treatment));
                (columns.question, columns.replicate) = (Some(question), Some(replicate));
            }
            FailureTarget::Judgement { response, judge, aspect } => {
                columns.target = "judgement";
                (columns.response, columns.judge, columns.aspect) =
                    (Some(response), Some(judge), Some(aspect.name()));
            }
            FailureTarget::Screening => columns.target = "screening",
            FailureTarget::Inspection => columns.target = "inspection",
            FailureTarget::Score { subject, context, treatment } => {
                columns.target = "score";
                (columns.subject, columns.context, columns.treatment) =
                    (Some(subject), Some(context), Some(treatment));
            }
            FailureTarget::Coding { response } => {
                columns.target = CODING;
                columns.response = Some(response);
            }
        }
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO failure (hash, target, subject, context, treatment, question, replicate,
                     response, judge, aspect, kind, message, attempts, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?
            .execute(params![
                self.hash.as_bytes(),
                columns.target,
                columns.subject,
                columns.context,
                columns.treatment,
                columns.question,
                columns.replicate,
                columns.response,
                columns.judge,
                columns.aspect,
                self.kind,
                self.message,
                count(self.failed_attempts.len() as u64),
                self.created_at,
            ])?;
        Ok(0)
    }
}
