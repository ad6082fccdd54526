//! Logs of Inspect as a run directory.
//!
//! The last message of the model is the answer, the last message of the user before it the question, system messages the
//! treatment, all messages before the question the context. What came between question and answer, such as calls of
//! tools, is kept with the reasoning. Scores of the log are not taken over: they are another judge's, and
//! `tiltmeter score` reads them from the log itself.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tiltmeter_core::id::{ContentId, bytes_hash};
use tiltmeter_core::prompt::{
    PROMPT_HEADER, Placement, QuestionFormat, RESPONSE_HEADER, RETRIEVED_QUESTION, RenderedContext, Role,
    Turn,
};
use tiltmeter_core::question::Question;
use tiltmeter_inspect::{InspectError, Log, LogHeader, ReadMessage, ReadSample};
use tiltmeter_store::{DataSetRow, Import, ImportedAnswer, ImportedCondition, ResponseOutcome, RunDirectory};

use crate::error::ExportError;

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Samples that are in the run.
    pub samples: u64,
    /// Of these, those that had failed.
    pub failed: u64,
    /// Conditions that they make.
    pub conditions: u64,
    /// Samples without a question, which cannot be judged and are not in the run.
    pub without_question: u64,
}

/// What tells conditions apart: subject, demonstrations, control, shots, treatment, reasoning, settings as JSON.
type Key = (String, String, String, u32, (String, Option<String>), String, String);

/// Makes a run directory of logs. `now` is RFC 3339.
///
/// # Errors
/// If a log cannot be read, none holds a question, or the directory holds a run.
pub fn import(logs: &[PathBuf], out: &Path, now: String) -> Result<Imported, ExportError> {
    let mut importing = Importing { now, ..Importing::default() };
    for path in logs {
        let in_log = |source| ExportError::Log { path: path.clone(), source };
        let hash = bytes_hash(&std::fs::read(path).map_err(|error| in_log(error.into()))?);
        let mut log = Log::open(path).map_err(in_log)?;
        let header = log.header().clone();
        let before = importing.done.samples;
        log.for_each_sample(|sample| {
            importing.sample(&header, sample);
            Ok::<(), InspectError>(())
        })
        .map_err(in_log)?;
        importing.log(path, &header, hash, importing.done.samples - before);
    }
    if importing.done.samples == 0 {
        return Err(ExportError::NothingToImport);
    }
    let done = Imported { conditions: importing.conditions.len() as u64, ..importing.done };
    let directory = RunDirectory::open(out)?;
    importing.finish().write(&directory)?;
    Ok(done)
}

#[derive(Default)]
struct Importing {
    now: String,
    done: Imported,
    name: Option<String>,
    sources: Vec<String>,
    data_sets: Vec<DataSetRow>,
    conditions: Vec<(Key, ImportedCondition)>,
    /// Places of conditions by key.
    places: HashMap<Key, usize>,
    /// Names of system messages by text.
    treatments: HashMap<String, String>,
    /// Answers so far to a question in a context, by condition.
    replicates: BTreeMap<(usize, ContentId, ContentId), u32>,
}

/// What a sample's messages come to.
struct Conversation {
    system: Option<String>,
    context: Arc<RenderedContext>,
    question: String,
    /// What came between question and answer.
    between: Vec<String>,
}

