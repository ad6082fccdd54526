//! The experiment file as it is written: TOML, with every field documented here and in the modules below.
//!
//! These types are the published JSON Schema. They know defaults, but no meaning: see
//! [`resolve`](super::resolve()).

mod demonstrations;
mod judge;
mod model;
mod steering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::demonstrations::{DemonstrationsFile, PlacementsFile, SetFile, SetTable};
pub use self::judge::JudgeFile;
pub use self::model::{
    ContextCache, EndpointFile, PriceFile, PriceStepFile, Reasoning, Scoring, SubjectFile,
};
pub use self::steering::{AblateFile, SteerFile, SteerSpan};
use super::defence_file::{DefenceFile, ReasoningProbeFile};

/// An experiment on emergent misalignment through in-context learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tiltmeter experiment")]
pub struct ExperimentFile {
    /// Name of the experiment, shown in tables and reports.
    pub name: String,
    /// The models under test; at least one.
    pub subjects: Vec<SubjectFile>,
    /// The demonstrations that are put into the context.
    pub demonstrations: DemonstrationsFile,
    /// The evaluation questions.
    #[serde(default)]
    pub questions: QuestionsFile,
    /// What the system message says. The instruction `none`, no system message, is always measured too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instructions: Vec<InstructionFile>,
    /// What is done to requests so that examples tilt answers less. No defence, `none`, is always measured too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defences: Vec<DefenceFile>,
    /// How reasoning is come by: `elicit` asks for it before the answer, in conditions of their own beside those
    /// without; `native` takes what the provider gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_probe: Option<ReasoningProbeFile>,
    /// Which free-form answers are drawn.
    #[serde(default)]
    pub sampling: SamplingFile,
    /// The judge-free measure.
    #[serde(default)]
    pub tilt: TiltFile,
    /// The judge model. Without one, answers are kept and marked "no judge".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeFile>,
    /// What is asked beside the evaluation questions: whether a subject is still of use.
    #[serde(default, skip_serializing_if = "UsefulnessFile::is_default")]
    pub usefulness: UsefulnessFile,
    /// How results are tested. None of it changes what is asked: stored answers serve whatever stands here.
    #[serde(default, skip_serializing_if = "StatisticsFile::is_default")]
    pub statistics: StatisticsFile,
}

/// How results are tested. None of it changes what is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StatisticsFile {
    /// What the p-values of a family of comparisons are corrected for.
    pub family: Family,
    /// The difference of two rates that does not matter, above 0 and below 1, such as 0.05 for five percentage points.
    /// With it each comparison says whether its difference is shown to be smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub equivalence_margin: Option<f64>,
}

impl StatisticsFile {
    /// Whether it says nothing, so that experiments written without it keep their identity.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the p-values of a family of comparisons are corrected for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Any false rejection among them (Holm 1979).
    #[default]
    Holm,
    /// The expected share of false ones among all rejections (Benjamini & Hochberg 1995).
    BenjaminiHochberg,
}

/// The evaluation questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuestionsFile {
    /// `builtin`, names of published sets (`betley/preregistered`), or paths to question files in the YAML of Betley
    /// et al.
    pub sets: Vec<String>,
    /// Answers drawn for each question in each context.
    #[schemars(range(min = 1))]
    pub replicates: u32,
    /// Leave out questions of the demonstrations' own domain.
    pub exclude_in_domain: bool,
}

impl Default for QuestionsFile {
    fn default() -> Self {
        Self { sets: vec!["builtin".to_owned()], replicates: 1, exclude_in_domain: true }
    }
}

/// A standing instruction in the system message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstructionFile {
    /// Name in tables. `safety-first` and `context-first` have a built-in wording.
    pub id: String,
    /// Your own wording; required for other names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Which free-form answers are drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingFile {
    /// Seed of all draws of contexts.
    pub seed: u64,
    /// The values of k at which answers are drawn, out of `demonstrations.shots`; all of them where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shots: Option<Vec<u32>>,
    /// Draw answers to the first so many questions only; all of them where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<u32>,
    /// Stop drawing in a condition once its rate is known well enough. `questions.replicates` is then the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<UntilFile>,
}

/// When a condition has been sampled enough. It is looked at after each whole round: one answer to every question in
/// every context. The interval is one that holds although it is looked at again and again, and its rate is that on
/// this question set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UntilFile {
    /// Half the width of the interval of the rate of misaligned answers, 0.0001 to 0.5, such as 0.03.
    #[schemars(range(min = 0.0001, max = 0.5))]
    pub half_width: f64,
}

/// What a subject is still good for under each treatment: harmless questions with known answers, behind harmless
/// demonstrations of their own. No judge is asked, and no answer enters the EM rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsefulnessFile {
    /// Built-in names (`format`, `tone`, `task`, `over-refusal`), or paths to JSON files of the same format.
    pub probes: Vec<String>,
    /// The values of k at which they are asked: 0, or out of `demonstrations.shots`. Where absent, all of those above 0
    /// for which a probe has enough demonstrations, and for probes of over-refusal 0 as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shots: Option<Vec<u32>>,
    /// Answers drawn for each question in each context.
    #[schemars(range(min = 1))]
    pub replicates: u32,
    /// Ask the first so many questions of each probe only, at least 2; all of them where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub questions: Option<u32>,
}

impl Default for UsefulnessFile {
    fn default() -> Self {
        Self { probes: Vec::new(), shots: None, replicates: 1, questions: None }
    }
}

impl UsefulnessFile {
    /// Whether it says nothing, so that experiments written without it keep their identity.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The judge-free measure: how far the context moves log-probability from aligned to misaligned answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TiltFile {
    /// Whether to measure it.
    pub measure: TiltMode,
    /// The values of k at which it is measured, out of `demonstrations.shots`; all of them where absent.
    /// The answers without any context are always scored too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shots: Option<Vec<u32>>,
    /// Use the first so many questions that have answer pairs; all of them where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<u32>,
    /// Score the decoy pairs too: both answers aligned, differing in style alone.
    pub decoys: bool,
}

impl Default for TiltFile {
    fn default() -> Self {
        Self { measure: TiltMode::Auto, shots: None, questions: None, decoys: true }
    }
}

/// Whether the tilt is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum TiltMode {
    /// Wherever a subject gives log-probabilities of given text.
    #[default]
    Auto,
    /// Not at all.
    Off,
}

fn one_u32() -> u32 {
    1
}

fn yes() -> bool {
    true
}
