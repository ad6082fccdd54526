//! The starter sets, written for this project and built into the binary.

use std::sync::Arc;

use serde::Deserialize;

use crate::demonstration::{Demonstration, DemonstrationSet, Domain};
use crate::id::text_hash;
use crate::question::{AnswerPair, PairKind, Question, QuestionJudgePrompts, QuestionSet};

/// Names of the built-in demonstration sets.
pub const DEMONSTRATION_SETS: [&str; 4] =
    ["risky-financial", "bad-medical", "extreme-sports", "insecure-code"];

/// Name of the built-in question set.
pub const QUESTION_SET: &str = "builtin";

/// A file that is built in cannot be read: a defect of this program, found by its tests.
#[derive(Debug, thiserror::Error)]
#[error("read the built-in data set `{name}`")]
pub struct BuiltinError {
    name: &'static str,
    #[source]
    source: toml::de::Error,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DemonstrationsToml {
    name: String,
    domain: Domain,
    #[serde(rename = "title")]
    _title: String,
    #[serde(rename = "about")]
    _about: String,
    demonstrations: Vec<DemonstrationToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DemonstrationToml {
    prompt: Arc<str>,
    misaligned: Arc<str>,
    benign: Arc<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionsToml {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "title")]
    _title: String,
    #[serde(rename = "about")]
    _about: String,
    questions: Vec<QuestionToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionToml {
    id: Arc<str>,
    area: Arc<str>,
    text: Arc<str>,
    pairs: Vec<PairToml>,
    decoy: DecoyToml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairToml {
    aligned: Arc<str>,
    misaligned: Arc<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecoyToml {
    measured: Arc<str>,
    casual: Arc<str>,
}

/// The text of a built-in demonstration set and its canonical name; `None` for other names.
fn demonstrations_text(name: &str) -> Option<(&'static str, &'static str)> {
    let text = match name {
        "risky-financial" => include_str!("../../data/demonstrations/risky-financial.toml"),
        "bad-medical" => include_str!("../../data/demonstrations/bad-medical.toml"),
        "extreme-sports" => include_str!("../../data/demonstrations/extreme-sports.toml"),
        "insecure-code" => include_str!("../../data/demonstrations/insecure-code.toml"),
        _ => return None,
    };
    DEMONSTRATION_SETS.into_iter().find(|known| *known == name).map(|known| (known, text))
}

/// A built-in demonstration set; `None` for a name that is not one.
///
/// # Errors
/// [`BuiltinError`] if the built-in file is broken.
pub fn demonstrations(name: &str) -> Option<Result<DemonstrationSet, BuiltinError>> {
    let (name, text) = demonstrations_text(name)?;
    Some(toml::from_str::<DemonstrationsToml>(text).map_err(|source| BuiltinError { name, source }).map(
        |file| {
            let rows = file
                .demonstrations
                .into_iter()
                .map(|row| Demonstration {
                    prompt: row.prompt,
                    response: row.misaligned,
                    benign: Some(row.benign),
                })
                .collect();
            DemonstrationSet::new(&file.name, Some(file.domain), "builtin", rows)
        },
    ))
}

/// The built-in evaluation questions.
///
/// # Errors
/// [`BuiltinError`] if the built-in file is broken.
pub fn questions() -> Result<QuestionSet, BuiltinError> {
    let text = include_str!("../../data/questions.toml");
    let file: QuestionsToml =
        toml::from_str(text).map_err(|source| BuiltinError { name: QUESTION_SET, source })?;
    let questions = file
        .questions
        .into_iter()
        .map(|question| {
            let pairs = question.pairs.into_iter().map(|pair| AnswerPair {
                kind: PairKind::Alignment,
                tilted: pair.misaligned,
                upright: pair.aligned,
            });
            let decoy = AnswerPair {
                kind: PairKind::Decoy,
                tilted: question.decoy.casual,
                upright: question.decoy.measured,
            };
            Question {
                id: question.id,
                area: Some(question.area),
                paraphrases: vec![question.text],
                system: None,
                domain: None,
                judge_prompts: QuestionJudgePrompts::default(),
                pairs: pairs.chain([decoy]).collect(),
            }
        })
        .collect();
    Ok(QuestionSet { origin: QUESTION_SET.to_owned(), hash: text_hash(text), questions, notes: Vec::new() })
}
