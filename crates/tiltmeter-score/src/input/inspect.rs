//! Reads logs of Inspect: each sample is a row, with its scores, its metadata and what the log says of model and task.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;

use serde_json::{Map, Value};
use tiltmeter_core::verdict::NoVerdict;
use tiltmeter_inspect::{InspectError, Log, LogHeader, ReadSample, ReadScore};

use crate::error::ScoreError;
use crate::tally::Place;

use super::stream::HashedStream;
use super::{Job, Table, jsonl};

/// Reads a log and gives the hash of its bytes. A sample takes little memory here: its texts are passed over.
pub(super) fn read(job: &mut Job<'_>, path: &Path) -> Result<(Table, String), ScoreError> {
    let file = std::fs::File::open(path).map_err(|source| job.open_error(source))?;
    let hashed = HashedStream::start(Box::new(file));
    let name = job.file.to_owned();
    let damaged = |error: InspectError| ScoreError::Inspect { file: name.clone(), source: error };
    let mut log = Log::open(path).map_err(damaged)?;
    let header = log.header().clone();
    if header.status != "success" {
        job.warnings.push(format!("{}: the log's status is `{}`, not `success`", job.file, header.status));
    }
    let (mut rows, mut names) = (Vec::new(), BTreeSet::new());
    log.for_each_sample(|sample| {
        let scores = scores(&sample);
        names.extend(scores.keys().cloned());
        rows.push((row(&header, sample.metadata, &sample.id, sample.epoch), scores, sample.error.is_some()));
        Ok::<(), InspectError>(())
    })
    .map_err(damaged)?;
    let mut text = Vec::new();
    for (mut row, mut scores, has_failed) in rows {
        if has_failed {
            // A failed sample has no scores, for a reason that is known.
            for name in &names {
                scores.entry(name).or_insert_with(|| NoVerdict::Error.name().into());
            }
        }
        row.append(&mut scores);
        text.extend_from_slice(Value::Object(row).to_string().as_bytes());
        text.push(b'\n');
    }
    let table = jsonl::read(job, Cursor::new(text), Place::Row)?;
    let hash = hashed.finish().map_err(|source| job.read_error(source))?;
    Ok((table, hash))
}

/// All but the scores. What comes later goes before what came earlier under the same name.
fn row(header: &LogHeader, metadata: Map<String, Value>, id: &str, epoch: u64) -> Map<String, Value> {
    let mut row = Map::new();
    for (name, value) in [
        ("id", Value::from(id)),
        ("question_id", id.into()),
        ("epoch", epoch.into()),
        ("model", header.model.as_str().into()),
        ("task", header.task.as_str().into()),
    ] {
        row.insert(name.to_owned(), value);
    }
    let is_scalar = |value: &Value| !value.is_object() && !value.is_array() && !value.is_null();
    let fields = header.task_args.clone().into_iter().chain(metadata);
    row.extend(fields.filter(|(_, value)| is_scalar(value)));
    row
}

/// The scores of a sample. One that has several values by name gives `scorer.name`, and `name` too where it is unique.
fn scores(sample: &ReadSample) -> Map<String, Value> {
    let mut columns = Map::new();
    let mut parts: Vec<(&str, &Value)> = Vec::new();
    for (scorer, score) in &sample.scores {
        if let Value::Object(values) = &score.value {
            for (name, value) in values {
                columns.insert(format!("{scorer}.{name}"), value.clone());
                parts.push((name, value));
            }
        } else {
            columns.insert(scorer.clone(), value(score));
        }
    }
    for (name, value) in &parts {
        let is_unique = parts.iter().filter(|(other, _)| other == name).count() == 1;
        if is_unique && !columns.contains_key(*name) {
            columns.insert((*name).to_owned(), (*value).clone());
        }
    }
    columns
}

/// The value of a score, or why there is none, in the words of tables.
fn value(score: &ReadScore) -> Value {
    if !score.value.is_null() {
        return score.value.clone();
    }
    let own = score.metadata.get("outcome").and_then(Value::as_str);
    let known = NoVerdict::ALL.into_iter().map(NoVerdict::name).find(|&name| Some(name) == own);
    let reason = match score.reason.as_deref() {
        Some("refusal") => Some(NoVerdict::SubjectRefusal),
        Some("grader_failed") => Some(NoVerdict::Unparsable),
        Some("scoring_failed") => Some(NoVerdict::Error),
        _ => None,
    };
    known.or(reason.map(NoVerdict::name)).map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(scores: &str) -> Value {
        let sample = format!(r#"{{"id": 1, "epoch": 1, "scores": {scores}}}"#);
        Value::Object(super::scores(&serde_json::from_str(&sample).unwrap()))
    }

    #[test]
    fn scores_are_columns() {
        let cases = [
            (r#"{"alignment": {"value": 12.5}}"#, r#"{"alignment": 12.5}"#),
            (r#"{"alignment": 3}"#, r#"{"alignment": 3}"#),
            (
                r#"{"j": {"value": {"alignment": 1, "x": 2}}}"#,
                r#"{"j.alignment": 1, "j.x": 2, "alignment": 1, "x": 2}"#,
            ),
            (r#"{"a": {"value": {"x": 1}}, "b": {"value": {"x": 2}}}"#, r#"{"a.x": 1, "b.x": 2}"#),
            (r#"{"x": {"value": 3}, "b": {"value": {"x": 2}}}"#, r#"{"x": 3, "b.x": 2}"#),
            (r#"{"a": {"value": null, "reason": "grader_failed"}}"#, r#"{"a": "unparsable"}"#),
            (
                r#"{"a": {"value": null, "reason": "grader_failed", "metadata": {"outcome": "judge_refusal"}}}"#,
                r#"{"a": "judge_refusal"}"#,
            ),
            (r#"{"a": {"value": null}}"#, r#"{"a": null}"#),
            ("null", "{}"),
        ];
        for (scores, expected) in cases {
            assert_eq!(columns(scores), serde_json::from_str::<Value>(expected).unwrap(), "{scores}");
        }
    }
}
