//! One call to a subject: an answer, or the score of a text.

use std::sync::Arc;

use tiltmeter_core::experiment::Subject;
use tiltmeter_core::plan::{Block, SampleSpec, ScoreSpec};
use tiltmeter_core::procedure::Procedure;
use tiltmeter_core::prompt::{PROMPT_HEADER, Placement, Prompt};
use tiltmeter_core::treatment::{Elicitation, ReasoningKind, Separated};
use tiltmeter_core::verdict::Aspect;
use tiltmeter_models::{
    ChatRequest, ChatResponse, ErrorKind, FinishReason, ModelError, RealisedShift, Sampling, ScoreRequest,
};
use tiltmeter_store::{
    AnswerText, Chosen, ComposedRecord, FailureTarget, ResponseOutcome, ResponseRecord, ScoreRecord,
    ShiftRecord,
};

use super::Engine;
use super::composing::Lost;
use super::judging::Judged;
use super::ledger::FailedCall;
use crate::calling::milliseconds;
use crate::event::Event;

/// An answer that is on disk.
pub(super) struct Answered {
    pub(super) row: i64,
    pub(super) outcome: ResponseOutcome,
    pub(super) answer: String,
}

impl Engine {
    /// Has a text scored, and stores what comes of it.
    pub(super) async fn score(&self, block: &Block, score: ScoreSpec) {
        let model = self.model(block);
        let rows = &self.rows;
        let (subject, context, treatment) =
            (rows.subjects[block.subject], rows.contexts[block.context], rows.treatments[block.treatment]);
        let target = FailureTarget::Score { subject, context, treatment };
        let failed =
            |error, attempts| FailedCall { hash: score.id, target, error, attempts, judgements_lost: 0 };
        if let Some(error) = self.refused_before(block) {
            self.ledger.failed(model, failed(error, Vec::new())).await;
            return;
        }
        let request = ScoreRequest { prompt: score.prompt.clone(), continuation: score.text.clone() };
        let tried = self.ledger.calling(model, score.id).score(&request).await;
        self.ledger.count(1);
        match tried.result {
            Ok(scored) => {
                let record = ScoreRecord {
                    hash: score.id,
                    subject,
                    context,
                    treatment,
                    pair: rows.pairs[score.question][score.pair],
                    tilted: score.tilted,
                    token_log_probabilities: scored.token_log_probabilities,
                    cost_usd: tried.cost_usd,
                    shift: scored.shift.map(shift),
                    failed_attempts: tried.failed,
                };
                if self.ledger.store(|writer| async move { writer.score(record).await }).await.is_some() {
                    self.ledger.tell(Event::ScoreStored);
                }
            }
            Err(error) => {
                self.remember(block, &error);
                self.ledger.failed(model, failed(error, tried.failed)).await;
            }
        }
    }

    /// Asks for an answer and stores it. Gives what the judge is to look at.
    pub(super) async fn sample(
        &self,
        block: &Block,
        sample: SampleSpec,
        placement: Placement,
    ) -> Option<Judged> {
        if let Some(said) = &sample.prompt.context.withheld {
            self.withhold(block, &sample, said).await;
            return None;
        }
        let procedure = self.experiment.treatments[block.treatment].procedure.as_ref();
        // A part of a context may fit where the whole did not.
        let is_whole = !matches!(procedure, Some(Procedure::SubsampleVote(_)));
        let refused = if is_whole { self.refused_before(block) } else { None };
        let answered = match (refused, procedure) {
            (Some(error), _) => Err(Lost::Call { error, attempts: Vec::new() }),
            (None, Some(procedure)) => self.compose(block, &sample, procedure, placement).await,
            (None, None) => self.answer_once(block, &sample, placement).await,
        };
        let Answered { row, outcome, answer } = match answered {
            Ok(answered) => answered,
            Err(Lost::Store) => return None,
            Err(Lost::Call { error, attempts }) => {
                let target = FailureTarget::Response {
                    subject: self.rows.subjects[block.subject],
                    context: self.rows.contexts[block.context],
                    treatment: self.rows.treatments[block.treatment],
                    question: self.rows.questions[sample.question],
                    replicate: sample.replicate,
                };
                let judgements_lost = self.judgement_count(block.purpose);
                let failed = FailedCall { hash: sample.id, target, error, attempts, judgements_lost };
                self.ledger.failed(self.model(block), failed).await;
                return None;
            }
        };
        let judged = outcome == ResponseOutcome::Answer && self.is_judged(block.purpose);
        let judgements_spared = if judged { 0 } else { self.judgement_count(block.purpose) };
        self.ledger.tell(Event::SampleStored { judgements_spared });
        judged.then(|| self.judged(&sample, row, answer, &Aspect::ALL))
    }

