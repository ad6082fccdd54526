//! Attention of packed rows over a tree of segments.
//!
//! A row is one query head of one token. Thirty-two rows make a block, whatever sequences they belong to: scores of
//! all their keys are computed as columns of one matrix, and those that a row may not see are masked. A few blocks make
//! a strip, for which what sequences share is read and unpacked once. The keys of a row stand in the order of their
//! positions, between masked ones, which add nothing: the sums are the same as if the row were alone.

use std::ops::Range;

use rayon::prelude::*;

use super::cache::{Cache, SegmentId};
use super::config::Config;
use super::key_values::Head;
use crate::compute::{
    Accumulate, BLOCK, Panels, WIDTH, accumulate_tile, mask_columns, raise_to_highest, softmax_columns,
};

/// Blocks of rows in a strip, at most.
const STRIP_BLOCKS: usize = 4;
/// Scores that a strip of several blocks may hold: they are written and read again, best within a second-level cache.
const STRIP_SCORES: usize = 1 << 18;
/// Strips for each thread, at least, as long as there are blocks enough: fewer would leave threads idle at the end.
const STRIPS_A_THREAD: usize = 4;

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

/// A segment as a strip of rows sees it.
struct Visible {
    segment: SegmentId,
    /// By block of rows.
    blocks: Vec<Seen>,
}

impl Visible {
    /// Blocks of keys that any row sees.
    fn key_blocks(&self) -> usize {
        self.blocks.iter().map(Seen::key_blocks).max().unwrap_or(0)
    }
}

/// How many of a segment's tokens the rows of a block see.
struct Seen {
    /// By row; 0 where there is no row.
    limits: [u32; WIDTH],
    /// The most of any row.
    longest: usize,
    /// The fewest of any row.
    shortest: usize,
    /// From the first row that sees any to behind the last.
    rows: Range<usize>,
}

impl Seen {
    fn new(limits: [u32; WIDTH], rows: usize) -> Self {
        let limits_of_rows = limits[..rows].iter().map(|&limit| limit as usize);
        let first = limits.iter().position(|&limit| limit > 0).unwrap_or(0);
        let behind = limits.iter().rposition(|&limit| limit > 0).map_or(0, |last| last + 1);
        Self {
            limits,
            longest: limits_of_rows.clone().max().unwrap_or(0),
            shortest: limits_of_rows.min().unwrap_or(0),
            rows: first..behind,
        }
    }

    /// Blocks of keys that any row sees.
    fn key_blocks(&self) -> usize {
        self.longest.div_ceil(WIDTH)
    }
}

impl Views {
    /// The segments that the given rows see, each after those it follows.
    fn of_rows(&self, rows: Range<usize>, group: usize) -> Vec<Visible> {
        let mut all: Vec<(SegmentId, Vec<u32>)> = Vec::new();
        for (row, view) in
            rows.clone().filter_map(|row| Some((row - rows.start, self.tokens.get(row / group)?)))
        {
            let ancestors = self.ancestors.get(view.run).into_iter().flatten().copied();
            for (segment, limit) in ancestors.chain([(view.segment, view.own)]) {
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                if let Some((_, limits)) = all.iter_mut().find(|(known, _)| *known == segment) {
                    limits[row] = limit;
                } else {
                    let mut limits = vec![0; rows.len()];
                    limits[row] = limit;
                    all.push((segment, limits));
                }
            }
        }
        let seen = |limits: &[u32]| {
            let mut all = [0; WIDTH];
            all[..limits.len()].copy_from_slice(limits);
            Seen::new(all, limits.len())
        };
        all.into_iter()
            .map(|(segment, limits)| Visible { segment, blocks: limits.chunks(WIDTH).map(seen).collect() })
            .collect()
    }
}

/// Memory that strips of rows reuse.
#[derive(Default)]
struct Work {
    /// A block of keys or values.
    unpacked: Vec<f32>,
    blocks: Vec<BlockWork>,
}

/// Memory for one block of rows.
#[derive(Default)]
struct BlockWork {
    /// Head width × 32.
    queries: Vec<f32>,
    /// Keys × 32: the scores, then the weights that they become.
    scores: Vec<f32>,
    /// Scores that have become weights.
    done: usize,
    highest: [f32; WIDTH],
    sums: [f32; WIDTH],
}

/// The rows of a pass, in strips. What rows see is the same for all layers and heads.
pub(crate) struct Strips {
    /// Blocks of rows in each strip but the last.
    height: usize,
    strips: Vec<Strip>,
}

struct Strip {
    rows: Range<usize>,
    seen: Vec<Visible>,
}

impl Strips {
    pub(crate) fn new(config: &Config, views: &Views) -> Self {
        let group = config.group();
        let rows = views.tokens.len() * group;
        let height = strip_height(views, config.key_value_heads, rows.div_ceil(WIDTH));
        let strips = (0..rows).step_by(height * WIDTH).map(|first| {
            let rows = first..rows.min(first + height * WIDTH);
            Strip { rows: rows.clone(), seen: views.of_rows(rows, group) }
        });
        Self { height, strips: strips.collect() }
    }
}

/// How many blocks of rows make a strip.
fn strip_height(views: &Views, heads: usize, blocks: usize) -> usize {
    let before = |view: &View| -> usize {
        views.ancestors.get(view.run).into_iter().flatten().map(|&(_, limit)| limit).sum()
    };
    let keys = views.tokens.iter().map(|view| view.own + before(view)).max().unwrap_or(0);
    let scores = WIDTH * keys;
    let most = (blocks * heads) / (STRIPS_A_THREAD * rayon::current_num_threads());
    most.min(STRIP_SCORES / scores.max(1)).clamp(1, STRIP_BLOCKS)
}

