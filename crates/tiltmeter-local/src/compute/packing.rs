//! Numbers of few bits, and single precision made of them. Plain loops over 32 columns, compiled for the widest SIMD at hand.
//!
//! Each result is gathered in a local array and then stored as a whole: where input and output might overlap for all that the
//! compiler knows, it computes one number after the other.

use pulp::{Arch, Simd, WithSimd};

use super::WIDTH;
use super::widest::widest_simd;

/// The largest integer of sixteen bits whose negative is one too.
const LARGEST: f32 = 32_767.0;

/// The nearest integer of sixteen bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers are at most 32,767, but for a rounding")]
fn nearest(value: f32) -> i16 {
    value.round_ties_even() as i16
}

/// One input's weights of 32 outputs, `integer · scale + minimum`. Product and sum are rounded each by itself, as the
/// formats' own code does.
#[inline(always)]
fn scale(
    integers: &[i32; WIDTH],
    scales: &[f32; WIDTH],
    minima: Option<&[f32; WIDTH]>,
    out: &mut [f32; WIDTH],
) {
    let mut numbers = [0.0; WIDTH];
    for ((number, &integer), &scale) in numbers.iter_mut().zip(integers).zip(scales) {
        *number = integer as f32 * scale;
    }
    if let Some(minima) = minima {
        for (number, &minimum) in numbers.iter_mut().zip(minima) {
            *number += minimum;
        }
    }
    *out = numbers;
}

widest_simd! {
    /// Rounds 32 numbers to integers of sixteen bits; returns what these are multiplied by to be read. What is not finite
    /// makes the whole run so, and an error of what is computed from it.
    pub(crate) fn pack_run<'a>(run: &'a [f32], out: &'a mut [i16; WIDTH]) -> f32 {
        let mut numbers = [0.0; WIDTH];
        for (number, &value) in numbers.iter_mut().zip(run) {
            *number = value;
        }
        let (mut largest, mut is_finite) = (0.0_f32, true);
        for value in numbers {
            largest = if value.abs() > largest { value.abs() } else { largest };
            is_finite &= value.is_finite();
        }
        // The quotient of the smallest numbers is infinite.
        let inverse = LARGEST / largest;
        let (scale, inverse) = match (is_finite, inverse.is_finite()) {
            (false, _) => (f32::NAN, 0.0),
            (true, false) => (0.0, 0.0),
            (true, true) => (largest / LARGEST, inverse),
        };
        let mut integers = [0; WIDTH];
        for (integer, value) in integers.iter_mut().zip(numbers) {
            *integer = nearest(value * inverse);
        }
        *out = integers;
        scale
    }

    /// Sixteen-bit numbers of 32 runs of 32, each run with a scale of its own.
    pub(crate) fn unpack_runs<'a>(integers: &'a [i16], scales: &'a [f32], out: &'a mut [f32]) -> () {
        let runs = out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(integers.as_chunks::<WIDTH>().0);
        for ((out, integers), &scale) in runs.zip(scales) {
            let mut numbers = [0.0; WIDTH];
            for (number, &integer) in numbers.iter_mut().zip(integers) {
                *number = f32::from(integer) * scale;
            }
            *out = numbers;
        }
    }

    /// Sixteen-bit numbers of runs of 32, with a scale for each place in a run.
    pub(crate) fn unpack_columns<'a>(integers: &'a [i16], scales: &'a [f32], out: &'a mut [f32]) -> () {
        let Some(scales) = scales.first_chunk::<WIDTH>() else { return };
        for (out, integers) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(integers.as_chunks::<WIDTH>().0) {
            let mut numbers = [0.0; WIDTH];
            for ((number, &integer), &scale) in numbers.iter_mut().zip(integers).zip(scales) {
                *number = f32::from(integer) * scale;
            }
            *out = numbers;
        }
    }

    /// Half-precision numbers in single precision.
    pub(super) fn unpack_halves<'a>(bits: &'a [u16], out: &'a mut [f32]) -> () {
        // The exponent's bias is 15 instead of 127: the bits are put in place, and the value is scaled by 2^112, which
        // is exact, and right for subnormal numbers too.
        const SCALE: f32 = f32::from_bits((127 + 112) << 23);
        for (out, &bits) in out.iter_mut().zip(bits) {
            let magnitude = u32::from(bits & 0x7fff) << 13;
            let finite = (f32::from_bits(magnitude) * SCALE).to_bits();
            let infinite = magnitude | 0x7f80_0000;
            let magnitude = if bits & 0x7c00 == 0x7c00 { infinite } else { finite };
            *out = f32::from_bits(magnitude | (u32::from(bits & 0x8000) << 16));
        }
    }

    /// "Brain" halves in single precision.
    pub(super) fn unpack_brains<'a>(bits: &'a [u16], out: &'a mut [f32]) -> () {
        for (out, &bits) in out.iter_mut().zip(bits) {
            *out = f32::from_bits(u32::from(bits) << 16);
        }
    }

    /// Weights whose integers have four bits: of 8 inputs × 32 outputs in 32 words, see the weights' layout.
    pub(super) fn unpack_fours<'a>(
        words: &'a [u32],
        offset: i8,
        group: usize,
        scales: &'a [f32],
        minima: &'a [f32],
        out: &'a mut [f32],
    ) -> () {
        let offset = i32::from(offset);
        let groups = words.chunks_exact(group / 8 * WIDTH).zip(out.chunks_exact_mut(group * WIDTH));
        let mut minima = minima.as_chunks::<WIDTH>().0.iter();
        for ((words, out), scales) in groups.zip(scales.as_chunks::<WIDTH>().0) {
            let minima = minima.next();
            let inputs = out.as_chunks_mut::<WIDTH>().0.chunks_exact_mut(8);
            for (words, out) in words.as_chunks::<WIDTH>().0.iter().zip(inputs) {
                for (input, out) in out.iter_mut().enumerate() {
                    let shift = 8 * (input % 4) + input / 4 * 4;
                    let mut integers = [0; WIDTH];
                    for (integer, &word) in integers.iter_mut().zip(words) {
                        *integer = ((word >> shift) & 15).cast_signed() - offset;
                    }
                    scale(&integers, scales, minima, out);
                }
            }
        }
    }

    /// Weights whose integers have eight bits: of 4 inputs × 32 outputs in 32 words, see the weights' layout.
    pub(super) fn unpack_eights<'a>(
        words: &'a [u32],
        group: usize,
        scales: &'a [f32],
        minima: &'a [f32],
        out: &'a mut [f32],
    ) -> () {
        let groups = words.chunks_exact(group / 4 * WIDTH).zip(out.chunks_exact_mut(group * WIDTH));
        let mut minima = minima.as_chunks::<WIDTH>().0.iter();
        for ((words, out), scales) in groups.zip(scales.as_chunks::<WIDTH>().0) {
            let minima = minima.next();
            let inputs = out.as_chunks_mut::<WIDTH>().0.chunks_exact_mut(4);
            for (words, out) in words.as_chunks::<WIDTH>().0.iter().zip(inputs) {
                for (input, out) in out.iter_mut().enumerate() {
                    let shift = 24 - 8 * input;
                    let mut integers = [0; WIDTH];
                    for (integer, &word) in integers.iter_mut().zip(words) {
                        *integer = (word << shift).cast_signed() >> 24;
                    }
                    scale(&integers, scales, minima, out);
                }
            }
        }
    }
}
