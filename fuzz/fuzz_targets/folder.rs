//! Whatever is in a published folder's files, opening it and reading a few tokens ends in logits or an error.
//!
//! The input is a list of files that replace those of a good folder: which one, the length in two bytes, the bytes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/tiltmeter-local/tests/fixtures/tiny-qwen3");
const FILES: [&str; 9] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    for file in FILES {
        std::fs::copy(format!("{BASE}/{file}"), folder.path().join(file)).expect("a copy");
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut replaced = Vec::new();
    while let [which, low, high, after @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let file = FILES[usize::from(*which) % FILES.len()];
        std::fs::write(FOLDER.path().join(file), &after[..length]).expect("a file");
        replaced.push(file);
        rest = &after[length..];
    }
    tiltmeter_local::fuzzing::open(FOLDER.path());
    for file in replaced {
        std::fs::copy(format!("{BASE}/{file}"), FOLDER.path().join(file)).expect("a copy");
    }
});
