//! A folder as published on hubs: `config.json`, `tokenizer.json`, weights in one or several safetensors files.
//!
//! Its files may be hostile. Nothing is allocated for a size that a file claims and does not have, no file outside
//! the folder is read, and every tensor is known to lie inside its file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::names;
use crate::LocalError;
use crate::decoder::{self, Config};
use crate::gguf::{GgufError, Kind, Numbers, TensorInfo, Tensors};
use crate::text::{ChatTemplate, Published, TemplateError, TokenizerError, Vocabulary};

/// The model's shape.
pub(super) const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// More bytes than any description has; the largest is the tokenizer's, of some ten million.
const LARGEST_TEXT: u64 = 256 << 20;
/// As the format's own library has it.
const LARGEST_HEADER: u64 = 100_000_000;

/// A tensor's file and place.
#[derive(Debug)]
struct Placed {
    /// Index of the file.
    file: usize,
    info: TensorInfo,
}

/// A folder whose headers are read.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    config: Value,
    /// The safetensors files' names.
    files: Vec<String>,
    /// By GGUF's names.
    tensors: IndexMap<String, Placed>,
}

impl Folder {
    /// Reads the configuration and the headers of all weights.
    pub(super) fn open(path: &Path) -> Result<Self, GgufError> {
        let config = json(path, CONFIG)?.unwrap_or_default();
        let files = files(path)?;
        let mut tensors = IndexMap::new();
        for (index, file) in files.iter().enumerate() {
            let place = path.join(file);
            let found = header(&place).map_err(|reason| GgufError::Format { path: place.clone(), reason })?;
            for (name, info) in found {
                let own = names::from_published(&name);
                // Older conversions hold constants that are computed anew.
                if name.ends_with(".rotary_emb.inv_freq") {
                    continue;
                }
                if tensors.insert(own, Placed { file: index, info }).is_some() {
                    let reason = "is there twice".to_owned();
                    return Err(GgufError::Tensor { name, reason });
                }
            }
        }
        // The library passes over a matrix of the output's own where the configuration says that it shares.
        let output = "output.weight";
        match decoder::is_tied(&config) {
            Some(true) => drop(tensors.shift_remove(output)),
            Some(false) if !tensors.contains_key(output) => {
                let reason =
                    "is missing, and config.json says that the output has weights of its own".to_owned();
                return Err(GgufError::Tensor { name: names::to_published(output), reason });
            }
            _ => {}
        }
        Ok(Self { path: path.to_owned(), config, files, tensors })
    }

    /// The model's shape.
    pub(super) fn config(&self) -> Result<Config, GgufError> {
        Config::from_hub(&self.config)
    }

    /// The tokenizer, with as many tokens as the model has.
    pub(super) fn vocabulary(&self, size: usize) -> Result<Vocabulary, TokenizerError> {
        let tokenizer = bytes(&self.path, TOKENIZER)?.ok_or(TokenizerError::NoFile)?;
        let settings = json(&self.path, TOKENIZER_CONFIG)?.unwrap_or_default();
        let generation = json(&self.path, GENERATION)?.unwrap_or_default();
        Vocabulary::from_published(&Published {
            tokenizer: &tokenizer,
            settings: &settings,
            ends: [&generation, &self.config],
            size,
        })
    }

    /// The chat template: the one in a file of its own, or else the tokenizer's default one.
    pub(super) fn template(&self) -> Result<ChatTemplate, LocalError> {
        if let Some(text) = bytes(&self.path, TEMPLATE)? {
            let text = String::from_utf8(text)
                .map_err(|_| TemplateError::Render(format!("{TEMPLATE} is not UTF-8")))?;
            return Ok(ChatTemplate::new(&text)?);
        }
        let settings = json(&self.path, TOKENIZER_CONFIG)?.unwrap_or_default();
        let template = match settings.get("chat_template") {
            Some(Value::String(text)) => Some(text.as_str()),
            Some(Value::Array(list)) => list
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
                .and_then(|entry| entry.get("template")?.as_str()),
            _ => None,
        };
        Ok(ChatTemplate::new(template.ok_or(TemplateError::Missing)?)?)
    }

    /// SHA-256 over the list of the files' hashes, in the order of their names.
    pub(super) fn sha256(&self) -> Result<String, GgufError> {
        let others = [CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, INDEX];
        let present =
            others.iter().filter(|name| self.path.join(name).is_file()).map(|name| (*name).to_owned());
        let mut all: Vec<String> = present.chain(self.files.iter().cloned()).collect();
        all.sort();
        all.dedup();
        let mut list = String::new();
        for name in all {
            let path = self.path.join(&name);
            let sha256 = super::sha256(&path)?;
            let _ = writeln!(list, "{sha256}  {name}");
        }
        Ok(format!("{:x}", Sha256::digest(list)))
    }
}

