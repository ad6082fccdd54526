//! Extraction: rollouts under contrasted instructions, a judge's filter, and differences of mean hidden states.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tiltmeter_core::id::{Canonical, ContentId, text_hash};
use tiltmeter_core::verdict::Aspect;
use tiltmeter_judge::{JudgePrompts, JudgeSettings, judge_aspect, render};
use tiltmeter_local::{LocalModel, Reduction, Tap, TokenSelection};
use tiltmeter_models::{ChatModel, ChatRequest, FinishReason, ModelError, Reasoning, Sampling};

use crate::rollouts::{Answer, Rating, Rollout, RolloutStore, Side, rollouts};
use crate::separation::{Figure, HoldOut, Response, Separation, choose, difference, separation};
use crate::trait_file::TraitFile;
use crate::vector::{
    Counts, JudgeRecord, LayerRecord, ModelRecord, PersonaVector, SettingsRecord, SideCounts, VectorError,
    VectorRecord, length, single,
};

/// Answers and ratings in flight; the models' own limits are below.
const IN_FLIGHT: usize = 128;
/// Rollouts whose hidden states may be read ahead of the one that is added up.
const READ_AHEAD: usize = 8;
/// Resamples of the bootstrap over questions, by which the intervals of a layer's separation are made.
const RESAMPLES: u32 = 1000;
/// Ratings from here on count as showing the trait, or as coherent.
const THRESHOLD: f64 = 50.0;

/// An extraction that cannot be finished. What was drawn and rated is kept, and running again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The model or the judge failed for good.
    #[error("{who}: {error}")]
    Model {
        /// Which.
        who: &'static str,
        /// What it said.
        error: ModelError,
    },
    /// The rollouts cannot be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A line of the rollouts' file is not one.
    #[error("{}:{line}: not a rollout: {error}; move the file away to start anew", .path.display())]
    Rollouts {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The vector cannot be written as a file.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// Nothing is left of one side.
    #[error(
        "no rollout of the {side} side is left ({} drawn, {} without a token, {} with the trait rated otherwise, {} \
         incoherent, {} unrated, each with its `reason` in the rollouts' file): the model may be too small to follow the \
         instructions, or the judge too small to rate; try more rollouts, another judge, or none",
        .counts.drawn, .counts.empty, .counts.wrong_trait, .counts.incoherent, .counts.unrated
    )]
    NothingLeft {
        /// `positive` or `negative`.
        side: &'static str,
        /// What became of them.
        counts: SideCounts,
    },
}

/// How rollouts are drawn, and how layers are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtractionSettings {
    /// Answers to each question under each instruction; at least 1.
    pub rollouts: u32,
    /// The first so many pairs of instructions; `None`: all.
    pub pairs: Option<usize>,
    /// The first so many questions, at least 2; `None`: all.
    pub questions: Option<usize>,
    /// Softmax temperature.
    pub temperature: f64,
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// Seed of all draws.
    pub seed: u64,
    /// Parts that the questions, and the pairs of instructions where there are several, are split into, each held out
    /// once; at least 2.
    pub folds: usize,
}

impl Default for ExtractionSettings {
    /// Those of Chen et al. (2025), but for shorter answers.
    fn default() -> Self {
        Self {
            rollouts: 10,
            pairs: None,
            questions: None,
            temperature: 1.0,
            max_tokens: 256,
            seed: 0,
            folds: 4,
        }
    }
}

impl ExtractionSettings {
    pub(crate) fn pairs(&self, of: &TraitFile) -> usize {
        self.pairs.unwrap_or(usize::MAX).clamp(1, of.pair_count())
    }

    pub(crate) fn questions(&self, of: &TraitFile) -> usize {
        self.questions.unwrap_or(usize::MAX).clamp(2, of.questions.len())
    }

    fn hold_out(&self, of: &TraitFile) -> HoldOut {
        HoldOut {
            questions: self.folds,
            pairs: self.folds.min(self.pairs(of)),
            resamples: RESAMPLES,
            seed: self.seed,
        }
    }

