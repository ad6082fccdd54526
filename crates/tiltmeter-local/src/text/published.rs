//! The tokenizer of a published folder: `tokenizer.json` of the `tokenizers` library, and what goes with it.
//!
//! Added tokens are taken out before the library sees the file, so that it never finds them in text; see
//! [`Vocabulary`].

use serde_json::Value;
use tokenizers::Tokenizer;

use super::vocabulary::{ENDS_OF_TURN, Token, TokenizerError, Vocabulary, byte_table, bytes_of, longest};

/// What Unicode's normal forms and letter case change; others may read tables that are not to be trusted.
const NORMALIZERS: [&str; 5] = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"];
/// What splits texts into words without losing a byte.
const SPLITTERS: [&str; 5] = ["ByteLevel", "Split", "Digits", "Punctuation", "Whitespace"];

/// The files that a tokenizer is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published<'a> {
    /// `tokenizer.json`.
    pub(crate) tokenizer: &'a [u8],
    /// `tokenizer_config.json`, or null.
    pub(crate) settings: &'a Value,
    /// Objects that name tokens which end an answer as `eos_token_id`.
    pub(crate) ends: [&'a Value; 2],
    /// Tokens that the model has weights for; the tokenizer may know fewer.
    pub(crate) size: usize,
}

/// A token that is added to those of the model.
struct Added {
    id: usize,
    text: String,
    is_special: bool,
}

impl Vocabulary {
    /// Reads a published tokenizer.
    pub(crate) fn from_published(files: &Published<'_>) -> Result<Self, TokenizerError> {
        let broken = |reason: String| TokenizerError::Vocabulary(reason);
        let mut json: Value = serde_json::from_slice(files.tokenizer)
            .map_err(|error| broken(format!("tokenizer.json is not JSON: {error}")))?;
        check_kind(&json)?;
        let added = added_tokens(&json)?;
        let start_text = starting_token(&json);
        let model = json.get("model").and_then(|model| model.get("vocab")).and_then(Value::as_object);
        let model = model.ok_or_else(|| broken("tokenizer.json has no `model.vocab`".to_owned()))?;

        let to_byte = byte_table();
        let unused = Token { bytes: Box::default(), is_control: true };
        let mut tokens = vec![unused; files.size];
        let mut put = |id: usize, text: &str, token: Token| {
            let Some(slot) = tokens.get_mut(id) else {
                let (text, size) = (text.escape_debug(), files.size);
                let reason =
                    format!("the token `{text}` has the number {id}, and the model has {size} tokens");
                return Err(broken(reason));
            };
            *slot = token;
            Ok(())
        };
        for (text, id) in model {
            let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
            let id =
                id.ok_or_else(|| broken(format!("the token `{}` has no number", text.escape_debug())))?;
            put(id, text, Token { bytes: bytes_of(text, 1, &to_byte), is_control: false })?;
        }
        for token in &added {
            let bytes = token.text.as_bytes().into();
            put(token.id, &token.text, Token { bytes, is_control: token.is_special })?;
        }
        let id_of = |text: &str| {
            let found = added.iter().find(|token| token.text == text).map(|token| token.id);
            let found = found.or_else(|| usize::try_from(model.get(text)?.as_u64()?).ok());
            found.and_then(|id| u32::try_from(id).ok())
        };

        let (start_named, end_text) =
            (named(files.settings, "bos_token"), named(files.settings, "eos_token"));
        let adds_start = files.settings.get("add_bos_token").and_then(Value::as_bool);
        let start = match (adds_start, &start_text) {
            (Some(false), _) | (None, None) => None,
            (Some(true), None) => id_of(&start_named),
            (_, Some(text)) => id_of(text),
        };
        let known =
            added.iter().filter(|token| token.is_special && ENDS_OF_TURN.contains(&token.text.as_str()));
        let mut ends: Vec<u32> = known.filter_map(|token| u32::try_from(token.id).ok()).collect();
        ends.extend(id_of(&end_text));
        for object in files.ends {
            ends.extend(end_ids(object, files.size)?);
        }
        ends.sort_unstable();
        ends.dedup();
        let mut special: Vec<(String, u32)> = Vec::new();
        for token in added {
            if !token.text.is_empty() {
                let id = u32::try_from(token.id).map_err(|error| broken(error.to_string()))?;
                special.push((token.text, id));
            }
        }
        special.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.1.cmp(&b.1)));

        if let Some(object) = json.as_object_mut() {
            object.insert("added_tokens".to_owned(), Value::Array(Vec::new()));
            for part in ["post_processor", "truncation", "padding", "decoder"] {
                object.insert(part.to_owned(), Value::Null);
            }
        }
        let bytes = serde_json::to_vec(&json).map_err(|error| broken(error.to_string()))?;
        let tokenizer = Tokenizer::from_bytes(bytes)
            .map_err(|error| broken(format!("tokenizer.json cannot be used: {error}")))?;
        let start_text = if start_named.is_empty() { start_text.unwrap_or_default() } else { start_named };
        let longest = longest(&tokens);
        Ok(Self { tokenizer, tokens, longest, special, ends, start, start_text, end_text })
    }
}

