//! What happens during a run, as typed events: the only thing that progress displays see.

use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The work that this start has before it: what is not stored yet.
    Started {
        /// Answers to ask for.
        samples: u64,
        /// Texts to score.
        scores: u64,
        /// Scores to ask the judge for, of stored and coming answers.
        judgements: u64,
        /// Results found in the store.
        reused: u64,
    },
    /// The traces that this start has before it, each counted once for every coder.
    CodingStarted {
        /// Codings to ask for.
        codings: u64,
        /// Codings found in the store.
        reused: u64,
    },
    /// A coding of a trace is on disk.
    CodingStored,
    /// Demonstrations are screened before contexts are made of them.
    ScreeningStarted {
        /// Demonstrations to ask a filter's model about.
        demonstrations: u64,
        /// Scores found in the store.
        reused: u64,
    },
    /// A demonstration's score, or a reply without one, is on disk.
    DemonstrationScreened,
    /// Guards look at contexts before any is shown to a subject.
    InspectionStarted {
        /// Contexts to look at.
        contexts: u64,
        /// Findings in the store.
        reused: u64,
    },
    /// What a guard found in a context is on disk.
    ContextInspected,
    /// An answer is on disk.
    SampleStored {
        /// The judge's calls that it does not need, because there is no answer to judge.
        judgements_spared: u64,
    },
    /// A text's score is on disk.
    ScoreStored,
    /// A score by the judge is on disk.
    JudgementStored,
    /// A call was paid for.
    Spent {
        /// US dollars of all calls of this start whose cost is known.
        total_usd: f64,
    },
    /// Conditions are settled and need no more answers.
    Spared {
        /// Answers that were counted as to do and will not be asked for.
        samples: u64,
        /// The judge's scores of them.
        judgements: u64,
    },
    /// A batch was handed over to a provider, or found with it.
    BatchSubmitted {
        /// Name of the subject, or `judge`.
        model: String,
        /// What it asks.
        requests: u64,
    },
    /// A batch is being worked on.
    BatchRunning {
        /// Name of the subject, or `judge`.
        model: String,
        /// Requests that are done.
        done: u64,
        /// Requests in all.
        total: u64,
    },
    /// A batch is over, and its answers are given out.
    BatchEnded {
        /// Name of the subject, or `judge`.
        model: String,
        /// Requests that were answered.
        answered: u64,
        /// Requests that were not, and are asked again where that may help.
        failed: u64,
    },
    /// A request was held back by its model's limits, or by the budget.
    Paced {
        /// Name of the subject, or `judge`.
        model: String,
        /// For how long.
        waited: Duration,
    },
    /// An attempt failed and will be made again.
    Retrying {
        /// Name of the subject, or `judge`.
        model: String,
        /// Kind of the error.
        kind: &'static str,
        /// What was said.
        message: String,
        /// How long is waited first.
        wait: Duration,
    },
    /// A call failed for good; the failure is on disk.
    Failed {
        /// What the call was for.
        target: CallTarget,
        /// Name of the subject, or `judge`.
        model: String,
        /// Kind of the error.
        kind: &'static str,
        /// What was said.
        message: String,
        /// The judge's calls of this answer that will not be made because of it.
        judgements_lost: u64,
    },
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallTarget {
    /// An answer of a subject.
    Response,
    /// The log-probability of a text.
    Score,
    /// A filter's score of a demonstration.
    Screening,
    /// A guard's look at a context.
    Inspection,
    /// A score by the judge.
    Judgement,
    /// A coding of a trace.
    Coding,
}

/// Somebody who is told.
pub trait Observer: Send + Sync {
    /// Is called for each event, from any task; must not block.
    fn event(&self, event: Event);
}

/// Nobody.
impl Observer for () {
    fn event(&self, _: Event) {}
}