    /// The number of answers that are drawn.
    pub fn drawn(&self, of: &TraitFile) -> u64 {
        2 * (self.pairs(of) * self.questions(of)) as u64 * u64::from(self.rollouts)
    }
}

/// Who rates rollouts.
pub struct TraitJudge<'a> {
    /// The model; whoever made it sees to repetitions and limits.
    pub model: &'a dyn ChatModel,
    /// As it is written down, `provider/model`.
    pub name: String,
    /// Hash of the settings that determine its replies.
    pub hash: ContentId,
    /// How it is asked.
    pub settings: JudgeSettings,
}

/// How far an extraction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An answer was drawn.
    Drawn {
        /// So many are there.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// A rating was given.
    Rated {
        /// So many are there.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// Hidden states of an answer were read.
    Read {
        /// So many are.
        done: u64,
        /// Of so many.
        of: u64,
    },
}

/// What an extraction works with.
pub struct Extraction<'a> {
    /// The model whose vector it is.
    pub model: &'a LocalModel,
    /// The trait.
    pub of: &'a TraitFile,
    /// How it is gone about.
    pub settings: ExtractionSettings,
    /// Who rates; without anybody, all rollouts are kept, and the record says so.
    pub judge: Option<TraitJudge<'a>>,
    /// Version of the program.
    pub software: &'a str,
    /// Who is told how far it is.
    pub observer: &'a (dyn Fn(Step) + Sync),
}

/// Extracts a trait's vectors: the mean over kept rollouts, positive minus negative, of the mean residual stream at the
/// answer's tokens, for each index of the stream. Deterministic given the same model, trait, settings and ratings.
///
/// # Errors
/// Where a model fails for good, the rollouts cannot be kept, or no rollout of one side is left.
pub async fn extract(
    extraction: &Extraction<'_>,
    store: &mut RolloutStore,
) -> Result<PersonaVector, ExtractError> {
    let description = extraction.model.description();
    let all = rollouts(extraction.of, &extraction.settings, &description.file_sha256);
    extraction.draw(&all, store).await?;
    let ratings = extraction.rate(&all, store).await?;
    let (kept, counts) = extraction.filter(&all, store, ratings.as_ref())?;
    let responses = extraction.read(&kept).await?;
    let hold_out = extraction.settings.hold_out(extraction.of);
    let layers = description.layers + 1;
    let separations: Vec<Separation> =
        (0..layers).map(|layer| separation(&responses, layer, hold_out)).collect();
    let vectors: Vec<Vec<f32>> = (0..layers)
        .map(|layer| {
            let vector = difference(responses.iter(), layer).unwrap_or_default();
            vector.into_iter().map(single).collect()
        })
        .collect();
    let layer = |(layer, separation): (usize, &Separation)| LayerRecord {
        layer,
        norm: length(&vectors[layer]),
        auroc: separation.auroc.map(|figure| figure.estimate),
        auroc_interval: separation.auroc.and_then(ends),
        standardised_difference: separation.standardised_difference.map(|figure| figure.estimate),
        standardised_difference_interval: separation.standardised_difference.and_then(ends),
    };
    let record = VectorRecord {
        schema: String::new(),
        name: extraction.of.name.clone(),
        trait_hash: extraction.of.hash.to_string(),
        purpose: extraction.of.purpose.clone(),
        model: ModelRecord {
            name: description.name.clone(),
            file_sha256: description.file_sha256.clone(),
            quantisation: description.quantisation.clone(),
            layers: description.layers,
            width: description.width,
        },
        settings: SettingsRecord {
            pairs: extraction.settings.pairs(extraction.of),
            questions: extraction.settings.questions(extraction.of),
            rollouts: extraction.settings.rollouts,
            temperature: extraction.settings.temperature,
            max_tokens: extraction.settings.max_tokens,
            seed: extraction.settings.seed,
            folds: hold_out.questions,
            pair_folds: hold_out.pairs,
            resamples: hold_out.resamples,
        },
        judge: extraction.judge.as_ref().map(|judge| JudgeRecord {
            model: judge.name.clone(),
            hash: judge.identity(extraction.of).to_string(),
        }),
        counts,
        layers: separations.iter().enumerate().map(layer).collect(),
        chosen_layer: choose(&separations),
        software: extraction.software.to_owned(),
    };
    Ok(PersonaVector::new(record, vectors)?)
}

