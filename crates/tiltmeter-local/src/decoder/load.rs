//! Weights from a GGUF file, laid out for the product.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::config::{Config, OutputWeights};
use super::rotary::Rotary;
use super::{Decoder, Layer};
use crate::compute::{WIDTH, Weights, panel_bytes};
use crate::gguf::{Gguf, GgufError, Kind, Numbers};

/// The output's weights, unless the embedding's serve.
const OUTPUT: &str = "output.weight";

const EMBEDDING: &str = "token_embd.weight";

/// Reads a model. Uses the current thread pool.
pub(crate) fn load(gguf: &Gguf, config: Config) -> Result<Decoder, GgufError> {
    refuse_unknown_tensors(gguf, &config)?;
    let (width, vocabulary) = (config.width, config.vocabulary);
    let matrix = |name: &str, inputs: usize, outputs: usize| matrix(gguf, name, inputs, outputs);
    let embedding = matrix(EMBEDDING, width, vocabulary)?;
    let output = match output_weights(gguf) {
        OutputWeights::Own => Some(matrix(OUTPUT, width, vocabulary)?),
        OutputWeights::Shared => None,
    };
    let factors = match gguf.tensor("rope_freqs.weight") {
        Some(_) => Some(gguf.read("rope_freqs.weight", &[config.rotated / 2])?),
        None => None,
    };
    if let Some(factors) = &factors
        && !factors.iter().all(|factor| factor.is_finite() && *factor > 0.0)
    {
        let reason = "holds factors that are not positive numbers".to_owned();
        return Err(GgufError::Tensor { name: "rope_freqs.weight".to_owned(), reason });
    }
    let layers = (0..config.layers)
        .into_par_iter()
        .map(|index| layer(gguf, &config, index))
        .collect::<Result<_, _>>()?;
    Ok(Decoder {
        rotary: Rotary::new(&config, factors.as_deref()),
        norm: gguf.read("output_norm.weight", &[width])?,
        config,
        embedding,
        output,
        layers,
    })
}

/// Bytes that the weights of a file will take once they are loaded, which padding to whole panels makes more than
/// those of the numbers in the file: by a factor of hundreds where a hostile file has heads of one value.
pub(crate) fn weight_bytes(gguf: &Gguf, config: &Config) -> u64 {
    let (width, hidden, padded) = (config.width, config.feed_forward, config.head_panels() * WIDTH);
    // A tensor that is missing is refused when it is read.
    let kind = |name: &str| gguf.tensor(name).map_or(Kind::F32, |tensor| tensor.kind);
    let bytes = |kind: Kind, inputs: usize, outputs: usize| {
        outputs.div_ceil(WIDTH) as u64 * panel_bytes(kind, inputs)
    };
    let layer = |index: usize| {
        let kind = |part: &str| kind(&format!("blk.{index}.{part}.weight"));
        let out = if config.head_width == padded { kind("attn_output") } else { Kind::F32 };
        bytes(kind("attn_q"), width, config.heads * padded)
            + bytes(kind("attn_k"), width, config.key_value_heads * padded)
            + bytes(kind("attn_v"), width, config.key_value_heads * padded)
            + bytes(out, config.heads * padded, width)
            + bytes(kind("ffn_gate"), width, hidden)
            + bytes(kind("ffn_up"), width, hidden)
            + bytes(kind("ffn_down"), hidden, width)
            + 2 * (width * size_of::<f32>()) as u64
    };
    let ends = match output_weights(gguf) {
        OutputWeights::Own => bytes(kind(OUTPUT), width, config.vocabulary),
        OutputWeights::Shared => 0,
    };
    let embedding = bytes(kind(EMBEDDING), width, config.vocabulary);
    let norm = (width * size_of::<f32>()) as u64;
    (0..config.layers).map(layer).sum::<u64>() + embedding + ends + norm
}

fn output_weights(gguf: &Gguf) -> OutputWeights {
    if gguf.tensor(OUTPUT).is_some() { OutputWeights::Own } else { OutputWeights::Shared }
}

