//! How GGUF stores numbers in blocks, and single-precision values of them.
//!
//! The layouts are those of ggml, as its `gguf` Python package documents them by its own conversion, which made the
//! fixtures of the tests. Here rather than from a library: the one that has them brings a hundred further crates.

use half::{bf16, f16};

/// A kind of number, in the names of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the format's own names, which are shown to users")]
pub(crate) enum Kind {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Values of a block of the K formats.
const SUPER_BLOCK: usize = 256;

impl Kind {
    /// The kind of a number in a file; `None` where it is not known here.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2_K,
            11 => Self::Q3_K,
            12 => Self::Q4_K,
            13 => Self::Q5_K,
            14 => Self::Q6_K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// Values in a block.
    pub(crate) fn block_size(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => SUPER_BLOCK,
        }
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Values that share a scale; 0 where there are no scales.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 0,
            Self::Q2_K | Self::Q3_K | Self::Q6_K => 16,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Q4_K | Self::Q5_K => 32,
        }
    }

    /// Whether groups have a minimum beside their scale.
    pub(crate) fn has_minima(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q2_K | Self::Q4_K | Self::Q5_K)
    }

    /// The numbers of whole blocks as they are stored. What is left over at the end is passed over.
    pub(crate) fn numbers(self, bytes: &[u8]) -> Numbers {
        let pairs = || bytes.as_chunks::<2>().0.iter().map(|&pair| u16::from_le_bytes(pair));
        match self {
            Self::F32 => Numbers::Single(
                bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect(),
            ),
            Self::F16 => Numbers::Half(pairs().collect()),
            Self::BF16 => Numbers::Brain(pairs().collect()),
            _ => Numbers::Scaled(self.scaled(bytes)),
        }
    }

    fn scaled(self, bytes: &[u8]) -> Scaled {
        let blocks = bytes.chunks_exact(self.block_bytes());
        let values = blocks.len() * self.block_size();
        let groups = values / self.group().max(1);
        let mut out = Scaled {
            group: self.group(),
            integers: Vec::with_capacity(values),
            scales: Vec::with_capacity(groups),
            minima: Vec::with_capacity(if self.has_minima() { groups } else { 0 }),
        };
        match self {
            Self::F32 | Self::F16 | Self::BF16 => {}
            Self::Q4_0 => blocks.for_each(|block| q4_0(block, &mut out)),
            Self::Q4_1 => blocks.for_each(|block| q4_1(block, &mut out)),
            Self::Q5_0 => blocks.for_each(|block| q5_0(block, &mut out)),
            Self::Q5_1 => blocks.for_each(|block| q5_1(block, &mut out)),
            Self::Q8_0 => blocks.for_each(|block| q8_0(block, &mut out)),
            Self::Q2_K => blocks.for_each(|block| q2_k(block, &mut out)),
            Self::Q3_K => blocks.for_each(|block| q3_k(block, &mut out)),
            Self::Q4_K => blocks.for_each(|block| q4_k(block, &mut out)),
            Self::Q5_K => blocks.for_each(|block| q5_k(block, &mut out)),
            Self::Q6_K => blocks.for_each(|block| q6_k(block, &mut out)),
        }
        out
    }
}

/// Numbers as a file stores them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Numbers {
    /// Single precision.
    Single(Vec<f32>),
    /// The bits of half-precision numbers.
    Half(Vec<u16>),
    /// The bits of "brain" halves: single precision that is cut short.
    Brain(Vec<u16>),
    /// Small integers, in groups that share a scale.
    Scaled(Scaled),
}

/// Numbers `integer · scale`, or `integer · scale + minimum`, in groups that share scale and minimum.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scaled {
    /// Values in a group: 16 or 32.
    pub(crate) group: usize,
    pub(crate) integers: Vec<i8>,
    /// By group.
    pub(crate) scales: Vec<f32>,
    /// By group; empty where the format has none.
    pub(crate) minima: Vec<f32>,
}

impl Scaled {
    fn push(&mut self, scale: f32, minimum: Option<f32>, integers: impl Iterator<Item = i8>) {
        self.scales.push(scale);
        self.minima.extend(minimum);
        self.integers.extend(integers);
    }
}

