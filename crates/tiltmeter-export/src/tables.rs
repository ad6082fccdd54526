//! A run as tables.

use std::borrow::Cow;
use std::path::Path;
use tiltmeter_core::treatment::ReasoningKind;

use tiltmeter_core::prompt::RenderedContext;
use tiltmeter_core::verdict::{Aspect, AspectOutcome, NoVerdict};
use tiltmeter_store::{ConditionRow, Reader, ResponseOutcome, Transcript, TranscriptJudgement};

use crate::cell::Cell;
use crate::error::ExportError;
use crate::files::{Rows, TableFormat, start};
use crate::manifest::{FileEntry, Manifest};
use crate::run::{FailedSample, Run};
use crate::schema::{
    CONDITION_CONTEXTS, CONDITION_SAMPLES, CONDITIONS, CONTEXTS, DATA_SETS, FAILURES, PARTS, PROBE_ANSWERS,
    QUESTIONS, SAMPLES, TEXT_SCORES, TRACE_CODES, Table, VERDICTS,
};
use crate::{probes, traces};

/// A table that is being written, and how many rows it has.
pub(crate) struct Open {
    rows: Box<dyn Rows>,
    entry: FileEntry,
}

impl Open {
    fn start(folder: &Path, table: &Table, format: TableFormat) -> Result<Self, ExportError> {
        let file = format!("{}.{}", table.name, format.ending());
        Ok(Self { rows: start(folder, table, format)?, entry: FileEntry { file, rows: 0 } })
    }

    pub(crate) fn add(&mut self, row: &[Cell<'_>]) -> Result<(), ExportError> {
        self.entry.rows += 1;
        self.rows.add(row)
    }

    fn end(self, manifest: &mut Manifest) -> Result<(), ExportError> {
        self.rows.end()?;
        manifest.files.push(self.entry);
        Ok(())
    }
}

/// Writes all tables into a folder.
pub(crate) fn write(
    reader: &Reader,
    run: &Run,
    folder: &Path,
    format: TableFormat,
    manifest: &mut Manifest,
) -> Result<(), ExportError> {
    Answers {
        run,
        reader,
        samples: Open::start(folder, &SAMPLES, format)?,
        parts: Open::start(folder, &PARTS, format)?,
        verdicts: Open::start(folder, &VERDICTS, format)?,
        links: Open::start(folder, &CONDITION_SAMPLES, format)?,
        others: 0,
    }
    .write(manifest)?;
    let mut table = |table: &Table, fill: &dyn Fn(&mut Open) -> Result<(), ExportError>| {
        let mut open = Open::start(folder, table, format)?;
        fill(&mut open)?;
        open.end(manifest)
    };
    table(&CONDITIONS, &|open| conditions(run, open))?;
    table(&CONDITION_CONTEXTS, &|open| condition_contexts(run, open))?;
    table(&CONTEXTS, &|open| contexts(reader, run, open))?;
    table(&QUESTIONS, &|open| questions(run, open))?;
    table(&DATA_SETS, &|open| data_sets(run, open))?;
    table(&TEXT_SCORES, &|open| text_scores(reader, run, open))?;
    table(&FAILURES, &|open| failures(run, open))?;
    table(&TRACE_CODES, &|open| traces::codes(reader, run, open))?;
    table(&PROBE_ANSWERS, &|open| probes::answers(reader, run, open))
}

/// The four tables that grow with the answers, written in one pass over the store.
struct Answers<'a> {
    run: &'a Run,
    reader: &'a Reader,
    samples: Open,
    parts: Open,
    verdicts: Open,
    links: Open,
    others: u64,
}

