//! Useful answers and refusals: what the probes of usefulness come to, from the store alone.

use std::collections::{BTreeMap, HashMap};

use tiltmeter_core::experiment::{Family, StatisticsFile};
use tiltmeter_core::usefulness::{Assessment, Usefulness};
use tiltmeter_stats::compare::{PairedCount, benjamini_hochberg, holm};
use tiltmeter_stats::{ClusterCount, Confidence, StatsError, clustered_rate};
use tiltmeter_store::{ConditionRow, ExperimentRow, FailureRow, ProbedCondition, Reader, StoreError};

use crate::effects::Omission;
use crate::usefulness::{
    ShareCount, ShareResult, UsefulnessComparison, UsefulnessCounts, UsefulnessResult, UsefulnessResults,
};

use super::comparisons::Test;
use super::ranking::is_baseline;
use super::samples::BlockKey;
use super::treatments::{self, GuardedContexts};
use super::{AnalysisError, planned, statistics};

/// What is counted among answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Useful,
    Refused,
}

impl Counted {
    fn name(self) -> &'static str {
        match self {
            Self::Useful => "useful",
            Self::Refused => "refused",
        }
    }

    fn of(self, cell: Cell) -> ClusterCount {
        let successes = match self {
            Self::Useful => cell.useful,
            Self::Refused => cell.refused,
        };
        ClusterCount { successes, trials: cell.answers }
    }
}

/// The answers to one question in one context.
#[derive(Clone, Copy, Default)]
struct Cell {
    useful: u64,
    refused: u64,
    answers: u64,
}

/// A condition of a probe with its answers.
pub(super) struct Probed {
    pub(super) of: ProbedCondition,
    counts: UsefulnessCounts,
    refusal_phrases: u64,
    /// By number of the context's draw and question.
    cells: BTreeMap<(usize, i64), Cell>,
}

impl Probed {
    fn condition(&self) -> &ConditionRow {
        &self.of.condition
    }

    /// Whether it is what another condition is compared with: the same without the treatment.
    fn is_baseline_of(&self, treated: &Self) -> bool {
        is_baseline(treated.condition(), self.condition())
    }

    /// Both conditions' answers by question, of the contexts and questions that both have answers to. Contexts are the same
    /// by the number of their draw, so that a treatment may change what is made of them.
    pub(super) fn paired(&self, other: &Self, counted: Counted) -> BTreeMap<i64, PairedCount> {
        let mut pairs = BTreeMap::new();
        for (key, first) in &self.cells {
            if let Some(second) = other.cells.get(key) {
                let pair = PairedCount { first: counted.of(*first), second: counted.of(*second) };
                add(&mut pairs, key.1, pair);
            }
        }
        pairs
    }
}

/// Adds the trials of a question to those that are there.
pub(super) fn add(pairs: &mut BTreeMap<i64, PairedCount>, question: i64, more: PairedCount) {
    let nothing = ClusterCount { successes: 0, trials: 0 };
    let pair = pairs.entry(question).or_insert(PairedCount { first: nothing, second: nothing });
    for (to, from) in [(&mut pair.first, more.first), (&mut pair.second, more.second)] {
        to.successes += from.successes;
        to.trials += from.trials;
    }
}

/// Reads all answers to the probes of an experiment; empty where it asks none.
pub(super) fn read(
    reader: &Reader,
    experiment: &ExperimentRow,
    failures: &[FailureRow],
) -> Result<Vec<Probed>, AnalysisError> {
    let conditions = reader.probed(experiment.id)?;
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    let mut members: HashMap<BlockKey, Vec<(usize, usize)>> = HashMap::new();
    let mut all: Vec<Probed> = Vec::with_capacity(conditions.len());
    for (place, of) in conditions.into_iter().enumerate() {
        let ConditionRow { subject, treatment, contexts, .. } = &of.condition;
        for (draw, &context) in contexts.iter().enumerate() {
            members.entry((*subject, context, *treatment)).or_default().push((place, draw));
        }
        let (counts, cells) = (UsefulnessCounts::default(), BTreeMap::new());
        all.push(Probed { of, counts, refusal_phrases: 0, cells });
    }
    let mut enter = |block: BlockKey, question: i64, replicate: u32, came_to: Option<Assessment>| {
        for &(place, draw) in members.get(&block).into_iter().flatten() {
            let probed = &mut all[place];
            if probed.of.condition.asks(question, replicate) {
                probed.enter((draw, question), came_to);
            }
        }
    };
    reader.for_each_useful::<StoreError>(experiment.id, |row, _, came_to| {
        enter((row.subject, row.context, row.treatment), row.question, row.replicate, Some(came_to));
        Ok(())
    })?;
    for failure in failures {
        if let Some((subject, context, treatment, question, replicate)) = failure.sample {
            enter((subject, context, treatment), question, replicate, None);
        }
    }
    Ok(all)
}

