//! The one inner loop: a few rows times 32 columns, summed over panels of the inner dimension.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::{BLOCK, WIDTH};

/// The most rows of one register tile with AVX-512, by two registers of columns: 16 of the 32 registers are sums.
const TILE_ROWS_16: usize = 8;
/// The most rows of one register tile with fewer registers, by two registers of columns: 12 of the 16 are sums, which
/// leaves four for operands, and takes eight loads for twelve multiply-adds.
const TILE_ROWS: usize = 6;

/// Adds a product to a tile: `out[row][column] += Σ_k left[row][k] · right[k][column]`, k ascending.
///
/// The inner dimension comes in panels of 32. `left` yields for each the rows × 32 block, row by row; `right`
/// yields the 32 × 32 block, k by k. `out` is rows × 32.
pub(crate) struct Accumulate<'a, F> {
    /// The tile, rows × 32.
    pub(crate) out: &'a mut [f32],
    /// The columns that are wanted. Others may be added to or left as they are.
    pub(crate) columns: Range<usize>,
    /// Gives the `left` and `right` iterators for the rows from the given one on, so many of them.
    pub(crate) operands: F,
}

/// Runs [`Accumulate`] with the widest SIMD of this machine.
#[inline]
pub(crate) fn accumulate_tile<'p, F, I>(job: Accumulate<'_, F>)
where
    F: Fn(usize, usize) -> I,
    I: Iterator<Item = (&'p [f32], &'p [f32])> + Clone,
{
    Arch::new().dispatch(job);
}

impl<'p, F, I> WithSimd for Accumulate<'_, F>
where
    F: Fn(usize, usize) -> I,
    I: Iterator<Item = (&'p [f32], &'p [f32])> + Clone,
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let most = if S::F32_LANES == 16 { TILE_ROWS_16 } else { TILE_ROWS };
        // Tiles of equal heights, or nearly: a low one has too few sums to hide the latency of a multiply-add.
        let all = self.out.len() / WIDTH;
        let tiles = all.div_ceil(most).max(1);
        let mut rest = self.out;
        let mut first = 0;
        for tile in 0..tiles {
            let rows = (all - first).div_ceil(tiles - tile);
            let (out, after) = rest.split_at_mut(rows * WIDTH);
            rest = after;
            let operands = (self.operands)(first, rows);
            match rows {
                0 => {}
                1 => rows_of::<S, 1, I>(simd, out, &self.columns, &operands),
                2 => rows_of::<S, 2, I>(simd, out, &self.columns, &operands),
                3 => rows_of::<S, 3, I>(simd, out, &self.columns, &operands),
                4 => rows_of::<S, 4, I>(simd, out, &self.columns, &operands),
                5 => rows_of::<S, 5, I>(simd, out, &self.columns, &operands),
                6 => rows_of::<S, 6, I>(simd, out, &self.columns, &operands),
                7 => rows_of::<S, 7, I>(simd, out, &self.columns, &operands),
                _ => rows_of::<S, TILE_ROWS_16, I>(simd, out, &self.columns, &operands),
            }
            first += rows;
        }
    }
}

/// Walks the tile in parts whose sums fit into the machine's registers, which is all 32 columns with AVX-512.
#[inline(always)]
fn rows_of<'p, S: Simd, const ROWS: usize, I>(simd: S, out: &mut [f32], columns: &Range<usize>, operands: &I)
where
    I: Iterator<Item = (&'p [f32], &'p [f32])> + Clone,
{
    let mut part = columns.start / S::F32_LANES;
    let end = columns.end.div_ceil(S::F32_LANES);
    while part < end {
        if S::F32_LANES > 1 && part + 1 < end {
            tile::<S, ROWS, 2, I>(simd, out, part, operands.clone());
            part += 2;
        } else {
            tile::<S, ROWS, 1, I>(simd, out, part, operands.clone());
            part += 1;
        }
    }
}

