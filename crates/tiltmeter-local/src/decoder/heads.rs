//! What some families do to queries, keys and values before attention: biases (Qwen 2) and norms of each head (Qwen 3).
//!
//! Sums run over panels and then over lanes in one fixed order, so that a row's result is a function of the row alone.

use rayon::prelude::*;

use super::config::Config;
use crate::compute::{Panels, WIDTH, single};

/// Below so many rows, sharing the work out costs more than the work.
const PARALLEL_ROWS: usize = 32;

/// Adds a bias to every row. It is padded as the rows are.
pub(super) fn add_bias(x: &mut Panels, bias: &[f32]) {
    let panel_length = (x.rows() * WIDTH).max(1);
    for (panel, bias) in x.data_mut().chunks_exact_mut(panel_length).zip(bias.chunks_exact(WIDTH)) {
        for run in panel.chunks_exact_mut(WIDTH) {
            for (value, &bias) in run.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}

/// Gains of the root-mean-square norms (Zhang and Sennrich 2019) that queries and keys pass, head by head.
#[derive(Debug)]
pub(super) struct HeadNorms {
    /// Of queries, padded to whole panels.
    pub(super) query: Vec<f32>,
    /// Of keys, padded to whole panels.
    pub(super) key: Vec<f32>,
}

impl HeadNorms {
    /// Norms the queries and keys that `x` starts with.
    pub(super) fn apply(&self, config: &Config, x: &mut Panels) {
        let rows = x.rows();
        let head_length = (config.head_panels() * rows * WIDTH).max(1);
        let normed = config.heads + config.key_value_heads;
        let least = if rows < PARALLEL_ROWS { normed } else { 1 };
        let heads = x.data_mut().par_chunks_exact_mut(head_length).take(normed).with_min_len(least);
        heads.enumerate().for_each(|(index, head)| {
            let gains = if index < config.heads { &self.query } else { &self.key };
            norm_head(head, rows, config, gains);
        });
    }
}

/// Norms one head of every row: panels of rows × 32, one after the other.
fn norm_head(head: &mut [f32], rows: usize, config: &Config, gains: &[f32]) {
    for row in 0..rows {
        let mut squares = [0.0_f32; WIDTH];
        for panel in head.chunks_exact(rows * WIDTH) {
            for (square, &value) in squares.iter_mut().zip(&panel[row * WIDTH..][..WIDTH]) {
                *square += value * value;
            }
        }
        let mean = squares.iter().copied().map(f64::from).sum::<f64>() / config.head_width as f64;
        let scale = single(1.0 / (mean + f64::from(config.epsilon)).sqrt());
        for (panel, gains) in head.chunks_exact_mut(rows * WIDTH).zip(gains.chunks_exact(WIDTH)) {
            for (value, &gain) in panel[row * WIDTH..][..WIDTH].iter_mut().zip(gains) {
                *value *= scale * gain;
            }
        }
    }
}
