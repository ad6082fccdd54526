//! Shows the model its prompts and stored answers again, and projects what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tiltmeter_core::experiment::{SteerSpan, SteeringKind};
use tiltmeter_core::plan::{sample_id, system_message};
use tiltmeter_core::prompt::{Prompt, RenderedContext};
use tiltmeter_local::{LocalModel, Reduction, Tap, TokenSelection};
use tiltmeter_persona::{PersonaVector, length, random_directions};
use tiltmeter_store::{ConditionRow, QuestionRow, Reader, StoredAnswer, SubjectRow, TreatmentTexts};

use super::{ProjectError, ProjectSettings};
use crate::steering::{SteeringRecord, intervention, marks};

/// Readings in flight.
const READ_AHEAD: usize = 16;

/// A prompt as rows of the store name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PromptKey {
    pub(super) subject: i64,
    pub(super) treatment: i64,
    pub(super) context: i64,
    pub(super) question: i64,
    pub(super) wording: usize,
}

/// One vector of the residual stream, projected.
#[derive(Clone, Debug)]
pub(super) struct Projected {
    /// Onto the vector's direction.
    pub(super) persona: f64,
    /// Onto random directions.
    pub(super) random: Vec<f64>,
    /// The length of what was projected.
    pub(super) norm: f64,
}

/// A prompt that was read.
#[derive(Clone, Debug)]
pub(super) struct PromptReading {
    pub(super) tokens: usize,
    pub(super) last: Projected,
}

/// An answer that was read.
#[derive(Clone, Debug)]
pub(super) struct SampleReading {
    pub(super) key: PromptKey,
    pub(super) stored: StoredAnswer,
    pub(super) tokens: usize,
    pub(super) mean: Option<Projected>,
    pub(super) reasoning: Vec<f64>,
}

/// All that was read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) layer: usize,
    pub(super) prompts: BTreeMap<PromptKey, PromptReading>,
    pub(super) samples: Vec<SampleReading>,
    pub(super) notes: Vec<String>,
}

/// Whether a subject's model is the one that a vector was extracted from.
pub(super) fn is_model(subject: &SubjectRow, vector: &PersonaVector) -> bool {
    let hash = subject.description.as_ref().and_then(|description| description["file_sha256"].as_str());
    hash == Some(&*vector.record.model.file_sha256)
}

/// A projection that is a smaller part of the stream's length is what single precision leaves of none, as where the
/// direction was taken away.
const ROUNDING: f64 = 1e-5;

/// What vectors are projected onto.
struct Directions {
    persona: Vec<f64>,
    random: Vec<Vec<f64>>,
}

impl Directions {
    fn new(vector: &[f32], settings: &ProjectSettings) -> Self {
        let random = random_directions(vector.len(), settings.seed)
            .take(settings.random_directions as usize)
            .collect();
        Self { persona: unit(vector.iter().copied().map(f64::from).collect()), random }
    }

    fn project(&self, row: &[f32]) -> Projected {
        let norm = length(row);
        let dot = |direction: &Vec<f64>| {
            let dot = direction.iter().zip(row).map(|(a, &b)| a * f64::from(b)).sum::<f64>();
            if dot.abs() < ROUNDING * norm { 0.0 } else { dot }
        };
        Projected { persona: dot(&self.persona), random: self.random.iter().map(dot).collect(), norm }
    }
}

fn unit(vector: Vec<f64>) -> Vec<f64> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.into_iter().map(|value| value / length).collect()
}

/// What is read at once: a prompt, with an answer to it or alone.
struct Reading {
    key: PromptKey,
    answer: Option<StoredAnswer>,
}

/// The store's texts of which prompts are made.
struct Texts<'a> {
    reader: &'a Reader,
    contexts: BTreeMap<i64, Arc<RenderedContext>>,
    treatments: BTreeMap<i64, TreatmentTexts>,
    questions: BTreeMap<i64, QuestionRow>,
}

impl<'a> Texts<'a> {
    fn new(reader: &'a Reader) -> Result<Self, ProjectError> {
        Ok(Self {
            reader,
            contexts: BTreeMap::new(),
            treatments: reader.treatment_texts()?,
            questions: reader.questions()?,
        })
    }

