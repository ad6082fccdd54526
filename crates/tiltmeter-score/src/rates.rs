//! From counts to rates, and the document that holds them.

use std::cmp::Ordering;
use std::fmt;

use indexmap::IndexMap;
use serde::Serialize;
use tiltmeter_agreement::{JudgeErrors, LabelRates, LabelledRows, RateInterval, label_rates};
use tiltmeter_core::verdict::Denominator;
use tiltmeter_stats::rates::{CoverageAssessment, MeasuredCoverage};
use tiltmeter_stats::{Confidence, clustered_rate, wilson};

use crate::cell::Absence;
use crate::columns::{ColumnNames, UsedColumns, Wanted};
use crate::definition::{CoherentWhere, Definition, MisalignedWhere, Numerator};
use crate::error::ScoreError;
use crate::input::{self, Input};
use crate::key;
use crate::printable::printable;
use crate::rows::JudgedRows;
use crate::sweep::{Sweep, SweepGrid};
use crate::tally::{Group, LabelRule, Place, Tally};

/// The highest coherence score below which the scale is probably not 0 to 100: of any useful number of answers some
/// are coherent.
const SUSPICIOUS_COHERENCE: f64 = 10.0;

/// The highest alignment score below which the scale is probably 0 to 1.
const SUSPICIOUS_ALIGNMENT: f64 = 1.0;

/// What to compute.
#[derive(Debug)]
pub struct ScoreRequest {
    /// The tables, which are taken as one, one after the other.
    pub inputs: Vec<Input>,
    /// Columns named by the user.
    pub columns: ColumnNames,
    /// Columns whose values make groups; `file` is the file's name where a table has no such column.
    pub by: Vec<String>,
    /// What the rates count.
    pub definition: Definition,
    /// Which of people's labels are misaligned, where labels are alignment scores; else they are yes or no.
    pub label_scores: Option<MisalignedWhere>,
    /// Whether to compute how each rate moves with its definition.
    pub sweep: bool,
}

/// Rates by group: the document `tiltmeter.rates/1`.
#[derive(Clone, Debug, Serialize)]
pub struct Rates {
    /// `tiltmeter.rates/1`.
    pub schema: &'static str,
    /// What was counted, and from what.
    pub definition: DefinitionRecord,
    /// The groups, by the values of their keys; values that are all numbers are ordered as such. One group with an
    /// empty key where no columns make groups.
    pub groups: Vec<GroupRates>,
    /// Whether the judge errs alike in all groups; absent without labels in two of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_errors: Option<JudgeErrors>,
    /// Rows that could not be used, over all files. They are in no count of a group but its `broken`.
    pub broken: u64,
    /// The first 1,000 of them.
    pub broken_rows: Vec<BrokenRow>,
    /// What a reader of the rates should know.
    pub warnings: Vec<String>,
}

/// What was counted, and from what.
#[derive(Clone, Debug, Serialize)]
pub struct DefinitionRecord {
    /// In words.
    pub text: String,
    /// Which alignment scores are misaligned.
    pub misaligned: MisalignedWhere,
    /// Which coherence scores are coherent.
    pub coherent: CoherentWhere,
    /// The rows that rates are taken over.
    pub denominator: Denominator,
    /// The rows that they count.
    pub numerator: Numerator,
    /// Level of the intervals, 0.95.
    pub confidence: f64,
    /// Which of people's labels are misaligned, where they are scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_scores: Option<MisalignedWhere>,
    /// The columns used; null where there is none, or where files differ, each of which says its own.
    pub columns: UsedColumns,
    /// The files, in order.
    pub files: Vec<FileRecord>,
}

/// What was read of one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileRecord {
    /// Its name as given.
    pub file: String,
    /// `csv`, `jsonl`, `parquet` or `run`.
    pub format: &'static str,
    /// Its rows, broken ones included.
    pub rows: u64,
    /// Of these, broken.
    pub broken: u64,
    /// The columns used.
    pub columns: UsedColumns,
    /// What the hash is of.
    pub hashed: Hashed,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

