//! Weights of a linear layer, kept as compactly as their file has them, and unpacked piece by piece for the product.

use super::packing::{unpack_brains, unpack_eights, unpack_fours, unpack_halves};
use super::{BLOCK, WIDTH};
use crate::gguf::{Kind, Numbers, Scaled};

/// Weights, for each 32 outputs apart. Inputs and outputs are padded with zeros to a multiple of 32.
#[derive(Debug)]
pub(crate) struct Weights {
    /// Padded.
    inputs: usize,
    panels: Vec<Panel>,
}

/// Integers of four bits in one word.
const FOURS: usize = 8;
/// Integers of eight bits in one word.
const EIGHTS: usize = 4;

/// The weights of 32 outputs: for each input, or each few inputs, those of the outputs side by side.
#[derive(Debug)]
enum Panel {
    /// Inputs × 32.
    Single(Box<[f32]>),
    /// Inputs × 32, the bits of half-precision numbers.
    Half(Box<[u16]>),
    /// Inputs × 32, the bits of "brain" halves.
    Brain(Box<[u16]>),
    /// Integers of four or eight bits, inputs ÷ 8 or 4 × 32 words.
    Scaled(ScaledPanel),
}

/// Weights `(integer − offset) · scale + minimum`.
#[derive(Debug)]
struct ScaledPanel {
    width: IntegerWidth,
    /// Subtracted from integers of four bits, which are stored without a sign.
    offset: i8,
    words: Box<[u32]>,
    /// Inputs that share a scale: 16 or 32.
    group: usize,
    /// Groups × 32.
    scales: Box<[f32]>,
    /// Groups × 32, or nothing.
    minima: Box<[f32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IntegerWidth {
    /// Of eight successive inputs, the first four in the low halves of the word's bytes, the last four in the high.
    Four,
    /// Of four successive inputs, one in each of the word's bytes, lowest first; signed.
    Eight,
}

/// Bytes that 32 outputs of so many inputs take once they are loaded, from a file of the given kind.
pub(crate) fn panel_bytes(kind: Kind, inputs: usize) -> u64 {
    let weights = (inputs.next_multiple_of(WIDTH) * WIDTH) as u64;
    let parameters = if kind.has_minima() { 2 } else { 1 };
    let groups = |group: usize| parameters * size_of::<f32>() as u64 * weights / group as u64;
    match (kind, kind.group()) {
        (Kind::F32, _) => 4 * weights,
        (Kind::F16 | Kind::BF16, _) => 2 * weights,
        (Kind::Q4_0 | Kind::Q4_1 | Kind::Q4_K | Kind::Q2_K | Kind::Q3_K, group) => {
            weights / 2 + groups(group)
        }
        (_, group) => weights + groups(group),
    }
}

impl Weights {
    /// No outputs yet, of so many inputs.
    pub(crate) fn new(inputs: usize) -> Self {
        Self { inputs: inputs.next_multiple_of(WIDTH), panels: Vec::new() }
    }

    /// Adds outputs, the given rows of a row-major matrix with `inputs` values in a row. They start at a new panel.
    pub(crate) fn push(&mut self, numbers: &Numbers, inputs: usize, rows: impl IntoIterator<Item = usize>) {
        let rows: Vec<usize> = rows.into_iter().collect();
        let padded = self.inputs;
        self.panels.extend(rows.chunks(WIDTH).map(|rows| match numbers {
            Numbers::Single(values) => Panel::Single(transposed(values, inputs, padded, rows)),
            Numbers::Half(bits) => Panel::Half(transposed(bits, inputs, padded, rows)),
            Numbers::Brain(bits) => Panel::Brain(transposed(bits, inputs, padded, rows)),
            Numbers::Scaled(scaled) => Panel::Scaled(ScaledPanel::new(scaled, inputs, padded, rows)),
        }));
    }

    /// Panels of inputs.
    pub(crate) fn input_panels(&self) -> usize {
        self.inputs / WIDTH
    }

    /// Panels of outputs.
    pub(crate) fn output_panels(&self) -> usize {
        self.panels.len()
    }

    /// Weights of 32 outputs and of the inputs in `count` panels from `first` on, inputs × 32, for as many panels as
    /// `scratch` has room for.
    pub(crate) fn block<'a>(
        &'a self,
        output: usize,
        first: usize,
        count: usize,
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        let range = first * BLOCK..(first + count) * BLOCK;
        let out = &mut scratch[..count * BLOCK];
        match &self.panels[output] {
            Panel::Single(values) => return &values[range],
            Panel::Half(bits) => unpack_halves(&bits[range], out),
            Panel::Brain(bits) => unpack_brains(&bits[range], out),
            Panel::Scaled(panel) => panel.unpack(first, count, out),
        }
        out
    }

    /// The weights of one output: the embedding of a token, where the matrix is shared with the embedding.
    pub(crate) fn output(&self, output: usize) -> impl Iterator<Item = f32> {
        let mut scratch = vec![0.0; BLOCK];
        (0..self.input_panels()).flat_map(move |panel| {
            let block = self.block(output / WIDTH, panel, 1, &mut scratch);
            let run: Vec<f32> = block.iter().skip(output % WIDTH).step_by(WIDTH).copied().collect();
            run
        })
    }

    /// Bytes held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |panel: &Panel| match panel {
            Panel::Single(values) => 4 * values.len(),
            Panel::Half(bits) | Panel::Brain(bits) => 2 * bits.len(),
            Panel::Scaled(panel) => 4 * (panel.words.len() + panel.scales.len() + panel.minima.len()),
        };
        self.panels.iter().map(bytes).sum()
    }
}

