//! What calls took: tokens and money, of all that is stored, by block, and by start of the program.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::error::StoreError;
use crate::reader::{Reader, collect, unsigned};

/// What the stored answers of one subject, context and treatment took, the judge's work apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Answers, refusals and filtered ones included.
    pub answers: u64,
    /// Calls that they took.
    pub calls: u64,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Of these, cached ones.
    pub cached_input_tokens: u64,
    /// Tokens written, reasoning included.
    pub output_tokens: u64,
    /// Answers whose cost is known.
    pub priced: u64,
    /// What these cost, US dollars.
    pub cost_usd: f64,
}

impl Usage {
    /// Adds another block's.
    pub fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.calls += other.calls;
        self.input_tokens += other.input_tokens;
        self.cached_input_tokens += other.cached_input_tokens;
        self.output_tokens += other.output_tokens;
        self.priced += other.priced;
        self.cost_usd += other.cost_usd;
    }

    /// US dollars per answer; `None` unless the cost of each is known.
    pub fn cost_per_answer(self) -> Option<f64> {
        (self.answers > 0 && self.priced == self.answers).then(|| self.cost_usd / self.answers as f64)
    }
}

/// Tokens that a run has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenTotals {
    /// Sent to subjects.
    pub input: u64,
    /// Of these, from a cache.
    pub cached: u64,
    /// Written by subjects.
    pub output: u64,
    /// Sent to the judge.
    pub judge_input: u64,
    /// Written by the judge.
    pub judge_output: u64,
    /// Sent to coders of traces.
    pub coder_input: u64,
    /// Written by coders.
    pub coder_output: u64,
}

/// What stored calls cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// US dollars of subjects' calls whose cost is known.
    pub subjects_usd: f64,
    /// US dollars of judges' calls whose cost is known.
    pub judge_usd: f64,
    /// US dollars of coders' calls whose cost is known.
    pub coders_usd: f64,
    /// Calls whose cost is not known.
    pub unknown_calls: u64,
}

/// One start of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct InvocationRow {
    /// Version of the program.
    pub version: String,
    /// When, RFC 3339.
    pub started_at: String,
    /// When it ended by itself.
    pub ended_at: Option<String>,
    /// How: `finished` or `stopped`.
    pub end: Option<String>,
    /// Model calls made.
    pub asked: Option<u64>,
    /// Results found in the store.
    pub reused: Option<u64>,
    /// Requests made.
    pub attempts: Option<u64>,
    /// US dollars of calls whose cost is known.
    pub cost_usd: Option<f64>,
}

impl Reader {
    /// What answers took, by subject, context and treatment; those to probes of usefulness apart.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn usage_by_block(&self) -> Result<BTreeMap<(i64, i64, i64), Usage>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT subject, context, treatment, count(*), sum(calls), sum(input_tokens), sum(cached_input_tokens),
                 sum(output_tokens), count(cost_usd), coalesce(sum(cost_usd), 0)
             FROM response WHERE question NOT IN (SELECT question FROM expectation) GROUP BY subject, context, treatment",
        )?;
        let rows: Vec<((i64, i64, i64), Usage)> = collect(&mut statement, params![], |row| {
            let usage = Usage {
                answers: unsigned(row, 3)?,
                calls: unsigned(row, 4)?,
                input_tokens: unsigned(row, 5)?,
                cached_input_tokens: unsigned(row, 6)?,
                output_tokens: unsigned(row, 7)?,
                priced: unsigned(row, 8)?,
                cost_usd: row.get(9)?,
            };
            Ok(((row.get(0)?, row.get(1)?, row.get(2)?), usage))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// All starts of the program on this directory, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn invocations(&self) -> Result<Vec<InvocationRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT version, started_at, ended_at, end, asked, reused, attempts, cost_usd FROM invocation ORDER BY id",
        )?;
        collect(&mut statement, params![], |row| {
            let unsigned = |index| {
                let value: Option<i64> = row.get(index)?;
                Ok::<_, rusqlite::Error>(value.map(|value| u64::try_from(value).unwrap_or(0)))
            };
            Ok(InvocationRow {
                version: row.get(0)?,
                started_at: row.get(1)?,
                ended_at: row.get(2)?,
                end: row.get(3)?,
                asked: unsigned(4)?,
                reused: unsigned(5)?,
                attempts: unsigned(6)?,
                cost_usd: row.get(7)?,
            })
        })
    }

    /// Tokens used by all calls whose results are stored, and what these cost. Both at once, because each takes a
    /// pass over all rows.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn usage(&self) -> Result<(TokenTotals, Costs), StoreError> {
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        let sums = |columns: &str, table: &str| {
            let query = format!("SELECT {columns}, total(cost_usd), count(*) - count(cost_usd) FROM {table}");
            self.connection.query_row(&query, [], |row| {
                let tokens = [row.get(0)?, row.get(1)?, row.get(2)?].map(unsigned);
                Ok((tokens, row.get::<_, f64>(3)?, unsigned(row.get(4)?)))
            })
        };
        let columns = "coalesce(sum(input_tokens), 0), coalesce(sum(cached_input_tokens), 0),
             coalesce(sum(output_tokens), 0)";
        // A composed answer's row holds what its parts took, which are counted themselves.
        let (answers, answers_usd, unknown_answers) = sums(columns, "response WHERE NOT composed")?;
        let (checks, checks_usd, unknown_checks) = sums(columns, "self_check")?;
        let ([judge_input, _, judge_output], judge_usd, unknown_judgements) = sums(columns, "judgement")?;
        let (_, scores_usd, unknown_scores) = sums("0, 0, 0", "text_score")?;
        let [input, cached, output] = [0, 1, 2].map(|place| answers[place] + checks[place]);
        let ([coder_input, _, coder_output], coders_usd, unknown_codings) = sums(columns, "coding")?;
        let tokens =
            TokenTotals { input, cached, output, judge_input, judge_output, coder_input, coder_output };
        let costs = Costs {
            subjects_usd: answers_usd + checks_usd + scores_usd,
            judge_usd,
            coders_usd,
            unknown_calls: unknown_answers
                + unknown_checks
                + unknown_judgements
                + unknown_scores
                + unknown_codings,
        };
        Ok((tokens, costs))
    }

    /// Texts whose log-probability is stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn scored_texts(&self) -> Result<u64, StoreError> {
        let count: i64 =
            self.connection.query_row("SELECT count(*) FROM text_score", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Attempts that failed, by kind of error: all of them, whether or not a later attempt succeeded.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn failed_attempts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT kind, count(*) FROM failed_attempt GROUP BY kind ORDER BY kind")?;
        collect(&mut statement, params![], |row| {
            Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
        })
    }
}
