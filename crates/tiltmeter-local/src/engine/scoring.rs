//! Scores given texts: the answers of a question share the question, the questions share the context, and as many
//! of them as fit go through the model in one pass.

use std::sync::Arc;

use rayon::prelude::*;
use tiltmeter_models::{ModelError, TextScore};

use super::job::{Ready, ScoreWork, by_prompt};
use super::sampler::log_probability;
use super::worker::{Group, Worker};
use crate::compute::Panels;
use crate::decoder::{Purpose, Run, SegmentId};

/// Rows whose logits are held at once.
const LOGIT_ROWS: usize = 64;

/// The end of a prompt that answers share.
struct Question {
    segment: SegmentId,
    prompt_tokens: u64,
    /// The residual stream at the last token.
    last: Vec<f32>,
}

/// A text in the pass under way, and where its rows are.
struct Placed {
    question: usize,
    first_row: usize,
    segment: SegmentId,
    work: ScoreWork,
}

/// What one pass is made of.
#[derive(Default)]
struct Batch {
    runs: Vec<(SegmentId, Arc<[u32]>)>,
    rows: usize,
    placed: Vec<Placed>,
    /// Questions that are read in this pass, and the row of their last token.
    asked: Vec<(usize, usize)>,
}

impl Batch {
    /// Adds tokens; returns the row of the first.
    fn add(&mut self, segment: SegmentId, tokens: &[u32]) -> usize {
        let first = self.rows;
        self.rows += tokens.len();
        self.runs.push((segment, tokens.into()));
        first
    }
}

impl Worker {
    /// Scores texts and replies.
    pub(super) fn score(&mut self, group: &mut Group, jobs: Vec<Ready<ScoreWork>>) {
        let mut questions: Vec<Question> = Vec::new();
        let mut batch = Batch::default();
        for (prompt, works) in by_prompt(jobs) {
            let works: Vec<ScoreWork> = works.into_iter().filter(|work| !work.reply.is_closed()).collect();
            if works.is_empty() {
                continue;
            }
            let visible = group.visible(&prompt);
            let (segment, rest) = self.branch(group, &prompt);
            let index = questions.len();
            questions.push(Question { segment, prompt_tokens: prompt.len() as u64, last: Vec::new() });
            let first = batch.add(segment, rest);
            batch.asked.push((index, first + rest.len() - 1));
            for work in works {
                if batch.rows >= self.limits.batch_tokens {
                    self.finish(std::mem::take(&mut batch), &mut questions);
                }
                // The last token is predicted, and predicts nothing that is asked for.
                let tokens = &work.continuation[..work.continuation.len() - 1];
                let segment = self.cache.child(questions[index].segment, prompt.len() - visible);
                let first_row = batch.add(segment, tokens);
                batch.placed.push(Placed { question: index, first_row, segment, work });
            }
        }
        self.finish(batch, &mut questions);
        for question in questions {
            self.cache.release(question.segment);
        }
    }

    /// Runs a batch and replies to its requests.
    fn finish(&mut self, batch: Batch, questions: &mut [Question]) {
        let runs: Vec<Run<'_>> =
            batch.runs.iter().map(|(segment, tokens)| Run { segment: *segment, tokens }).collect();
        let hidden = if batch.rows > 0 { self.pass(&runs, Purpose::Read) } else { Panels::default() };
        for (question, row) in batch.asked {
            questions[question].last = hidden.row(row);
        }
        // Each row to be turned into logits, and the token whose log-probability is asked for.
        let mut rows = Vec::new();
        for placed in &batch.placed {
            for (index, &token) in placed.work.continuation.iter().enumerate() {
                let row = match index.checked_sub(1) {
                    None => questions[placed.question].last.clone(),
                    Some(before) => hidden.row(placed.first_row + before),
                };
                rows.push((row, token));
            }
        }
        let mut values: Vec<Result<f32, ModelError>> = Vec::with_capacity(rows.len());
        for rows in rows.chunks(LOGIT_ROWS) {
            let logits = self.decoder.logits(&rows.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());
            let pairs = logits.par_iter().zip(rows);
            values.par_extend(
                pairs.map(|(logits, (_, token))| log_probability(logits, *token).map(|value| value as f32)),
            );
        }
        let mut values = values.into_iter();
        for placed in batch.placed {
            let count = placed.work.continuation.len();
            let token_log_probabilities = values.by_ref().take(count).collect::<Result<Vec<_>, _>>();
            let prompt_tokens = questions[placed.question].prompt_tokens;
            self.cache.release(placed.segment);
            // The caller may have gone, which is fine.
            drop(
                placed.work.reply.send(
                    token_log_probabilities
                        .map(|token_log_probabilities| TextScore { token_log_probabilities, prompt_tokens }),
                ),
            );
        }
    }
}