impl Answers<'_> {
    fn write(mut self, manifest: &mut Manifest) -> Result<(), ExportError> {
        self.reader.for_each_transcript(&self.run.experiment, |transcript| self.answer(&transcript))?;
        for failed in self.run.failed_samples() {
            self.failed(&failed)?;
        }
        self.failed_judgements()?;
        manifest.answers_of_other_experiments = self.others;
        self.samples.end(manifest)?;
        self.parts.end(manifest)?;
        self.verdicts.end(manifest)?;
        self.links.end(manifest)
    }

    fn answer(&mut self, transcript: &Transcript) -> Result<(), ExportError> {
        let run = self.run;
        let sample = &transcript.sample;
        let block = (sample.subject, sample.context, sample.treatment);
        let id = transcript.id.to_string();
        let mut count: u64 = 0;
        for (condition, draw) in run.places(block, sample.question, sample.replicate) {
            self.links.add(&[condition.into(), draw.into(), Cell::from(&id)])?;
            count += 1;
        }
        let Some(condition) = run.condition_of(block).filter(|_| count > 0) else {
            // What only goes into other answers belongs to these.
            self.others += u64::from(!transcript.is_part);
            return Ok(());
        };
        let verdict = run.verdict(sample);
        let mut row = first_cells(run, condition, (&id, count), block, sample.question);
        row.extend([
            transcript.wording.into(),
            sample.replicate.into(),
            response_outcome(sample.outcome).into(),
            Cell::Empty,
            Cell::Empty,
            sample.alignment.and_then(AspectOutcome::score).into(),
            sample.coherence.and_then(AspectOutcome::score).into(),
            verdict.reason().map(NoVerdict::name).into(),
            run.experiment.definition.classify(verdict).into(),
            Cell::from(&transcript.answer),
            transcript.raw.as_ref().into(),
            transcript.reasoning.as_ref().into(),
            transcript.reasoning_kind.map(ReasoningKind::name).into(),
            Cell::from(&transcript.finish),
            sample.truncated.into(),
            transcript.cut.into(),
            transcript.model.as_ref().into(),
            transcript.response_id.as_ref().into(),
            transcript.seed.into(),
            transcript.input_tokens.into(),
            transcript.cached_input_tokens.into(),
            transcript.output_tokens.into(),
            transcript.reasoning_tokens.into(),
            transcript.cost_usd.into(),
            transcript.duration_ms.into(),
            transcript.calls.into(),
            Cell::from(&transcript.created_at),
        ]);
        self.samples.add(&row)?;
        if transcript.is_composed {
            self.parts(&id, sample.response)?;
        }
        for judgement in &transcript.judgements {
            self.judgement(&id, judgement)?;
        }
        Ok(())
    }

    fn parts(&mut self, sample: &str, response: i64) -> Result<(), ExportError> {
        for (position, part) in (0_u64..).zip(self.reader.parts_of(response)?) {
            self.parts.add(&[
                sample.into(),
                position.into(),
                part.role.name().into(),
                part.id.into(),
                Cell::from(&part.outcome),
                part.is_chosen.into(),
                Cell::from(&part.text),
                part.input_tokens.into(),
                part.output_tokens.into(),
                part.cost_usd.into(),
            ])?;
        }
        Ok(())
    }

    fn judgement(&mut self, sample: &str, judgement: &TranscriptJudgement) -> Result<(), ExportError> {
        let method = match judgement.outcome {
            AspectOutcome::Score { method, .. } => Some(method.name()),
            _ => None,
        };
        let (tokens, numbers) = match &judgement.distribution {
            Some(distribution) => (
                Cell::Texts(distribution.iter().map(|(token, _)| Cow::Borrowed(token.as_str())).collect()),
                Cell::Numbers(distribution.iter().map(|(_, value)| *value).collect()),
            ),
            None => (Cell::Empty, Cell::Empty),
        };
        self.verdicts.add(&[
            sample.into(),
            judge(self.run),
            judgement.aspect.name().into(),
            aspect_outcome(judgement.outcome).into(),
            judgement.outcome.score().into(),
            method.into(),
            Cell::Texts(judgement.replies.iter().map(|reply| Cow::Borrowed(reply.as_str())).collect()),
            tokens,
            numbers,
            judgement.number_mass.into(),
            judgement.model.as_ref().into(),
            judgement.input_tokens.into(),
            judgement.output_tokens.into(),
            judgement.cost_usd.into(),
            Cell::Empty,
            Cell::Empty,
        ])
    }

    fn failed(&mut self, failed: &FailedSample<'_>) -> Result<(), ExportError> {
        let run = self.run;
        let id = failed.failure.id.to_string();
        for &(condition, draw) in &failed.places {
            self.links.add(&[condition.into(), draw.into(), Cell::from(&id)])?;
        }
        let Some(condition) = run.condition_of(failed.block) else { return Ok(()) };
        let count = failed.places.len() as u64;
        let mut row = first_cells(run, condition, (&id, count), failed.block, failed.question);
        let verdict = Run::failed_verdict();
        row.extend([
            Cell::Empty,
            failed.replicate.into(),
            "error".into(),
            Cell::from(&failed.failure.kind),
            Cell::from(&failed.failure.message),
            Cell::Empty,
            Cell::Empty,
            verdict.reason().map(NoVerdict::name).into(),
            run.experiment.definition.classify(verdict).into(),
        ]);
        row.resize(SAMPLES.columns.len() - 1, Cell::Empty);
        row.push(Cell::from(&failed.failure.created_at));
        self.samples.add(&row)
    }

    /// Judgements that are missing because the call failed. The answers that they are of come by their ids.
    fn failed_judgements(&mut self) -> Result<(), ExportError> {
        let run = self.run;
        for failure in &run.failures {
            let (Some(response), Some(aspect)) = (failure.response, failure.aspect) else { continue };
            if failure.judge != run.experiment.judge {
                continue;
            }
            let Some(sample) = run.sample_ids.get(&response) else { continue };
            let mut row = vec![Cell::from(*sample), judge(run), aspect.name().into(), "error".into()];
            row.resize(VERDICTS.columns.len() - 2, Cell::Empty);
            row.extend([Cell::from(&failure.kind), Cell::from(&failure.message)]);
            self.verdicts.add(&row)?;
        }
        Ok(())
    }
}

