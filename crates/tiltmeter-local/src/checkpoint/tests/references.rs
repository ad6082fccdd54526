//! Logits, tokens and greedy answers of `transformers`.

use std::collections::BTreeMap;

use tiltmeter_core::prompt::Prompt;

use super::*;
use crate::text::Thinking;

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    config: Value,
    tokens: Vec<u32>,
    argmax: Vec<usize>,
    positions: Vec<usize>,
    logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct References {
    families: BTreeMap<String, Reference>,
    kinds: BTreeMap<String, Reference>,
}

fn references() -> References {
    serde_json::from_str(include_str!("../../../tests/fixtures/models.json")).unwrap()
}

/// How far results are from the reference.
#[derive(Debug)]
struct Difference {
    /// Share of positions with the same likeliest token.
    agreement: f64,
    mean: f64,
    worst: f64,
}

fn compare(decoder: &mut Decoder, reference: &Reference) -> Difference {
    let ours = logits(decoder, &reference.tokens);
    let same =
        ours.iter().zip(&reference.argmax).filter(|(ours, theirs)| likeliest(ours) == **theirs).count();
    let mut differences = Vec::new();
    for (&position, theirs) in reference.positions.iter().zip(&reference.logits) {
        assert_eq!(ours[position].len(), theirs.len());
        differences.extend(ours[position].iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs())));
    }
    Difference {
        agreement: same as f64 / reference.argmax.len() as f64,
        mean: differences.iter().sum::<f64>() / differences.len() as f64,
        worst: differences.iter().copied().fold(0.0, f64::max),
    }
}

/// Writes a family's folder; in one file, or one for each tensor.
fn publish(folder: &Path, config: &Value, stored: Stored, is_sharded: bool) {
    fs_err::write(folder.join("config.json"), config.to_string()).unwrap();
    let all = tensors(&Config::from_hub(config).unwrap(), config["tie_word_embeddings"] == true);
    if !is_sharded {
        fs_err::write(folder.join("model.safetensors"), safetensors(&all, stored)).unwrap();
        return;
    }
    let mut map = serde_json::Map::new();
    for (index, tensor) in all.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, all.len());
        fs_err::write(folder.join(&file), safetensors(std::slice::from_ref(tensor), stored)).unwrap();
        map.insert(tensor.0.clone(), file.into());
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    fs_err::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn families_have_the_logits_of_transformers() {
    for (name, reference) in references().families {
        // What numbers are stored as: tolerances in mean and worst difference, and the least agreement.
        for (stored, mean, worst, agreement) in [
            (Stored::Single, 2e-6, 2e-5, 1.0),
            (Stored::Half, 3e-3, 3e-2, 0.97),
            (Stored::Brain, 3e-2, 0.3, 0.9),
        ] {
            let folder = tempfile::tempdir().unwrap();
            publish(folder.path(), &reference.config, stored, stored == Stored::Half);
            let found = compare(&mut load(folder.path()).unwrap(), &reference);
            println!("{name} {stored:?}: {found:?}");
            assert!(
                found.mean < mean && found.worst < worst && found.agreement >= agreement,
                "{name} {stored:?}: {found:?}"
            );
        }
    }
}

/// Values that are rotated together brought side by side, as files of Llama are sorted for GGUF.
fn to_neighbours(values: &[f32], heads: usize, row: usize) -> Vec<f32> {
    let half = values.len() / heads / row / 2;
    let rows: Vec<&[f32]> = values.chunks(row).collect();
    let order = (0..heads).flat_map(|head| {
        (0..half).flat_map(move |pair| [2 * head * half + pair, (2 * head + 1) * half + pair])
    });
    order.flat_map(|row| rows[row].iter().copied()).collect()
}

