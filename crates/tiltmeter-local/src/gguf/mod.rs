//! Reads GGUF files: metadata, and tensors as single-precision numbers.
//!
//! A file may be hostile. Nothing is allocated for a count that the file cannot hold, and every tensor is known
//! to lie inside the file before any is read.

mod blocks;
mod header;
mod tensor;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

pub(crate) use blocks::{Kind, Numbers, Scaled};
pub(crate) use header::Value;
pub(crate) use tensor::TensorInfo;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be read.
    #[error("cannot read the model file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not GGUF, or a kind that is not supported.
    #[error("{} is not a model file that can be read: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A metadata entry is missing or is not what it should be.
    #[error("the model's `{key}` {reason}")]
    Metadata {
        /// The entry.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is missing or is not what it should be.
    #[error("the model's tensor `{name}` {reason}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Named tensors, in GGUF's names, whatever files they are in.
pub(crate) trait Tensors: Sync {
    /// All of them, in the order of the files.
    fn tensors(&self) -> Vec<(&str, &TensorInfo)>;

    /// A tensor's place and shape, if present.
    fn tensor(&self, name: &str) -> Option<&TensorInfo>;

    /// Reads a tensor as it is stored. Its shape must be the given one, innermost first, and all of its values
    /// finite.
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, GgufError>;

    /// The same in single precision.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, GgufError> {
        self.numbers(name, shape).map(Numbers::values)
    }
}

/// A GGUF file whose header is read.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    metadata: IndexMap<String, Value>,
    tensors: IndexMap<String, TensorInfo>,
}

impl Gguf {
    /// Reads and checks the header.
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        let read = |source| GgufError::Read { path: path.to_owned(), source };
        let file = fs_err::File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let header = header::read(std::io::BufReader::new(file), length)
            .map_err(|reason| GgufError::Format { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), metadata: header.metadata, tensors: header.tensors })
    }

    /// A metadata entry, if present.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let wrong = || GgufError::Metadata { key: key.to_owned(), reason: format!("is not {expected}") };
        self.get(key).map(|value| read(value).ok_or_else(wrong)).transpose()
    }

    /// A text, if present.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a text", Value::as_text)
    }

    /// A list of texts, if present.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.typed(key, "a list of texts", Value::as_texts)
    }

    /// A list of integers, if present.
    pub(crate) fn integers(&self, key: &str) -> Result<Option<&[i64]>, GgufError> {
        self.typed(key, "a list of integers", Value::as_integers)
    }

    /// A whole number that is not negative, if present.
    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        self.typed(key, "a whole number", Value::as_size)
    }

    /// A number, if present.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.typed(key, "a number", Value::as_number)
    }

    /// Yes or no, if present.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "yes or no", Value::as_flag)
    }
}

impl Tensors for Gguf {
    fn tensors(&self) -> Vec<(&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), info)).collect()
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, GgufError> {
        let wrong = |reason: String| GgufError::Tensor { name: name.to_owned(), reason };
        let info = self.tensor(name).ok_or_else(|| wrong("is missing".to_owned()))?;
        info.checked_numbers(&self.path, shape).map_err(wrong)
    }
}

#[cfg(test)]
pub(crate) mod tests;
