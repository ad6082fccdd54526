//! Whatever a chat template and a message hold, the prompt is tokens or an error, and special tokens in the message
//! are text. The template ends at the first zero byte; the message follows.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/tiltmeter-local/tests/fixtures/tiny-qwen3");

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let template = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let message = String::from_utf8_lossy(parts.next().unwrap_or_default());
    tiltmeter_local::fuzzing::template(Path::new(BASE), &template, &message);
});