impl Probed {
    /// Counts an answer, or a call that failed.
    fn enter(&mut self, cell: (usize, i64), came_to: Option<Assessment>) {
        let Some(Assessment { usefulness, has_refusal_phrase }) = came_to else {
            self.counts.failed += 1;
            return;
        };
        let cell = self.cells.entry(cell).or_default();
        cell.answers += 1;
        *match usefulness {
            Usefulness::Useful => {
                cell.useful += 1;
                &mut self.counts.useful
            }
            Usefulness::Refused => {
                cell.refused += 1;
                &mut self.counts.refused
            }
            Usefulness::NotUseful => &mut self.counts.not_useful,
            Usefulness::Truncated => &mut self.counts.truncated,
        } += 1;
        self.refusal_phrases += u64::from(has_refusal_phrase);
    }

    fn result(&self, guarded: &GuardedContexts) -> Result<UsefulnessResult, AnalysisError> {
        let row = self.condition();
        Ok(UsefulnessResult {
            subject: row.subject_name.clone(),
            probe: row.demonstrations.clone(),
            kind: self.of.kind.name(),
            shots: row.shots,
            treatment: row.treatment_name.clone(),
            placement: row.placement.name().to_owned(),
            reasoning: row.reasoning.clone(),
            contexts: row.contexts.len() as u64,
            planned: planned(row),
            samples: self.counts.answered() + self.counts.failed,
            answers: self.counts,
            refusal_phrases: self.refusal_phrases,
            useful: self.share(Counted::Useful)?,
            refused: self.share(Counted::Refused)?,
            guard: guarded.get(&row.id).and_then(|contexts| treatments::guard(row, contexts)),
        })
    }

    fn share(&self, counted: Counted) -> Result<Option<ShareResult>, AnalysisError> {
        let mut questions: BTreeMap<i64, ClusterCount> = BTreeMap::new();
        for ((_, question), cell) in &self.cells {
            let of_cell = counted.of(*cell);
            let cluster = questions.entry(*question).or_insert(ClusterCount { successes: 0, trials: 0 });
            cluster.successes += of_cell.successes;
            cluster.trials += of_cell.trials;
        }
        if questions.is_empty() {
            return Ok(None);
        }
        let clusters: Vec<ClusterCount> = questions.into_values().collect();
        let rate = clustered_rate(&clusters, Confidence::NINETY_FIVE)
            .map_err(|error| statistics("the share of useful answers", error))?;
        Ok(Some(ShareResult {
            estimate: rate.interval.estimate,
            low: rate.interval.low,
            high: rate.interval.high,
            method: rate.method.name(),
            clusters: rate.clusters as u64,
            count: rate.successes,
            answers: rate.trials,
        }))
    }
}

/// What the probes came to; `None` where none is asked.
pub(super) fn results(
    probed: &[Probed],
    guarded: &GuardedContexts,
    settings: StatisticsFile,
) -> Result<Option<UsefulnessResults>, AnalysisError> {
    if probed.is_empty() {
        return Ok(None);
    }
    let mut results = UsefulnessResults::default();
    for one in probed {
        results.conditions.push(one.result(guarded)?);
    }
    for counted in [Counted::Useful, Counted::Refused] {
        let mut family = Vec::new();
        for first in probed {
            let Some(second) = probed.iter().find(|other| other.is_baseline_of(first)) else {
                continue;
            };
            let pairs: Vec<PairedCount> = first.paired(second, counted).into_values().collect();
            match compared(first.condition(), counted, &pairs) {
                Ok(comparison) => family.push(comparison),
                Err(error) => {
                    let ConditionRow { subject_name, demonstrations, shots, treatment_name, .. } =
                        first.condition();
                    let what = format!(
                        "{} answers: {subject_name} · {demonstrations} · {treatment_name} · k = {shots} against untreated",
                        counted.name()
                    );
                    results.omitted.push(Omission::new(what, error.to_string()));
                }
            }
        }
        correct(&mut family, settings.family)?;
        results.comparisons.append(&mut family);
    }
    Ok(Some(results))
}

fn compared(
    condition: &ConditionRow,
    counted: Counted,
    pairs: &[PairedCount],
) -> Result<UsefulnessComparison, StatsError> {
    let test = Test::new(pairs)?;
    let totals = test.totals;
    Ok(UsefulnessComparison {
        subject: condition.subject_name.clone(),
        probe: condition.demonstrations.clone(),
        treatment: condition.treatment_name.clone(),
        shots: condition.shots,
        against: "untreated",
        counted: counted.name(),
        questions: pairs.len() as u64,
        first: ShareCount { count: totals.first_successes, answers: totals.first_trials },
        second: ShareCount { count: totals.second_successes, answers: totals.second_trials },
        difference: test.difference(pairs)?,
        test: test.name(),
        p_value: test.two_sided()?,
        // Corrected once all comparisons are known.
        adjusted_p_value: 1.0,
        family: 0,
    })
}

/// Corrects comparisons for having been made together.
fn correct(family: &mut [UsefulnessComparison], by: Family) -> Result<(), AnalysisError> {
    let p_values: Vec<f64> = family.iter().map(|one| one.p_value).collect();
    let adjusted = match by {
        Family::Holm => holm(&p_values),
        Family::BenjaminiHochberg => benjamini_hochberg(&p_values),
    };
    let adjusted =
        adjusted.map_err(|error| statistics("the correction for a family of comparisons", error))?;
    let size = family.len() as u64;
    for (comparison, adjusted) in family.iter_mut().zip(adjusted) {
        comparison.adjusted_p_value = adjusted;
        comparison.family = size;
    }
    Ok(())
}