/// The metadata that GGUF files of an architecture have.
fn metadata(config: &Config, architecture: &str) -> Writer {
    let size = |size: usize| u32::try_from(size).unwrap();
    let key = |name: &str| format!("{architecture}.{name}");
    let texts: Vec<String> = (0..config.vocabulary).map(|id| format!("<{id}>")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Writer::default()
        .text("general.architecture", architecture)
        .integer(&key("block_count"), size(config.layers))
        .integer(&key("embedding_length"), size(config.width))
        .integer(&key("attention.head_count"), size(config.heads))
        .integer(&key("attention.head_count_kv"), size(config.key_value_heads))
        .integer(&key("attention.key_length"), size(config.head_width))
        .integer(&key("attention.value_length"), size(config.head_width))
        .integer(&key("feed_forward_length"), size(config.feed_forward))
        .integer(&key("context_length"), size(config.context))
        .number(&key("rope.freq_base"), 1_000.0)
        .number(&key("attention.layer_norm_rms_epsilon"), 1e-5)
        .texts("tokenizer.ggml.tokens", &texts)
}

/// What Llama 3.1's frequencies are divided by, as files of it hold them.
fn llama_3_factors(head_width: usize) -> Vec<f32> {
    let frequency = |pair: usize| 1_000_f64.powf(-2.0 * pair as f64 / head_width as f64);
    (0..head_width / 2)
        .map(|pair| {
            let wavelength = std::f64::consts::TAU / frequency(pair);
            let kept = ((64.0 / wavelength - 1.0) / 3.0).clamp(0.0, 1.0);
            crate::compute::single(1.0 / ((1.0 - kept) / 8.0 + kept))
        })
        .collect()
}

#[test]
fn the_same_models_as_gguf_files_have_the_same_logits() {
    for (name, reference) in references().families {
        let config = Config::from_hub(&reference.config).unwrap();
        let architecture = config.family.name();
        let mut writer = metadata(&config, architecture);
        let scaling = |name: &str| format!("{architecture}.rope.scaling.{name}");
        match name.as_str() {
            "llama-3.1" => {
                let factors = llama_3_factors(config.head_width);
                writer = writer.tensor("rope_freqs.weight", &[factors.len() as u64], &factors);
            }
            "llama-linear" => {
                writer = writer.text(&scaling("type"), "linear").number(&scaling("factor"), 2.0);
            }
            "qwen2-yarn" => {
                writer = writer
                    .text(&scaling("type"), "yarn")
                    .number(&scaling("factor"), 4.0)
                    .integer(&scaling("original_context_length"), 64);
            }
            _ => {}
        }
        for (published, shape, values) in tensors(&config, reference.config["tie_word_embeddings"] == true) {
            let heads = match published.rsplit_once('.').map_or("", |(name, _)| name) {
                name if name.ends_with("q_proj") => Some(config.heads),
                name if name.ends_with("k_proj") => Some(config.key_value_heads),
                _ => None,
            };
            let row = if shape.len() == 1 { 1 } else { config.width };
            let values = match heads.filter(|_| architecture == "llama") {
                Some(heads) => to_neighbours(&values, heads, row),
                None => values,
            };
            let shape: Vec<u64> = shape.iter().rev().map(|&size| size as u64).collect();
            writer = writer.tensor(&names::from_published(&published), &shape, &values);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs_err::write(&path, writer.bytes()).unwrap();
        let found = compare(&mut load(&path).unwrap(), &reference);
        assert!(found.mean < 2e-6 && found.worst < 2e-5 && found.agreement >= 1.0, "{name}: {found:?}");
    }
}

/// Blocks of random bytes whose half-precision factors, by place in the block, are given.
fn blocks(name: &str, count: usize, length: usize, factors: &[(usize, f32)]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        words(name, count * length).map(|word| u8::try_from(word >> 56).unwrap()).collect();
    for block in bytes.chunks_exact_mut(length) {
        for &(place, factor) in factors {
            block[place..place + 2].copy_from_slice(&f16::from_f32(factor).to_le_bytes());
        }
    }
    bytes
}

/// A matrix in a kind of number.
fn stored(name: &str, kind: Kind, count: usize) -> Vec<u8> {
    let power = |exponent: i32| 2_f32.powi(exponent);
    let factors = match kind {
        Kind::F32 => return weight(name, count).iter().flat_map(|value| value.to_le_bytes()).collect(),
        Kind::F16 => {
            return weight(name, count)
                .iter()
                .flat_map(|&value| f16::from_f32(value).to_le_bytes())
                .collect();
        }
        Kind::BF16 => {
            return weight(name, count)
                .iter()
                .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
                .collect();
        }
        Kind::Q4_0 => vec![(0, power(-6))],
        Kind::Q4_1 => vec![(0, power(-6)), (2, -power(-3))],
        Kind::Q8_0 => vec![(0, power(-9))],
        Kind::Q4_K => vec![(0, power(-13)), (2, 7.5 * power(-13))],
        Kind::Q5_K => vec![(0, power(-14)), (2, 15.5 * power(-14))],
        Kind::Q6_K => vec![(208, power(-15))],
        other => panic!("{other:?}"),
    };
    blocks(name, count / kind.block_size(), kind.block_bytes(), &factors)
}

#[test]
fn kinds_of_numbers_have_the_logits_of_their_dequantised_values() {
    let mut references = references();
    let kinds = [0, 1, 30, 2, 3, 8, 12, 13, 14].map(|number| (number, Kind::from_number(number).unwrap()));
    assert_eq!(references.kinds.len(), kinds.len());
    for (number, kind) in kinds {
        let reference = references.kinds.remove(&format!("{kind:?}")).unwrap();
        let config = Config {
            layers: 1,
            width: 256,
            feed_forward: 256,
            head_width: 64,
            ..Config::from_hub(&references.families["llama"].config).unwrap()
        };
        let mut writer = metadata(&config, "llama");
        let mut offset = 0;
        for (published, shape, _) in tensors(&config, true) {
            let name = names::from_published(&published);
            let count = shape.iter().product();
            let (number, data) = if shape.len() == 1 {
                (0, stored(&name, Kind::F32, count))
            } else {
                (number, stored(&name, kind, count))
            };
            let shape: Vec<u64> = shape.iter().rev().map(|&size| size as u64).collect();
            writer = writer.tensor_raw(&name, &shape, number, offset, &data);
            offset += (data.len() as u64).next_multiple_of(32);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs_err::write(&path, writer.bytes()).unwrap();
        let found = compare(&mut load(&path).unwrap(), &reference);
        println!("{kind:?}: {found:?}");
        assert!(found.mean < 1e-5 && found.worst < 1e-4 && found.agreement >= 1.0, "{kind:?}: {found:?}");
    }
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Expected {
    texts: Vec<Text>,
    question: String,
    prompt: Vec<u32>,
    unthinking: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

/// The committed folder, of the library's own files.
pub(super) fn tiny_qwen_3() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen3")
}

#[test]
fn a_folder_that_was_published_is_read() {
    let path = tiny_qwen_3();
    let expected: Expected =
        serde_json::from_str(&fs_err::read_to_string(path.join("expected.json")).unwrap()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let config = checkpoint.config().unwrap();
    let vocabulary = checkpoint.vocabulary(&config).unwrap();
    // The model has more tokens than the tokenizer.
    assert_eq!((vocabulary.len(), vocabulary.bytes(287)), (288, &b""[..]));
    for Text { text, ids } in &expected.texts {
        assert_eq!(&vocabulary.encode(text).unwrap(), ids, "{text:?}");
    }
    assert!(vocabulary.is_end(278) && vocabulary.is_end(276) && !vocabulary.is_end(277));
    let prompt = Prompt::single(&*expected.question);
    let template = checkpoint.template().unwrap();
    let encode = |thinking| template.encode_thinking(&prompt, &vocabulary, thinking).unwrap();
    assert_eq!(encode(Thinking::Off), expected.unthinking);
    assert_eq!(encode(Thinking::On), expected.prompt);
    let tokens = encode(Thinking::AsTrained);
    assert_eq!(tokens, expected.prompt);
    let mut decoder = load(&path).unwrap();
    let rows = logits(&mut decoder, &tokens);
    for (ours, theirs) in rows[rows.len() - 1].iter().zip(&expected.logits) {
        assert!((ours - theirs).abs() < 2e-5, "{ours} {theirs}");
    }
    let mut read = tokens;
    for next in expected.greedy {
        let rows = logits(&mut decoder, &read);
        assert_eq!(likeliest(&rows[rows.len() - 1]), next as usize);
        read.push(next);
    }
}
