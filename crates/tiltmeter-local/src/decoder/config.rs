//! The shape of a model of the Llama or Qwen families, as its GGUF file states it.

use super::key_values::KeyValuePrecision;
use crate::compute::{WIDTH, single};
use crate::gguf::{Gguf, GgufError};

/// Bounds of what is taken for a model at all; they keep products of sizes far from overflow.
pub(super) const MOST_LAYERS: usize = 1_000;
pub(super) const LARGEST_SIZE: usize = 1 << 20;
pub(super) const LONGEST_CONTEXT: usize = 1 << 24;
pub(super) const LARGEST_VOCABULARY: usize = 1 << 24;

/// Whether the output has weights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputWeights {
    /// It shares the embedding's.
    Shared,
    /// It has its own.
    Own,
}

/// A family of models: what is computed differs in details only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Llama 1 to 3, and what is built like it, such as SmolLM2.
    Llama,
    /// Qwen 2 and 2.5: queries, keys and values have biases.
    Qwen2,
    /// Qwen 3: each head's query and key is normed.
    Qwen3,
}

impl Family {
    /// The family of an architecture's name, which GGUF files and hubs' configurations share.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Llama, Self::Qwen2, Self::Qwen3].into_iter().find(|family| family.name() == name)
    }

    /// The architecture's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// How a head's values make the pairs that are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// Neighbours: what files of Llama are sorted for when they are converted to GGUF.
    Neighbours,
    /// The first half with the second, as published; sorted to neighbours when loaded.
    Halves,
}

/// How positions beyond those of pretraining are reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RotaryScaling {
    /// They are not.
    None,
    /// Positions are divided (Chen et al. 2023).
    Linear {
        /// By this.
        factor: f64,
    },
    /// Slow frequencies are divided, fast ones are not (Llama 3.1, Grattafiori et al. 2024).
    Llama3 {
        /// What slow ones are divided by.
        factor: f64,
        /// Those with fewer turns than this within the original context are slow.
        low: f64,
        /// Those with more turns than this within the original context are fast.
        high: f64,
        /// Positions of pretraining.
        original: f64,
    },
    /// The same with a linear ramp over the index of the frequency, and sharper attention (`YaRN`, Peng et al. 2023).
    Yarn {
        /// What slow ones are divided by.
        factor: f64,
        /// Turns within the original context above which frequencies stay.
        fast: f64,
        /// Turns within the original context below which frequencies are divided.
        slow: f64,
        /// Positions of pretraining.
        original: f64,
        /// Queries and keys are multiplied by this.
        amplitude: f64,
    },
}

impl RotaryScaling {
    /// `YaRN`'s multiplier of queries and keys: 0.1 ln s + 1 (Peng et al. 2023, equation 22).
    pub(crate) fn yarn_amplitude(factor: f64) -> f64 {
        if factor > 1.0 { 0.1 * libm::log(factor) + 1.0 } else { 1.0 }
    }

    /// The longest context, given what the file says of it.
    pub(crate) fn context(self, stated: usize) -> usize {
        match self {
            // What is stated is often that of pretraining.
            Self::Yarn { factor, original, .. } => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "positive, and bounded before"
                )]
                let stretched = (factor * original).clamp(1.0, LONGEST_CONTEXT as f64) as usize;
                stated.max(stretched)
            }
            _ => stated,
        }
    }
}

/// Sizes and constants of the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    pub(crate) rotated: usize,
    pub(crate) rotary_base: f64,
    pub(crate) rotary_scaling: RotaryScaling,
    /// How the file's queries and keys are sorted.
    pub(crate) pairs: Pairs,
}

/// What a file says of heads, to be checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads<'a> {
    /// Of the residual stream.
    pub(super) width: usize,
    /// Each number with the name of its entry.
    pub(super) queries: (usize, &'a str),
    pub(super) key_values: (Option<usize>, &'a str),
    pub(super) length: (Option<usize>, &'a str),
}

impl Heads<'_> {
    /// Query heads, key-value heads and their width.
    pub(super) fn checked(self) -> Result<(usize, usize, usize), GgufError> {
        let heads = self.queries.0;
        let key_value_heads = self.key_values.0.unwrap_or(heads);
        if !heads.is_multiple_of(key_value_heads) {
            return refuse(self.key_values.1, format!("is {key_value_heads}, not a divisor of {heads}"));
        }
        let head_width = match self.length.0 {
            Some(length) => length,
            None if self.width.is_multiple_of(heads) => self.width / heads,
            None => return refuse(self.queries.1, format!("is {heads}, not a divisor of {}", self.width)),
        };
        if heads.saturating_mul(head_width) > LARGEST_SIZE {
            return refuse(self.length.1, format!("is {head_width}, too large for {heads} heads"));
        }
        Ok((heads, key_value_heads, head_width))
    }
}

/// An error about an entry.
pub(super) fn refuse<T>(key: &str, reason: String) -> Result<T, GgufError> {
    Err(GgufError::Metadata { key: key.to_owned(), reason })
}

/// Entries of one architecture.
struct Entries<'a> {
    gguf: &'a Gguf,
    family: Family,
}

