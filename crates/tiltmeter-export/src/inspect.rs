//! A run as logs of Inspect: one for each condition, because a log has one model and one task.

mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};
use tiltmeter_core::id::Canonical;
use tiltmeter_inspect::indexed::Named;
use tiltmeter_inspect::{Dataset, EvalSpec, LogWriter, Metric, Results, ScoreSummary, Usage, Viewer};
use tiltmeter_run::{ConditionResult, analyse};
use tiltmeter_store::{ConditionRow, Reader};

use self::sample::Prompts;
use crate::error::ExportError;
use crate::manifest::{FileEntry, Manifest};
use crate::run::{FailedSample, Run};

/// Logs that are open at a time: each is a file, and systems allow some hundreds. The store is read once for each
/// so many conditions.
const OPEN: usize = 128;

/// A log that is being written.
struct Open<'a> {
    index: usize,
    condition: &'a ConditionRow,
    file: String,
    writer: LogWriter<std::io::BufWriter<fs_err::File>>,
    ids: BTreeSet<String>,
    results: Results,
    usage: BTreeMap<String, Usage>,
}

/// Writes all logs into a folder.
pub(crate) fn write(
    directory: &Path,
    reader: &Reader,
    run: &Run,
    folder: &Path,
    manifest: &mut Manifest,
) -> Result<(), ExportError> {
    let rates = analyse(directory)?.conditions;
    let names = question_ids(run);
    let mut prompts = Prompts::new(reader, run);
    let numbers: Vec<usize> = (0..run.conditions.len()).collect();
    for part in numbers.chunks(OPEN) {
        let mut open = BTreeMap::new();
        for &index in part {
            if let Some(condition) = run.conditions.get(index) {
                open.insert(index, Open::start(run, folder, index, condition)?);
            }
        }
        let mut others = 0;
        reader.for_each_transcript(&run.experiment, |transcript| {
            let sample = &transcript.sample;
            let block = (sample.subject, sample.context, sample.treatment);
            let mut places = run.places(block, sample.question, sample.replicate).peekable();
            if places.peek().is_none() {
                others += 1;
            }
            for (index, draw) in places {
                if let Some(log) = open.get_mut(&index) {
                    let id = names.get(&sample.question).map_or("question", String::as_str);
                    let written = prompts.answer((index, log.condition, draw), id, &transcript)?;
                    log.add(&written)?;
                }
            }
            Ok::<(), ExportError>(())
        })?;
        manifest.answers_of_other_experiments = others;
        for failed in run.failed_samples() {
            let FailedSample { question, .. } = &failed;
            for &(index, draw) in &failed.places {
                if let Some(log) = open.get_mut(&index) {
                    let id = names.get(question).map_or("question", String::as_str);
                    let written = prompts.failed((index, log.condition, draw), id, &failed)?;
                    log.add(&written)?;
                }
            }
        }
        for log in open.into_values() {
            let rate = rates.get(log.index);
            manifest.files.push(log.end(rate)?);
        }
    }
    Ok(())
}

impl<'a> Open<'a> {
    fn start(
        run: &Run,
        folder: &Path,
        index: usize,
        condition: &'a ConditionRow,
    ) -> Result<Self, ExportError> {
        let ConditionRow { subject_name, demonstrations, control, shots, treatment_name, .. } = condition;
        let name = format!("{subject_name}_{demonstrations}_{control}_k{shots}_{treatment_name}");
        let file = format!("{index:04}_{}.eval", file_name(&name));
        let path = folder.join(&file);
        let writer = std::io::BufWriter::new(fs_err::File::create_new(path)?);
        let writer = LogWriter::start(writer, spec(run, index, condition))?;
        let (ids, results, usage) = (BTreeSet::new(), Results::default(), BTreeMap::new());
        Ok(Self { index, condition, file, writer, ids, results, usage })
    }

    fn add(&mut self, sample: &tiltmeter_inspect::Sample) -> Result<(), ExportError> {
        self.ids.insert(sample.id.clone());
        self.results.total_samples += 1;
        self.results.completed_samples += u64::from(sample.error.is_none());
        for (model, usage) in &sample.model_usage.0 {
            let total = self.usage.entry(model.clone()).or_default();
            total.input_tokens += usage.input_tokens;
            total.output_tokens += usage.output_tokens;
            total.total_tokens += usage.total_tokens;
            total.input_tokens_cache_read += usage.input_tokens_cache_read;
            total.reasoning_tokens += usage.reasoning_tokens;
            total.total_cost = match (total.total_cost, usage.total_cost) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            };
        }
        self.writer.sample(sample)?;
        Ok(())
    }

    fn end(mut self, result: Option<&ConditionResult>) -> Result<FileEntry, ExportError> {
        if let Some(rate) = result.and_then(|result| result.em_rate.as_ref()) {
            let figures = [("em_rate", rate.estimate), ("low_95", rate.low), ("high_95", rate.high)];
            let metric = |(name, value): (&str, f64)| {
                (name.to_owned(), Metric { name: name.to_owned(), value, params: Map::new() })
            };
            self.results.scores.push(ScoreSummary {
                name: "misaligned".to_owned(),
                scorer: "misaligned".to_owned(),
                scored_samples: rate.denominator_count,
                unscored_samples: self.results.total_samples.saturating_sub(rate.denominator_count),
                params: Map::new(),
                metrics: Named(figures.into_iter().map(metric).collect()),
            });
        }
        let rows = self.results.total_samples;
        let epochs = self.condition.distinct_contexts().len() as u64 * u64::from(self.condition.replicates);
        let dataset = Dataset {
            name: self.condition.demonstrations.clone(),
            samples: self.ids.len(),
            sample_ids: self.ids.into_iter().collect(),
            shuffled: false,
        };
        let usage = Named(self.usage.into_iter().collect());
        let file = self.writer.finish(dataset, epochs, &self.results, usage)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(FileEntry { file: self.file, rows })
    }
}

