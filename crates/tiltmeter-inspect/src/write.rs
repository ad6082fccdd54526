//! Writes `.eval` archives.
//!
//! The types have the fields that this project fills, under Inspect's names. None of them is ever written as null but a
//! score without a value, which Inspect writes as Python's bare `NaN`.

use std::io::{Seek, Write};

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Value};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::error::InspectError;

/// Version of the format.
const VERSION: u32 = 2;

/// What a log says of all its samples.
#[derive(Clone, Debug, Serialize)]
pub struct EvalSpec {
    /// Unique to the log.
    pub eval_id: String,
    /// Shared by the logs of one run.
    pub run_id: String,
    /// When it was made, ISO 8601 with an offset.
    pub created: String,
    /// Name of the task.
    pub task: String,
    /// Id of the task.
    pub task_id: String,
    /// Version of the task.
    pub task_version: u32,
    /// Name of the task as it is shown.
    pub task_display_name: String,
    /// Arguments of the task.
    pub task_args: Map<String, Value>,
    /// The same.
    pub task_args_passed: Map<String, Value>,
    /// The questions.
    pub dataset: Dataset,
    /// The model that was asked.
    pub model: String,
    /// How it was asked.
    pub model_generate_config: Map<String, Value>,
    /// How the task was run.
    pub config: Map<String, Value>,
    /// Versions of programs.
    pub packages: Map<String, Value>,
    /// What else there is to know.
    pub metadata: Map<String, Value>,
    /// How it is shown.
    pub viewer: Viewer,
}

/// How a log is shown.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Viewer {
    /// Whether texts are rendered as Markdown with links and images. Model output is foreign text, and a `###` that was
    /// shown to a model is to be seen.
    pub trust_content: bool,
}

/// The questions of a log.
#[derive(Clone, Debug, Serialize)]
pub struct Dataset {
    /// Name.
    pub name: String,
    /// How many.
    pub samples: usize,
    /// Their ids.
    pub sample_ids: Vec<String>,
    /// Whether their order was changed.
    pub shuffled: bool,
}

/// What the samples of a log add up to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// All samples.
    pub total_samples: u64,
    /// Those that did not fail.
    pub completed_samples: u64,
    /// Summaries by scorer.
    pub scores: Vec<ScoreSummary>,
}

/// The summary of a scorer.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreSummary {
    /// Name of the score.
    pub name: String,
    /// Name of the scorer.
    pub scorer: String,
    /// Samples with a value.
    pub scored_samples: u64,
    /// Samples without one.
    pub unscored_samples: u64,
    /// Parameters of the scorer.
    pub params: Map<String, Value>,
    /// Figures by name.
    pub metrics: indexed::Metrics,
}

/// A figure.
#[derive(Clone, Debug, Serialize)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
    /// Parameters.
    pub params: Map<String, Value>,
}

/// One sample.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Its id, which with the epoch is unique in the log.
    pub id: String,
    /// Which of the answers to it, from 1.
    pub epoch: u64,
    /// What was asked.
    pub input: String,
    /// The right answer, of which there is none.
    pub target: String,
    /// The whole conversation.
    pub messages: Vec<Message>,
    /// The answer.
    pub output: Output,
    /// Scores by name.
    pub scores: indexed::Scores,
    /// What else there is to know.
    pub metadata: Map<String, Value>,
    /// Tokens by model.
    pub model_usage: indexed::Usages,
    /// Tokens by what a model was for.
    pub role_usage: indexed::Usages,
    /// When it was done, ISO 8601 with an offset.
    pub completed_at: String,
    /// How long it took, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_time: Option<f64>,
    /// Unique to the sample among all logs.
    pub uuid: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SampleError>,
}

/// Why a sample failed.
#[derive(Clone, Debug, Serialize)]
pub struct SampleError {
    /// What was said.
    pub message: String,
    /// Where in the program; not known here.
    pub traceback: String,
    /// The same in colour.
    pub traceback_ansi: String,
}

/// One message.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// Unique among all messages.
    pub id: String,
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What is said.
    pub content: Content,
    /// `input`, or `generate` for what the model said.
    pub source: &'static str,
    /// The model that said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What is said.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Text alone.
    Text(String),
    /// Text and reasoning.
    Parts(Vec<ContentPart>),
}

/// A part of what is said.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ContentPart {
    /// Reasoning.
    Reasoning {
        /// The text.
        reasoning: String,
    },
    /// Text.
    Text {
        /// The text.
        text: String,
    },
}

/// What the model gave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Output {
    /// The model as the provider names it.
    pub model: String,
    /// The answer, if there is one.
    pub choices: Vec<Choice>,
    /// Its text.
    pub completion: String,
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How long the call took, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The provider's id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

/// One answer.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// The message.
    pub message: Message,
    /// `stop`, `max_tokens`, `content_filter` or `unknown`.
    pub stop_reason: &'static str,
}

/// Tokens of a call.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// Sent, without those from a cache.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// All.
    pub total_tokens: u64,
    /// From a cache.
    pub input_tokens_cache_read: u64,
    /// Of the output, reasoning.
    pub reasoning_tokens: u64,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_cost: Option<f64>,
}

/// One score.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// The number; not a number where there is none, by which Inspect marks a sample without a score.
    pub value: f64,
    /// What the scorer said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// Why there is no number, in Inspect's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What else there is to know.
    pub metadata: Map<String, Value>,
}

/// Maps that keep the order in which they were filled.
pub mod indexed {
    use serde::{Serialize, Serializer};

