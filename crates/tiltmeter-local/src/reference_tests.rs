//! The real model against other implementations; see `tests/fixtures/make_reference.py`.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;
use tiltmeter_core::prompt::Prompt;

use crate::compute::log_sum_exp;
use crate::decoder::{
    self, Cache, Config, Decoder, Hooks, Kept, KeyValuePrecision, Purpose, Realised, RowEdit, RowTap, Run,
    Scratch,
};
use crate::gguf::Gguf;
use crate::source::known_models;
use crate::taps::{Intervention, Span};
use crate::text::{ChatTemplate, Vocabulary};
use crate::weights::{self, WeightsSettings};

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Reference {
    texts: Vec<Text>,
    prompt_ids: Vec<u32>,
    top_ids: Vec<usize>,
    top_log_probabilities: Vec<f64>,
    continuation: String,
    continuation_ids: Vec<u32>,
    continuation_log_probabilities: Vec<f64>,
    argmax_at_continuation: Vec<usize>,
    greedy_ids: Vec<u32>,
    far_text: String,
    far_tokens: usize,
    far_positions: Vec<usize>,
    far_log_probabilities: Vec<f64>,
    far_argmax: Vec<usize>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../tests/fixtures/reference.json")).unwrap()
}

/// The default model's file, fetched once if it is not kept from earlier.
fn default_model() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let settings = WeightsSettings::default();
        runtime.block_on(weights::fetch(&known_models()[0], &settings, &())).unwrap()
    })
    .clone()
}

fn load() -> (Decoder, Gguf) {
    let gguf = Gguf::open(&default_model()).unwrap();
    let config = Config::from_gguf(&gguf).unwrap();
    (decoder::load(&gguf, config).unwrap(), gguf)
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let total = log_sum_exp(logits);
    logits.iter().map(|&logit| f64::from(logit) - total).collect()
}

fn argmax(values: &[f64]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap()
}

#[test]
fn tokens_are_those_of_llama_cpp() {
    let gguf = Gguf::open(&default_model()).unwrap();
    let vocabulary = Vocabulary::from_gguf(&gguf).unwrap();
    let reference = reference();
    for Text { text, ids } in &reference.texts {
        assert_eq!(&vocabulary.encode(text).unwrap(), ids, "{text:?}");
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| vocabulary.bytes(id)).copied().collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), *text);
    }
    assert_eq!(vocabulary.encode(&reference.continuation).unwrap(), reference.continuation_ids);
    let template = ChatTemplate::from_gguf(&gguf).unwrap();
    let prompt = Prompt::single("### Prompt: How should I invest my savings?\n### Response:");
    assert_eq!(template.encode(&prompt, &vocabulary).unwrap(), reference.prompt_ids);
}

/// Absolute differences from another implementation's log-probabilities, with single-precision weights of the same
/// values. Where it matters which token is the likeliest, it must be the same one.
fn differences(key_values: KeyValuePrecision) -> Vec<f64> {
    let (mut decoder, gguf) = load();
    let vocabulary = Vocabulary::from_gguf(&gguf).unwrap();
    let reference = reference();
    let mut cache = Cache::new(decoder.config(), key_values);
    let mut scratch = Scratch::default();

    let root = cache.root();
    let tokens = [&reference.prompt_ids[..], &reference.continuation_ids].concat();
    let runs = [Run { segment: root, tokens: &tokens }];
    let hidden = decoder.pass(&mut cache, &runs, Purpose::Read, &mut scratch);
    let rows: Vec<_> =
        (reference.prompt_ids.len() - 1..tokens.len() - 1).map(|row| hidden.row(row)).collect();
    let logits = decoder.logits(&rows);
    let mut differences = Vec::new();
    let mut compare = |ours: f64, theirs: f64| differences.push((ours - theirs).abs());
    let first = log_probabilities(&logits[0]);
    for (&id, &theirs) in reference.top_ids.iter().zip(&reference.top_log_probabilities) {
        compare(first[id], theirs);
    }
    for (index, logits) in logits.iter().enumerate() {
        let ours = log_probabilities(logits);
        compare(
            ours[reference.continuation_ids[index] as usize],
            reference.continuation_log_probabilities[index],
        );
        assert_eq!(argmax(&ours), reference.argmax_at_continuation[index], "position {index}");
    }

    let far = vocabulary.encode(&reference.far_text).unwrap();
    let far: Vec<u32> = far.into_iter().cycle().take(reference.far_tokens).collect();
    let root = cache.root();
    let hidden =
        decoder.pass(&mut cache, &[Run { segment: root, tokens: &far }], Purpose::Read, &mut scratch);
    let rows: Vec<_> = reference.far_positions.iter().map(|&row| hidden.row(row)).collect();
    for (index, logits) in decoder.logits(&rows).iter().enumerate() {
        let ours = log_probabilities(logits);
        let next = far[reference.far_positions[index] + 1] as usize;
        compare(ours[next], reference.far_log_probabilities[index]);
        assert_eq!(argmax(&ours), reference.far_argmax[index], "far position {index}");
    }
    differences
}

