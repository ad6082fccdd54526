//! What stored answers took: tokens and money, by block.

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
}
