//! What a page is made of: runs as they are stored, and what is computed from them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;
use tiltmeter_core::usefulness::Usefulness;
use tiltmeter_run::{
    AnalysisError, ConditionDetails, ConditionResult, RunDetails, RunResults, TraceResults, analyse, details,
    trace_results,
};
use tiltmeter_store::{
    ConditionRow, Costs, DataSetRow, ExperimentRow, FailureRow, InvocationRow, ProbedCondition,
    ProbedQuestion, Reader, StoreError, TokenTotals,
};

/// One run directory.
pub(crate) struct Run {
    /// Name in the page: the experiment's, numbered where several runs share it.
    pub(crate) name: String,
    pub(crate) reader: Reader,
    pub(crate) results: RunResults,
    pub(crate) details: RunDetails,
    /// What codings of traces come to, where there are any.
    pub(crate) traces: Option<TraceResults>,
    pub(crate) experiment: ExperimentRow,
    pub(crate) conditions: Vec<ConditionRow>,
    /// Conditions of probes of usefulness.
    pub(crate) probed: Vec<ProbedCondition>,
    pub(crate) probe_questions: BTreeMap<i64, ProbedQuestion>,
    /// What answers to probes come to, by row.
    pub(crate) useful: HashMap<i64, Usefulness>,
    /// The experiment with its defaults filled in.
    pub(crate) resolved: Value,
    pub(crate) data_sets: Vec<DataSetRow>,
    /// Rows of the set that a context's responses come from, by condition and draw.
    pub(crate) sources: BTreeMap<(i64, u32), Vec<u64>>,
    pub(crate) questions: HashMap<i64, String>,
    pub(crate) wordings: BTreeMap<i64, Vec<String>>,
    pub(crate) failures: Vec<FailureRow>,
    pub(crate) invocations: Vec<InvocationRow>,
    pub(crate) failed_attempts: Vec<(String, u64)>,
    pub(crate) tokens: TokenTotals,
    pub(crate) costs: Costs,
    /// Whether conditions differ in where the demonstrations stand; a single placement goes without saying.
    pub(crate) several_placements: bool,
}

impl Run {
    fn open(directory: &Path, results: Option<RunResults>) -> Result<Self, AnalysisError> {
        let results = match results {
            Some(results) => results,
            None => analyse(directory)?,
        };
        let details = details(directory)?;
        let traces = trace_results(directory, None)?.filter(|traces| !traces.coders.is_empty());
        let reader = Reader::open(directory)?;
        let experiment = reader.experiment()?;
        let (tokens, costs) = reader.usage()?;
        let mut useful = HashMap::new();
        reader.for_each_useful::<StoreError>(experiment.id, |row, _, assessment| {
            useful.insert(row.response, assessment.usefulness);
            Ok(())
        })?;
        let placements = results.conditions.iter().map(|one| one.placement.as_str());
        Ok(Self {
            name: experiment.name.clone(),
            details,
            traces,
            conditions: reader.conditions(experiment.id)?,
            probed: reader.probed(experiment.id)?,
            probe_questions: reader.probed_questions(experiment.id)?,
            useful,
            resolved: serde_json::from_str(&experiment.resolved).map_err(StoreError::from)?,
            data_sets: reader.data_sets(experiment.id)?,
            sources: reader.context_sources(experiment.id)?,
            questions: reader.question_names()?.into_iter().collect(),
            wordings: reader.question_wordings()?,
            failures: reader.failures()?,
            invocations: reader.invocations()?,
            failed_attempts: reader.failed_attempts()?,
            tokens,
            costs,
            several_placements: crate::table::several(placements),
            experiment,
            results,
            reader,
        })
    }

    /// Whether the text of a demonstration set may be passed on.
    pub(crate) fn may_share(&self, demonstrations: &str) -> bool {
        self.data_sets
            .iter()
            .all(|set| set.kind != "demonstrations" || set.name != demonstrations || set.share)
    }

    /// Whether the wordings of questions may be passed on. The store does not say which set a question is from, so that
    /// one set that may not be passed on withholds all.
    pub(crate) fn may_share_questions(&self) -> bool {
        self.data_sets.iter().all(|set| set.kind != "questions" || set.share)
    }

