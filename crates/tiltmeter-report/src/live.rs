//! What a running experiment has come to, for a terminal that is drawn anew every few seconds.

use std::fmt::Write as _;

use tiltmeter_run::{ConditionResult, RateResult, RunResults};

use crate::table::{NOTHING_TO_SHOW, nats, percent, printable, same_block, several, shown};

/// Columns of a cell's bar.
const BAR: usize = 12;

/// Lines of at most `width` columns, and at most `height` of them: a heading for each subject and set, and a line for each
/// cell with how far it is filled and the figures so far. Where there are more cells than lines, those that are being
/// filled come first, then those that are still to come.
pub fn live_lines(results: &RunResults, width: usize, height: usize) -> Vec<String> {
    let mut chosen = choose(&results.conditions, height);
    let block =
        |condition: &ConditionResult| results.conditions.iter().position(|one| same_block(one, condition));
    chosen.sort_by_key(|condition| (block(condition), condition.shots));
    let several = several(results.conditions.iter().map(|one| one.placement.as_str()));
    let mut lines = Vec::new();
    let mut heading = None;
    for condition in &chosen {
        let block =
            (&condition.subject, &condition.demonstrations, &condition.placement, &condition.treatment);
        if heading != Some(block) {
            heading = Some(block);
            let treatment = match condition.treatment.as_str() {
                "none" => String::new(),
                other => format!(" · treatment {}", printable(other)),
            };
            let placement =
                if several { format!(" · {}", printable(&condition.placement)) } else { String::new() };
            lines.push(format!(
                "{} · {}{treatment}{placement}",
                printable(&condition.subject),
                printable(&condition.demonstrations)
            ));
        }
        lines.push(line(condition));
    }
    let hidden = results.conditions.len() - chosen.len();
    if hidden > 0 {
        let full = results.conditions.iter().filter(|condition| is_full(condition)).count();
        lines.push(format!("… and {hidden} more cells; {full} of {} are full", results.conditions.len()));
    }
    for line in &mut lines {
        *line = line.chars().take(width).collect();
    }
    lines
}

/// The cells that are shown, in table order.
fn choose(conditions: &[ConditionResult], height: usize) -> Vec<&ConditionResult> {
    let headings = |cells: &[&ConditionResult]| {
        let mut count = 0;
        let mut last = None;
        for cell in cells {
            let block = (&cell.subject, &cell.demonstrations, &cell.placement, &cell.treatment);
            count += usize::from(last != Some(block));
            last = Some(block);
        }
        count
    };
    let all: Vec<&ConditionResult> = conditions.iter().collect();
    if all.len() + headings(&all) <= height {
        return all;
    }
    let mut order: Vec<usize> = (0..conditions.len()).collect();
    order.sort_by_key(|&index| conditions.get(index).map(rank));
    let mut room = order.len().min(height.saturating_sub(2)).max(1);
    loop {
        let mut indices: Vec<usize> = order.iter().copied().take(room).collect();
        indices.sort_unstable();
        let cells: Vec<&ConditionResult> =
            indices.into_iter().filter_map(|index| conditions.get(index)).collect();
        // One line is left for what is not shown.
        if room == 1 || cells.len() + headings(&cells) < height {
            return cells;
        }
        room -= 1;
    }
}

/// Cells that are being filled before those to come before full ones.
fn rank(condition: &ConditionResult) -> u8 {
    if is_full(condition) { 2 } else { u8::from(done(condition) == 0) }
}

/// Answers with all that is wanted of them: a verdict, where there is a judge.
fn done(condition: &ConditionResult) -> u64 {
    let is_judged = condition.samples > condition.verdicts.none;
    if is_judged { condition.samples - condition.verdicts.none } else { condition.samples }
}

fn is_full(condition: &ConditionResult) -> bool {
    let is_settled = condition.adaptive.as_ref().is_some_and(|adaptive| adaptive.decision != "not_settled");
    is_settled || done(condition) >= condition.planned
}

fn line(condition: &ConditionResult) -> String {
    let mut line = format!("{:>6}  {:<14}", condition.shots, printable(shown(condition)));
    if condition.planned > 0 {
        let (done, planned) = (done(condition).min(condition.planned), condition.planned);
        let full = usize::try_from(done * BAR as u64 / planned).unwrap_or(BAR);
        let counts = format!("{done}/{planned}");
        let _ = write!(line, "{}{} {counts:<11}", "█".repeat(full), "░".repeat(BAR - full));
    } else {
        line.push_str(&" ".repeat(BAR + 12));
    }
    if let Some(RateResult { estimate, low, high, .. }) = &condition.em_rate {
        let _ = write!(line, "  EM {} % [{}, {}]", percent(*estimate), percent(*low), percent(*high));
    }
    for (name, tilt) in [("tilt", &condition.tilt), ("emergent", &condition.emergent_tilt)] {
        let tilt = nats(tilt.as_ref());
        if tilt != NOTHING_TO_SHOW && tilt != "0" {
            let _ = write!(line, "  {name} {tilt}");
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::results;

    #[test]
    fn cells_show_how_far_they_are_and_what_they_have_come_to() {
        let text = live_lines(&results(), 100, 20).join("\n");
        insta::assert_snapshot!(text);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_full_cells_go_first() {
        let mut results = results();
        let cell = results.conditions[1].clone();
        results.conditions = (0..30)
            .map(|shots| ConditionResult {
                shots,
                planned: if shots == 20 { 40 } else { 10 },
                ..cell.clone()
            })
            .collect();
        let lines = live_lines(&results, 40, 6);
        assert_eq!(lines.len(), 6);
        assert!(lines.iter().all(|line| line.chars().count() <= 40));
        // The one that is being filled.
        assert!(lines.iter().any(|line| line.starts_with("    20  ")), "{lines:?}");
        assert_eq!(lines[5], "… and 26 more cells; 29 of 30 are full");
    }
}
