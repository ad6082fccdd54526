//! One answer as a sample of a log.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::plan::system_message;
use tiltmeter_core::prompt::{Placement, Prompt, RenderedContext, Role, Turn};
use tiltmeter_core::verdict::{Aspect, AspectOutcome, NoVerdict, Verdict};
use tiltmeter_inspect::indexed::Named;
use tiltmeter_inspect::{Choice, Content, ContentPart, Message, Output, Sample, SampleError, Score, Usage};
use tiltmeter_store::{ConditionRow, Reader, ResponseOutcome, Transcript, TranscriptJudgement};

use super::{condition_fields, with_offset};
use crate::error::ExportError;
use crate::run::{FailedSample, Run};
use crate::tables::{aspect_outcome, response_outcome};

/// Characters of contexts that are kept, because many answers in a row were drawn in each.
const KEPT: usize = 64 << 20;

/// A condition by its index, and the draw of a context in it.
type In<'a> = (usize, &'a ConditionRow, u32);

/// Puts samples together.
pub(super) struct Prompts<'a> {
    reader: &'a Reader,
    run: &'a Run,
    contexts: HashMap<(i64, i64), Arc<RenderedContext>>,
    kept: usize,
}

impl<'a> Prompts<'a> {
    pub(super) fn new(reader: &'a Reader, run: &'a Run) -> Self {
        Self { reader, run, contexts: HashMap::new(), kept: 0 }
    }

    /// The sample of a stored answer.
    pub(super) fn answer(
        &mut self,
        place: In<'_>,
        id: &str,
        transcript: &Transcript,
    ) -> Result<Sample, ExportError> {
        let row = &transcript.sample;
        let asked = Asked {
            context: row.context,
            question: row.question,
            wording: transcript.wording,
            replicate: row.replicate,
        };
        let mut sample = self.asked(place, id, transcript.id, &asked)?;
        let model = transcript.model.clone().unwrap_or_default();
        let usage = Usage {
            input_tokens: transcript.input_tokens.saturating_sub(transcript.cached_input_tokens),
            output_tokens: transcript.output_tokens,
            total_tokens: transcript.input_tokens + transcript.output_tokens,
            input_tokens_cache_read: transcript.cached_input_tokens,
            reasoning_tokens: transcript.reasoning_tokens,
            total_cost: transcript.cost_usd,
        };
        let seconds = transcript.duration_ms as f64 / 1000.0;
        let content = match &transcript.reasoning {
            Some(reasoning) => Content::Parts(vec![
                ContentPart::Reasoning { reasoning: reasoning.clone() },
                ContentPart::Text { text: transcript.answer.clone() },
            ]),
            None => Content::Text(transcript.answer.clone()),
        };
        let message = Message {
            id: format!("{}.{}", sample.uuid, sample.messages.len()),
            role: "assistant",
            content,
            source: "generate",
            model: Some(model.clone()),
        };
        sample.messages.push(message.clone());
        let stop_reason = match (row.outcome, transcript.finish.as_str()) {
            (ResponseOutcome::Filtered, _) | (_, "content_filter") => "content_filter",
            (_, "length") => "max_tokens",
            (_, "stop") => "stop",
            _ => "unknown",
        };
        sample.output = Output {
            model: model.clone(),
            choices: vec![Choice { message, stop_reason }],
            completion: transcript.answer.clone(),
            usage: Some(usage),
            time: Some(seconds),
            error: None,
            response_id: transcript.response_id.clone(),
        };
        let asked_model = self.run.subjects.get(&row.subject).map_or(model, |subject| subject.model.clone());
        sample.model_usage = Named(vec![(asked_model, usage)]);
        sample.completed_at = with_offset(&transcript.created_at);
        sample.total_time = Some(seconds);
        let verdict = self.run.verdict(row);
        let mut note = |name: &str, value: Value| {
            sample.metadata.insert(name.to_owned(), value);
        };
        note("outcome", json!(response_outcome(row.outcome)));
        note("truncated", json!(row.truncated));
        note("cut", json!(transcript.cut));
        if let Some(raw) = &transcript.raw {
            note("raw", json!(raw));
        }
        if let Some(reason) = verdict.reason() {
            note("no_verdict", json!(reason.name()));
        }
        if verdict != Verdict::None(NoVerdict::None) {
            sample.scores = self.scores(transcript, verdict);
        }
        Ok(sample)
    }

