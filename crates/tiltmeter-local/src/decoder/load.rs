//! Weights from a GGUF file, dequantised to single precision and laid out for the product.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::config::{Config, OutputWeights};
use super::rotary::Rotary;
use super::{Decoder, Layer};
use crate::compute::{WIDTH, Weights};
use crate::gguf::{Gguf, GgufError, Kind};

/// The output's weights, unless the embedding's serve.
const OUTPUT: &str = "output.weight";

/// Reads a model. Uses the current thread pool.
pub(crate) fn load(gguf: &Gguf, config: Config) -> Result<Decoder, GgufError> {
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
pub(crate) fn weight_bytes(gguf: &Gguf, config: &Config) -> u64 {
    config.weight_bytes(output_weights(gguf))
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
    let values = gguf.read(name, &[inputs, outputs])?;
    let mut weights = Weights::zeros(inputs, outputs);
    weights.set_rows(0, inputs, &values);
    Ok(weights)
}

fn layer(gguf: &Gguf, config: &Config, index: usize) -> Result<Layer, GgufError> {
    let name = |part: &str| format!("blk.{index}.{part}.weight");
    let (width, hidden) = (config.width, config.feed_forward);
    // Memory is taken for what the file was found to hold, not for what its metadata claims.
    let read = |part: &str, heads: usize| gguf.read(&name(part), &[width, heads * config.head_width]);
    let queries = read("attn_q", config.heads)?;
    let keys = read("attn_k", config.key_value_heads)?;
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
        attention_out,
        feed_forward_norm: gguf.read(&name("ffn_norm"), &[width])?,
        gate_up,
        down: matrix(gguf, &name("ffn_down"), hidden, width)?,
    })
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
        ["token_embd.weight", OUTPUT, "output_norm.weight", "rope_freqs.weight"].map(str::to_owned).into();
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