    /// Stores that a guard held the request back: nobody is asked.
    async fn withhold(&self, block: &Block, sample: &SampleSpec, said: &str) {
        let record = ComposedRecord {
            hash: sample.id,
            subject: self.rows.subjects[block.subject],
            context: self.rows.contexts[block.context],
            treatment: self.rows.treatments[block.treatment],
            question: self.rows.questions[sample.question],
            replicate: sample.replicate,
            wording: sample.wording,
            chosen: Chosen::Withheld(said.to_owned()),
            parts: Vec::new(),
            created_at: self.ledger.now(),
        };
        if self.ledger.store(|writer| async move { writer.composed(record).await }).await.is_some() {
            let judgements_spared = self.judgement_count(block.purpose);
            self.ledger.tell(Event::SampleStored { judgements_spared });
        }
    }

    /// Asks for an answer that is one call and stores it, unless it was asked for in this start as a part of another.
    async fn answer_once(
        &self,
        block: &Block,
        sample: &SampleSpec,
        placement: Placement,
    ) -> Result<Answered, Lost> {
        let (context, treatment) = (self.rows.contexts[block.context], self.rows.treatments[block.treatment]);
        let ask = || self.answer(block, sample, context, treatment, placement);
        let answered = match &self.shared {
            None => ask().await,
            Some(shared) => {
                let row = shared.once(sample.id, || async { ask().await.map(|one| one.row) }).await;
                row.and_then(|row| {
                    let AnswerText { outcome, answer } = self.stored_answer(row)?;
                    Ok(Answered { row, outcome, answer })
                })
            }
        };
        if let Err(Lost::Call { error, .. }) = &answered {
            self.remember(block, error);
        }
        answered
    }

    /// Asks for one answer and stores it under these rows of context and treatment.
    pub(super) async fn answer(
        &self,
        block: &Block,
        sample: &SampleSpec,
        context: i64,
        treatment: i64,
        placement: Placement,
    ) -> Result<Answered, Lost> {
        let rows = &self.rows;
        let subject = &self.experiment.subjects[block.subject];
        let seed = sample.id.request_seed();
        let request = subject_request(subject, &sample.prompt, seed, placement);
        let tried = self.ledger.calling(self.model(block), sample.id).chat(&request).await;
        self.ledger.count(1);
        let response = match tried.result {
            Ok(response) => response,
            Err(error) if error.kind == ErrorKind::Filtered => filtered(),
            Err(error) => return Err(Lost::Call { error, attempts: tried.failed }),
        };
        let outcome = outcome(&response);
        let said = match (&outcome, response.refusal) {
            (ResponseOutcome::Refusal, Some(refusal)) if response.text.trim().is_empty() => refusal,
            _ => response.text,
        };
        let elicitation = self.experiment.treatments[block.treatment].elicitation.as_ref();
        let Said { answer, raw, is_cut, elicited } = take_apart(said, placement, elicitation);
        let native = response.reasoning.map(|text| (text, response.reasoning_kind));
        let (reasoning, reasoning_kind) =
            elicited.map(|text| (text, ReasoningKind::Elicited)).or(native).unzip();
        let record = ResponseRecord {
            hash: sample.id,
            subject: rows.subjects[block.subject],
            context,
            treatment,
            question: rows.questions[sample.question],
            replicate: sample.replicate,
            wording: sample.wording,
            outcome,
            answer: answer.clone(),
            // An answer that was cut at the header ended there, whatever the model went on to say.
            truncated: response.finish == FinishReason::Length && !is_cut,
            raw,
            cut: is_cut,
            reasoning,
            reasoning_kind,
            finish: response.finish.name(),
            model: response.model,
            response_id: response.response_id,
            seed: Some(seed),
            dropped: response.dropped_parameters.iter().map(ToString::to_string).collect(),
            input_tokens: response.usage.input_tokens,
            cached_input_tokens: response.usage.cached_input_tokens,
            cache_write_tokens: response.usage.cache_write_tokens,
            output_tokens: response.usage.output_tokens,
            reasoning_tokens: response.usage.reasoning_tokens,
            cost_usd: tried.cost_usd,
            duration_ms: milliseconds(tried.duration),
            created_at: self.ledger.now(),
            shift: response.shift.map(shift),
            failed_attempts: tried.failed,
        };
        let row = self.ledger.store(|writer| async move { writer.response(record).await }).await;
        Ok(Answered { row: row.ok_or(Lost::Store)?, outcome, answer })
    }

