//! From a store to results. Pure but for reading; never asks a model.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tiltmeter_core::prompt::RenderedContext;
use tiltmeter_core::question::PairKind;
use tiltmeter_core::verdict::{NoVerdict, RateDefinition, Verdict};
use tiltmeter_stats::{
    BootstrapInterval, BootstrapSettings, ClusterCount, Confidence, PairedDifference, StatsError,
    bootstrap_mean, clustered_rate, rate_bounds,
};
use tiltmeter_store::{
    ConditionRow, ExperimentRow, FailureRow, Reader, ResponseOutcome, SampleRow, ScoreRow, StoreError,
};

use crate::results::{
    BoundsResult, ConditionResult, FailureCount, RateResult, RunResults, TiltResult, VerdictCounts,
};

/// Results cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored number cannot be used.
    #[error("compute {what}: {error}")]
    Statistics {
        /// Of what.
        what: String,
        /// Why.
        error: StatsError,
    },
}

/// Computes the results of the experiment that was run last in a directory. `asked`, `reused` and `attempts` of
/// the result are zero: they belong to a start, not to what is stored.
///
/// # Errors
/// If the store cannot be read, or holds numbers that cannot be used.
pub fn analyse(directory: &Path) -> Result<RunResults, AnalysisError> {
    let reader = Reader::open(directory)?;
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let failures = reader.failures()?;
    let samples = Samples::new(&reader, &failures, &experiment)?;
    let tilts = Tilts::new(&reader, &experiment, &conditions)?;
    let mut results = Vec::with_capacity(conditions.len());
    for condition in &conditions {
        let judged = samples.of(condition);
        let twin = conditions.iter().find(|other| is_benign_twin(condition, other));
        let emergent = |kind| match twin {
            Some(twin) => tilts.emergent(condition, twin, kind),
            None => Ok(None),
        };
        results.push(ConditionResult {
            subject: condition.subject_name.clone(),
            demonstrations: condition.demonstrations.clone(),
            control: condition.control.clone(),
            shots: condition.shots,
            instruction: condition.instruction_name.clone(),
            placement: condition.placement.name().to_owned(),
            reasoning: condition.reasoning.clone(),
            contexts: condition.contexts.len() as u64,
            samples: judged.len() as u64,
            verdicts: count_verdicts(&judged),
            truncated: judged.iter().filter(|sample| sample.truncated).count() as u64,
            em_rate: match experiment.judge {
                Some(_) => rate(&judged, experiment.definition, condition)?,
                None => None,
            },
            tilt: tilts.of(condition, PairKind::Alignment)?,
            decoy_tilt: tilts.of(condition, PairKind::Decoy)?,
            emergent_tilt: emergent(PairKind::Alignment)?,
            emergent_decoy_tilt: emergent(PairKind::Decoy)?,
            emergent_tilt_beyond_style: match twin {
                Some(twin) => tilts.beyond_style(condition, twin)?,
                None => None,
            },
        });
    }
    Ok(RunResults {
        schema: "tiltmeter.run/1",
        experiment: experiment.name.clone(),
        conditions: results,
        asked: 0,
        reused: 0,
        attempts: 0,
        cost_usd: 0.0,
        timing: crate::meter::Timing::default(),
        failures: count_failures(&failures, &experiment),
        notes: experiment.notes,
    })
}

/// Whether `other` shows benign answers to the same prompts, everything else being equal.
fn is_benign_twin(condition: &ConditionRow, other: &ConditionRow) -> bool {
    condition.control == "none"
        && condition.shots > 0
        && other.control == "benign"
        && other.subject == condition.subject
        && other.demonstrations == condition.demonstrations
        && other.shots == condition.shots
        && other.instruction == condition.instruction
        && other.placement == condition.placement
}

/// A sample with its verdict.
#[derive(Clone, Copy)]
struct Judged {
    question: i64,
    replicate: u32,
    truncated: bool,
    verdict: Verdict,
}

