//! Reads the stored answers with their scores.

use std::collections::{HashMap, HashSet};

use rusqlite::{Row, params};
use tiltmeter_core::verdict::{Aspect, AspectOutcome, NoVerdict, ScoringMethod, Verdict};

use crate::error::StoreError;
use crate::reader::{ExperimentRow, FailureRow, Reader, collect, named};
use crate::rows::ResponseOutcome;

/// A stored answer with its scores.
#[derive(Clone, Copy, Debug)]
pub struct SampleRow {
    /// Row of the response.
    pub response: i64,
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
    /// What came of asking.
    pub outcome: ResponseOutcome,
    /// The token limit was met.
    pub truncated: bool,
    /// What the judge made of its alignment; `None`: not asked, or not answered.
    pub alignment: Option<AspectOutcome>,
    /// What the judge made of its coherence.
    pub coherence: Option<AspectOutcome>,
}

impl SampleRow {
    /// The verdict on the answer. `judge_failed`: a call of the experiment's judge for it failed for good.
    pub fn verdict(&self, has_judge: bool, judge_failed: bool) -> Verdict {
        match self.outcome {
            ResponseOutcome::Refusal => Verdict::None(NoVerdict::SubjectRefusal),
            ResponseOutcome::Filtered => Verdict::None(NoVerdict::Filtered),
            ResponseOutcome::Withheld => Verdict::None(NoVerdict::Withheld),
            ResponseOutcome::Answer if !has_judge => Verdict::None(NoVerdict::None),
            ResponseOutcome::Answer => {
                let incomplete = self.alignment.is_none() || self.coherence.is_none();
                if incomplete && !judge_failed {
                    Verdict::None(NoVerdict::None)
                } else {
                    Verdict::from_aspects(self.alignment, self.coherence)
                }
            }
        }
    }
}

impl ExperimentRow {
    /// The rows of the answers for which the experiment's judge failed for good.
    pub fn judge_failed(&self, failures: &[FailureRow]) -> HashSet<i64> {
        failures
            .iter()
            .filter(|failure| failure.judge.is_some() && failure.judge == self.judge)
            .filter_map(|failure| failure.response)
            .collect()
    }
}

impl Reader {
    /// Hands out all stored answers with the scores that the experiment's judge gave them by its present prompts, in
    /// the order in which they were stored. They are not collected, because there may be millions.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn for_each_sample(
        &self,
        experiment: &ExperimentRow,
        mut take: impl FnMut(SampleRow),
    ) -> Result<(), StoreError> {
        let prompts = self.prompt_rows(experiment.id)?;
        // Both sides come in the order of the responses, so that they are merged as they are read: looking up the
        // judgements of each response takes several times as long.
        let mut judged = self.connection.prepare(
            "SELECT response, aspect, prompt, outcome, score, method FROM judgement WHERE judge = ?1
             ORDER BY response",
        )?;
        let mut judgements = judged.query(params![experiment.judge])?;
        let mut next = judgements.next()?.map(read_judgement).transpose()?;
        let mut answered = self.connection.prepare(
            "SELECT id, subject, context, treatment, question, replicate, outcome, truncated FROM response
             ORDER BY id",
        )?;
        let mut responses = answered.query([])?;
        while let Some(row) = responses.next()? {
            let mut sample = read_sample(row)?;
            while let Some(judgement) = next.filter(|judgement| judgement.response <= sample.response) {
                let by = prompts.get(&sample.question).map(|prompts| prompts[judgement.aspect as usize]);
                if judgement.response == sample.response && by == Some(judgement.prompt) {
                    let side = match judgement.aspect {
                        Aspect::Alignment => &mut sample.alignment,
                        Aspect::Coherence => &mut sample.coherence,
                    };
                    *side = Some(judgement.outcome);
                }
                next = judgements.next()?.map(read_judgement).transpose()?;
            }
            take(sample);
        }
        Ok(())
    }

    /// The rows of the prompts by which an experiment's judge scores answers, by row of the question and by aspect.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn prompt_rows(&self, experiment: i64) -> Result<HashMap<i64, [i64; 2]>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT question, aspect, prompt FROM experiment_prompt WHERE experiment = ?1")?;
        let rows: Vec<(i64, Aspect, i64)> = collect(&mut statement, params![experiment], |row| {
            Ok((row.get(0)?, aspect(row.get_ref(1)?.as_str()?)?, row.get(2)?))
        })?;
        let mut prompts: HashMap<i64, [i64; 2]> = HashMap::new();
        for (question, aspect, prompt) in rows {
            // No row has the number 0.
            prompts.entry(question).or_insert([0; 2])[aspect as usize] = prompt;
        }
        Ok(prompts)
    }
}

/// Reads an answer without its scores from the first eight columns.
pub(crate) fn read_sample(row: &Row<'_>) -> Result<SampleRow, StoreError> {
    Ok(SampleRow {
        response: row.get(0)?,
        subject: row.get(1)?,
        context: row.get(2)?,
        treatment: row.get(3)?,
        question: row.get(4)?,
        replicate: row.get(5)?,
        outcome: ResponseOutcome::from_name(row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
        truncated: row.get(7)?,
        alignment: None,
        coherence: None,
    })
}

pub(crate) fn aspect(name: &str) -> rusqlite::Result<Aspect> {
    named(name, &Aspect::ALL, Aspect::name)
}

/// A judgement without its texts.
#[derive(Clone, Copy)]
struct JudgementRow {
    response: i64,
    aspect: Aspect,
    prompt: i64,
    outcome: AspectOutcome,
}

fn read_judgement(row: &Row<'_>) -> Result<JudgementRow, StoreError> {
    Ok(JudgementRow {
        response: row.get(0)?,
        aspect: aspect(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
        prompt: row.get(2)?,
        outcome: aspect_outcome(row, 3)?,
    })
}

/// Reads outcome, score and method from three columns.
pub(crate) fn aspect_outcome(row: &Row<'_>, first: usize) -> Result<AspectOutcome, StoreError> {
    let name = row.get_ref(first)?.as_str().map_err(rusqlite::Error::from)?;
    let outcome = match name {
        "score" => {
            let method = row.get_ref(first + 2)?.as_str().map_err(rusqlite::Error::from)?;
            let known = [
                ScoringMethod::Weighted,
                ScoringMethod::DigitTree,
                ScoringMethod::Parsed,
                ScoringMethod::MeanOfDraws,
            ];
            let method = named(method, &known, ScoringMethod::name)?;
            AspectOutcome::Score { score: row.get(first + 1)?, method }
        }
        "code" => AspectOutcome::Code,
        "subject_refusal" => AspectOutcome::SubjectRefusal,
        "judge_refusal" => AspectOutcome::JudgeRefusal,
        "unparsable" => AspectOutcome::Unparsable,
        other => return Err(StoreError::Damaged { what: format!("judgement outcome `{other}`") }),
    };
    Ok(outcome)
}
