//! Matrices in panels of 32 columns, and their product.

use rayon::prelude::*;

use super::kernel::{Accumulate, accumulate_tile};
use super::weights::Weights;
use super::{BLOCK, WIDTH};

/// Activations, rows × columns, as one block of rows × 32 for every 32 columns. Columns past the last are zero.
///
/// The layout is what the product reads and writes, so that nothing is packed, and a product's output is one
/// contiguous slice for each panel, which threads can share out safely.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "there is no other word for them")]
pub(crate) struct Panels {
    rows: usize,
    panels: usize,
    data: Vec<f32>,
}

impl Panels {
    /// Zeros.
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        let panels = columns.div_ceil(WIDTH);
        Self { rows, panels, data: vec![0.0; rows * panels * WIDTH] }
    }

    /// Makes it rows × columns, keeping the allocation. What it then holds is unspecified.
    pub(crate) fn reshape(&mut self, rows: usize, columns: usize) {
        self.rows = rows;
        self.panels = columns.div_ceil(WIDTH);
        self.data.resize(rows * self.panels * WIDTH, 0.0);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// One panel: rows × 32.
    pub(crate) fn panel(&self, index: usize) -> &[f32] {
        &self.data[index * self.rows * WIDTH..][..self.rows * WIDTH]
    }

    pub(crate) fn panels(&self) -> impl ExactSizeIterator<Item = &[f32]> + Clone {
        self.data.chunks_exact((self.rows * WIDTH).max(1))
    }

    pub(crate) fn panels_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [f32]> {
        self.data.par_chunks_exact_mut((self.rows * WIDTH).max(1))
    }

    /// The 32 values of one row in one panel.
    pub(crate) fn run(&self, panel: usize, row: usize) -> &[f32] {
        &self.data[(panel * self.rows + row) * WIDTH..][..WIDTH]
    }

    pub(crate) fn run_mut(&mut self, panel: usize, row: usize) -> &mut [f32] {
        &mut self.data[(panel * self.rows + row) * WIDTH..][..WIDTH]
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// One row, its panels one after the other.
    pub(crate) fn row(&self, row: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.panels * WIDTH);
        for panel in 0..self.panels {
            values.extend_from_slice(self.run(panel, row));
        }
        values
    }

    /// Puts a row's panels in place, given one after the other.
    pub(crate) fn set_row(&mut self, row: usize, values: &[f32]) {
        for (panel, values) in values.chunks(WIDTH).enumerate() {
            self.run_mut(panel, row)[..values.len()].copy_from_slice(values);
        }
    }
}

/// Panels of inputs whose weights are unpacked at once, to be used by all rows: 12 KiB, which two threads that share a
/// first-level cache both fit into.
const UNPACKED: usize = 3;

/// `out = x · weights`, on the current thread pool, each thread taking some of the outputs.
pub(crate) fn product(x: &Panels, weights: &Weights, out: &mut Panels) {
    out.reshape(x.rows, weights.output_panels() * WIDTH);
    if x.rows == 0 {
        return;
    }
    out.panels_mut().enumerate().for_each(|(panel, out)| {
        out.fill(0.0);
        let mut scratch = [0.0; UNPACKED * BLOCK];
        for first in (0..weights.input_panels()).step_by(UNPACKED) {
            let count = UNPACKED.min(weights.input_panels() - first);
            let block = weights.block(panel, first, count, &mut scratch);
            accumulate_tile(Accumulate {
                out,
                columns: 0..WIDTH,
                operands: |row, rows| {
                    let left = x.panels().skip(first).map(move |panel| &panel[row * WIDTH..][..rows * WIDTH]);
                    left.zip(block.chunks_exact(BLOCK))
                },
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Numbers;

    fn value(index: usize) -> f32 {
        ((index * 7919) % 1009) as f32 / 504.5 - 1.0
    }

    fn activations(rows: usize, columns: usize) -> Panels {
        let mut x = Panels::zeros(rows, columns);
        for row in 0..rows {
            let values: Vec<f32> = (0..columns).map(|column| value(row * columns + column)).collect();
            x.set_row(row, &values);
        }
        x
    }

    fn weights(matrix: Vec<f32>, inputs: usize) -> Weights {
        let outputs = matrix.len() / inputs;
        let mut weights = Weights::new(inputs);
        weights.push(&Numbers::Single(matrix), inputs, 0..outputs);
        weights
    }

    #[test]
    fn the_product_is_that_of_the_textbook() {
        for (rows, inputs, outputs) in
            [(1, 32, 32), (3, 64, 40), (9, 50, 96), (20, 96, 33), (13, 128, 64), (65, 416, 32)]
        {
            let matrix: Vec<f32> = (0..inputs * outputs).map(|i| value(i + 17)).collect();
            let weights = weights(matrix.clone(), inputs);
            let x = activations(rows, inputs);
            let mut out = Panels::default();
            product(&x, &weights, &mut out);
            for row in 0..rows {
                let (x, out) = (x.row(row), out.row(row));
                for output in 0..outputs {
                    let weights = &matrix[output * inputs..][..inputs];
                    let expected = x.iter().zip(weights).fold(0.0_f32, |sum, (&x, &w)| x.mul_add(w, sum));
                    assert_eq!(out[output].to_bits(), expected.to_bits(), "{rows}×{inputs}×{outputs}");
                }
            }
            assert!(
                weights.output(outputs - 1).take(inputs).eq(matrix[(outputs - 1) * inputs..].iter().copied())
            );
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let weights = weights((0..96 * 64).map(value).collect(), 96);
        let mut all = Panels::default();
        product(&activations(29, 96), &weights, &mut all);
        for rows in 1..29 {
            let mut some = Panels::default();
            product(&activations(rows, 96), &weights, &mut some);
            for row in 0..rows {
                assert_eq!(some.row(row), all.row(row), "{rows} rows");
            }
        }
    }
}
