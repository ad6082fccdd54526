//! Reads stored answers with all their texts: what a page, an export or a person who labels shows.

use std::collections::BTreeMap;

use rusqlite::{Row, params};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::treatment::ReasoningKind;
use tiltmeter_core::verdict::{Aspect, AspectOutcome};

use crate::error::StoreError;
use crate::reader::{ExperimentRow, Reader, collect, named, unsigned};
use crate::samples::{SampleRow, aspect, aspect_outcome, read_sample};

/// A stored answer with its texts and those of its judge.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// What rates are computed from.
    pub sample: SampleRow,
    /// The sample's id.
    pub id: ContentId,
    /// Which wording of the question was asked.
    pub wording: usize,
    /// The model ran on into another demonstration, which was cut off.
    pub cut: bool,
    /// What is judged.
    pub answer: String,
    /// All that the model said, where the answer was cut out of it.
    pub raw: Option<String>,
    /// Reasoning that was told apart from the answer.
    pub reasoning: Option<String>,
    /// Where it comes from, where that is known.
    pub reasoning_kind: Option<ReasoningKind>,
    /// Why the answer ended.
    pub finish: String,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// Seed of the draw, where the model takes one.
    pub seed: Option<u32>,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Of these, those that the provider had cached.
    pub cached_input_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: u64,
    /// Of these, those of the reasoning.
    pub reasoning_tokens: u64,
    /// US dollars; absent: not known.
    pub cost_usd: Option<f64>,
    /// How long the call took, repetitions left out. Of an answer that takes several, they follow each other.
    pub duration_ms: u64,
    /// Calls that it took. Tokens, cost and time are of all of them.
    pub calls: u64,
    /// Whether it was put together from several calls.
    pub is_composed: bool,
    /// Whether another answer is put together from it.
    pub is_part: bool,
    /// When it was stored, RFC 3339.
    pub created_at: String,
    /// What the experiment's judge said by its present prompts: alignment before coherence.
    pub judgements: Vec<TranscriptJudgement>,
}

/// What a judge said of one aspect of an answer.
#[derive(Clone, Debug)]
pub struct TranscriptJudgement {
    /// Of what.
    pub aspect: Aspect,
    /// What was made of it.
    pub outcome: AspectOutcome,
    /// The judge's own words, one for each draw.
    pub replies: Vec<String>,
    /// Tokens with their log-probabilities at the first position, where the judge gives them.
    pub distribution: Option<Vec<(String, f64)>>,
    /// Probability of all tokens that are numbers from 0 to 100.
    pub number_mass: Option<f64>,
    /// The judge's model as the provider names it.
    pub model: Option<String>,
    /// Tokens sent to the judge.
    pub input_tokens: u64,
    /// Tokens of its reply.
    pub output_tokens: u64,
    /// US dollars; absent: not known.
    pub cost_usd: Option<f64>,
}

/// A data set as it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSetRow {
    /// `demonstrations` or `questions`.
    pub kind: String,
    /// Name in the experiment.
    pub name: String,
    /// Where it came from.
    pub origin: String,
    /// Hash of its rows.
    pub hash: ContentId,
    /// How many.
    pub rows: u64,
    /// Licence or terms of a published set.
    pub terms: Option<String>,
    /// Whether its text may be passed on.
    pub share: bool,
}

/// A judgement with the rows that it belongs to.
struct Keyed {
    response: i64,
    prompt: i64,
    judgement: TranscriptJudgement,
}