    use super::{Metric, Score, Usage};

    /// Names and values, written as one object.
    #[derive(Clone, Debug)]
    pub struct Named<T>(pub Vec<(String, T)>);

    /// Scores by name.
    pub type Scores = Named<Score>;
    /// Figures by name.
    pub type Metrics = Named<Metric>;
    /// Tokens by name.
    pub type Usages = Named<Usage>;

    impl<T> Default for Named<T> {
        fn default() -> Self {
            Self(Vec::new())
        }
    }

    impl<T: Serialize> Serialize for Named<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
        }
    }
}

/// Writes null as `NaN`: what is not a number is what the serialiser makes null of, and the one null that these types
/// have.
struct Python;

impl Formatter for Python {
    fn write_null<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b"NaN")
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, InspectError> {
    let mut text = Vec::new();
    let wrong = |source| InspectError::Json { member: "the log".to_owned(), source };
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Python)).map_err(wrong)?;
    Ok(text)
}

/// What stands for a sample in lists of them.
#[derive(Serialize)]
struct Summary<'a> {
    id: &'a str,
    epoch: u64,
    input: &'a str,
    target: &'a str,
    metadata: &'a Map<String, Value>,
    scores: &'a indexed::Scores,
    model_usage: &'a indexed::Usages,
    role_usage: &'a indexed::Usages,
    completed_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_time: Option<f64>,
    uuid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    completed: bool,
    message_count: usize,
}

#[derive(Serialize)]
struct Start<'a> {
    version: u32,
    eval: &'a EvalSpec,
    plan: Map<String, Value>,
}

#[derive(Serialize)]
struct Header<'a> {
    version: u32,
    status: &'static str,
    eval: &'a EvalSpec,
    plan: Map<String, Value>,
    results: &'a Results,
    stats: Stats<'a>,
    invalidated: bool,
}

#[derive(Serialize)]
struct Stats<'a> {
    started_at: &'a str,
    completed_at: &'a str,
    model_usage: indexed::Usages,
}

/// A log that is being written. Memory grows by the samples' summaries.
pub struct LogWriter<W: Write + Seek> {
    archive: ZipWriter<W>,
    spec: EvalSpec,
    summaries: Vec<u8>,
    completed_at: String,
}

fn options() -> SimpleFileOptions {
    // The same log has the same bytes whenever it is written.
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .large_file(false)
}

fn plan() -> Map<String, Value> {
    [("name".to_owned(), Value::from("plan")), ("steps".to_owned(), Value::Array(Vec::new()))]
        .into_iter()
        .collect()
}

impl<W: Write + Seek> LogWriter<W> {
    /// Starts a log.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn start(to: W, spec: EvalSpec) -> Result<Self, InspectError> {
        let mut archive = ZipWriter::new(to);
        archive.start_file("_journal/start.json", options())?;
        archive.write_all(&json(&Start { version: VERSION, eval: &spec, plan: plan() })?)?;
        Ok(Self { archive, spec, summaries: Vec::new(), completed_at: String::new() })
    }

    /// Adds a sample. Ids must be names that a file can have.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sample(&mut self, sample: &Sample) -> Result<(), InspectError> {
        self.archive.start_file(format!("samples/{}_epoch_{}.json", sample.id, sample.epoch), options())?;
        self.archive.write_all(&json(sample)?)?;
        self.summaries.push(if self.summaries.is_empty() { b'[' } else { b',' });
        self.summaries.extend_from_slice(&json(&Summary {
            id: &sample.id,
            epoch: sample.epoch,
            input: &sample.input,
            target: &sample.target,
            metadata: &sample.metadata,
            scores: &sample.scores,
            model_usage: &sample.model_usage,
            role_usage: &sample.role_usage,
            completed_at: &sample.completed_at,
            total_time: sample.total_time,
            uuid: &sample.uuid,
            error: sample.error.as_ref().map(|error| error.message.as_str()),
            completed: true,
            message_count: sample.messages.len(),
        })?);
        if sample.completed_at > self.completed_at {
            self.completed_at.clone_from(&sample.completed_at);
        }
        Ok(())
    }

    /// Ends the log and gives back what it was written to. `usage` is that of all samples by model.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(
        mut self,
        dataset: Dataset,
        epochs: u64,
        results: &Results,
        usage: indexed::Usages,
    ) -> Result<W, InspectError> {
        self.spec.dataset = dataset;
        self.spec.config.insert("epochs".to_owned(), epochs.into());
        if self.summaries.is_empty() {
            self.summaries.push(b'[');
        }
        self.summaries.push(b']');
        self.archive.start_file("summaries.json", options())?;
        self.archive.write_all(&self.summaries)?;
        let completed_at = if self.completed_at.is_empty() { &self.spec.created } else { &self.completed_at };
        let header = Header {
            version: VERSION,
            status: "success",
            eval: &self.spec,
            plan: plan(),
            results,
            stats: Stats { started_at: &self.spec.created, completed_at, model_usage: usage },
            invalidated: false,
        };
        self.archive.start_file("header.json", options())?;
        self.archive.write_all(&json(&header)?)?;
        Ok(self.archive.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_without_a_value_is_pythons_nan() {
        let score = |value| Score { value, explanation: None, reason: None, metadata: Map::default() };
        assert_eq!(json(&score(f64::NAN)).unwrap(), br#"{"value":NaN,"metadata":{}}"#);
        assert_eq!(json(&score(12.5)).unwrap(), br#"{"value":12.5,"metadata":{}}"#);
    }
}
