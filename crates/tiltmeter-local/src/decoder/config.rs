//! The shape of a Llama-family model, as its file states it.

use super::key_values::KeyValuePrecision;
use crate::compute::{WIDTH, single};
use crate::gguf::{Gguf, GgufError};

/// Bounds of what is taken for a model at all; they keep products of sizes far from overflow.
const MOST_LAYERS: usize = 1_000;
const LARGEST_SIZE: usize = 1 << 20;
const LONGEST_CONTEXT: usize = 1 << 24;

/// Whether the output has weights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputWeights {
    /// It shares the embedding's.
    Shared,
    /// It has its own.
    Own,
}

/// Sizes and constants of the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
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
    /// Positions are divided by this.
    pub(crate) rotary_divisor: f64,
}

impl Config {
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Self, GgufError> {
        let architecture = gguf.text("general.architecture")?.unwrap_or("");
        if architecture != "llama" {
            let reason = format!("is `{architecture}`; models of the `llama` architecture are supported");
            return Err(GgufError::Metadata { key: "general.architecture".to_owned(), reason });
        }
        let size = |key: &str, most: usize| {
            let wrong = |reason: String| GgufError::Metadata { key: key.to_owned(), reason };
            match gguf.size(key)? {
                Some(size) if (1..=most).contains(&size) => Ok(Some(size)),
                Some(size) => Err(wrong(format!("is {size}; from 1 to {most} is supported"))),
                None => Ok(None),
            }
        };
        let needed = |key: &str, most: usize| {
            let missing = || GgufError::Metadata { key: key.to_owned(), reason: "is missing".to_owned() };
            size(key, most)?.ok_or_else(missing)
        };
        let positive = |key: &str, default: Option<f64>| {
            let wrong = |reason: &str| GgufError::Metadata { key: key.to_owned(), reason: reason.to_owned() };
            match gguf.number(key)?.or(default) {
                Some(number) if number > 0.0 && number.is_finite() => Ok(number),
                Some(_) => Err(wrong("is not a positive number")),
                None => Err(wrong("is missing")),
            }
        };
        let refuse = |key: &str, reason: String| Err(GgufError::Metadata { key: key.to_owned(), reason });

        let width = needed("llama.embedding_length", LARGEST_SIZE)?;
        let heads = needed("llama.attention.head_count", LARGEST_SIZE)?;
        let key_value_heads = size("llama.attention.head_count_kv", LARGEST_SIZE)?.unwrap_or(heads);
        if !heads.is_multiple_of(key_value_heads) {
            return refuse(
                "llama.attention.head_count_kv",
                format!("is {key_value_heads}, not a divisor of {heads}"),
            );
        }
        let head_width = match size("llama.attention.key_length", LARGEST_SIZE)? {
            Some(length) => length,
            None if width.is_multiple_of(heads) => width / heads,
            None => {
                return refuse("llama.attention.head_count", format!("is {heads}, not a divisor of {width}"));
            }
        };
        if heads * head_width > LARGEST_SIZE {
            return refuse(
                "llama.attention.key_length",
                format!("is {head_width}, too large for {heads} heads"),
            );
        }
        if let Some(length) = gguf.size("llama.attention.value_length")?
            && length != head_width
        {
            return refuse(
                "llama.attention.value_length",
                format!("is {length}, but keys have {head_width}"),
            );
        }
        let rotated = size("llama.rope.dimension_count", head_width)?.unwrap_or(head_width);
        if !rotated.is_multiple_of(2) {
            return refuse("llama.rope.dimension_count", format!("is {rotated}, not even"));
        }
        let rotary_divisor = match gguf.text("llama.rope.scaling.type")?.unwrap_or("none") {
            "none" => 1.0,
            "linear" => positive("llama.rope.scaling.factor", None)?,
            other => {
                return refuse(
                    "llama.rope.scaling.type",
                    format!("is `{other}`; none and linear are supported"),
                );
            }
        };
        if gguf.size("llama.expert_count")?.is_some_and(|experts| experts > 0) {
            return refuse(
                "llama.expert_count",
                "says that this is a mixture of experts, which is not supported".into(),
            );
        }
        let tokens = gguf.texts("tokenizer.ggml.tokens")?.map_or(0, <[String]>::len);
        let Some(vocabulary) = size("llama.vocab_size", 1 << 24)?.or((tokens > 0).then_some(tokens)) else {
            return refuse("tokenizer.ggml.tokens", "is missing".to_owned());
        };
        if tokens != vocabulary {
            return refuse(
                "llama.vocab_size",
                format!("is {vocabulary}, but the tokenizer has {tokens} tokens"),
            );
        }
        Ok(Self {
            layers: needed("llama.block_count", MOST_LAYERS)?,
            width,
            heads,
            key_value_heads,
            head_width,
            feed_forward: needed("llama.feed_forward_length", LARGEST_SIZE)?,
            vocabulary,
            context: needed("llama.context_length", LONGEST_CONTEXT)?,
            epsilon: single(positive("llama.attention.layer_norm_rms_epsilon", None)?),
            rotated,
            rotary_base: positive("llama.rope.freq_base", Some(10_000.0))?,
            rotary_divisor,
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