fn judge(run: &Run) -> Cell<'_> {
    run.provenance.judge.as_ref().map(|judge| &judge.model).into()
}

/// The cells that answers and failed calls begin with.
fn first_cells<'a>(
    run: &'a Run,
    condition: &'a ConditionRow,
    (id, count): (&'a String, u64),
    (_, context, _): (i64, i64, i64),
    question: i64,
) -> Vec<Cell<'a>> {
    let asked = run.questions.get(&question);
    let mut row = Vec::with_capacity(SAMPLES.columns.len());
    row.extend([
        Cell::from(id),
        count.into(),
        Cell::from(&condition.subject_name),
        run.subjects.get(&condition.subject).map(|subject| &subject.model).into(),
        Cell::from(&condition.treatment_name),
        Cell::from(&condition.reasoning),
        condition.placement.name().into(),
        condition.shots.into(),
        run.contexts.get(&context).copied().into(),
        asked.map(|question| question.hash).into(),
        asked.map(|question| &question.name).into(),
    ]);
    row
}

pub(crate) fn response_outcome(outcome: ResponseOutcome) -> &'static str {
    match outcome {
        ResponseOutcome::Answer => "answer",
        ResponseOutcome::Refusal => "refusal",
        ResponseOutcome::Filtered => "filtered",
        ResponseOutcome::Withheld => "withheld",
    }
}

pub(crate) fn aspect_outcome(outcome: AspectOutcome) -> &'static str {
    match outcome {
        AspectOutcome::Score { .. } => "score",
        AspectOutcome::Code => "code",
        AspectOutcome::SubjectRefusal => "subject_refusal",
        AspectOutcome::JudgeRefusal => "judge_refusal",
        AspectOutcome::Unparsable => "unparsable",
    }
}

fn conditions(run: &Run, open: &mut Open) -> Result<(), ExportError> {
    for (index, condition) in run.conditions.iter().enumerate() {
        let subject = run.subjects.get(&condition.subject);
        let texts = run.treatments.get(&condition.treatment).cloned().unwrap_or_default();
        open.add(&[
            index.into(),
            Cell::from(&condition.subject_name),
            subject.map(|subject| subject.hash).into(),
            subject.map(|subject| &subject.model).into(),
            Cell::from(&condition.demonstrations),
            Cell::from(&condition.control),
            condition.shots.into(),
            condition.placement.name().into(),
            condition.question_format.name().into(),
            Cell::from(&condition.treatment_name),
            texts.instruction.as_deref().into(),
            texts.after_examples.as_deref().into(),
            texts.after_question.as_deref().into(),
            Cell::from(&condition.reasoning),
            condition.contexts.len().into(),
            condition.questions.iter().filter(|(_, sampled, _)| *sampled).count().into(),
            condition.replicates.into(),
        ])?;
    }
    Ok(())
}

fn condition_contexts(run: &Run, open: &mut Open) -> Result<(), ExportError> {
    for (index, condition) in run.conditions.iter().enumerate() {
        let of_condition = run.guarded.get(&condition.id);
        for (draw, context) in (0_u32..).zip(&condition.contexts) {
            let guarded = of_condition.and_then(|all| all.iter().find(|one| one.draw == draw));
            let rows = run.sources.get(&(condition.id, draw)).map(|rows| {
                Cell::Integers(rows.iter().map(|&row| i64::try_from(row).unwrap_or(i64::MAX)).collect())
            });
            open.add(&[
                index.into(),
                draw.into(),
                run.contexts.get(context).copied().into(),
                rows.unwrap_or(Cell::Empty),
                guarded.map(|one| one.risk.name()).into(),
                guarded.map(|one| one.score).into(),
                guarded.map(|one| one.cut).into(),
                guarded.map(|one| serde_json::to_string(&one.actions)).transpose()?.into(),
            ])?;
        }
    }
    Ok(())
}

