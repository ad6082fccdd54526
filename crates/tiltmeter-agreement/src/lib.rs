//! Who agrees with whom: judges with each other, judges with people, people with each other; and the rates that people's
//! labels correct. Knows no file, no store and no model: ratings in, documents out. Every statistic is one of
//! `tiltmeter-stats`.

mod codes;
mod document;
mod judges;
mod kept;
mod labels;
mod people;

pub use codes::{LabelAgreement, LabelPair, label_agreement};
pub use document::{
    Agreement, DecisionAgreement, DefinitionText, Difference, Estimate, GroupAgreement, JointAgreement,
    JudgeSummary, Omission, PairAgreement, RateInterval, RatePair, SCHEMA, ScoreAgreement, ThreeWay,
    VerdictOverlap,
};
pub use judges::{Rating, Ratings};
pub use labels::{
    CalibrationCurve, CorrectedRate, Decisions, JudgeErrors, LabelRates, LabelledRows, ScoreBin, label_rates,
};
pub use people::{
    AnnotatorResult, ConditionLabels, ConditionName, HumanLabels, LabelSampleResult, StratumResult, consensus,
};