/// Rows × VECTORS registers of sums, from the register column `part` on.
#[inline(always)]
fn tile<'p, S: Simd, const ROWS: usize, const VECTORS: usize, I>(
    simd: S,
    out: &mut [f32],
    part: usize,
    operands: I,
) where
    I: Iterator<Item = (&'p [f32], &'p [f32])>,
{
    let stride = WIDTH / S::F32_LANES;
    let out = &mut S::as_mut_simd_f32s(out).0[..ROWS * stride];
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        for (vector, sum) in sums.iter_mut().enumerate() {
            *sum = out[row * stride + part + vector];
        }
    }
    for (left, right) in operands {
        let left = &left[..ROWS * WIDTH];
        let right = &S::as_simd_f32s(&right[..BLOCK]).0[..WIDTH * stride];
        for k in 0..WIDTH {
            let columns: [S::f32s; VECTORS] = std::array::from_fn(|vector| right[k * stride + part + vector]);
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = simd.splat_f32s(left[row * WIDTH + k]);
                for (sum, &column) in sums.iter_mut().zip(&columns) {
                    *sum = simd.mul_add_f32s(factor, column, *sum);
                }
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (vector, &sum) in sums.iter().enumerate() {
            out[row * stride + part + vector] = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of a tile, and operands of as many panels.
    fn operands(rows: usize, panels: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let value = |index: usize| ((index * 7919) % 1009) as f32 / 504.5 - 1.0;
        let values = |length: usize, first: usize| (first..first + length).map(value).collect();
        (values(rows * WIDTH, 0), values(panels * rows * WIDTH, 17), values(panels * BLOCK, 31))
    }

    enum Way {
        Widest,
        /// What a machine without any SIMD takes.
        Fallback,
    }

    fn sums(rows: usize, panels: usize, columns: Range<usize>, way: &Way) -> Vec<u32> {
        let (mut out, left, right) = operands(rows, panels);
        let slices = |first: usize, count: usize| {
            let panels = left.chunks_exact(rows * WIDTH);
            panels.map(move |panel| &panel[first * WIDTH..][..count * WIDTH]).zip(right.chunks_exact(BLOCK))
        };
        let job = Accumulate { out: &mut out, columns, operands: slices };
        match way {
            Way::Widest => accumulate_tile(job),
            Way::Fallback => job.with_simd(pulp::Scalar),
        }
        out.iter().map(|value| value.to_bits()).collect()
    }

    /// The sums by plain loops.
    fn plain(rows: usize, panels: usize) -> Vec<u32> {
        let (mut out, left, right) = operands(rows, panels);
        for (row, out) in out.chunks_exact_mut(WIDTH).enumerate() {
            for (column, out) in out.iter_mut().enumerate() {
                for k in 0..panels * WIDTH {
                    let factor = left[(k / WIDTH * rows + row) * WIDTH + k % WIDTH];
                    *out = factor.mul_add(right[k * WIDTH + column], *out);
                }
            }
        }
        out.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn every_kind_of_simd_gives_the_bits_of_plain_loops() {
        for (rows, panels) in [(1, 1), (2, 3), (5, 2), (6, 1), (7, 2), (8, 1), (13, 4), (32, 2)] {
            for way in [Way::Widest, Way::Fallback] {
                assert_eq!(
                    sums(rows, panels, 0..WIDTH, &way),
                    plain(rows, panels),
                    "{rows} rows, {panels} panels"
                );
            }
        }
    }

    #[test]
    fn the_columns_that_are_wanted_are_whole_and_others_whole_or_untouched() {
        let (rows, panels) = (13, 2);
        let before: Vec<u32> = operands(rows, panels).0.iter().map(|value| value.to_bits()).collect();
        let after = plain(rows, panels);
        for columns in [0..0, 0..1, 3..16, 15..17, 16..32, 20..21, 31..32, 0..32] {
            for way in [Way::Widest, Way::Fallback] {
                let sums = sums(rows, panels, columns.clone(), &way);
                for (index, sum) in sums.into_iter().enumerate() {
                    let is_wanted = columns.contains(&(index % WIDTH));
                    assert!(sum == after[index] || !is_wanted && sum == before[index], "{columns:?} {index}");
                }
            }
        }
    }
}
