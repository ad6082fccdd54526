//! Draws tokens, and tells when an answer ends.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tiltmeter_models::{ErrorKind, ModelError, TokenAlternatives, TokenLogProbability};

use crate::compute::{log_sum_exp, tempered_exponentials};
use crate::text::Vocabulary;

/// Draws one sequence's tokens with a generator of its own.
#[derive(Debug)]
pub(super) struct Sampler {
    generator: ChaCha8Rng,
    temperature: f64,
}

impl Sampler {
    pub(super) fn new(seed: u64, temperature: f64) -> Self {
        Self { generator: ChaCha8Rng::seed_from_u64(seed), temperature }
    }

    /// Draws a token from the whole distribution; the likeliest at temperature 0, of equal ones the first.
    pub(super) fn draw(&mut self, logits: &[f32]) -> Result<u32, ModelError> {
        if logits.is_empty() || !logits.iter().all(|logit| logit.is_finite()) {
            return Err(not_a_number());
        }
        let index = if self.temperature > 0.0 { self.draw_index(logits) } else { likeliest(logits) };
        u32::try_from(index).map_err(|_| not_a_number())
    }

    fn draw_index(&mut self, logits: &[f32]) -> usize {
        let weights = tempered_exponentials(logits, self.temperature);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        // 53 random bits: a number from 0 to just below 1.
        let uniform = (self.generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let target = uniform * total;
        let mut sum = 0.0;
        for (index, &weight) in weights.iter().enumerate() {
            sum += f64::from(weight);
            if sum > target {
                return index;
            }
        }
        likeliest(logits)
    }
}

fn likeliest(logits: &[f32]) -> usize {
    let better = |best: usize, next: usize| if logits[next] > logits[best] { next } else { best };
    (0..logits.len()).reduce(better).unwrap_or(0)
}

fn not_a_number() -> ModelError {
    ModelError::new(
        ErrorKind::Local,
        "the model computed something that is not a number; its weights may be damaged",
    )
}

/// The natural log-probability of one token.
pub(super) fn log_probability(logits: &[f32], token: u32) -> Result<f64, ModelError> {
    let total = log_sum_exp(logits);
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NAN);
    let value = f64::from(logit) - total;
    // Rounding may lift a certain token above 0.
    if value.is_finite() { Ok(value.min(0.0)) } else { Err(not_a_number()) }
}

/// The drawn token and the likeliest ones, with log-probabilities at temperature 1.
pub(super) fn alternatives(
    logits: &[f32],
    chosen: u32,
    count: u8,
    vocabulary: &Vocabulary,
) -> Result<TokenAlternatives, ModelError> {
    let entry = |token: u32| {
        let log_probability = log_probability(logits, token)?;
        Ok::<_, ModelError>(TokenLogProbability { token: vocabulary.shown(token), log_probability })
    };
    let top = ordered(logits, count.into()).into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(TokenAlternatives { chosen: entry(chosen)?, top })
}

/// The likeliest tokens, likeliest first, of equal ones the first: up to so many.
pub(super) fn ordered(logits: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0_u32..).zip(logits).map(|(token, _)| token).collect();
    let likelier = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
    let count = count.min(order.len());
    if count > 0 {
        order.select_nth_unstable_by(count - 1, likelier);
    }
    order.truncate(count);
    order.sort_by(likelier);
    order
}

/// An answer's text as it grows.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    stops: Vec<String>,
}

