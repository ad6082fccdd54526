//! Counts rows by group and cluster.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

use indexmap::IndexMap;
use tiltmeter_agreement::{LabelledRows, Rating};
use tiltmeter_stats::ClusterCount;
use tiltmeter_stats::correct::{self, JudgedRow};

use crate::cell::{self, Absence, CellFault, Label, Reading};
use crate::definition::{Definition, MisalignedWhere};
use crate::rates::BrokenRow;
use crate::rows::JudgedRows;
use crate::sweep::{SweepCounts, SweepGrid};

/// Broken rows that are listed; beyond these they are only counted.
const MOST_LISTED: usize = 1000;

/// What a group's rows add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) rows: u64,
    pub(crate) coherent: u64,
    pub(crate) denominator: u64,
    pub(crate) misaligned: u64,
    pub(crate) no_verdict: u64,
    /// Of these, by reason.
    pub(crate) reasons: [u64; Absence::COUNT],
    /// Rows of this group that cannot be used; in no other count.
    pub(crate) broken: u64,
    /// Rows with both scores whose alignment, or coherence, is exactly on its threshold.
    pub(crate) alignment_ties: u64,
    pub(crate) coherence_ties: u64,
    /// Counts by a hash of the cluster's value. The values themselves are not shown and would take several times the
    /// memory where there are millions; that any two of ten million share a hash has a probability of 3 in a million.
    clusters: HashMap<u64, Trials>,
    /// What a sweep is computed from; empty where none is asked for.
    pub(crate) sweep: SweepCounts,
    /// What labels are compared with; empty where none are asked for.
    pub(crate) labelled: LabelledRows,
    /// What two judges make of each row, by the number of its cluster; empty where no other judge is named.
    pub(crate) rated: Vec<(u32, [Rating; 2])>,
}

/// The rows of a cluster that are in the denominator. A cluster of four thousand million rows is beyond what is read.
#[derive(Clone, Copy, Debug, Default)]
struct Trials {
    successes: u32,
    trials: u32,
}

impl Group {
    /// The clusters in an order that depends neither on that of the rows nor on the map's, so that neither do sums.
    pub(crate) fn clusters(&self) -> Vec<ClusterCount> {
        let count = |&Trials { successes, trials }: &Trials| ClusterCount {
            successes: u64::from(successes),
            trials: u64::from(trials),
        };
        let mut clusters: Vec<ClusterCount> = self.clusters.values().map(count).collect();
        clusters.sort_unstable_by_key(|cluster| (cluster.trials, cluster.successes));
        clusters
    }
}

/// A row as read.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) cluster: Option<&'a [u8]>,
    pub(crate) alignment: Reading,
    pub(crate) coherence: Reading,
    pub(crate) label: Option<Label>,
    pub(crate) against: Option<Against>,
}

/// What another judge says of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Against {
    pub(crate) alignment: Reading,
    /// `None`: the first judge's counts for both.
    pub(crate) coherence: Option<Reading>,
}

/// The cells of a row, each of which may be broken.
pub(crate) struct Cells {
    pub(crate) alignment: Result<Reading, CellFault>,
    pub(crate) coherence: Result<Reading, CellFault>,
    pub(crate) label: Result<Option<Label>, String>,
    pub(crate) against: Result<Option<Against>, String>,
}

impl Cells {
    pub(crate) fn is_broken(&self) -> bool {
        self.alignment.is_err() || self.coherence.is_err() || self.label.is_err() || self.against.is_err()
    }
}

/// How labels are read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LabelRule {
    /// Whether they are asked for.
    pub(crate) wanted: bool,
    /// Which scores are misaligned, where labels are scores.
    pub(crate) scores: Option<MisalignedWhere>,
}

/// Where a row is in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// A line, counted from 1.
    Line(u64),
    /// A row, counted from 1, of a file that has no lines.
    Row(u64),
}