impl Numbers {
    /// How many values are infinite or not numbers.
    pub(crate) fn not_finite(&self) -> usize {
        match self {
            Self::Single(values) => values.iter().filter(|value| !value.is_finite()).count(),
            Self::Half(bits) => bits.iter().filter(|&&bits| !f16::from_bits(bits).is_finite()).count(),
            Self::Brain(bits) => bits.iter().filter(|&&bits| !bf16::from_bits(bits).is_finite()).count(),
            Self::Scaled(scaled) => {
                let groups = (0..scaled.scales.len()).filter(|&group| {
                    let minimum = scaled.minima.get(group).is_none_or(|minimum| minimum.is_finite());
                    !scaled.scales[group].is_finite() || !minimum
                });
                groups.count() * scaled.group
            }
        }
    }

    /// In single precision.
    pub(crate) fn values(self) -> Vec<f32> {
        match self {
            Self::Single(values) => values,
            Self::Half(bits) => bits.into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect(),
            Self::Brain(bits) => bits.into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            Self::Scaled(scaled) => {
                let mut out = Vec::with_capacity(scaled.integers.len());
                for (index, integers) in scaled.integers.chunks_exact(scaled.group.max(1)).enumerate() {
                    let scale = scaled.scales[index];
                    let values = integers.iter().map(|&integer| f32::from(integer) * scale);
                    match scaled.minima.get(index) {
                        Some(minimum) => out.extend(values.map(|value| value + minimum)),
                        None => out.extend(values),
                    }
                }
                out
            }
        }
    }
}

/// The half-precision number at a place.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A small whole number, signed or not.
fn small(value: u8) -> f32 {
    f32::from(value)
}

/// The low halves of all bytes, then their high halves.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// A number of few bits.
fn few(value: u8) -> i8 {
    value.cast_signed()
}

/// Scale; 32 numbers of 4 bits.
fn q4_0(block: &[u8], out: &mut Scaled) {
    out.push(half_at(block, 0), None, nibbles(&block[2..]).map(|number| few(number) - 8));
}

/// Scale and minimum; 32 numbers of 4 bits.
fn q4_1(block: &[u8], out: &mut Scaled) {
    out.push(half_at(block, 0), Some(half_at(block, 2)), nibbles(&block[4..]).map(few));
}

/// 32 numbers of 5 bits, of which the highest stand apart.
fn fives<'a>(high: &'a [u8], low: &'a [u8]) -> impl Iterator<Item = i8> + 'a {
    let bit = |index: usize| (high[index / 8] >> (index % 8)) & 1;
    nibbles(low).enumerate().map(move |(index, number)| few(number | (bit(index) << 4)))
}

/// Scale; 32 fifth bits; 32 numbers of 4 bits.
fn q5_0(block: &[u8], out: &mut Scaled) {
    out.push(half_at(block, 0), None, fives(&block[2..6], &block[6..]).map(|number| number - 16));
}

/// Scale and minimum; 32 fifth bits; 32 numbers of 4 bits.
fn q5_1(block: &[u8], out: &mut Scaled) {
    out.push(half_at(block, 0), Some(half_at(block, 2)), fives(&block[4..8], &block[8..]));
}

/// Scale; 32 signed bytes.
fn q8_0(block: &[u8], out: &mut Scaled) {
    out.push(half_at(block, 0), None, block[2..].iter().map(|byte| byte.cast_signed()));
}

/// Sixteen scales and minima of 4 bits; 256 numbers of 2 bits; two factors. Numbers stand in four layers of each 32
/// bytes.
fn q2_k(block: &[u8], out: &mut Scaled) {
    let (scales, numbers) = (&block[..16], &block[16..80]);
    let (scale, minimum) = (half_at(block, 80), half_at(block, 82));
    for (group, &packed) in scales.iter().enumerate() {
        let (layer, part) = (group % 8 / 2, group % 2);
        let bytes = &numbers[group / 8 * 32 + part * 16..][..16];
        let (scale, minimum) = (scale * small(packed & 15), minimum * small(packed >> 4));
        out.push(scale, Some(-minimum), bytes.iter().map(|byte| few((byte >> (2 * layer)) & 3)));
    }
}

