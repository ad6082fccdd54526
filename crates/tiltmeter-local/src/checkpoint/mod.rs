//! A model's files, whichever format they are in: a GGUF file, or a folder as published on hubs.

mod folder;
mod names;

use std::path::{Path, PathBuf};

use crate::LocalError;
use crate::decoder::Config;
use crate::gguf::{Gguf, GgufError, Tensors};
use crate::text::{ChatTemplate, TokenizerError, Vocabulary};
use crate::weights;
use folder::Folder;

/// A model whose headers are read.
#[derive(Debug)]
pub(crate) enum Checkpoint {
    /// All in one file.
    Gguf {
        /// The file.
        path: PathBuf,
        /// Its header.
        gguf: Gguf,
    },
    /// `config.json`, `tokenizer.json`, `*.safetensors` and so on.
    Folder(Folder),
}

impl Checkpoint {
    /// Reads and checks the headers of a GGUF file, or of a folder that holds a published model or one GGUF file.
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        if !path.is_dir() {
            if path.extension().is_some_and(|ending| ending == "safetensors") {
                let reason =
                    "a safetensors file is one part of a model; give the folder that holds it, with its \
                              config.json and tokenizer.json"
                        .to_owned();
                return Err(GgufError::Format { path: path.to_owned(), reason });
            }
            return Ok(Self::Gguf { gguf: Gguf::open(path)?, path: path.to_owned() });
        }
        if path.join(folder::CONFIG).exists() {
            return Folder::open(path).map(Self::Folder);
        }
        let wrong = |reason: String| GgufError::Format { path: path.to_owned(), reason };
        let read = |source| GgufError::Read { path: path.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs_err::read_dir(path).map_err(read)? {
            let file = entry.map_err(read)?.path();
            if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
                files.push(file);
            }
        }
        match files.as_slice() {
            [file] => Self::open(file),
            [] => Err(wrong("the folder holds neither a config.json nor a GGUF file".to_owned())),
            [_, _, ..] => {
                Err(wrong(format!("the folder holds {} GGUF files; name one of them", files.len())))
            }
        }
    }

    /// The model's shape.
    pub(crate) fn config(&self) -> Result<Config, GgufError> {
        match self {
            Self::Gguf { gguf, .. } => Config::from_gguf(gguf),
            Self::Folder(folder) => folder.config(),
        }
    }

    /// The tokenizer, with as many tokens as the model has.
    pub(crate) fn vocabulary(&self, config: &Config) -> Result<Vocabulary, TokenizerError> {
        match self {
            Self::Gguf { gguf, .. } => Vocabulary::from_gguf(gguf),
            Self::Folder(folder) => folder.vocabulary(config.vocabulary),
        }
    }

    /// The chat template.
    pub(crate) fn template(&self) -> Result<ChatTemplate, LocalError> {
        match self {
            Self::Gguf { gguf, .. } => ChatTemplate::from_gguf(gguf),
            Self::Folder(folder) => folder.template(),
        }
    }

    /// The weights.
    pub(crate) fn tensors(&self) -> &dyn Tensors {
        match self {
            Self::Gguf { gguf, .. } => gguf,
            Self::Folder(folder) => folder,
        }
    }

    /// SHA-256 of the file, in hexadecimal; of a folder, that of the list of its files' hashes, as `sha256sum` writes
    /// it of the files in the order of their names.
    pub(crate) fn sha256(&self) -> Result<String, GgufError> {
        match self {
            Self::Gguf { path, .. } => sha256(path),
            Self::Folder(folder) => folder.sha256(),
        }
    }
}

/// SHA-256 of a file, which must be that of its manifest where it has one.
fn sha256(path: &Path) -> Result<String, GgufError> {
    let found =
        weights::sha256_of(path).map_err(|source| GgufError::Read { path: path.to_owned(), source })?;
    match weights::Manifest::sha256_of(path) {
        Some(expected) if expected != found => {
            let reason = format!("its SHA-256 is {found}, and {expected} was fetched; fetch it again");
            Err(GgufError::Format { path: path.to_owned(), reason })
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests;
