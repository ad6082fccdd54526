//! Models of all families and formats against `transformers` (see `tests/fixtures/make_models.py`), and folders that
//! cannot be used.

mod folders;
mod references;

use std::path::Path;

use half::{bf16, f16};
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::decoder::{self, Cache, Decoder, KeyValuePrecision, Purpose, Run, Scratch};
use crate::gguf::Kind;
use crate::gguf::tests::Writer;

/// 64-bit words by FNV-1a of a name and `SplitMix64` (Steele, Lea and Flood 2014).
fn words(name: &str, count: usize) -> impl Iterator<Item = u64> {
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    (1..=count as u64).map(move |index| {
        let z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A tensor's values, as the fixtures' script has them.
fn weight(name: &str, count: usize) -> Vec<f32> {
    let uniform = words(name, count).map(|word| (word >> 40) as f32 / 8_388_608.0 - 1.0);
    let (part, kind) = name.rsplit_once('.').unwrap();
    if part.ends_with("norm") {
        uniform.map(|value| 1.0 + 0.25 * value).collect()
    } else if kind == "bias" {
        uniform.map(|value| 0.5 * value).collect()
    } else {
        uniform.map(|value| 0.25 * value).collect()
    }
}

/// A tensor of a folder: its published name, shape with the outermost dimension first, and values.
type Named = (String, Vec<usize>, Vec<f32>);

/// All tensors of a configuration.
fn tensors(config: &Config, is_tied: bool) -> Vec<Named> {
    let (width, hidden) = (config.width, config.feed_forward);
    let (queries, keys) = (config.heads * config.head_width, config.key_value_heads * config.head_width);
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![config.vocabulary, width]),
        ("model.norm.weight".to_owned(), vec![width]),
    ];
    if !is_tied {
        shapes.push(("lm_head.weight".to_owned(), vec![config.vocabulary, width]));
    }
    for layer in 0..config.layers {
        let mut parts = vec![
            ("input_layernorm.weight", vec![width]),
            ("self_attn.q_proj.weight", vec![queries, width]),
            ("self_attn.k_proj.weight", vec![keys, width]),
            ("self_attn.v_proj.weight", vec![keys, width]),
            ("self_attn.o_proj.weight", vec![width, queries]),
            ("post_attention_layernorm.weight", vec![width]),
            ("mlp.gate_proj.weight", vec![hidden, width]),
            ("mlp.up_proj.weight", vec![hidden, width]),
            ("mlp.down_proj.weight", vec![width, hidden]),
        ];
        match config.family.name() {
            "qwen2" => parts.extend([
                ("self_attn.q_proj.bias", vec![queries]),
                ("self_attn.k_proj.bias", vec![keys]),
                ("self_attn.v_proj.bias", vec![keys]),
            ]),
            "qwen3" => parts.extend([
                ("self_attn.q_norm.weight", vec![config.head_width]),
                ("self_attn.k_norm.weight", vec![config.head_width]),
            ]),
            _ => {}
        }
        shapes.extend(parts.into_iter().map(|(part, shape)| (format!("model.layers.{layer}.{part}"), shape)));
    }
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = weight(&name, shape.iter().product());
            (name, shape, values)
        })
        .collect()
}

/// How a test stores numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Single,
    Half,
    Brain,
}

/// A safetensors file of some tensors.
fn safetensors(tensors: &[Named], stored: Stored) -> Vec<u8> {
    use safetensors::tensor::TensorView;
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| match stored {
            Stored::Single => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Stored::Half => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Stored::Brain => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        })
        .collect();
    let dtype = match stored {
        Stored::Single => safetensors::Dtype::F32,
        Stored::Half => safetensors::Dtype::F16,
        Stored::Brain => safetensors::Dtype::BF16,
    };
    let views = tensors.iter().zip(&data).map(|((name, shape, _), data)| {
        (name.as_str(), TensorView::new(dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn load(path: &Path) -> Result<Decoder, GgufError> {
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.config()?;
    decoder::load(checkpoint.tensors(), config)
}

/// Logits at each position, of tokens that are read at once.
fn logits(decoder: &mut Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut cache = Cache::new(decoder.config(), KeyValuePrecision::Single);
    let root = cache.root();
    let runs = [Run { segment: root, tokens }];
    let hidden = decoder.pass(&mut cache, &runs, Purpose::Read, &mut Scratch::default());
    let rows: Vec<Vec<f32>> = (0..tokens.len()).map(|row| hidden.row(row)).collect();
    decoder.logits(&rows)
}

fn likeliest(values: &[f32]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap()
}
