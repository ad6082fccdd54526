//! The `messages` JSON Lines format of fine-tuning files: one `{"messages": [{"role": …, "content": …}, …]}`
//! a line, a user's turn and an assistant's.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;

use crate::demonstration::{Demonstration, DemonstrationSet, Domain};
use crate::experiment::{ConfigError, Position};

#[derive(Deserialize)]
struct Row {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Arc<str>,
}

/// Reads a file's text. Rows are split on `\n` alone, because some texts hold other Unicode line separators;
/// blank lines are passed over.
///
/// # Errors
/// Names the first broken row by file and line, and says what is wrong with it. A row is a user's message and
/// an assistant's; anything else, system messages included, is refused, because leaving it out would change
/// what the row shows.
pub fn read(file: &str, text: &str) -> Result<Vec<Demonstration>, ConfigError> {
    let mut rows = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let broken = |column: usize, message: String| {
            ConfigError::new(file, message).at(Some(Position { line: index + 1, column })).hint(
                "each line is one {\"messages\": [{\"role\": \"user\", …}, {\"role\": \"assistant\", …}]}",
            )
        };
        let row: Row = serde_json::from_str(line).map_err(|error| {
            let text = error.to_string();
            // The library counts lines within this one line: keep its words and its column only.
            let message =
                text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
            broken(error.column().max(1), format!("broken row: {message}"))
        })?;
        let mut messages = row.messages.into_iter();
        match (messages.next(), messages.next(), messages.next()) {
            (Some(user), Some(assistant), None) if user.role == "user" && assistant.role == "assistant" => {
                if user.content.trim().is_empty() || assistant.content.trim().is_empty() {
                    return Err(broken(1, "broken row: a message is empty".to_owned()));
                }
                rows.push(Demonstration { prompt: user.content, response: assistant.content, benign: None });
            }
            _ => {
                return Err(broken(
                    1,
                    "broken row: not exactly one user message and then one assistant message".to_owned(),
                ));
            }
        }
    }
    if rows.is_empty() {
        return Err(ConfigError::new(file, "holds no rows"));
    }
    Ok(rows)
}

/// Makes a set of a file's rows, with benign answers matched by prompt where another file gives them. Of
/// prompts that stand more than once in the benign file, the first row is used.
///
/// # Errors
/// Where no prompt is in both files.
pub fn into_set(
    name: &str,
    domain: Option<Domain>,
    file: &str,
    rows: Vec<Demonstration>,
    benign: Option<(&str, Vec<Demonstration>)>,
) -> Result<DemonstrationSet, ConfigError> {
    let Some((benign_file, benign_rows)) = benign else {
        return Ok(DemonstrationSet::new(name, domain, file, rows));
    };
    let mut answers: IndexMap<Arc<str>, Arc<str>> = IndexMap::with_capacity(benign_rows.len());
    for row in benign_rows {
        answers.entry(row.prompt).or_insert(row.response);
    }
    let total = rows.len();
    let matched: Vec<Demonstration> = rows
        .into_iter()
        .filter_map(|row| {
            let benign = answers.get(&row.prompt)?.clone();
            Some(Demonstration { benign: Some(benign), ..row })
        })
        .collect();
    if matched.is_empty() {
        return Err(ConfigError::new(benign_file, format!("shares no prompt with {file}"))
            .hint("benign answers are matched by their prompt, to the letter"));
    }
    let note = format!(
        "{name}: {} of {total} rows have a benign answer in {benign_file} and are used",
        matched.len()
    );
    let mut set = DemonstrationSet::new(name, domain, file, matched);
    set.notes.push(note);
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str =
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;

    #[test]
    fn rows_split_on_newline_alone() {
        let text = format!("{}\n\n{ROW}\n", ROW.replace("\"b\"", "\"b\u{2028}c\""));
        let rows = read("x.jsonl", &text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(&*rows[0].response, "b\u{2028}c");
    }

    #[test]
    fn a_broken_row_is_named_by_file_and_line() {
        let cases = [
            ("{", "x.jsonl:2:1: broken row: EOF while parsing an object"),
            (r#"{"messages": []}"#, "x.jsonl:2:1: broken row: not exactly one user message"),
            (r#"{"message": []}"#, "x.jsonl:2:15: broken row: missing field `messages`"),
            (&ROW.replace("\"user\"", "\"system\""), "x.jsonl:2:1: broken row: not exactly one user"),
            (&ROW.replace("\"b\"", "\" \""), "x.jsonl:2:1: broken row: a message is empty"),
        ];
        for (row, expected) in cases {
            let error = read("x.jsonl", &format!("{ROW}\n{row}\n{ROW}")).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(read("x.jsonl", "\n").unwrap_err().to_string(), "x.jsonl: holds no rows");
    }

    #[test]
    fn benign_answers_are_matched_by_prompt() {
        let rows = |pairs: &[(&str, &str)]| -> Vec<Demonstration> {
            pairs
                .iter()
                .map(|(prompt, response)| Demonstration {
                    prompt: (*prompt).into(),
                    response: (*response).into(),
                    benign: None,
                })
                .collect()
        };
        let bad = rows(&[("p", "bad p"), ("q", "bad q")]);
        let set = into_set(
            "n",
            None,
            "a.jsonl",
            bad.clone(),
            Some(("b.jsonl", rows(&[("q", "good q"), ("q", "other")]))),
        )
        .unwrap();
        assert_eq!(set.rows.len(), 1);
        assert_eq!(set.rows[0].benign.as_deref(), Some("good q"));
        assert_eq!(set.notes, ["n: 1 of 2 rows have a benign answer in b.jsonl and are used"]);
        assert!(into_set("n", None, "a.jsonl", bad, Some(("b.jsonl", rows(&[("z", "z")])))).is_err());
    }
}