/// Columns of 32 from rows: `padded` × 32.
fn transposed<T: Copy + Default>(values: &[T], inputs: usize, padded: usize, rows: &[usize]) -> Box<[T]> {
    let mut out = vec![T::default(); padded * WIDTH];
    for (lane, &row) in rows.iter().enumerate() {
        for (slot, &value) in out[lane..].iter_mut().step_by(WIDTH).zip(&values[row * inputs..][..inputs]) {
            *slot = value;
        }
    }
    out.into()
}

impl ScaledPanel {
    fn new(scaled: &Scaled, inputs: usize, padded: usize, rows: &[usize]) -> Self {
        let groups = inputs / scaled.group;
        let integers = |row: usize| &scaled.integers[row * inputs..][..inputs];
        let all = || rows.iter().flat_map(|&row| integers(row));
        let (least, most) = (all().copied().min().unwrap_or(0), all().copied().max().unwrap_or(0));
        let width = if least >= -8 && i16::from(most) - i16::from(least.min(0)) <= 15 {
            IntegerWidth::Four
        } else {
            IntegerWidth::Eight
        };
        let offset = if width == IntegerWidth::Four { -least.min(0) } else { 0 };
        let per_word = if width == IntegerWidth::Four { FOURS } else { EIGHTS };
        let mut words = vec![0; padded / per_word * WIDTH];
        for (lane, &row) in rows.iter().enumerate() {
            for (index, &integer) in integers(row).iter().enumerate() {
                let byte = u32::from((integer + offset).cast_unsigned());
                let shift =
                    8 * (index % 4) + if width == IntegerWidth::Four { index % FOURS / 4 * 4 } else { 0 };
                words[index / per_word * WIDTH + lane] |= byte << shift;
            }
        }
        let (scales, minima) = (&scaled.scales, &scaled.minima);
        let per_group = |values: &[f32]| {
            if values.is_empty() {
                return Box::default();
            }
            transposed(values, groups, padded / scaled.group, rows)
        };
        Self {
            width,
            offset,
            words: words.into(),
            group: scaled.group,
            scales: per_group(scales),
            minima: per_group(minima),
        }
    }

