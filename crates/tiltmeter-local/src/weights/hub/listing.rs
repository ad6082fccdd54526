//! What a hub says of a commit of a repository.

use serde::Deserialize;
use serde_json::Value;

use super::super::WeightsSettings;
use super::super::download::{self, Access, shown};
use super::super::expected::Expected;
use super::{HubError, is_gguf};
use crate::source::{HubModel, is_commit};

/// The model's shape.
const CONFIG: &str = "config.json";
/// Files that a model needs beside its weights, as far as a repository has them.
const OTHERS: [&str; 6] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "LICENSE",
];
/// More bytes than any listing has.
const LARGEST_LISTING: usize = 32 << 20;

/// A file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) expected: Expected,
}

/// The listing.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) licence: Option<String>,
    licence_link: Option<String>,
    is_gated: bool,
    files: Vec<Listed>,
}

/// What somebody accepts who fetches a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubTerms {
    /// The repository.
    pub repository: String,
    /// The commit.
    pub commit: String,
    /// The licence that the hub states, such as `apache-2.0`.
    pub licence: Option<String>,
    /// Where its text is, if the hub says so.
    pub licence_link: Option<String>,
    /// Whether the hub wants its own terms to be accepted first.
    pub is_gated: bool,
    /// What is to be fetched: files and their lengths.
    pub files: Vec<(String, u64)>,
}

#[derive(Deserialize)]
struct Wire {
    sha: String,
    #[serde(default)]
    gated: Value,
    #[serde(default, rename = "cardData")]
    card: Value,
    #[serde(default)]
    tags: Vec<String>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
    size: u64,
}

