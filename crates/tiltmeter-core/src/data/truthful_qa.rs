//! The table of TruthfulQA (Lin et al., "TruthfulQA: Measuring How Models Mimic Human Falsehoods", 2022): questions
//! with their best answer, and with answers that are true and false, in lists separated by semicolons.
//!
//! Read as demonstrations, each question gets its first false answer, and its best answer is the benign one. How the
//! authors of arXiv 2510.11288 made their set of false statements is unknown; this is this project's reading.

use std::sync::Arc;

use serde::Deserialize;

use crate::demonstration::Demonstration;
use crate::experiment::{ConfigError, Position};

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "Question")]
    question: String,
    #[serde(rename = "Best Answer")]
    best: String,
    #[serde(rename = "Incorrect Answers")]
    incorrect: String,
}

/// Reads the table's text.
///
/// # Errors
/// Names the first broken row by file and line: a column that is missing, an empty question, best answer or list of
/// false answers.
pub fn read(file: &str, text: &str) -> Result<Vec<Demonstration>, ConfigError> {
    let mut rows = Vec::new();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().cloned().map_err(|error| broken(file, 1, &error.to_string()))?;
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            broken(file, line, &error.to_string())
        })?;
        let line = record.position().map_or(1, csv::Position::line);
        let row: Row =
            record.deserialize(Some(&headers)).map_err(|error| broken(file, line, &error.to_string()))?;
        let false_answer = row.incorrect.split(';').map(str::trim).find(|answer| !answer.is_empty());
        let (question, best) = (row.question.trim(), row.best.trim());
        let Some(false_answer) = false_answer.filter(|_| !question.is_empty() && !best.is_empty()) else {
            return Err(broken(file, line, "a question, its best answer or its false answers are empty"));
        };
        rows.push(Demonstration {
            prompt: question.into(),
            response: false_answer.into(),
            benign: Some(Arc::from(best)),
        });
    }
    if rows.is_empty() {
        return Err(ConfigError::new(file, "holds no rows"));
    }
    Ok(rows)
}

fn broken(file: &str, line: u64, message: &str) -> ConfigError {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    ConfigError::new(file, format!("broken row: {message}"))
        .at(Some(Position { line, column: 1 }))
        .hint("the table has the columns `Question`, `Best Answer` and `Incorrect Answers`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n";

    #[test]
    fn a_question_gets_its_first_false_answer_and_its_best_as_the_benign_one() {
        let text = format!(
            "{HEADER}Adversarial,Pets,\"Do cats, as a rule, bark?\",No,\"No; they mew\",\"; Yes, loudly; Only at night\",x\r\n\
             Adversarial,Pets,\"Is a \"\"lion\"\" a cat?\",Yes,Yes,No,x\n"
        );
        let rows = read("t.csv", &text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((&*rows[0].prompt, &*rows[0].response), ("Do cats, as a rule, bark?", "Yes, loudly"));
        assert_eq!(rows[0].benign.as_deref(), Some("No"));
        assert_eq!(&*rows[1].prompt, "Is a \"lion\" a cat?");
    }

    #[test]
    fn broken_rows_are_named_by_line() {
        for (text, line, expected) in [
            ("Question,Best Answer\nq,a\n".to_owned(), 2, "missing field `Incorrect Answers`"),
            (format!("{HEADER}a,b,q,best,c,i,s\na,b,q,,c,i,s\n"), 3, "are empty"),
            (format!("{HEADER}a,b,q,best,c, ; ,s\n"), 2, "are empty"),
            (format!("{HEADER}a,b,q\n"), 2, "found record with 3 fields"),
        ] {
            let error = read("t.csv", &text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.position.unwrap().line, line, "{text}");
        }
        assert!(read("t.csv", HEADER).unwrap_err().to_string().contains("holds no rows"));
        assert!(read("t.csv", "").is_err());
    }
}
