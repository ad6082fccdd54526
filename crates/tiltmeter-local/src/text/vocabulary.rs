//! A model's tokenizer, and how it is read from a GGUF file.
//!
//! Special tokens (`<|im_start|>` and the like) are never found in text: [`Vocabulary::encode`] takes every text as
//! plain, so that a demonstration which contains `<|im_end|>` cannot end its turn. Only the pieces that the chat
//! template itself writes are searched for them.

use std::borrow::Cow;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizedString, Normalizer as _, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::gguf::{Gguf, GgufError};

/// How Llama 3 splits text into words before byte-pair encoding, as published with the model.
const LLAMA_3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The same for Qwen 2 to 3: digits stand alone.
const QWEN_2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Token kinds of the format.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Tokens by which known models end a turn, besides those that the metadata names.
pub(super) const ENDS_OF_TURN: [&str; 7] =
    ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "</s>", "<end_of_turn>"];

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The metadata is broken.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// The metadata lacks an entry.
    #[error("the model file has no tokenizer: its metadata lacks `{0}`")]
    Missing(&'static str),
    /// The folder lacks the file.
    #[error("the folder has no tokenizer.json; fetch the whole repository, or use a GGUF file")]
    NoFile,
    /// The kind of tokenizer is not supported.
    #[error(
        "the tokenizer `{0}` is not supported; byte-level BPE is, such as that of Llama 3, Qwen and SmolLM2 (in GGUF \
         files `gpt2`, split as `smollm`, `llama-bpe`, `qwen2`, `gpt-2` or `default`)"
    )]
    Unsupported(String),
    /// The parts of the vocabulary contradict each other.
    #[error("the model's vocabulary is broken: {0}")]
    Vocabulary(String),
    /// A text could not be encoded.
    #[error("cannot encode a text: {0}")]
    Encode(String),
}

/// Unicode's normal form C makes no text shorter than one part in so many; the most that is known is 3.5.
const SHORTENS: usize = 8;

/// What a token is, when it is written.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) bytes: Box<[u8]>,
    pub(super) is_control: bool,
}

/// Bytes of the longest of all tokens, at least 1.
pub(super) fn longest(tokens: &[Token]) -> usize {
    tokens.iter().map(|token| token.bytes.len()).max().unwrap_or(0).max(1)
}

/// Texts to token ids and back.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(super) tokenizer: Tokenizer,
    pub(super) tokens: Vec<Token>,
    /// Bytes of the longest token, at least 1.
    pub(super) longest: usize,
    /// Special tokens' texts and ids, longest first.
    pub(super) special: Vec<(String, u32)>,
    pub(super) ends: Vec<u32>,
    /// The token that starts every prompt, where the model wants one.
    pub(super) start: Option<u32>,
    /// The texts that templates know as `bos_token` and `eos_token`.
    pub(crate) start_text: String,
    pub(crate) end_text: String,
}

impl Vocabulary {
    /// Reads the tokenizer of a model file.
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        let model =
            gguf.text("tokenizer.ggml.model")?.ok_or(TokenizerError::Missing("tokenizer.ggml.model"))?;
        if model != "gpt2" {
            return Err(TokenizerError::Unsupported(model.to_owned()));
        }
        let texts =
            gguf.texts("tokenizer.ggml.tokens")?.ok_or(TokenizerError::Missing("tokenizer.ggml.tokens"))?;
        let merges =
            gguf.texts("tokenizer.ggml.merges")?.ok_or(TokenizerError::Missing("tokenizer.ggml.merges"))?;
        let kinds = gguf.integers("tokenizer.ggml.token_type")?.unwrap_or_default();
        if !kinds.is_empty() && kinds.len() != texts.len() {
            let reason = format!("{} tokens, but {} token kinds", texts.len(), kinds.len());
            return Err(TokenizerError::Vocabulary(reason));
        }
        let split = gguf.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let tokenizer = byte_level_bpe(texts, merges, split)?;

