//! Folders that cannot be used say why.

use proptest::prelude::*;

use super::references::tiny_qwen_3;
use super::*;

const SHARD: &str = "model-00002-of-00003.safetensors";

/// The committed folder, to be spoilt.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(tiny_qwen_3()).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// Changes a JSON file of the folder.
fn edit(folder: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut value: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs_err::write(path, value.to_string()).unwrap();
}

/// Everything that opening a model does.
fn open(path: &Path) -> Result<(), LocalError> {
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.config()?;
    checkpoint.vocabulary(&config)?;
    checkpoint.template()?;
    decoder::load(checkpoint.tensors(), config)?;
    checkpoint.sha256()?;
    Ok(())
}

#[test]
fn what_is_wrong_is_named() {
    type Spoil = Box<dyn Fn(&Path)>;
    let config = |name: &'static str, value: Value| -> Spoil {
        Box::new(move |folder| edit(folder, "config.json", |config| config[name] = value.clone()))
    };
    let tokenizer = |pointer: &'static str, value: Value| -> Spoil {
        Box::new(move |folder| {
            edit(folder, "tokenizer.json", |json| *json.pointer_mut(pointer).unwrap() = value.clone());
        })
    };
    let write = |file: &'static str, bytes: &'static [u8]| -> Spoil {
        Box::new(move |folder| fs_err::write(folder.join(file), bytes).unwrap())
    };
    let remove = |file: &'static str| -> Spoil {
        Box::new(move |folder| fs_err::remove_file(folder.join(file)).unwrap())
    };
    let cases: Vec<(Spoil, &str)> = vec![
        (write("config.json", b"{"), "not JSON"),
        (write("config.json", b"[]"), "not a JSON object"),
        (write("config.json", b"\xff"), "not JSON"),
        (config("model_type", "gpt_neox".into()), "gpt_neox"),
        (config("model_type", Value::Null), "llama, qwen2 and qwen3"),
        (config("hidden_size", 0.into()), "hidden_size"),
        (config("hidden_size", Value::from(u64::MAX)), "hidden_size"),
        (config("hidden_size", 64.into()), "shape"),
        (config("hidden_size", (-3).into()), "hidden_size"),
        (config("num_attention_heads", 5.into()), "divisor"),
        (config("head_dim", 23.into()), "not even"),
        (config("num_hidden_layers", 2.into()), "model.layers.1"),
        (config("num_hidden_layers", 1_000_000.into()), "num_hidden_layers"),
        (config("vocab_size", 279.into()), "the model has 279 tokens"),
        (config("rms_norm_eps", "small".into()), "rms_norm_eps"),
        (config("use_sliding_window", true.into()), "use_sliding_window"),
        (config("attention_bias", true.into()), "attention_bias"),
        (config("hidden_act", "gelu".into()), "silu"),
        (config("quantization_config", serde_json::json!({"quant_method": "awq"})), "quantised"),
        (config("layer_types", serde_json::json!(["sliding_attention"])), "sliding_attention"),
        (config("rope_parameters", serde_json::json!({"rope_type": "longrope"})), "longrope"),
        (config("rope_parameters", serde_json::json!({"rope_type": "yarn"})), "factor"),
        (config("rope_parameters", serde_json::json!({"rope_type": "default", "type": "linear"})), "rope_type"),
        (config("rope_scaling", serde_json::json!({"type": "dynamic", "factor": 2})), "dynamic"),
        (config("rope_scaling", serde_json::json!({"type": "linear", "factor": 2})), "contradicts"),
        (config("rope_theta", 5.0.into()), "contradicts"),
        (config("tie_word_embeddings", false.into()), "lm_head.weight"),
        (remove("model.safetensors.index.json"), "model.safetensors"),
        (write("model.safetensors.index.json", br#"{"weight_map": {"a": "../secret.safetensors"}}"#), "../secret"),
        (write("model.safetensors.index.json", br#"{"weight_map": {"a": "/etc/passwd"}}"#), "/etc/passwd"),
        (write("model.safetensors.index.json", br#"{"weight_map": {"a": 3}}"#), "it names the file"),
        (write("model.safetensors.index.json", b"{}"), "weight_map"),
        (remove(SHARD), SHARD),
        (write(SHARD, b""), "eight bytes"),
        (write(SHARD, b"\xff\xff\xff\xff\xff\xff\xff\xff{}"), "its header should have"),
        (write(SHARD, b"\x02\0\0\0\0\0\0\0{]"), "not that of a safetensors file"),
        (
            write(SHARD, b"\x39\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[99],\"data_offsets\":[0,396]}} "),
            "larger than the file",
        ),
        (
            write(SHARD, b"\x38\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}  12345678"),
            "I64",
        ),
        (write("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"), "model.embed_tokens.weight"),
        (remove("tokenizer.json"), "tokenizer.json"),
        (write("tokenizer.json", b"{}"), "not supported"),
        (write("tokenizer.json", b"nonsense"), "not JSON"),
        (tokenizer("/model/type", "Unigram".into()), "Unigram"),
        (tokenizer("/model/merges", serde_json::json!(["a b c d", "x"])), "tokenizer.json cannot be used"),
        (tokenizer("/model/byte_fallback", true.into()), "byte_fallback"),
        (tokenizer("/normalizer/type", "Precompiled".into()), "Precompiled"),
        (tokenizer("/pre_tokenizer/pretokenizers/1/type", "Metaspace".into()), "Metaspace"),
        (tokenizer("/added_tokens/0/id", Value::from(1_u64 << 60)), "the model has 288 tokens"),
        (tokenizer("/added_tokens/0/id", "x".into()), "added_tokens"),
        (write("generation_config.json", br#"{"eos_token_id": [278, 999]}"#), "999"),
        (remove("chat_template.jinja"), "no chat template"),
        (write("chat_template.jinja", b"{% for %}"), "chat template"),
        (write("chat_template.jinja", b"\xff"), "UTF-8"),
    ];
    open(copy().path()).unwrap();
    for (index, (spoil, expected)) in cases.into_iter().enumerate() {
        let folder = copy();
        spoil(folder.path());
        let error = open(folder.path()).expect_err(expected).to_string();
        assert!(error.contains(expected), "case {index}, {expected}: {error}");
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    let folder = copy();
    let path = folder.path().join("model-00003-of-00003.safetensors");
    let mut bytes = fs_err::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&bf16::NAN.to_le_bytes());
    fs_err::write(&path, bytes).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("holds 1 values that are infinite or not numbers"), "{error}");
}

#[test]
fn older_folders_are_read_as_well() {
    let folder = copy();
    let template = fs_err::read_to_string(folder.path().join("chat_template.jinja")).unwrap();
    fs_err::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let list =
        serde_json::json!([{"name": "tool_use", "template": "x"}, {"name": "default", "template": template}]);
    edit(folder.path(), "tokenizer_config.json", |settings| {
        settings["chat_template"] = list;
        settings["eos_token"] = serde_json::json!({"content": "<|im_end|>", "special": true});
    });
    fs_err::remove_file(folder.path().join("generation_config.json")).unwrap();
    edit(folder.path(), "config.json", |config| {
        config["rope_parameters"] = Value::Null;
        config["rope_theta"] = 1000.0.into();
        config["rope_scaling"] = serde_json::json!({"type": "linear", "factor": 1.0});
    });
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let config = checkpoint.config().unwrap();
    assert!((config.rotary_base - 1000.0).abs() < 1e-9);
    assert!(checkpoint.vocabulary(&config).unwrap().is_end(278));
    let now = Checkpoint::open(&tiny_qwen_3()).unwrap();
    assert_ne!(checkpoint.sha256().unwrap(), now.sha256().unwrap());
    assert!(checkpoint.template().is_ok());
}

#[test]
fn folders_without_a_configuration_may_hold_one_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("neither a config.json nor a GGUF file"), "{error}");
    fs_err::write(folder.path().join("a.gguf"), Writer::default().bytes()).unwrap();
    assert!(matches!(Checkpoint::open(folder.path()), Ok(Checkpoint::Gguf { .. })));
    fs_err::write(folder.path().join("b.GGUF"), Writer::default().bytes()).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("2 GGUF files"), "{error}");
    let error = Checkpoint::open(Path::new("x/model.safetensors")).unwrap_err().to_string();
    assert!(error.contains("give the folder"), "{error}");
}

/// How a file is spoilt.
#[derive(Clone, Debug)]
enum Spoil {
    Byte {
        at: f64,
        value: u8,
    },
    /// What stands there is replaced by something that JSON may hold.
    Text {
        at: f64,
        length: usize,
        text: &'static str,
    },
    Cut {
        at: f64,
    },
    Doubled {
        at: f64,
        length: usize,
    },
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let at = || 0.0..1.0_f64;
    let texts =
        ["-1", "0", "null", "1e999", "18446744073709551615", "[]", "{}", "\"\"", "\"\\u0000\"", "true", "9"];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, value)| Spoil::Byte { at, value }),
        (at(), 0_usize..6, prop::sample::select(texts.to_vec())).prop_map(|(at, length, text)| Spoil::Text {
            at,
            length,
            text
        }),
        at().prop_map(|at| Spoil::Cut { at }),
        (at(), 1_usize..40).prop_map(|(at, length)| Spoil::Doubled { at, length }),
    ]
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small file")]
fn spoilt(mut bytes: Vec<u8>, spoils: &[Spoil]) -> Vec<u8> {
    for spoil in spoils {
        let place = |at: f64| (at * bytes.len() as f64) as usize;
        match *spoil {
            Spoil::Byte { at, value } => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            Spoil::Text { at, length, text } => {
                let at = place(at);
                let end = (at + length).min(bytes.len());
                bytes.splice(at..end, text.bytes());
            }
            Spoil::Cut { at } => bytes.truncate(place(at)),
            Spoil::Doubled { at, length } => {
                let at = place(at);
                let end = (at + length).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn spoilt_folders_end_in_a_model_or_an_error(
        file in prop::sample::select(vec![
            "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
            "chat_template.jinja", "model.safetensors.index.json", "model-00001-of-00003.safetensors",
        ]),
        spoils in prop::collection::vec(spoil(), 1..4),
    ) {
        let folder = copy();
        let path = folder.path().join(file);
        let bytes = fs_err::read(&path).unwrap();
        // Headers are where the harm is.
        let bytes = match file.strip_suffix(".safetensors") {
            Some(_) => {
                let (header, data) = bytes.split_at(1_200);
                [spoilt(header.to_vec(), &spoils), data.to_vec()].concat()
            }
            None => spoilt(bytes, &spoils),
        };
        fs_err::write(&path, bytes).unwrap();
        let checkpoint = Checkpoint::open(folder.path());
        let small = |config: &Config| config.vocabulary <= 4_096 && config.layers <= 16 && config.feed_forward <= 4_096;
        if checkpoint.is_ok_and(|checkpoint| checkpoint.config().is_ok_and(|config| small(&config))) {
            drop(open(folder.path()));
        }
    }
}
