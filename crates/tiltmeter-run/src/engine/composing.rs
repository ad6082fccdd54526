//! Answers that take several calls. Each call is stored when it is made, so that a start that is cut off anywhere
//! loses none of them; the answer is put together when all are there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::{Block, SampleSpec};
use tiltmeter_core::procedure::{Procedure, SelfCheck, SelfVerdict, SubsampleVote, vote};
use tiltmeter_core::prompt::{Placement, Prompt};
use tiltmeter_judge::render;
use tiltmeter_models::{ChatRequest, ErrorKind, ModelError, Sampling};
use tiltmeter_store::{
    AnswerText, Chosen, ComposedRecord, FailedAttempt, PartRow, Reader, ResponseOutcome, SelfCheckRecord,
    StoreError,
};

use super::Engine;
use super::asking::{Answered, filtered};
use crate::calling::milliseconds;

/// Why an answer is not there.
pub(super) enum Lost {
    /// The call failed.
    Call {
        /// How.
        error: ModelError,
        /// All its attempts, unless they are told of elsewhere.
        attempts: Vec<FailedAttempt>,
    },
    /// The store failed, which has stopped the run.
    Store,
}

impl Lost {
    /// Says which of an answer's calls it was.
    fn of_part(self, part: &str) -> Self {
        match self {
            Self::Call { mut error, attempts } => {
                error.message = format!("{part}: {}", error.message);
                Self::Call { error, attempts }
            }
            Self::Store => Self::Store,
        }
    }
}

/// What became, in this start, of a call that several answers need.
type Entry = Arc<tokio::sync::Mutex<Option<Result<i64, ModelError>>>>;

/// Calls that several answers may need: each is made once, whoever comes first.
#[derive(Default)]
pub(super) struct Shared(Mutex<HashMap<ContentId, Entry>>);

impl Shared {
    /// The row of what `ask` asks for and stores, asked for at most once in this start.
    pub(super) async fn once<F>(&self, id: ContentId, ask: impl FnOnce() -> F) -> Result<i64, Lost>
    where
        F: Future<Output = Result<i64, Lost>>,
    {
        let entry = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default().clone();
        let mut done = entry.lock().await;
        match &*done {
            Some(Ok(row)) => return Ok(*row),
            // It was tried as often as calls are tried.
            Some(Err(error)) => return Err(Lost::Call { error: error.clone(), attempts: Vec::new() }),
            None => {}
        }
        let asked = ask().await;
        *done = match &asked {
            Ok(row) => Some(Ok(*row)),
            Err(Lost::Call { error, .. }) => Some(Err(error.clone())),
            Err(Lost::Store) => None,
        };
        asked
    }
}

/// What an answer is put together from.
struct Composed {
    chosen: Chosen,
    parts: Vec<PartRow>,
}

impl Engine {
    /// Asks for all that an answer is put together from, and stores it.
    pub(super) async fn compose(
        &self,
        block: &Block,
        sample: &SampleSpec,
        procedure: &Procedure,
        placement: Placement,
    ) -> Result<Answered, Lost> {
        let Composed { chosen, parts } = match procedure {
            Procedure::SubsampleVote(rule) => self.vote(block, sample, rule, placement).await?,
            Procedure::SelfCheck(check) => self.self_checked(block, sample, check, placement).await?,
        };
        let rows = &self.rows;
        let record = ComposedRecord {
            hash: sample.id,
            subject: rows.subjects[block.subject],
            context: rows.contexts[block.context],
            treatment: rows.treatments[block.treatment],
            question: rows.questions[sample.question],
            replicate: sample.replicate,
            wording: sample.wording,
            chosen,
            parts,
            created_at: self.ledger.now(),
        };
        let row = self.ledger.store(|writer| async move { writer.composed(record).await }).await;
        let row = row.ok_or(Lost::Store)?;
        let AnswerText { outcome, answer } = self.stored_answer(row)?;
        Ok(Answered { row, outcome, answer })
    }

