//! What a run directory holds, what is still missing, and what it took. Never asks a model.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use serde::Serialize;
use tiltmeter_store::{InvocationRow, Reader};

use crate::analysis::{AnalysisError, analyse};
use crate::ranking::{Beforehand, beforehand};
use crate::results::{FailureCount, VerdictCounts};
use crate::usefulness::UsefulnessResult;

/// The document that `tiltmeter status --json` prints, of the experiment that was run last in a directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunStatus {
    /// `tiltmeter.status/1`.
    pub schema: &'static str,
    /// Name of the experiment.
    pub experiment: String,
    /// Whether the experiment names a judge.
    pub has_judge: bool,
    /// The conditions at which answers are drawn, in table order.
    pub conditions: Vec<ConditionStatus>,
    /// What the probes of usefulness came to so far, in table order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usefulness: Vec<UsefulnessResult>,
    /// Texts whose log-probability is stored, those of earlier experiments in this directory included.
    pub texts_scored: u64,
    /// Tokens of all stored calls of subjects, judges and coders, as the providers counted them.
    pub tokens: Tokens,
    /// What all stored calls cost.
    pub cost: Cost,
    /// What defences took before any context was shown: filters' screening and guards' looking at contexts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beforehand: Vec<Beforehand>,
    /// All starts of the program on this directory, oldest first.
    pub invocations: Vec<Invocation>,
    /// Calls that failed for good and have not succeeded since; the next start asks for them.
    pub failures: Vec<FailureCount>,
    /// Attempts that failed, by kind of error, whether or not a later one succeeded.
    pub failed_attempts: Vec<(String, u64)>,
}

/// How far one condition is. A condition without demonstrations is counted under each set that shares it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionStatus {
    /// Id of the subject.
    pub subject: String,
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Whose answers the demonstrations have.
    pub control: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// Number of demonstrations.
    pub shots: u32,
    /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
    pub treatment: String,
    /// Answers that the experiment asks for.
    pub wanted: u64,
    /// Answers that are stored: those that were refused or withheld included, failed calls not.
    pub stored: u64,
    /// What became of the stored ones and of failed calls.
    pub verdicts: VerdictCounts,
}

/// Tokens as the providers counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Sent to subjects.
    pub input: u64,
    /// Of these, from a prompt cache.
    pub cached_input: u64,
    /// Written by subjects.
    pub output: u64,
    /// Sent to judges.
    pub judge_input: u64,
    /// Written by judges.
    pub judge_output: u64,
    /// Sent to coders of traces.
    pub coder_input: u64,
    /// Written by coders.
    pub coder_output: u64,
}

/// What stored calls cost, in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Subjects' calls whose cost is known.
    pub subjects_usd: f64,
    /// Judges' calls whose cost is known.
    pub judge_usd: f64,
    /// Coders' calls whose cost is known.
    pub coders_usd: f64,
    /// Calls whose cost is not known, because the model's price was not.
    pub unknown_calls: u64,
}

/// One start of the program. What is absent was not written down: it did not end by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Invocation {
    /// Version of the program.
    pub version: String,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// How it ended: `finished` or `stopped`.
    pub end: Option<String>,
    /// Model calls made.
    pub asked: Option<u64>,
    /// Results found in the store.
    pub reused: Option<u64>,
    /// Requests made, repetitions included.
    pub attempts: Option<u64>,
    /// US dollars of its calls whose cost is known.
    pub cost_usd: Option<f64>,
}

impl From<InvocationRow> for Invocation {
    fn from(row: InvocationRow) -> Self {
        let InvocationRow { version, started_at, ended_at, end, asked, reused, attempts, cost_usd } = row;
        Self { version, started_at, ended_at, end, asked, reused, attempts, cost_usd }
    }
}

impl RunStatus {
    /// Answers that are neither stored nor known to fail.
    pub fn missing(&self) -> u64 {
        self.conditions.iter().map(ConditionStatus::missing).sum()
    }
}

impl ConditionStatus {
    /// Answers that have not been asked for yet, or whose calls failed.
    pub fn missing(&self) -> u64 {
        self.wanted.saturating_sub(self.stored)
    }
}

/// Reads the status of a run directory.
///
/// # Errors
/// If the store cannot be read.
pub fn status(directory: &Path) -> Result<RunStatus, AnalysisError> {
    // Both take a pass over all rows, so that they are made at the same time.
    let (results, usage) = thread::scope(|scope| {
        let usage = scope.spawn(|| Reader::open(directory)?.usage());
        (analyse(directory), usage.join())
    });
    let results = results?;
    let (totals, costs) = match usage {
        Ok(usage) => usage?,
        Err(panic) => resume_unwind(panic),
    };
    let reader = Reader::open(directory)?;
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let failures = reader.failures()?;
    let invocations = reader.invocations()?;
    let conditions = conditions.iter().zip(&results.conditions).map(|(row, result)| {
        let questions = row.questions.iter().filter(|(_, is_sampled, _)| *is_sampled).count() as u64;
        let rounds = match &result.adaptive {
            Some(adaptive) if adaptive.decision != "not_settled" => adaptive.rounds,
            _ => row.replicates,
        };
        let wanted = questions * row.distinct_contexts().len() as u64 * u64::from(rounds);
        // Analysis counts a failed call as a sample; what is stored is without those.
        let failed = failures.iter().filter_map(|failure| failure.sample).filter(|sample| {
            let &(subject, context, treatment, question, replicate) = sample;
            (subject, treatment) == (row.subject, row.treatment)
                && row.contexts.contains(&context)
                && row.asks(question, replicate)
        });
        let stored = result.samples.saturating_sub(failed.count() as u64);
        ConditionStatus {
            subject: result.subject.clone(),
            demonstrations: result.demonstrations.clone(),
            control: result.control.clone(),
            placement: result.placement.clone(),
            shots: result.shots,
            treatment: result.treatment.clone(),
            wanted,
            stored,
            verdicts: result.verdicts,
        }
    });
    Ok(RunStatus {
        schema: "tiltmeter.status/1",
        experiment: experiment.name,
        has_judge: experiment.judge.is_some(),
        conditions: conditions.filter(|condition| condition.wanted > 0).collect(),
        usefulness: results.usefulness.map_or_else(Vec::new, |usefulness| usefulness.conditions),
        texts_scored: reader.scored_texts()?,
        tokens: Tokens {
            input: totals.input,
            cached_input: totals.cached,
            output: totals.output,
            judge_input: totals.judge_input,
            judge_output: totals.judge_output,
            coder_input: totals.coder_input,
            coder_output: totals.coder_output,
        },
        cost: Cost {
            subjects_usd: costs.subjects_usd,
            judge_usd: costs.judge_usd,
            coders_usd: costs.coders_usd,
            unknown_calls: costs.unknown_calls,
        },
        beforehand: beforehand(&results.treatments),
        invocations: invocations.into_iter().map(Invocation::from).collect(),
        failures: results.failures,
        failed_attempts: reader.failed_attempts()?,
    })
}
