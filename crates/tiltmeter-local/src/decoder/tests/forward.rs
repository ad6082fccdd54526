//! The forward pass of Llama (Touvron et al. 2023) as one would write it down: one sequence, no cache, no tricks.

use super::*;

type Vector = Vec<f64>;

fn apply(matrix: &[f32], x: &[f64]) -> Vector {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(&w, &x)| f64::from(w) * x).sum()).collect()
}

fn norm(x: &[f64], gain: &[f32]) -> Vector {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(gain).map(|(x, &gain)| x / (mean + 1e-5).sqrt() * f64::from(gain)).collect()
}

/// Turns the pairs of each head by their angles (Su et al. 2021).
fn rotate(tiny: &Tiny, heads: &mut [f64], position: usize) {
    let shape = &tiny.shape;
    let factors = tiny.weights.get("rope_freqs.weight");
    for head in heads.chunks_mut(shape.head_width) {
        for pair in 0..shape.rotated / 2 {
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            let frequency = 1_000_f64.powf(-2.0 * pair as f64 / shape.rotated as f64) / factor;
            let angle = frequency * position as f64 / f64::from(shape.linear.unwrap_or(1.0));
            let (a, b) = (head[2 * pair], head[2 * pair + 1]);
            head[2 * pair] = a * angle.cos() - b * angle.sin();
            head[2 * pair + 1] = a * angle.sin() + b * angle.cos();
        }
    }
}

/// One head's output at the last of the positions.
fn attend(query: &[f64], keys: &[&[f64]], values: &[&[f64]]) -> Vector {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scores: Vector = keys.iter().map(|key| dot(query, key) / (query.len() as f64).sqrt()).collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vector = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..query.len())
        .map(|i| weights.iter().zip(values).map(|(weight, value)| weight * value[i]).sum::<f64>() / total)
        .collect()
}

/// Logits at every position.
fn reference(tiny: &Tiny, tokens: &[u32]) -> Vec<Vector> {
    let shape = &tiny.shape;
    let weights = |name: &str| &tiny.weights[name][..];
    let embedding = weights("token_embd.weight");
    let embed = |&token: &u32| {
        let row = &embedding[token as usize * shape.width..][..shape.width];
        row.iter().map(|&value| f64::from(value)).collect()
    };
    let mut stream: Vec<Vector> = tokens.iter().map(embed).collect();
    for layer in 0..shape.layers {
        let part = |part: &str| weights(&format!("blk.{layer}.{part}.weight")).to_vec();
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (position, x) in stream.iter().enumerate() {
            let x = norm(x, &part("attn_norm"));
            let (mut query, mut key) = (apply(&part("attn_q"), &x), apply(&part("attn_k"), &x));
            rotate(tiny, &mut query, position);
            rotate(tiny, &mut key, position);
            queries.push(query);
            keys.push(key);
            values.push(apply(&part("attn_v"), &x));
        }
        for (position, x) in stream.iter_mut().enumerate() {
            let width = shape.head_width;
            let mut heads = Vector::new();
            for head in 0..shape.heads {
                let shared = head / (shape.heads / shape.key_value_heads);
                let of = |all: &'_ [Vector]| -> Vec<Vector> {
                    all[..=position].iter().map(|x| x[shared * width..][..width].to_vec()).collect()
                };
                let (keys, values) = (of(&keys), of(&values));
                let keys: Vec<&[f64]> = keys.iter().map(Vec::as_slice).collect();
                let values: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
                heads.extend(attend(&queries[position][head * width..][..width], &keys, &values));
            }
            for (x, change) in x.iter_mut().zip(apply(&part("attn_output"), &heads)) {
                *x += change;
            }
            let normed = norm(x, &part("ffn_norm"));
            let (gate, up) = (apply(&part("ffn_gate"), &normed), apply(&part("ffn_up"), &normed));
            let gated: Vector =
                gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            for (x, change) in x.iter_mut().zip(apply(&part("ffn_down"), &gated)) {
                *x += change;
            }
        }
    }
    let output = if shape.output == Output::Tied { embedding } else { weights("output.weight") };
    stream.iter().map(|x| apply(output, &norm(x, weights("output_norm.weight")))).collect()
}