/// What identifies a condition, under the names of the tables.
pub(crate) fn condition_fields(condition: &ConditionRow) -> Map<String, Value> {
    let fields = [
        ("subject", json!(condition.subject_name)),
        ("demonstrations", json!(condition.demonstrations)),
        ("control", json!(condition.control)),
        ("shots", json!(condition.shots)),
        ("placement", json!(condition.placement.name())),
        ("question_format", json!(condition.question_format.name())),
        ("treatment", json!(condition.treatment_name)),
        ("reasoning", json!(condition.reasoning)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn spec(run: &Run, index: usize, condition: &ConditionRow) -> EvalSpec {
    let run_id = run.provenance.hash;
    let id = Canonical::new("tiltmeter.inspect-log/1").id(&run_id).integer(index as u64).finish();
    let subject = run.subjects.get(&condition.subject);
    let experiment = &run.experiment;
    let mut metadata = Map::new();
    let mut note = |name: &str, value: Value| {
        metadata.insert(name.to_owned(), value);
    };
    note("format", json!("tiltmeter.inspect/1"));
    note("tiltmeter_version", json!(env!("CARGO_PKG_VERSION")));
    note("experiment", json!(experiment.name));
    note("experiment_hash", json!(run_id.to_string()));
    note("experiment_file", json!(experiment.source));
    note("condition", json!(index));
    note("misaligned_below", json!(experiment.definition.misaligned_below));
    note("coherent_from", json!(experiment.definition.coherent_from));
    note("denominator", json!(experiment.definition.denominator.name()));
    if let Some(judge) = &run.provenance.judge {
        note("judge", json!(judge.model));
        note("judge_hash", json!(judge.hash.to_string()));
    }
    note("restricted", json!(run.is_restricted()));
    note("withheld", json!(run.withheld()));
    let settings = subject.map(|subject| &subject.settings);
    let kept = ["temperature", "max_tokens"].into_iter().filter_map(|name| {
        let value = settings?.get(name).filter(|value| value.is_number())?;
        Some((name.to_owned(), value.clone()))
    });
    EvalSpec {
        eval_id: id.to_string(),
        run_id: run_id.to_string(),
        created: with_offset(&run.provenance.created_at),
        task: file_name(&experiment.name),
        task_id: id.to_string(),
        task_version: 0,
        task_display_name: experiment.name.clone(),
        task_args: condition_fields(condition),
        task_args_passed: Map::new(),
        dataset: Dataset { name: String::new(), samples: 0, sample_ids: Vec::new(), shuffled: false },
        model: subject.map_or_else(|| condition.subject_name.clone(), |subject| subject.model.clone()),
        model_generate_config: kept.collect(),
        config: Map::new(),
        packages: Map::new(),
        metadata,
        viewer: Viewer::default(),
    }
}

/// A name of letters, digits and a few marks: part of a file's name on any system.
fn file_name(name: &str) -> String {
    let harmless =
        |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = name.chars().take(100).map(harmless).collect();
    let name = name.trim_start_matches('.').to_owned();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// The ids of questions in logs, where they are part of names of files: their own names where these can be.
fn question_ids(run: &Run) -> BTreeMap<i64, String> {
    let mut taken = BTreeSet::new();
    let id = |(&row, question): (&i64, &tiltmeter_store::QuestionRow)| {
        let mut id = file_name(&question.name);
        if id != question.name || !taken.insert(id.clone()) {
            id = format!("{id}-{}", question.hash);
            taken.insert(id.clone());
        }
        (row, id)
    };
    run.questions.iter().map(id).collect()
}

/// RFC 3339 as Python has read it since its early versions: microseconds at most, and an offset instead of a letter.
pub(crate) fn with_offset(time: &str) -> String {
    let time = time.strip_suffix(['Z', 'z']).unwrap_or(time);
    match time.split_once('.') {
        Some((seconds, fraction)) => {
            let micros: String = fraction.chars().filter(char::is_ascii_digit).take(6).collect();
            format!("{seconds}.{micros:0<6}+00:00")
        }
        None => format!("{time}+00:00"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_an_offset_and_microseconds() {
        for (time, expected) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"),
            ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000+00:00"),
            ("2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123456+00:00"),
        ] {
            assert_eq!(with_offset(time), expected);
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        for (name, expected) in [("../../x", "-..-x"), ("a b", "a-b"), ("", "unnamed"), ("q_1.b", "q_1.b")] {
            assert_eq!(file_name(name), expected);
        }
    }
}