/// Subject, context and instruction: what samples of one block share.
type BlockKey = (i64, i64, i64);

/// All samples, by the block that they belong to.
struct Samples {
    blocks: HashMap<BlockKey, Vec<Judged>>,
}

impl Samples {
    fn new(reader: &Reader, failures: &[FailureRow], experiment: &ExperimentRow) -> Result<Self, StoreError> {
        let failed: HashSet<i64> = failures
            .iter()
            .filter(|failure| failure.judge.is_some() && failure.judge == experiment.judge)
            .filter_map(|failure| failure.response)
            .collect();
        let mut blocks: HashMap<BlockKey, Vec<Judged>> = HashMap::new();
        reader.for_each_sample(experiment, |row| {
            blocks.entry((row.subject, row.context, row.instruction)).or_default().push(Judged {
                question: row.question,
                replicate: row.replicate,
                truncated: row.truncated,
                verdict: verdict(&row, experiment.judge.is_some(), failed.contains(&row.response)),
            });
        })?;
        for failure in failures {
            if let Some((subject, context, instruction, question, replicate)) = failure.sample {
                blocks.entry((subject, context, instruction)).or_default().push(Judged {
                    question,
                    replicate,
                    truncated: false,
                    verdict: Verdict::None(NoVerdict::Error),
                });
            }
        }
        Ok(Self { blocks })
    }

    fn of(&self, condition: &ConditionRow) -> Vec<Judged> {
        let asked: HashSet<i64> = condition
            .questions
            .iter()
            .filter(|(_, sampled, _)| *sampled)
            .map(|(question, ..)| *question)
            .collect();
        condition
            .contexts
            .iter()
            .filter_map(|&context| self.blocks.get(&(condition.subject, context, condition.instruction)))
            .flatten()
            .filter(|sample| asked.contains(&sample.question) && sample.replicate < condition.replicates)
            .copied()
            .collect()
    }
}

fn verdict(row: &SampleRow, has_judge: bool, judge_failed: bool) -> Verdict {
    match row.outcome {
        ResponseOutcome::Refusal => Verdict::None(NoVerdict::SubjectRefusal),
        ResponseOutcome::Filtered => Verdict::None(NoVerdict::Filtered),
        ResponseOutcome::Answer if !has_judge => Verdict::None(NoVerdict::None),
        ResponseOutcome::Answer => {
            let incomplete = row.alignment.is_none() || row.coherence.is_none();
            if incomplete && !judge_failed {
                Verdict::None(NoVerdict::None)
            } else {
                Verdict::from_aspects(row.alignment, row.coherence)
            }
        }
    }
}

fn count_verdicts(samples: &[Judged]) -> VerdictCounts {
    let mut counts = VerdictCounts::default();
    for sample in samples {
        *match sample.verdict.reason() {
            None => &mut counts.scored,
            Some(NoVerdict::SubjectRefusal) => &mut counts.subject_refusal,
            Some(NoVerdict::Code) => &mut counts.code,
            Some(NoVerdict::JudgeRefusal) => &mut counts.judge_refusal,
            Some(NoVerdict::Unparsable) => &mut counts.unparsable,
            Some(NoVerdict::Filtered) => &mut counts.filtered,
            Some(NoVerdict::Error) => &mut counts.error,
            Some(NoVerdict::None) => &mut counts.none,
        } += 1;
    }
    counts
}

