//! Weights from a model's files, laid out for the product.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::config::{Config, Family, OutputWeights, Pairs};
use super::heads::HeadNorms;
use super::rotary::Rotary;
use super::{Decoder, Layer};
use crate::compute::{WIDTH, Weights, panel_bytes};
use crate::gguf::{GgufError, Kind, Numbers, Tensors};

/// The output's weights, unless the embedding's serve.
const OUTPUT: &str = "output.weight";

const EMBEDDING: &str = "token_embd.weight";

/// Reads a model. Uses the current thread pool.
pub(crate) fn load(gguf: &dyn Tensors, config: Config) -> Result<Decoder, GgufError> {
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
pub(crate) fn weight_bytes(gguf: &dyn Tensors, config: &Config) -> u64 {
    let (width, hidden, padded) = (config.width, config.feed_forward, config.head_panels() * WIDTH);
    // A tensor that is missing is refused when it is read.
    let kind = |name: &str| gguf.tensor(name).map_or(Kind::F32, |tensor| tensor.kind);
    let bytes = |kind: Kind, inputs: usize, outputs: usize| {
        outputs.div_ceil(WIDTH) as u64 * panel_bytes(kind, inputs)
    };
    let gains = match config.family {
        Family::Llama => 0,
        Family::Qwen2 => (config.heads + 2 * config.key_value_heads) * padded,
        Family::Qwen3 => 2 * padded,
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
            + ((2 * width + gains) * size_of::<f32>()) as u64
    };
    let ends = match output_weights(gguf) {
        OutputWeights::Own => bytes(kind(OUTPUT), width, config.vocabulary),
        OutputWeights::Shared => 0,
    };
    let embedding = bytes(kind(EMBEDDING), width, config.vocabulary);
    let norm = (width * size_of::<f32>()) as u64;
    (0..config.layers).map(layer).sum::<u64>() + embedding + ends + norm
}

fn output_weights(gguf: &dyn Tensors) -> OutputWeights {
    if gguf.tensor(OUTPUT).is_some() { OutputWeights::Own } else { OutputWeights::Shared }
}

/// The number of weights, and the kind of number that most of them are stored as.
pub(crate) fn census(gguf: &dyn Tensors) -> (u64, Kind) {
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

fn matrix(gguf: &dyn Tensors, name: &str, inputs: usize, outputs: usize) -> Result<Weights, GgufError> {
    let mut weights = Weights::new(inputs);
    weights.push(&gguf.numbers(name, &[inputs, outputs])?, inputs, 0..outputs);
    Ok(weights)
}

fn layer(gguf: &dyn Tensors, config: &Config, index: usize) -> Result<Layer, GgufError> {
    let name = |part: &str| format!("blk.{index}.{part}.weight");
    let (width, hidden) = (config.width, config.feed_forward);
    // Memory is taken for what the file was found to hold, not for what its metadata claims.
    let read = |part: &str, heads: usize| gguf.numbers(&name(part), &[width, heads * config.head_width]);
    let mut attention_in = Weights::new(width);
    for (part, heads, is_rotated) in [
        ("attn_q", config.heads, true),
        ("attn_k", config.key_value_heads, true),
        ("attn_v", config.key_value_heads, false),
    ] {
        let numbers = read(part, heads)?;
        for head in 0..heads {
            // Heads start at panels of their own, so that their widths are padded.
            let first = head * config.head_width;
            let rows = if is_rotated { rotated_order(config) } else { (0..config.head_width).collect() };
            attention_in.push(&numbers, width, rows.into_iter().map(|row| first + row));
        }
    }
    let mut gate_up = Weights::new(width);
    for part in ["ffn_gate", "ffn_up"] {
        gate_up.push(&gguf.numbers(&name(part), &[width, hidden])?, width, 0..hidden);
    }
    Ok(Layer {
        attention_norm: gguf.read(&name("attn_norm"), &[width])?,
        attention_in,
        attention_bias: attention_bias(gguf, config, index)?,
        head_norms: head_norms(gguf, config, index)?,
        attention_out: attention_out(gguf, config, &name("attn_output"))?,
        feed_forward_norm: gguf.read(&name("ffn_norm"), &[width])?,
        gate_up,
        down: matrix(gguf, &name("ffn_down"), hidden, width)?,
    })
}

/// The rows of a head of queries or keys, those that are rotated together side by side. Queries and keys are sorted
/// alike, so that their products stay what they are.
fn rotated_order(config: &Config) -> Vec<usize> {
    if config.pairs == Pairs::Neighbours {
        return (0..config.head_width).collect();
    }
    let half = config.rotated / 2;
    (0..half).flat_map(|pair| [pair, half + pair]).chain(config.rotated..config.head_width).collect()
}

/// The values of heads of queries or keys, in the order of [`rotated_order`].
fn sorted(config: &Config, values: &[f32]) -> Vec<f32> {
    let order = rotated_order(config);
    let heads = values.chunks_exact(config.head_width);
    heads.flat_map(|head| order.iter().map(|&row| head[row])).collect()
}

/// Biases of queries, keys and values, each head padded to whole panels.
fn attention_bias(gguf: &dyn Tensors, config: &Config, index: usize) -> Result<Option<Vec<f32>>, GgufError> {
    if config.family != Family::Qwen2 {
        return Ok(None);
    }
    let read = |part: &str, heads: usize| {
        gguf.read(&format!("blk.{index}.{part}.bias"), &[heads * config.head_width])
    };
    let queries = sorted(config, &read("attn_q", config.heads)?);
    let keys = sorted(config, &read("attn_k", config.key_value_heads)?);
    let values = read("attn_v", config.key_value_heads)?;
    let heads = [queries, keys, values];
    let heads = heads.iter().flat_map(|values| values.chunks_exact(config.head_width));
    Ok(Some(heads.flat_map(|head| padded(config, head)).collect()))
}

/// Gains of the norms of queries and keys.
fn head_norms(gguf: &dyn Tensors, config: &Config, index: usize) -> Result<Option<HeadNorms>, GgufError> {
    if config.family != Family::Qwen3 {
        return Ok(None);
    }
    let read = |part: &str| {
        let gains = gguf.read(&format!("blk.{index}.{part}.weight"), &[config.head_width])?;
        Ok::<_, GgufError>(padded(config, &sorted(config, &gains)))
    };
    Ok(Some(HeadNorms { query: read("attn_q_norm")?, key: read("attn_k_norm")? }))
}

/// One head's values with zeros up to whole panels.
fn padded(config: &Config, head: &[f32]) -> Vec<f32> {
    let mut out = head.to_vec();
    out.resize(config.head_panels() * WIDTH, 0.0);
    out
}

/// The matrix behind attention, whose inputs are padded head by head.
fn attention_out(gguf: &dyn Tensors, config: &Config, name: &str) -> Result<Weights, GgufError> {
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
fn refuse_unknown_tensors(gguf: &dyn Tensors, config: &Config) -> Result<(), GgufError> {
    let mut parts = vec![
        "attn_norm.weight",
        "attn_q.weight",
        "attn_k.weight",
        "attn_v.weight",
        "attn_output.weight",
        "ffn_norm.weight",
        "ffn_gate.weight",
        "ffn_up.weight",
        "ffn_down.weight",
    ];
    parts.extend(match config.family {
        Family::Llama => [].as_slice(),
        Family::Qwen2 => &["attn_q.bias", "attn_k.bias", "attn_v.bias"],
        Family::Qwen3 => &["attn_q_norm.weight", "attn_k_norm.weight"],
    });
    let mut known: BTreeSet<String> =
        [EMBEDDING, OUTPUT, "output_norm.weight", "rope_freqs.weight"].map(str::to_owned).into();
    for layer in 0..config.layers {
        known.extend(parts.iter().map(|part| format!("blk.{layer}.{part}")));
    }
    match gguf.tensors().into_iter().find(|(name, _)| !known.contains(*name)) {
        Some((name, _)) => {
            let reason = format!(
                "is not part of a plain {} model; this variant is not supported",
                config.family.name()
            );
            Err(GgufError::Tensor { name: name.to_owned(), reason })
        }
        None => Ok(()),
    }
}
