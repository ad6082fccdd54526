//! Reads logs, one sample at a time where the format allows it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::Path;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use zip::{CompressionMethod, ZipArchive};

use crate::error::InspectError;
use crate::python_json::without_bare_words;

/// The most that a member is unpacked to, so that a small file cannot fill the memory.
const LARGEST: u64 = 1 << 30;
/// Zstandard as zip archives number it; what Inspect writes today. Older versions deflate.
const ZSTANDARD: u16 = 93;
/// Mark of a text that is kept apart, in a sample's attachments.
const ATTACHED: &str = "attachment://";

/// What a log says of all its samples.
#[derive(Clone, Debug, Default)]
pub struct LogHeader {
    /// Name of the task.
    pub task: String,
    /// The model that was asked, as `provider/model`.
    pub model: String,
    /// When it was made, ISO 8601.
    pub created: String,
    /// `success`, `error`, `cancelled`, or `started` for a log that was never finished.
    pub status: String,
    /// Arguments of the task.
    pub task_args: Map<String, Value>,
    /// What its author noted.
    pub metadata: Map<String, Value>,
    /// How the model was asked.
    pub generate_config: Map<String, Value>,
}

/// One sample.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ReadSample {
    /// Its id, within the data set.
    #[serde(deserialize_with = "text_or_number")]
    pub id: String,
    /// Which of the answers to it, from 1.
    #[serde(default)]
    pub epoch: u64,
    /// What was asked, as the data set has it.
    #[serde(default, deserialize_with = "messages_or_text")]
    pub input: Vec<ReadMessage>,
    /// The whole conversation, the answer included.
    #[serde(default)]
    pub messages: Vec<ReadMessage>,
    /// The last output of the model.
    #[serde(default)]
    pub output: ReadOutput,
    /// Scores by scorer, in the log's order.
    #[serde(default, deserialize_with = "scores")]
    pub scores: ScoreMap,
    /// What the data set or the task noted.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Map<String, Value>,
    /// Why the sample has failed, if it has.
    #[serde(default, deserialize_with = "error_message")]
    pub error: Option<String>,
    /// When it was done, ISO 8601.
    #[serde(default)]
    pub completed_at: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    attachments: HashMap<String, String>,
}

/// Scores by scorer, in the log's order.
type ScoreMap = Vec<(String, ReadScore)>;

/// One score.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ReadScore {
    /// A number, a word, a truth value, or several of these by name; null where there is none.
    #[serde(default)]
    pub value: Value,
    /// Why there is no number, in Inspect's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// What the scorer noted.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Map<String, Value>,
}

/// One message.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ReadMessage {
    /// `system`, `user`, `assistant` or `tool`.
    #[serde(default)]
    pub role: String,
    /// Text and reasoning; what is neither is named by its kind.
    #[serde(default, deserialize_with = "content")]
    pub content: MessageContent,
    /// The tool that a `tool` message is from.
    #[serde(default)]
    pub function: Option<String>,
}

/// Text and reasoning of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageContent {
    /// All text.
    pub text: String,
    /// All reasoning.
    pub reasoning: Option<String>,
}

/// What the model gave.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ReadOutput {
    /// The model as the provider names it.
    #[serde(default)]
    pub model: String,
    /// Its answers, of which the first is used.
    #[serde(default)]
    pub choices: Vec<ReadChoice>,
    /// Tokens.
    #[serde(default, deserialize_with = "or_default")]
    pub usage: ReadUsage,
    /// How long the call took, in seconds.
    #[serde(default)]
    pub time: Option<f64>,
    /// Why there is no answer.
    #[serde(default)]
    pub error: Option<String>,
}

/// One answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ReadChoice {
    /// The message.
    #[serde(default)]
    pub message: ReadMessage,
    /// Why it ended.
    #[serde(default)]
    pub stop_reason: String,
}

