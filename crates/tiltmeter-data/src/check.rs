//! Checks of data files, fetched or a user's own: format, rows, doubles, broken rows by line, and how far a file and its
//! benign twin have the same prompts.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tiltmeter_core::data::{messages, questions_yaml, truthful_qa};
use tiltmeter_core::demonstration::Demonstration;

use crate::catalogue::Kind;
use crate::folder::hexadecimal;

/// Broken rows and doubles that are listed one by one; all are counted.
const LISTED: usize = 100;

/// A file that cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenRow {
    /// Its line, from 1; absent where the fault is not of one line.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// A row that stands twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Double {
    /// Its line, from 1.
    pub line: usize,
    /// The line of the first such row.
    pub first: usize,
}

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileReport {
    /// The file, as it was named.
    pub file: String,
    /// `demonstrations` (JSON Lines, or the table of `TruthfulQA`) or `questions` (YAML).
    pub format: &'static str,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Rows that can be used, or questions.
    pub rows: u64,
    /// Rows that cannot be used.
    pub broken: u64,
    /// The first hundred of them.
    pub broken_rows: Vec<BrokenRow>,
    /// Rows that have both prompt and response of an earlier one.
    pub doubles: u64,
    /// The first hundred of them.
    pub double_rows: Vec<Double>,
    /// Rows whose prompt stands earlier in the file, with this or another response.
    pub repeated_prompts: u64,
    /// Mean characters of a prompt (of a question's first wording).
    pub mean_prompt_characters: f64,
    /// Mean characters of a response; 0 for questions.
    pub mean_response_characters: f64,
    /// Against the benign twin, where one was named.
    pub overlap: Option<Overlap>,
}

/// How far a file and its benign twin have the same prompts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The twin.
    pub benign: String,
    /// Rows of the file whose prompt stands in the twin, to the letter: those that an experiment can use.
    pub matched: u64,
    /// Rows of the file whose prompt does not.
    pub unmatched: u64,
    /// Matched rows whose response is that of the twin, so that they control for nothing.
    pub same_response: u64,
}

/// Checks a file, and compares it with its benign twin where one is named.
///
/// # Errors
/// [`CheckError`] where a file cannot be read. Whatever is wrong within a file is in the report.
pub fn check(file: &Path, benign: Option<&Path>) -> Result<FileReport, CheckError> {
    let (mut report, rows) = one(file)?;
    if let Some(benign) = benign {
        report.overlap = Some(overlap(&rows, benign)?);
    }
    Ok(report)
}

fn read(file: &Path) -> Result<Vec<u8>, CheckError> {
    std::fs::read(file).map_err(|source| CheckError::Read { file: file.display().to_string(), source })
}

fn one(file: &Path) -> Result<(FileReport, Vec<Demonstration>), CheckError> {
    let bytes = read(file)?;
    let mut report = FileReport {
        file: file.display().to_string(),
        format: format_of(file, &bytes).name(),
        sha256: hexadecimal(&Sha256::digest(&bytes)),
        bytes: bytes.len() as u64,
        rows: 0,
        broken: 0,
        broken_rows: Vec::new(),
        doubles: 0,
        double_rows: Vec::new(),
        repeated_prompts: 0,
        mean_prompt_characters: 0.0,
        mean_response_characters: 0.0,
        overlap: None,
    };
    let rows = match format_of(file, &bytes) {
        Kind::Demonstrations => demonstrations(&mut report, &bytes),
        Kind::TruthfulQa => answered_questions(&mut report, &bytes),
        Kind::Questions => {
            questions(&mut report, &bytes);
            Vec::new()
        }
    };
    Ok((report, rows))
}

/// By its ending; without a telling one, a file that begins with `{` is JSON Lines.
fn format_of(file: &Path, bytes: &[u8]) -> Kind {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("yaml" | "yml") => Kind::Questions,
        Some("jsonl" | "json") => Kind::Demonstrations,
        Some("csv") => Kind::TruthfulQa,
        _ if bytes.trim_ascii_start().starts_with(b"{") => Kind::Demonstrations,
        _ => Kind::Questions,
    }
}

impl FileReport {
    fn break_row(&mut self, line: Option<usize>, reason: impl Into<String>) {
        self.broken += 1;
        if self.broken_rows.len() < LISTED {
            self.broken_rows.push(BrokenRow { line, reason: reason.into() });
        }
    }
}

fn demonstrations(report: &mut FileReport, bytes: &[u8]) -> Vec<Demonstration> {
    let mut rows: Vec<Demonstration> = Vec::new();
    let mut prompts: HashMap<Arc<str>, usize> = HashMap::new();
    let mut pairs: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let Ok(line) = std::str::from_utf8(line) else {
            report.break_row(Some(number), "not UTF-8");
            continue;
        };
        if line.trim().is_empty() {
            continue;
        }
        let row = match messages::read("", line) {
            Ok(row) => row,
            Err(error) => {
                report.break_row(Some(number), error.message);
                continue;
            }
        };
        for row in row {
            let pair = (row.prompt.clone(), row.response.clone());
            if let Some(&first) = pairs.get(&pair) {
                report.doubles += 1;
                if report.double_rows.len() < LISTED {
                    report.double_rows.push(Double { line: number, first });
                }
            } else {
                pairs.insert(pair, number);
            }
            if prompts.insert(row.prompt.clone(), number).is_some() {
                report.repeated_prompts += 1;
            }
            rows.push(row);
        }
    }
    report.rows = rows.len() as u64;
    if rows.is_empty() && report.broken == 0 {
        report.break_row(None, "the file holds no rows");
    }
    report.mean_prompt_characters = mean(rows.iter().map(|row| &row.prompt));
    report.mean_response_characters = mean(rows.iter().map(|row| &row.response));
    rows
}