impl Tensors for Folder {
    fn tensors(&self) -> Vec<(&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, placed)| (name.as_str(), &placed.info)).collect()
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|placed| &placed.info)
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, GgufError> {
        let wrong = |reason: String| GgufError::Tensor { name: names::to_published(name), reason };
        let placed = self.tensors.get(name).ok_or_else(|| wrong("is missing".to_owned()))?;
        let file = self.files.get(placed.file).map_or("", String::as_str);
        placed.info.checked_numbers(&self.path.join(file), shape).map_err(wrong)
    }
}

/// A small file of the folder, if present.
fn bytes(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, GgufError> {
    let path = folder.join(name);
    let read = |source| GgufError::Read { path: path.clone(), source };
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST_TEXT + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > LARGEST_TEXT {
        let reason = format!("it is larger than {} MiB", LARGEST_TEXT >> 20);
        return Err(GgufError::Format { path, reason });
    }
    Ok(Some(bytes))
}

/// A JSON object of the folder, if present.
fn json(folder: &Path, name: &str) -> Result<Option<Value>, GgufError> {
    let Some(bytes) = bytes(folder, name)? else { return Ok(None) };
    let wrong = |reason: String| GgufError::Format { path: folder.join(name), reason };
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("it is not JSON: {error}")))?;
    if value.is_object() { Ok(Some(value)) } else { Err(wrong("it is not a JSON object".to_owned())) }
}

/// The names of the files with weights.
fn files(folder: &Path) -> Result<Vec<String>, GgufError> {
    if folder.join(SINGLE).is_file() {
        return Ok(vec![SINGLE.to_owned()]);
    }
    let wrong = |path: PathBuf, reason: String| Err(GgufError::Format { path, reason });
    let Some(index) = json(folder, INDEX)? else {
        let reason = format!("the folder holds neither {SINGLE} nor {INDEX}");
        return wrong(folder.to_owned(), reason);
    };
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return wrong(folder.join(INDEX), "it has no `weight_map`".to_owned());
    };
    let mut files = BTreeSet::new();
    for file in map.values() {
        let name = file.as_str().unwrap_or("");
        if !is_shard(name) {
            let reason = format!("it names the file `{}`", name.escape_debug());
            return wrong(folder.join(INDEX), reason);
        }
        files.insert(name.to_owned());
    }
    Ok(files.into_iter().collect())
}

/// Whether a name is that of a safetensors file inside the folder.
fn is_shard(name: &str) -> bool {
    name.ends_with(".safetensors")
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Names and places of a file's tensors. The error is what is wrong with it.
fn header(path: &Path) -> Result<Vec<(String, TensorInfo)>, String> {
    let mut file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|_| "it is shorter than its first eight bytes".to_owned())?;
    let size = u64::from_le_bytes(size);
    if size > LARGEST_HEADER || size > length.saturating_sub(8) {
        return Err(format!("its header should have {size} bytes, and the file has {length}"));
    }
    let mut header = Vec::new();
    file.take(size).read_to_end(&mut header).map_err(|error| error.to_string())?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| format!("its header is not that of a safetensors file: {error}"))?;
    let mut found: Vec<(String, TensorInfo)> = Vec::new();
    // The library has them in a map without order; the same file gives the same one here.
    for (name, info) in metadata.tensors().into_iter().collect::<BTreeMap<_, _>>() {
        let wrong = |reason: String| format!("tensor `{}`: {reason}", name.escape_debug());
        let kind = match info.dtype {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            other => {
                return Err(wrong(format!(
                    "numbers of kind {other:?} are not supported; F32, F16 and BF16 are"
                )));
            }
        };
        let (start, end) = info.data_offsets;
        let shape: Vec<u64> = info.shape.iter().rev().map(|&size| size as u64).collect();
        let offset = (start as u64).checked_add(size + 8);
        let checked = TensorInfo::of_kind(&shape, kind, offset, length).map_err(wrong)?;
        if end.checked_sub(start) != Some(checked.bytes()) {
            return Err(wrong(format!("its place from {start} to {end} does not fit its shape")));
        }
        found.push((name, checked));
    }
    Ok(found)
}