impl Entries<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.name())
    }

    fn size(&self, name: &str, most: usize) -> Result<Option<usize>, GgufError> {
        let key = self.key(name);
        match self.gguf.size(&key)? {
            Some(size) if (1..=most).contains(&size) => Ok(Some(size)),
            Some(size) => refuse(&key, format!("is {size}; from 1 to {most} is supported")),
            None => Ok(None),
        }
    }

    fn needed(&self, name: &str, most: usize) -> Result<usize, GgufError> {
        match self.size(name, most)? {
            Some(size) => Ok(size),
            None => refuse(&self.key(name), "is missing".to_owned()),
        }
    }

    fn positive(&self, name: &str, default: Option<f64>) -> Result<f64, GgufError> {
        let key = self.key(name);
        match self.gguf.number(&key)?.or(default) {
            Some(number) if number > 0.0 && number.is_finite() => Ok(number),
            Some(_) => refuse(&key, "is not a positive number".to_owned()),
            None => refuse(&key, "is missing".to_owned()),
        }
    }

    fn scaling(&self) -> Result<RotaryScaling, GgufError> {
        let key = self.key("rope.scaling.type");
        Ok(match self.gguf.text(&key)?.unwrap_or("none") {
            "none" => RotaryScaling::None,
            "linear" => RotaryScaling::Linear { factor: self.positive("rope.scaling.factor", None)? },
            "yarn" => {
                let factor = self.positive("rope.scaling.factor", None)?;
                let context = self.needed("context_length", LONGEST_CONTEXT)?;
                let original = self.size("rope.scaling.original_context_length", LONGEST_CONTEXT)?;
                let sharper = self.positive("rope.scaling.attn_factor", Some(1.0))?;
                RotaryScaling::Yarn {
                    factor,
                    fast: self.positive("rope.scaling.yarn_beta_fast", Some(32.0))?,
                    slow: self.positive("rope.scaling.yarn_beta_slow", Some(1.0))?,
                    original: original.unwrap_or(context) as f64,
                    amplitude: sharper * RotaryScaling::yarn_amplitude(factor),
                }
            }
            other => {
                return refuse(&key, format!("is `{other}`; none, linear and yarn are supported"));
            }
        })
    }
}

impl Config {
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Self, GgufError> {
        let architecture = gguf.text("general.architecture")?.unwrap_or("");
        let Some(family) = Family::of(architecture) else {
            let reason = format!("is `{architecture}`; llama, qwen2 and qwen3 are supported");
            return refuse("general.architecture", reason);
        };
        let entries = Entries { gguf, family };
        let width = entries.needed("embedding_length", LARGEST_SIZE)?;
        let (heads, key_value_heads, head_width) = Heads {
            width,
            queries: (
                entries.needed("attention.head_count", LARGEST_SIZE)?,
                &entries.key("attention.head_count"),
            ),
            key_values: (
                entries.size("attention.head_count_kv", LARGEST_SIZE)?,
                &entries.key("attention.head_count_kv"),
            ),
            length: (
                entries.size("attention.key_length", LARGEST_SIZE)?,
                &entries.key("attention.key_length"),
            ),
        }
        .checked()?;
        let value_length = entries.key("attention.value_length");
        if let Some(length) = gguf.size(&value_length)?
            && length != head_width
        {
            return refuse(&value_length, format!("is {length}, but keys have {head_width}"));
        }
        let rotated = entries.size("rope.dimension_count", head_width)?.unwrap_or(head_width);
        if !rotated.is_multiple_of(2) {
            return refuse(&entries.key("rope.dimension_count"), format!("is {rotated}, not even"));
        }
        for (name, what) in [
            ("expert_count", "a mixture of experts"),
            ("attention.sliding_window", "a model with sliding windows of attention"),
        ] {
            let key = entries.key(name);
            if gguf.size(&key)?.is_some_and(|count| count > 0) {
                return refuse(&key, format!("says that this is {what}, which is not supported"));
            }
        }
        let tokens = gguf.texts("tokenizer.ggml.tokens")?.map_or(0, <[String]>::len);
        let vocabulary = match entries.size("vocab_size", LARGEST_VOCABULARY)? {
            Some(size) => size,
            None if tokens > 0 => tokens,
            None => return refuse("tokenizer.ggml.tokens", "is missing".to_owned()),
        };
        if tokens != vocabulary {
            let reason = format!("is {vocabulary}, but the tokenizer has {tokens} tokens");
            return refuse(&entries.key("vocab_size"), reason);
        }
        let rotary_scaling = entries.scaling()?;
        Ok(Self {
            family,
            layers: entries.needed("block_count", MOST_LAYERS)?,
            width,
            heads,
            key_value_heads,
            head_width,
            feed_forward: entries.needed("feed_forward_length", LARGEST_SIZE)?,
            vocabulary,
            context: rotary_scaling.context(entries.needed("context_length", LONGEST_CONTEXT)?),
            epsilon: single(entries.positive("attention.layer_norm_rms_epsilon", None)?),
            rotated,
            rotary_base: entries.positive("rope.freq_base", Some(10_000.0))?,
            rotary_scaling,
            pairs: if family == Family::Llama { Pairs::Neighbours } else { Pairs::Halves },
        })
    }

    /// Panels of one head: its width in units of 32, rounded up.
    pub(crate) fn head_panels(&self) -> usize {
        self.head_width.div_ceil(WIDTH)
    }

    /// Query heads that share a key-value head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.key_value_heads
    }

    /// Bytes of keys and values of one token.
    pub(crate) fn key_value_bytes(&self, precision: KeyValuePrecision) -> u64 {
        let runs = 2 * self.layers * self.key_value_heads * self.head_panels();
        runs as u64 * precision.run_bytes()
    }
}
