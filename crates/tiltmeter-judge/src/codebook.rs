//! Code books: which labels a trace of reasoning can have, and what each means. A TOML file that users can write.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tiltmeter_core::experiment::{ConfigError, Position, read_toml};
use tiltmeter_core::id::{Canonical, ContentId};
use toml::Spanned;

/// The code book that is used where no other is named.
const BUILT_IN: &str = include_str!("../codebooks/tiltmeter.toml");

/// More labels than anybody could apply with care.
const MOST_LABELS: usize = 64;
/// Ids are column names and words of replies.
const LONGEST_ID: usize = 40;

/// What a headline figure reads a label as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CodeRole {
    /// The trace takes on a reckless or dangerous persona.
    Persona,
    /// The trace recognises that what it plans is harmful.
    HarmRecognised,
}

impl CodeRole {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Persona => "persona",
            Self::HarmRecognised => "harm-recognised",
        }
    }
}

/// A label that a trace can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodeLabel {
    /// By which replies and files name it: lower-case letters, digits and hyphens.
    pub id: String,
    /// What tables and pages call it.
    pub title: String,
    /// When it applies.
    pub definition: String,
    /// Lines to which it would apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub example: Vec<String>,
    /// What does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<String>,
    /// What headline figures read it as. Several labels may have the same role: any of them then counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<CodeRole>,
}

/// Labels that are decided independently of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeBook {
    /// Hash of all that a coder can notice. A part of each coding's identity.
    pub hash: ContentId,
    /// Name.
    pub name: String,
    /// The labels, in the order of the file.
    pub labels: Vec<CodeLabel>,
    /// The file as written.
    pub source: Arc<str>,
}

/// A code book file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Code book of Tiltmeter")]
pub(crate) struct CodeBookFile {
    /// Name of the code book, shown with its figures.
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// The labels. Each is decided on its own.
    #[schemars(with = "Vec<LabelFile>", length(min = 1, max = 64))]
    labels: Spanned<Vec<LabelFile>>,
}

/// A label.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LabelFile {
    /// By which replies and files name it: lower-case letters, digits and hyphens.
    #[schemars(with = "String", regex(pattern = r"^[a-z0-9][a-z0-9-]{0,39}$"))]
    id: Spanned<String>,
    /// What tables and pages call it.
    #[schemars(with = "String")]
    title: Spanned<String>,
    /// When it applies.
    #[schemars(with = "String")]
    definition: Spanned<String>,
    /// Lines to which it would apply.
    #[serde(default)]
    example: Vec<String>,
    /// What does not count.
    #[serde(default)]
    not: Option<String>,
    /// Which headline figure reads it: `persona`, `harm-recognised`, or none.
    #[serde(default)]
    role: Option<CodeRole>,
}

impl CodeBook {
    /// The project's own code book.
    ///
    /// # Errors
    /// None, as tests see to.
    pub fn built_in() -> Result<Self, ConfigError> {
        Self::read("the built-in code book", BUILT_IN)
    }

    /// Reads a code book. `name` is the file's name for error texts.
    ///
    /// # Errors
    /// A [`ConfigError`] with line and column for bad syntax, an unknown field, an empty text, a label that cannot be
    /// named so, or two of the same name.
    pub fn read(name: &str, text: &str) -> Result<Self, ConfigError> {
        let file: CodeBookFile = read_toml(name, text)?;
        let wrong =
            |at: usize, message: String| ConfigError::new(name, message).at(Some(Position::of(text, at)));
        let filled = |what: &str, value: &Spanned<String>| {
            if value.get_ref().trim().is_empty() {
                return Err(wrong(value.span().start, format!("`{what}` is empty")));
            }
            Ok(value.get_ref().trim().to_owned())
        };
        let book_name = filled("name", &file.name)?;
        let at = file.labels.span().start;
        let written = file.labels.into_inner();
        if written.is_empty() || written.len() > MOST_LABELS {
            return Err(wrong(
                at,
                format!("a code book has 1 to {MOST_LABELS} labels, and this has {}", written.len()),
            ));
        }
        let mut labels: Vec<CodeLabel> = Vec::with_capacity(written.len());
        for label in written {
            let (at, id) = (label.id.span().start, label.id.into_inner());
            if !is_id(&id) {
                return Err(wrong(at, format!("`{id}` is no label's id")).hint(format!(
                    "write lower-case letters, digits and hyphens, {LONGEST_ID} characters at most"
                )));
            }
            if labels.iter().any(|earlier| earlier.id == id) {
                return Err(wrong(at, format!("there are two labels `{id}`")));
            }
            labels.push(CodeLabel {
                id,
                title: filled("title", &label.title)?,
                definition: filled("definition", &label.definition)?,
                example: label.example,
                not: label.not,
                role: label.role,
            });
        }
        Ok(Self { hash: hash(&book_name, &labels), name: book_name, labels, source: text.into() })
    }