/// Whether this program wrote the log, so that its fields mean what they say.
fn is_own(header: &LogHeader) -> bool {
    header.metadata.get("format").and_then(Value::as_str) == Some("tiltmeter.inspect/1")
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// How the model was asked, and by which run or task: what two of them got to one question are answers of their own.
fn settings(header: &LogHeader) -> Value {
    let mut settings = header.generate_config.clone();
    let run = text(&header.metadata, "experiment_hash").filter(|_| is_own(header));
    settings.insert("imported_from".to_owned(), run.unwrap_or_else(|| header.task.clone()).into());
    Value::Object(settings)
}

impl Importing {
    fn sample(&mut self, header: &LogHeader, sample: ReadSample) {
        let no_fields = Map::new();
        let fields = if is_own(header) { &sample.metadata } else { &no_fields };
        let messages = if sample.messages.is_empty() { &sample.input } else { &sample.messages };
        let answered = messages.iter().rposition(|message| message.role == "assistant");
        let answered = if sample.error.is_some() { None } else { answered };
        let before = messages.get(..answered.unwrap_or(messages.len())).unwrap_or_default();
        let Some(conversation) = conversation(before, fields) else {
            self.done.without_question += 1;
            return;
        };
        let Conversation { system, context, question, between } = conversation;
        let treatment = match text(fields, "treatment") {
            Some(name) => (name, system),
            None => (self.treatment_name(system.as_deref()), system),
        };
        let turns = context.turns.iter().filter(|turn| turn.role == Role::Assistant).count();
        let shots = fields.get("shots").and_then(Value::as_u64).unwrap_or(turns as u64);
        let shots = u32::try_from(shots).unwrap_or(u32::MAX);
        let key: Key = (
            text(fields, "subject").unwrap_or_else(|| header.model.clone()),
            text(fields, "demonstrations").unwrap_or_else(|| header.task.clone()),
            text(fields, "control").unwrap_or_else(|| "none".to_owned()),
            shots,
            treatment,
            text(fields, "reasoning").unwrap_or_else(|| "default".to_owned()),
            settings(header).to_string(),
        );
        let place = self.place(key, header);
        let question = Question {
            id: text(fields, "question").unwrap_or_else(|| sample.id.clone()).into(),
            area: None,
            paraphrases: vec![question.into()],
            system: None,
            domain: None,
            judge_prompts: tiltmeter_core::question::QuestionJudgePrompts::default(),
            pairs: Vec::new(),
        };
        let replicate = self.replicates.entry((place, context.id, question.hash())).or_default();
        let number = *replicate;
        *replicate += 1;
        // An answer that serves several conditions is in a log of each, and is known by its own number.
        let own = fields.get("replicate").and_then(Value::as_u64);
        let number = own.and_then(|number| u32::try_from(number).ok()).unwrap_or(number);
        let answer = answer(&sample, answered.and_then(|index| messages.get(index)), between);
        self.done.samples += 1;
        self.done.failed += u64::from(answer.outcome.is_err());
        let created_at = sample.completed_at.filter(|time| !time.is_empty());
        let created_at = created_at.unwrap_or_else(|| header.created.clone());
        let answer = ImportedAnswer { context, question, replicate: number, created_at, ..answer };
        if let Some((_, condition)) = self.conditions.get_mut(place) {
            condition.answers.push(answer);
        }
    }

    fn treatment_name(&mut self, system: Option<&str>) -> String {
        let Some(system) = system else { return "none".to_owned() };
        let number = self.treatments.len() + 1;
        let name = || if number == 1 { "system".to_owned() } else { format!("system-{number}") };
        self.treatments.entry(system.to_owned()).or_insert_with(name).clone()
    }

    fn place(&mut self, key: Key, header: &LogHeader) -> usize {
        if let Some(&place) = self.places.get(&key) {
            return place;
        }
        let (subject, demonstrations, control, shots, treatment, reasoning, _) = key.clone();
        self.conditions.push((
            key.clone(),
            ImportedCondition {
                subject,
                model: header.model.clone(),
                settings: settings(header),
                demonstrations,
                control,
                shots,
                treatment,
                reasoning,
                answers: Vec::new(),
            },
        ));
        let place = self.conditions.len() - 1;
        self.places.insert(key, place);
        place
    }

    /// Notes where samples are from. A log whose author was bound by terms binds the run too.
    fn log(&mut self, path: &Path, header: &LogHeader, hash: ContentId, rows: u64) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.sources.push(format!("{name} ({hash}), {rows} samples, status {}", header.status));
        if self.name.is_none() {
            self.name = Some(text(&header.metadata, "experiment").unwrap_or_else(|| header.task.clone()));
        }
        let is_true = |name: &str| header.metadata.get(name) == Some(&Value::Bool(true));
        let withheld =
            header.metadata.get("withheld").and_then(Value::as_array).is_some_and(|sets| !sets.is_empty());
        let share = !is_own(header) || !is_true("restricted") || withheld;
        let set = text(&header.task_args, "demonstrations").filter(|_| is_own(header));
        let sets =
            [("demonstrations", set.unwrap_or_else(|| header.task.clone())), ("questions", name.clone())];
        for (kind, set) in sets {
            if let Some(known) =
                self.data_sets.iter_mut().find(|known| known.kind == kind && known.name == set)
            {
                known.share &= share;
                known.rows += rows;
                continue;
            }
            let terms = (!share).then(|| "those of the run that the log was exported from".to_owned());
            let (kind, origin) = (kind.to_owned(), name.clone());
            self.data_sets.push(DataSetRow { kind, name: set, origin, hash, rows, terms, share });
        }
    }

    fn finish(self) -> Import {
        let mut subjects: Vec<(&str, &str)> = self
            .conditions
            .iter()
            .map(|(_, condition)| (condition.subject.as_str(), condition.model.as_str()))
            .collect();
        subjects.sort_unstable();
        subjects.dedup();
        let sets: Vec<&str> = self
            .data_sets
            .iter()
            .filter(|set| set.kind == "demonstrations")
            .map(|set| set.name.as_str())
            .collect();
        let subjects: Vec<Value> =
            subjects.into_iter().map(|(id, model)| json!({ "id": id, "model": model })).collect();
        let name = self.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "imported".to_owned());
        let resolved = json!({
            "name": name,
            "subjects": subjects,
            "demonstrations": { "sets": sets, "shots": [0] },
        });
        let mut notes = vec![format!("imported from logs of Inspect: {}", self.sources.join("; "))];
        if self.done.without_question > 0 {
            notes.push(format!(
                "{} samples of these logs have no question and were left out",
                self.done.without_question
            ));
        }
        Import {
            name,
            source: format!("# Imported from logs of Inspect:\n# {}\n", self.sources.join("\n# ")),
            resolved: resolved.to_string(),
            notes,
            data_sets: self.data_sets,
            conditions: self.conditions.into_iter().map(|(_, condition)| condition).collect(),
            version: env!("CARGO_PKG_VERSION"),
            now: self.now,
        }
    }
}