    fn prompt(&mut self, key: PromptKey) -> Result<Option<Arc<Prompt>>, ProjectError> {
        if !self.contexts.contains_key(&key.context) {
            let context = Arc::new(self.reader.context(key.context)?);
            self.contexts.insert(key.context, context);
        }
        let Some(context) = self.contexts.get(&key.context).map(Arc::clone) else { return Ok(None) };
        let Some(question) = self.questions.get(&key.question) else { return Ok(None) };
        let Some(wording) = question.wordings.get(key.wording) else { return Ok(None) };
        let treatment = self.treatments.get(&key.treatment).cloned().unwrap_or_default();
        let own: Option<Arc<str>> = question.system.as_deref().map(Into::into);
        Ok(Some(Arc::new(Prompt {
            context,
            system: system_message(treatment.instruction.as_ref(), own.as_ref()),
            after_examples: treatment.after_examples,
            question: wording.as_str().into(),
            after_question: treatment.after_question,
        })))
    }
}

/// The text of an answer as the model wrote it: reasoning that was told apart goes before it, between its marks.
fn continuation(answer: &StoredAnswer, settings: &ProjectSettings) -> Arc<str> {
    match &answer.reasoning {
        Some(reasoning) => {
            let marks = marks(settings.reasoning_marks.as_ref());
            format!("{}\n{reasoning}\n{}\n\n{}", marks.open, marks.close, answer.answer).into()
        }
        None => answer.answer.as_str().into(),
    }
}

/// The handle through which a subject's prompts are read: steered as it was when it answered. `Err` says why not.
fn handle(subject: &SubjectRow, vector: &PersonaVector, model: &LocalModel) -> Result<LocalModel, String> {
    let Some(record) = subject.settings.get("steering") else { return Ok(model.clone()) };
    let damaged =
        |error: &dyn std::fmt::Display| format!("{}: its steering cannot be read: {error}", subject.name);
    let record: SteeringRecord = serde_json::from_value(record.clone()).map_err(|error| damaged(&error))?;
    if record.vector_hash != vector.hash().to_string() {
        return Err(format!(
            "{}: left out, since it was steered along another vector ({}); project onto that one",
            subject.name, record.vector
        ));
    }
    let kind = match record.coefficient {
        Some(coefficient) => SteeringKind::Steer { coefficient },
        None => SteeringKind::Ablate,
    };
    let span: SteerSpan =
        serde_json::from_value(record.span.clone().into()).map_err(|error| damaged(&error))?;
    let marks = record.reasoning_marks.as_ref();
    let (_, intervention) = intervention(model, vector, kind, Some(record.layer), span, marks)?;
    model.with_intervention(intervention).map_err(|error| damaged(&error))
}

