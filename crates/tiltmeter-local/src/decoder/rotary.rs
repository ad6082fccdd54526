//! Rotary position embedding (Su et al. 2021), on neighbouring pairs of values as GGUF's Llama files want it.

use std::f64::consts::TAU;

use super::config::{Config, RotaryScaling};
use crate::compute::{Panels, WIDTH, single};

/// Cosines and sines by position, computed as positions are met.
#[derive(Debug)]
pub(crate) struct Rotary {
    /// Radians for one position, by pair.
    frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by.
    amplitude: f64,
    /// (cosine, sine) by position and pair.
    table: Vec<(f32, f32)>,
}

impl Rotary {
    /// `factors` divide the frequencies, where the file has them.
    pub(crate) fn new(config: &Config, factors: Option<&[f32]>) -> Self {
        let frequency = |pair: usize| {
            let exponent = -2.0 * pair as f64 / config.rotated as f64;
            let factor =
                factors.and_then(|factors| factors.get(pair)).map_or(1.0, |&factor| f64::from(factor));
            scaled(config, pair, libm::pow(config.rotary_base, exponent)) / factor
        };
        let amplitude = match config.rotary_scaling {
            RotaryScaling::Yarn { amplitude, .. } => amplitude,
            _ => 1.0,
        };
        let frequencies = (0..config.rotated / 2).map(frequency).collect();
        Self { frequencies, amplitude, table: Vec::new() }
    }

    /// Makes the table long enough for positions below `positions`.
    pub(crate) fn prepare(&mut self, positions: usize) {
        let done = self.table.len() / self.frequencies.len().max(1);
        let amplitude = self.amplitude;
        let sized = |value: f64| single(amplitude * value);
        for position in done..positions {
            let angles = self.frequencies.iter().map(|frequency| frequency * position as f64);
            self.table.extend(angles.map(|angle| (sized(libm::cos(angle)), sized(libm::sin(angle)))));
        }
    }

    /// Rotates one panel of a head, the `part`-th, for rows at the given positions.
    pub(crate) fn rotate(&self, panel: &mut [f32], part: usize, positions: &[usize]) {
        let pairs = self.frequencies.len();
        let first = part * WIDTH / 2;
        for (run, &position) in panel.chunks_exact_mut(WIDTH).zip(positions) {
            let angles = self.table.iter().skip(position * pairs + first).take(pairs.saturating_sub(first));
            let (values, _) = run.as_chunks_mut::<2>();
            for (pair, &(cosine, sine)) in values.iter_mut().zip(angles) {
                let [a, b] = *pair;
                *pair = [a * cosine - b * sine, a * sine + b * cosine];
            }
        }
    }

    /// Rotates queries and keys, which are the first `heads` heads of `x`.
    pub(crate) fn rotate_heads(&self, x: &mut Panels, heads: usize, head_panels: usize, positions: &[usize]) {
        use rayon::prelude::*;
        let panels =
            x.panels_mut().take(heads * head_panels).with_min_len(if positions.len() < 32 { 64 } else { 1 });
        panels.enumerate().for_each(|(index, panel)| self.rotate(panel, index % head_panels, positions));
    }
}

/// The frequency of a pair, given the one of pretraining.
fn scaled(config: &Config, pair: usize, frequency: f64) -> f64 {
    match config.rotary_scaling {
        RotaryScaling::None => frequency,
        RotaryScaling::Linear { factor } => frequency / factor,
        RotaryScaling::Llama3 { factor, low, high, original } => {
            let turns = original * frequency / TAU;
            if turns < low {
                frequency / factor
            } else if turns > high {
                frequency
            } else {
                let kept = (turns - low) / (high - low).max(f64::MIN_POSITIVE);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
        RotaryScaling::Yarn { factor, fast, slow, original, .. } => {
            let last = config.rotated as f64 - 1.0;
            // The index of the pair that turns so many times within the original context.
            let index = |turns: f64| {
                let logarithm = libm::log(original / (turns * TAU));
                config.rotated as f64 * logarithm / (2.0 * libm::log(config.rotary_base))
            };
            let first = index(fast).floor().max(0.0);
            let end = index(slow).ceil().min(last);
            let ramp = ((pair as f64 - first) / (end - first).max(0.001)).clamp(0.0, 1.0);
            ramp * frequency / factor + (1.0 - ramp) * frequency
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Family, Pairs};
    use super::*;

    #[test]
    fn pairs_turn_by_their_own_angle() {
        let config = Config {
            family: Family::Llama,
            layers: 1,
            width: 8,
            heads: 1,
            key_value_heads: 1,
            head_width: 8,
            feed_forward: 8,
            vocabulary: 8,
            context: 8,
            epsilon: 1e-5,
            rotated: 4,
            rotary_base: 100.0,
            rotary_scaling: RotaryScaling::Linear { factor: 2.0 },
            pairs: Pairs::Neighbours,
        };
        let mut rotary = Rotary::new(&config, Some(&[1.0, 5.0]));
        rotary.prepare(7);
        let mut panel = vec![0.0; 2 * WIDTH];
        panel[WIDTH..WIDTH + 6].copy_from_slice(&[1.0, 0.0, 0.0, 2.0, 3.0, 4.0]);
        rotary.rotate(&mut panel, 0, &[0, 6]);
        // The first pair turns by 6 / 2, the second by 6 / 10 / 2 / 5; the third is not rotated.
        let (a, b) = (3.0_f64, 0.06_f64);
        let expected = [a.cos(), a.sin(), -2.0 * b.sin(), 2.0 * b.cos(), 3.0, 4.0];
        for (value, expected) in panel[WIDTH..].iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6, "{value} {expected}");
        }
    }
}