/// The number of weights, and the kind of number that most of them are stored as.
pub(crate) fn census(gguf: &Gguf) -> (u64, Kind) {
    let mut by_kind: Vec<(Kind, u64)> = Vec::new();
    for (_, tensor) in gguf.tensors() {
        let elements = tensor.elements() as u64;
        match by_kind.iter_mut().find(|(kind, _)| *kind == tensor.kind) {
            Some((_, count)) => *count += elements,
            None => by_kind.push((tensor.kind, elements)),
        }
    }
    let most = by_kind.iter().max_by_key(|(_, count)| *count).map_or(Kind::F32, |(kind, _)| *kind);
    (by_kind.iter().map(|(_, count)| count).sum(), most)
}

fn matrix(gguf: &Gguf, name: &str, inputs: usize, outputs: usize) -> Result<Weights, GgufError> {
    let mut weights = Weights::new(inputs);
    weights.push(&gguf.numbers(name, &[inputs, outputs])?, inputs, 0..outputs);
    Ok(weights)
}

fn layer(gguf: &Gguf, config: &Config, index: usize) -> Result<Layer, GgufError> {
    let name = |part: &str| format!("blk.{index}.{part}.weight");
    let (width, hidden) = (config.width, config.feed_forward);
    // Memory is taken for what the file was found to hold, not for what its metadata claims.
    let read = |part: &str, heads: usize| gguf.numbers(&name(part), &[width, heads * config.head_width]);
    let mut attention_in = Weights::new(width);
    for (part, heads) in
        [("attn_q", config.heads), ("attn_k", config.key_value_heads), ("attn_v", config.key_value_heads)]
    {
        let numbers = read(part, heads)?;
        for head in 0..heads {
            // Heads start at panels of their own, so that their widths are padded.
            let rows = head * config.head_width..(head + 1) * config.head_width;
            attention_in.push(&numbers, width, rows);
        }
    }
    let mut gate_up = Weights::new(width);
    for part in ["ffn_gate", "ffn_up"] {
        gate_up.push(&gguf.numbers(&name(part), &[width, hidden])?, width, 0..hidden);
    }
    Ok(Layer {
        attention_norm: gguf.read(&name("attn_norm"), &[width])?,
        attention_in,
        attention_out: attention_out(gguf, config, &name("attn_output"))?,
        feed_forward_norm: gguf.read(&name("ffn_norm"), &[width])?,
        gate_up,
        down: matrix(gguf, &name("ffn_down"), hidden, width)?,
    })
}

/// The matrix behind attention, whose inputs are padded head by head.
fn attention_out(gguf: &Gguf, config: &Config, name: &str) -> Result<Weights, GgufError> {
    let (inputs, padded) = (config.heads * config.head_width, config.head_panels() * WIDTH);
    if config.head_width == padded {
        return matrix(gguf, name, inputs, config.width);
    }
    // The groups that share a scale do not end with the heads.
    let values = gguf.read(name, &[inputs, config.width])?;
    let mut rows = vec![0.0; config.width * config.heads * padded];
    for (slot, head) in rows.chunks_exact_mut(padded).zip(values.chunks_exact(config.head_width)) {
        slot[..config.head_width].copy_from_slice(head);
    }
    let mut weights = Weights::new(config.heads * padded);
    weights.push(&Numbers::Single(rows), config.heads * padded, 0..config.width);
    Ok(weights)
}

/// A tensor that is not used, such as a bias, would make the results silently wrong.
fn refuse_unknown_tensors(gguf: &Gguf, config: &Config) -> Result<(), GgufError> {
    let parts = [
        "attn_norm",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let mut known: BTreeSet<String> =
        [EMBEDDING, OUTPUT, "output_norm.weight", "rope_freqs.weight"].map(str::to_owned).into();
    for layer in 0..config.layers {
        known.extend(parts.iter().map(|part| format!("blk.{layer}.{part}.weight")));
    }
    match gguf.tensors().find(|(name, _)| !known.contains(*name)) {
        Some((name, _)) => {
            let reason = "is not part of a plain Llama model; this variant is not supported".to_owned();
            Err(GgufError::Tensor { name: name.to_owned(), reason })
        }
        None => Ok(()),
    }
}