/// Whether a name stays inside the folder, on any system, and is not hidden.
fn is_harmless(path: &str) -> bool {
    path.len() <= 400
        && path.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.ends_with(['.', ' '])
                && part.chars().all(|c| !c.is_control() && !r#"\:*?"<>|"#.contains(c))
        })
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Listing {
    /// Asks the hub.
    pub(super) async fn ask(
        model: &HubModel,
        settings: &WeightsSettings,
        access: Access<'_>,
    ) -> Result<Self, HubError> {
        let (repository, revision) = (model.repository(), &model.revision);
        let url = format!("{}/api/models/{repository}/revision/{revision}?blobs=true", settings.hub);
        let reply = download::small(&url, access, settings.timeouts, LARGEST_LISTING).await;
        let (status, body) = reply.map_err(|reason| HubError::Ask { url: shown(&url), reason })?;
        match status {
            200 => {}
            401 | 403 => {
                let page = format!("{}/{repository}", shown(&settings.hub));
                return Err(HubError::Gated { repository, page });
            }
            404 => {
                let what = format!("revision {revision} of a repository {repository}");
                return Err(HubError::NotFound { what, url: shown(&url) });
            }
            other => {
                return Err(HubError::Ask {
                    url: shown(&url),
                    reason: format!("the server says HTTP {other}"),
                });
            }
        }
        Self::read(&body, model).map_err(|reason| HubError::Listing { repository, reason })
    }

    fn read(body: &[u8], model: &HubModel) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if !is_commit(&wire.sha) {
            return Err("it does not name a commit".to_owned());
        }
        if is_commit(&model.revision) && model.revision != wire.sha {
            return Err(format!("it is of the commit {} instead of {}", wire.sha, model.revision));
        }
        let mut files = Vec::new();
        for file in wire.siblings {
            let (bytes, expected) = match (file.lfs, file.size, file.blob_id) {
                (Some(large), _, _) if is_hex(&large.sha256, 64) => {
                    (large.size, Expected::Sha256(large.sha256.to_ascii_lowercase()))
                }
                (None, Some(size), Some(id)) if is_hex(&id, 40) => {
                    (size, Expected::GitBlob(id.to_ascii_lowercase()))
                }
                // Without a hash it can only be passed over.
                _ => continue,
            };
            files.push(Listed { path: file.rfilename, bytes, expected });
        }
        let text = |name: &str| wire.card.get(name).and_then(Value::as_str).map(str::to_owned);
        let tagged = || wire.tags.iter().find_map(|tag| tag.strip_prefix("license:")).map(str::to_owned);
        let licence = match text("license") {
            Some(other) if other == "other" => text("license_name").or(Some(other)),
            licence => licence.or_else(tagged),
        };
        Ok(Self {
            commit: wire.sha,
            licence,
            licence_link: text("license_link"),
            is_gated: !matches!(wire.gated, Value::Null | Value::Bool(false)),
            files,
        })
    }

    /// The files to fetch.
    pub(super) fn choose(&self, model: &HubModel) -> Result<Vec<Listed>, HubError> {
        let repository = model.repository();
        let of = |test: &dyn Fn(&str) -> bool| -> Vec<Listed> {
            self.files.iter().filter(|file| test(&file.path)).cloned().collect()
        };
        let has = || self.listed_gguf();
        let chosen = if let Some(wanted) = &model.file {
            let chosen = of(&|path| path == wanted || path == "LICENSE");
            if !chosen.iter().any(|file| file.path == *wanted) {
                return Err(HubError::Choice(format!("{repository} has no file {wanted}{}", has())));
            }
            chosen
        } else {
            let shards = of(&is_weight);
            if shards.is_empty() || !self.files.iter().any(|file| file.path == CONFIG) {
                let message =
                    format!("{repository} holds no safetensors model{}; name a file with `--file`", has());
                return Err(HubError::Choice(message));
            }
            // The configuration comes last: where it is, all else is.
            [shards, of(&|path| OTHERS.contains(&path)), of(&|path| path == CONFIG)].concat()
        };
        match chosen.iter().find(|file| !is_harmless(&file.path)) {
            Some(file) => {
                let reason = format!("it names the file `{}`", file.path.escape_debug());
                Err(HubError::Listing { repository, reason })
            }
            None => Ok(chosen),
        }
    }

    /// The GGUF files, for a message.
    fn listed_gguf(&self) -> String {
        let names: Vec<String> = self
            .files
            .iter()
            .filter(|file| is_gguf(&file.path))
            .map(|file| file.path.escape_debug().to_string())
            .take(30)
            .collect();
        if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) }
    }

    pub(super) fn terms(&self, model: &HubModel, files: &[Listed]) -> HubTerms {
        HubTerms {
            repository: model.repository(),
            commit: self.commit.clone(),
            licence: self.licence.clone(),
            licence_link: self.licence_link.clone(),
            is_gated: self.is_gated,
            files: files.iter().map(|file| (file.path.clone(), file.bytes)).collect(),
        }
    }

    /// The address of a file at the commit.
    pub(super) fn url(&self, model: &HubModel, settings: &WeightsSettings, path: &str) -> String {
        let escaped: Vec<String> = path.split('/').map(escaped).collect();
        format!("{}/{}/resolve/{}/{}", settings.hub, model.repository(), self.commit, escaped.join("/"))
    }

    /// The repository's page.
    #[expect(clippy::unused_self, reason = "it stands beside the other addresses")]
    pub(super) fn page(&self, model: &HubModel, settings: &WeightsSettings) -> String {
        format!("{}/{}", shown(&settings.hub).trim_end_matches('/'), model.repository())
    }
}

/// A part of a path as it stands in an address.
fn escaped(part: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Whether a file is one of a model's in the form that is read: whole, or one of several.
fn is_weight(path: &str) -> bool {
    let Some(name) = path.strip_prefix("model").and_then(|rest| rest.strip_suffix(".safetensors")) else {
        return false;
    };
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    name.is_empty()
        || name
            .strip_prefix('-')
            .and_then(|rest| rest.split_once("-of-"))
            .is_some_and(|(one, all)| is_number(one) && is_number(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_the_folder_are_known() {
        for good in ["config.json", "sub/model.Q8_0.gguf", "a b/ü.gguf"] {
            assert!(is_harmless(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            ".hidden",
            "a//b",
            "a\\b",
            "c:x",
            "a\nb",
            "a/.git/x",
            "x ",
            "a/",
        ] {
            assert!(!is_harmless(bad), "{bad:?}");
        }
        assert!(!is_harmless(&"x".repeat(401)));
    }

    #[test]
    fn weights_are_told_from_other_files() {
        for good in ["model.safetensors", "model-00001-of-00030.safetensors"] {
            assert!(is_weight(good), "{good}");
        }
        for bad in [
            "consolidated.safetensors",
            "model.gguf",
            "x/model.safetensors",
            "model-1-of-2.safetensors",
            "model-fp16.safetensors",
        ] {
            assert!(!is_weight(bad), "{bad}");
        }
    }
}
