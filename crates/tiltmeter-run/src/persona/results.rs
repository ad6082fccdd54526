//! What projecting a run gives: rows, and the document `tiltmeter.persona-projections/1`.

use serde::Serialize;

use crate::ranking::leaves_out_zero;

/// One projected prompt or answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProjectionRow {
    /// A prompt, whose last token is projected.
    Prompt {
        /// Id of the subject.
        subject: String,
        /// Name of the demonstration set.
        demonstrations: String,
        /// Whose answers the demonstrations have.
        control: String,
        /// Where the demonstrations stand.
        placement: String,
        /// Number of demonstrations.
        shots: u32,
        /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
        treatment: String,
        /// Which draw of the context.
        draw: usize,
        /// Name of the question.
        question: String,
        /// Tokens.
        tokens: usize,
        /// Projection of the last token.
        prompt_last: f64,
        /// The tilt of the question in that context, in nats per token, where it was measured.
        tilt: Option<f64>,
    },
    /// A stored answer.
    Sample {
        /// The sample's id.
        sample: String,
        /// Id of the subject.
        subject: String,
        /// Name of the demonstration set.
        demonstrations: String,
        /// Whose answers the demonstrations have.
        control: String,
        /// Where the demonstrations stand.
        placement: String,
        /// Number of demonstrations.
        shots: u32,
        /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
        treatment: String,
        /// Which draw of the context.
        draw: usize,
        /// Name of the question.
        question: String,
        /// Which answer to it.
        replicate: u32,
        /// Tokens of the answer.
        tokens: usize,
        /// Projection of the prompt's last token.
        prompt_last: f64,
        /// Projection of the mean over the answer's tokens; absent without any.
        response_mean: Option<f64>,
        /// Projection of each token of the reasoning; empty without any.
        reasoning: Vec<f64>,
        /// The judge's score of its alignment.
        alignment: Option<f64>,
        /// Whether it counts as misaligned by the experiment's definition; absent where it is not in the denominator.
        misaligned: Option<bool>,
        /// The label that was given for it.
        label: Option<bool>,
    },
}

/// A mean with its interval over questions (and draws, from eight on).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanResult {
    /// The mean over questions of the mean over draws.
    pub estimate: f64,
    /// Lower end, 95 %; absent with fewer than two questions.
    pub low: Option<f64>,
    /// Upper end, 95 %; absent with fewer than two questions.
    pub high: Option<f64>,
}

/// The projections of a condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionProjection {
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
    /// Prompts.
    pub prompts: usize,
    /// Projection of their last tokens.
    pub prompt_last: Option<MeanResult>,
    /// Answers.
    pub samples: usize,
    /// Projection of the means over their tokens.
    pub response_mean: Option<MeanResult>,
    /// Tilt of the same prompts, in nats per token.
    pub tilt: Option<MeanResult>,
}

/// Demonstrations against those of their matched control, at equal k.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContrastResult {
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
    /// `prompt_last` or `response_mean`.
    pub measure: &'static str,
    /// Mean tokens of a prompt, and of the matched control's.
    pub prompt_tokens: (f64, f64),
    /// Projection minus that under the matched control, paired by question and draw.
    pub difference: MeanResult,
    /// Lower end of the interval that holds together with those of all other contrasts (Bonferroni).
    pub simultaneous_low: Option<f64>,
    /// Its upper end.
    pub simultaneous_high: Option<f64>,
    /// The difference over the standard deviation of the matched control's.
    pub standardised: Option<f64>,
    /// Share of random directions along which the difference is smaller in size.
    pub random_percentile: Option<f64>,
}

impl ContrastResult {
    /// Whether the simultaneous interval leaves out 0.
    pub fn is_clear(&self) -> bool {
        leaves_out_zero(self.simultaneous_low, self.simultaneous_high)
    }
}

