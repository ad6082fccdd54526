//! Scores given texts: the answers of a question share the question, the questions share the context, and as many
//! of them as fit go through the model in one pass.

use std::sync::Arc;

use rayon::prelude::*;
use tiltmeter_models::{ModelError, TextScore};

use super::job::{Ready, ScoreWork, Shared, by_prompt};
use super::placing;
use super::sampler::log_probability;
use super::worker::{Group, Worker};
use crate::compute::{Panels, single};
use crate::decoder::{Hooks, Purpose, Realised, Run, SegmentId};

/// Rows whose logits are held at once.
const LOGIT_ROWS: usize = 64;

/// The end of a prompt that answers share.
struct Question {
    segment: SegmentId,
    shared: Shared,
    /// What the intervention did at its last token.
    realised: Realised,
    /// Bytes of its keys and values.
    bytes: u64,
    /// The row of its last token, where that is read in the pass under way.
    row: Option<usize>,
    /// The residual stream at the last token, once it is read.
    last: Vec<f32>,
}

/// A text in the pass under way, and where its rows are.
struct Placed {
    question: usize,
    first_row: usize,
    segment: SegmentId,
    work: ScoreWork,
    /// What the intervention did at its tokens.
    realised: Realised,
}

/// Whom an edit is counted for: questions have even numbers, texts odd ones.
fn owner(index: usize, is_text: bool) -> usize {
    2 * index + usize::from(is_text)
}

/// What one pass is made of.
#[derive(Default)]
struct Batch {
    runs: Vec<(SegmentId, Arc<[u32]>)>,
    hooks: Hooks,
    rows: usize,
    /// Bytes of keys and values that are held until it is done with.
    bytes: u64,
    questions: Vec<Question>,
    placed: Vec<Placed>,
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

/// Which of a batch's questions are still asked for after its pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// More texts of the last one follow.
    Last,
}

impl Worker {
    /// Scores texts and replies. So many bytes are taken by answers that are being drawn.
    pub(super) fn score(&mut self, group: &Group, jobs: Vec<Ready<ScoreWork>>, taken: u64) {
        let mut batch = Batch::default();
        for (shared, works) in by_prompt(jobs) {
            let prompt = &shared.tokens;
            let works: Vec<ScoreWork> = works.into_iter().filter(|work| !work.reply.is_closed()).collect();
            let longest = works.iter().map(|work| work.continuation.len()).max();
            let Some(longest) = longest else { continue };
            let visible = group.visible(prompt);
            let own = self.bytes_of(prompt.len() - visible);
            let needed = own + self.bytes_of(longest);
            if taken + batch.bytes + needed > self.free_bytes() {
                self.finish(&mut batch, Keep::Nothing);
                self.make_room(group, taken + needed);
            }
            let (segment, rest) = self.branch(group, &shared);
            let first_row = batch.add(segment, rest);
            let number = owner(batch.questions.len(), false);
            self.edit_prompt_end(&mut batch.hooks, &shared, first_row, rest.len(), number);
            batch.bytes += own;
            batch.questions.push(Question {
                segment,
                shared: shared.clone(),
                realised: Realised::default(),
                bytes: own,
                row: Some(first_row + rest.len() - 1),
                last: Vec::new(),
            });
            for work in works {
                let bytes = self.bytes_of(work.continuation.len());
                let is_full = taken + batch.bytes + bytes > self.free_bytes();
                if is_full || batch.rows >= self.limits.batch_tokens {
                    self.finish(&mut batch, Keep::Last);
                }
                // The last token is predicted, and predicts nothing that is asked for.
                let tokens = &work.continuation[..work.continuation.len() - 1];
                let question = batch.questions.len() - 1;
                let segment = self.cache.child(batch.questions[question].segment, prompt.len() - visible);
                let first_row = batch.add(segment, tokens);
                if let Some(intervention) = &shared.intervention {
                    let place = placing::Placed { row: first_row, position: prompt.len() };
                    let roles = placing::answer_roles(tokens, prompt, intervention, &self.vocabulary);
                    let number = owner(batch.placed.len(), true);
                    placing::edit(&mut batch.hooks, intervention, place, &roles, Some(number));
                }
                batch.bytes += bytes;
                let realised = Realised::default();
                batch.placed.push(Placed { question, first_row, segment, work, realised });
            }
        }
        self.finish(&mut batch, Keep::Nothing);
    }

    /// Runs a batch, replies to its requests, and empties it.
    fn finish(&mut self, batch: &mut Batch, keep: Keep) {
        let runs: Vec<Run<'_>> =
            batch.runs.iter().map(|(segment, tokens)| Run { segment: *segment, tokens }).collect();
        let hidden = if batch.rows > 0 {
            self.pass(&runs, Purpose::Read, &mut batch.hooks)
        } else {
            Panels::default()
        };
        placing::credit(&batch.hooks, |owner, realised| match owner % 2 {
            0 => batch.questions[owner / 2].realised += realised,
            _ => batch.placed[owner / 2].realised += realised,
        });
        for question in &mut batch.questions {
            if let Some(row) = question.row.take() {
                question.last = hidden.row(row);
            }
        }
        self.reply(&hidden, &batch.questions, std::mem::take(&mut batch.placed));
        let kept = batch.questions.pop_if(|_| keep == Keep::Last);
        for question in batch.questions.drain(..) {
            self.cache.release(question.segment);
        }
        *batch = Batch {
            bytes: kept.as_ref().map_or(0, |question| question.bytes),
            questions: kept.into_iter().collect(),
            ..Batch::default()
        };
    }

    /// Replies to the requests of a pass.
    fn reply(&mut self, hidden: &Panels, questions: &[Question], all: Vec<Placed>) {
        // Each row to be turned into logits, and the token whose log-probability is asked for.
        let mut rows = Vec::new();
        for placed in &all {
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
            values.par_extend(pairs.map(|(logits, (_, token))| log_probability(logits, *token).map(single)));
        }
        let mut values = values.into_iter();
        for placed in all {
            let count = placed.work.continuation.len();
            let token_log_probabilities = values.by_ref().take(count).collect::<Result<Vec<_>, _>>();
            let question = &questions[placed.question];
            let prompt_tokens = question.shared.tokens.len() as u64;
            let mut realised = question.realised;
            realised += placed.realised;
            let shift = placing::shift(question.shared.intervention.as_ref(), realised);
            self.cache.release(placed.segment);
            // The caller may have gone, which is fine.
            drop(placed.work.reply.send(token_log_probabilities.map(|token_log_probabilities| TextScore {
                token_log_probabilities,
                prompt_tokens,
                shift,
            })));
        }
    }
}