/// Reads all prompts that are asked or scored, and all stored answers, of the subjects that are the vector's model.
pub(super) async fn gather(
    reader: &Reader,
    vector: &PersonaVector,
    model: &LocalModel,
    settings: &ProjectSettings,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Gathered, ProjectError> {
    let (layer, values) = vector.layer(settings.layer)?;
    let directions = Directions::new(values, settings);
    let experiment = reader.experiment()?;
    let (conditions, left_out) = readable(reader, reader.conditions(experiment.id)?)?;
    let mut texts = Texts::new(reader)?;
    let mut gathered = Gathered { layer, notes: left_out, ..Gathered::default() };
    let used: BTreeSet<i64> = conditions.iter().map(|condition| condition.subject).collect();
    let mut work = Vec::new();
    for subject in reader.subjects()?.iter().filter(|row| used.contains(&row.id) && is_model(row, vector)) {
        match handle(subject, vector, model) {
            Ok(handle) => {
                for reading in readings(reader, subject, &conditions)? {
                    let prompt = texts.prompt(reading.key)?;
                    if let Some(answer) = &reading.answer {
                        let id = prompt
                            .as_ref()
                            .map(|prompt| sample_id(&subject.hash, &prompt.id(), answer.replicate, None));
                        // What was asked is known by its id, so that nothing else is read in its place.
                        if id != Some(answer.sample) {
                            return Err(ProjectError::Prompt { sample: answer.sample });
                        }
                    }
                    if let Some(prompt) = prompt {
                        work.push((handle.clone(), prompt, reading));
                    }
                }
            }
            Err(note) => gathered.notes.push(note),
        }
    }
    let of = work.len() as u64;
    let layers: Arc<[usize]> = [layer].into();
    let tap = |tokens, reduction| Tap { layers: Arc::clone(&layers), tokens, reduction };
    let reasoning = TokenSelection::Reasoning(marks(settings.reasoning_marks.as_ref()));
    let taps: Arc<[Tap]> = [
        tap(TokenSelection::PromptLast, Reduction::Each),
        tap(TokenSelection::Answer, Reduction::Mean),
        tap(reasoning, Reduction::Each),
    ]
    .into();
    let read = |(handle, prompt, reading): (LocalModel, Arc<Prompt>, Reading)| {
        let taps = Arc::clone(&taps);
        let text = reading.answer.as_ref().map_or_else(|| "".into(), |answer| continuation(answer, settings));
        async move { (handle.hidden_states(&prompt, &text, &taps).await, reading) }
    };
    let mut reading = stream::iter(work).map(read).buffered(READ_AHEAD);
    let mut done = 0;
    progress(done, of);
    while let Some((states, Reading { key, answer })) = reading.next().await {
        let mut states = states.map_err(ProjectError::Model)?;
        let mut rows = || {
            let tap = states.taps.pop()?;
            Some(tap.layers.into_iter().flatten().collect::<Vec<Vec<f32>>>())
        };
        let (each, mean, last) =
            (rows().unwrap_or_default(), rows().unwrap_or_default(), rows().unwrap_or_default());
        if let Some(last) = last.first() {
            let tokens = states.prompt_tokens;
            gathered
                .prompts
                .entry(key)
                .or_insert_with(|| PromptReading { tokens, last: directions.project(last) });
        }
        if let Some(stored) = answer {
            gathered.samples.push(SampleReading {
                key,
                stored,
                tokens: states.answer_tokens,
                mean: mean.first().map(|mean| directions.project(mean)),
                reasoning: each.iter().map(|row| directions.project(row).persona).collect(),
            });
        }
        done += 1;
        progress(done, of);
    }
    Ok(gathered)
}

/// The conditions whose answers are what the model wrote to their prompt, and why others are left out.
fn readable(
    reader: &Reader,
    conditions: Vec<ConditionRow>,
) -> Result<(Vec<ConditionRow>, Vec<String>), ProjectError> {
    let (several, steered) = (reader.procedures()?, reader.steered_under()?);
    let mut notes = BTreeSet::new();
    let mut kept = Vec::new();
    for condition in conditions {
        let name = &condition.treatment_name;
        if several.contains_key(&condition.treatment) {
            notes.insert(format!("{name}: left out, since its answers are put together from several calls"));
        } else if steered.contains_key(&(condition.subject, condition.treatment)) {
            notes.insert(format!("{name}: left out, since the treatment steers"));
        } else {
            kept.push(condition);
        }
    }
    Ok((kept, notes.into_iter().collect()))
}

/// What is to be read of a subject, contexts one after the other so that each is read once.
fn readings(
    reader: &Reader,
    subject: &SubjectRow,
    conditions: &[ConditionRow],
) -> Result<Vec<Reading>, ProjectError> {
    let mut prompts: BTreeSet<PromptKey> = BTreeSet::new();
    // Which answers belong to the experiment: subject and context may serve others in the same directory too.
    let mut asked: BTreeMap<PromptKey, u32> = BTreeMap::new();
    for condition in conditions.iter().filter(|condition| condition.subject == subject.id) {
        for &context in &condition.contexts {
            for &(question, is_sampled, is_scored) in &condition.questions {
                let key = PromptKey {
                    subject: subject.id,
                    treatment: condition.treatment,
                    context,
                    question,
                    wording: 0,
                };
                if is_scored || is_sampled {
                    prompts.insert(key);
                }
                if is_sampled {
                    let most = asked.entry(key).or_default();
                    *most = condition.replicates.max(*most);
                }
            }
        }
    }
    let mut readings: Vec<Reading> = prompts.iter().map(|&key| Reading { key, answer: None }).collect();
    for answer in reader.answers_of(subject.id)? {
        let (context, treatment, question) = (answer.context, answer.treatment, answer.question);
        let key = PromptKey { subject: subject.id, treatment, context, question, wording: 0 };
        if asked.get(&key).is_some_and(|most| answer.replicate < *most) {
            let key = PromptKey { wording: answer.wording, ..key };
            readings.push(Reading { key, answer: Some(answer) });
        }
    }
    readings.sort_by_key(|reading| reading.key);
    Ok(readings)
}
