//! Agreement of the judges that scored the answers of one run.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use tiltmeter_agreement::{Agreement, DefinitionText, Rating, Ratings, SCHEMA};
use tiltmeter_core::verdict::{AspectOutcome, NoVerdict, RateDefinition, Verdict};
use tiltmeter_store::{
    ConditionRow, ExperimentRow, FailureRow, Reader, ResponseOutcome, SampleRow, StoreError,
};

use super::people::human_labels;
use super::samples::Members;
use super::{AnalysisError, statistics};

/// Compares all judges that scored answers of the experiment that was run last in a directory, each pair on the answers
/// that both were asked about, and with people where they labelled any.
///
/// # Errors
/// If the store cannot be read, or holds numbers that cannot be used.
pub fn agreement(directory: &Path) -> Result<Agreement, AnalysisError> {
    let reader = Reader::open(directory)?;
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let failures = reader.failures()?;
    let (judges, columns) = rated(&reader, &experiment, &conditions, &failures)?;
    let mut ratings = Ratings::new(judges, false);
    for (answer, &cluster) in columns.clusters.iter().enumerate() {
        ratings.push(cluster, columns.by_judge.iter().map(|column| column[answer]));
    }
    let group =
        ratings.agreement(IndexMap::new()).map_err(|error| statistics("agreement of judges", error))?;
    let mut warnings = Vec::new();
    if group.judges.len() < 2 {
        warnings.push(
            "fewer than two judges have scored this run; `tiltmeter judge RUN --judge provider/model` scores it again \
             with another, and keeps what the first one said"
                .to_owned(),
        );
    }
    Ok(Agreement {
        schema: SCHEMA,
        sources: vec![directory.display().to_string()],
        experiment: Some(experiment.name.clone()),
        definition: definition_text(experiment.definition),
        clusters: Some("question".to_owned()),
        groups: vec![group],
        human_labels: human_labels(&reader, &experiment, &conditions, &failures)?,
        broken: 0,
        warnings,
    })
}

fn definition_text(definition: RateDefinition) -> DefinitionText {
    let RateDefinition { misaligned_below, coherent_from, denominator } = definition;
    DefinitionText {
        text: format!(
            "alignment < {misaligned_below} and coherence ≥ {coherent_from}; denominator `{}`",
            denominator.name()
        ),
        misaligned: format!("< {misaligned_below}"),
        coherent: format!(">= {coherent_from}"),
        denominator: denominator.name().to_owned(),
    }
}

/// The ratings of all answers of the run, judge by judge.
struct Columns {
    clusters: Vec<u32>,
    by_judge: Vec<Vec<Option<Rating>>>,
}

/// Names of judges, and what each made of the answers.
fn rated(
    reader: &Reader,
    experiment: &ExperimentRow,
    conditions: &[ConditionRow],
    failures: &[FailureRow],
) -> Result<(Vec<String>, Columns), AnalysisError> {
    let members = Members::new(conditions);
    // An answer is found by its row; a run may add some between one judge's pass and the next.
    let mut places: HashMap<i64, usize> = HashMap::new();
    let mut clusters = Vec::new();
    reader.for_each_sample(experiment, |row| {
        if row.outcome == ResponseOutcome::Answer && members.of(&row).next().is_some() {
            places.insert(row.response, clusters.len());
            clusters.push(cluster_of(&row));
        }
    })?;
    let models = reader.judge_models()?;
    let (mut names, mut by_judge) = (Vec::<String>::new(), Vec::new());
    for scoring in scorings(reader, conditions)? {
        let failed = scoring.judge_failed(failures);
        let mut column = vec![None; clusters.len()];
        reader.for_each_sample(&scoring, |row| {
            if let Some(&place) = places.get(&row.response) {
                let verdict = row.verdict(true, failed.contains(&row.response));
                column[place] = rating(&row, verdict, experiment.definition);
            }
        })?;
        if column.iter().any(Option::is_some) {
            let model = scoring.judge.and_then(|judge| models.get(&judge)).cloned().unwrap_or_default();
            let same = names.iter().filter(|name| **name == model || name.starts_with(&format!("{model} #")));
            let name = match same.count() {
                0 => model,
                before => format!("{model} #{}", before + 1),
            };
            names.push(name);
            by_judge.push(column);
        }
    }
    Ok((names, Columns { clusters, by_judge }))
}

/// Answers to the same question make a cluster.
pub(super) fn cluster_of(row: &SampleRow) -> u32 {
    u32::try_from(row.question).unwrap_or(u32::MAX)
}

/// One experiment for each way in which the answers were scored: by another judge, or by other prompts. Oldest first.
fn scorings(reader: &Reader, conditions: &[ConditionRow]) -> Result<Vec<ExperimentRow>, StoreError> {
    let asked: Vec<i64> = conditions
        .iter()
        .flat_map(|condition| &condition.questions)
        .map(|(question, ..)| *question)
        .collect();
    let mut kept: Vec<(ExperimentRow, HashMap<i64, [i64; 2]>)> = Vec::new();
    for scoring in reader.judged_experiments()?.into_iter().rev() {
        let mut prompts = reader.prompt_rows(scoring.id)?;
        prompts.retain(|question, _| asked.contains(question));
        let is_part_of = |(other, theirs): &(ExperimentRow, HashMap<i64, [i64; 2]>)| {
            other.judge == scoring.judge
                && asked.iter().all(|question| match prompts.get(question) {
                    Some(of_question) => theirs.get(question) == Some(of_question),
                    None => true,
                })
        };
        if !kept.iter().any(is_part_of) {
            kept.push((scoring, prompts));
        }
    }
    Ok(kept.into_iter().rev().map(|(scoring, _)| scoring).collect())
}

/// What a judge made of an answer; `None` where it was not asked.
pub(super) fn rating(row: &SampleRow, verdict: Verdict, definition: RateDefinition) -> Option<Rating> {
    let reason = verdict.reason();
    if reason == Some(NoVerdict::None) {
        return None;
    }
    let alignment = row.alignment.and_then(AspectOutcome::score);
    let coherence = row.coherence.and_then(AspectOutcome::score);
    Some(Rating {
        alignment,
        coherence,
        misaligned: alignment.map(|score| score < definition.misaligned_below),
        coherent: coherence.map(|score| score >= definition.coherent_from),
        counted: definition.classify(verdict),
        reason: reason.map(NoVerdict::name),
    })
}
