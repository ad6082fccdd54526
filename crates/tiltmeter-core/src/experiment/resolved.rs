//! What an experiment file means: everything looked up, filled in and consistent.

use std::sync::Arc;

use indexmap::IndexMap;

use super::file::{ContextCache, EndpointFile, ExperimentFile, Reasoning, Scoring, SteerSpan, TiltMode};
use super::price::Price;
use super::usefulness::UsefulnessPlan;
use crate::demonstration::{Control, DemonstrationSet, Terms};
use crate::guarding::Guard;
use crate::id::{Canonical, ContentId};
use crate::prompt::{Placement, QuestionFormat};
use crate::question::Question;
use crate::reshaping::Screen;
use crate::treatment::Treatment;
use crate::verdict::RateDefinition;

/// An experiment, complete and consistent.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// The file it was read from, with defaults filled in.
    pub file: ExperimentFile,
    /// The models under test.
    pub subjects: Vec<Subject>,
    /// The demonstration sets, and behind them those of the probes of usefulness.
    pub sets: Vec<DemonstrationSet>,
    /// Numbers of demonstrations, ascending.
    pub shots: Vec<u32>,
    /// Draws of the context.
    pub contexts: u32,
    /// Whether smaller contexts are the beginnings of larger ones.
    pub nested: bool,
    /// Where the demonstrations stand; at least one.
    pub placements: Vec<Placement>,
    /// How the question is put.
    pub question_format: QuestionFormat,
    /// The set's own answers first, then the controls asked for.
    pub controls: Vec<Control>,
    /// The evaluation questions of all sets, in order, and behind them those of the probes of usefulness.
    pub questions: Vec<Question>,
    /// Hash and origin of each question set.
    pub question_sets: Vec<(String, ContentId)>,
    /// What may be done with published question sets, by origin.
    pub question_terms: IndexMap<String, Terms>,
    /// Published sets that are not there and that fillers of equal size stand in for: good for estimates alone. Empty
    /// unless the data source gives stand-ins.
    pub stand_ins: Vec<String>,
    /// Answers per question and context.
    pub replicates: u32,
    /// Whether in-domain questions are left out.
    pub exclude_in_domain: bool,
    /// What is done to requests; the first is `none`.
    pub treatments: Vec<Treatment>,
    /// The models by which filters screen demonstrations.
    pub screens: Vec<Screen>,
    /// The guards that look at contexts.
    pub guards: Vec<Guard>,
    /// Which answers are drawn.
    pub sampling: SamplingPlan,
    /// Which texts are scored.
    pub tilt: TiltPlan,
    /// Which probes of usefulness are asked.
    pub usefulness: UsefulnessPlan,
    /// The judge.
    pub judge: Option<Judge>,
    /// What a reader should know: rows and prompts that are not used.
    pub notes: Vec<String>,
}

/// A model's name, split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelAddress {
    /// The provider, such as `openai` or `local`.
    pub provider: String,
    /// The model's name as the provider knows it.
    pub model: String,
    /// Address that replaces the provider's own.
    pub base_url: Option<String>,
    /// Name of the variable that holds the key.
    pub api_key_env: Option<String>,
}

/// What a subject and a judge have in common: how the model is reached. None of it identifies a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// Which model, and where.
    pub address: ModelAddress,
    /// Whether replies are streamed.
    pub stream: bool,
    /// The most requests in flight.
    pub concurrency: Option<u32>,
    /// The most requests per minute, of each endpoint.
    pub rpm: Option<u32>,
    /// The most tokens per minute, of each endpoint.
    pub tpm: Option<u32>,
    /// Several addresses or keys of the model; empty where there is one, that of `address`.
    pub endpoints: Vec<EndpointFile>,
    /// Seconds for one call.
    pub timeout_s: Option<u32>,
    /// Seconds to wait for a server that cannot be reached.
    pub outage_s: Option<u32>,
    /// Further fields of the request's body.
    pub extra_body: IndexMap<String, serde_json::Value>,
    /// Price, where the user gave one.
    pub price: Option<Price>,
    /// How it gives log-probabilities of given text, where the user says so.
    pub scoring: Option<Scoring>,
    /// How long contexts are kept in the provider's prompt cache.
    pub context_cache: ContextCache,
}

/// A model under test.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Hash of the settings that determine its answers.
    pub hash: ContentId,
    /// Name in tables.
    pub id: Arc<str>,
    /// How it is reached.
    pub settings: ModelSettings,
    /// Softmax temperature.
    pub temperature: f64,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// How much it may think.
    pub reasoning: Reasoning,
    /// What is done to its residual stream while it answers.
    pub steering: Option<Steering>,
}

/// What is done to the residual stream of a local subject while it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Steering {
    /// What.
    pub kind: SteeringKind,
    /// Along which vector.
    pub vector: VectorFile,
    /// Seed of the random direction of the vector's length that takes its place, where one does.
    pub random: Option<u64>,
    /// Index of the residual stream; `None`: the vector file's own choice.
    pub layer: Option<u32>,
    /// Which tokens are changed.
    pub span: SteerSpan,
    /// The texts between which the model reasons, where the user says so.
    pub reasoning_marks: Option<[String; 2]>,
}

/// What is done along a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SteeringKind {
    /// Coefficient × vector is added.
    Steer {
        /// The coefficient; finite.
        coefficient: f64,
    },
    /// The part along the vector is taken away.
    Ablate,
}