/// How a projection goes along with an outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorrelationResult {
    /// Id of the subject.
    pub subject: String,
    /// `tilt`, `emergent_tilt` (against the matched control) or `alignment`.
    pub outcome: &'static str,
    /// What is projected: `prompt_last_shift` (against the same question without demonstrations), `prompt_last_contrast`
    /// (against the same question under the matched control), `prompt_last` or `response_mean`.
    pub measure: &'static str,
    /// `pooled`; `within_k`: what is left when the mean of each set and value of k is taken away;
    /// `within_k_and_question`: when what each question adds is taken away as well; `across_k`: the means of the values of
    /// k, by set and control.
    pub strata: &'static str,
    /// Pearson's r.
    pub estimate: f64,
    /// Lower end, 95 %, bootstrapped over questions.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Rows, or means for `across_k`.
    pub observations: usize,
    /// Questions.
    pub questions: usize,
    /// Share of random directions whose r is smaller in size.
    pub random_percentile: Option<f64>,
}

/// Recall where so many negatives are taken for positives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecallResult {
    /// The most negatives at or above the threshold, as a share.
    pub false_positive_rate: f64,
    /// The threshold.
    pub threshold: f64,
    /// Share of positives at or above it.
    pub recall: f64,
    /// Lower end, 95 %, bootstrapped over questions.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// An area under the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AreaResult {
    /// The area.
    pub estimate: f64,
    /// Lower end, 95 %, bootstrapped over questions.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Pairs of a sample with the label and one without that were compared.
    pub pairs: usize,
}

/// How well a projection tells labelled samples of a subject from its others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectionResult {
    /// Id of the subject.
    pub subject: String,
    /// What is done to the request besides the demonstrations.
    pub treatment: String,
    /// `labels`: those given; `misaligned`: the judge's.
    pub label: &'static str,
    /// `prompt_last`, `response_mean`, `reasoning_mean` or `reasoning_max`.
    pub measure: &'static str,
    /// Samples with the label.
    pub positives: usize,
    /// Samples without.
    pub negatives: usize,
    /// Area under the ROC curve, over all sets, controls and values of k.
    pub auroc: f64,
    /// Lower end, 95 %, bootstrapped over questions.
    pub auroc_low: Option<f64>,
    /// Upper end.
    pub auroc_high: Option<f64>,
    /// The same over pairs of the same set, control, placement and value of k alone, so that telling contexts apart earns
    /// nothing; absent where no such condition has both kinds.
    pub within_condition: Option<AreaResult>,
    /// Share of random directions whose area is nearer to one half; absent for reasoning, which is projected onto the
    /// vector alone.
    pub random_percentile: Option<f64>,
    /// At 0.1, 1 and 5 % of false positives. With few negatives the smallest are the same as none.
    pub recall: Vec<RecallResult>,
}

/// The document that `tiltmeter persona project --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectionSummary {
    /// `tiltmeter.persona-projections/1`.
    pub schema: &'static str,
    /// Name of the experiment.
    pub experiment: String,
    /// The trait.
    #[serde(rename = "trait")]
    pub name: String,
    /// Hash of the vector's file.
    pub vector_hash: String,
    /// The model.
    pub model: String,
    /// SHA-256 of its file.
    pub model_sha256: String,
    /// Index of the residual stream.
    pub layer: usize,
    /// What the numbers are.
    pub units: &'static str,
    /// Mean length (norm) of the residual stream at prompts' last tokens, to compare projections with.
    pub stream_norm: f64,
    /// Random directions that were compared with.
    pub random_directions: u32,
    /// Seed of these and of resampling.
    pub seed: u64,
    /// Prompts that were projected.
    pub prompts: usize,
    /// Answers that were projected.
    pub samples: usize,
    /// By condition.
    pub conditions: Vec<ConditionProjection>,
    /// Contrasts that the simultaneous intervals allow for.
    pub contrasts_compared: usize,
    /// Misaligned against benign demonstrations.
    pub contrasts: Vec<ContrastResult>,
    /// With tilt, emergent tilt and judged alignment.
    pub correlations: Vec<CorrelationResult>,
    /// Of labels and of misaligned answers.
    pub detection: Vec<DetectionResult>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Rows and their summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Projections {
    /// One for each prompt and answer.
    pub rows: Vec<ProjectionRow>,
    /// What they come to.
    pub summary: ProjectionSummary,
}