fn rate(
    samples: &[Judged],
    definition: RateDefinition,
    condition: &ConditionRow,
) -> Result<Option<RateResult>, AnalysisError> {
    let statistics = |error| AnalysisError::Statistics {
        what: format!("the rate of {} at k = {}", condition.demonstrations, condition.shots),
        error,
    };
    let mut clusters: BTreeMap<i64, ClusterCount> = BTreeMap::new();
    let (mut known, mut unknown) = (0, 0);
    for sample in samples {
        let counted = definition.classify(sample.verdict);
        if let Some(misaligned) = counted {
            let cluster = clusters.entry(sample.question).or_insert(ClusterCount { successes: 0, trials: 0 });
            cluster.trials += 1;
            cluster.successes += u64::from(misaligned);
        }
        // An unknown sample enters the bounds as coherent, whether or not the denominator holds it already.
        if sample.verdict.reason().is_some_and(NoVerdict::is_unknown) {
            unknown += 1;
        } else {
            known += u64::from(counted.is_some());
        }
    }
    if clusters.is_empty() {
        return Ok(None);
    }
    let clusters: Vec<ClusterCount> = clusters.into_values().collect();
    let rate = clustered_rate(&clusters, Confidence::NINETY_FIVE).map_err(statistics)?;
    let bounds = rate_bounds(rate.successes, known, unknown).map_err(statistics)?;
    Ok(Some(RateResult {
        estimate: rate.interval.estimate,
        low: rate.interval.low,
        high: rate.interval.high,
        method: rate.method.name(),
        clusters: rate.clusters as u64,
        denominator: definition.denominator.name(),
        denominator_count: rate.trials,
        misaligned: rate.successes,
        bounds: bounds
            .map_or(BoundsResult { low: rate.interval.estimate, high: rate.interval.estimate }, |bounds| {
                BoundsResult { low: bounds.low, high: bounds.high }
            }),
    }))
}

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

/// All scored pairs, by block.
struct Tilts {
    blocks: HashMap<BlockKey, BTreeMap<PairKey, (PairKind, PairScore)>>,
    /// The context without demonstrations, by condition.
    baselines: HashMap<i64, i64>,
    seed: u64,
}

impl Tilts {
    fn new(
        reader: &Reader,
        experiment: &ExperimentRow,
        conditions: &[ConditionRow],
    ) -> Result<Self, StoreError> {
        let mut blocks: HashMap<BlockKey, BTreeMap<PairKey, (PairKind, PairScore)>> = HashMap::new();
        for ScoreRow { subject, context, instruction, question, pair, kind, tilted, mean_log_probability } in
            reader.scores(experiment.id)?
        {
            let pairs = blocks.entry((subject, context, instruction)).or_default();
            let (_, score) = pairs.entry((question, pair)).or_insert((kind, PairScore::default()));
            let side = if tilted { &mut score.tilted } else { &mut score.upright };
            *side = Some(mean_log_probability);
        }
        let mut baselines = HashMap::new();
        for condition in conditions {
            let empty = RenderedContext::render([], condition.placement, condition.question_format);
            if let Some(row) = reader.context_row(empty.id)? {
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
            .get(&(condition.subject, context, condition.instruction))
            .into_iter()
            .flatten()
            .filter(|((question, _), (found, _))| *found == kind && scored.contains(question))
            .filter_map(|(&key, (_, score))| Some((key, score.difference()?)))
            .collect()
    }

    /// The shift of a condition against the prompt without context.
    fn of(&self, condition: &ConditionRow, kind: PairKind) -> Result<Option<TiltResult>, AnalysisError> {
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
    fn emergent(
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

    /// The emergent tilt of each alignment pair minus the mean one of the same question's decoys, draw by draw.
    fn beyond_style(
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

fn count_failures(failures: &[FailureRow], experiment: &ExperimentRow) -> Vec<FailureCount> {
    let mut counts: BTreeMap<(&str, &str), (u64, &str)> = BTreeMap::new();
    for failure in failures {
        if failure.judge.is_some() && failure.judge != experiment.judge {
            continue;
        }
        let (count, _) = counts.entry((&failure.target, &failure.kind)).or_insert((0, &failure.message));
        *count += 1;
    }
    counts
        .into_iter()
        .map(|((target, kind), (count, example))| FailureCount {
            target: target.to_owned(),
            kind: kind.to_owned(),
            count,
            example: example.to_owned(),
        })
        .collect()
}
