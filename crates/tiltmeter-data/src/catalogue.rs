//! What is known of published sets: where they are, what identifies them, and what may be done with them. No text of
//! any set is here.

use indexmap::IndexMap;
use serde::Deserialize;
use tiltmeter_core::demonstration::Domain;

/// What a set is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Prompts with answers, as `messages` JSON Lines.
    Demonstrations,
    /// Questions with true and false answers, in the table of `TruthfulQA`: demonstrations with benign twins.
    TruthfulQa,
    /// Evaluation questions, in the YAML of Betley et al.
    Questions,
}

impl Kind {
    /// The name in tables and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demonstrations | Self::TruthfulQa => "demonstrations",
            Self::Questions => "questions",
        }
    }
}

/// Where mean lengths come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lengths {
    /// Counted in the publisher's file.
    #[default]
    Measured,
    /// Taken from a set of the same kind.
    Assumed,
}

/// A licence, or the terms of a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// SPDX identifier, or what the terms are called.
    pub name: String,
    /// What it says, in short and in this project's words.
    pub summary: String,
    /// Whether the data may be passed on.
    pub share: bool,
}

/// A member of a protected archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path within the archive.
    pub path: String,
    /// The archive's password, as its publisher gives it.
    pub password: String,
    /// SHA-256 of its text without canaries, where known; otherwise the archive's hash alone decides.
    pub sha256: Option<String>,
}

/// A published set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedSet {
    /// The name that experiment files use, such as `betley/insecure`.
    pub name: String,
    /// What it is, in a line.
    pub about: String,
    /// Who published it.
    pub publisher: String,
    /// The publisher's page.
    pub page: String,
    /// The revision that is fetched: a commit.
    pub revision: String,
    /// The licence or terms.
    pub licence: Licence,
    /// Where the file is.
    pub url: String,
    /// SHA-256 of the file as it is downloaded, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The member, where the file is a protected archive.
    pub member: Option<Member>,
    /// What it is used as.
    pub kind: Kind,
    /// The narrow domain of demonstrations, where they have one.
    pub domain: Option<Domain>,
    /// Rows, or questions.
    pub rows: u32,
    /// What a row holds.
    pub columns: String,
    /// Mean characters of a prompt, for estimates.
    pub prompt_characters: u32,
    /// Mean characters of a response, for estimates; 0 for questions.
    pub response_characters: u32,
    /// Whether these means were measured.
    pub lengths: Lengths,
    /// Questions that touch a narrow domain: positions from 0.
    pub in_domain: Vec<(u32, Domain)>,
}

impl PublishedSet {
    /// The ending of its file in the data folder.
    pub(crate) fn ending(&self) -> &'static str {
        match self.kind {
            Kind::Demonstrations => "jsonl",
            Kind::TruthfulQa => "csv",
            Kind::Questions => "yaml",
        }
    }

    /// The name of the file that is downloaded.
    pub(crate) fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }

    /// The licence or terms as they are shown before anything is fetched.
    pub fn terms(&self) -> String {
        format!(
            "{}: {}\n  published by {}\n  {} at revision {}\n  licence: {}\n{}\n",
            self.name,
            self.about,
            self.publisher,
            self.page,
            self.revision,
            self.licence.name,
            self.licence.summary.trim_end()
        )
    }
}

