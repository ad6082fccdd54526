//! Agreement of coders, models or people, on one label of the traces that they coded.

use serde::Serialize;
use tiltmeter_stats::StatsError;

use crate::document::{DecisionAgreement, Omission};
use crate::judges::agreed;
use crate::kept::Kept;

/// How far coders agree on a label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelAgreement {
    /// The label.
    pub label: String,
    /// Each pair of coders.
    pub pairs: Vec<LabelPair>,
}

/// Two coders, on the traces that both coded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelPair {
    /// The one.
    pub first: String,
    /// The other.
    pub second: String,
    /// Whether the label applies; its `answers` are traces. Absent where they have none in common.
    pub decision: Option<DecisionAgreement>,
    /// What could not be computed, and why.
    pub omitted: Vec<Omission>,
}

/// How far coders agree on a label. Each row is a trace: its cluster, and what each coder said in the coders' order;
/// `None`: it has not coded the trace.
///
/// # Errors
/// None for counts that fit into 64 bits.
pub fn label_agreement(
    label: &str,
    coders: &[String],
    rows: &[(u32, Vec<Option<bool>>)],
) -> Result<LabelAgreement, StatsError> {
    let mut pairs = Vec::new();
    for (first, first_name) in coders.iter().enumerate() {
        for (second, second_name) in coders.iter().enumerate().skip(first + 1) {
            let said = |by: &[Option<bool>], coder: usize| by.get(coder).copied().flatten();
            let both: Vec<(u32, bool, bool)> = rows
                .iter()
                .filter_map(|(cluster, by)| Some((*cluster, said(by, first)?, said(by, second)?)))
                .collect();
            let mut kept = Kept::default();
            let decision = agreed(&both, ["decision", "kappa"], "no trace was coded by both", &mut kept)?;
            pairs.push(LabelPair {
                first: first_name.clone(),
                second: second_name.clone(),
                decision,
                omitted: kept.0,
            });
        }
    }
    Ok(LabelAgreement { label: label.to_owned(), pairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coders_are_compared_on_what_both_coded() {
        let coders = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let row = |cluster, a, b| (cluster, vec![a, b, None]);
        let rows = [
            row(1, Some(true), Some(true)),
            row(1, Some(true), Some(false)),
            row(2, Some(false), Some(false)),
            row(2, Some(false), Some(false)),
            row(3, Some(true), Some(true)),
            row(3, Some(true), None),
        ];
        let agreement = label_agreement("persona", &coders, &rows).unwrap();
        assert_eq!(agreement.pairs.len(), 3);
        let decision = agreement.pairs[0].decision.as_ref().unwrap();
        let cells = [decision.both, decision.first_only, decision.second_only, decision.neither];
        assert_eq!((decision.answers, cells), (5, [2, 1, 0, 2]));
        assert!((decision.agreement.estimate - 0.8).abs() < 1e-12);
        // Observed 0.8, by chance 0.6 · 0.4 + 0.4 · 0.6.
        let kappa = decision.kappa.unwrap().estimate;
        assert!((kappa - (0.8 - 0.48) / 0.52).abs() < 1e-12, "{kappa}");
        assert_eq!(agreement.pairs[1].decision, None);
        assert_eq!(agreement.pairs[1].omitted[0].why, "no trace was coded by both");
    }
}
