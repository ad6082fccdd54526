//! Runs compared, as plain text.

use std::fmt::Write as _;

use tiltmeter_run::{ComparedCondition, Family, RunComparison};

use crate::effects::{bare_p, points};
use crate::table::{NOTHING_TO_SHOW, answers_shown, nats, percent, printable, several, write_grid};

/// Conditions of only one run that are named.
const SHOWN: usize = 5;

/// The differences of each run from the first: one block for each run, subject, set and treatment.
pub fn comparison_table(comparison: &RunComparison) -> String {
    let mut text = String::new();
    for (index, run) in comparison.runs.iter().enumerate() {
        let letter = letter(index);
        let judge = run.judge.as_deref().unwrap_or("no judge");
        let _ = writeln!(
            text,
            "{letter}  {} · {} · {}",
            printable(&run.directory),
            printable(&run.experiment),
            printable(judge)
        );
    }
    text.push('\n');
    let several = several(comparison.conditions.iter().map(|one| one.placement.as_str()));
    let mut rest = comparison.conditions.as_slice();
    while let Some(first) = rest.first() {
        let length = rest.iter().take_while(|condition| same_block(first, condition)).count();
        let (block, after) = rest.split_at(length);
        rest = after;
        write_block(&mut text, block, several);
    }
    write_legend(&mut text, comparison);
    text
}

/// A, B, …, Z, then numbers.
fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'A' + index).to_string(),
        _ => format!("#{}", index + 1),
    }
}

fn same_block(one: &ComparedCondition, other: &ComparedCondition) -> bool {
    one.run == other.run
        && one.subject == other.subject
        && one.demonstrations == other.demonstrations
        && one.placement == other.placement
        && one.treatment == other.treatment
}

type Column = (&'static str, fn(&ComparedCondition) -> String);

fn write_block(text: &mut String, block: &[ComparedCondition], several: bool) {
    let Some(first) = block.first() else { return };
    let subject = if first.subject == first.first_subject {
        printable(&first.subject)
    } else {
        format!("{} (in A: {})", printable(&first.subject), printable(&first.first_subject))
    };
    let mut title = format!("{} − A · {subject} · {}", letter(first.run), printable(&first.demonstrations));
    if first.treatment != "none" {
        let _ = write!(title, " · treatment {}", printable(&first.treatment));
    }
    if several {
        let _ = write!(title, " · {}", printable(&first.placement));
    }
    let _ = writeln!(text, "{title}");
    let mut block: Vec<&ComparedCondition> = block.iter().collect();
    block.sort_by_key(|condition| condition.shots);
    let rates: [Column; 4] = [
        ("in A", |one| rate(one.em_rate.as_ref().map(|pair| pair.second))),
        ("here", |one| rate(one.em_rate.as_ref().map(|pair| pair.first))),
        ("EM rate, points", |one| one.em_rate.as_ref().map_or_else(nothing, |pair| points(&pair.difference))),
        ("p", |one| one.em_rate.as_ref().map_or_else(nothing, |pair| bare_p(pair.adjusted_p_value))),
    ];
    let tilts: [Column; 2] =
        [("tilt", |one| nats(one.tilt.as_ref())), ("emergent tilt", |one| nats(one.emergent_tilt.as_ref()))];
    write_columns(text, &block, &rates);
    write_columns(text, &block, &tilts);
}

fn nothing() -> String {
    NOTHING_TO_SHOW.to_owned()
}

fn rate(count: Option<tiltmeter_run::CountResult>) -> String {
    match count {
        Some(count) if count.denominator_count > 0 => {
            format!("{} %", percent(count.misaligned as f64 / count.denominator_count as f64))
        }
        _ => nothing(),
    }
}

fn write_columns(text: &mut String, block: &[&ComparedCondition], columns: &[Column]) {
    let rows: Vec<Vec<String>> = block
        .iter()
        .map(|condition| {
            let shown = printable(answers_shown(&condition.control, condition.shots));
            let first = [condition.shots.to_string(), shown];
            first.into_iter().chain(columns.iter().map(|(_, cell)| cell(condition))).collect()
        })
        .filter(|row: &Vec<String>| row.iter().skip(2).any(|cell| cell != NOTHING_TO_SHOW))
        .collect();
    if rows.is_empty() {
        return;
    }
    let titles = ["k", "answers shown"].into_iter().chain(columns.iter().map(|(title, _)| *title));
    write_grid(text, titles.map(str::to_owned).collect(), rows.into_iter());
}

fn write_legend(text: &mut String, comparison: &RunComparison) {
    let rates = comparison.conditions.iter().filter_map(|condition| condition.em_rate.as_ref());
    if let Some(rate) = rates.clone().next() {
        let correction = match comparison.correction {
            Family::Holm => "Holm",
            Family::BenjaminiHochberg => "Benjamini and Hochberg",
        };
        let _ = writeln!(
            text,
            "differences are those from run A, on the questions that both have; 95 % intervals, questions paired;\n  \
             p after {correction}'s correction over all {} rates of this table",
            rate.family
        );
    }
    if comparison.conditions.iter().any(|one| one.tilt.is_some() || one.emergent_tilt.is_some()) {
        let _ = writeln!(
            text,
            "tilt: difference of tilts (nats per token), question by question; 95 % bootstrap interval over questions"
        );
    }
    let others = comparison.conditions.iter().filter(|one| !one.same_contexts).count();
    if others > 0 {
        let _ = writeln!(
            text,
            "{others} of {} conditions saw other contexts in the two runs: draws differ, and with them the rates",
            comparison.conditions.len()
        );
    }
    for one in comparison.only_in.iter().take(SHOWN) {
        let (has, lacks) = (letter(one.run), letter(one.not_in));
        let _ = writeln!(text, "in {has}, not in {lacks}: {}", printable(&one.condition));
    }
    if comparison.only_in.len() > SHOWN {
        let _ = writeln!(text, "and {} more that only one run has", comparison.only_in.len() - SHOWN);
    }
    for omission in &comparison.omitted {
        let _ = writeln!(text, "left out: {}: {}", printable(&omission.what), printable(&omission.why));
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
}