/// Attends with the queries at the start of `projected`; the heads' outputs go to `out`.
pub(crate) fn attend(
    config: &Config,
    layer: usize,
    projected: &Panels,
    strips: &Strips,
    cache: &Cache,
    outputs: &mut Vec<f32>,
    out: &mut Panels,
) {
    let (group, panels) = (config.group(), config.head_panels());
    let rows = projected.rows() * group;
    let blocks = rows.div_ceil(WIDTH);
    let size = panels * BLOCK;
    outputs.resize(config.key_value_heads * blocks * size, 0.0);
    let heads = outputs.chunks_exact_mut((blocks * size).max(1)).enumerate();
    let tasks: Vec<(usize, &Strip, &mut [f32])> = heads
        .flat_map(|(head, outputs)| {
            let outputs = outputs.chunks_mut(strips.height * size);
            strips.strips.iter().zip(outputs).map(move |(strip, out)| (head, strip, out))
        })
        .collect();
    tasks.into_par_iter().with_max_len(1).for_each_init(Work::default, |work, (head, strip, out)| {
        work.blocks.resize_with(out.len() / size, BlockWork::default);
        for (index, block) in work.blocks.iter_mut().enumerate() {
            let first = strip.rows.start + index * WIDTH;
            pack_queries(projected, head, group, panels, first, &mut block.queries);
        }
        let segments = strip
            .seen
            .iter()
            .filter_map(|visible| cache.head(visible.segment, layer, head).map(|data| (visible, data)));
        attend_strip(config, segments, work, out);
    });
    out.reshape(projected.rows(), config.heads * panels * WIDTH);
    out.panels_mut().enumerate().for_each(|(panel, out)| {
        let (head, part) = (panel / panels, panel % panels);
        let (key_value_head, member) = (head / group, head % group);
        for (token, run) in out.chunks_exact_mut(WIDTH).enumerate() {
            let row = token * group + member;
            let block = &outputs[(key_value_head * blocks + row / WIDTH) * size..][..size];
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

/// Attention of a strip of rows: the outputs of each block of 32 are the columns of a block of `out`, head width × 32.
fn attend_strip<'a>(
    config: &Config,
    segments: impl Iterator<Item = (&'a Visible, &'a Head)> + Clone,
    work: &mut Work,
    out: &mut [f32],
) {
    let size = config.head_panels() * BLOCK;
    let Work { unpacked, blocks } = work;
    unpacked.resize(size, 0.0);
    for block in &mut *blocks {
        block.scores.clear();
        block.done = 0;
        block.highest = [f32::NEG_INFINITY; WIDTH];
        block.sums = [0.0; WIDTH];
    }
    for (visible, data) in segments.clone() {
        for key_block in 0..visible.key_blocks() {
            let keys = data.keys(key_block, unpacked);
            for (block, seen) in blocks.iter_mut().zip(&visible.blocks) {
                if key_block < seen.key_blocks() {
                    block.score(keys, key_block * WIDTH, seen);
                }
            }
        }
    }
    let scale = 1.0 / (config.head_width as f32).sqrt();
    out.fill(0.0);
    for (visible, data) in segments {
        for key_block in 0..visible.key_blocks() {
            let values = data.values(key_block, unpacked);
            let outputs = out.chunks_exact_mut(size);
            for ((block, seen), out) in blocks.iter_mut().zip(&visible.blocks).zip(outputs) {
                if key_block < seen.key_blocks() {
                    block.add_values(values, scale, seen, out);
                }
            }
        }
    }
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(size)) {
        for run in out.chunks_exact_mut(WIDTH) {
            for (value, &sum) in run.iter_mut().zip(&block.sums) {
                *value /= sum;
            }
        }
    }
}

impl BlockWork {
    /// Appends the scores of 32 keys, the first of which is `first_key` of its segment.
    fn score(&mut self, keys: &[f32], first_key: usize, seen: &Seen) {
        let first = self.scores.len();
        self.scores.resize(first + BLOCK, 0.0);
        let scores = &mut self.scores[first..];
        accumulate_tile(Accumulate {
            out: scores,
            columns: seen.rows.clone(),
            operands: |first, rows| {
                let left = keys.chunks_exact(BLOCK).map(move |panel| &panel[first * WIDTH..][..rows * WIDTH]);
                left.zip(self.queries.chunks_exact(BLOCK))
            },
        });
        // Before the shortest view all rows see all keys.
        if first_key + WIDTH > seen.shortest {
            mask_columns(scores, u32::try_from(first_key).unwrap_or(u32::MAX), &seen.limits);
        }
        raise_to_highest(scores, &mut self.highest);
    }

    /// Turns the next 32 keys' scores into weights, and adds their values to the outputs.
    fn add_values(&mut self, values: &[f32], scale: f32, seen: &Seen, out: &mut [f32]) {
        let weights = &mut self.scores[self.done..][..BLOCK];
        self.done += BLOCK;
        softmax_columns(weights, scale, &self.highest, &mut self.sums);
        let weights = &*weights;
        accumulate_tile(Accumulate {
            out,
            columns: seen.rows.clone(),
            operands: |first, rows| std::iter::once((&values[first * WIDTH..][..rows * WIDTH], weights)),
        });
    }
}