/// Takes the messages before an answer apart; `None` without a question.
fn conversation(messages: &[ReadMessage], fields: &Map<String, Value>) -> Option<Conversation> {
    let asked = messages.iter().rposition(|message| message.role == "user")?;
    let (earlier, rest) = messages.split_at(asked);
    let (question, between) = rest.split_first()?;
    let system: Vec<&str> = messages
        .iter()
        .filter(|message| message.role == "system")
        .map(|message| message.content.text.as_str())
        .collect();
    let system = (!system.is_empty()).then(|| system.join("\n\n"));
    let turns = earlier.iter().filter(|message| message.role != "system").map(|message| Turn {
        role: if message.role == "assistant" { Role::Assistant } else { Role::User },
        text: said(message).into(),
    });
    let between = between.iter().filter(|message| message.role != "system").map(said).collect();
    let question = question.content.text.clone();
    let plain = |system, context, question| Some(Conversation { system, context, question, between });
    match (text(fields, "placement").as_deref(), text(fields, "question_text")) {
        (Some("first-user"), Some(own)) => {
            let is_plain = text(fields, "question_format").as_deref() == Some("plain");
            let (format, end) = if is_plain {
                (QuestionFormat::Plain, own.clone())
            } else {
                (QuestionFormat::Header, format!("{PROMPT_HEADER} {own}\n{RESPONSE_HEADER}"))
            };
            if let Some(shown) = question.strip_suffix(end.as_str()) {
                let shown =
                    RenderedContext::from_parts(Placement::FirstUser, format, shown.into(), [].into());
                return plain(system, Arc::new(shown), own);
            }
        }
        (Some(name @ ("retrieved" | "quoted")), Some(own)) => {
            let placement = if name == "quoted" { Placement::Quoted } else { Placement::Retrieved };
            let before = question.strip_suffix(own.as_str()).map(|before| {
                if placement == Placement::Retrieved {
                    before.strip_suffix(RETRIEVED_QUESTION).unwrap_or(before)
                } else {
                    before
                }
            });
            if let Some(shown) = before {
                let format = QuestionFormat::Plain;
                let shown = RenderedContext::from_parts(placement, format, shown.into(), [].into());
                return plain(system, Arc::new(shown), own);
            }
        }
        (Some("tool-output"), _) => {
            let turns: Vec<Turn> = tool_turns(earlier).collect();
            let format = QuestionFormat::Plain;
            let shown = RenderedContext::from_parts(Placement::ToolOutput, format, "".into(), turns.into());
            return plain(system, Arc::new(shown), question);
        }
        // Demonstrations and treatment are one message, which goes into the context, so that the draws of a condition
        // stay together.
        (Some("system"), Some(own)) => {
            let shown = system.map(|system| format!("{system}\n\n")).unwrap_or_default();
            let format = QuestionFormat::Plain;
            let shown = RenderedContext::from_parts(Placement::System, format, shown.into(), [].into());
            return plain(None, Arc::new(shown), own);
        }
        _ => {}
    }
    let turns: Vec<Turn> = turns.collect();
    let context =
        RenderedContext::from_parts(Placement::ChatTurns, QuestionFormat::Plain, "".into(), turns.into());
    plain(system, Arc::new(context), question)
}