fn ends(figure: Figure) -> Option<[f64; 2]> {
    figure.interval.map(|interval| [interval.low, interval.high])
}

impl TraitJudge<'_> {
    /// Hash of all that its ratings depend on, apart from the answer.
    fn identity(&self, of: &TraitFile) -> ContentId {
        let coherence = JudgePrompts::default().coherence;
        Canonical::new("tiltmeter.trait-judge/1")
            .id(&self.hash)
            .id(&text_hash(&of.eval_prompt))
            .id(&text_hash(&coherence))
            .finish()
    }
}

/// A rollout that is kept, with its answer.
type Kept<'r> = (&'r Rollout, Arc<str>);

/// Ratings by answer: trait and coherence.
type Ratings = std::collections::BTreeMap<ContentId, [Option<f64>; 2]>;

/// What is rated: the name in the file, and the aspect as which the judge's replies are read.
const RATED: [(&str, Aspect); 2] = [("trait", Aspect::Alignment), ("coherence", Aspect::Coherence)];

impl Extraction<'_> {
    async fn draw(&self, all: &[Rollout], store: &mut RolloutStore) -> Result<(), ExtractError> {
        let of = all.len() as u64;
        let missing: Vec<&Rollout> =
            all.iter().filter(|rollout| !store.answers.contains_key(&rollout.id)).collect();
        let mut done = of - missing.len() as u64;
        (self.observer)(Step::Drawn { done, of });
        let ask = |rollout: &Rollout| {
            let request = ChatRequest {
                prompt: Arc::clone(&rollout.prompt),
                sampling: Sampling {
                    temperature: self.settings.temperature,
                    max_tokens: self.settings.max_tokens,
                    seed: Some(rollout.id.request_seed()),
                    stop: Vec::new(),
                    top_log_probabilities: None,
                    reasoning: Reasoning::default(),
                },
            };
            let (id, side, question) = (rollout.id, rollout.side, rollout.question);
            async move {
                let response = self.model.chat(&request).await?;
                Ok(Answer {
                    id,
                    side,
                    question,
                    text: response.text,
                    tokens: response.usage.output_tokens,
                    is_truncated: response.finish == FinishReason::Length,
                })
            }
        };
        let mut answers = stream::iter(missing).map(ask).buffer_unordered(IN_FLIGHT);
        while let Some(answer) = answers.next().await {
            store.add_answer(answer.map_err(|error| ExtractError::Model { who: "the model", error })?)?;
            done += 1;
            (self.observer)(Step::Drawn { done, of });
        }
        Ok(())
    }

    /// Has all answers rated that are not; `None` without a judge.
    async fn rate(&self, all: &[Rollout], store: &mut RolloutStore) -> Result<Option<Ratings>, ExtractError> {
        let Some(judge) = &self.judge else { return Ok(None) };
        let identity = judge.identity(self.of);
        let coherence = JudgePrompts::default().coherence;
        let mut asked = Vec::new();
        for rollout in all {
            let Some(answer) = store.answers.get(&rollout.id) else { continue };
            for (index, (name, aspect)) in RATED.into_iter().enumerate() {
                let id = Canonical::new("tiltmeter.trait-rating/1")
                    .id(&rollout.id)
                    .id(&identity)
                    .text(name)
                    .finish();
                let template = if aspect == Aspect::Coherence { &*coherence } else { &self.of.eval_prompt };
                let text = render(template, &rollout.prompt.question, &answer.text);
                asked.push((id, rollout.id, index, aspect, text));
            }
        }
        let of = asked.len() as u64;
        let missing: Vec<_> =
            asked.iter().filter(|(id, ..)| !store.ratings.contains_key(id)).cloned().collect();
        let mut done = of - missing.len() as u64;
        (self.observer)(Step::Rated { done, of });
        let rate = |(id, answer, index, aspect, text): (ContentId, ContentId, usize, Aspect, String)| async move {
            let judgement = judge_aspect(judge.model, &judge.settings, aspect, &text, id).await?;
            let minimum_mass = judge.settings.minimum_mass;
            Ok(Rating::new([id, answer], RATED[index].0, judgement, minimum_mass))
        };
        let mut ratings = stream::iter(missing).map(rate).buffer_unordered(IN_FLIGHT);
        while let Some(rating) = ratings.next().await {
            store.add_rating(rating.map_err(|error| ExtractError::Model { who: "the judge", error })?)?;
            done += 1;
            (self.observer)(Step::Rated { done, of });
        }
        drop(ratings);
        let mut all = Ratings::new();
        for (id, answer, index, ..) in asked {
            all.entry(answer).or_default()[index] = store.ratings.get(&id).and_then(|rating| rating.score);
        }
        Ok(Some(all))
    }

    /// Keeps rollouts that show what they should. Each is looked at by itself; the authors' program drops the answer
    /// under the other instruction too where one is dropped.
    fn filter<'r>(
        &self,
        all: &'r [Rollout],
        store: &RolloutStore,
        ratings: Option<&Ratings>,
    ) -> Result<(Vec<Kept<'r>>, Counts), ExtractError> {
        let mut counts = Counts::default();
        let mut kept = Vec::new();
        for rollout in all {
            let Some(answer) = store.answers.get(&rollout.id) else { continue };
            let counts = match rollout.side {
                Side::Positive => &mut counts.positive,
                Side::Negative => &mut counts.negative,
            };
            counts.drawn += 1;
            if self.model.count_tokens(&answer.text) == 0 {
                counts.empty += 1;
                continue;
            }
            if let Some(ratings) = ratings {
                let [Some(shown), Some(coherence)] = ratings.get(&rollout.id).copied().unwrap_or_default()
                else {
                    counts.unrated += 1;
                    continue;
                };
                if (shown >= THRESHOLD) != (rollout.side == Side::Positive) {
                    counts.wrong_trait += 1;
                    continue;
                }
                if coherence < THRESHOLD {
                    counts.incoherent += 1;
                    continue;
                }
            }
            counts.kept += 1;
            counts.truncated += u64::from(answer.is_truncated);
            kept.push((rollout, Arc::from(answer.text.as_str())));
        }
        for (side, counts) in [("positive", counts.positive), ("negative", counts.negative)] {
            if counts.kept == 0 {
                return Err(ExtractError::NothingLeft { side, counts });
            }
        }
        Ok((kept, counts))
    }

    /// Reads the response means, in order, so that sums have the same bits each time.
    async fn read(&self, kept: &[Kept<'_>]) -> Result<Vec<Response>, ExtractError> {
        let layers: Arc<[usize]> = (0..=self.model.description().layers).collect();
        let tap = Tap { layers, tokens: TokenSelection::Answer, reduction: Reduction::Mean };
        let taps: Arc<[Tap]> = [tap].into();
        let of = kept.len() as u64;
        let read = |(rollout, text): &Kept<'_>| {
            let (prompt, text, taps) = (Arc::clone(&rollout.prompt), Arc::clone(text), Arc::clone(&taps));
            let (side, pair, question) = (rollout.side, rollout.pair, rollout.question);
            async move {
                let mut states = self.model.hidden_states(&prompt, &text, &taps).await?;
                let means = states.taps.pop().map(|tap| tap.layers.into_iter().flatten().collect());
                Ok(Response { side, pair, question, means: means.unwrap_or_default() })
            }
        };
        let mut responses = Vec::with_capacity(kept.len());
        let mut reading = stream::iter(kept).map(read).buffered(READ_AHEAD);
        while let Some(response) = reading.next().await {
            responses.push(response.map_err(|error| ExtractError::Model { who: "the model", error })?);
            (self.observer)(Step::Read { done: responses.len() as u64, of });
        }
        Ok(responses)
    }
}
