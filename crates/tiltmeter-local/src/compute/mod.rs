//! Arithmetic on panels: the matrix product, and the functions between products.
//!
//! **Every result is a function of its own row alone.** Each sum runs over its terms in one fixed order with fused
//! multiply-adds, whatever the number of rows, threads or SIMD lanes, and elementary functions are computed here or
//! by `libm`, never by the platform. So a token's logits have the same bits however it was batched, and on every
//! machine; the BLAS-like crates give neither, as they choose the order by the shape of the whole product.

#![expect(
    clippy::inline_always,
    reason = "a function that stays one of its own is compiled for the baseline, not for wide SIMD"
)]

mod functions;
mod kernel;
mod packing;
mod panels;
mod weights;
mod widest;

pub(crate) use functions::{
    add, log_sum_exp, mask_columns, raise_to_highest, root_mean_square_norm, silu_times, softmax_columns,
    tempered_exponentials,
};
pub(crate) use kernel::{Accumulate, accumulate_tile};
pub(crate) use packing::{pack_run, unpack_columns, unpack_runs};
pub(crate) use panels::{Panels, product};
pub(crate) use weights::{Weights, panel_bytes};

/// The nearest number of single precision.
#[expect(clippy::cast_possible_truncation, reason = "this rounding is what the function is for")]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}

/// Columns of a panel, the unit in which matrices are stored: two AVX-512 registers, four of AVX2.
pub(crate) const WIDTH: usize = 32;

/// Floats of a WIDTH × WIDTH block.
pub(crate) const BLOCK: usize = WIDTH * WIDTH;