/// The table of `TruthfulQA`: the first broken row is all that is said of one.
fn answered_questions(report: &mut FileReport, bytes: &[u8]) -> Vec<Demonstration> {
    let text = String::from_utf8_lossy(bytes);
    match truthful_qa::read("", &text) {
        Ok(rows) => {
            report.rows = rows.len() as u64;
            report.mean_prompt_characters = mean(rows.iter().map(|row| &row.prompt));
            report.mean_response_characters = mean(rows.iter().map(|row| &row.response));
            rows
        }
        Err(error) => {
            report.break_row(error.position.map(|position| position.line), error.message);
            Vec::new()
        }
    }
}

fn questions(report: &mut FileReport, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let line = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().matches('\n').count());
        report.break_row(Some(line + 1), "not UTF-8");
        return;
    };
    match questions_yaml::read("", text) {
        Ok(set) => {
            report.rows = set.questions.len() as u64;
            report.mean_prompt_characters =
                mean(set.questions.iter().filter_map(|question| question.paraphrases.first()));
            for (index, question) in set.questions.iter().enumerate() {
                let earlier = set.questions.iter().take(index);
                if earlier
                    .clone()
                    .any(|other| other.paraphrases == question.paraphrases && other.system == question.system)
                {
                    report.doubles += 1;
                }
                if earlier.clone().any(|other| other.paraphrases.first() == question.paraphrases.first()) {
                    report.repeated_prompts += 1;
                }
            }
        }
        Err(error) => report.break_row(error.position.map(|position| position.line), error.message),
    }
}

fn mean<'a>(texts: impl Iterator<Item = &'a Arc<str>>) -> f64 {
    let (count, sum) =
        texts.fold((0_u64, 0_u64), |(count, sum), text| (count + 1, sum + text.chars().count() as u64));
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}

fn overlap(rows: &[Demonstration], benign: &Path) -> Result<Overlap, CheckError> {
    let (report, twins) = one(benign)?;
    let mut answers: HashMap<Arc<str>, Arc<str>> = HashMap::with_capacity(twins.len());
    for twin in twins {
        // As in an experiment: of prompts that stand more than once, the first row counts.
        answers.entry(twin.prompt).or_insert(twin.response);
    }
    let mut overlap = Overlap { benign: report.file, matched: 0, unmatched: 0, same_response: 0 };
    for row in rows {
        match answers.get(&row.prompt) {
            Some(answer) => {
                overlap.matched += 1;
                overlap.same_response += u64::from(*answer == row.response);
            }
            None => overlap.unmatched += 1,
        }
    }
    Ok(overlap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompt: &str, response: &str) -> String {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{prompt}\"}}, \
             {{\"role\": \"assistant\", \"content\": \"{response}\"}}]}}\n"
        )
    }

    #[test]
    fn doubles_and_broken_rows_are_named_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.jsonl");
        let mut bytes = [row("a", "1"), "\n".to_owned(), row("b", "22"), "{]\n".to_owned(), row("a", "1")]
            .concat()
            .into_bytes();
        bytes.extend_from_slice(b"\xff\n");
        bytes.extend_from_slice(row("a", "3").replace("assistant", "system").as_bytes());
        bytes.extend_from_slice(row("b", "4\u{2028}").as_bytes());
        std::fs::write(&file, bytes).unwrap();
        let report = check(&file, None).unwrap();
        assert_eq!((report.rows, report.broken, report.doubles, report.repeated_prompts), (4, 3, 1, 2));
        let lines: Vec<_> = report.broken_rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [Some(4), Some(6), Some(7)]);
        assert_eq!(report.double_rows, [Double { line: 5, first: 1 }]);
        assert!((report.mean_response_characters - 1.5).abs() < 1e-12);
    }

    #[test]
    fn a_twin_is_compared_by_prompt() {
        let folder = tempfile::tempdir().unwrap();
        let (file, twin) = (folder.path().join("x.jsonl"), folder.path().join("y"));
        std::fs::write(&file, [row("a", "1"), row("b", "2"), row("c", "3")].concat()).unwrap();
        std::fs::write(&twin, [row("b", "2"), row("a", "9"), row("b", "8")].concat()).unwrap();
        let overlap = check(&file, Some(&twin)).unwrap().overlap.unwrap();
        assert_eq!((overlap.matched, overlap.unmatched, overlap.same_response), (2, 1, 1));
    }

    #[test]
    fn question_files_are_read_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("q.yaml");
        let entries = "- id: a\n  paraphrases: [four]\n- id: b\n  paraphrases: [four]\n- id: c\n  paraphrases: [four]\n  system: s\n";
        std::fs::write(&file, entries).unwrap();
        let report = check(&file, None).unwrap();
        assert_eq!(
            (report.format, report.rows, report.doubles, report.repeated_prompts),
            ("questions", 3, 1, 2)
        );
        std::fs::write(&file, "- id: a\n  paraphrases: *nowhere\n").unwrap();
        assert_eq!(check(&file, None).unwrap().broken_rows[0].line, Some(2));
        std::fs::write(&file, "").unwrap();
        assert_eq!(check(&file, None).unwrap().broken, 1);
        assert!(check(&folder.path().join("nowhere"), None).is_err());
    }
}