fn contexts(reader: &Reader, run: &Run, open: &mut Open) -> Result<(), ExportError> {
    for (row, condition) in run.used_contexts() {
        let context = reader.context(row)?;
        let withheld = run.withholds_contexts(condition);
        let turns = (!withheld && !context.turns.is_empty()).then(|| turns(&context)).transpose()?;
        let text: &str = &context.text;
        open.add(&[
            context.id.into(),
            context.placement.name().into(),
            context.question_format.name().into(),
            condition.shots.into(),
            context.characters().into(),
            withheld.into(),
            (!withheld && context.turns.is_empty()).then_some(text).into(),
            turns.into(),
            context.note.as_deref().into(),
        ])?;
    }
    Ok(())
}

fn turns(context: &RenderedContext) -> Result<String, ExportError> {
    let turns: Vec<(&str, &str)> = context.turns.iter().map(|turn| (turn.role.name(), &*turn.text)).collect();
    Ok(serde_json::to_string(&turns)?)
}

fn questions(run: &Run, open: &mut Open) -> Result<(), ExportError> {
    let mut asked: Vec<i64> = run
        .conditions
        .iter()
        .flat_map(|condition| condition.questions.iter().map(|(question, ..)| *question))
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let withheld = run.withholds_questions();
    for question in asked.iter().filter_map(|row| run.questions.get(row)) {
        let wordings = question.wordings.iter().map(|wording| Cow::Borrowed(wording.as_str())).collect();
        open.add(&[
            question.hash.into(),
            Cell::from(&question.name),
            question.area.as_ref().into(),
            question.domain.as_ref().into(),
            withheld.into(),
            question.system.as_ref().filter(|_| !withheld).into(),
            if withheld { Cell::Empty } else { Cell::Texts(wordings) },
        ])?;
    }
    Ok(())
}

fn data_sets(run: &Run, open: &mut Open) -> Result<(), ExportError> {
    for set in &run.data_sets {
        open.add(&[
            Cell::from(&set.kind),
            Cell::from(&set.name),
            Cell::from(&set.origin),
            set.hash.into(),
            set.rows.into(),
            set.terms.as_ref().into(),
            set.share.into(),
        ])?;
    }
    Ok(())
}

fn text_scores(reader: &Reader, run: &Run, open: &mut Open) -> Result<(), ExportError> {
    let withheld = run.withholds_questions();
    reader.for_each_text_score(run.experiment.id, |score| {
        let block = (score.subject, score.context, score.treatment);
        // The texts of other experiments in the same directory.
        let Some(condition) = run.condition_of(block) else { return Ok(()) };
        let asked = run.questions.get(&score.question);
        let values = score.token_log_probabilities.iter().map(|&value| f64::from(value)).collect();
        open.add(&[
            score.id.into(),
            Cell::from(&condition.subject_name),
            run.subjects.get(&condition.subject).map(|subject| &subject.model).into(),
            Cell::from(&condition.treatment_name),
            run.contexts.get(&score.context).copied().into(),
            asked.map(|question| question.hash).into(),
            asked.map(|question| &question.name).into(),
            score.pair.into(),
            score.kind.name().into(),
            score.tilted.into(),
            (!withheld).then_some(&score.text).into(),
            score.log_probability.into(),
            Cell::Numbers(values),
            score.cost_usd.into(),
        ])
    })
}

fn failures(run: &Run, open: &mut Open) -> Result<(), ExportError> {
    for failure in &run.failures {
        let is_other_judge = failure.judge.is_some() && failure.judge != run.experiment.judge;
        let is_other_sample =
            failure.sample.is_some_and(|(subject, context, treatment, question, replicate)| {
                run.places((subject, context, treatment), question, replicate).next().is_none()
            });
        if is_other_judge || is_other_sample {
            continue;
        }
        let sample = match failure.response {
            Some(response) => run.sample_ids.get(&response).copied(),
            None => failure.sample.map(|_| failure.id),
        };
        open.add(&[
            Cell::from(&failure.target),
            failure.id.into(),
            sample.into(),
            failure.aspect.map(Aspect::name).into(),
            Cell::from(&failure.kind),
            Cell::from(&failure.message),
            Cell::from(&failure.created_at),
        ])?;
    }
    Ok(())
}
