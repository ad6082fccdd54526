//! Weights from a model's files, dequantised to single precision and laid out for the product.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::config::{Config, Family, OutputWeights, Pairs};
use super::heads::HeadNorms;
use super::rotary::Rotary;
use super::{Decoder, Layer};
use crate::compute::{WIDTH, Weights};
use crate::gguf::{GgufError, Kind, Tensors};

/// The output's weights, unless the embedding's serve.
const OUTPUT: &str = "output.weight";

/// Reads a model. Uses the current thread pool.
pub(crate) fn load(gguf: &dyn Tensors, config: Config) -> Result<Decoder, GgufError> {
    refuse_unknown_tensors(gguf, &config)?;
    let (width, vocabulary) = (config.width, config.vocabulary);
    let matrix = |name: &str, inputs: usize, outputs: usize| matrix(gguf, name, inputs, outputs);
    let embedding = matrix("token_embd.weight", width, vocabulary)?;
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

/// Bytes that the weights of a file will take.
pub(crate) fn weight_bytes(gguf: &dyn Tensors, config: &Config) -> u64 {
    config.weight_bytes(output_weights(gguf))
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
    let values = gguf.read(name, &[inputs, outputs])?;
    let mut weights = Weights::zeros(inputs, outputs);
    weights.set_rows(0, inputs, &values);
    Ok(weights)
}

fn layer(gguf: &dyn Tensors, config: &Config, index: usize) -> Result<Layer, GgufError> {
    let name = |part: &str| format!("blk.{index}.{part}.weight");
    let (width, hidden) = (config.width, config.feed_forward);
    // Memory is taken for what the file was found to hold, not for what its metadata claims.
    let read = |part: &str, heads: usize| gguf.read(&name(part), &[width, heads * config.head_width]);
    let queries = sorted(config, width, read("attn_q", config.heads)?);
    let keys = sorted(config, width, read("attn_k", config.key_value_heads)?);
    let values = read("attn_v", config.key_value_heads)?;
    // Heads start at panels of their own, so that their widths are padded.
    let padded = config.head_panels() * WIDTH;
    let mut attention_in = Weights::zeros(width, (config.heads + 2 * config.key_value_heads) * padded);
    let heads = [queries, keys, values];
    let heads = heads.iter().flat_map(|values| values.chunks_exact(config.head_width * width));
    for (index, head) in heads.enumerate() {
        attention_in.set_rows(index * padded, width, head);
    }
    let values = gguf.read(&name("attn_output"), &[config.heads * config.head_width, width])?;
    let mut attention_out = Weights::zeros(config.heads * padded, width);
    let mut row = vec![0.0; config.heads * padded];
    for (output, values) in values.chunks_exact(config.heads * config.head_width).enumerate() {
        for (slot, head) in row.chunks_exact_mut(padded).zip(values.chunks_exact(config.head_width)) {
            slot[..config.head_width].copy_from_slice(head);
        }
        attention_out.set_rows(output, row.len(), &row);
    }
    let (gate, up) =
        (gguf.read(&name("ffn_gate"), &[width, hidden])?, gguf.read(&name("ffn_up"), &[width, hidden])?);
    let mut gate_up = Weights::zeros(width, 2 * hidden.next_multiple_of(WIDTH));
    gate_up.set_rows(0, width, &gate);
    gate_up.set_rows(hidden.next_multiple_of(WIDTH), width, &up);
    Ok(Layer {
        attention_norm: gguf.read(&name("attn_norm"), &[width])?,
        attention_in,
        attention_bias: attention_bias(gguf, config, index)?,
        head_norms: head_norms(gguf, config, index)?,
        attention_out,
        feed_forward_norm: gguf.read(&name("ffn_norm"), &[width])?,
        gate_up,
        down: matrix(gguf, &name("ffn_down"), hidden, width)?,
    })
}

/// Brings the values that are rotated together side by side: the rows of each head, given row after row. Queries and
/// keys are sorted alike, so that their products stay what they are.
fn sorted(config: &Config, row: usize, values: Vec<f32>) -> Vec<f32> {
    if config.pairs == Pairs::Neighbours {
        return values;
    }
    let half = config.rotated / 2;
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(config.head_width * row) {
        for pair in 0..half {
            out.extend_from_slice(&head[pair * row..][..row]);
            out.extend_from_slice(&head[(half + pair) * row..][..row]);
        }
        out.extend_from_slice(&head[config.rotated * row..]);
    }
    out
}

/// Biases of queries, keys and values, each head padded to whole panels.
fn attention_bias(gguf: &dyn Tensors, config: &Config, index: usize) -> Result<Option<Vec<f32>>, GgufError> {
    if config.family != Family::Qwen2 {
        return Ok(None);
    }
    let read = |part: &str, heads: usize| {
        gguf.read(&format!("blk.{index}.{part}.bias"), &[heads * config.head_width])
    };
    let queries = sorted(config, 1, read("attn_q", config.heads)?);
    let keys = sorted(config, 1, read("attn_k", config.key_value_heads)?);
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
        Ok::<_, GgufError>(padded(config, &sorted(config, 1, gains)))
    };
    Ok(Some(HeadNorms { query: read("attn_q_norm")?, key: read("attn_k_norm")? }))
}

/// One head's values with zeros up to whole panels.
fn padded(config: &Config, head: &[f32]) -> Vec<f32> {
    let mut out = head.to_vec();
    out.resize(config.head_panels() * WIDTH, 0.0);
    out
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
        ["token_embd.weight", OUTPUT, "output_norm.weight", "rope_freqs.weight"].map(str::to_owned).into();
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