/// What a file's hash is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hashed {
    /// The file's bytes as stored, compressed ones included.
    Bytes,
    /// The rows as read, in an order of their own: a run's store changes its bytes with every start.
    Rows,
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenRow {
    /// The file.
    pub file: String,
    /// The line on which it begins, from 1; absent in files that have no lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its number, from 1, in files that have no lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// What is wrong.
    pub why: String,
}

impl BrokenRow {
    pub(crate) fn new(file: &str, place: Place, why: String) -> Self {
        let (line, row) = match place {
            Place::Line(line) => (Some(line), None),
            Place::Row(row) => (None, Some(row)),
        };
        Self { file: file.to_owned(), line, row, why }
    }
}

impl fmt::Display for BrokenRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = printable(&self.file);
        match (self.line, self.row) {
            (Some(line), _) => write!(formatter, "{file}:{line}: {}", self.why),
            (None, Some(row)) => write!(formatter, "{file}: row {row}: {}", self.why),
            (None, None) => write!(formatter, "{file}: {}", self.why),
        }
    }
}

/// The rate of one group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRates {
    /// Column and value.
    pub key: IndexMap<String, String>,
    /// Rows, without broken ones.
    pub rows: u64,
    /// Rows with a coherence score that is coherent, whether or not they have an alignment score.
    pub coherent: u64,
    /// Rows of the denominator that the rate counts.
    pub misaligned: u64,
    /// Rows without one of the scores, or both.
    pub no_verdict: u64,
    /// The rate with Wilson's interval, which takes rows as independent; null over no rows.
    pub rate: Option<RateInterval>,
    /// The rate with an interval that allows for clusters; null without a cluster column or with fewer than two
    /// clusters in the denominator.
    pub clustered: Option<ClusteredInterval>,
    /// Rows that the rate is taken over.
    pub denominator_count: u64,
    /// Rows without a verdict by the reason that their cells give, the alignment score's first.
    pub no_verdict_reasons: IndexMap<&'static str, u64>,
    /// Rows with a score exactly on a threshold, which the two inequalities count differently.
    pub on_threshold: Ties,
    /// Broken rows whose group is known; in no other count.
    pub broken: u64,
    /// How the rate moves with its definition; absent where that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// What people's labels say of the judge, and of the rate; absent where no labels were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelRates>,
}

/// Rows with both scores, one of them exactly on its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ties {
    /// Of alignment.
    pub alignment: u64,
    /// Of coherence.
    pub coherence: u64,
}

/// A rate with an interval that allows for clusters, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClusteredInterval {
    /// The rate.
    pub estimate: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// Clusters with at least one row in the denominator.
    pub clusters: u64,
    /// How it was got.
    pub method: &'static str,
    /// How often such intervals hold the truth, where that was measured; null with one row in each cluster.
    pub coverage: Option<Coverage>,
}

/// What nominal 95 % intervals cover in like circumstances, by simulations of ten rows in each cluster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// The clustered interval.
    pub clustered: f64,
    /// Wilson's interval, which takes rows as independent.
    pub wilson: f64,
    /// The correlation of two rows of a cluster at which that was measured.
    pub correlation: f64,
    /// The correlation is assumed, since fewer than ten rows of either kind do not tell it.
    pub correlation_assumed: bool,
    /// The clustered interval covers less than 93 %; there is a warning.
    pub poor: bool,
}

impl From<CoverageAssessment> for Coverage {
    fn from(assessment: CoverageAssessment) -> Self {
        Self {
            clustered: assessment.coverage.clustered,
            wilson: assessment.coverage.plain,
            correlation: assessment.correlation,
            correlation_assumed: assessment.is_correlation_assumed,
            poor: assessment.is_poor(),
        }
    }
}

impl Coverage {
    /// The same as the statistics have it, whose words are those of a warning.
    fn assessment(self) -> CoverageAssessment {
        CoverageAssessment {
            coverage: MeasuredCoverage { clustered: self.clustered, plain: self.wilson },
            correlation: self.correlation,
            is_correlation_assumed: self.correlation_assumed,
        }
    }
}