/// 256 third bits; 256 numbers of 2 bits; sixteen scales of 6 bits; one factor.
fn q3_k(block: &[u8], out: &mut Scaled) {
    let (high, numbers, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let factor = half_at(block, 108);
    for group in 0..16 {
        let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
        let scale = factor * (small(low | (((scales[8 + group % 4] >> (2 * (group / 4))) & 3) << 4)) - 32.0);
        let (layer, part) = (group % 8 / 2, group % 2);
        let bytes = &numbers[group / 8 * 32 + part * 16..][..16];
        let bits = &high[part * 16..][..16];
        let numbers = bytes.iter().zip(bits).map(|(byte, bit)| {
            let is_high = (bit >> (group / 8 * 4 + layer)) & 1 == 1;
            few((byte >> (2 * layer)) & 3) - if is_high { 0 } else { 4 }
        });
        out.push(scale, None, numbers);
    }
}

/// Scale and minimum of one of eight groups, each of 6 bits, packed into 12 bytes.
fn scale_and_minimum(packed: &[u8], group: usize) -> (f32, f32) {
    if group < 4 {
        (small(packed[group] & 63), small(packed[group + 4] & 63))
    } else {
        let both = packed[group + 4];
        let (scale, minimum) = (packed[group - 4] >> 6, packed[group] >> 6);
        (small((both & 15) | (scale << 4)), small((both >> 4) | (minimum << 4)))
    }
}

/// Two factors; eight scales and minima of 6 bits; 256 numbers of 4 bits.
fn q4_k(block: &[u8], out: &mut Scaled) {
    let (factor, least) = (half_at(block, 0), half_at(block, 2));
    for (pair, bytes) in block[16..].chunks_exact(32).enumerate() {
        for half in 0..2 {
            let (scale, minimum) = scale_and_minimum(&block[4..16], 2 * pair + half);
            let numbers = bytes.iter().map(|byte| few((byte >> (4 * half)) & 15));
            out.push(factor * scale, Some(-(least * minimum)), numbers);
        }
    }
}

/// Two factors; eight scales and minima of 6 bits; 256 fifth bits; 256 numbers of 4 bits.
fn q5_k(block: &[u8], out: &mut Scaled) {
    let (factor, least) = (half_at(block, 0), half_at(block, 2));
    let high = &block[16..48];
    for (pair, bytes) in block[48..].chunks_exact(32).enumerate() {
        for half in 0..2 {
            let group = 2 * pair + half;
            let (scale, minimum) = scale_and_minimum(&block[4..16], group);
            let numbers = bytes.iter().zip(high);
            let numbers =
                numbers.map(|(byte, bits)| few(((byte >> (4 * half)) & 15) | (((bits >> group) & 1) << 4)));
            out.push(factor * scale, Some(-(least * minimum)), numbers);
        }
    }
}

/// 256 numbers of 4 bits and of 2 further ones; sixteen signed scales; one factor.
fn q6_k(block: &[u8], out: &mut Scaled) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let factor = half_at(block, 208);
    for (group, &scale) in scales.iter().enumerate() {
        let (upper, layer, part) = (group / 8, group % 8 / 2, group % 2);
        let low = &low[upper * 64 + layer % 2 * 32 + part * 16..][..16];
        let high = &high[upper * 32 + part * 16..][..16];
        let numbers = low.iter().zip(high).map(|(low, high)| {
            let number = ((low >> (layer / 2 * 4)) & 15) | (((high >> (2 * layer)) & 3) << 4);
            few(number) - 32
        });
        out.push(factor * f32::from(scale.cast_signed()), None, numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        kind: u32,
        name: String,
        bytes: Vec<u8>,
        values: Vec<f32>,
    }

    #[test]
    fn values_are_those_of_the_formats_own_package() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/blocks.json")).unwrap();
        assert_eq!(cases.len(), 13);
        for case in cases {
            let kind = Kind::from_number(case.kind).unwrap();
            assert_eq!(format!("{kind:?}"), case.name);
            assert_eq!(case.bytes.len() % kind.block_bytes(), 0, "{kind:?}");
            let values = kind.numbers(&case.bytes).values();
            assert_eq!(values.len(), case.values.len(), "{kind:?}");
            for (index, (ours, theirs)) in values.iter().zip(&case.values).enumerate() {
                let error = (ours - theirs).abs();
                assert!(error <= 2e-6 * theirs.abs().max(1e-3), "{kind:?} {index}: {ours} {theirs}");
            }
        }
        assert_eq!(Kind::from_number(4), None);
    }
}