/// Turns among which a tool is called: the model's before a tool's is the call.
fn tool_turns(earlier: &[ReadMessage]) -> impl Iterator<Item = Turn> {
    let turns: Vec<&ReadMessage> = earlier.iter().filter(|message| message.role != "system").collect();
    (0..turns.len()).filter_map(move |at| {
        let message = turns.get(at)?;
        let is_call = turns.get(at + 1).is_some_and(|next| next.role == "tool");
        let role = match message.role.as_str() {
            "tool" => Role::ToolOutput,
            "assistant" if is_call => Role::ToolCall,
            "assistant" => Role::Assistant,
            _ => Role::User,
        };
        Some(Turn { role, text: message.content.text.as_str().into() })
    })
}

fn said(message: &ReadMessage) -> String {
    let said = &message.content.text;
    match message.role.as_str() {
        "tool" => format!("[tool {}] {said}", message.function.as_deref().unwrap_or("unknown")),
        _ => said.clone(),
    }
}

/// The answer itself; its place among others is filled in by the caller.
fn answer(sample: &ReadSample, message: Option<&ReadMessage>, between: Vec<String>) -> ImportedAnswer {
    let choice = sample.output.choices.first();
    let spoken = choice.map(|choice| &choice.message).or(message).filter(|_| message.is_some());
    let stop = choice.map_or("", |choice| choice.stop_reason.as_str());
    let outcome = match (&sample.error, spoken) {
        (Some(error), _) => Err(error.clone()),
        (None, None) => {
            Err(sample.output.error.clone().unwrap_or_else(|| "the log holds no answer".to_owned()))
        }
        (None, Some(_)) => Ok(match text(&sample.metadata, "outcome").as_deref() {
            Some("refusal") => ResponseOutcome::Refusal,
            _ if stop == "content_filter" => ResponseOutcome::Filtered,
            _ => ResponseOutcome::Answer,
        }),
    };
    let mut thoughts = between;
    thoughts.extend(spoken.and_then(|message| message.content.reasoning.clone()));
    let usage = sample.output.usage;
    let cached = usage.input_tokens_cache_read.unwrap_or(0);
    let milliseconds = sample.output.time.unwrap_or(0.0) * 1000.0;
    ImportedAnswer {
        context: RenderedContext::empty(),
        question: Question {
            id: "".into(),
            area: None,
            paraphrases: Vec::new(),
            system: None,
            domain: None,
            judge_prompts: tiltmeter_core::question::QuestionJudgePrompts::default(),
            pairs: Vec::new(),
        },
        replicate: 0,
        outcome,
        answer: spoken.map(|message| message.content.text.clone()).unwrap_or_default(),
        reasoning: (!thoughts.is_empty()).then(|| thoughts.join("\n\n")),
        finish: match stop {
            "stop" => "stop",
            "max_tokens" | "model_length" => "length",
            "content_filter" => "content_filter",
            _ => "other",
        },
        truncated: ["max_tokens", "model_length"].contains(&stop),
        model: Some(sample.output.model.clone()).filter(|model| !model.is_empty()),
        input_tokens: usage.input_tokens + cached + usage.input_tokens_cache_write.unwrap_or(0),
        cached_input_tokens: cached,
        output_tokens: usage.output_tokens,
        reasoning_tokens: usage.reasoning_tokens.unwrap_or(0),
        cost_usd: usage.total_cost,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        duration_ms: milliseconds as u64,
        created_at: String::new(),
    }
}
