//! What a subject is still good for, as plain text.

use std::fmt::Write as _;

use tiltmeter_run::{RunResults, ShareResult, UsefulnessComparison, UsefulnessResult, UsefulnessResults};

use crate::effects::{bare_p, points};
use crate::table::{NOTHING_TO_SHOW, percent, printable, write_grid};

/// One table for each subject and probe: a row for each instruction and k.
pub(crate) fn write_usefulness(text: &mut String, results: &UsefulnessResults) {
    let mut rest = results.conditions.as_slice();
    while let Some(first) = rest.first() {
        let is_alike = |one: &&UsefulnessResult| one.subject == first.subject && one.probe == first.probe;
        let (block, after) = rest.split_at(rest.iter().take_while(is_alike).count());
        rest = after;
        write_block(text, first, block, results);
    }
}

fn write_block(
    text: &mut String,
    first: &UsefulnessResult,
    block: &[UsefulnessResult],
    results: &UsefulnessResults,
) {
    let (subject, probe) = (printable(&first.subject), printable(&first.probe));
    let _ = writeln!(text, "{subject} · usefulness · {probe} ({})", first.kind);
    let compared = |one: &UsefulnessResult, counted: &str| {
        results.comparisons.iter().find(|pair| {
            pair.subject == one.subject
                && pair.probe == one.probe
                && pair.instruction == one.instruction
                && pair.shots == one.shots
                && pair.counted == counted
        })
    };
    let is_compared = block.iter().any(|one| compared(one, "useful").is_some());
    let mut header = vec!["k", "instruction", "useful"];
    if is_compared {
        header.extend(["above no instruction", "p"]);
    }
    header.extend(["refused", "answers"]);
    let rows = block.iter().map(|one| {
        let mut row = vec![one.shots.to_string(), printable(&one.instruction), share(one.useful.as_ref())];
        if is_compared {
            row.extend(difference(compared(one, "useful")));
        }
        row.extend([share(one.refused.as_ref()), answers(one)]);
        row
    });
    write_grid(text, header.into_iter().map(str::to_owned).collect(), rows);
}

/// What the table's columns mean; nothing where there is no such table.
pub(crate) fn write_legend(text: &mut String, results: &RunResults) {
    let Some(usefulness) = &results.usefulness else { return };
    let _ = writeln!(
        text,
        "useful: answers that hold what the probe accepts, of all answers to it; refused: by the provider, a filter, or in\n  \
         words; 95 % Wilson interval, wider where answers to a question agree. None of them is judged or in an EM rate"
    );
    for omission in &usefulness.omitted {
        let _ = writeln!(text, "not compared: {} ({})", printable(&omission.what), printable(&omission.why));
    }
}

/// A share with its interval, in per cent.
pub(crate) fn share(share: Option<&ShareResult>) -> String {
    share.map_or_else(
        || NOTHING_TO_SHOW.to_owned(),
        |share| {
            let [estimate, low, high] = [share.estimate, share.low, share.high].map(percent);
            format!("{estimate} % [{low}, {high}]")
        },
    )
}

fn difference(pair: Option<&UsefulnessComparison>) -> [String; 2] {
    pair.map_or_else(
        || [NOTHING_TO_SHOW.to_owned(), NOTHING_TO_SHOW.to_owned()],
        |pair| [points(&pair.difference), bare_p(pair.adjusted_p_value)],
    )
}

/// The counts that are not zero.
pub(crate) fn answers(one: &UsefulnessResult) -> String {
    let counts = one.answers;
    let parts = [
        (counts.useful, "useful"),
        (counts.not_useful, "not useful"),
        (counts.refused, "refused"),
        (counts.truncated, "truncated"),
        (counts.failed, "failed"),
        (one.planned.saturating_sub(one.samples), "missing"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { NOTHING_TO_SHOW.to_owned() } else { parts.join(", ") }
}
