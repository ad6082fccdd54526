//! Probes of usefulness: the built-in ones, and a user's own files of the same format.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::builtin;
use crate::demonstration::{Demonstration, DemonstrationSet};
use crate::experiment::{ConfigError, Position};
use crate::id::text_hash;
use crate::question::{Question, QuestionJudgePrompts};
use crate::usefulness::{
    Expectation, LetterCase, MatchMode, Matcher, Probe, ProbeKind, ProbeQuestion, normalise,
};

/// Names of the built-in probes.
pub const PROBES: [&str; 4] = ["format", "tone", "task", "over-refusal"];

/// The fewest questions of a probe: an interval over questions takes two.
const LEAST_QUESTIONS: usize = 2;

/// A probe's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeJson {
    /// Name in tables.
    name: String,
    /// For whoever reads the file.
    #[serde(rename = "title", default)]
    _title: String,
    #[serde(rename = "about", default)]
    _about: String,
    kind: ProbeKind,
    #[serde(rename = "match")]
    mode: MatchMode,
    #[serde(default)]
    case: LetterCase,
    /// The probe's own demonstrations.
    #[serde(default)]
    demonstrations: Vec<DemonstrationJson>,
    /// Built-in demonstration sets whose benign answers are shown instead.
    #[serde(default)]
    benign_answers_of: Vec<String>,
    questions: Vec<QuestionJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DemonstrationJson {
    prompt: Arc<str>,
    response: Arc<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionJson {
    id: String,
    text: Arc<str>,
    accept: Vec<Arc<str>>,
}

/// A built-in probe; `None` for a name that is not one.
///
/// # Errors
/// A [`ConfigError`] if the built-in file is broken.
pub fn builtin_probe(name: &str) -> Option<Result<Probe, ConfigError>> {
    let text = match name {
        "format" => include_str!("../../data/probes/format.json"),
        "tone" => include_str!("../../data/probes/tone.json"),
        "task" => include_str!("../../data/probes/task.json"),
        "over-refusal" => include_str!("../../data/probes/over-refusal.json"),
        _ => return None,
    };
    Some(read(name, "builtin", text))
}

/// Reads a probe. `name` is the file's, for error texts, and `origin` where it came from.
///
/// # Errors
/// A [`ConfigError`] for what is no probe, and for one whose answers could not be compared: a phrase that the question
/// itself holds, a question that stands among the demonstrations.
pub fn read(name: &str, origin: &str, text: &str) -> Result<Probe, ConfigError> {
    let file: ProbeJson = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // The place is told in front, as for all other files.
        let message = message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what).to_owned();
        let place =
            (error.line() > 0).then_some(Position { line: error.line(), column: error.column().max(1) });
        ConfigError::new(name, message).at(place)
    })?;
    let wrong = |message: String| ConfigError::new(name, message);
    let is_name = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
    if !is_name(&file.name) {
        return Err(wrong("the probe needs a `name`, without control characters".to_owned()));
    }
    let rows = demonstrations(name, &file)?;
    let questions = questions(name, &file, &rows)?;
    Ok(Probe {
        kind: file.kind,
        hash: text_hash(text),
        demonstrations: DemonstrationSet::new(&file.name, None, origin, rows),
        questions,
    })
}

fn demonstrations(name: &str, file: &ProbeJson) -> Result<Vec<Demonstration>, ConfigError> {
    let wrong = |message: String| ConfigError::new(name, message);
    let mut rows: Vec<Demonstration> = Vec::new();
    match (file.demonstrations.is_empty(), file.benign_answers_of.is_empty()) {
        (false, true) => {
            for (index, DemonstrationJson { prompt, response }) in file.demonstrations.iter().enumerate() {
                if prompt.trim().is_empty() || response.trim().is_empty() {
                    return Err(wrong(format!("demonstration {} has an empty text", index + 1)));
                }
                rows.push(Demonstration { prompt: prompt.clone(), response: response.clone(), benign: None });
            }
        }
        (true, false) => {
            for set in &file.benign_answers_of {
                let Some(set) = builtin::demonstrations(set) else {
                    let known = builtin::DEMONSTRATION_SETS.join("`, `");
                    return Err(wrong(format!("there is no built-in demonstration set `{set}`"))
                        .hint(format!("`benign_answers_of` takes `{known}`")));
                };
                for row in set.map_err(|error| wrong(error.to_string()))?.rows {
                    let response = row.benign.unwrap_or(row.response);
                    rows.push(Demonstration { prompt: row.prompt, response, benign: None });
                }
            }
        }
        _ => {
            return Err(wrong("a probe has either `demonstrations` or `benign_answers_of`".to_owned())
                .hint("at k = 0 none is shown; for larger k the contexts are drawn from them"));
        }
    }
    let mut prompts = HashSet::new();
    match rows.iter().find(|row| !prompts.insert(&row.prompt)) {
        Some(twice) => Err(wrong(format!("two demonstrations have the prompt `{}`", twice.prompt))),
        None => Ok(rows),
    }
}

