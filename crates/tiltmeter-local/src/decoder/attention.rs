//! Attention of packed rows over a tree of segments.
//!
//! A row is one query head of one token. Thirty-two rows make a block, whatever sequences they belong to: scores of
//! all their keys are computed as columns of one matrix, and those that a row may not see are masked. What is shared
//! by sequences is thus read once for the block. The keys of a row stand in the order of their positions, between
//! masked ones, which add nothing: the sums are the same as if the row were alone.

use rayon::prelude::*;

use super::cache::{Cache, SegmentId};
use super::config::Config;
use crate::compute::{Accumulate, Panels, WIDTH, accumulate_tile, softmax_columns};

const BLOCK: usize = WIDTH * WIDTH;

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
        || (Vec::new(), Vec::new()),
        |(queries, scores), (index, out)| {
            let (head, block) = (index / block_count, index % block_count);
            pack_queries(projected, head, group, panels, block * WIDTH, queries);
            attend_block(config, layer, head, &seen[block], cache, queries, scores, out);
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
#[expect(clippy::too_many_arguments, reason = "the operands of one computation, and its scratch memory")]
fn attend_block(
    config: &Config,
    layer: usize,
    head: usize,
    seen: &[Visible],
    cache: &Cache,
    queries: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let panels = config.head_panels();
    scores.clear();
    for visible in seen {
        let longest = visible.limits.iter().copied().max().unwrap_or(0);
        let Some(data) = cache.head(visible.segment, layer, head) else { continue };
        let first = scores.len();
        scores.resize(first + longest.next_multiple_of(WIDTH) * WIDTH, 0.0);
        let scores = &mut scores[first..];
        for (out, keys) in scores.chunks_exact_mut(BLOCK).zip(data.keys().chunks_exact(panels * BLOCK)) {
            accumulate_tile(Accumulate {
                out,
                operands: |first, rows| {
                    let left =
                        keys.chunks_exact(BLOCK).map(move |panel| &panel[first * WIDTH..][..rows * WIDTH]);
                    left.zip(queries.chunks_exact(BLOCK))
                },
            });
        }
        // Before the shortest view all rows see all keys.
        let shortest = visible.limits.iter().copied().min().unwrap_or(0);
        for (key, run) in scores.chunks_exact_mut(WIDTH).enumerate().skip(shortest) {
            for (score, &limit) in run.iter_mut().zip(&visible.limits) {
                if key >= limit {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
    }
    let sums = softmax_columns(scores, 1.0 / (config.head_width as f32).sqrt());
    out.fill(0.0);
    let mut rest = &scores[..];
    for visible in seen {
        let longest = visible.limits.iter().copied().max().unwrap_or(0);
        let Some(data) = cache.head(visible.segment, layer, head) else { continue };
        let (weights, after) = rest.split_at(longest.next_multiple_of(WIDTH) * WIDTH);
        rest = after;
        accumulate_tile(Accumulate {
            out,
            operands: |first, rows| {
                let values = data.values().chunks_exact(panels * BLOCK);
                values
                    .map(move |block| &block[first * WIDTH..][..rows * WIDTH])
                    .zip(weights.chunks_exact(BLOCK))
            },
        });
    }
    for run in out.chunks_exact_mut(WIDTH) {
        for (value, &sum) in run.iter_mut().zip(&sums) {
            *value /= sum;
        }
    }
}
