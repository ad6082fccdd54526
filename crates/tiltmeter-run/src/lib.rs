//! The engine: connects models, asks what is missing, stores what comes back, and computes the results of a
//! run from its store.
//!
//! It decides about retries from the error taxonomy alone and knows no provider's wire format. What it has to
//! say while it works goes to an [`Observer`] as typed [`Event`]s.
//!
//! Where work could be handed to other machines: [`engine`](execute) takes its work from the plan (the work
//! source) and gives results to the store's writer (the result sink), and nothing else passes between them.

mod analysis;
mod batching;
mod between;
mod budget;
mod calling;
mod connect;
mod details;
mod effects;
mod engine;
mod event;
mod forecast;
mod gates;
mod meter;
mod pace;
mod patient;
mod persona;
mod planned_inspection;
mod prices;
mod ranking;
mod resolution;
mod results;
mod status;
mod steering;
mod trace;
mod traces;
mod treatments;
mod usefulness;
mod ways;

pub use analysis::{
    AnalysisError, BetweenSettings, LabelDrawError, TraceDrawError, agreement, analyse, compare, details,
    draw_labels, draw_traces, rank_treatments, trace_results,
};
pub use batching::{BatchPolicy, Batching, Reach, takes_batches};
pub use between::{ComparedCondition, ComparedRun, OnlyIn, RunComparison};
pub use budget::{Budget, Spent};
pub use calling::RetryPolicy;
pub use connect::{
    ConnectError, Connections, GuardModels, Model, connect, connect_coder, connect_judge,
    gives_log_probabilities,
};
pub use details::{
    ConditionDetails, DefinitionRate, QuestionRate, RateAt, RunDetails, ScoreCell, ThresholdRate,
};
pub use effects::{
    AcrossSubjects, Comparison, Comparisons, CountResult, DoseResult, EffectResult, EquivalenceResult,
    Omission, OnsetDoseResult, OnsetResult, PowerLawResult, ScaleResult, SlopeResult, SubjectSlope,
    WaldResult,
};
pub use engine::{
    CodeTraces, Coder, DetectorModel, EngineError, Inspected, Inspecting, Inspects, Means, MissingInspection,
    MissingScreening, OpenGuard, Outcome, Rejudge, Run, Screening, Stop, code_traces, execute, inspect,
    judge_settings, missing_inspections, missing_screenings, rejudge, screen,
};
pub use event::{CallTarget, Event, Observer};
pub use forecast::{
    Forecast, LIKELY_ANSWER_TOKENS, LIKELY_CALL_SECONDS, PlannedCondition, PlannedInspection, PlannedJudge,
    PlannedScreening, PlannedSubject, forecast,
};
pub use gates::{Gate, GateError, GateFinding, GateOutcome, GateResult};
pub use meter::{CacheUse, Timing};
pub use patient::PatientModel;
pub use persona::{
    ConditionProjection, ContrastResult, CorrelationResult, DetectionResult, LabelsError, MeanResult,
    ProjectError, ProjectSettings, ProjectionRow, ProjectionSummary, Projections, RecallResult,
    model_of_vector, project, read_labels, trace_labels,
};
pub use prices::{Prices, PricesError, context_limit};
pub use ranking::{
    Beforehand, OrderResult, RankedCell, RankedGroup, TiltChange, TreatmentRanking, UsageResult,
};
pub use resolution::{HalfWidth, Resolution, resolution};
pub use results::{
    AdaptiveResult, BoundsResult, ConditionResult, CoverageResult, FailureCount, FilterResult, GuardResult,
    InspectionResult, RateResult, RunResults, ScreeningResult, SteeringResult, TiltResult, TreatmentResult,
    TreatmentText, VerdictCounts,
};
pub use status::{ConditionStatus, Cost, Invocation, RunStatus, Tokens, status};
pub use steering::{OVERWHELMING, SteeringRecord, intervention, stream_length};
pub use tiltmeter_agreement::{Agreement, ConditionName, HumanLabels};
pub use tiltmeter_core::experiment::Family;
pub use traces::{
    CodeBookResult, CodedShare, CoderResult, CoderShares, GroupShares, HARM_JUSTIFIED_BY_PERSONA, LabelShare,
    PERSONA_LABELLED, PUBLISHED_PERSONA_SHARE, PublishedShare, ShareDifference, SideCounts, TraceCounts,
    TraceResults,
};
pub use treatments::{PricePoint, PriceResult, ProbeEffect};
pub use usefulness::{
    ShareCount, ShareResult, UsefulnessComparison, UsefulnessCounts, UsefulnessResult, UsefulnessResults,
};