/// Tokens of a call.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct ReadUsage {
    /// Sent, without those from a cache and those put into one.
    #[serde(default)]
    pub input_tokens: u64,
    /// Written.
    #[serde(default)]
    pub output_tokens: u64,
    /// Put into a cache.
    #[serde(default)]
    pub input_tokens_cache_write: Option<u64>,
    /// From a cache.
    #[serde(default)]
    pub input_tokens_cache_read: Option<u64>,
    /// Of the output, reasoning.
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
    /// US dollars.
    #[serde(default)]
    pub total_cost: Option<f64>,
}

/// A log that is open.
pub struct Log {
    header: LogHeader,
    samples: Samples,
}

enum Samples {
    /// Members of an archive, by index, each read when it is wanted.
    Archive(Box<ZipArchive<BufReader<File>>>, Vec<usize>),
    Document(Vec<ReadSample>),
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    status: String,
    eval: Spec,
    #[serde(default, deserialize_with = "or_default")]
    samples: Vec<ReadSample>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    task: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    created: String,
    #[serde(default, deserialize_with = "or_default")]
    task_args: Map<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    metadata: Map<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    model_generate_config: Map<String, Value>,
}

impl Document {
    fn parts(self) -> (LogHeader, Vec<ReadSample>) {
        let Spec { task, model, created, task_args, metadata, model_generate_config } = self.eval;
        let status = if self.status.is_empty() { "started".to_owned() } else { self.status };
        let generate_config = model_generate_config;
        let header = LogHeader { task, model, created, status, task_args, metadata, generate_config };
        (header, self.samples)
    }
}

/// Whether a text begins as logs in one JSON document do.
pub fn is_json_log(head: &[u8]) -> bool {
    let text: Vec<u8> = head.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(4096).collect();
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    text.starts_with(b"{\"version\":") && holds(b"\"status\":") && holds(b"\"eval\":{")
}

impl Log {
    /// Opens a log, whichever of the two formats it has.
    ///
    /// # Errors
    /// If it cannot be read or is no log.
    pub fn open(path: &Path) -> Result<Self, InspectError> {
        let mut file = File::open(path)?;
        let mut magic = [0; 4];
        let read = file.read(&mut magic)?;
        file.rewind()?;
        if magic.get(..read) == Some(b"PK\x03\x04") {
            return Self::archive(file);
        }
        let mut text = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(InspectError::TooLarge { member: "the document".to_owned(), limit: LARGEST });
        }
        let document: Document = parse("the document", &text)?;
        let (header, mut samples) = document.parts();
        samples.iter_mut().for_each(ReadSample::attach);
        Ok(Self { header, samples: Samples::Document(samples) })
    }

    fn archive(file: File) -> Result<Self, InspectError> {
        let mut archive = ZipArchive::new(BufReader::new(file))?;
        let header = ["header.json", "_journal/start.json"]
            .into_iter()
            .find_map(|name| Some((name, archive.index_for_name(name)?)));
        let Some((name, index)) = header else { return Err(InspectError::NoHeader) };
        let document: Document = parse(name, &member(&mut archive, index)?)?;
        let (header, _) = document.parts();
        let is_sample = |name: &str| {
            name.strip_prefix("samples/").is_some_and(|name| name.strip_suffix(".json").is_some())
        };
        // Of members with one name the last is the one that counts, which is what the archive's index gives.
        let members = (0..archive.len())
            .filter(|&index| archive.name_for_index(index).is_some_and(is_sample))
            .collect();
        Ok(Self { header, samples: Samples::Archive(Box::new(archive), members) })
    }

    /// What it says of all samples.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// Hands out all samples, until `take` fails.
    ///
    /// # Errors
    /// If one cannot be read, or what `take` fails with.
    pub fn for_each_sample<E: From<InspectError>>(
        &mut self,
        mut take: impl FnMut(ReadSample) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.samples {
            Samples::Document(samples) => samples.drain(..).try_for_each(take),
            Samples::Archive(archive, members) => {
                for &index in members.iter() {
                    let name = archive.name_for_index(index).unwrap_or_default().to_owned();
                    let mut sample: ReadSample = parse(&name, &member(archive, index)?)?;
                    sample.attach();
                    take(sample)?;
                }
                Ok(())
            }
        }
    }
}