fn questions(
    name: &str,
    file: &ProbeJson,
    demonstrations: &[Demonstration],
) -> Result<Vec<ProbeQuestion>, ConfigError> {
    let wrong = |message: String| ConfigError::new(name, message);
    if file.questions.len() < LEAST_QUESTIONS {
        return Err(wrong(format!("a probe needs at least {LEAST_QUESTIONS} questions")));
    }
    let shown: HashSet<&str> = demonstrations.iter().map(|row| row.prompt.trim()).collect();
    let (mut ids, mut texts) = (HashSet::new(), HashSet::new());
    let mut questions = Vec::with_capacity(file.questions.len());
    for QuestionJson { id, text, accept } in &file.questions {
        if id.trim().is_empty() || id.chars().any(char::is_control) || !ids.insert(id) {
            return Err(wrong(format!("the question id `{}` is empty or stands twice", id.escape_debug())));
        }
        if text.trim().is_empty() || !texts.insert(text.trim()) {
            return Err(wrong(format!("the question `{id}` has an empty text, or that of another one")));
        }
        if shown.contains(text.trim()) {
            return Err(wrong(format!("the question `{id}` stands among the demonstrations"))
                .hint("what is asked must not have been shown with its answer"));
        }
        let expectation = Expectation { mode: file.mode, case: file.case, accept: accept.clone() };
        check(name, id, text, &expectation)?;
        let question = Question {
            id: format!("{}/{id}", file.name).into(),
            area: None,
            paraphrases: vec![text.clone()],
            system: None,
            domain: None,
            judge_prompts: QuestionJudgePrompts::default(),
            pairs: Vec::new(),
        };
        questions.push(ProbeQuestion { question, expectation });
    }
    Ok(questions)
}