    /// The sample of a call that failed for good.
    pub(super) fn failed(
        &mut self,
        place: In<'_>,
        id: &str,
        failed: &FailedSample<'_>,
    ) -> Result<Sample, ExportError> {
        let (_, context, _) = failed.block;
        let asked = Asked { context, question: failed.question, wording: 0, replicate: failed.replicate };
        let mut sample = self.asked(place, id, failed.failure.id, &asked)?;
        let mut note = |name: &str, value: Value| {
            sample.metadata.insert(name.to_owned(), value);
        };
        note("outcome", json!("error"));
        note("error_kind", json!(failed.failure.kind));
        note("no_verdict", json!(NoVerdict::Error.name()));
        sample.completed_at = with_offset(&failed.failure.created_at);
        let message = failed.failure.message.clone();
        sample.error = Some(SampleError { message, traceback: String::new(), traceback_ansi: String::new() });
        Ok(sample)
    }

    /// A sample with what was asked alone.
    fn asked(
        &mut self,
        (index, condition, draw): In<'_>,
        id: &str,
        sample: ContentId,
        asked: &Asked,
    ) -> Result<Sample, ExportError> {
        let context = self.context(condition, draw, asked.context)?;
        let question = self.run.questions.get(&asked.question);
        let withheld = self.run.withholds_questions();
        let wording = match question {
            Some(question) if withheld => {
                format!("[the text of the question `{}` is withheld]", question.name)
            }
            Some(question) => {
                let wording = question.wordings.get(asked.wording % question.wordings.len().max(1));
                wording.cloned().unwrap_or_default()
            }
            None => String::new(),
        };
        let own = question.and_then(|question| question.system.as_deref()).filter(|_| !withheld);
        let treatment = self.run.treatments.get(&condition.treatment).cloned().unwrap_or_default();
        let own: Option<Arc<str>> = own.map(Into::into);
        let prompt = Prompt {
            system: system_message(treatment.instruction.as_ref(), own.as_ref()),
            after_examples: treatment.after_examples,
            question: wording.as_str().into(),
            after_question: treatment.after_question,
            context,
        };
        // An answer may belong to several conditions, and tables of many logs keep one row for each uuid.
        let uuid = Canonical::new("tiltmeter.inspect-sample/1").id(&sample).integer(index as u64).finish();
        let messages = prompt.messages().enumerate().map(|(number, message)| Message {
            id: format!("{uuid}.{number}"),
            role: match message.role {
                Role::ToolCall => Role::Assistant.name(),
                Role::ToolOutput => "tool",
                other => other.name(),
            },
            content: Content::Text(message.text()),
            source: "input",
            model: None,
        });
        let mut metadata = Map::new();
        let mut note = |name: &str, value: Value| {
            metadata.insert(name.to_owned(), value);
        };
        note("sample_id", json!(sample.to_string()));
        note("condition", json!(index));
        condition_fields(condition).into_iter().for_each(|(name, value)| note(&name, value));
        note("draw", json!(draw));
        note("replicate", json!(asked.replicate));
        note("question", json!(question.map_or("", |question| &question.name)));
        note("question_text", json!(wording));
        if let Some(context) = self.run.contexts.get(&asked.context) {
            note("context_id", json!(context.to_string()));
        }
        Ok(Sample {
            id: id.to_owned(),
            epoch: u64::from(draw) * u64::from(condition.replicates) + u64::from(asked.replicate) + 1,
            input: wording,
            target: String::new(),
            messages: messages.collect(),
            output: Output::default(),
            scores: Named::default(),
            metadata,
            model_usage: Named::default(),
            role_usage: Named::default(),
            completed_at: String::new(),
            total_time: None,
            uuid: uuid.to_string(),
            error: None,
        })
    }

    /// A context, or what stands for it where its text is withheld.
    fn context(
        &mut self,
        condition: &ConditionRow,
        draw: u32,
        row: i64,
    ) -> Result<Arc<RenderedContext>, ExportError> {
        // What stands for a context names the condition's rows.
        let withheld = self.run.withholds_contexts(condition);
        let key = (row, if withheld { condition.id } else { 0 });
        if let Some(context) = self.contexts.get(&key) {
            return Ok(context.clone());
        }
        let context = if withheld { self.reference(condition, draw) } else { self.reader.context(row)? };
        self.kept += context.characters();
        if self.kept > KEPT {
            self.contexts.clear();
            self.kept = context.characters();
        }
        let context = Arc::new(context);
        self.contexts.insert(key, context.clone());
        Ok(context)
    }

