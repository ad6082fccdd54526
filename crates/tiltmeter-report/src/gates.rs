//! What gates came to, as lines for the terminal.

use tiltmeter_run::{GateOutcome, GateResult};

use crate::table::printable;

/// Conditions that are named for each gate.
const SHOWN: usize = 5;

/// A line for each gate, and one for each condition that it fails in.
pub fn gate_lines(gates: &[GateResult]) -> Vec<String> {
    gates.iter().flat_map(lines).collect()
}

fn lines(gate: &GateResult) -> Vec<String> {
    let bad: Vec<String> = gate
        .conditions
        .iter()
        .filter_map(|finding| {
            let condition = printable(&finding.condition);
            match finding.outcome {
                GateOutcome::Failed(value) => Some(format!("  {value:.4} in {condition}")),
                GateOutcome::Missing(reason) => Some(format!("  {reason}: {condition}")),
                GateOutcome::Passed(_) | GateOutcome::NotApplicable(_) => None,
            }
        })
        .collect();
    let mut lines = vec![if gate.failed {
        format!("gate failed: {}", gate.gate)
    } else {
        format!("gate passed: {}", gate.gate)
    }];
    if gate.failed && bad.is_empty() {
        lines.push("  no condition has this figure".to_owned());
    }
    let more = bad.len().saturating_sub(SHOWN);
    lines.extend(bad.into_iter().take(SHOWN));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}
