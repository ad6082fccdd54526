//! Keys and values of one layer and head, and in how many bits they are kept.

use std::io::{Error, Read, Write};

use crate::compute::{WIDTH, pack_run, unpack_columns, unpack_runs};

/// Tokens of one block of keys and values.
pub(super) const BLOCK: usize = WIDTH;
/// Blocks that a long segment is enlarged by beyond its need, at most. Short ones have none to spare: there is one for
/// each answer that is being drawn.
const MOST_SPARE: usize = 4;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyValuePrecision {
    /// Sixteen bits: whole numbers from −32,767 to 32,767, and a scale for each 32 values of a token's key or value. An
    /// error is at most 1/65,534 of the largest of the 32, where half precision has up to 1/2,048 of the number itself.
    #[default]
    Sixteen,
    /// Single precision: as they were computed.
    Single,
}

impl KeyValuePrecision {
    /// Bytes of a run of 32 values.
    pub(super) fn run_bytes(self) -> u64 {
        match self {
            Self::Sixteen => (WIDTH * size_of::<i16>() + size_of::<f32>()) as u64,
            Self::Single => (WIDTH * size_of::<f32>()) as u64,
        }
    }

    /// Its number in files.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Sixteen => 16,
            Self::Single => 32,
        }
    }
}

/// Blocks of keys or of values.
#[derive(Clone, Debug)]
enum Stored {
    Single(Vec<f32>),
    /// The scales, by block: for each panel of the head's width, those of 32 tokens.
    Sixteen {
        integers: Vec<i16>,
        scales: Vec<f32>,
    },
}

impl Stored {
    fn new(precision: KeyValuePrecision) -> Self {
        match precision {
            KeyValuePrecision::Single => Self::Single(Vec::new()),
            KeyValuePrecision::Sixteen => Self::Sixteen { integers: Vec::new(), scales: Vec::new() },
        }
    }

    /// Makes room for so many blocks of so many panels.
    fn enlarge(&mut self, blocks: usize, panels: usize) {
        fn to<T: Clone + Default>(data: &mut Vec<T>, blocks: usize, block: usize) {
            if data.len() < blocks * block {
                if data.capacity() < blocks * block {
                    let spare = (blocks / 8).min(MOST_SPARE);
                    data.reserve_exact((blocks + spare) * block - data.len());
                }
                data.resize(blocks * block, T::default());
            }
        }
        match self {
            Self::Single(values) => to(values, blocks, panels * WIDTH * BLOCK),
            Self::Sixteen { integers, scales } => {
                to(integers, blocks, panels * WIDTH * BLOCK);
                to(scales, blocks, panels * BLOCK);
            }
        }
    }

    /// A copy of the first blocks.
    fn first(&self, blocks: usize, panels: usize) -> Self {
        let values = blocks * panels * WIDTH * BLOCK;
        match self {
            Self::Single(all) => Self::Single(all[..values].to_vec()),
            Self::Sixteen { integers, scales } => Self::Sixteen {
                integers: integers[..values].to_vec(),
                scales: scales[..blocks * panels * BLOCK].to_vec(),
            },
        }
    }

    fn write_to(&self, blocks: usize, panels: usize, out: &mut impl Write) -> Result<(), Error> {
        let values = blocks * panels * WIDTH * BLOCK;
        let mut buffer = Vec::new();
        match self {
            Self::Single(all) => buffer.extend(all[..values].iter().flat_map(|value| value.to_le_bytes())),
            Self::Sixteen { integers, scales } => {
                buffer.extend(integers[..values].iter().flat_map(|integer| integer.to_le_bytes()));
                let scales = &scales[..values / WIDTH];
                buffer.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
            }
        }
        out.write_all(&buffer)
    }

    /// Fills all that there is room for.
    fn read_from(&mut self, input: &mut impl Read) -> Result<(), Error> {
        fn singles(values: &mut [f32], input: &mut impl Read) -> Result<(), Error> {
            let mut buffer = vec![0; 4 * values.len()];
            input.read_exact(&mut buffer)?;
            let read = buffer.as_chunks::<4>().0;
            values.iter_mut().zip(read).for_each(|(value, &bytes)| *value = f32::from_le_bytes(bytes));
            Ok(())
        }
        match self {
            Self::Single(values) => singles(values, input),
            Self::Sixteen { integers, scales } => {
                let mut buffer = vec![0; 2 * integers.len()];
                input.read_exact(&mut buffer)?;
                let read = buffer.as_chunks::<2>().0;
                integers.iter_mut().zip(read).for_each(|(value, &bytes)| *value = i16::from_le_bytes(bytes));
                singles(scales, input)
            }
        }
    }

    /// Writes 32 values of a token: `at` is the place of the first, the others follow `stride` apart, and `scale_at` is
    /// the place of their scale.
    fn write(&mut self, run: &[f32], at: usize, stride: usize, scale_at: usize) {
        match self {
            Self::Single(values) => {
                values[at..].iter_mut().step_by(stride).zip(run).for_each(|(slot, &value)| *slot = value);
            }
            Self::Sixteen { integers, scales } => {
                let mut packed = [0; WIDTH];
                scales[scale_at] = pack_run(run, &mut packed);
                let slots = integers[at..].iter_mut().step_by(stride);
                slots.zip(packed).for_each(|(slot, integer)| *slot = integer);
            }
        }
    }
}

