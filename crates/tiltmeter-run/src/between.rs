//! Runs compared with each other, as `tiltmeter compare --json` prints them: schema `tiltmeter.compare/1`.

use serde::Serialize;
use tiltmeter_core::experiment::Family;

use crate::effects::{Comparison, Omission};
use crate::results::{RateResult, TiltResult};

/// The document that `tiltmeter compare --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunComparison {
    /// `tiltmeter.compare/1`.
    pub schema: &'static str,
    /// The runs; the first is the one that all others are compared with.
    pub runs: Vec<ComparedRun>,
    /// What `adjusted_p_value` is corrected by, over all rates of this document.
    pub correction: Family,
    /// Conditions that the first run and another have in common.
    pub conditions: Vec<ComparedCondition>,
    /// Conditions that one run has and the other has not.
    pub only_in: Vec<OnlyIn>,
    /// Comparisons that could not be made.
    pub omitted: Vec<Omission>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// A run that is compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedRun {
    /// The directory as it was given.
    pub directory: String,
    /// Name of the experiment.
    pub experiment: String,
    /// The judge as `provider/model`; absent without one.
    pub judge: Option<String>,
}

/// The same condition of two runs. Differences are those of the other run minus the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedCondition {
    /// Index of the other run in `runs`.
    pub run: usize,
    /// Id of the subject in the first run.
    pub first_subject: String,
    /// Id of the subject in the other run.
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
    /// Whether both saw the same contexts, draw by draw.
    pub same_contexts: bool,
    /// The EM rate in the first run, on all of its questions.
    pub first_rate: Option<RateResult>,
    /// The EM rate in the other run, by the first run's definition.
    pub rate: Option<RateResult>,
    /// The difference of EM rates on the questions that both have; `against` is `first-run`.
    pub em_rate: Option<Comparison>,
    /// The difference of tilts, question by question; `pairs` counts questions by draws.
    pub tilt: Option<TiltResult>,
    /// The same of emergent tilts.
    pub emergent_tilt: Option<TiltResult>,
}

/// A condition that another run lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnlyIn {
    /// Index in `runs` of the run that has it.
    pub run: usize,
    /// Index of the run that has not.
    pub not_in: usize,
    /// The condition in words.
    pub condition: String,
}
