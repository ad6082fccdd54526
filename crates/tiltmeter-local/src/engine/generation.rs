//! Draws answers: all sequences of a group advance together, one token each a pass; newcomers join between passes.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;
use tiltmeter_models::{ChatResponse, FinishReason, ModelError, TokenAlternatives, Usage};

use super::direct::Piece;
use super::job::{ChatWork, Ready, Shared, by_prompt};
use super::placing::{self, Placed};
use super::sampler::{Answer, Sampler, alternatives};
use super::worker::{Group, Worker};
use crate::decoder::{Hooks, Purpose, Realised, Run, SegmentId};
use crate::taps::{Intervention, Role, Span};
use crate::text::Vocabulary;

/// Why a sequence ended, or nothing while it goes on.
type Outcome = Result<Option<FinishReason>, ModelError>;

/// One answer as it is drawn.
#[derive(Debug)]
struct Sequence {
    segment: SegmentId,
    work: ChatWork,
    sampler: Sampler,
    answer: Answer,
    /// The token drawn last, which the model has not seen yet.
    last: u32,
    drawn: usize,
    /// Bytes of the answer that were told.
    told: usize,
    /// Tokens of the prompt.
    prompt: usize,
    log_probabilities: Vec<TokenAlternatives>,
    usage: Usage,
    intervention: Option<Arc<Intervention>>,
    /// Whether the answer starts with reasoning, where the intervention asks for that.
    is_opened: bool,
    realised: Realised,
    /// Bytes set aside for its keys and values.
    bytes: u64,
}

impl Sequence {
    /// Draws the next token.
    fn advance(&mut self, logits: &[f32], vocabulary: &Vocabulary) -> Outcome {
        if self.work.room == 0 {
            return Ok(Some(FinishReason::Length));
        }
        let token = self.sampler.draw(logits)?;
        self.last = token;
        self.drawn += 1;
        let is_end = vocabulary.is_end(token);
        if let Some(count) = self.work.sampling.top_log_probabilities.filter(|_| !is_end) {
            self.log_probabilities.push(alternatives(logits, token, count, vocabulary)?);
        }
        let is_over = is_end || self.answer.push(vocabulary.bytes(token));
        self.tell(is_over || self.drawn >= self.work.room, is_end);
        Ok(match (is_over, self.drawn >= self.work.room) {
            (true, _) => Some(FinishReason::Stop),
            (false, true) => Some(FinishReason::Length),
            (false, false) => None,
        })
    }

    /// Tells of the token drawn last.
    fn tell(&mut self, is_over: bool, is_end: bool) {
        let Some(pieces) = &self.work.pieces else { return };
        let (text, told) = self.answer.settled(self.told, is_over);
        self.told = told;
        let log_probabilities = self.log_probabilities.last().filter(|_| !is_end).cloned();
        if !text.is_empty() || log_probabilities.is_some() {
            // Whoever listened may have gone, which is fine.
            drop(pieces.send(Piece { text, log_probabilities }));
        }
    }

    /// What the token drawn last is, once it is read.
    fn role(&self) -> Role {
        let reasons = match self.intervention.as_ref().map(|intervention| intervention.span()) {
            Some(Span::Reasoning(marks)) => marks.is_inside(self.is_opened, self.answer.bytes()),
            _ => false,
        };
        Role::Answer { reasons }
    }

    fn reply(mut self, outcome: Result<FinishReason, ModelError>, model: &str) {
        self.usage.output_tokens = self.drawn as u64;
        let asked = self.work.sampling.top_log_probabilities;
        let shift = placing::shift(self.intervention.as_ref(), self.realised);
        let response = outcome.map(|finish| ChatResponse {
            text: self.answer.text(),
            reasoning: None,
            refusal: None,
            finish,
            usage: self.usage,
            model: Some(model.to_owned()),
            response_id: None,
            log_probabilities: asked.map(|_| self.log_probabilities),
            dropped_parameters: Vec::new(),
            shift,
            ..ChatResponse::default()
        });
        // The caller may have gone, which is fine.
        drop(self.work.reply.send(response));
    }
}

/// The end of a prompt that answers share, to be read.
struct PromptEnd {
    shared: Shared,
    works: Vec<ChatWork>,
    /// Tokens of the group's context that the prompt starts with.
    visible: usize,
    question: SegmentId,
    /// The tokens behind them that are left to be read.
    rest: Vec<u32>,
    /// The row of the first of them.
    first_row: usize,
}

/// The answers of a group that are being drawn, and those that wait for a place.
#[derive(Debug, Default)]
pub(super) struct Generation {
    sequences: Vec<Sequence>,
    queued: VecDeque<Ready<ChatWork>>,
}

impl Generation {
    pub(super) fn queue(&mut self, jobs: Vec<Ready<ChatWork>>) {
        self.queued.extend(jobs);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequences.is_empty() && self.queued.is_empty()
    }

    /// Bytes set aside for the answers that are being drawn.
    pub(super) fn bytes(&self) -> u64 {
        self.sequences.iter().map(|sequence| sequence.bytes).sum()
    }