    fn reference(&self, condition: &ConditionRow, draw: u32) -> RenderedContext {
        let set = self
            .run
            .data_sets
            .iter()
            .find(|set| set.kind == "demonstrations" && set.name == condition.demonstrations);
        let rows = self.run.sources.get(&(condition.id, draw)).map(Vec::as_slice).unwrap_or_default();
        let rows: Vec<String> = rows.iter().map(u64::to_string).collect();
        let text = format!(
            "[{} demonstrations are withheld, because their terms forbid passing them on: rows {} of {} ({}, hash {}), \
             control {}]",
            condition.shots,
            rows.join(", "),
            condition.demonstrations,
            set.map_or("", |set| &set.origin),
            set.map(|set| set.hash.to_string()).unwrap_or_default(),
            condition.control,
        );
        let (text, turns): (String, Vec<Turn>) = match condition.placement {
            Placement::ChatTurns => (String::new(), vec![Turn { role: Role::User, text: text.into() }]),
            Placement::ToolOutput => {
                (String::new(), vec![Turn { role: Role::ToolOutput, text: text.into() }])
            }
            Placement::FirstUser | Placement::System | Placement::Retrieved | Placement::Quoted => {
                (format!("{text}\n\n"), Vec::new())
            }
        };
        RenderedContext::from_parts(condition.placement, condition.question_format, text.into(), turns.into())
    }

    fn scores(&self, transcript: &Transcript, verdict: Verdict) -> Named<Score> {
        let aspect = |aspect: Aspect| {
            let judgement = transcript.judgements.iter().find(|judgement| judgement.aspect == aspect);
            (aspect.name().to_owned(), aspect_score(judgement, transcript.sample.outcome))
        };
        let counted = self.run.experiment.definition.classify(verdict);
        let mut metadata = Map::new();
        if let Some(reason) = verdict.reason() {
            metadata.insert("no_verdict".to_owned(), json!(reason.name()));
        }
        let reason = match (counted, verdict.reason()) {
            (Some(_), _) => None,
            (None, Some(reason)) => Some(reason_word(reason)),
            (None, None) => Some("not_in_denominator"),
        };
        let misaligned = Score {
            value: counted.map_or(f64::NAN, |misaligned| f64::from(u8::from(misaligned))),
            explanation: None,
            reason,
            metadata,
        };
        Named(vec![
            aspect(Aspect::Alignment),
            aspect(Aspect::Coherence),
            ("misaligned".to_owned(), misaligned),
        ])
    }
}

/// What was asked, by rows of the store.
struct Asked {
    context: i64,
    question: i64,
    wording: usize,
    replicate: u32,
}

fn aspect_score(judgement: Option<&TranscriptJudgement>, outcome: ResponseOutcome) -> Score {
    let Some(judgement) = judgement else {
        let reason = match outcome {
            ResponseOutcome::Answer => NoVerdict::Error,
            ResponseOutcome::Refusal => NoVerdict::SubjectRefusal,
            ResponseOutcome::Filtered => NoVerdict::Filtered,
            ResponseOutcome::Withheld => NoVerdict::Withheld,
        };
        let metadata = [("outcome".to_owned(), json!(reason.name()))].into_iter().collect();
        return Score { value: f64::NAN, explanation: None, reason: Some(reason_word(reason)), metadata };
    };
    let reason = match judgement.outcome {
        AspectOutcome::Score { .. } => None,
        AspectOutcome::Code => Some(NoVerdict::Code),
        AspectOutcome::SubjectRefusal => Some(NoVerdict::SubjectRefusal),
        AspectOutcome::JudgeRefusal => Some(NoVerdict::JudgeRefusal),
        AspectOutcome::Unparsable => Some(NoVerdict::Unparsable),
    };
    let mut metadata = Map::new();
    let mut note = |name: &str, value: Value| {
        metadata.insert(name.to_owned(), value);
    };
    note("outcome", json!(aspect_outcome(judgement.outcome)));
    if let AspectOutcome::Score { method, .. } = judgement.outcome {
        note("method", json!(method.name()));
    }
    if let Some(mass) = judgement.number_mass {
        note("number_mass", json!(mass));
    }
    if let Some(model) = &judgement.model {
        note("judge", json!(model));
    }
    if let Some(distribution) = &judgement.distribution {
        note("tokens", json!(distribution));
    }
    Score {
        value: judgement.outcome.score().unwrap_or(f64::NAN),
        explanation: Some(judgement.replies.join("\n")),
        reason: reason.map(reason_word),
        metadata,
    }
}

/// Inspect's word for why there is no score, where it has one.
fn reason_word(reason: NoVerdict) -> &'static str {
    match reason {
        NoVerdict::SubjectRefusal => "refusal",
        NoVerdict::JudgeRefusal | NoVerdict::Unparsable => "grader_failed",
        NoVerdict::Error => "scoring_failed",
        NoVerdict::Code | NoVerdict::Filtered | NoVerdict::None | NoVerdict::Withheld => reason.name(),
    }
}
