//! The judge-free tilt.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tiltmeter_core::prompt::{Placement, RenderedContext};
use tiltmeter_core::question::PairKind;
use tiltmeter_core::treatment::{
    GUARD_REFUSAL, NO_TILT_AFTER_REASONING, NO_TILT_OF_BLOCKING, NO_TILT_OF_SEVERAL_CALLS,
};
use tiltmeter_stats::{BootstrapInterval, BootstrapSettings, PairedDifference, bootstrap_mean};
use tiltmeter_store::{ConditionRow, ExperimentRow, Reader, ScoreRow, StoreError};

use crate::results::TiltResult;

use super::AnalysisError;
use super::samples::BlockKey;

/// The most context draws of an experiment.
const MOST_DRAWS: usize = 10_000;

/// The log-probability per token of both texts of a pair.
#[derive(Clone, Copy, Default)]
struct PairScore {
    tilted: Option<f64>,
    upright: Option<f64>,
}

impl PairScore {
    /// How much likelier, per token, the tilted text is; `None` while one of them is not scored.
    fn difference(self) -> Option<f64> {
        Some(self.tilted? - self.upright?)
    }
}

/// Question and pair.
type PairKey = (i64, i64);

/// A value in nats per token of each pair.
type ByPair = BTreeMap<PairKey, f64>;

/// A condition with the one that shows benign answers to the same prompts.
#[derive(Clone, Copy)]
pub(super) struct Twins<'a> {
    pub(super) own: &'a ConditionRow,
    pub(super) benign: &'a ConditionRow,
}

/// The context without demonstrations that a condition is compared with: that of its placement, or of one that puts the
/// question alike behind none, whichever has scores.
fn baseline(
    reader: &Reader,
    blocks: &HashMap<BlockKey, BTreeMap<PairKey, (PairKind, PairScore)>>,
    condition: &ConditionRow,
) -> Result<Option<i64>, StoreError> {
    if condition.shots == 0 {
        return Ok(condition.contexts.first().copied());
    }
    let format = condition.question_format;
    let header = condition.placement.has_header(format);
    let others = Placement::ALL.into_iter().filter(|other| other.has_header(format) == header);
    let mut first = None;
    for placement in [condition.placement].into_iter().chain(others) {
        let empty = RenderedContext::render([], placement, format);
        let Some(row) = reader.context_row(empty.id)? else { continue };
        if blocks.contains_key(&(condition.subject, row, condition.treatment)) {
            return Ok(Some(row));
        }
        first = first.or(Some(row));
    }
    Ok(first)
}

/// All scored pairs, by block.
pub(crate) struct Tilts {
    blocks: HashMap<BlockKey, BTreeMap<PairKey, (PairKind, PairScore)>>,
    /// The context without demonstrations, by condition.
    baselines: HashMap<i64, i64>,
    seed: u64,
}

impl Tilts {
    pub(crate) fn new(
        reader: &Reader,
        experiment: &ExperimentRow,
        conditions: &[ConditionRow],
    ) -> Result<Self, StoreError> {
        let mut blocks: HashMap<BlockKey, BTreeMap<PairKey, (PairKind, PairScore)>> = HashMap::new();
        for ScoreRow { subject, context, treatment, question, pair, kind, tilted, mean_log_probability } in
            reader.scores(experiment.id)?
        {
            let pairs = blocks.entry((subject, context, treatment)).or_default();
            let (_, score) = pairs.entry((question, pair)).or_insert((kind, PairScore::default()));
            let side = if tilted { &mut score.tilted } else { &mut score.upright };
            *side = Some(mean_log_probability);
        }
        let mut baselines = HashMap::new();
        for condition in conditions {
            if let Some(row) = baseline(reader, &blocks, condition)? {
                baselines.insert(condition.id, row);
            }
        }
        Ok(Self { blocks, baselines, seed: experiment.seed })
    }

    /// Differences of the pairs of a kind in one context of a condition: (question, pair) and nats per token.
    fn differences(&self, condition: &ConditionRow, context: i64, kind: PairKind) -> BTreeMap<PairKey, f64> {
        let scored: HashSet<i64> = condition
            .questions
            .iter()
            .filter(|(.., scored)| *scored)
            .map(|(question, ..)| *question)
            .collect();
        self.blocks
            .get(&(condition.subject, context, condition.treatment))
            .into_iter()
            .flatten()
            .filter(|((question, _), (found, _))| *found == kind && scored.contains(question))
            .filter_map(|(&key, (_, score))| Some((key, score.difference()?)))
            .collect()
    }

    /// The tilt by question in one context of a condition: the mean over alignment pairs, against the prompt without
    /// context.
    pub(crate) fn by_question(&self, condition: &ConditionRow, context: i64) -> BTreeMap<i64, f64> {
        let Some(&baseline) = self.baselines.get(&condition.id) else { return BTreeMap::new() };
        let without = self.differences(condition, baseline, PairKind::Alignment);
        let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for (key, value) in self.differences(condition, context, PairKind::Alignment) {
            if let Some(before) = without.get(&key) {
                let sum = sums.entry(key.0).or_insert((0.0, 0.0));
                sum.0 += value - before;
                sum.1 += 1.0;
            }
        }
        sums.into_iter().map(|(question, (sum, count))| (question, sum / count)).collect()
    }

