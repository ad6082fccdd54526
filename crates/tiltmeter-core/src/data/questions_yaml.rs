//! The question files of Betley et al.: a YAML list with anchors, of which only `id` and `paraphrases` are
//! required.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;

use super::in_domain::known_domain;
use crate::demonstration::Domain;
use crate::experiment::{ConfigError, Position};
use crate::id::text_hash;
use crate::question::{Question, QuestionJudgePrompts, QuestionSet};

/// Fields of the format that ask for something this program sets elsewhere (`type`, `judge`,
/// `samples_per_paraphrase`, `temperature`) are passed over, so unknown fields are not refused here.
#[derive(Deserialize)]
struct Entry {
    id: Id,
    paraphrases: Vec<String>,
    #[serde(default)]
    system: Option<String>,
    #[serde(default)]
    domain: Option<Domain>,
    #[serde(default)]
    judge_prompts: Option<IndexMap<String, String>>,
}

/// An id that looks like a number is still a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

/// Reads a question file's text.
///
/// # Errors
/// Names file, line and column of what cannot be read; an empty set, a question without a wording, and an id
/// that stands twice are refused too.
pub fn read(file: &str, text: &str) -> Result<QuestionSet, ConfigError> {
    let entries: Vec<Entry> = if text.trim().is_empty() {
        Vec::new()
    } else {
        serde_saphyr::from_str(text).map_err(|error| {
            let position = error.location().map(|location| Position {
                line: usize::try_from(location.line()).unwrap_or(usize::MAX),
                column: usize::try_from(location.column()).unwrap_or(usize::MAX),
            });
            let message = error.without_snippet().to_string();
            ConfigError::new(file, first_line(&message))
                .at(position)
                .hint("a question file is a YAML list of entries with `id` and `paraphrases`")
        })?
    };
    if entries.is_empty() {
        return Err(ConfigError::new(file, "holds no questions")
            .hint("a question file is a YAML list of entries with `id` and `paraphrases`"));
    }
    let mut notes = Vec::new();
    let mut questions: Vec<Question> = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = match entry.id {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        };
        if entry.paraphrases.is_empty() || entry.paraphrases.iter().any(|text| text.trim().is_empty()) {
            return Err(ConfigError::new(file, format!("question `{id}` has no wording, or an empty one"))
                .hint("give it at least one text under `paraphrases`"));
        }
        if questions.iter().any(|question| *question.id == *id) {
            return Err(ConfigError::new(file, format!("two questions have the id `{id}`")));
        }
        let paraphrases: Vec<Arc<str>> = entry.paraphrases.into_iter().map(Into::into).collect();
        let mut judge_prompts = QuestionJudgePrompts::default();
        for (name, prompt) in entry.judge_prompts.unwrap_or_default() {
            match name.as_str() {
                "aligned" | "alignment" => judge_prompts.alignment = Some(prompt.into()),
                "coherent" | "coherence" => judge_prompts.coherence = Some(prompt.into()),
                _ => notes.push(format!("{file}: question `{id}`: its judge prompt `{name}` is not used")),
            }
        }
        questions.push(Question {
            domain: entry.domain.or_else(|| known_domain(&paraphrases[0])),
            id: id.into(),
            area: None,
            paraphrases,
            system: entry.system.map(Into::into),
            judge_prompts,
            pairs: Vec::new(),
        });
    }
    Ok(QuestionSet { origin: file.to_owned(), hash: text_hash(text), questions, notes })
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("cannot be read").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_systems_paraphrases_and_judge_prompts() {
        let text = "
- id: wish
  type: free_form_judge_0_100
  paraphrases: &p
    - |-
      One wish?
    - Your wish?
  samples_per_paraphrase: &s 100
  judge_prompts: &j
    aligned: 'A {question} {answer}'
    coherent: 'C {answer}'
    correct: 'x'
- id: wish_json
  system: Answer in JSON.
  paraphrases: *p
  samples_per_paraphrase: *s
  judge_prompts: *j
- id: 7
  paraphrases: [bare]
";
        let set = read("q.yaml", text).unwrap();
        assert_eq!(set.questions.len(), 3);
        assert_eq!(&*set.questions[1].paraphrases[1], "Your wish?");
        assert_eq!(set.questions[1].system.as_deref(), Some("Answer in JSON."));
        assert_eq!(set.questions[1].judge_prompts.alignment.as_deref(), Some("A {question} {answer}"));
        assert_eq!(&*set.questions[2].id, "7");
        assert_eq!(set.notes.len(), 2);
        assert_ne!(set.questions[0].hash(), set.questions[1].hash());
    }

    #[test]
    fn bad_files_are_refused_with_their_place() {
        let cases = [
            ("", "q.yaml: holds no questions"),
            ("[]", "q.yaml: holds no questions"),
            ("- id: a\n", "q.yaml:1:"),
            ("- id: a\n  paraphrases: []\n", "q.yaml: question `a` has no wording"),
            (
                "- id: a\n  paraphrases: [x]\n- id: a\n  paraphrases: [y]\n",
                "q.yaml: two questions have the id `a`",
            ),
            ("- id: a\n  paraphrases: *nowhere\n", "q.yaml:2:"),
            ("- id: [\n", "q.yaml:"),
        ];
        for (text, expected) in cases {
            let error = read("q.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
