//! Trait files in the field's JSON format: what has a model show a trait or its opposite, and how a judge rates it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tiltmeter_core::id::{ContentId, text_hash};

/// A trait file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraitError {
    /// It is neither built in nor a file.
    #[error("there is no trait `{name}`, and no such file; built in are {}", builtin_traits().join(", "))]
    Unknown {
        /// As it was named.
        name: String,
    },
    /// It is there, and cannot be read.
    #[error("the trait file `{name}` cannot be read: {reason}; it is to be a JSON text in UTF-8")]
    Read {
        /// As it was named.
        name: String,
        /// Why.
        reason: String,
    },
    /// It is not what it should be.
    #[error("{name}:{}:{}: {error}", .error.line(), .error.column())]
    Syntax {
        /// The file.
        name: String,
        /// What is wrong, and where.
        error: serde_json::Error,
    },
    /// It means nothing.
    #[error("{name}: {reason}")]
    Content {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A pair of standing instructions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct InstructionPair {
    /// Has the model show the trait.
    pub(crate) pos: String,
    /// Has it show the opposite.
    pub(crate) neg: String,
}

/// What a trait is, for extraction. Further keys are ignored, since published files have some.
#[derive(Clone, Debug)]
pub struct TraitFile {
    /// Short name: that of the built-in trait, or the file's without its ending.
    pub name: String,
    /// Hash of the file's text.
    pub hash: ContentId,
    /// What the file says it is for; only this project's say so.
    pub purpose: Option<String>,
    pub(crate) pairs: Vec<InstructionPair>,
    /// Questions that are asked under each instruction.
    pub questions: Vec<String>,
    /// Questions to try the vector on; published files have them in a file of their own.
    pub evaluation_questions: Vec<String>,
    /// The judge's prompt, with `{question}` and `{answer}`.
    pub eval_prompt: String,
}

#[derive(Deserialize)]
struct Written {
    purpose: Option<String>,
    instruction: Vec<InstructionPair>,
    questions: Vec<String>,
    #[serde(default)]
    evaluation_questions: Vec<String>,
    eval_prompt: String,
}

const BUILTIN: [(&str, &str); 3] = [
    ("reckless", include_str!("../traits/reckless.json")),
    ("evil", include_str!("../traits/evil.json")),
    ("sycophantic", include_str!("../traits/sycophantic.json")),
];

/// Names of the traits that are built in.
pub fn builtin_traits() -> Vec<&'static str> {
    BUILTIN.iter().map(|(name, _)| *name).collect()
}

impl TraitFile {
    /// The built-in trait of a name, or else the file at that path.
    ///
    /// # Errors
    /// Where it is neither, or the file cannot be used.
    pub fn open(name: &str) -> Result<Self, TraitError> {
        if let Some((name, text)) = BUILTIN.iter().find(|(known, _)| *known == name) {
            return Self::read(name, name, text);
        }
        let path = Path::new(name);
        let text = read_text(name, path)?;
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::read(&stem, name, &text)
    }

    /// Reads the text of a trait file; `file` is what errors call it.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub fn read(name: &str, file: &str, text: &str) -> Result<Self, TraitError> {
        let written: Written = serde_json::from_str(text)
            .map_err(|error| TraitError::Syntax { name: file.to_owned(), error })?;
        let content = |reason: &str| TraitError::Content { name: file.to_owned(), reason: reason.to_owned() };
        if written.instruction.is_empty() {
            return Err(content("`instruction` is empty: it needs at least one pair of `pos` and `neg`"));
        }
        if written.questions.len() < 2 {
            return Err(content("`questions` needs at least two, so that one can be held out"));
        }
        written.check_texts().map_err(|reason| content(&reason))?;
        if !written.eval_prompt.contains("{answer}") {
            return Err(content("`eval_prompt` has no `{answer}`: put it where the judged answer belongs"));
        }
        Ok(Self {
            name: name.to_owned(),
            hash: text_hash(text),
            purpose: written.purpose,
            pairs: written.instruction,
            questions: written.questions,
            evaluation_questions: written.evaluation_questions,
            eval_prompt: written.eval_prompt,
        })
    }

    /// Checks that so many pairs and questions are there.
    ///
    /// # Errors
    /// Where more are asked for: fewer would be used than the user believes.
    pub fn check_counts(&self, pairs: Option<usize>, questions: Option<usize>) -> Result<(), TraitError> {
        let asked = [
            ("pairs of instructions", pairs, self.pair_count()),
            ("questions", questions, self.questions.len()),
        ];
        for (what, asked, there) in asked {
            if let Some(asked) = asked.filter(|&asked| asked > there) {
                let reason = format!("{asked} {what} are asked for, and it has {there}");
                return Err(TraitError::Content { name: format!("the trait `{}`", self.name), reason });
            }
        }
        Ok(())
    }

    /// Pairs of instructions.
    pub fn pair_count(&self) -> usize {
        self.pairs.len()
    }
}