    /// The shift of a condition against the prompt without context.
    pub(super) fn of(
        &self,
        condition: &ConditionRow,
        kind: PairKind,
    ) -> Result<Option<TiltResult>, AnalysisError> {
        let Some(&baseline) = self.baselines.get(&condition.id) else { return Ok(None) };
        let without = self.differences(condition, baseline, kind);
        if without.is_empty() {
            return Ok(None);
        }
        if condition.contexts == [baseline] {
            let questions: HashSet<i64> = without.keys().map(|(question, _)| *question).collect();
            return Ok(Some(TiltResult {
                estimate: 0.0,
                low: Some(0.0),
                high: Some(0.0),
                pairs: without.len() as u64,
                questions: questions.len() as u64,
                contexts: 1,
                method: "baseline",
            }));
        }
        let pairs = condition
            .contexts
            .iter()
            .enumerate()
            .map(|(draw, &context)| (draw, self.differences(condition, context, kind), without.clone()));
        self.interval(pairs, condition)
    }

    /// The shift of a condition against benign answers to the same prompts.
    pub(super) fn emergent(
        &self,
        condition: &ConditionRow,
        twin: &ConditionRow,
        kind: PairKind,
    ) -> Result<Option<TiltResult>, AnalysisError> {
        let pairs =
            condition.contexts.iter().zip(&twin.contexts).enumerate().map(|(draw, (&context, &other))| {
                (draw, self.differences(condition, context, kind), self.differences(twin, other, kind))
            });
        self.interval(pairs, condition)
    }

    /// The emergent tilts of some conditions minus those of others, paired by question, draw and answer pair: the mean over
    /// all of them. Draws are counted set by set, so that those of several k are the same ones.
    pub(super) fn change(
        &self,
        pairs: &[(Twins<'_>, Twins<'_>)],
    ) -> Result<Option<TiltResult>, AnalysisError> {
        let Some((first, _)) = pairs.first() else { return Ok(None) };
        let mut sets: Vec<&str> = Vec::new();
        let mut draws: Vec<(usize, ByPair, ByPair)> = Vec::new();
        let count = i64::try_from(pairs.len()).unwrap_or(i64::MAX);
        for (place, (changed, reference)) in (0_i64..).zip(pairs) {
            let name = changed.own.demonstrations.as_str();
            let set = sets.iter().position(|known| *known == name).unwrap_or_else(|| {
                sets.push(name);
                sets.len() - 1
            });
            for draw in 0..changed.own.contexts.len() {
                // The same answer pair under another k or set is an observation of its own.
                let own = |emergent: ByPair| -> ByPair {
                    let apart = |pair: i64| pair.saturating_mul(count).saturating_add(place);
                    emergent
                        .into_iter()
                        .map(|((question, pair), value)| ((question, apart(pair)), value))
                        .collect()
                };
                let (Some(changed), Some(reference)) =
                    (self.emergent_draw(*changed, draw), self.emergent_draw(*reference, draw))
                else {
                    continue;
                };
                draws.push((set * MOST_DRAWS + draw, own(changed), own(reference)));
            }
        }
        self.interval(draws.into_iter(), first.own)
    }

    /// The emergent tilt of each alignment pair in one draw of a condition.
    fn emergent_draw(&self, of: Twins<'_>, draw: usize) -> Option<BTreeMap<PairKey, f64>> {
        let kind = PairKind::Alignment;
        let own = self.differences(of.own, *of.own.contexts.get(draw)?, kind);
        let benign = self.differences(of.benign, *of.benign.contexts.get(draw)?, kind);
        let emergent = own.into_iter().filter_map(|(key, value)| Some((key, value - benign.get(&key)?)));
        Some(emergent.collect())
    }

    /// The emergent tilt of each alignment pair minus the mean one of the same question's decoys, draw by draw.
    pub(super) fn beyond_style(
        &self,
        condition: &ConditionRow,
        twin: &ConditionRow,
    ) -> Result<Option<TiltResult>, AnalysisError> {
        let pairs =
            condition.contexts.iter().zip(&twin.contexts).enumerate().map(|(draw, (&context, &other))| {
                let emergent = |kind| {
                    let benign = self.differences(twin, other, kind);
                    let own = self.differences(condition, context, kind);
                    own.into_iter().filter_map(move |(key, value)| Some((key, value - benign.get(&key)?)))
                };
                let mut decoys: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
                for ((question, _), value) in emergent(PairKind::Decoy) {
                    decoys.entry(question).or_default().push(value);
                }
                let style = |question| {
                    let values = decoys.get(&question)?;
                    Some(values.iter().sum::<f64>() / values.len() as f64)
                };
                let (mut shifted, mut reference) = (BTreeMap::new(), BTreeMap::new());
                for (key, value) in emergent(PairKind::Alignment) {
                    if let Some(style) = style(key.0) {
                        shifted.insert(key, value);
                        reference.insert(key, style);
                    }
                }
                (draw, shifted, reference)
            });
        self.interval(pairs, condition)
    }