    fn unpack(&self, first: usize, count: usize, out: &mut [f32]) {
        let groups = WIDTH / self.group * WIDTH;
        let scales = &self.scales[first * groups..][..count * groups];
        let minima =
            if self.minima.is_empty() { &[][..] } else { &self.minima[first * groups..][..count * groups] };
        match self.width {
            IntegerWidth::Four => {
                let words = &self.words[first * BLOCK / FOURS..][..count * BLOCK / FOURS];
                unpack_fours(words, self.offset, self.group, scales, minima, out);
            }
            IntegerWidth::Eight => {
                let words = &self.words[first * BLOCK / EIGHTS..][..count * BLOCK / EIGHTS];
                unpack_eights(words, self.group, scales, minima, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{Panels, product};

    /// Numbers of each form, `rows` of so many values.
    fn forms(inputs: usize, rows: usize) -> Vec<Numbers> {
        let count = inputs * rows;
        let draw = |index: usize| (index * 7919 + 13) % 1009;
        let small = |index: usize| draw(index) as f32 / 504.5 - 1.0;
        let half = |index: usize| half::f16::from_f32(small(index)).to_bits();
        let brain = |index: usize| half::bf16::from_f32(small(index)).to_bits();
        let mut forms = vec![
            Numbers::Single((0..count).map(small).collect()),
            Numbers::Half((0..count).map(half).collect()),
            Numbers::Brain((0..count).map(brain).collect()),
        ];
        for (least, most) in [(-8, 7), (0, 15), (-4, 3), (-16, 15), (0, 31), (-32, 31), (-128, 127)] {
            for group in [16, 32] {
                for minima in [0, count / group] {
                    let span = usize::try_from(most - least + 1).unwrap();
                    let integer =
                        |index| i8::try_from(least + i32::try_from(draw(index) % span).unwrap()).unwrap();
                    forms.push(Numbers::Scaled(Scaled {
                        group,
                        integers: (0..count).map(integer).collect(),
                        scales: (0..count / group).map(|index| 0.1 + small(index) / 20.0).collect(),
                        minima: (0..minima).map(small).collect(),
                    }));
                }
            }
        }
        forms
    }

    fn of(numbers: &Numbers, inputs: usize, rows: usize) -> Weights {
        let mut weights = Weights::new(inputs);
        weights.push(numbers, inputs, 0..rows);
        weights
    }

    #[test]
    fn what_is_unpacked_is_what_was_stored() {
        for (inputs, rows) in [(32, 1), (64, 33), (256, 64)] {
            for numbers in forms(inputs, rows) {
                let weights = of(&numbers, inputs, rows);
                let values = numbers.clone().values();
                for (row, values) in values.chunks_exact(inputs).enumerate() {
                    assert!(weights.output(row).eq(values.iter().copied()), "{row} of {numbers:?}");
                }
                assert_eq!(weights.output_panels(), rows.div_ceil(WIDTH));
            }
        }
        // Values that are no whole panel, as only plain numbers may be.
        let numbers = Numbers::Half(vec![0x3c00; 40 * 2]);
        let weights = of(&numbers, 40, 2);
        assert_eq!(weights.input_panels(), 2);
        assert!(weights.output(1).eq((0..64).map(|index| if index < 40 { 1.0 } else { 0.0 })));
    }

    #[test]
    fn rows_may_be_taken_in_any_order_and_start_a_panel() {
        let numbers = &forms(64, 40)[7];
        let values = numbers.clone().values();
        let mut weights = Weights::new(64);
        weights.push(numbers, 64, [3, 1, 39]);
        weights.push(numbers, 64, 5..7);
        for (output, row) in [(0, 3), (1, 1), (2, 39), (32, 5), (33, 6)] {
            assert!(weights.output(output).eq(values[row * 64..][..64].iter().copied()), "{output}");
        }
        assert!(weights.output(3).all(|value| value == 0.0));
    }

    #[test]
    fn the_product_takes_the_values_of_the_file() {
        let (inputs, outputs) = (160, 48);
        let mut x = Panels::zeros(7, inputs);
        for row in 0..7 {
            let values: Vec<f32> =
                (0..inputs).map(|i| ((row * 31 + i * 17) % 64) as f32 / 32.0 - 1.0).collect();
            x.set_row(row, &values);
        }
        for numbers in forms(inputs, outputs) {
            let weights = of(&numbers, inputs, outputs);
            let mut out = Panels::default();
            product(&x, &weights, &mut out);
            let values = numbers.clone().values();
            for row in 0..7 {
                let (x, out) = (x.row(row), out.row(row));
                for (output, weights) in values.chunks_exact(inputs).enumerate() {
                    let expected = x.iter().zip(weights).fold(0.0_f32, |sum, (&x, &w)| x.mul_add(w, sum));
                    assert_eq!(out[output].to_bits(), expected.to_bits(), "{numbers:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_those_that_were_predicted() {
        for (kind, index) in
            [(Kind::F32, 0), (Kind::F16, 1), (Kind::BF16, 2), (Kind::Q4_0, 5), (Kind::Q4_1, 6)]
        {
            let weights = of(&forms(96, 70)[index], 96, 70);
            assert_eq!(weights.bytes() as u64, 3 * panel_bytes(kind, 96), "{kind:?}");
        }
    }

    #[test]
    fn all_half_precision_numbers_are_unpacked() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut out = vec![0.0; bits.len()];
        unpack_halves(&bits, &mut out);
        for (&bits, value) in bits.iter().zip(out) {
            let expected = half::f16::from_bits(bits).to_f32();
            assert!(
                value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
                "{bits:#x}"
            );
        }
    }
}