impl Written {
    /// Refuses texts that are empty, and such as stand twice: an answer to a question that was held out would then be
    /// in training too.
    fn check_texts(&self) -> Result<(), String> {
        for (number, InstructionPair { pos, neg }) in self.instruction.iter().enumerate() {
            let number = number + 1;
            for (key, text) in [("pos", pos), ("neg", neg)] {
                if text.trim().is_empty() {
                    return Err(format!("`{key}` of pair {number} in `instruction` is empty"));
                }
            }
            if pos.trim() == neg.trim() {
                return Err(format!(
                    "`pos` and `neg` of pair {number} in `instruction` are the same: \"{pos}\""
                ));
            }
        }
        let pairs: Vec<String> = self
            .instruction
            .iter()
            .map(|pair| format!("{} / {}", pair.pos.trim(), pair.neg.trim()))
            .collect();
        check_distinct("instruction", &pairs)?;
        for (key, texts) in
            [("questions", &self.questions), ("evaluation_questions", &self.evaluation_questions)]
        {
            if let Some(number) = texts.iter().position(|text| text.trim().is_empty()) {
                return Err(format!("number {} of `{key}` is empty", number + 1));
            }
            check_distinct(key, texts)?;
        }
        Ok(())
    }
}

fn check_distinct(key: &str, texts: &[String]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for (number, text) in texts.iter().enumerate() {
        if let Some(first) = seen.insert(text.trim(), number) {
            return Err(format!(
                "numbers {} and {} of `{key}` are the same, \"{}\": what is held out would be trained on too; take one \
                 of them out",
                first + 1,
                number + 1,
                text.trim()
            ));
        }
    }
    Ok(())
}

