//! The run directory: one SQLite file, one writer with group commit, readers.
//!
//! What is in the store is enough to compute every table again, without the experiment file, the data sets or
//! a model. Writes are acknowledged when they are on disk. The store does not know who asks and judges
//! nothing: an answer that cannot be used is kept like any other.

mod batches;
mod coding;
mod directory;
mod error;
mod exporting;
mod guarding;
mod identity;
mod importing;
mod labels;
mod parts;
mod projecting;
mod reader;
mod register;
mod rejudging;
mod rows;
mod samples;
mod schema;
mod screening;
mod stored;
mod traces;
mod transcripts;
mod usage;
mod usefulness;
mod writer;

pub use batches::{BatchOwner, BatchRecord, OpenBatch, forget_batches};
pub use coding::{
    CoderRecord, CodingRecord, CodingRegistration, CodingsRegistered, LabelSpan, TraceDraw, TraceDrawItem,
    coding_hash,
};
pub use directory::RunDirectory;
pub use error::StoreError;
pub use exporting::{JudgeRow, Provenance, TextScoreRow};
pub use guarding::{
    GuardRow, GuardedRow, InspectionGap, InspectionReason, InspectionRecord, InspectionTotals, prepare,
};
pub use identity::JudgeIdentity;
pub use importing::{Import, ImportedAnswer, ImportedCondition};
pub use labels::{
    DrawnAnswer, LabelDraw, LabelItemRow, LabelKind, LabelRecord, LabelRow, LabelStratum, LabelWriter,
};
pub use parts::{AnswerText, Chosen, ComposedRecord, PartRole, PartRow, PartText, SelfCheckRecord};
pub use projecting::{QuestionRow, ShiftRow, StoredAnswer, SubjectRow, TreatmentTexts};
pub use reader::{ConditionRow, ExperimentRow, FailureRow, Reader, ScoreRow, judgement_hash};
pub use register::{JudgePromptTexts, ModelRecord, Registered, Registration};
pub use rejudging::{AnswerToJudge, Rejudged, Rejudging};
pub use rows::{
    AdaptiveRecord, FailedAttempt, FailureRecord, FailureTarget, InvocationEnd, JudgementRecord,
    ResponseOutcome, ResponseRecord, ScoreRecord, ShiftRecord,
};
pub use samples::SampleRow;
pub use screening::{
    FilteredContext, ScreenRow, ScreeningRecord, ScreeningTotals, TreatmentRow, register_screen,
};
pub use stored::{IdSet, StoredIds, StoredResponse, StoredResponses};
pub use traces::{
    CodeBookRow, CoderRow, CodingFailureRow, CodingRow, PersonCodeKind, PersonCodeRecord, PersonCodeRow,
    PersonCodeWriter, TraceInfo, TraceItemRow,
};
pub use transcripts::{DataSetRow, Transcript, TranscriptJudgement};
pub use usage::{Costs, InvocationRow, TokenTotals, Usage};
pub use usefulness::{ProbedCondition, ProbedQuestion};
pub use writer::Writer;
