//! Hooks on the residual stream: what reads it after a block, and what changes it there.
//!
//! Index L is the residual stream after L blocks, 0 the embedding; steering index L adds at the output of block
//! L − 1 (counted from 0), as Chen et al. (2025, "Persona Vectors") do. The last index is the stream before the final
//! norm, which `transformers` applies to the last of its `hidden_states`.
//!
//! An edit works on each row by itself and in one fixed order, so that a row's bits depend neither on the rows beside
//! it nor on how these are edited.

use std::ops::{AddAssign, Range};
use std::sync::Arc;

use crate::compute::{Panels, WIDTH, single};

/// Sees the residual stream on its way through the model, and may change it.
pub(crate) trait Hook {
    /// Called with the residual stream after so many blocks, one row a token of the pass.
    fn visit(&mut self, blocks: usize, stream: &mut Panels);
}

/// Nothing is read or changed.
impl Hook for () {
    fn visit(&mut self, _: usize, _: &mut Panels) {}
}

/// What is done to a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    /// Adds a vector, the coefficient included.
    Add(Vec<f32>),
    /// Takes away the part along a direction of length 1.
    Ablate,
}

/// A change of the residual stream at one index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edit {
    /// Blocks before it.
    pub(crate) blocks: usize,
    pub(crate) operation: Operation,
    /// A direction of length 1, along which the change is measured.
    pub(crate) direction: Vec<f32>,
}

impl Edit {
    /// The projection of a row onto the direction.
    fn projection(&self, stream: &Panels, row: usize) -> f64 {
        project(stream, row, &self.direction)
    }

    fn apply(&self, stream: &mut Panels, row: usize) {
        let (vector, factor) = match &self.operation {
            Operation::Add(vector) => (vector, 1.0),
            Operation::Ablate => (&self.direction, -single(self.projection(stream, row))),
        };
        for (panel, values) in vector.chunks(WIDTH).enumerate() {
            for (slot, &value) in stream.run_mut(panel, row).iter_mut().zip(values) {
                *slot = value.mul_add(factor, *slot);
            }
        }
    }
}

/// The scalar product of a row with a vector, summed in order in double precision.
fn project(stream: &Panels, row: usize, vector: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (panel, values) in vector.chunks(WIDTH).enumerate() {
        for (&x, &value) in stream.run(panel, row).iter().zip(values) {
            sum += f64::from(x) * f64::from(value);
        }
    }
    sum
}

/// What an edit did to the rows of one sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Realised {
    pub(crate) rows: usize,
    /// Sum over rows of the projection before the edit.
    pub(crate) before: f64,
    /// Sum over rows of the projection after the edit.
    pub(crate) after: f64,
}

impl AddAssign for Realised {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.before += other.before;
        self.after += other.after;
    }
}

/// An edit of some rows of a pass.
#[derive(Debug)]
pub(crate) struct RowEdit {
    /// Rows of the pass.
    pub(crate) rows: Range<usize>,
    pub(crate) edit: Arc<Edit>,
    /// Which of the caller's sequences it is counted for, if for any.
    pub(crate) owner: Option<usize>,
    pub(crate) realised: Realised,
}

/// What is kept of rows that are read, by index of the residual stream in the order asked for.
#[derive(Debug)]
pub(crate) enum Kept {
    /// Each row.
    Each(Vec<Vec<Vec<f32>>>),
    /// Their sums, added in order.
    Sums(Vec<Vec<f64>>),
}

/// Rows that are read at some indices, without a copy of the others.
#[derive(Debug)]
pub(crate) struct RowTap {
    /// Indices of the residual stream.
    pub(crate) indices: Arc<[usize]>,
    /// Rows of the pass.
    pub(crate) rows: Vec<Range<usize>>,
    pub(crate) kept: Kept,
}

impl RowTap {
    fn read(&mut self, blocks: usize, stream: &Panels) {
        let rows = self.rows.iter().flat_map(Clone::clone);
        for (place, _) in self.indices.iter().enumerate().filter(|(_, index)| **index == blocks) {
            match &mut self.kept {
                Kept::Each(all) => all[place].extend(rows.clone().map(|row| stream.row(row))),
                Kept::Sums(all) => {
                    let sums = &mut all[place];
                    for row in rows.clone() {
                        let row = stream.row(row);
                        sums.resize(row.len(), 0.0);
                        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(value));
                    }
                }
            }
        }
    }
}

/// All that is read and changed in one pass. Edits come first, so that what is read is what the next block sees.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) edits: Vec<RowEdit>,
    pub(crate) taps: Vec<RowTap>,
}

impl Hook for Hooks {
    fn visit(&mut self, blocks: usize, stream: &mut Panels) {
        for RowEdit { rows, edit, realised, .. } in &mut self.edits {
            if edit.blocks != blocks {
                continue;
            }
            for row in rows.clone() {
                let before = edit.projection(stream, row);
                edit.apply(stream, row);
                *realised += Realised { rows: 1, before, after: edit.projection(stream, row) };
            }
        }
        self.taps.iter_mut().for_each(|tap| tap.read(blocks, stream));
    }
}
