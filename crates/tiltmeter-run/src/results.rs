//! The results of a run, as `--json` prints them: schema `tiltmeter.run/1`.

use serde::Serialize;
use tiltmeter_agreement::HumanLabels;
use tiltmeter_core::prompt::Placement;

use crate::effects::{AcrossSubjects, Comparisons, DoseResult};
use crate::gates::GateResult;
use crate::meter::Timing;
use crate::treatments::PriceResult;
use crate::usefulness::UsefulnessResults;

/// The document that `tiltmeter run --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResults {
    /// `tiltmeter.run/1`.
    pub schema: &'static str,
    /// Name of the experiment.
    pub experiment: String,
    /// The conditions, in table order.
    pub conditions: Vec<ConditionResult>,
    /// EM rates compared between conditions, on the same questions.
    pub comparisons: Comparisons,
    /// How rate and tilt grow with demonstrations: one for each subject, set and treatment.
    pub dose_response: Vec<DoseResult>,
    /// Subjects compared, for each set and treatment that several were asked with.
    pub across_subjects: Vec<AcrossSubjects>,
    /// What people's labels say of the judge and its rates; absent where nobody labelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human_labels: Option<HumanLabels>,
    /// What the probes of usefulness came to; absent where none is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usefulness: Option<UsefulnessResults>,
    /// What treatments give and what they take, by subject; empty unless both a treatment and a probe are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<PriceResult>,
    /// Model calls made now: answers, judge's replies, texts scored. Repetitions of a failed call count once.
    pub asked: u64,
    /// Results that were found in the store instead.
    pub reused: u64,
    /// Requests made now, repetitions included.
    pub attempts: u64,
    /// US dollars of the calls made now, as far as their cost is known.
    pub cost_usd: f64,
    /// Where the time of this start went.
    pub timing: Timing,
    /// Calls that have failed for good and not succeeded since, by kind of error.
    pub failures: Vec<FailureCount>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Intervals that are known to hold the truth too rarely, one text for each.
    pub warnings: Vec<String>,
    /// What is done to requests, in the experiment's order; empty where an earlier version wrote the run.
    pub treatments: Vec<TreatmentResult>,
    /// What the gates that were asked for came to.
    pub gates: Vec<GateResult>,
}

/// One thing that is done to requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreatmentResult {
    /// Its name.
    pub name: String,
    /// What it does, a line for each thing.
    pub does: Vec<String>,
    /// The texts that it puts into requests.
    pub texts: Vec<TreatmentText>,
    /// Whether it comes with the program, with nothing of the user's own in it.
    pub built_in: bool,
    /// What its filter's model was asked; absent without a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screening: Option<ScreeningResult>,
    /// What its guard's looking at contexts took; absent without a guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspection: Option<InspectionResult>,
}

/// What a guard's looking at contexts took, in all starts. Treatments with the same guard share it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InspectionResult {
    /// Hash of the guard's settings and of what they open.
    pub guard: String,
    /// The guard's detectors.
    pub detectors: Vec<String>,
    /// Contexts that were looked at.
    pub contexts: u64,
    /// Of these, those of which something was not looked at.
    pub with_gaps: u64,
    /// Calls of detectors to models.
    pub calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// US dollars, where all costs are known.
    pub cost_usd: Option<f64>,
    /// Time for a context on average, in milliseconds; absent where there is none.
    pub milliseconds_mean: Option<f64>,
}

/// A text of a treatment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreatmentText {
    /// What it is.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What a filter's model was asked, in all starts. Treatments whose filters ask the same share it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScreeningResult {
    /// `provider/model`.
    pub model: String,
    /// Demonstrations that it looked at.
    pub demonstrations: u64,
    /// Of these, those of which its reply gives no score; they are kept.
    pub without_score: u64,
    /// Calls.
    pub calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// US dollars; absent where not all costs are known.
    pub cost_usd: Option<f64>,
}

/// What a guard found in the contexts of a condition, and what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GuardResult {
    /// Contexts.
    pub contexts: u64,
    /// Of these, those of low risk.
    pub low: u64,
    /// Those of high risk.
    pub high: u64,
    /// The mean of the numbers that risks were taken from, 0 to 1.
    pub score_mean: f64,
    /// Demonstrations of a context before.
    pub of: u32,
    /// Cut out of a context, on average.
    pub cut_mean: f64,
    /// Contexts behind which an instruction was put.
    pub instructed: u64,
    /// Contexts that were not shown.
    pub blocked: u64,
}

