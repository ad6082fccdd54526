//! Matrices in panels of 32 columns, and their product.

use rayon::prelude::*;

use super::WIDTH;
use super::kernel::{Accumulate, accumulate_tile};

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
        (0..self.panels).flat_map(|panel| self.run(panel, row)).copied().collect()
    }

    /// Puts a row's panels in place, given one after the other.
    pub(crate) fn set_row(&mut self, row: usize, values: &[f32]) {
        for (panel, values) in values.chunks(WIDTH).enumerate() {
            self.run_mut(panel, row)[..values.len()].copy_from_slice(values);
        }
    }
}

/// Weights of a linear layer, for each 32 outputs an inputs × 32 block. Inputs and outputs are padded with zeros to
/// a multiple of 32.
#[derive(Debug)]
pub(crate) struct Weights {
    inputs: usize,
    outputs: usize,
    data: Vec<f32>,
}

impl Weights {
    /// Zeros, to be filled with [`Weights::set_rows`].
    pub(crate) fn zeros(inputs: usize, outputs: usize) -> Self {
        let inputs = inputs.next_multiple_of(WIDTH);
        Self { inputs, outputs, data: vec![0.0; inputs * outputs.next_multiple_of(WIDTH)] }
    }

    /// Numbers held, padding included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// Fills outputs from `first` on from a row-major matrix with `inputs` values for each output.
    pub(crate) fn set_rows(&mut self, first: usize, inputs: usize, values: &[f32]) {
        for (index, row) in values.chunks_exact(inputs).enumerate() {
            let output = first + index;
            let start = output / WIDTH * self.inputs * WIDTH + output % WIDTH;
            for (slot, &value) in self.data[start..].iter_mut().step_by(WIDTH).zip(row) {
                *slot = value;
            }
        }
    }

    /// The weights of one output: the embedding of a token, where the matrix is shared with the embedding.
    pub(crate) fn output(&self, output: usize) -> impl Iterator<Item = f32> {
        let start = output / WIDTH * self.inputs * WIDTH + output % WIDTH;
        self.data[start..].iter().step_by(WIDTH).take(self.inputs).copied()
    }
}

/// `out = x · weights`, on the current thread pool, each thread taking some of the outputs.
pub(crate) fn product(x: &Panels, weights: &Weights, out: &mut Panels) {
    out.reshape(x.rows, weights.outputs);
    if x.rows == 0 {
        return;
    }
    let blocks = weights.data.par_chunks_exact(weights.inputs * WIDTH);
    out.panels_mut().zip(blocks).for_each(|(out, block)| {
        out.fill(0.0);
        accumulate_tile(Accumulate {
            out,
            operands: |first, rows| {
                let left = x.panels().map(move |panel| &panel[first * WIDTH..][..rows * WIDTH]);
                left.zip(block.chunks_exact(WIDTH * WIDTH))
            },
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_product_is_that_of_the_textbook() {
        for (rows, inputs, outputs) in [(1, 32, 32), (3, 64, 40), (9, 50, 96), (20, 96, 33)] {
            let matrix: Vec<f32> = (0..inputs * outputs).map(|i| value(i + 17)).collect();
            let mut weights = Weights::zeros(inputs, outputs);
            weights.set_rows(0, inputs, &matrix);
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
        let mut weights = Weights::zeros(96, 64);
        weights.set_rows(0, 96, &(0..96 * 64).map(value).collect::<Vec<_>>());
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
