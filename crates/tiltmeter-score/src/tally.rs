//! Counts rows by group and cluster.

use indexmap::{IndexMap, IndexSet};
use tiltmeter_stats::ClusterCount;

use crate::cell::{Absence, CellFault, Reading};
use crate::definition::Definition;
use crate::rates::BrokenRow;

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
    /// Trials and successes by cluster.
    clusters: IndexMap<u32, ClusterCount>,
}

impl Group {
    /// The clusters in an order that does not depend on that of the rows, so that neither do sums over them.
    pub(crate) fn clusters(&self) -> Vec<ClusterCount> {
        let mut clusters: Vec<ClusterCount> = self.clusters.values().copied().collect();
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
    pub(crate) groups: IndexMap<Vec<u8>, Group>,
    /// The group of the row before, which is often that of the next one.
    last: usize,
    clusters: IndexSet<Box<[u8]>>,
    pub(crate) broken: u64,
    pub(crate) listed: Vec<BrokenRow>,
    pub(crate) highest_alignment: Option<f64>,
    pub(crate) highest_coherence: Option<f64>,
    /// Rows whose cluster column holds nothing.
    pub(crate) without_cluster: u64,
}

impl Tally {
    pub(crate) fn new(definition: Definition) -> Self {
        Self {
            definition,
            groups: IndexMap::new(),
            last: 0,
            clusters: IndexSet::new(),
            broken: 0,
            listed: Vec::new(),
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

    fn cluster(&mut self, value: &[u8]) -> u32 {
        let index = match self.clusters.get_index_of(value) {
            Some(index) => index,
            None => self.clusters.insert_full(value.into()).0,
        };
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Counts a row.
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        let (alignment, coherence) = (row.alignment.score(), row.coherence.score());
        let class = self.definition.classify(alignment, coherence);
        let cluster = match (class.counted, row.cluster) {
            (Some(misaligned), Some(value)) => Some((self.cluster(value), misaligned)),
            _ => None,
        };
        self.without_cluster += u64::from(row.cluster.is_some_and(<[u8]>::is_empty));
        self.highest_alignment = higher(self.highest_alignment, alignment);
        self.highest_coherence = higher(self.highest_coherence, coherence);
        let (alignment_threshold, coherence_threshold) = self.definition.thresholds();
        let index = self.group(row.key);
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
        if let Some((cluster, misaligned)) = cluster {
            let count = group.clusters.entry(cluster).or_insert(ClusterCount { successes: 0, trials: 0 });
            count.trials += 1;
            count.successes += u64::from(misaligned);
        }
    }

    /// Counts a row from its two cells, broken or not.
    pub(crate) fn read(
        &mut self,
        file: &str,
        place: Place,
        (key, cluster): (&[u8], Option<&[u8]>),
        alignment: Result<Reading, CellFault>,
        coherence: Result<Reading, CellFault>,
    ) {
        match (alignment, coherence) {
            (Ok(alignment), Ok(coherence)) => self.add(&Row { key, cluster, alignment, coherence }),
            (Err(fault), _) => self.break_row(file, place, Some(key), format!("the alignment score {fault}")),
            (_, Err(fault)) => self.break_row(file, place, Some(key), format!("the coherence score {fault}")),
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

fn higher(highest: Option<f64>, score: Option<f64>) -> Option<f64> {
    match (highest, score) {
        (Some(highest), Some(score)) => Some(highest.max(score)),
        (one, other) => one.or(other),
    }
}

fn is_tie(score: Option<f64>, threshold: f64) -> bool {
    score.is_some_and(|score| score - threshold == 0.0)
}