/// What a filter did to the contexts of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FilterResult {
    /// Demonstrations of a context before.
    pub of: u32,
    /// Left out of a context, on average.
    pub dropped_mean: f64,
    /// Left out of the context that lost fewest.
    pub dropped_least: u32,
    /// Left out of the context that lost most.
    pub dropped_most: u32,
    /// Kept without a score, over all contexts.
    pub without_score: u32,
}

/// Failed calls of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    /// `response`, `judgement` or `score`.
    pub target: String,
    /// Kind of the error.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// One of the messages.
    pub example: String,
}

/// One row of the result table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionResult {
    /// Id of the subject.
    pub subject: String,
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Whose answers the demonstrations have: `none` (the set's own), or the name of a control.
    pub control: String,
    /// Number of demonstrations.
    pub shots: u32,
    /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
    pub treatment: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// The subject's reasoning mode.
    pub reasoning: String,
    /// Context draws.
    pub contexts: u64,
    /// Answers that the experiment wants of this condition; with adaptive sampling, the most.
    pub planned: u64,
    /// Answers asked for, failed calls included.
    pub samples: u64,
    /// What became of each of them; the counts add up to `samples`.
    pub verdicts: VerdictCounts,
    /// Answers that met the token limit. Counted apart, since such an answer can be scored.
    pub truncated: u64,
    /// Share of misaligned answers; absent without a judge, or with nothing in the denominator.
    pub em_rate: Option<RateResult>,
    /// How far answers were drawn until the rate was known well enough, where the experiment says so. The interval of
    /// `em_rate` then is a confidence sequence for the rate on this question set.
    pub adaptive: Option<AdaptiveResult>,
    /// Shift towards misaligned answers against the prompt without context, in nats per token.
    pub tilt: Option<TiltResult>,
    /// The same for pairs of two aligned answers that differ in style alone.
    pub decoy_tilt: Option<TiltResult>,
    /// The tilt minus that of the matched control: benign answers to the same prompts, or true ones.
    pub emergent_tilt: Option<TiltResult>,
    /// The same for the decoy pairs: what of the emergent tilt may be style.
    pub emergent_decoy_tilt: Option<TiltResult>,
    /// Emergent tilt minus emergent decoy tilt, paired by question and draw: what style does not explain. `pairs`
    /// counts the alignment pairs of questions that have a decoy.
    pub emergent_tilt_beyond_style: Option<TiltResult>,
    /// Why there is no tilt, where texts are scored for the subject under other treatments; absent where there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_tilt: Option<&'static str>,
    /// What the treatment's filter did to the contexts; absent where there is none, and at k = 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterResult>,
    /// What the treatment's guard did to the contexts; absent where there is none, and at k = 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardResult>,
    /// What steering did; absent where the subject is not steered.
    pub steering: Option<SteeringResult>,
}

impl ConditionResult {
    /// The condition in words, as warnings and gates name it.
    pub fn in_words(&self) -> String {
        in_words(
            &self.subject,
            &self.demonstrations,
            &self.treatment,
            self.shots,
            &self.control,
            &self.placement,
        )
    }
}

/// A condition in words.
pub(crate) fn in_words(
    subject: &str,
    demonstrations: &str,
    treatment: &str,
    shots: u32,
    control: &str,
    placement: &str,
) -> String {
    let control = if control == "none" { String::new() } else { format!(", {control}") };
    let treatment = if treatment == "none" { String::new() } else { format!(", treatment {treatment}") };
    // The usual placement goes without saying.
    let placement =
        if placement == Placement::default().name() { String::new() } else { format!(", {placement}") };
    format!("{subject} · {demonstrations}{placement}{treatment}, k = {shots}{control}")
}

/// How a subject was steered, and what it came to, over all answers and scored texts of a condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SteeringResult {
    /// `steer` or `ablate`.
    pub kind: String,
    /// The trait.
    #[serde(rename = "trait")]
    pub name: String,
    /// Hash of the vector's file.
    pub vector_hash: String,
    /// Index of the residual stream.
    pub layer: usize,
    /// What the vector was multiplied with; absent for ablation.
    pub coefficient: Option<f64>,
    /// Which tokens were to be changed.
    pub span: String,
    /// Answers drawn.
    pub answers: u64,
    /// Texts scored.
    pub texts: u64,
    /// Of both, those without a token in the span.
    pub untouched: u64,
    /// Tokens that were changed, of those that answers and texts are predicted from.
    pub tokens: u64,
    /// Their mean projection onto the direction, a vector of length 1, before the change; absent without such a token.
    pub before: Option<f64>,
    /// And after it.
    pub after: Option<f64>,
    /// The realised shift: after minus before.
    pub shift: Option<f64>,
    /// The shift that was asked for; absent for ablation, which is to bring the projection to 0.
    pub expected_shift: Option<f64>,
    /// Whether it came to what was asked for, to a thousandth.
    pub holds: bool,
    /// The size of the shift that was asked for over the mean length of the residual stream there; absent for ablation
    /// and in runs of earlier versions.
    pub stream_share: Option<f64>,
    /// Whether that is more than [`OVERWHELMING`](crate::OVERWHELMING), so that nothing is left of the stream and nothing
    /// is learnt of the trait.
    pub overwhelms: bool,
}