    async fn vote(
        &self,
        block: &Block,
        sample: &SampleSpec,
        rule: &SubsampleVote,
        placement: Placement,
    ) -> Result<Composed, Lost> {
        let (mut rows, mut texts) = (Vec::new(), Vec::new());
        for number in 0..rule.draws {
            let draw = self.experiment.draw(&self.plan, block, rule, sample, number);
            let of_part = |lost: Lost| lost.of_part(&format!("draw {} of {}", number + 1, rule.draws));
            let row = self.part(block, &draw, None, placement).await.map_err(of_part)?;
            texts.push(self.stored_answer(row)?.answer);
            rows.push(row);
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let chosen = vote(&texts).and_then(|place| rows.get(place)).copied().ok_or(Lost::Store)?;
        Ok(Composed { chosen: Chosen::Part(chosen), parts: rows.into_iter().map(PartRow::Draw).collect() })
    }

    async fn self_checked(
        &self,
        block: &Block,
        sample: &SampleSpec,
        check: &SelfCheck,
        placement: Placement,
    ) -> Result<Composed, Lost> {
        let mut parts = Vec::new();
        let context = self.rows.contexts[block.context];
        for number in 0..check.attempts {
            let attempt = self.experiment.attempt(block, sample, number);
            let of_part = |what: &str| format!("{what} {} of {}", number + 1, check.attempts);
            let row = self.part(block, &attempt, Some(context), placement).await.map_err(|lost| {
                if let Lost::Call { error, .. } = &lost {
                    self.remember(block, error);
                }
                lost.of_part(&of_part("attempt"))
            })?;
            parts.push(PartRow::Attempt(row));
            let AnswerText { outcome, answer } = self.stored_answer(row)?;
            if outcome != ResponseOutcome::Answer {
                // A refusal and a filtered answer harm nobody.
                return Ok(Composed { chosen: Chosen::Part(row), parts });
            }
            let (checked, verdict) = self
                .check(block, &attempt, row, &answer, check)
                .await
                .map_err(|lost| lost.of_part(&of_part("the check of attempt")))?;
            parts.push(PartRow::Check(checked));
            if !verdict.is_flagged() {
                return Ok(Composed { chosen: Chosen::Part(row), parts });
            }
        }
        Ok(Composed { chosen: Chosen::Withheld(check.withheld.to_string()), parts })
    }

    /// The row of an answer that goes into another, asked for unless it is there. `context`: its row; `None` where the
    /// context is none of the plan's.
    async fn part(
        &self,
        block: &Block,
        part: &SampleSpec,
        context: Option<i64>,
        placement: Placement,
    ) -> Result<i64, Lost> {
        if let Some(stored) = self.stored.responses.get(&part.id) {
            return Ok(stored.row);
        }
        let ask = || async move {
            self.go_on()?;
            let context = if let Some(row) = context {
                row
            } else {
                let context = part.prompt.context.clone();
                let row = self.ledger.store(|writer| async move { writer.context(context).await });
                row.await.ok_or(Lost::Store)?
            };
            let treatment = self.rows.parts_under[block.treatment];
            self.answer(block, part, context, treatment, placement).await.map(|answered| answered.row)
        };
        self.once(part.id, ask).await
    }

    /// Asks the subject whether an answer of its own is harmful, unless it was asked before.
    async fn check(
        &self,
        block: &Block,
        attempt: &SampleSpec,
        response: i64,
        answer: &str,
        check: &SelfCheck,
    ) -> Result<(i64, SelfVerdict), Lost> {
        let id = self.experiment.check_id(block, &attempt.id, &check.wording);
        let find = || self.read(|reader| reader.self_check(id));
        if let Some(found) = find()? {
            return Ok(found);
        }
        let ask = || async move {
            self.go_on()?;
            self.ask_for_check(block, attempt, response, answer, check, id).await
        };
        self.once(id, ask).await?;
        find()?.ok_or(Lost::Store)
    }

    async fn ask_for_check(
        &self,
        block: &Block,
        attempt: &SampleSpec,
        response: i64,
        answer: &str,
        check: &SelfCheck,
        id: ContentId,
    ) -> Result<i64, Lost> {
        let subject = &self.experiment.subjects[block.subject];
        let question = self.experiment.questions[attempt.question].wording(attempt.wording);
        let request = ChatRequest {
            prompt: Arc::new(Prompt::single(render(&check.wording, question, answer))),
            sampling: Sampling {
                temperature: 0.0,
                // A model that reasons first needs its room before the word.
                max_tokens: subject.max_tokens,
                seed: Some(id.request_seed()),
                stop: Vec::new(),
                top_log_probabilities: None,
                reasoning: subject.reasoning,
            },
        };
        let tried = self.ledger.calling(self.model(block), id).chat(&request).await;
        self.ledger.count(1);
        let said = match tried.result {
            Ok(said) => said,
            Err(error) if error.kind == ErrorKind::Filtered => filtered(),
            Err(error) => return Err(Lost::Call { error, attempts: tried.failed }),
        };
        let reply = match said.refusal {
            Some(refusal) if said.text.trim().is_empty() => refusal,
            _ => said.text,
        };
        let record = SelfCheckRecord {
            hash: id,
            response,
            verdict: SelfVerdict::parse(&reply),
            reply,
            finish: said.finish.name(),
            model: said.model,
            input_tokens: said.usage.input_tokens,
            cached_input_tokens: said.usage.cached_input_tokens,
            cache_write_tokens: said.usage.cache_write_tokens,
            output_tokens: said.usage.output_tokens,
            reasoning_tokens: said.usage.reasoning_tokens,
            cost_usd: tried.cost_usd,
            duration_ms: milliseconds(tried.duration),
            created_at: self.ledger.now(),
            failed_attempts: tried.failed,
        };
        let row = self.ledger.store(|writer| async move { writer.self_check(record).await }).await;
        row.ok_or(Lost::Store)
    }

    /// The row of a call that several answers may need, which is made once.
    async fn once<F>(&self, id: ContentId, ask: impl FnOnce() -> F) -> Result<i64, Lost>
    where
        F: Future<Output = Result<i64, Lost>>,
    {
        match &self.shared {
            Some(shared) => shared.once(id, ask).await,
            None => ask().await,
        }
    }

    /// Whether further calls may be made: between an answer's calls, a run that is stopping stops.
    fn go_on(&self) -> Result<(), Lost> {
        if self.ledger.is_stopping() {
            let error = ModelError::new(ErrorKind::Interrupted, "not sent: the run was stopped");
            return Err(Lost::Call { error, attempts: Vec::new() });
        }
        Ok(())
    }

    pub(super) fn stored_answer(&self, row: i64) -> Result<AnswerText, Lost> {
        self.read(|reader| reader.stored_answer(row))
    }

    fn read<T>(&self, read: impl FnOnce(&Reader) -> Result<T, StoreError>) -> Result<T, Lost> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.ledger.check(read(&reader)).ok_or(Lost::Store)
    }
}