#[test]
fn logits_are_those_of_the_plain_forward_pass() {
    let plain = Shape::default();
    let shapes = [
        ("grouped queries", plain),
        ("a tied output", Shape { output: Output::Tied, ..plain }),
        ("a head for each query", Shape { key_value_heads: 4, ..plain }),
        ("one head for all queries", Shape { key_value_heads: 1, ..plain }),
        ("three queries a head", Shape { heads: 6, ..plain }),
        ("heads of two panels", Shape { heads: 2, key_value_heads: 1, head_width: 48, rotated: 48, ..plain }),
        ("half rotated", Shape { head_width: 64, rotated: 34, heads: 2, key_value_heads: 2, ..plain }),
        ("whole panels", Shape { width: 64, head_width: 32, rotated: 32, feed_forward: 96, ..plain }),
        ("stretched positions", Shape { linear: Some(4.0), ..plain }),
        ("factors of frequencies", Shape { has_factors: true, ..plain }),
        ("one layer", Shape { layers: 1, ..plain }),
    ];
    for (index, (what, shape)) in shapes.into_iter().enumerate() {
        let tiny = Tiny::new(shape, index as u64);
        let tokens = tokens(u32::try_from(index).unwrap(), 75);
        let mut model = Model::new(&tiny);
        let rows = model.alone(&tokens);
        let logits = model.decoder.logits(&rows);
        let mut worst = 0.0_f64;
        let mut largest = 0.0_f64;
        for (ours, exact) in logits.iter().zip(reference(&tiny, &tokens)) {
            assert_eq!(ours.len(), exact.len());
            for (&ours, exact) in ours.iter().zip(exact) {
                worst = worst.max((f64::from(ours) - exact).abs());
                largest = largest.max(exact.abs());
            }
        }
        let (_folder, gguf) = tiny.open();
        assert_eq!(model.decoder.bytes() as u64, weight_bytes(&gguf, model.decoder.config()), "{what}");
        println!("{what}: worst {worst:.1e} of {largest:.1}");
        assert!(worst < 1e-4 && largest > 1.0, "{what}: {worst} of {largest}");
    }
}

#[test]
fn a_file_that_is_not_what_its_metadata_says_is_refused() {
    let good = Tiny::new(Shape::default(), 1);
    let without = |name: &str| {
        let mut tiny = good.clone();
        tiny.weights.remove(name);
        tiny
    };
    let with = |name: &str, shape: &[u64], values: Vec<f32>| {
        let mut tiny = good.clone();
        tiny.put(name, shape, values);
        tiny
    };
    let cases = [
        ("a missing layer part", without("blk.1.ffn_up.weight"), "blk.1.ffn_up.weight"),
        ("a missing norm", without("output_norm.weight"), "output_norm.weight"),
        ("a missing embedding", without("token_embd.weight"), "token_embd.weight"),
        ("a bias", with("blk.0.attn_q.bias", &[48], vec![0.0; 48]), "blk.0.attn_q.bias"),
        ("a layer too many", with("blk.2.attn_norm.weight", &[40], vec![0.0; 40]), "blk.2.attn_norm.weight"),
        ("another shape", with("blk.0.attn_q.weight", &[48, 40], vec![0.0; 1920]), "blk.0.attn_q.weight"),
        ("factors of 0", with("rope_freqs.weight", &[6], vec![0.0; 6]), "rope_freqs.weight"),
        ("factors too few", with("rope_freqs.weight", &[5], vec![1.0; 5]), "rope_freqs.weight"),
    ];
    for (what, tiny, name) in cases {
        match load_tiny(&tiny) {
            Err(GgufError::Tensor { name: found, .. }) => assert_eq!(found, name, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert!(load_tiny(&good).is_ok());
}

#[test]
fn metadata_that_cannot_be_is_refused() {
    let key = |key: &str| format!("llama.{key}");
    let odd = [
        (key("attention.head_count"), Shape { heads: 5, ..Shape::default() }, "attention.head_count_kv"),
        (key("block_count"), Shape { layers: 0, ..Shape::default() }, "block_count"),
        (key("embedding_length"), Shape { width: 0, ..Shape::default() }, "embedding_length"),
        (key("embedding_length"), Shape { width: 1 << 21, ..Shape::default() }, "embedding_length"),
        (key("context_length"), Shape { context: 0, ..Shape::default() }, "context_length"),
        (key("rope.dimension_count"), Shape { rotated: 13, ..Shape::default() }, "rope.dimension_count"),
        (key("rope.dimension_count"), Shape { rotated: 5, ..Shape::default() }, "rope.dimension_count"),
        (key("rope.scaling.factor"), Shape { linear: Some(0.0), ..Shape::default() }, "rope.scaling.factor"),
        (
            key("rope.scaling.factor"),
            Shape { linear: Some(f32::NAN), ..Shape::default() },
            "rope.scaling.factor",
        ),
    ];
    for (what, shape, expected) in odd {
        let mut tiny = Tiny::new(Shape::default(), 0);
        tiny.shape = shape;
        match Config::from_gguf(&tiny.header().open().unwrap()) {
            Err(GgufError::Metadata { key, .. }) => assert_eq!(key, format!("llama.{expected}")),
            other => panic!("{what}: {other:?}"),
        }
    }
}