/// A token's text in `tokenizer_config.json`: as it is, or with settings.
fn named(settings: &Value, name: &str) -> String {
    let value = settings.get(name);
    let text = value.and_then(|value| value.as_str().or_else(|| value.get("content")?.as_str()));
    text.unwrap_or_default().to_owned()
}

/// The numbers in `eos_token_id`: one or several, or none.
fn end_ids(object: &Value, size: usize) -> Result<Vec<u32>, TokenizerError> {
    let values = match object.get("eos_token_id") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    let id = |value: &Value| {
        let id = value.as_u64().filter(|&id| id < size as u64).and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| {
            TokenizerError::Vocabulary(format!("`eos_token_id` is {value}, past the last token"))
        })
    };
    values.iter().map(id).collect()
}

fn added_tokens(json: &Value) -> Result<Vec<Added>, TokenizerError> {
    let list = json.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let read = |token: &Value| {
        Some(Added {
            id: usize::try_from(token.get("id")?.as_u64()?).ok()?,
            text: token.get("content")?.as_str()?.to_owned(),
            is_special: token.get("special").and_then(Value::as_bool).unwrap_or(false),
        })
    };
    let wrong = || TokenizerError::Vocabulary("one of `added_tokens` has no `id` or `content`".to_owned());
    list.map(|token| read(token).ok_or_else(wrong)).collect()
}

/// The token that the post-processor puts before a text.
fn starting_token(json: &Value) -> Option<String> {
    parts(json.get("post_processor"), "processors").into_iter().find_map(|part| {
        let first = part.get("single")?.get(0)?;
        Some(first.get("SpecialToken")?.get("id")?.as_str()?.to_owned())
    })
}

/// A part of the tokenizer, or the parts of a sequence of such.
fn parts<'a>(part: Option<&'a Value>, list: &str) -> Vec<&'a Value> {
    match part {
        None | Some(Value::Null) => Vec::new(),
        Some(part) if kind(part) == "Sequence" => {
            part.get(list).and_then(Value::as_array).into_iter().flatten().collect()
        }
        Some(part) => vec![part],
    }
}

fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or("")
}

/// Refuses what is not byte-level BPE, or could not be told apart from it by its results.
fn check_kind(json: &Value) -> Result<(), TokenizerError> {
    let refuse = |what: String| Err(TokenizerError::Unsupported(what));
    let model = json.get("model").unwrap_or(&Value::Null);
    let is_bpe = match kind(model) {
        "" => model.get("merges").is_some(),
        name => name == "BPE",
    };
    if !is_bpe {
        return refuse(kind(model).escape_debug().to_string());
    }
    let set = |name: &str| model.get(name).is_some_and(|value| !value.is_null() && value != "");
    for name in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        if set(name) {
            return refuse(format!("BPE with `{name}`"));
        }
    }
    if model.get("byte_fallback").and_then(Value::as_bool) == Some(true) {
        return refuse("BPE with `byte_fallback` (SentencePiece)".to_owned());
    }
    for part in parts(json.get("normalizer"), "normalizers") {
        if !NORMALIZERS.contains(&kind(part)) {
            return refuse(format!("BPE after the normalizer {}", kind(part).escape_debug()));
        }
    }
    let splitters = parts(json.get("pre_tokenizer"), "pretokenizers");
    for part in &splitters {
        if !SPLITTERS.contains(&kind(part)) {
            return refuse(format!("BPE after the pre-tokenizer {}", kind(part).escape_debug()));
        }
        if part.get("add_prefix_space").and_then(Value::as_bool) == Some(true) {
            return refuse("BPE with `add_prefix_space`".to_owned());
        }
    }
    if splitters.iter().any(|part| kind(part) == "ByteLevel") {
        Ok(())
    } else {
        refuse("BPE without the pre-tokenizer ByteLevel".to_owned())
    }
}