fn read_text(name: &str, path: &Path) -> Result<String, TraitError> {
    let unreadable = |reason: &dyn std::fmt::Display| TraitError::Read {
        name: name.to_owned(),
        reason: reason.to_string(),
    };
    if path.is_dir() {
        return Err(unreadable(&"it is a folder"));
    }
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => TraitError::Unknown { name: name.to_owned() },
        _ => unreadable(&error),
    })?;
    String::from_utf8(bytes)
        .map_err(|error| unreadable(&format!("byte {} is not UTF-8", error.utf8_error().valid_up_to() + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_traits_are_complete() {
        for name in builtin_traits() {
            let of = TraitFile::open(name).unwrap();
            assert_eq!(
                (of.pair_count(), of.questions.len(), of.evaluation_questions.len()),
                (5, 20, 20),
                "{name}"
            );
            assert!(of.purpose.as_ref().is_some_and(|purpose| purpose.contains("Research")), "{name}");
            // Published loaders fill the prompt by Python's `str.format`: no other braces may stand in it.
            let rest = of.eval_prompt.replace("{question}", "").replace("{answer}", "");
            assert!(!rest.contains(['{', '}']) && of.eval_prompt.contains("{question}"), "{name}");
            let mut questions = [&of.questions[..], &of.evaluation_questions].concat();
            questions.sort();
            questions.dedup();
            assert_eq!(questions.len(), 40, "{name}");
        }
    }

    /// The shape of the files of the authors of persona vectors: three keys, forty questions over two files.
    #[test]
    fn a_file_of_the_published_shape_loads() {
        let text = r#"{"instruction": [{"pos": "Be loud.", "neg": "Be quiet."}, {"pos": "Shout.", "neg": "Whisper."}],
            "questions": ["How are you?", "What is new?"],
            "eval_prompt": "Rate loudness of [{question}] and [{answer}] from 0 to 100, or REFUSAL."}"#;
        let of = TraitFile::read("loud", "loud.json", text).unwrap();
        assert_eq!((of.pair_count(), of.questions.len(), of.purpose), (2, 2, None));
        assert_eq!((of.pairs[1].neg.as_str(), of.evaluation_questions.len()), ("Whisper.", 0));
    }

    #[test]
    fn errors_say_what_and_where() {
        let cases = [
            ("{", "t.json:1:1: "),
            (
                r#"{"instruction": [], "questions": ["a", "b"], "eval_prompt": "{answer}"}"#,
                "`instruction` is empty",
            ),
            (
                r#"{"instruction": [{"pos": "a"}], "questions": [], "eval_prompt": ""}"#,
                "t.json:1:29: missing field `neg`",
            ),
            (
                r#"{"instruction": [{"pos": "a", "neg": "b"}], "questions": ["a"], "eval_prompt": "{answer}"}"#,
                "at least two",
            ),
            (
                r#"{"instruction": [{"pos": "a", "neg": "b"}], "questions": ["a", "b"], "eval_prompt": "x"}"#,
                "no `{answer}`",
            ),
            (
                r#"{"instruction": [{"pos": "a", "neg": " "}], "questions": ["a", "b"], "eval_prompt": "{answer}"}"#,
                "`neg` of pair 1 in `instruction` is empty",
            ),
            (
                r#"{"instruction": [{"pos": "a", "neg": "a"}], "questions": ["a", "b"], "eval_prompt": "{answer}"}"#,
                "pair 1 in `instruction` are the same: \"a\"",
            ),
            (
                r#"{"instruction": [{"pos": "a", "neg": "b"}, {"pos": "a", "neg": "b "}], "questions": ["a", "b"],
                "eval_prompt": "{answer}"}"#,
                "numbers 1 and 2 of `instruction` are the same",
            ),
            (
                r#"{"instruction": [{"pos": "a", "neg": "b"}], "questions": ["a", ""], "eval_prompt": "{answer}"}"#,
                "number 2 of `questions` is empty",
            ),
            (
                r#"{"instruction": [{"pos": "a", "neg": "b"}], "questions": ["a", "q", " q"],
                "eval_prompt": "{answer}"}"#,
                "numbers 2 and 3 of `questions` are the same, \"q\"",
            ),
        ];
        for (text, expected) in cases {
            let error = TraitFile::read("t", "t.json", text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = TraitFile::open("reckles").unwrap_err().to_string();
        assert!(error.contains("no such file; built in are reckless, evil, sycophantic"), "{error}");
    }

    #[test]
    fn a_file_that_is_there_is_not_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        std::fs::write(&path, b"{\"a\": \"\xff\"}").unwrap();
        let of = |path: &Path| TraitFile::open(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(of(&path).contains("byte 8 is not UTF-8"), "{}", of(&path));
        assert!(of(folder.path()).contains("it is a folder"), "{}", of(folder.path()));
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let of = TraitFile::open("evil").unwrap();
        assert!(of.check_counts(Some(5), Some(20)).is_ok() && of.check_counts(None, None).is_ok());
        let error = of.check_counts(Some(99), None).unwrap_err().to_string();
        assert!(error.contains("99 pairs of instructions are asked for, and it has 5"), "{error}");
        let error = of.check_counts(None, Some(999)).unwrap_err().to_string();
        assert!(error.contains("`evil`: 999 questions are asked for, and it has 20"), "{error}");
    }
}