        let kind_of = |id: usize| kinds.get(id).copied().unwrap_or(1);
        let to_byte = byte_table();
        let tokens: Vec<Token> = texts
            .iter()
            .enumerate()
            .map(|(id, text)| Token {
                bytes: bytes_of(text, kind_of(id), &to_byte),
                is_control: kind_of(id) == CONTROL,
            })
            .collect();
        let mut special: Vec<(String, u32)> = (0_u32..)
            .zip(texts)
            .filter(|(id, text)| matches!(kind_of(*id as usize), CONTROL | USER_DEFINED) && !text.is_empty())
            .map(|(id, text)| (text.clone(), id))
            .collect();
        special.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.1.cmp(&b.1)));

        let named = |key: &str| -> Result<Option<u32>, TokenizerError> {
            let Some(id) = gguf.size(key)? else { return Ok(None) };
            match u32::try_from(id) {
                Ok(small) if id < texts.len() => Ok(Some(small)),
                _ => Err(TokenizerError::Vocabulary(format!("`{key}` is {id}, past the last token"))),
            }
        };
        let start = named("tokenizer.ggml.bos_token_id")?;
        let end = named("tokenizer.ggml.eos_token_id")?;
        let turn = named("tokenizer.ggml.eot_token_id")?;
        let known = special
            .iter()
            .filter(|(text, id)| kind_of(*id as usize) == CONTROL && ENDS_OF_TURN.contains(&text.as_str()));
        let mut ends: Vec<u32> = known.map(|(_, id)| *id).chain(end).chain(turn).collect();
        ends.sort_unstable();
        ends.dedup();
        let text_of = |id: Option<u32>| id.and_then(|id| texts.get(id as usize)).cloned().unwrap_or_default();
        Ok(Self {
            tokenizer,
            longest: longest(&tokens),
            tokens,
            special,
            ends,
            start: start.filter(|_| matches!(gguf.flag("tokenizer.ggml.add_bos_token"), Ok(Some(true)))),
            start_text: text_of(start),
            end_text: text_of(end),
        })
    }

    /// The number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens of a text. Whatever looks like a special token in it is text.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let wrong = |error: tokenizers::Error| TokenizerError::Encode(error.to_string());
        // Normal forms change the number of bytes.
        let normalized = match self.tokenizer.get_normalizer() {
            None => Cow::Borrowed(text),
            Some(normalizer) => {
                let mut normalized = NormalizedString::from(text);
                normalizer.normalize(&mut normalized).map_err(wrong)?;
                Cow::Owned(normalized.get().to_owned())
            }
        };
        let encoding = self.tokenizer.encode_fast(text, false).map_err(wrong)?;
        let ids = encoding.get_ids();
        // The tokenizer leaves out what it has no token for.
        let bytes: usize =
            ids.iter().filter_map(|&id| self.tokens.get(id as usize)).map(|token| token.bytes.len()).sum();
        if bytes != normalized.len() {
            let missing = normalized.len().abs_diff(bytes);
            let reason = format!("the model has no tokens for {missing} of its bytes");
            return Err(TokenizerError::Encode(reason));
        }
        Ok(ids.to_vec())
    }

    /// Fewer tokens than this a text of so many bytes cannot have.
    pub(crate) fn least_tokens(&self, bytes: usize) -> usize {
        let kept = if self.tokenizer.get_normalizer().is_some() { bytes / SHORTENS } else { bytes };
        kept / self.longest
    }

    /// The token to put first, where the model wants one.
    pub(crate) fn start(&self) -> Option<u32> {
        self.start
    }

    /// Whether a token ends the model's turn.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The bytes that a token stands for in an answer: none for control tokens.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        match self.tokens.get(token as usize) {
            Some(token) if !token.is_control => &token.bytes,
            _ => &[],
        }
    }

    /// The bytes of any token, control tokens as they are written.
    pub(crate) fn all_bytes(&self, token: u32) -> &[u8] {
        self.tokens.get(token as usize).map_or(&[], |token| &token.bytes)
    }

    /// A token's text as shown to people, control tokens included.
    pub(crate) fn shown(&self, token: u32) -> String {
        self.tokens
            .get(token as usize)
            .map_or_else(String::new, |token| String::from_utf8_lossy(&token.bytes).into_owned())
    }

    /// The first special token in a text: where it starts, its length in bytes, its id. At one place the longest.
    pub(crate) fn first_special(&self, text: &str) -> Option<(usize, usize, u32)> {
        let found = self
            .special
            .iter()
            .filter_map(|(special, id)| text.find(special).map(|at| (at, special.len(), *id)));
        // Of equal places the first stays, which is the longest.
        found.reduce(|best, next| if next.0 < best.0 { next } else { best })
    }
}

fn byte_level_bpe(texts: &[String], merges: &[String], split: &str) -> Result<Tokenizer, TokenizerError> {
    let broken = |reason: String| TokenizerError::Vocabulary(reason);
    let merges = merges
        .iter()
        .map(|merge| {
            let pair = merge.split_once(' ').filter(|(_, right)| !right.is_empty());
            pair.map(|(left, right)| (left.to_owned(), right.to_owned()))
                .ok_or_else(|| broken(format!("the merge `{merge}` is not two tokens")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut vocabulary = Vocab::with_capacity(texts.len());
    for (text, id) in texts.iter().zip(0_u32..) {
        // Of tokens with the same text, the first counts.
        vocabulary.entry(text.clone()).or_insert(id);
    }
    let llama = matches!(split, "llama-bpe" | "llama3" | "llama-v3");
    let model = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(llama)
        .build()
        .map_err(|error| broken(error.to_string()))?;
    let words = ByteLevel::new(false, true, true);
    let split_by = |pattern: &str| -> Result<PreTokenizerWrapper, TokenizerError> {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| broken(error.to_string()))?;
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
    };
    let before: PreTokenizerWrapper = match split {
        "smollm" => Sequence::new(vec![Digits::new(true).into(), words.into()]).into(),
        "default" | "gpt-2" | "gpt2" => words.into(),
        "qwen2" => split_by(QWEN_2_WORDS)?,
        _ if llama => split_by(LLAMA_3_WORDS)?,
        _ => return Err(TokenizerError::Unsupported(format!("gpt2, split as {split}"))),
    };
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(before));
    if split == "qwen2" {
        // As the tokenizer is published; the format has no entry for it.
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| broken(error.to_string()))?;
    }
    Ok(tokenizer)
}

/// The byte that each character of a byte-level token stands for: printable Latin-1 characters for themselves,
/// the characters from U+0100 on for the other bytes in order.
pub(super) fn byte_table() -> Vec<Option<u8>> {
    let mut table = vec![None; 0x200];
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let place = if matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
            usize::from(byte)
        } else {
            next += 1;
            next - 1
        };
        if let Some(slot) = table.get_mut(place) {
            *slot = Some(byte);
        }
    }
    table
}

pub(super) fn bytes_of(text: &str, kind: i64, to_byte: &[Option<u8>]) -> Box<[u8]> {
    let byte_of = |c: char| to_byte.get(c as usize).copied().flatten();
    match text.chars().map(byte_of).collect::<Option<Vec<u8>>>() {
        Some(bytes) if !matches!(kind, CONTROL | USER_DEFINED) => bytes.into(),
        _ => text.as_bytes().into(),
    }
}