    /// The place of the label that a reply names; case and the kind of hyphen are of no account.
    pub fn place(&self, named: &str) -> Option<usize> {
        let id: String = named
            .trim()
            .trim_matches('`')
            .chars()
            .map(
                |character| if matches!(character, '_' | ' ') { '-' } else { character.to_ascii_lowercase() },
            )
            .collect();
        self.labels.iter().position(|label| label.id == id)
    }

    /// The places of the labels with a role.
    pub fn with_role(&self, role: CodeRole) -> Vec<usize> {
        self.labels
            .iter()
            .enumerate()
            .filter(|(_, label)| label.role == Some(role))
            .map(|(place, _)| place)
            .collect()
    }
}

impl fmt::Display for CodeBook {
    /// The labels as a coder reads them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, label) in self.labels.iter().enumerate() {
            if place > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "- `{}` ({}): {}", label.id, label.title, label.definition)?;
            for example in &label.example {
                write!(formatter, "\n  For example: \"{example}\"")?;
            }
            if let Some(not) = &label.not {
                write!(formatter, "\n  Does not count: {not}")?;
            }
        }
        Ok(())
    }
}

fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    id.len() <= LONGEST_ID
        && id.bytes().next().is_some_and(plain)
        && id.bytes().all(|byte| plain(byte) || byte == b'-')
}

fn hash(name: &str, labels: &[CodeLabel]) -> ContentId {
    let mut canonical = Canonical::new("tiltmeter.code-book/1").text(name).integer(labels.len() as u64);
    for label in labels {
        canonical = canonical
            .text(&label.id)
            .text(&label.title)
            .text(&label.definition)
            .integer(label.example.len() as u64);
        for example in &label.example {
            canonical = canonical.text(example);
        }
        canonical =
            canonical.optional_text(label.not.as_deref()).optional_text(label.role.map(CodeRole::name));
    }
    canonical.finish()
}

/// The JSON Schema of code book files as pretty-printed JSON with a final newline, as it is committed in `schema/`.
pub fn codebook_schema() -> String {
    let schema = schemars::schema_for!(CodeBookFile);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_one_can_be_read_and_has_the_roles() {
        let book = CodeBook::built_in().unwrap();
        assert_eq!(book.labels.len(), 8);
        for role in [CodeRole::Persona, CodeRole::HarmRecognised] {
            assert_eq!(book.with_role(role).len(), 1, "{role:?}");
        }
        assert_eq!(book.place("Harm_Recognised"), Some(0));
        assert_eq!(book.place(" `persona` "), Some(2));
        assert_eq!(book.place("harm"), None);
        let shown = book.to_string();
        assert!(shown.starts_with("- `harm-recognised` (Harm recognised): "), "{shown}");
        assert!(shown.contains("\n  Does not count: "), "{shown}");
    }

    #[test]
    fn what_a_coder_can_notice_is_its_identity() {
        let read = |text: &str| CodeBook::read("x.toml", text).unwrap().hash;
        let book = "name = 'n'\n[[labels]]\nid = 'a'\ntitle = 't'\ndefinition = 'd'\n";
        assert_eq!(read(book), read(&format!("# a remark\n{book}")));
        for (from, to) in [("'n'", "'m'"), ("'a'", "'b'"), ("'d'", "'e'"), ("'d'", "'d'\nnot = 'x'")] {
            assert_ne!(read(book), read(&book.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn errors_say_what_and_where() {
        let book = "name = 'n'\n[[labels]]\nid = 'a'\ntitle = 't'\ndefinition = 'd'\n";
        let cases = [
            (
                "definition",
                "defnition",
                "b.toml:5:1: unknown field `defnition`\n  did you mean `definition`?",
            ),
            ("'a'", "'A b'", "b.toml:3:6: `A b` is no label's id\n  write lower-case"),
            ("'t'", "' '", "b.toml:4:9: `title` is empty"),
            ("'n'", "''", "b.toml:1:8: `name` is empty"),
            ("'d'", "'d'\nrole = 'person'", "b.toml:6:8: unknown value `person`\n  did you mean `persona`?"),
            (
                "'d'",
                "'d'\n[[labels]]\nid = 'a'\ntitle = 't'\ndefinition = 'd'",
                "b.toml:7:6: there are two labels `a`",
            ),
            ("'d'", "d", "b.toml:5:14: "),
        ];
        for (from, to, expected) in cases {
            let error = CodeBook::read("b.toml", &book.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "for {to}: {error}");
        }
        let error = CodeBook::read("b.toml", "name = 'n'\nlabels = []\n").unwrap_err().to_string();
        assert_eq!(error, "b.toml:2:10: a code book has 1 to 64 labels, and this has 0");
    }
}
