//! Whatever is in a GUARD.toml, it is settings or an error that says where.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tiltmeter_guard::config::{self, Sources};
use tiltmeter_guard::output::PatternCheck;

fuzz_target!(|text: &str| {
    let sources = Sources {
        environment: &|name| (name.len() > 3).then(|| "k".repeat(32)),
        folder: Path::new("folder"),
        inspector: &|kind, _| Err(format!("there is no kind of detector `{kind}`")),
        output_check: &|_, settings| Ok(Arc::new(PatternCheck::from_settings(settings)?)),
    };
    match config::read("GUARD.toml", text, &sources) {
        Ok(settings) => assert!(!settings.upstreams.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