/// All counts.
#[derive(Debug)]
pub(crate) struct Tally {
    definition: Definition,
    labels: LabelRule,
    /// The thresholds of a sweep, if one is asked for.
    grid: Option<SweepGrid>,
    /// Rows so far: the cluster of a row without one, in corrections.
    row: u64,
    /// Numbers of clusters by their hashes, where two judges are compared.
    numbers: HashMap<u64, u32>,
    pub(crate) groups: IndexMap<Vec<u8>, Group>,
    /// The group of the row before, which is often that of the next one.
    last: usize,
    pub(crate) broken: u64,
    pub(crate) listed: Vec<BrokenRow>,
    /// The rows themselves, if they are asked for.
    pub(crate) kept: Option<JudgedRows>,
    pub(crate) highest_alignment: Option<f64>,
    pub(crate) highest_coherence: Option<f64>,
    /// Rows whose cluster column holds nothing.
    pub(crate) without_cluster: u64,
}

impl Tally {
    pub(crate) fn new(definition: Definition, labels: LabelRule, grid: Option<SweepGrid>) -> Self {
        Self {
            definition,
            labels,
            grid,
            row: 0,
            numbers: HashMap::new(),
            groups: IndexMap::new(),
            last: 0,
            broken: 0,
            listed: Vec::new(),
            kept: None,
            highest_alignment: None,
            highest_coherence: None,
            without_cluster: 0,
        }
    }

    /// The index of a group, which is made if it is new.
    pub(crate) fn group(&mut self, key: &[u8]) -> usize {
        if self.groups.get_index(self.last).is_none_or(|(last, _)| last != key) {
            self.last = match self.groups.get_index_of(key) {
                Some(index) => index,
                None => self.groups.insert_full(key.to_vec(), Group::default()).0,
            };
        }
        self.last
    }