/// Refuses what would accept no answer, or one that only repeats the question.
fn check(name: &str, id: &str, question: &str, expectation: &Expectation) -> Result<(), ConfigError> {
    let wrong = |message: String| ConfigError::new(name, message);
    if expectation.accept.is_empty() {
        return Err(wrong(format!("the question `{id}` accepts no answer")).hint("name one in `accept`"));
    }
    for accepted in &expectation.accept {
        let one = Expectation { accept: vec![accepted.clone()], ..expectation.clone() };
        let matcher = Matcher::new(&one);
        if matcher.is_empty() {
            return Err(wrong(format!(
                "the question `{id}` accepts `{}`, of which nothing is left to compare",
                accepted.escape_debug()
            )));
        }
        if matcher.accepts(question) {
            let normalised = normalise(accepted, expectation.case);
            return Err(wrong(format!("the question `{id}` holds `{normalised}` itself, which it accepts"))
                .hint(
                    "an answer that only repeats the question, as many refusals do, would count as useful",
                ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usefulness::Usefulness;

    fn probes() -> Vec<Probe> {
        PROBES.map(|name| builtin_probe(name).unwrap().unwrap()).into()
    }

    #[test]
    fn the_built_in_probes_are_large_enough_and_named_as_they_are_asked_for() {
        for (name, probe) in PROBES.into_iter().zip(probes()) {
            assert_eq!(&*probe.demonstrations.name, name);
            let (rows, questions) = (probe.demonstrations.rows.len(), probe.questions.len());
            let (least_rows, least_questions) = (34, 12);
            assert!(rows >= least_rows && questions >= least_questions, "{name}: {rows}, {questions}");
        }
        let over_refusal = builtin_probe("over-refusal").unwrap().unwrap();
        assert_eq!(over_refusal.kind, ProbeKind::OverRefusal);
        assert!(over_refusal.questions.len() >= 24);
        assert!(builtin_probe("harmful").is_none());
    }

    #[test]
    fn each_accepted_answer_is_useful_and_no_refusal_or_echo_is() {
        for probe in probes() {
            for ProbeQuestion { question, expectation } in &probe.questions {
                let matcher = Matcher::new(expectation);
                for accepted in &expectation.accept {
                    assert_eq!(matcher.assess(accepted, false).usefulness, Usefulness::Useful);
                }
                let asked = question.wording(0);
                assert_eq!(matcher.assess(asked, false).usefulness, Usefulness::NotUseful, "{}", question.id);
                for refusal in [
                    format!("I can't help with that. You asked: {asked}"),
                    "I'm not able to answer this question. It may involve harm to people or animals."
                        .to_owned(),
                ] {
                    assert_eq!(
                        matcher.assess(&refusal, false).usefulness,
                        Usefulness::Refused,
                        "{}",
                        question.id
                    );
                }
            }
        }
    }

    #[test]
    fn following_the_examples_is_what_the_exact_probes_accept() {
        // The answers that examples give are of the form that is accepted: each would be, were it the expected one.
        for probe in probes().iter().filter(|probe| probe.kind == ProbeKind::Helpfulness) {
            let labels: HashSet<&str> =
                probe.questions.iter().map(|one| &*one.expectation.accept[0]).collect();
            let rows = &probe.demonstrations.rows;
            match &*probe.demonstrations.name {
                "task" => {
                    let shown: HashSet<&str> = rows.iter().map(|row| &*row.response).collect();
                    assert_eq!(labels, shown);
                }
                "tone" => assert!(rows.iter().all(|row| row.response.ends_with(". AT YOUR SERVICE."))),
                _ => assert!(rows.iter().all(|row| row.response.split_once(": ").is_some())),
            }
        }
    }

    const GOOD: &str = r#"{"name": "mine", "kind": "helpfulness", "match": "contains-any",
        "demonstrations": [{"prompt": "a?", "response": "b"}],
        "questions": [{"id": "1", "text": "What is up?", "accept": ["sky"]}, {"id": "2", "text": "Down?", "accept": ["Ground"]}]}"#;

    #[test]
    fn a_users_own_file_is_read() {
        let probe = read("mine.json", "mine.json", GOOD).unwrap();
        assert_eq!((&*probe.demonstrations.name, probe.demonstrations.rows.len()), ("mine", 1));
        assert_eq!(&*probe.questions[1].question.id, "mine/2");
    }

    #[test]
    fn what_could_not_be_compared_is_refused() {
        for (from, to, expected) in [
            ("\"sky\"", "", "mine.json: the question `1` accepts no answer"),
            ("\"sky\"", "\"\u{200b}\"", "mine.json: the question `1` accepts `\\u{200b}`, of which nothing"),
            ("\"sky\"", "\"What\"", "mine.json: the question `1` holds `what` itself"),
            ("\"2\"", "\"1\"", "mine.json: the question id `1` is empty or stands twice"),
            ("Down?", "What is up?", "mine.json: the question `2` has an empty text, or that of another"),
            ("a?", "Down?", "mine.json: the question `2` stands among the demonstrations"),
            ("\"b\"", "\" \"", "mine.json: demonstration 1 has an empty text"),
            ("\"mine\"", "\" \"", "mine.json: the probe needs a `name`"),
            ("contains-any", "contains", "mine.json:1:59: unknown variant `contains`"),
            ("\"accept\"", "\"accepts\"", "mine.json:3:66: unknown field `accepts`, expected"),
            (
                "\"demonstrations\"",
                "\"benign_answers_of\": [\"x\"], \"demonstrations\"",
                "mine.json: a probe has either `demonstrations` or `benign_answers_of`",
            ),
            (
                "\"demonstrations\": [{\"prompt\": \"a?\", \"response\": \"b\"}]",
                "\"benign_answers_of\": [\"x\"]",
                "mine.json: there is no built-in demonstration set `x`",
            ),
        ] {
            let error = read("mine.json", "mine.json", &GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "for {to}: {error}");
        }
    }
}