impl Answer {
    /// Empty stop texts are left out: they would end every answer at once.
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { bytes: Vec::new(), stops }
    }

    /// Adds a token's bytes. True where a stop text is met: the answer then ends before it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = (self.bytes.len() + 1).saturating_sub(longest);
        self.bytes.extend(bytes);
        let tail = &self.bytes[from.min(self.bytes.len())..];
        let find = |stop: &String| tail.windows(stop.len()).position(|window| window == stop.as_bytes());
        match self.stops.iter().filter_map(find).min() {
            Some(at) => {
                self.bytes.truncate(from + at);
                true
            }
            None => false,
        }
    }

    /// The text from a byte on that will stay as it is, and the byte up to which it goes: whole characters, and before
    /// the end of the answer nothing that a stop text may begin with.
    pub(super) fn settled(&self, from: usize, is_over: bool) -> (String, usize) {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let held = if is_over { 0 } else { longest.saturating_sub(1) };
        let mut end = self.bytes.len().saturating_sub(held).max(from);
        let is_inside = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        // Back to where a character starts, if the rest of it is not there yet.
        if !is_over {
            let start = (from..end).rev().find(|&at| !is_inside(&self.bytes[at])).unwrap_or(from);
            let missing =
                std::str::from_utf8(&self.bytes[start..end]).is_err_and(|error| error.error_len().is_none());
            let is_cut = self.bytes.get(end).is_some_and(is_inside);
            if missing || is_cut {
                end = start;
            }
        }
        let text = self.bytes.get(from..end).unwrap_or_default();
        (String::from_utf8_lossy(text).into_owned(), end)
    }

    /// Its bytes so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text. A character that the answer was cut in becomes U+FFFD.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::single;

    #[test]
    fn draws_follow_the_distribution() {
        let logits: Vec<f32> = [0.5_f64, 0.25, 0.125, 0.125].iter().map(|p| single(p.ln())).collect();
        let mut sampler = Sampler::new(7, 1.0);
        let mut counts = [0_u32; 4];
        for _ in 0..8_000 {
            counts[sampler.draw(&logits).unwrap() as usize] += 1;
        }
        // Five standard deviations.
        for (count, (expected, deviation)) in
            counts.into_iter().zip([(4000, 224), (2000, 194), (1000, 148), (1000, 148)])
        {
            assert!(count.abs_diff(expected) < deviation, "{counts:?}");
        }
        let draws = |seed, temperature| {
            let mut sampler = Sampler::new(seed, temperature);
            (0..50).map(|_| sampler.draw(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1, 1.0), draws(1, 1.0));
        assert_ne!(draws(1, 1.0), draws(2, 1.0));
        for temperature in [0.0, 1e-300, 1e-3] {
            assert_eq!(draws(1, temperature), [0; 50], "{temperature}");
        }
        assert!(draws(1, 1e300).contains(&3));
        for broken in [f32::NAN, f32::INFINITY] {
            assert_eq!(sampler.draw(&[0.0, broken]).unwrap_err().kind, ErrorKind::Local);
        }
    }

    #[test]
    fn answers_end_before_stop_texts() {
        let stops = ["### Prompt:".to_owned(), String::new(), "né".to_owned()];
        let cases: [(&[&[u8]], &str, bool); 6] = [
            (&[b"abc", b"def"], "abcdef", false),
            (&[b"abc\n##", b"# Pro", b"mpt: next"], "abc\n", true),
            (&[b"### Prompt:"], "", true),
            (&[b"## Prompt:", b"### Prompt"], "## Prompt:### Prompt", false),
            (&[b"n", &[0xc3], &[0xa9, b'x']], "", true),
            (&[b"a", &[0xc3]], "a\u{fffd}", false),
        ];
        for (pieces, expected, stopped) in cases {
            let mut answer = Answer::new(&stops);
            let met = pieces.iter().any(|piece| answer.push(piece));
            assert_eq!((answer.text().as_str(), met), (expected, stopped));
        }
    }

    #[test]
    fn an_answer_is_cut_the_same_wherever_tokens_end() {
        let stops = ["STOP".to_owned(), "OPEN".to_owned()];
        let text = b"one STOPEN two";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut answer = Answer::new(&stops);
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert!(pieces.into_iter().any(|piece| answer.push(piece)));
                assert_eq!(answer.text(), "one ");
            }
        }
    }
}