/// Keys and values of one layer and head, in blocks of 32 tokens.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    panels: usize,
    /// By block: for each panel of the head's width, 32 tokens × 32 values.
    keys: Stored,
    /// By block: for each value of the head, those of 32 tokens. Zero where there is no token yet.
    values: Stored,
}

impl Head {
    pub(super) fn new(panels: usize, precision: KeyValuePrecision) -> Self {
        Self { panels, keys: Stored::new(precision), values: Stored::new(precision) }
    }

    /// Makes room for so many blocks.
    pub(super) fn enlarge(&mut self, blocks: usize) {
        self.keys.enlarge(blocks, self.panels);
        self.values.enlarge(blocks, self.panels);
    }

    /// A copy of the first blocks.
    pub(super) fn first(&self, blocks: usize) -> Self {
        let part = |stored: &Stored| stored.first(blocks, self.panels);
        Self { panels: self.panels, keys: part(&self.keys), values: part(&self.values) }
    }

    /// Writes the first blocks, little-endian.
    pub(super) fn write_to(&self, blocks: usize, out: &mut impl Write) -> Result<(), Error> {
        self.keys.write_to(blocks, self.panels, out)?;
        self.values.write_to(blocks, self.panels, out)
    }

    /// Reads so many blocks into a head that has none.
    pub(super) fn read_from(&mut self, blocks: usize, input: &mut impl Read) -> Result<(), Error> {
        self.enlarge(blocks);
        self.keys.read_from(input)?;
        self.values.read_from(input)
    }

    /// The keys of a block: panels × 32 tokens × 32. `scratch` has room for them.
    pub(crate) fn keys<'a>(&'a self, block: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let size = self.panels * WIDTH * BLOCK;
        match &self.keys {
            Stored::Single(values) => &values[block * size..][..size],
            Stored::Sixteen { integers, scales } => {
                let scales = &scales[block * size / WIDTH..][..size / WIDTH];
                unpack_runs(&integers[block * size..][..size], scales, scratch);
                scratch
            }
        }
    }

    /// The values of a block: head width × 32 tokens. `scratch` has room for them.
    pub(crate) fn values<'a>(&'a self, block: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let size = self.panels * WIDTH * BLOCK;
        match &self.values {
            Stored::Single(values) => &values[block * size..][..size],
            Stored::Sixteen { integers, scales } => {
                let panels = integers[block * size..][..size].chunks_exact(WIDTH * BLOCK);
                let scales = scales[block * size / WIDTH..][..size / WIDTH].chunks_exact(BLOCK);
                for ((integers, scales), out) in
                    panels.zip(scales).zip(scratch.chunks_exact_mut(WIDTH * BLOCK))
                {
                    unpack_columns(integers, scales, out);
                }
                scratch
            }
        }
    }

    /// Writes a token's key and value, given panel by panel.
    pub(crate) fn write<'a>(
        &mut self,
        token: usize,
        key: impl Iterator<Item = &'a [f32]>,
        value: impl Iterator<Item = &'a [f32]>,
    ) {
        let first = token / BLOCK * self.panels;
        let place = token % BLOCK;
        for (panel, run) in (first..).zip(key) {
            self.keys.write(run, (panel * BLOCK + place) * WIDTH, 1, panel * BLOCK + place);
        }
        for (panel, run) in (first..).zip(value) {
            self.values.write(run, panel * WIDTH * BLOCK + place, BLOCK, panel * BLOCK + place);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of 32 values that were written.
    fn through(precision: KeyValuePrecision, run: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut head = Head::new(1, precision);
        head.enlarge(1);
        head.write(3, [run].into_iter(), [run].into_iter());
        let mut scratch = vec![0.0; WIDTH * BLOCK];
        let key = head.keys(0, &mut scratch)[3 * WIDTH..][..WIDTH].to_vec();
        let value = head.values(0, &mut scratch).iter().skip(3).step_by(BLOCK).copied().collect();
        (key, value)
    }

    proptest! {
        #[test]
        fn sixteen_bits_are_as_near_as_they_say(
            run in prop::collection::vec(prop_oneof![-1e3_f32..1e3, -1e-3_f32..1e-3, Just(0.0)], WIDTH),
        ) {
            let largest = run.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let (key, value) = through(KeyValuePrecision::Sixteen, &run);
            for (&was, is) in run.iter().zip(&key) {
                prop_assert!((was - is).abs() <= largest / 65_534.0 * 1.01, "{was} {is}");
            }
            prop_assert_eq!(key, value);
            let (key, value) = through(KeyValuePrecision::Single, &run);
            prop_assert!(key == run && value == run);
        }
    }

    #[test]
    fn hard_numbers_are_kept_or_spoil_the_run() {
        let run = |value: f32| [&[value][..], &[1.0; WIDTH - 1]].concat();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(through(KeyValuePrecision::Sixteen, &run(value)).0.iter().all(|value| value.is_nan()));
        }
        for value in [0.0, f32::MIN_POSITIVE, 1e-45] {
            assert_eq!(through(KeyValuePrecision::Sixteen, &[value; WIDTH]).0, [0.0; WIDTH]);
        }
        let key = through(KeyValuePrecision::Sixteen, &[1e38; WIDTH]).0;
        assert!(key.iter().all(|value| value.is_finite() && *value > 0.99e38), "{key:?}");
    }
}
