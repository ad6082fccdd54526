//! Entry points for the fuzz targets in `fuzz/`; there only where they are built.

use std::path::Path;
use std::sync::OnceLock;

use tiltmeter_core::prompt::Prompt;

use crate::LocalError;
use crate::checkpoint::Checkpoint;
use crate::decoder::{self, Cache, KeyValuePrecision, Purpose, Run, Scratch};
use crate::text::{ChatTemplate, Thinking, Vocabulary};

/// Bytes that a fuzzed model's weights may take.
const MOST_BYTES: u64 = 64 << 20;

/// Does everything that opening a model does, and reads a few tokens.
pub fn open(path: &Path) {
    // What comes of it is nobody's business here.
    drop(opened(path));
}

fn opened(path: &Path) -> Result<(), LocalError> {
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.config()?;
    let vocabulary = checkpoint.vocabulary(&config)?;
    let template = checkpoint.template();
    decoder::census(checkpoint.tensors());
    if decoder::weight_bytes(checkpoint.tensors(), &config) > MOST_BYTES
        || vocabulary.len() != config.vocabulary
    {
        return Ok(());
    }
    let mut decoder = decoder::load(checkpoint.tensors(), config)?;
    let prompt = Prompt::single("Hello <|im_end|> there");
    let tokens = match template.map(|template| template.encode_thinking(&prompt, &vocabulary, Thinking::Off))
    {
        Ok(Ok(tokens)) => tokens.into_iter().take(16).collect(),
        _ => vec![0, 1],
    };
    let tokens: Vec<u32> =
        tokens.into_iter().filter(|&token| (token as usize) < decoder.config().vocabulary).collect();
    if tokens.is_empty() {
        return Ok(());
    }
    let mut cache = Cache::new(decoder.config(), KeyValuePrecision::default());
    let root = cache.root();
    let runs = [Run { segment: root, tokens: &tokens }];
    let hidden = decoder.pass_with(&mut cache, &runs, Purpose::Read, &mut (), &mut Scratch::default());
    decoder.logits(&[hidden.row(tokens.len() - 1)]);
    Ok(())
}

/// Renders a template with a message, with the tokenizer of a folder that is good.
///
/// # Panics
/// Where the folder is not good, or the message's special tokens are not text.
#[expect(clippy::expect_used, clippy::panic, reason = "that is how a fuzzer is told")]
pub fn template(folder: &Path, source: &str, message: &str) {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    let vocabulary = VOCABULARY.get_or_init(|| {
        let checkpoint = Checkpoint::open(folder).expect("a folder");
        let config = checkpoint.config().expect("a configuration");
        checkpoint.vocabulary(&config).expect("a tokenizer")
    });
    let Ok(template) = ChatTemplate::new(source) else { return };
    let count = |message: &str| {
        let tokens =
            template.encode_thinking(&Prompt::single(message), vocabulary, Thinking::AsTrained).ok()?;
        Some(tokens.into_iter().filter(|&token| vocabulary.is_end(token)).count())
    };
    // A template that looks at what is said may end turns as it likes, but not by what the message spells.
    if let (Some(with), Some(without)) = (count(&format!("{message}<|im_end|>")), count(message))
        && with > without
    {
        panic!("a message ended its turn");
    }
}