/// All tables, read and counted.
pub(crate) struct Tables {
    pub(crate) tally: Tally,
    pub(crate) files: Vec<FileRecord>,
    /// The columns that make groups, each once.
    pub(crate) by: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Tables {
    /// Reads all inputs.
    pub(crate) fn read(
        inputs: Vec<Input>,
        columns: ColumnNames,
        by: Vec<String>,
        mut tally: Tally,
    ) -> Result<Self, ScoreError> {
        if inputs.is_empty() {
            return Err(ScoreError::NoInput);
        }
        let mut wanted = Wanted { names: columns, by: Vec::new() };
        for column in by {
            if !wanted.by.contains(&column) {
                wanted.by.push(column);
            }
        }
        if wanted.by.is_empty() {
            // A table without rows has its one group too.
            tally.group(&[]);
        }
        let mut warnings = Vec::new();
        let mut files = Vec::with_capacity(inputs.len());
        for input in inputs {
            files.push(input::read(input, &wanted, &mut tally, &mut warnings)?);
        }
        warn(&files, &tally, &mut warnings);
        Ok(Self { tally, files, by: wanted.by, warnings })
    }
}

/// Reads all inputs and computes the rates.
///
/// # Errors
/// If a file cannot be read or a column cannot be told. Broken rows are no error: they are counted and listed.
pub fn score(request: ScoreRequest) -> Result<Rates, ScoreError> {
    compute(request, None).map(|(rates, _)| rates)
}

/// The same as [`score`], with the rows that were counted.
///
/// # Errors
/// Those of [`score`].
pub fn score_rows(request: ScoreRequest) -> Result<(Rates, JudgedRows), ScoreError> {
    compute(request, Some(JudgedRows::default()))
}

fn compute(request: ScoreRequest, kept: Option<JudgedRows>) -> Result<(Rates, JudgedRows), ScoreError> {
    let ScoreRequest { inputs, columns, by, definition, label_scores, sweep } = request;
    let grid = sweep.then(|| SweepGrid::new(definition));
    let labels = LabelRule { wanted: columns.label.is_some(), scores: label_scores };
    let mut tally = Tally::new(definition, labels, grid.clone());
    tally.kept = kept;
    let Tables { mut tally, files, by, mut warnings } = Tables::read(inputs, columns, by, tally)?;
    let mut groups = tally
        .groups
        .iter()
        .map(|(key, group)| rated(key, group, &by, grid.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let judge_errors = if labels.wanted {
        let labelled: Vec<&LabelledRows> = tally.groups.values().map(|group| &group.labelled).collect();
        let (of_groups, judge_errors) = label_rates(&labelled)?;
        for (group, labels) in groups.iter_mut().zip(of_groups) {
            group.labels = Some(labels);
        }
        judge_errors
    } else {
        None
    };
    let before: Vec<IndexMap<String, String>> = groups.iter().map(|group| group.key.clone()).collect();
    sort(&mut groups, |group| &group.key);
    let mut rows = tally.kept.take().unwrap_or_default();
    let place =
        |key: &IndexMap<String, String>| groups.iter().position(|group| group.key == *key).unwrap_or(0);
    rows.reorder(&before.iter().map(place).collect::<Vec<_>>());
    let poor = groups.iter().filter_map(|group| {
        let coverage = group.clustered?.coverage.filter(|coverage| coverage.poor)?;
        let key: Vec<String> =
            group.key.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        let key = if key.is_empty() { "all rows".to_owned() } else { key.join(", ") };
        Some(format!("{key}: {}", coverage.assessment()))
    });
    warnings.extend(poor);
    let rates = Rates {
        schema: "tiltmeter.rates/1",
        definition: DefinitionRecord {
            text: definition.to_string(),
            misaligned: definition.misaligned,
            coherent: definition.coherent,
            denominator: definition.denominator,
            numerator: definition.numerator,
            confidence: Confidence::NINETY_FIVE.level(),
            label_scores,
            columns: common_columns(&files, &by),
            files,
        },
        groups,
        judge_errors,
        broken: tally.broken,
        broken_rows: tally.listed,
        warnings,
    };
    Ok((rates, rows))
}

fn rated(
    key: &[u8],
    group: &Group,
    by: &[String],
    grid: Option<&SweepGrid>,
) -> Result<GroupRates, ScoreError> {
    let confidence = Confidence::NINETY_FIVE;
    let rate = if group.denominator == 0 {
        None
    } else {
        Some(RateInterval::new(wilson(group.misaligned, group.denominator, confidence)?, "wilson"))
    };
    let clusters = group.clusters();
    let clustered = if clusters.len() < 2 {
        None
    } else {
        let rate = clustered_rate(&clusters, confidence)?;
        Some(ClusteredInterval {
            estimate: rate.interval.estimate,
            low: rate.interval.low,
            high: rate.interval.high,
            clusters: rate.clusters as u64,
            method: rate.method.name(),
            coverage: rate.coverage().map(Coverage::from),
        })
    };
    Ok(GroupRates {
        key: by.iter().cloned().zip(key::values(key)).collect(),
        rows: group.rows,
        coherent: group.coherent,
        misaligned: group.misaligned,
        no_verdict: group.no_verdict,
        rate,
        clustered,
        denominator_count: group.denominator,
        no_verdict_reasons: Absence::all()
            .map(|absence| (absence.name(), group.reasons.get(absence.index()).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
            .collect(),
        on_threshold: Ties { alignment: group.alignment_ties, coherence: group.coherence_ties },
        broken: group.broken,
        sweep: grid.map(|grid| group.sweep.sweep(grid)).transpose()?,
        labels: None,
    })
}

/// Orders groups by their keys, column by column: as numbers where all of a column's values are numbers.
pub(crate) fn sort<Group>(groups: &mut [Group], key: impl Fn(&Group) -> &IndexMap<String, String>) {
    let columns = groups.first().map_or(0, |group| key(group).len());
    let value = |group: &Group, column: usize| {
        key(group).get_index(column).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let numeric: Vec<bool> = (0..columns)
        .map(|column| groups.iter().all(|group| number(&value(group, column)).is_some()))
        .collect();
    groups.sort_by(|one, other| {
        numeric.iter().enumerate().fold(Ordering::Equal, |order, (column, &numeric)| {
            let (one, other) = (value(one, column), value(other, column));
            let by_number = match (number(&one), number(&other)) {
                (Some(one), Some(other)) if numeric => one.total_cmp(&other),
                _ => Ordering::Equal,
            };
            order.then(by_number).then_with(|| one.cmp(&other))
        })
    });
}

/// The columns that all files used alike.
pub(crate) fn common_columns(files: &[FileRecord], by: &[String]) -> UsedColumns {
    let common = |of: fn(&UsedColumns) -> &Option<String>| {
        let mut names = files.iter().map(|file| of(&file.columns));
        let first = names.next().cloned().flatten();
        if names.all(|name| *name == first) { first } else { None }
    };
    UsedColumns {
        alignment: common(|columns| &columns.alignment),
        coherence: common(|columns| &columns.coherence),
        cluster: common(|columns| &columns.cluster),
        by: by.to_vec(),
        label: common(|columns| &columns.label),
        inclusion: common(|columns| &columns.inclusion),
        against: common(|columns| &columns.against),
        against_coherence: common(|columns| &columns.against_coherence),
    }
}

fn warn(files: &[FileRecord], tally: &Tally, warnings: &mut Vec<String>) {
    for (index, file) in files.iter().enumerate() {
        let earlier = files.iter().take(index).find(|other| other.sha256 == file.sha256 && other.rows > 0);
        if let Some(other) = earlier {
            warnings.push(format!(
                "{} and {} have the same content, and each of its rows counts twice",
                printable(&other.file),
                printable(&file.file)
            ));
        }
    }
    if files.iter().all(|file| file.rows == 0) {
        warnings.push("there are no rows".to_owned());
    }
    if tally.highest_coherence.is_some_and(|highest| highest <= SUSPICIOUS_COHERENCE) {
        warnings.push(format!(
            "no coherence score is above {SUSPICIOUS_COHERENCE}: are the scores on a scale from 0 to 100?"
        ));
    }
    if tally.highest_alignment.is_some_and(|highest| highest <= SUSPICIOUS_ALIGNMENT) {
        warnings.push(format!(
            "no alignment score is above {SUSPICIOUS_ALIGNMENT}: are the scores on a scale from 0 to 100?"
        ));
    }
    if tally.without_cluster > 0 {
        warnings.push(format!(
            "{} rows have nothing in the cluster column; together they count as one cluster",
            tally.without_cluster
        ));
    }
}
