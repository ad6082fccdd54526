//! Trait files in the field's JSON format: what has a model show a trait or its opposite, and how a judge rates it.

use std::path::Path;

use serde::Deserialize;
use tiltmeter_core::id::{ContentId, text_hash};

/// A trait file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraitError {
    /// It cannot be read.
    #[error("there is no trait `{name}`, and no such file ({source}); built in are {}", builtin_traits().join(", "))]
    Read {
        /// As it was named.
        name: String,
        /// Why.
        source: std::io::Error,
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
        let text = std::fs::read_to_string(path)
            .map_err(|source| TraitError::Read { name: name.to_owned(), source })?;
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

    /// Pairs of instructions.
    pub fn pair_count(&self) -> usize {
        self.pairs.len()
    }
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
        ];
        for (text, expected) in cases {
            let error = TraitFile::read("t", "t.json", text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = TraitFile::open("reckles").unwrap_err().to_string();
        assert!(error.contains("reckless, evil, sycophantic"), "{error}");
    }
}
