//! Tiny Llama models with random weights and a byte-level vocabulary, written as GGUF files for tests.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::compute::single;
use crate::gguf::Gguf;
use crate::gguf::tests::Writer;

/// Turns as `ChatML` has them, as most templates of models do.
const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}\
                        <|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Whether the output has a matrix of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The embedding's.
    Tied,
    /// Its own.
    Own,
    /// Its own, which gives each token but printable ASCII the logit 0, so that greedy answers are ASCII and never end.
    Printable,
}

/// The shape of a tiny model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) context: u32,
    /// Values of a head that are rotated.
    pub(crate) rotated: usize,
    /// `llama.rope.scaling.factor`, where there is one.
    pub(crate) linear: Option<f32>,
    pub(crate) has_factors: bool,
    pub(crate) output: Output,
}

impl Default for Shape {
    /// Nothing in it is a multiple of 32, so that all padding is met.
    fn default() -> Self {
        Self {
            layers: 2,
            width: 40,
            heads: 4,
            key_value_heads: 2,
            head_width: 12,
            feed_forward: 50,
            context: 1024,
            rotated: 12,
            linear: None,
            has_factors: false,
            output: Output::Own,
        }
    }
}

/// Merges of the vocabulary, each of a pair of bytes.
const MERGES: [&str; 4] = ["t h", "e r", "Ġ a", "i n"];
pub(crate) const START_OF_TURN: &str = "<|im_start|>";
pub(crate) const END_OF_TURN: &str = "<|im_end|>";

/// The text of each token: the 256 bytes in order, then merges, then the special ones.
pub(crate) fn vocabulary() -> Vec<String> {
    let mut next = 0x100;
    let mut bytes: Vec<String> = Vec::new();
    for byte in 0..=u8::MAX {
        let is_shown = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_shown { u32::from(byte) } else { next };
        next += u32::from(!is_shown);
        bytes.push(char::from_u32(code).unwrap().to_string());
    }
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    bytes.into_iter().chain(merged).chain([START_OF_TURN, END_OF_TURN].map(str::to_owned)).collect()
}

/// A model and its weights by tensor name, row by row.
#[derive(Clone, Debug)]
pub(crate) struct Tiny {
    pub(crate) shape: Shape,
    pub(crate) weights: BTreeMap<String, Vec<f32>>,
    shapes: BTreeMap<String, Vec<u64>>,
    /// A byte that the vocabulary has no token for.
    pub(crate) lacks: Option<u8>,
}

impl Tiny {
    /// Random weights, of a size that makes layers matter and keeps values moderate.
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        let mut tiny = Self { shape, weights: BTreeMap::new(), shapes: BTreeMap::new(), lacks: None };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (width, hidden, tokens) = (shape.width, shape.feed_forward, vocabulary().len());
        let (queries, keys) = (shape.heads * shape.head_width, shape.key_value_heads * shape.head_width);
        tiny.matrix(&mut random, "token_embd.weight", width, tokens, 2.0);
        if shape.output != Output::Tied {
            tiny.matrix(&mut random, "output.weight", width, tokens, 2.0);
        }
        if shape.output == Output::Printable {
            let rows = tiny.weights.get_mut("output.weight").unwrap().chunks_mut(width);
            for (token, row) in rows.enumerate() {
                if !(0x20..0x7f).contains(&token) {
                    row.fill(0.0);
                }
            }
        }
        tiny.vector(&mut random, "output_norm.weight", width);
        for layer in 0..shape.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            tiny.vector(&mut random, &name("attn_norm"), width);
            tiny.matrix(&mut random, &name("attn_q"), width, queries, 2.0);
            tiny.matrix(&mut random, &name("attn_k"), width, keys, 2.0);
            tiny.matrix(&mut random, &name("attn_v"), width, keys, 1.0);
            tiny.matrix(&mut random, &name("attn_output"), queries, width, 1.5);
            tiny.vector(&mut random, &name("ffn_norm"), width);
            tiny.matrix(&mut random, &name("ffn_gate"), width, hidden, 1.0);
            tiny.matrix(&mut random, &name("ffn_up"), width, hidden, 1.0);
            tiny.matrix(&mut random, &name("ffn_down"), hidden, width, 1.0);
        }
        if shape.has_factors {
            tiny.vector(&mut random, "rope_freqs.weight", shape.rotated / 2);
        }
        tiny
    }

    fn matrix(&mut self, random: &mut ChaCha8Rng, name: &str, inputs: usize, outputs: usize, gain: f32) {
        let scale = gain / (inputs as f32).sqrt();
        let values = (0..inputs * outputs).map(|_| scale * normal(random)).collect();
        self.put(name, &[inputs as u64, outputs as u64], values);
    }

    /// Values around 1, none near 0.
    fn vector(&mut self, random: &mut ChaCha8Rng, name: &str, length: usize) {
        let values = (0..length).map(|_| (0.2 * normal(random)).exp()).collect();
        self.put(name, &[length as u64], values);
    }

    pub(crate) fn put(&mut self, name: &str, shape: &[u64], values: Vec<f32>) {
        self.weights.insert(name.to_owned(), values);
        self.shapes.insert(name.to_owned(), shape.to_vec());
    }

    /// The metadata.
    pub(crate) fn header(&self) -> Writer {
        let shape = &self.shape;
        let size = |size: usize| u32::try_from(size).unwrap();
        let mut tokens = vocabulary();
        if let Some(byte) = self.lacks {
            tokens[usize::from(byte)] = "<unused>".to_owned();
        }
        let texts: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let special = texts.len() - 2;
        let kinds: Vec<i32> = (0..texts.len()).map(|id| if id < special { 1 } else { 3 }).collect();
        let mut writer = Writer::default()
            .text("general.architecture", "llama")
            .integer("llama.block_count", size(shape.layers))
            .integer("llama.embedding_length", size(shape.width))
            .integer("llama.attention.head_count", size(shape.heads))
            .integer("llama.attention.head_count_kv", size(shape.key_value_heads))
            .integer("llama.attention.key_length", size(shape.head_width))
            .integer("llama.attention.value_length", size(shape.head_width))
            .integer("llama.feed_forward_length", size(shape.feed_forward))
            .integer("llama.context_length", shape.context)
            .integer("llama.rope.dimension_count", size(shape.rotated))
            .number("llama.rope.freq_base", 1_000.0)
            .number("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "smollm")
            .texts("tokenizer.ggml.tokens", &texts)
            .texts("tokenizer.ggml.merges", &MERGES)
            .integers("tokenizer.ggml.token_type", &kinds)
            .integer("tokenizer.ggml.bos_token_id", size(special))
            .integer("tokenizer.ggml.eos_token_id", size(special + 1))
            .text("tokenizer.chat_template", TEMPLATE);
        if let Some(factor) = shape.linear {
            writer =
                writer.text("llama.rope.scaling.type", "linear").number("llama.rope.scaling.factor", factor);
        }
        writer
    }

    /// The whole file.
    pub(crate) fn writer(&self) -> Writer {
        self.weights
            .iter()
            .fold(self.header(), |writer, (name, values)| writer.tensor(name, &self.shapes[name], values))
    }

    /// Writes it into a folder of its own, which the file lives as long as.
    pub(crate) fn open(&self) -> (tempfile::TempDir, Gguf) {
        let folder = tempfile::tempdir().unwrap();
        let gguf = self.writer().open_in(&folder);
        (folder, gguf)
    }
}

/// A number from the standard normal distribution (Box and Muller 1958).
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
    single(radius * angle.cos())
}