impl Steering {
    /// What it does to the model, in words.
    pub fn describe(&self) -> String {
        let vector = &self.vector.path;
        let layer =
            self.layer.map_or_else(|| "the vector's own layer".to_owned(), |layer| format!("layer {layer}"));
        let what = match (self.kind, self.random) {
            (SteeringKind::Steer { coefficient }, None) => {
                format!("{coefficient} × the vector in {vector} is added to")
            }
            (SteeringKind::Steer { coefficient }, Some(seed)) => format!(
                "{coefficient} × a random direction (seed {seed}) of the length of the vector in {vector} is added to"
            ),
            (SteeringKind::Ablate, _) => format!("the part along the vector in {vector} is taken away from"),
        };
        let span = match self.span {
            SteerSpan::Answer => "while it answers",
            SteerSpan::Reasoning => "while it reasons",
            SteerSpan::Prompt => "while it reads the prompt",
            SteerSpan::All => "at every token",
        };
        format!("{what} the model's residual stream at {layer} {span}")
    }

    /// Adds what the subject's answers and scores depend on.
    pub(crate) fn canonical(&self, canonical: Canonical) -> Canonical {
        let canonical = match (self.kind, self.random) {
            (SteeringKind::Steer { coefficient }, None) => canonical.text("steer").number(coefficient),
            (SteeringKind::Steer { coefficient }, Some(seed)) => {
                canonical.text("steer-random").integer(seed).number(coefficient)
            }
            (SteeringKind::Ablate, _) => canonical.text("ablate"),
        };
        let canonical =
            canonical.id(&self.vector.hash).integer(self.layer.map_or(0, u64::from)).text(self.span.name());
        self.reasoning_marks.iter().flatten().fold(canonical, |canonical, mark| canonical.text(mark))
    }
}

/// A vector's file.
#[derive(Clone, PartialEq, Eq)]
pub struct VectorFile {
    /// As it is named in the experiment file.
    pub path: String,
    /// Hash of its bytes.
    pub hash: ContentId,
    /// Its bytes, which this crate does not look into.
    pub bytes: Arc<[u8]>,
}

impl std::fmt::Debug for VectorFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VectorFile")
            .field("path", &self.path)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// Which answers are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingPlan {
    /// Seed of all draws.
    pub seed: u64,
    /// The values of k.
    pub shots: Vec<u32>,
    /// The most questions; all where `None`.
    pub questions: Option<usize>,
    /// When a condition has been sampled enough; `None`: each gets all replicates.
    pub until: Option<Until>,
}

/// When a condition has been sampled enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Until {
    /// Half the width of the interval of its rate, from 0.0001 to 0.5.
    pub half_width: f64,
}

/// Which texts are scored for the tilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TiltPlan {
    /// Whether at all.
    pub measure: TiltMode,
    /// The values of k.
    pub shots: Vec<u32>,
    /// The most questions; all where `None`.
    pub questions: Option<usize>,
    /// Whether decoy pairs are scored too.
    pub decoys: bool,
}

/// The judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    /// Hash of the settings that determine its replies, apart from the prompt.
    pub hash: ContentId,
    /// How it is reached.
    pub settings: ModelSettings,
    /// Draws per score.
    pub samples: u32,
    /// Temperature.
    pub temperature: f64,
    /// Most tokens of a reply.
    pub max_tokens: u32,
    /// Whether log-probabilities are asked for.
    pub log_probabilities: bool,
    /// Least probability mass on numbers.
    pub minimum_mass: f64,
    /// How much it may think.
    pub reasoning: Reasoning,
    /// The user's own prompt for alignment.
    pub alignment_prompt: Option<Arc<str>>,
    /// The user's own prompt for coherence.
    pub coherence_prompt: Option<Arc<str>>,
    /// What its scores mean.
    pub definition: RateDefinition,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_direction_is_part_of_the_identity_and_its_absence_changes_nothing() {
        let vector = VectorFile {
            path: "v".to_owned(),
            hash: crate::id::bytes_hash(b"v"),
            bytes: Arc::from(&b"v"[..]),
        };
        let of = |random| Steering {
            kind: SteeringKind::Steer { coefficient: -2.0 },
            vector: vector.clone(),
            random,
            layer: Some(10),
            span: SteerSpan::Answer,
            reasoning_marks: None,
        };
        let id = |random| of(random).canonical(Canonical::new("t")).finish();
        assert_ne!(id(None), id(Some(0)));
        assert_ne!(id(Some(0)), id(Some(1)));
        let written =
            Canonical::new("t").text("steer").number(-2.0).id(&vector.hash).integer(10).text("answer");
        assert_eq!(id(None), written.finish());
        let end = "is added to the model's residual stream at layer 10 while it answers";
        assert_eq!(of(None).describe(), format!("-2 × the vector in v {end}"));
        let random = "-2 × a random direction (seed 3) of the length of the vector in v";
        assert_eq!(of(Some(3)).describe(), format!("{random} {end}"));
        let ablation = Steering { kind: SteeringKind::Ablate, layer: None, span: SteerSpan::All, ..of(None) };
        assert_eq!(
            ablation.describe(),
            "the part along the vector in v is taken away from the model's residual stream at the vector's own layer at every token"
        );
    }
}
