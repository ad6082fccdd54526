//! The decoder against a forward pass written out in double precision, and against itself: nothing but a token's
//! own predecessors may change a bit of it.

mod batches;
mod forward;
mod segments;

use super::*;
use crate::gguf::GgufError;
use crate::tiny::{Output, Shape, Tiny};

/// A decoder and all that it works with.
struct Model {
    decoder: Decoder,
    cache: Cache,
    scratch: Scratch,
}

impl Model {
    fn new(tiny: &Tiny) -> Self {
        Self::with(tiny, KeyValuePrecision::Single)
    }

    fn with(tiny: &Tiny, precision: KeyValuePrecision) -> Self {
        let decoder = load_tiny(tiny).unwrap();
        Self { cache: Cache::new(decoder.config(), precision), decoder, scratch: Scratch::default() }
    }

    /// Runs tokens; one row of the residual stream for each.
    fn pass(&mut self, runs: &[(SegmentId, &[u32])]) -> Vec<Vec<f32>> {
        let runs: Vec<Run<'_>> = runs.iter().map(|&(segment, tokens)| Run { segment, tokens }).collect();
        let hidden = self.decoder.pass(&mut self.cache, &runs, Purpose::Read, &mut self.scratch);
        (0..hidden.rows()).map(|row| hidden.row(row)).collect()
    }

    /// Rows of tokens that are read alone, in one pass.
    fn alone(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let root = self.cache.root();
        let rows = self.pass(&[(root, tokens)]);
        self.cache.release(root);
        rows
    }
}

fn load_tiny(tiny: &Tiny) -> Result<Decoder, GgufError> {
    let (_folder, gguf) = tiny.open();
    load(&gguf, Config::from_gguf(&gguf)?)
}

/// So many tokens of no meaning.
fn tokens(seed: u32, length: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % 262
    };
    (0..length).map(|_| next()).collect()
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}