    /// The tilt of each context draw alone: the mean over questions of the mean over alignment pairs, against the
    /// prompt without context or against a twin. Draws without pairs are left out.
    pub(super) fn draws(&self, condition: &ConditionRow, twin: Option<&ConditionRow>) -> Vec<f64> {
        let kind = PairKind::Alignment;
        let reference = |draw: usize| {
            let (of, context) = match twin {
                Some(twin) => (twin, twin.contexts.get(draw)?),
                None => (condition, self.baselines.get(&condition.id)?),
            };
            Some(self.differences(of, *context, kind))
        };
        let of_draw = |(draw, &context): (usize, &i64)| {
            let reference = reference(draw)?;
            let mut questions: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
            for (key, value) in self.differences(condition, context, kind) {
                let Some(before) = reference.get(&key) else { continue };
                let sum = questions.entry(key.0).or_insert((0.0, 0.0));
                sum.0 += value - before;
                sum.1 += 1.0;
            }
            let means: f64 = questions.values().map(|(sum, count)| sum / count).sum();
            (!questions.is_empty()).then(|| means / questions.len() as f64)
        };
        condition.contexts.iter().enumerate().filter_map(of_draw).collect()
    }

    fn interval(
        &self,
        draws: impl Iterator<Item = (usize, BTreeMap<PairKey, f64>, BTreeMap<PairKey, f64>)>,
        condition: &ConditionRow,
    ) -> Result<Option<TiltResult>, AnalysisError> {
        let index = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut observations = Vec::new();
        let mut pairs = HashSet::new();
        for (draw, shifted, reference) in draws {
            for (key, value) in shifted {
                let Some(before) = reference.get(&key) else { continue };
                let (question, pair) = key;
                pairs.insert(key);
                observations.push(PairedDifference {
                    question: index(question),
                    draw: u32::try_from(draw).unwrap_or(u32::MAX),
                    pair: index(pair),
                    value: value - before,
                });
            }
        }
        if observations.is_empty() {
            return Ok(None);
        }
        let settings = BootstrapSettings { seed: self.seed, ..BootstrapSettings::default() };
        let BootstrapInterval { estimate, low, high, questions, draws, method, .. } =
            bootstrap_mean(&observations, &settings).map_err(|error| AnalysisError::Statistics {
                what: format!("the tilt of {} at k = {}", condition.demonstrations, condition.shots),
                error,
            })?;
        Ok(Some(TiltResult {
            estimate,
            low,
            high,
            pairs: pairs.len() as u64,
            questions: questions as u64,
            contexts: draws as u64,
            method: method.name(),
        }))
    }
}
/// Which conditions have no tilt because their treatment leaves it none.
pub(crate) struct NotApplicable {
    reasons: BTreeMap<i64, &'static str>,
    /// Treatments, by name, whose guard may block.
    blocking: BTreeSet<String>,
    /// Subjects of which texts are scored under some treatment.
    scored: BTreeSet<i64>,
}

impl NotApplicable {
    pub(super) fn read(
        reader: &Reader,
        experiment: i64,
        conditions: &[ConditionRow],
    ) -> Result<Self, StoreError> {
        let texts = reader.treatment_texts()?;
        let elicited = texts.iter().filter(|(_, texts)| texts.after_question.is_some());
        let mut reasons: BTreeMap<i64, &'static str> =
            elicited.map(|(&treatment, _)| (treatment, NO_TILT_AFTER_REASONING)).collect();
        reasons
            .extend(reader.procedures()?.into_keys().map(|treatment| (treatment, NO_TILT_OF_SEVERAL_CALLS)));
        let is_scored =
            |condition: &&ConditionRow| condition.questions.iter().any(|(_, _, is_scored)| *is_scored);
        let scored = conditions.iter().filter(is_scored).map(|condition| condition.subject).collect();
        let refusal = |(name, _): &(String, String)| name == GUARD_REFUSAL;
        let blocking = reader.treatments(experiment)?.into_iter();
        let blocking = blocking.filter(|one| one.texts.iter().any(refusal)).map(|one| one.name).collect();
        Ok(Self { reasons, blocking, scored })
    }

    pub(super) fn of(&self, condition: &ConditionRow) -> Option<&'static str> {
        let blocking = self.blocking.contains(&condition.treatment_name).then_some(NO_TILT_OF_BLOCKING);
        self.reasons
            .get(&condition.treatment)
            .copied()
            .or(blocking)
            .filter(|_| self.scored.contains(&condition.subject))
    }
}
