//! Attention of packed rows over a tree of segments.
//!
//! A row is one query head of one token. Thirty-two rows make a block, whatever sequences they belong to: scores of
//! all their keys are computed as columns of one matrix, and those that a row may not see are masked. What is shared
//! by sequences is thus read once for the block. The keys of a row stand in the order of their positions, between
//! masked ones, which add nothing: the sums are the same as if the row were alone.

use rayon::prelude::*;

use super::cache::{Cache, SegmentId};
use super::config::Config;
use super::key_values::Head;
use crate::compute::{Accumulate, BLOCK, Panels, WIDTH, accumulate_tile, raise_to_highest, softmax_columns};

/// What one token sees.
#[derive(Debug)]
pub(crate) struct View {
    /// The ancestors of its segment, with the tokens seen of each; shared by all tokens of a run.
    pub(crate) run: usize,
    /// Its segment.
    pub(crate) segment: SegmentId,
    /// Tokens seen of its own segment, itself included.
    pub(crate) own: usize,
}

/// The tokens of a pass.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// By token.
    pub(crate) tokens: Vec<View>,
    /// By run: the ancestors.
    pub(crate) ancestors: Vec<Vec<(SegmentId, usize)>>,
}

/// A segment as a block of rows sees it: how many of its tokens, by row.
struct Visible {
    segment: SegmentId,
    limits: [usize; WIDTH],
}

impl Views {
    /// The segments that rows from `first` on see, each after those it follows.
    fn of_rows(&self, first: usize, group: usize) -> Vec<Visible> {
        let mut all: Vec<Visible> = Vec::new();
        let rows = self.tokens.len() * group;
        for lane in 0..WIDTH.min(rows - first) {
            let Some(view) = self.tokens.get((first + lane) / group) else { break };
            let ancestors = self.ancestors.get(view.run).into_iter().flatten().copied();
            for (segment, limit) in ancestors.chain([(view.segment, view.own)]) {
                if let Some(known) = all.iter_mut().find(|visible| visible.segment == segment) {
                    known.limits[lane] = limit;
                } else {
                    let mut limits = [0; WIDTH];
                    limits[lane] = limit;
                    all.push(Visible { segment, limits });
                }
            }
        }
        all
    }
}

/// Memory that blocks of rows reuse.
#[derive(Default)]
struct Work {
    /// Head width × 32.
    queries: Vec<f32>,
    /// Keys × 32.
    scores: Vec<f32>,
    /// A block of keys or values.
    unpacked: Vec<f32>,
}

/// Attends with the queries at the start of `projected`; the heads' outputs go to `out`.
pub(crate) fn attend(
    config: &Config,
    layer: usize,
    projected: &Panels,
    views: &Views,
    cache: &Cache,
    blocks: &mut Vec<f32>,
    out: &mut Panels,
) {
    let (group, panels) = (config.group(), config.head_panels());
    let rows = projected.rows() * group;
    let block_count = rows.div_ceil(WIDTH);
    let size = panels * BLOCK;
    blocks.resize(config.key_value_heads * block_count * size, 0.0);
    // What rows see is the same for all heads.
    let seen: Vec<Vec<Visible>> = (0..block_count).map(|block| views.of_rows(block * WIDTH, group)).collect();
    blocks.par_chunks_exact_mut(size).enumerate().with_max_len(1).for_each_init(
        Work::default,
        |work, (index, out)| {
            let (head, block) = (index / block_count, index % block_count);
            pack_queries(projected, head, group, panels, block * WIDTH, &mut work.queries);
            let heads = seen[block]
                .iter()
                .filter_map(|visible| cache.head(visible.segment, layer, head).map(|data| (visible, data)));
            attend_block(config, heads, work, out);
        },
    );
    out.reshape(projected.rows(), config.heads * panels * WIDTH);
    out.panels_mut().enumerate().for_each(|(panel, out)| {
        let (head, part) = (panel / panels, panel % panels);
        let (key_value_head, member) = (head / group, head % group);
        for (token, run) in out.chunks_exact_mut(WIDTH).enumerate() {
            let row = token * group + member;
            let block = &blocks[(key_value_head * block_count + row / WIDTH) * size..][..size];
            let column = block[part * BLOCK + row % WIDTH..].iter().step_by(WIDTH);
            for (slot, &value) in run.iter_mut().zip(column) {
                *slot = value;
            }
        }
    });
}

/// Writes the queries of 32 rows as columns: head width × 32. Columns without a row are zero.
fn pack_queries(
    projected: &Panels,
    head: usize,
    group: usize,
    panels: usize,
    first: usize,
    queries: &mut Vec<f32>,
) {
    queries.clear();
    queries.resize(panels * BLOCK, 0.0);
    for lane in 0..WIDTH.min(projected.rows() * group - first) {
        let row = first + lane;
        for panel in 0..panels {
            let run = projected.run((head * group + row % group) * panels + panel, row / group);
            let column = queries[panel * BLOCK + lane..].iter_mut().step_by(WIDTH);
            for (slot, &value) in column.zip(run) {
                *slot = value;
            }
        }
    }
}

/// Attention of 32 rows: the outputs are the columns of `out`, head width × 32.
fn attend_block<'a>(
    config: &Config,
    seen: impl Iterator<Item = (&'a Visible, &'a Head)> + Clone,
    work: &mut Work,
    out: &mut [f32],
) {
    let panels = config.head_panels();
    let Work { queries, scores, unpacked } = work;
    unpacked.resize(panels * BLOCK, 0.0);
    scores.clear();
    let mut highest = [f32::NEG_INFINITY; WIDTH];
    for (visible, data) in seen.clone() {
        let longest = visible.limits.iter().copied().max().unwrap_or(0);
        let shortest = visible.limits.iter().copied().min().unwrap_or(0);
        for block in 0..longest.div_ceil(WIDTH) {
            let first = scores.len();
            scores.resize(first + BLOCK, 0.0);
            let scores = &mut scores[first..];
            let keys = data.keys(block, unpacked);
            accumulate_tile(Accumulate {
                out: scores,
                operands: |first, rows| {
                    let left =
                        keys.chunks_exact(BLOCK).map(move |panel| &panel[first * WIDTH..][..rows * WIDTH]);
                    left.zip(queries.chunks_exact(BLOCK))
                },
            });
            // Before the shortest view all rows see all keys.
            let first_key = block * WIDTH;
            for (key, run) in scores.chunks_exact_mut(WIDTH).enumerate() {
                if first_key + key < shortest {
                    continue;
                }
                for (score, &limit) in run.iter_mut().zip(&visible.limits) {
                    if first_key + key >= limit {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
            raise_to_highest(scores, &mut highest);
        }
    }
    let scale = 1.0 / (config.head_width as f32).sqrt();
    let mut sums = [0.0; WIDTH];
    out.fill(0.0);
    let mut rest = scores.chunks_exact_mut(BLOCK);
    for (visible, data) in seen {
        let longest = visible.limits.iter().copied().max().unwrap_or(0);
        for (block, weights) in (0..longest.div_ceil(WIDTH)).zip(&mut rest) {
            softmax_columns(weights, scale, &highest, &mut sums);
            let values = data.values(block, unpacked);
            let weights = &*weights;
            accumulate_tile(Accumulate {
                out,
                operands: |first, rows| std::iter::once((&values[first * WIDTH..][..rows * WIDTH], weights)),
            });
        }
    }
    for run in out.chunks_exact_mut(WIDTH) {
        for (value, &sum) in run.iter_mut().zip(&sums) {
            *value /= sum;
        }
    }
}