/// How a condition was sampled adaptively.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdaptiveResult {
    /// The half-width that was aimed at.
    pub half_width: f64,
    /// `settled`: reached; `cannot_settle`: questions differ too much for it ever to be reached for questions in
    /// general; `not_settled`: not reached yet, or not within the most rounds.
    pub decision: String,
    /// Whole rounds: one answer to every question in every context each.
    pub rounds: u32,
    /// The most rounds that the experiment allows.
    pub most_rounds: u32,
    /// Answers that need not be asked for.
    pub saved_samples: u64,
    /// The half-width below which an interval for questions in general cannot come; absent before the second round.
    pub smallest_half_width: Option<f64>,
    /// Lower end of the interval that allows for clustering by question and not for having stopped when it looked
    /// good.
    pub clustered_low: Option<f64>,
    /// Its upper end.
    pub clustered_high: Option<f64>,
}

/// What became of a condition's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerdictCounts {
    /// Both scores are there.
    pub scored: u64,
    /// The subject refused.
    pub subject_refusal: u64,
    /// Unrelated code.
    pub code: u64,
    /// The judge declined.
    pub judge_refusal: u64,
    /// The judge's reply holds no usable score.
    pub unparsable: u64,
    /// Blocked by a content filter.
    pub filtered: u64,
    /// The subject or the judge failed.
    pub error: u64,
    /// No judge was asked, or not yet.
    pub none: u64,
    /// A defence held the subject's answers back and gave none.
    pub withheld: u64,
}

/// A rate with its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateResult {
    /// Misaligned over the denominator.
    pub estimate: f64,
    /// Lower end, 95 %.
    pub low: f64,
    /// Upper end, 95 %.
    pub high: f64,
    /// `wilson`, or `wilson-effective-n` where clustering by question makes the interval wider; `confidence-sequence`
    /// where sampling was adaptive.
    pub method: &'static str,
    /// Questions with an answer in the denominator.
    pub clusters: u64,
    /// Which samples are in the denominator.
    pub denominator: &'static str,
    /// How many they are.
    pub denominator_count: u64,
    /// How many of them are misaligned.
    pub misaligned: u64,
    /// The rate if every sample without a verdict were coherent and aligned, or coherent and misaligned.
    pub bounds: BoundsResult,
    /// How often such intervals hold the truth, where that was measured; absent with one answer to each question.
    pub coverage: Option<CoverageResult>,
}

/// What nominal 95 % intervals cover in like circumstances, by simulations of ten answers to each question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CoverageResult {
    /// The interval given.
    pub clustered: f64,
    /// Wilson's interval of all answers as if they were independent.
    pub wilson: f64,
    /// The correlation of two answers to one question at which that was measured.
    pub correlation: f64,
    /// The correlation is assumed, since fewer than ten answers of either kind do not tell it.
    pub correlation_assumed: bool,
    /// The interval covers less than 93 %; there is a warning.
    pub poor: bool,
}

/// Best case and worst case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BoundsResult {
    /// Best case.
    pub low: f64,
    /// Worst case.
    pub high: f64,
}

/// A tilt with its interval, in nats per token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TiltResult {
    /// Mean over questions of the mean over draws of the mean over pairs.
    pub estimate: f64,
    /// Lower end, 95 %; absent with fewer than two questions.
    pub low: Option<f64>,
    /// Upper end, 95 %; absent with fewer than two questions.
    pub high: Option<f64>,
    /// Answer pairs.
    pub pairs: u64,
    /// Questions.
    pub questions: u64,
    /// Context draws.
    pub contexts: u64,
    /// What was resampled: `bootstrap-questions` (conditional on the draws), `bootstrap-questions-and-draws`,
    /// or `baseline` at k = 0, where the tilt is 0 by definition.
    pub method: &'static str,
}
