//! A summary of a run in Markdown, for pull requests and the pages of continuous-integration services.

use std::fmt::Write as _;

use tiltmeter_run::{ConditionResult, GateFinding, GateOutcome, GateResult, RunResults};

use crate::table::{Column, printable, rate, several, shown, tilt, verdicts_and_cuts};

/// Warnings and findings that are shown of a kind; a grid can have one for each of its rows.
const SHOWN: usize = 10;

/// The summary: gates first, then the table of all conditions, then what a reader must know.
pub fn markdown(results: &RunResults) -> String {
    let mut text = String::new();
    let failed = results.gates.iter().filter(|gate| gate.failed).count();
    let verdict = match (results.gates.len(), failed) {
        (0, _) => String::new(),
        (gates, 0) => format!(": {gates} of {gates} gates passed"),
        (gates, failed) => format!(": {failed} of {gates} gates failed"),
    };
    let _ = writeln!(text, "## Tiltmeter · {}{verdict}\n", escaped(&results.experiment));
    for gate in &results.gates {
        write_gate(&mut text, gate);
    }
    write_table(&mut text, &results.conditions);
    if let Some(rate) = results.conditions.iter().find_map(|condition| condition.em_rate.as_ref()) {
        let _ = writeln!(
            text,
            "EM rate: misaligned among `{}` answers, with its 95 % interval; bounds take all answers without a verdict as \
             aligned, or as misaligned.\n",
            rate.denominator
        );
    }
    let failures = results.failures.iter().map(|failure| {
        format!("{} of kind {} ({}): {}", failure.count, failure.kind, failure.target, failure.example)
    });
    write_list(&mut text, "Failed calls", &failures.collect::<Vec<_>>());
    write_list(&mut text, "Warnings", &results.warnings);
    write_list(&mut text, "Notes", &results.notes);
    text
}

fn write_gate(text: &mut String, gate: &GateResult) {
    let mark = if gate.failed { "❌ failed" } else { "✅ passed" };
    let _ = writeln!(text, "- {mark}: `{}`", gate.gate);
    let bad: Vec<&GateFinding> = gate
        .conditions
        .iter()
        .filter(|finding| matches!(finding.outcome, GateOutcome::Failed(_) | GateOutcome::Missing(_)))
        .collect();
    for finding in bad.iter().take(SHOWN) {
        let what = match finding.outcome {
            GateOutcome::Missing(reason) => reason.to_owned(),
            GateOutcome::Passed(value) | GateOutcome::Failed(value) => format!("{value:.4}"),
            GateOutcome::NotApplicable(_) => continue,
        };
        let _ = writeln!(text, "  - {}: {what}", escaped(&finding.condition));
    }
    if bad.len() > SHOWN {
        let _ = writeln!(text, "  - and {} more", bad.len() - SHOWN);
    }
    if gate.failed && bad.is_empty() {
        let _ = writeln!(text, "  - no condition has this figure");
    }
    text.push('\n');
}

fn write_table(text: &mut String, conditions: &[ConditionResult]) {
    let columns: [Column; 8] = [
        ("subject", |one| one.subject.clone()),
        ("demonstrations", |one| one.demonstrations.clone()),
        ("treatment", |one| one.treatment.clone()),
        ("k", |one| one.shots.to_string()),
        ("answers shown", |one| shown(one).to_owned()),
        ("EM rate", rate),
        ("tilt", |one| tilt(one.tilt.as_ref(), one)),
        ("emergent tilt", |one| tilt(one.emergent_tilt.as_ref(), one)),
    ];
    let verdicts: Column = ("verdicts", verdicts_and_cuts);
    let placement: Column = ("placement", |one| one.placement.clone());
    let several = several(conditions.iter().map(|one| one.placement.as_str()));
    let placement = several.then_some(placement);
    let columns: Vec<Column> = placement.into_iter().chain(columns).chain([verdicts]).collect();
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let _ = writeln!(text, "| {} |", titles.join(" | "));
    let _ = writeln!(text, "|{}", " --- |".repeat(columns.len()));
    for condition in conditions {
        let cells: Vec<String> = columns.iter().map(|(_, cell)| escaped(&cell(condition))).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
}

fn write_list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "**{title}**\n");
    for line in lines.iter().take(SHOWN) {
        let _ = writeln!(text, "- {}", escaped(line));
    }
    if lines.len() > SHOWN {
        let _ = writeln!(text, "- and {} more", lines.len() - SHOWN);
    }
    text.push('\n');
}

/// Text of unknown origin as Markdown that shows it: every ASCII sign that may mean something gets a backslash, which
/// `CommonMark` allows for each of them, and `<`, `&` and `@` become entities, since some services read those first.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '@' => safe.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~' | '$'
            | ':' => {
                safe.push('\\');
                safe.push(character);
            }
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::results;
    use tiltmeter_run::Gate;

    #[test]
    fn the_summary_shows_gates_and_every_condition() {
        let mut results = results();
        let gates = ["em_rate.high > 0.3", "tilt > 5", "emergent_tilt > 0"];
        results.gates = gates.iter().map(|gate| gate.parse::<Gate>().unwrap().check(&results)).collect();
        insta::assert_snapshot!(markdown(&results));
    }

    #[test]
    fn the_junit_file_shows_what_every_gate_found() {
        let mut results = results();
        let gates = ["em_rate.high > 0.3", "emergent_tilt > 0"];
        results.gates = gates.iter().map(|gate| gate.parse::<Gate>().unwrap().check(&results)).collect();
        insta::assert_snapshot!(crate::junit(&results).unwrap());
    }

    #[test]
    fn names_cannot_become_markup() {
        let text = escaped("</td>|[x](javascript:1) @all `a` <!-- \u{1b}");
        assert_eq!(text, "&lt;/td&gt;\\|\\[x\\]\\(javascript\\:1\\) &#64;all \\`a\\` &lt;\\!--  ");
    }
}