/// Unpacks a member. Its size as the archive states it is not relied on.
fn member(archive: &mut ZipArchive<BufReader<File>>, index: usize) -> Result<Vec<u8>, InspectError> {
    let mut text = Vec::new();
    let raw = archive.by_index_raw(index)?;
    let (name, method) = (raw.name().to_owned(), raw.compression());
    if method == CompressionMethod::Stored || method == CompressionMethod::Deflated {
        drop(raw);
        archive.by_index(index)?.take(LARGEST + 1).read_to_end(&mut text)?;
    } else if is_zstandard(method) {
        zstd::stream::read::Decoder::new(raw)?.take(LARGEST + 1).read_to_end(&mut text)?;
    } else {
        return Err(InspectError::Compression { member: name, method: method.to_string() });
    }
    if text.len() as u64 > LARGEST {
        return Err(InspectError::TooLarge { member: name, limit: LARGEST });
    }
    Ok(text)
}

/// The archive library is built without Zstandard, which this workspace has in another version.
fn is_zstandard(method: CompressionMethod) -> bool {
    #[expect(deprecated, reason = "the variant is for writing by number; here it is only looked at")]
    let known = CompressionMethod::Unsupported(ZSTANDARD);
    method == known
}

fn parse<T: DeserializeOwned>(name: &str, text: &[u8]) -> Result<T, InspectError> {
    let wrong = |source| InspectError::Json { member: name.to_owned(), source };
    match without_bare_words(text) {
        Some(mended) => serde_json::from_slice(&mended).map_err(wrong),
        None => serde_json::from_slice(text).map_err(wrong),
    }
}

impl ReadSample {
    /// Puts texts that are kept apart back in their places.
    fn attach(&mut self) {
        let attachments = std::mem::take(&mut self.attachments);
        if attachments.is_empty() {
            return;
        }
        let mend = |text: &mut String| {
            if let Some(attached) = text.strip_prefix(ATTACHED).and_then(|name| attachments.get(name)) {
                text.clone_from(attached);
            }
        };
        let answers = self.output.choices.iter_mut().map(|choice| &mut choice.message);
        for message in self.input.iter_mut().chain(&mut self.messages).chain(answers) {
            mend(&mut message.content.text);
            if let Some(reasoning) = &mut message.content.reasoning {
                mend(reasoning);
            }
        }
    }
}

/// A field that may be null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Scores, of which old logs have bare values.
fn scores<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ScoreMap, D::Error> {
    let scores: Option<Map<String, Value>> = Option::deserialize(deserializer)?;
    let scores = scores.unwrap_or_default().into_iter().map(|(name, score)| {
        let score = match score {
            score @ Value::Object(_) => serde_json::from_value(score).map_err(D::Error::custom)?,
            value => ReadScore { value, ..ReadScore::default() },
        };
        Ok((name, score))
    });
    scores.collect()
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn messages_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ReadMessage>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Messages(Vec<ReadMessage>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => {
            let content = MessageContent { text, reasoning: None };
            vec![ReadMessage { role: "user".to_owned(), content, function: None }]
        }
        Either::Messages(messages) => messages,
    })
}

fn content<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageContent, D::Error> {
    let parts = match Value::deserialize(deserializer)? {
        Value::String(text) => return Ok(MessageContent { text, reasoning: None }),
        Value::Array(parts) => parts,
        _ => return Ok(MessageContent::default()),
    };
    let mut content = MessageContent::default();
    for part in &parts {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        match text("type") {
            Some("text") => content.text.push_str(text("text").unwrap_or_default()),
            Some("reasoning") => {
                let withheld = part.get("redacted") == Some(&Value::Bool(true));
                let said = if withheld { text("summary") } else { text("reasoning") };
                content.reasoning.get_or_insert_default().push_str(said.unwrap_or_default());
            }
            kind => {
                content.text.push('[');
                content.text.push_str(kind.unwrap_or("unknown content"));
                content.text.push(']');
            }
        }
    }
    Ok(content)
}

fn error_message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.get("message").and_then(Value::as_str).unwrap_or("failed").to_owned()),
    })
}
