//! Reads hidden states of given answers: the residual stream at chosen tokens, without a copy of the rest.

use std::ops::Range;
use std::sync::Arc;

use tiltmeter_models::{ErrorKind, ModelError};

use super::job::{ReadWork, Ready};
use super::placing::{self, Placed};
use super::worker::{Group, Worker, local};
use crate::compute::single;
use crate::decoder::{Hooks, Kept, Purpose, RowTap, Run};
use crate::taps::{HiddenStates, Reduction, Tap, TapReading, TokenSelection};

/// What a tap has gathered so far.
struct Gathering {
    layers: Arc<[usize]>,
    positions: Vec<usize>,
    kept: Kept,
}

impl Gathering {
    fn new(tap: &Tap, positions: Vec<usize>) -> Self {
        let kept = match tap.reduction {
            Reduction::Each => Kept::Each(vec![Vec::new(); tap.layers.len()]),
            Reduction::Mean => Kept::Sums(vec![Vec::new(); tap.layers.len()]),
        };
        Self { layers: Arc::clone(&tap.layers), positions, kept }
    }

    fn reading(self, width: usize) -> TapReading {
        let count = self.positions.len() as f64;
        let layers = match self.kept {
            Kept::Each(mut layers) => {
                layers.iter_mut().flatten().for_each(|row| row.truncate(width));
                layers
            }
            Kept::Sums(sums) => {
                let mean =
                    |sums: Vec<f64>| sums.into_iter().take(width).map(|sum| single(sum / count)).collect();
                let layer = |sums: Vec<f64>| if sums.is_empty() { Vec::new() } else { vec![mean(sums)] };
                sums.into_iter().map(layer).collect()
            }
        };
        TapReading { positions: self.positions, layers }
    }
}

impl Worker {
    pub(super) fn check_read(
        &self,
        prompt: &[u32],
        continuation: &str,
        taps: &[Tap],
    ) -> Result<Vec<u32>, ModelError> {
        let layers = self.decoder.config().layers;
        if let Some(index) = taps.iter().flat_map(|tap| tap.layers.iter()).find(|index| **index > layers) {
            let message = format!("the residual stream has no index {index}; this model's are 0 to {layers}");
            return Err(ModelError::new(ErrorKind::BadRequest, message));
        }
        let tokens = self.vocabulary.encode(continuation).map_err(|error| local(error.to_string()))?;
        self.check_length(prompt.len() + tokens.len())?;
        Ok(tokens)
    }

    /// Reads hidden states and replies. So many bytes are taken by answers that are being drawn.
    pub(super) fn read(&mut self, group: &Group, jobs: Vec<Ready<ReadWork>>, taken: u64) {
        for job in jobs {
            if job.work.reply.is_closed() {
                continue;
            }
            let states = self.states(group, &job, taken);
            // The caller may have gone, which is fine.
            drop(job.work.reply.send(states));
        }
    }

    fn states(
        &mut self,
        group: &Group,
        job: &Ready<ReadWork>,
        taken: u64,
    ) -> Result<HiddenStates, ModelError> {
        let (prompt, answer) = (&job.tokens, &job.work.continuation);
        let mut gatherings: Vec<Gathering> = job
            .work
            .taps
            .iter()
            .map(|tap| Gathering::new(tap, self.selected(&tap.tokens, prompt, answer)))
            .collect();
        let selected = || gatherings.iter().flat_map(|gathering| &gathering.positions).copied();
        // What is in the shared context is computed again only where it is asked for.
        let from = selected().min().unwrap_or(prompt.len()).min(group.visible(prompt));
        let end = selected().max().map_or(from, |last| last + 1);
        let tokens = [prompt, answer.as_slice()].concat();
        let bytes = self.bytes_of(end - from);
        if taken + bytes > self.free_bytes() {
            self.make_room(group, taken + bytes);
        }
        let segment = self.cache.child(group.segment, from);
        let mut at = from;
        for chunk in tokens[from..end].chunks(self.limits.batch_tokens) {
            let mut hooks = Hooks::default();
            if let Some(intervention) = &job.intervention {
                let reasons = placing::starts_with_reasoning(prompt, intervention, &self.vocabulary);
                let roles = placing::prompt_roles(prompt.len(), reasons)
                    .chain(placing::answer_roles(answer, prompt, intervention, &self.vocabulary))
                    .skip(at)
                    .take(chunk.len());
                placing::edit(&mut hooks, intervention, Placed { row: 0, position: at }, &roles, None);
            }
            let inside = at..at + chunk.len();
            for gathering in &mut gatherings {
                let kept = std::mem::replace(&mut gathering.kept, Kept::Each(Vec::new()));
                let rows = rows(&gathering.positions, &inside);
                hooks.taps.push(RowTap { indices: Arc::clone(&gathering.layers), rows, kept });
            }
            self.pass(&[Run { segment, tokens: chunk }], Purpose::Read, &mut hooks);
            for (gathering, tap) in gatherings.iter_mut().zip(hooks.taps) {
                gathering.kept = tap.kept;
            }
            at = inside.end;
        }
        self.cache.release(segment);
        let width = self.decoder.config().width;
        let taps: Vec<TapReading> =
            gatherings.into_iter().map(|gathering| gathering.reading(width)).collect();
        let values = taps.iter().flat_map(|tap| &tap.layers).flatten().flatten();
        if !values.into_iter().all(|value| value.is_finite()) {
            return Err(local(
                "the model computed something that is not a number; its weights may be damaged",
            ));
        }
        Ok(HiddenStates { taps, prompt_tokens: prompt.len(), answer_tokens: answer.len() })
    }

    /// Positions of the tokens that are selected, ascending.
    fn selected(&self, selection: &TokenSelection, prompt: &[u32], answer: &[u32]) -> Vec<usize> {
        let all = prompt.len() + answer.len();
        match selection {
            TokenSelection::PromptLast => vec![prompt.len() - 1],
            TokenSelection::Prompt => (0..prompt.len()).collect(),
            TokenSelection::Answer => (prompt.len()..all).collect(),
            TokenSelection::All => (0..all).collect(),
            TokenSelection::Positions(ranges) => {
                (0..all).filter(|position| ranges.iter().any(|range| range.contains(position))).collect()
            }
            TokenSelection::Reasoning(marks) => {
                let opened = placing::opens_reasoning(prompt, marks, &self.vocabulary);
                let predicts = placing::reasoning_of(answer, opened, marks, &self.vocabulary);
                // A token is reasoning where the one before predicts it as such, or where it opens it.
                let before = std::iter::once(opened).chain(predicts.iter().copied());
                let places =
                    before.zip(&predicts).enumerate().filter(|(_, (before, after))| *before || **after);
                places.map(|(place, _)| prompt.len() + place).collect()
            }
        }
    }
}

/// The rows of a pass over these positions that are selected.
fn rows(selected: &[usize], inside: &Range<usize>) -> Vec<Range<usize>> {
    placing::ranges(inside.clone().map(|position| selected.binary_search(&position).is_ok()))
}