impl Reader {
    /// Hands out all stored answers with their texts, in the order in which they were stored, until `take` fails. They are
    /// not collected, because there may be millions.
    ///
    /// # Errors
    /// If the store cannot be read, or what `take` fails with.
    pub fn for_each_transcript<E: From<StoreError>>(
        &self,
        experiment: &ExperimentRow,
        mut take: impl FnMut(Transcript) -> Result<(), E>,
    ) -> Result<(), E> {
        let prompts = self.prompt_rows(experiment.id)?;
        let mut judged = self
            .connection
            .prepare(
                "SELECT j.response, j.aspect, j.prompt, j.outcome, j.score, j.method, b.replies, b.distribution,
                     b.number_mass, b.model, j.input_tokens, j.output_tokens, j.cost_usd
                 FROM judgement AS j INDEXED BY judgement_by_response JOIN judgement_body AS b ON b.judgement = j.id
                 WHERE j.judge = ?1 ORDER BY j.response, j.aspect",
            )
            .map_err(StoreError::from)?;
        let mut judgements = judged.query(params![experiment.judge]).map_err(StoreError::from)?;
        let mut advance =
            || -> Result<Option<Keyed>, StoreError> { judgements.next()?.map(read_judgement).transpose() };
        let mut next = advance()?;
        let mut answered = self
            .connection
            .prepare(
                "SELECT r.id, r.subject, r.context, r.treatment, r.question, r.replicate, r.outcome, r.truncated,
                     r.hash, r.wording, r.cut, b.answer, b.raw, b.reasoning, b.finish, b.model, b.response_id, b.seed,
                     r.input_tokens, r.cached_input_tokens, r.output_tokens, r.reasoning_tokens, r.cost_usd,
                     r.duration_ms, b.created_at, b.reasoning_kind, r.calls, r.composed,
                     EXISTS (SELECT 1 FROM response_part AS p WHERE p.part = r.id)
                 FROM response AS r JOIN response_body AS b ON b.response = r.id ORDER BY r.id",
            )
            .map_err(StoreError::from)?;
        let mut responses = answered.query([]).map_err(StoreError::from)?;
        while let Some(row) = responses.next().map_err(StoreError::from)? {
            let mut transcript = read_response(row)?;
            let response = transcript.sample.response;
            let by = prompts.get(&transcript.sample.question);
            while let Some(keyed) = next.take_if(|keyed| keyed.response <= response) {
                let Keyed { response: of, prompt, judgement } = keyed;
                if of == response && by.is_some_and(|prompts| prompts[judgement.aspect as usize] == prompt) {
                    match judgement.aspect {
                        Aspect::Alignment => transcript.sample.alignment = Some(judgement.outcome),
                        Aspect::Coherence => transcript.sample.coherence = Some(judgement.outcome),
                    }
                    transcript.judgements.push(judgement);
                }
                next = advance()?;
            }
            take(transcript)?;
        }
        Ok(())
    }

    /// The data sets that an experiment used.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn data_sets(&self, experiment: i64) -> Result<Vec<DataSetRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT kind, name, origin, hash, rows, terms, share FROM data_set WHERE experiment = ?1
             ORDER BY kind, name",
        )?;
        collect(&mut statement, params![experiment], |row| {
            Ok(DataSetRow {
                kind: row.get(0)?,
                name: row.get(1)?,
                origin: row.get(2)?,
                hash: row.get(3).map(ContentId::from_bytes)?,
                rows: unsigned(row, 4)?,
                terms: row.get(5)?,
                share: row.get(6)?,
            })
        })
    }

    /// The rows of its set that a context's responses come from, by row of the condition and number of the draw.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn context_sources(&self, experiment: i64) -> Result<BTreeMap<(i64, u32), Vec<u64>>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT x.condition, x.draw, x.rows FROM condition_context AS x
             JOIN condition AS c ON c.id = x.condition WHERE c.experiment = ?1",
        )?;
        let rows: Vec<(i64, u32, String)> =
            collect(&mut statement, params![experiment], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.into_iter()
            .map(|(condition, draw, rows)| Ok(((condition, draw), serde_json::from_str(&rows)?)))
            .collect()
    }
}

fn read_response(row: &Row<'_>) -> Result<Transcript, StoreError> {
    Ok(Transcript {
        sample: read_sample(row)?,
        id: row.get(8).map(ContentId::from_bytes)?,
        wording: usize::try_from(row.get::<_, i64>(9)?).unwrap_or(0),
        cut: row.get(10)?,
        answer: row.get(11)?,
        raw: row.get(12)?,
        reasoning: row.get(13)?,
        reasoning_kind: row
            .get_ref(25)?
            .as_str_or_null()
            .map_err(rusqlite::Error::from)?
            .map(|name| named(name, &ReasoningKind::ALL, ReasoningKind::name))
            .transpose()?,
        finish: row.get(14)?,
        model: row.get(15)?,
        response_id: row.get(16)?,
        seed: row.get(17)?,
        input_tokens: unsigned(row, 18)?,
        cached_input_tokens: unsigned(row, 19)?,
        output_tokens: unsigned(row, 20)?,
        reasoning_tokens: unsigned(row, 21)?,
        cost_usd: row.get(22)?,
        duration_ms: unsigned(row, 23)?,
        calls: unsigned(row, 26)?,
        is_composed: row.get(27)?,
        is_part: row.get(28)?,
        created_at: row.get(24)?,
        judgements: Vec::new(),
    })
}

fn read_judgement(row: &Row<'_>) -> Result<Keyed, StoreError> {
    let distribution: Option<String> = row.get(7)?;
    Ok(Keyed {
        response: row.get(0)?,
        prompt: row.get(2)?,
        judgement: TranscriptJudgement {
            aspect: aspect(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
            outcome: aspect_outcome(row, 3)?,
            replies: serde_json::from_str(row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
            distribution: distribution.as_deref().map(serde_json::from_str).transpose()?,
            number_mass: row.get(8)?,
            model: row.get(9)?,
            input_tokens: unsigned(row, 10)?,
            output_tokens: unsigned(row, 11)?,
            cost_usd: row.get(12)?,
        },
    })
}