    /// Says so if the block's context was refused as too long before: asking again would cost time only.
    fn refused_before(&self, block: &Block) -> Option<ModelError> {
        let refused = self.too_long.lock().ok()?;
        let said = refused.get(&(block.subject, block.context))?;
        let message = format!("not sent: the model refused this context before: {said}");
        Some(ModelError::new(ErrorKind::ContextTooLong, message))
    }

    pub(super) fn remember(&self, block: &Block, error: &ModelError) {
        if error.kind == ErrorKind::ContextTooLong
            && let Ok(mut refused) = self.too_long.lock()
        {
            refused.entry((block.subject, block.context)).or_insert_with(|| error.message.clone());
        }
    }
}

fn subject_request(subject: &Subject, prompt: &Arc<Prompt>, seed: u32, placement: Placement) -> ChatRequest {
    let stop = if placement.shows_headers() { vec![format!("\n{PROMPT_HEADER}")] } else { Vec::new() };
    ChatRequest {
        prompt: prompt.clone(),
        sampling: Sampling {
            temperature: subject.temperature,
            max_tokens: subject.max_tokens,
            seed: Some(seed),
            stop,
            top_log_probabilities: None,
            reasoning: subject.reasoning,
        },
    }
}

fn shift(shift: RealisedShift) -> ShiftRecord {
    ShiftRecord { tokens: shift.tokens, before: shift.before, after: shift.after }
}

/// A request that was refused by a content filter counts as an answer that was withheld.
pub(super) fn filtered() -> ChatResponse {
    ChatResponse { finish: FinishReason::ContentFilter, ..ChatResponse::default() }
}

fn outcome(response: &ChatResponse) -> ResponseOutcome {
    if response.finish == FinishReason::ContentFilter {
        ResponseOutcome::Filtered
    } else if response.refusal.as_ref().is_some_and(|refusal| !refusal.trim().is_empty()) {
        ResponseOutcome::Refusal
    } else {
        ResponseOutcome::Answer
    }
}

/// What a model said, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// What is judged.
    answer: String,
    /// All of it, where the answer is a part.
    raw: Option<String>,
    /// Whether the model ran on into another demonstration, which was cut off.
    is_cut: bool,
    /// The reasoning that was asked for.
    elicited: Option<String>,
}

fn take_apart(text: String, placement: Placement, elicitation: Option<&Elicitation>) -> Said {
    let (shown, cut) = cut_at_header(text, placement);
    let is_cut = cut.is_some();
    let separated = elicitation.map(|one| one.separate(&shown)).filter(|one| one.reasoning.is_some());
    match separated {
        Some(Separated { reasoning, answer }) => {
            Said { answer, raw: cut.or(Some(shown)), is_cut, elicited: reasoning }
        }
        None => Said { answer: shown, raw: cut, is_cut, elicited: None },
    }
}

/// Cuts an answer where the model goes on to write another demonstration: at the header alone, so that
/// headings in an answer stay. Gives the answer, and the whole text where something was cut.
fn cut_at_header(text: String, placement: Placement) -> (String, Option<String>) {
    if !placement.shows_headers() {
        return (text, None);
    }
    let at = if text.starts_with(PROMPT_HEADER) { Some(0) } else { text.find(&format!("\n{PROMPT_HEADER}")) };
    match at.and_then(|at| text.get(..at)) {
        Some(answer) => (answer.trim_end().to_owned(), Some(text)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_at_the_header_alone() {
        let cases = [
            ("Be kind.\n\n### Prompt: next\n### Response: x", "Be kind.", true),
            ("# Title\n\n### Steps\n\nBe kind.", "# Title\n\n### Steps\n\nBe kind.", false),
            ("### Prompt: next", "", true),
            ("Write ### Prompt: like this.", "Write ### Prompt: like this.", false),
            ("", "", false),
        ];
        for (text, answer, cut) in cases {
            let (got, raw) = cut_at_header(text.to_owned(), Placement::FirstUser);
            assert_eq!((got.as_str(), raw.is_some()), (answer, cut), "{text:?}");
            assert_eq!(cut_at_header(text.to_owned(), Placement::ChatTurns), (text.to_owned(), None));
        }
    }
}