    /// Lets in whom there is room for, then draws one token for each sequence.
    pub(super) fn step(&mut self, worker: &mut Worker, group: &mut Group) {
        self.forget_abandoned(worker);
        self.admit(worker, group);
        if self.sequences.is_empty() {
            return;
        }
        let runs: Vec<Run<'_>> = self
            .sequences
            .iter()
            .map(|sequence| Run { segment: sequence.segment, tokens: std::slice::from_ref(&sequence.last) })
            .collect();
        let mut hooks = Hooks::default();
        for (row, sequence) in self.sequences.iter().enumerate() {
            if let Some(intervention) = &sequence.intervention {
                let position = sequence.prompt + sequence.drawn - 1;
                let placed = Placed { row, position };
                placing::edit(&mut hooks, intervention, placed, &[sequence.role()], Some(row));
            }
        }
        let hidden = worker.pass(&runs, Purpose::Read, &mut hooks);
        placing::credit(&hooks, |row, realised| self.sequences[row].realised += realised);
        let rows: Vec<Vec<f32>> = (0..self.sequences.len()).map(|row| hidden.row(row)).collect();
        let logits = worker.decoder.logits(&rows);
        let vocabulary = &worker.vocabulary;
        let outcomes: Vec<Outcome> = self
            .sequences
            .par_iter_mut()
            .zip(&logits)
            .map(|(sequence, logits)| sequence.advance(logits, vocabulary))
            .collect();
        let sequences = std::mem::take(&mut self.sequences);
        for (sequence, outcome) in sequences.into_iter().zip(outcomes) {
            self.keep_or_reply(sequence, outcome, worker);
        }
    }

    fn keep_or_reply(&mut self, sequence: Sequence, outcome: Outcome, worker: &mut Worker) {
        match outcome.transpose() {
            None => self.sequences.push(sequence),
            Some(outcome) => {
                worker.cache.release(sequence.segment);
                sequence.reply(outcome, &worker.model);
            }
        }
    }

    fn forget_abandoned(&mut self, worker: &mut Worker) {
        self.queued.retain(|job| !job.work.reply.is_closed());
        self.sequences.retain(|sequence| {
            let is_abandoned = sequence.work.reply.is_closed();
            if is_abandoned {
                worker.cache.release(sequence.segment);
            }
            !is_abandoned
        });
    }

    /// Reads the prompts of those who come in, and draws their first tokens.
    fn admit(&mut self, worker: &mut Worker, group: &mut Group) {
        let mut taken = self.bytes();
        let mut entering = Vec::new();
        while let Some(job) = self.queued.front() {
            let own = job.tokens.len() - group.visible(&job.tokens);
            let bytes = worker.bytes_of(own + job.work.room);
            let is_alone = self.sequences.is_empty() && entering.is_empty();
            let is_full = self.sequences.len() + entering.len() >= worker.limits.batch_sequences;
            if is_alone {
                // One answer always fits, as a whole context does; for it, contexts of others are given up.
                worker.make_room(group, bytes);
            } else if is_full || taken + bytes > worker.free_bytes() {
                break;
            }
            taken += bytes;
            entering.extend(self.queued.pop_front());
        }
        let mut entrants = by_prompt(entering).into_iter().peekable();
        while entrants.peek().is_some() {
            // As many prompts' ends as make a pass.
            let mut ends = Vec::new();
            let mut rows = 0;
            while rows < worker.limits.batch_tokens
                && let Some((shared, works)) = entrants.next()
            {
                let visible = group.visible(&shared.tokens);
                let (question, rest) = worker.branch(group, &shared);
                let rest = rest.to_vec();
                let first_row = rows;
                rows += rest.len();
                ends.push(PromptEnd { shared, works, visible, question, rest, first_row });
            }
            self.enter(worker, group, ends);
        }
    }

    /// Reads the ends of prompts in one pass, and draws the first tokens of their answers.
    fn enter(&mut self, worker: &mut Worker, group: &mut Group, ends: Vec<PromptEnd>) {
        let mut hooks = Hooks::default();
        for (index, end) in ends.iter().enumerate() {
            worker.edit_prompt_end(&mut hooks, &end.shared, end.first_row, end.rest.len(), index);
        }
        let runs: Vec<Run<'_>> =
            ends.iter().map(|end| Run { segment: end.question, tokens: &end.rest }).collect();
        let hidden = worker.pass(&runs, Purpose::Read, &mut hooks);
        let mut all_realised = vec![Realised::default(); ends.len()];
        placing::credit(&hooks, |index, realised| all_realised[index] += realised);
        let lasts: Vec<Vec<f32>> =
            ends.iter().map(|end| hidden.row(end.first_row + end.rest.len() - 1)).collect();
        let logits = worker.decoder.logits(&lasts);
        for ((end, realised), logits) in ends.into_iter().zip(all_realised).zip(logits) {
            let PromptEnd { shared, works, visible, question, .. } = end;
            let prompt = shared.tokens.len();
            let own = prompt - visible;
            let is_opened = shared.intervention.as_ref().is_some_and(|intervention| {
                placing::starts_with_reasoning(&shared.tokens, intervention, &worker.vocabulary)
            });
            for work in works {
                let usage = Usage {
                    input_tokens: prompt as u64,
                    cached_input_tokens: group.cached(visible),
                    output_tokens: 0,
                    ..Usage::default()
                };
                let mut sequence = Sequence {
                    segment: worker.cache.child(question, own),
                    sampler: Sampler::new(work.seed, work.sampling.temperature),
                    answer: Answer::new(&work.sampling.stop),
                    last: 0,
                    drawn: 0,
                    told: 0,
                    prompt,
                    log_probabilities: Vec::new(),
                    usage,
                    intervention: shared.intervention.clone(),
                    is_opened,
                    realised,
                    bytes: worker.bytes_of(own + work.room),
                    work,
                };
                let outcome = sequence.advance(&logits, &worker.vocabulary);
                self.keep_or_reply(sequence, outcome, worker);
            }
            worker.cache.release(question);
        }
    }
}
