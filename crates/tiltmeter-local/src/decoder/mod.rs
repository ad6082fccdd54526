//! The decoder of Llama-family models, in single precision, over packed tokens of many sequences.

mod attention;
mod cache;
mod config;
mod heads;
mod hooks;
mod hub;
mod key_values;
mod load;
mod rotary;

use rayon::prelude::*;

use crate::compute::{Panels, Weights, add, product, root_mean_square_norm, silu_times};
use attention::{Strips, View, Views};
use heads::{HeadNorms, add_bias};

pub(crate) use cache::{Cache, SegmentId};
pub(crate) use config::Config;
pub(crate) use hooks::{Edit, Hook, Hooks, Kept, Operation, Realised, RowEdit, RowTap};
pub(crate) use hub::is_tied;
pub use key_values::KeyValuePrecision;
pub(crate) use load::{census, load, weight_bytes};

/// Tokens to append to a segment. In one pass, a segment stands after those it follows, and only once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) segment: SegmentId,
    pub(crate) tokens: &'a [u32],
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    /// Queries, keys and values of all heads.
    attention_in: Weights,
    /// Added to them, where the family has it.
    attention_bias: Option<Vec<f32>>,
    /// Norms of each head, where the family has them.
    head_norms: Option<HeadNorms>,
    attention_out: Weights,
    feed_forward_norm: Vec<f32>,
    gate_up: Weights,
    down: Weights,
}

/// A model's weights.
#[derive(Debug)]
pub(crate) struct Decoder {
    config: Config,
    embedding: Weights,
    /// Where it is not the embedding.
    output: Option<Weights>,
    norm: Vec<f32>,
    layers: Vec<Layer>,
    rotary: Rotary,
}

use rotary::Rotary;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Keys and values only.
    Fill,
    /// The residual stream after the last layer as well.
    Read,
}

/// Memory that passes reuse.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    normed: Panels,
    projected: Panels,
    attended: Panels,
    gate_up: Panels,
    gated: Panels,
    change: Panels,
    outputs: Vec<f32>,
}

impl Decoder {
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// As [`Decoder::pass_with`], without a hook.
    #[cfg(test)]
    pub(crate) fn pass(
        &mut self,
        cache: &mut Cache,
        runs: &[Run<'_>],
        purpose: Purpose,
        scratch: &mut Scratch,
    ) -> Panels {
        self.pass_with(cache, runs, purpose, &mut (), scratch)
    }

    /// Runs tokens through the model, appending them to their segments. Returns the residual stream after the last
    /// layer, one row a token in the order of the runs; for [`Purpose::Fill`] its values mean nothing.
    ///
    /// The hook sees the residual stream before the first block and after each, but for the last one of
    /// [`Purpose::Fill`], which is not computed.
    pub(crate) fn pass_with(
        &mut self,
        cache: &mut Cache,
        runs: &[Run<'_>],
        purpose: Purpose,
        hook: &mut dyn Hook,
        scratch: &mut Scratch,
    ) -> Panels {
        let config = &self.config;
        let (heads, group_heads) = (config.heads, config.key_value_heads);
        let panels = config.head_panels();
        let mut views = Views::default();
        let mut positions = Vec::new();
        let mut places = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            let first = cache.grow(run.segment, run.tokens.len());
            let start = cache.start(run.segment);
            views.ancestors.push(cache.ancestors(run.segment));
            for place in first..first + run.tokens.len() {
                views.tokens.push(View { run: index, segment: run.segment, own: place + 1 });
                positions.push(start + place);
                places.push(place);
            }
        }
        let strips = Strips::new(config, &views);
        self.rotary.prepare(positions.iter().max().map_or(0, |last| last + 1));

        let mut x = Panels::zeros(positions.len(), config.width);
        let tokens: Vec<u32> = runs.iter().flat_map(|run| run.tokens).copied().collect();
        let embedding = |&token| self.embedding.output(token as usize).collect();
        let embeddings: Vec<Vec<f32>> = tokens.par_iter().map(embedding).collect();
        for (row, embedding) in embeddings.iter().enumerate() {
            x.set_row(row, embedding);
        }
        hook.visit(0, &mut x);
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            root_mean_square_norm(
                &x,
                config.width,
                &layer.attention_norm,
                config.epsilon,
                &mut scratch.normed,
            );
            product(&scratch.normed, &layer.attention_in, &mut scratch.projected);
            if let Some(bias) = &layer.attention_bias {
                add_bias(&mut scratch.projected, bias);
            }
            if let Some(norms) = &layer.head_norms {
                norms.apply(config, &mut scratch.projected);
            }
            self.rotary.rotate_heads(&mut scratch.projected, heads + group_heads, panels, &positions);
            let projected = &scratch.projected;
            for (row, (view, &place)) in views.tokens.iter().zip(&places).enumerate() {
                for (head, slot) in cache.layer_mut(view.segment, index).iter_mut().enumerate() {
                    let part =
                        |first: usize| (first..first + panels).map(move |panel| projected.run(panel, row));
                    let key = part((heads + head) * panels);
                    let value = part((heads + group_heads + head) * panels);
                    slot.write(place, key, value);
                }
            }
            if index == last && purpose == Purpose::Fill {
                break;
            }
            attention::attend(
                config,
                index,
                &scratch.projected,
                &strips,
                cache,
                &mut scratch.outputs,
                &mut scratch.attended,
            );
            product(&scratch.attended, &layer.attention_out, &mut scratch.change);
            add(&mut x, &scratch.change);
            root_mean_square_norm(
                &x,
                config.width,
                &layer.feed_forward_norm,
                config.epsilon,
                &mut scratch.normed,
            );
            product(&scratch.normed, &layer.gate_up, &mut scratch.gate_up);
            silu_times(&scratch.gate_up, config.feed_forward, &mut scratch.gated);
            product(&scratch.gated, &layer.down, &mut scratch.change);
            add(&mut x, &scratch.change);
            hook.visit(index + 1, &mut x);
        }
        x
    }

    /// Bytes of all weights.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            let matrices = [&layer.attention_in, &layer.attention_out, &layer.gate_up, &layer.down];
            let matrices: usize = matrices.into_iter().map(Weights::bytes).sum();
            let bias = layer.attention_bias.as_ref().map_or(0, Vec::len);
            let norms = layer.head_norms.as_ref().map_or(0, |norms| norms.query.len() + norms.key.len());
            let norms = norms + layer.attention_norm.len() + layer.feed_forward_norm.len();
            matrices + size_of::<f32>() * (bias + norms)
        };
        let layers: usize = self.layers.iter().map(layer).sum();
        let ends = self.embedding.bytes() + self.output.as_ref().map_or(0, Weights::bytes);
        layers + ends + size_of::<f32>() * self.norm.len()
    }

    /// Logits of rows of the residual stream: one row for each, as many values as tokens, then padding.
    pub(crate) fn logits(&self, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let mut x = Panels::zeros(rows.len(), self.config.width);
        for (index, row) in rows.iter().enumerate() {
            x.set_row(index, row);
        }
        let mut normed = Panels::default();
        root_mean_square_norm(&x, self.config.width, &self.norm, self.config.epsilon, &mut normed);
        let mut out = Panels::default();
        product(&normed, self.output.as_ref().unwrap_or(&self.embedding), &mut out);
        let logits = |row| {
            let mut logits = out.row(row);
            logits.truncate(self.config.vocabulary);
            logits
        };
        (0..rows.len()).into_par_iter().map(logits).collect()
    }
}

#[cfg(test)]
mod tests;