    /// Which family a subject is of, and how large it is: billions of parameters, or else its rank.
    pub(crate) fn size(&self, subject: &str) -> Option<(String, f64, &'static str)> {
        let subjects = self.resolved["subjects"].as_array()?;
        let subject = subjects.iter().find(|one| one["id"].as_str() == Some(subject))?;
        let family = subject["family"].as_str().unwrap_or("").to_owned();
        match (subject["parameters_b"].as_f64(), subject["size_rank"].as_f64()) {
            (Some(parameters), _) => Some((family, parameters, "billions of parameters")),
            (None, Some(rank)) => Some((family, rank, "rank of size")),
            (None, None) => None,
        }
    }

    /// The judge's model as the experiment names it.
    pub(crate) fn judge(&self) -> Option<&str> {
        self.resolved["judge"]["model"].as_str()
    }

    /// What lies behind the rate of a condition.
    pub(crate) fn details_of(&self, condition: usize) -> Option<&ConditionDetails> {
        self.details.conditions.iter().find(|details| details.condition == condition as u64)
    }
}

/// Opens a run whose results are known. What belongs to one start is no part of a report, which is the same whenever it is
/// made.
pub(crate) fn open_analysed(directory: &Path, results: &RunResults) -> Result<Vec<Run>, AnalysisError> {
    let results = RunResults {
        asked: 0,
        reused: 0,
        attempts: 0,
        cost_usd: 0.0,
        timing: tiltmeter_run::Timing::default(),
        ..results.clone()
    };
    Ok(vec![Run::open(directory, Some(results))?])
}

/// Opens all runs and gives each a name of its own.
pub(crate) fn open(directories: &[&Path]) -> Result<Vec<Run>, AnalysisError> {
    let mut runs =
        directories.iter().map(|directory| Run::open(directory, None)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (index, run) in runs.iter_mut().enumerate() {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = format!("{} ({})", run.name, index + 1);
        }
    }
    Ok(runs)
}

/// A condition among those of all runs.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Over all runs.
    pub(crate) index: usize,
    pub(crate) run: &'a Run,
    /// Within its run.
    pub(crate) position: usize,
    pub(crate) result: &'a ConditionResult,
}

/// The conditions of all runs, in order.
pub(crate) fn places(runs: &[Run]) -> Vec<Place<'_>> {
    runs.iter()
        .flat_map(|run| {
            run.results.conditions.iter().enumerate().map(move |(position, result)| (run, position, result))
        })
        .enumerate()
        .map(|(index, (run, position, result))| Place { index, run, position, result })
        .collect()
}

/// Conditions that differ in k and in whose answers are shown alone.
pub(crate) struct Block<'a> {
    pub(crate) title: String,
    pub(crate) places: Vec<Place<'a>>,
}

/// Groups conditions into blocks, in table order.
pub(crate) fn blocks<'a>(places: &[Place<'a>], several_runs: bool) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    for place in places {
        let title = block_title(place, several_runs);
        match blocks.iter_mut().find(|block| block.title == title) {
            Some(block) => block.places.push(*place),
            None => blocks.push(Block { title, places: vec![*place] }),
        }
    }
    blocks
}

fn block_title(place: &Place<'_>, several_runs: bool) -> String {
    let ConditionResult { subject, demonstrations, treatment, placement, .. } = place.result;
    let mut parts = vec![subject.as_str(), demonstrations];
    if several_runs {
        parts.insert(0, &place.run.name);
    }
    if treatment != "none" {
        parts.push(treatment);
    }
    if place.run.several_placements {
        parts.push(placement);
    }
    super::text::visible(&parts.join(" · "))
}

/// A condition in words, with k and whose answers are shown.
pub(crate) fn title(place: &Place<'_>, several_runs: bool) -> String {
    let shown = crate::table::shown(place.result);
    let shown = if shown == "none" { String::new() } else { format!(" {shown}") };
    format!("{}, k = {}{}", block_title(place, several_runs), place.result.shots, shown)
}

/// The condition that the page looks at first: misaligned demonstrations with the highest rate.
pub(crate) fn headline<'a>(places: &[Place<'a>]) -> Option<Place<'a>> {
    let rate = |place: &Place<'_>| place.result.em_rate.as_ref().map_or(-1.0, |rate| rate.estimate);
    let mut best: Option<Place<'a>> = None;
    for place in places.iter().filter(|place| place.result.em_rate.is_some()) {
        let is_treated = crate::table::shown(place.result) == "misaligned";
        let better = best.is_none_or(|before| {
            let was_treated = crate::table::shown(before.result) == "misaligned";
            (is_treated, rate(place)) > (was_treated, rate(&before))
        });
        if better {
            best = Some(*place);
        }
    }
    best
}