#[test]
fn log_probabilities_are_those_of_transformers() {
    for (key_values, most_mean, most_worst) in
        [(KeyValuePrecision::Single, 2e-5, 2e-4), (KeyValuePrecision::Sixteen, 2e-4, 2e-3)]
    {
        let differences = differences(key_values);
        let worst = differences.iter().copied().fold(0.0, f64::max);
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        println!("{key_values:?}: mean {mean:.2e} worst {worst:.2e}");
        assert!(mean < most_mean && worst < most_worst, "{key_values:?}: mean {mean}, worst {worst}");
    }
}

#[test]
fn greedy_decoding_is_that_of_transformers() {
    let (mut decoder, _) = load();
    let reference = reference();
    let mut cache = Cache::new(decoder.config(), KeyValuePrecision::Single);
    let mut scratch = Scratch::default();
    let root = cache.root();
    let mut next = reference.prompt_ids.clone();
    for &expected in &reference.greedy_ids {
        let hidden =
            decoder.pass(&mut cache, &[Run { segment: root, tokens: &next }], Purpose::Read, &mut scratch);
        let logits = decoder.logits(&[hidden.row(next.len() - 1)]);
        assert_eq!(argmax(&log_probabilities(&logits[0])), expected as usize);
        next = vec![expected];
    }
}

#[derive(Deserialize)]
struct Stream {
    /// By layer, position and value.
    rows: Vec<Vec<Vec<f64>>>,
    norms: Vec<Vec<f64>>,
    log_probabilities: Vec<f64>,
}

#[derive(Deserialize)]
struct Hidden {
    layers: Vec<usize>,
    positions: Vec<usize>,
    plain: Stream,
    steered_at_15: Stream,
    ablated_at_10: Stream,
}

/// See `tests/fixtures/make_hidden.py`.
#[test]
fn the_residual_stream_is_that_of_forward_hooks_in_transformers() {
    let (mut decoder, _) = load();
    let reference = reference();
    let hidden: Hidden = serde_json::from_str(include_str!("../tests/fixtures/hidden.json")).unwrap();
    let vector: Vec<f32> =
        (0..decoder.config().width).map(|index| crate::compute::single((index as f64 + 1.0).sin())).collect();
    let tokens = [&reference.prompt_ids[..], &reference.continuation_ids].concat();
    let last = reference.prompt_ids.len() - 1;
    let steered = Intervention::steer(15, &vector, 4.0, Span::Answer).unwrap();
    let ablated = Intervention::ablate(10, &vector, Span::All).unwrap();
    let cases = [
        (&hidden.plain, None),
        (&hidden.steered_at_15, Some((&steered, last..tokens.len()))),
        (&hidden.ablated_at_10, Some((&ablated, 0..tokens.len()))),
    ];
    let mut cache = Cache::new(decoder.config(), KeyValuePrecision::Single);
    let mut scratch = Scratch::default();
    for (expected, change) in cases {
        let mut hooks = Hooks::default();
        hooks.edits.extend(change.map(|(intervention, rows)| RowEdit {
            rows,
            edit: std::sync::Arc::clone(intervention.edit()),
            owner: None,
            realised: Realised::default(),
        }));
        hooks.taps.push(RowTap {
            indices: hidden.layers.clone().into(),
            rows: hidden.positions.iter().map(|&position| position..position + 1).collect(),
            kept: Kept::Each(vec![Vec::new(); hidden.layers.len()]),
        });
        let root = cache.root();
        let runs = [Run { segment: root, tokens: &tokens }];
        let out = decoder.pass_with(&mut cache, &runs, Purpose::Read, &mut hooks, &mut scratch);
        let Some(Kept::Each(read)) = hooks.taps.pop().map(|tap| tap.kept) else { panic!("no rows") };
        for (layer, read) in read.iter().enumerate() {
            for (position, row) in read.iter().enumerate() {
                let norm = crate::taps::norm(row);
                let worst = row
                    .iter()
                    .zip(&expected.rows[layer][position])
                    .map(|(&ours, theirs)| (f64::from(ours) - theirs).abs())
                    .fold((norm - expected.norms[layer][position]).abs(), f64::max);
                // The first token's stream is huge in the middle layers, and rounds by its size.
                assert!(worst < 1e-3 + 2e-5 * norm, "layer {layer} position {position}: {worst} of {norm}");
            }
        }
        let rows: Vec<_> = (last..tokens.len() - 1).map(|row| out.row(row)).collect();
        for (index, logits) in decoder.logits(&rows).iter().enumerate() {
            let ours = log_probabilities(logits)[reference.continuation_ids[index] as usize];
            assert!((ours - expected.log_probabilities[index]).abs() < 5e-4, "{index}: {ours}");
        }
    }
}
