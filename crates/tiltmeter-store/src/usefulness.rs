//! Probes of usefulness: which conditions are theirs, and what useful answers are. What an answer comes to is not stored,
//! but computed from its text whenever results are.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::plan::Condition;
use tiltmeter_core::usefulness::{Assessment, Expectation, Matcher, ProbeKind, Usefulness};

use crate::error::StoreError;
use crate::reader::{ConditionRow, Reader, collect, named};
use crate::rows::ResponseOutcome;
use crate::samples::{SampleRow, read_sample};

pub(crate) const MIGRATION: &str = "
-- The conditions whose answers are compared with what a probe accepts. No judge scores them.
CREATE TABLE usefulness (
    condition INTEGER PRIMARY KEY REFERENCES condition(id),
    probe TEXT NOT NULL,
    kind TEXT NOT NULL               -- helpfulness | over-refusal
) STRICT;

-- What a useful answer to a probe's question is.
CREATE TABLE expectation (
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    question INTEGER NOT NULL REFERENCES question(id),
    expected TEXT NOT NULL,          -- JSON: match, case, accept
    PRIMARY KEY (experiment, question)
) STRICT, WITHOUT ROWID;
";

/// A condition of a probe.
#[derive(Clone, Debug)]
pub struct ProbedCondition {
    /// The condition; its demonstrations have the probe's name.
    pub condition: ConditionRow,
    /// What the probe measures.
    pub kind: ProbeKind,
}

/// A question of a probe.
#[derive(Clone, Debug)]
pub struct ProbedQuestion {
    /// Its name.
    pub name: String,
    /// What a useful answer is.
    pub expectation: Expectation,
}

fn assess(matcher: &Matcher, sample: &SampleRow, answer: &str) -> Assessment {
    let by_words = matcher.assess(answer, sample.truncated);
    match sample.outcome {
        ResponseOutcome::Answer => by_words,
        // What a provider's own field calls a refusal, or a defence held back, is one, whatever its words are.
        ResponseOutcome::Refusal | ResponseOutcome::Filtered | ResponseOutcome::Withheld => {
            Assessment { usefulness: Usefulness::Refused, ..by_words }
        }
    }
}

pub(crate) fn write_expectations(
    connection: &Connection,
    experiment: i64,
    of: &Experiment,
    questions: &[i64],
) -> Result<(), StoreError> {
    let mut insert = connection
        .prepare("INSERT OR IGNORE INTO expectation (experiment, question, expected) VALUES (?1, ?2, ?3)")?;
    for probe in &of.usefulness.probes {
        let rows = questions.get(probe.questions.clone()).unwrap_or_default();
        for (question, expectation) in rows.iter().zip(&probe.expectations) {
            insert.execute(params![experiment, question, serde_json::to_string(expectation)?])?;
        }
    }
    Ok(())
}

/// Marks a condition that was just written down, if it is one of a probe.
pub(crate) fn write_condition(
    connection: &Connection,
    row: i64,
    experiment: &Experiment,
    condition: &Condition,
) -> Result<(), StoreError> {
    if let Some(probe) = experiment.probe_of(condition.set) {
        connection.execute(
            "INSERT INTO usefulness (condition, probe, kind) VALUES (?1, ?2, ?3)",
            params![row, &*probe.name, probe.kind.name()],
        )?;
    }
    Ok(())
}

impl Reader {
    /// The conditions of an experiment that probes of usefulness are asked in, in table order.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn probed(&self, experiment: i64) -> Result<Vec<ProbedCondition>, StoreError> {
        let conditions = self.conditions_where(experiment, "c.id IN (SELECT condition FROM usefulness)")?;
        let mut kinds = self.connection.prepare("SELECT kind FROM usefulness WHERE condition = ?1")?;
        let probed = conditions.into_iter().map(|condition| {
            let kind = kinds.query_row(params![condition.id], |row| {
                named(row.get_ref(0)?.as_str()?, &ProbeKind::ALL, ProbeKind::name)
            })?;
            Ok(ProbedCondition { condition, kind })
        });
        probed.collect()
    }

    /// The questions of an experiment's probes, by row.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn probed_questions(&self, experiment: i64) -> Result<BTreeMap<i64, ProbedQuestion>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT e.question, q.name, e.expected FROM expectation AS e JOIN question AS q ON q.id = e.question
             WHERE e.experiment = ?1",
        )?;
        let rows: Vec<(i64, String, String)> =
            collect(&mut statement, params![experiment], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.into_iter()
            .map(|(row, name, expected)| {
                Ok((row, ProbedQuestion { name, expectation: serde_json::from_str(&expected)? }))
            })
            .collect()
    }

    /// Hands out all stored answers to the questions of an experiment's probes with their texts and what they come to, without scores, in the
    /// order in which they were stored, until `take` fails. Conditions of other experiments in the directory may have some of
    /// them too.
    ///
    /// # Errors
    /// If the store cannot be read, or what `take` fails with.
    pub fn for_each_useful<E: From<StoreError>>(
        &self,
        experiment: i64,
        mut take: impl FnMut(SampleRow, &str, Assessment) -> Result<(), E>,
    ) -> Result<(), E> {
        let questions = self.probed_questions(experiment)?;
        let matchers: BTreeMap<i64, Matcher> =
            questions.into_iter().map(|(row, question)| (row, Matcher::new(&question.expectation))).collect();
        let mut statement = self
            .connection
            .prepare(
                "SELECT r.id, r.subject, r.context, r.treatment, r.question, r.replicate, r.outcome, r.truncated, b.answer
                 FROM response AS r JOIN response_body AS b ON b.response = r.id
                 WHERE r.question IN (SELECT question FROM expectation WHERE experiment = ?1) ORDER BY r.id",
            )
            .map_err(StoreError::from)?;
        let mut rows = statement.query(params![experiment]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let sample = read_sample(row)?;
            let answer: String = row.get(8).map_err(StoreError::from)?;
            if let Some(matcher) = matchers.get(&sample.question) {
                let assessment = assess(matcher, &sample, &answer);
                take(sample, &answer, assessment)?;
            }
        }
        Ok(())
    }
}
