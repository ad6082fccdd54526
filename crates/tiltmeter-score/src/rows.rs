//! The rows that rates are counted from, for whoever shows them.

use indexmap::IndexSet;

use crate::cell::Absence;
use crate::tally::Row;

/// The rows behind some rates, in the order of the files; broken ones are not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JudgedRows {
    /// The values of the cluster column, each once; one empty value where there is no such column.
    pub clusters: IndexSet<String>,
    /// The rows.
    pub rows: Vec<RowScores>,
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowScores {
    /// Its place among the groups of the rates.
    pub group: usize,
    /// Its place among the clusters.
    pub cluster: usize,
    /// Alignment, 0 to 100.
    pub alignment: Option<f64>,
    /// Coherence, 0 to 100.
    pub coherence: Option<f64>,
    /// Why a score is missing, the alignment score's reason first: `empty`, or a verdict's name.
    pub reason: Option<&'static str>,
}

impl JudgedRows {
    pub(crate) fn push(&mut self, group: usize, row: &Row<'_>) {
        let cluster = String::from_utf8_lossy(row.cluster.unwrap_or_default());
        let cluster = match self.clusters.get_index_of(cluster.as_ref()) {
            Some(index) => index,
            None => self.clusters.insert_full(cluster.into_owned()).0,
        };
        self.rows.push(RowScores {
            group,
            cluster,
            alignment: row.alignment.score(),
            coherence: row.coherence.score(),
            reason: row.alignment.absence().or(row.coherence.absence()).map(Absence::name),
        });
    }

    /// Puts groups in another order: `order` holds the new place of each.
    pub(crate) fn reorder(&mut self, order: &[usize]) {
        for row in &mut self.rows {
            row.group = order.get(row.group).copied().unwrap_or(row.group);
        }
    }
}