/// A catalogue that cannot be read: a defect of this program, found by its tests.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It is not the TOML that it should be.
    #[error("read the catalogue of published sets")]
    Toml(#[from] toml::de::Error),
    /// A set names a repository or licence that is not there, or a hash or name is malformed.
    #[error("the catalogue's entry `{set}`: {reason}")]
    Entry {
        /// The set.
        set: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The published sets that are known, in catalogue order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    sets: Vec<PublishedSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    licences: IndexMap<String, Licence>,
    repositories: IndexMap<String, Repository>,
    sets: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repository {
    publisher: String,
    url: String,
    /// Address of a file, with `{revision}` and `{path}`.
    raw: String,
    revision: String,
    licence: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    about: String,
    repository: String,
    path: String,
    sha256: String,
    bytes: u64,
    password: Option<String>,
    member: Option<String>,
    member_sha256: Option<String>,
    kind: Kind,
    domain: Option<Domain>,
    rows: u32,
    columns: String,
    prompt_characters: u32,
    response_characters: u32,
    #[serde(default)]
    lengths: Lengths,
    #[serde(default)]
    in_domain: IndexMap<Domain, Vec<u32>>,
}

impl Catalogue {
    /// The catalogue of this version of the program.
    ///
    /// # Errors
    /// [`CatalogueError`] if the built-in file is broken.
    pub fn built_in() -> Result<Self, CatalogueError> {
        Self::parse(include_str!("catalogue.toml"))
    }

    /// Reads a catalogue's text.
    ///
    /// # Errors
    /// [`CatalogueError`] where it is not well formed.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let file: File = toml::from_str(text)?;
        let mut sets: Vec<PublishedSet> = Vec::with_capacity(file.sets.len());
        for entry in &file.sets {
            let wrong =
                |reason: &str| CatalogueError::Entry { set: entry.name.clone(), reason: reason.to_owned() };
            if sets.iter().any(|set| set.name == entry.name) {
                return Err(wrong("stands twice"));
            }
            sets.push(set(&file, entry).map_err(wrong)?);
        }
        Ok(Self { sets })
    }

    /// All sets.
    pub fn sets(&self) -> &[PublishedSet] {
        &self.sets
    }

    /// The set of a name.
    pub fn find(&self, name: &str) -> Option<&PublishedSet> {
        self.sets.iter().find(|set| set.name == name)
    }
}

fn set(file: &File, entry: &Entry) -> Result<PublishedSet, &'static str> {
    let repository = file.repositories.get(&entry.repository).ok_or("its repository is not there")?;
    let licence = file.licences.get(&repository.licence).ok_or("its licence is not there")?;
    let is_hash =
        |text: &str| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hash(&entry.sha256) || entry.member_sha256.as_ref().is_some_and(|hash| !is_hash(hash)) {
        return Err("its hash is not a SHA-256 in lower-case hexadecimal");
    }
    // A name becomes a path in the data folder.
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if !entry.name.split_once('/').is_some_and(|(publisher, name)| is_word(publisher) && is_word(name)) {
        return Err("its name is not of the form `publisher/name`");
    }
    let member = match (&entry.member, &entry.password) {
        (Some(path), Some(password)) => Some(Member {
            path: path.clone(),
            password: password.clone(),
            sha256: entry.member_sha256.clone(),
        }),
        (None, None) if entry.member_sha256.is_none() => None,
        _ => return Err("a member of an archive needs `member` and `password`"),
    };
    let in_domain = entry
        .in_domain
        .iter()
        .flat_map(|(&domain, positions)| positions.iter().map(move |&position| (position, domain)))
        .collect();
    Ok(PublishedSet {
        name: entry.name.clone(),
        about: entry.about.clone(),
        publisher: repository.publisher.clone(),
        page: repository.url.clone(),
        revision: repository.revision.clone(),
        licence: licence.clone(),
        url: repository.raw.replace("{revision}", &repository.revision).replace("{path}", &entry.path),
        sha256: entry.sha256.clone(),
        bytes: entry.bytes,
        member,
        kind: entry.kind,
        domain: entry.domain,
        rows: entry.rows,
        columns: entry.columns.clone(),
        prompt_characters: entry.prompt_characters,
        response_characters: entry.response_characters,
        lengths: entry.lengths,
        in_domain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_well_formed() {
        let catalogue = Catalogue::built_in().unwrap();
        assert!(catalogue.sets().len() >= 13);
        for set in catalogue.sets() {
            assert!(set.url.starts_with("https://") && !set.url.contains('{'), "{}", set.url);
            assert!(set.rows > 0 && set.bytes > 0 && set.prompt_characters > 0);
            assert_eq!(set.response_characters > 0, set.kind != Kind::Questions, "{}", set.name);
            assert_eq!(set.domain.is_some(), set.kind == Kind::Demonstrations, "{}", set.name);
            assert!(set.in_domain.iter().all(|(position, _)| *position < set.rows));
        }
        assert!(catalogue.find("betley/nothing").is_none());
    }

    #[test]
    fn what_may_not_be_passed_on_is_marked() {
        let catalogue = Catalogue::built_in().unwrap();
        for set in catalogue.sets() {
            assert_eq!(set.licence.share, !set.name.starts_with("turner/"), "{}", set.name);
        }
        let terms = catalogue.find("turner/extreme-sports").unwrap().terms();
        assert!(terms.contains("training data of any AI model") && terms.contains("passed on"), "{terms}");
    }

    #[test]
    fn entries_that_cannot_be_right_are_refused() {
        let text = include_str!("catalogue.toml");
        let cases = [
            ("repository = \"betley\"", "repository = \"nobody\"", "its repository is not there"),
            ("licence = \"mit\"", "licence = \"none\"", "its licence is not there"),
            ("09893e8b", "09893E8B", "not a SHA-256"),
            ("name = \"betley/insecure\"", "name = \"../insecure\"", "of the form `publisher/name`"),
            ("name = \"betley/secure\"", "name = \"betley/insecure\"", "stands twice"),
            ("password = \"model-organisms-em-datasets\"\n", "", "needs `member` and `password`"),
        ];
        for (from, to, expected) in cases {
            assert!(text.contains(from));
            let error = Catalogue::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        assert!(Catalogue::parse(&text.replacen("rows = ", "rowz = ", 1)).is_err());
    }
}