    /// Counts a row.
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        let (alignment, coherence) = (row.alignment.score(), row.coherence.score());
        let class = self.definition.classify(alignment, coherence);
        self.without_cluster += u64::from(row.cluster.is_some_and(<[u8]>::is_empty));
        self.highest_alignment = higher(self.highest_alignment, alignment);
        self.highest_coherence = higher(self.highest_coherence, coherence);
        let (alignment_threshold, coherence_threshold) = self.definition.thresholds();
        let index = self.group(row.key);
        if let Some(kept) = &mut self.kept {
            kept.push(index, row);
        }
        let Some((_, group)) = self.groups.get_index_mut(index) else { return };
        group.rows += 1;
        group.coherent += u64::from(class.coherent);
        group.denominator += u64::from(class.counted.is_some());
        group.misaligned += u64::from(class.counted == Some(true));
        // Alignment's reason comes first: it is the one that the rate turns on.
        if let Some(absence) = row.alignment.absence().or(row.coherence.absence()) {
            group.no_verdict += 1;
            if let Some(count) = group.reasons.get_mut(absence.index()) {
                *count += 1;
            }
        } else {
            group.alignment_ties += u64::from(is_tie(alignment, alignment_threshold));
            group.coherence_ties += u64::from(is_tie(coherence, coherence_threshold));
        }
        if let Some(grid) = &self.grid {
            group.sweep.add(grid, row.cluster.map(hash), alignment, coherence);
        }
        if self.labels.wanted {
            self.row += 1;
            let cluster = row.cluster.map_or(self.row, hash);
            match (class.counted, row.label) {
                (Some(judged), label) => {
                    let number = |yes: bool| f64::from(u8::from(yes));
                    let label = label.map(|label| {
                        (
                            label.misaligned,
                            correct::Label { truth: number(label.misaligned), inclusion: label.inclusion },
                        )
                    });
                    if let (Some((misaligned, _)), Some(score)) = (label, alignment) {
                        group.labelled.scores.push((score, misaligned));
                    }
                    let label = label.map(|(_, label)| label);
                    group.labelled.rows.push(JudgedRow { judged: number(judged), label, cluster });
                }
                (None, Some(_)) => group.labelled.outside += 1,
                (None, None) => {}
            }
        }
        if let Some(against) = row.against {
            let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            // Without a cluster column every row is one of its own; what numbers them is of no matter.
            let cluster = row.cluster.map_or(u64::from(number), hash);
            let number = *self.numbers.entry(cluster).or_insert(number);
            let second = (against.alignment, against.coherence.unwrap_or(row.coherence));
            let ratings = [(row.alignment, row.coherence), second]
                .map(|(alignment, coherence)| rating(&self.definition, alignment, coherence));
            group.rated.push((number, ratings));
        }
        if let (Some(misaligned), Some(cluster)) = (class.counted, row.cluster) {
            let count = group.clusters.entry(hash(cluster)).or_default();
            count.trials = count.trials.saturating_add(1);
            count.successes = count.successes.saturating_add(u32::from(misaligned));
        }
    }

    /// Reads a label, if labels are asked for and the table has them.
    pub(crate) fn label(
        &self,
        label: Option<&[u8]>,
        inclusion: Option<&[u8]>,
    ) -> Result<Option<Label>, String> {
        match label {
            Some(label) if self.labels.wanted => cell::label(label, inclusion, self.labels.scores),
            _ => Ok(None),
        }
    }

    /// Reads what another judge says, if the table has it.
    pub(crate) fn against(
        alignment: Option<&[u8]>,
        coherence: Option<&[u8]>,
    ) -> Result<Option<Against>, String> {
        let Some(alignment) = alignment else { return Ok(None) };
        let read = |cell: &[u8], what: &str| {
            cell::read(cell).map_err(|fault| format!("the other judge's {what} score {fault}"))
        };
        Ok(Some(Against {
            alignment: read(alignment, "alignment")?,
            coherence: coherence.map(|cell| read(cell, "coherence")).transpose()?,
        }))
    }

    /// Counts a row from its cells, broken or not.
    pub(crate) fn read(
        &mut self,
        file: &str,
        place: Place,
        (key, cluster): (&[u8], Option<&[u8]>),
        cells: Cells,
    ) {
        let Cells { alignment, coherence, label, against } = cells;
        let further = label.and_then(|label| against.map(|against| (label, against)));
        match (alignment, coherence, further) {
            (Ok(alignment), Ok(coherence), Ok((label, against))) => {
                self.add(&Row { key, cluster, alignment, coherence, label, against });
            }
            (Err(fault), ..) => {
                self.break_row(file, place, Some(key), format!("the alignment score {fault}"));
            }
            (_, Err(fault), _) => {
                self.break_row(file, place, Some(key), format!("the coherence score {fault}"));
            }
            (.., Err(why)) => self.break_row(file, place, Some(key), why),
        }
    }

    /// Counts a row that cannot be used. Without a key it belongs to no group.
    pub(crate) fn break_row(&mut self, file: &str, place: Place, key: Option<&[u8]>, why: String) {
        self.broken += 1;
        if self.listed.len() < MOST_LISTED {
            self.listed.push(BrokenRow::new(file, place, why));
        }
        if let Some(key) = key {
            let index = self.group(key);
            if let Some((_, group)) = self.groups.get_index_mut(index) {
                group.broken += 1;
            }
        }
    }
}

/// What a definition makes of two scores.
fn rating(definition: &Definition, alignment: Reading, coherence: Reading) -> Rating {
    let (alignment_score, coherence_score) = (alignment.score(), coherence.score());
    Rating {
        alignment: alignment_score,
        coherence: coherence_score,
        misaligned: alignment_score.map(|score| definition.misaligned.holds(score)),
        coherent: coherence_score.map(|score| definition.coherent.holds(score)),
        counted: definition.classify(alignment_score, coherence_score).counted,
        reason: alignment.absence().or(coherence.absence()).map(Absence::name),
    }
}

fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    hasher.finish()
}

fn higher(highest: Option<f64>, score: Option<f64>) -> Option<f64> {
    match (highest, score) {
        (Some(highest), Some(score)) => Some(highest.max(score)),
        (one, other) => one.or(other),
    }
}

fn is_tie(score: Option<f64>, threshold: f64) -> bool {
    score.is_some_and(|score| score - threshold == 0.0)
}
