//! What a subject is still good for, as plain text.

use std::fmt::Write as _;

use tiltmeter_run::{
    EffectResult, PriceResult, RunResults, ShareResult, UsefulnessComparison, UsefulnessResult,
    UsefulnessResults,
};

use crate::effects::{bare_p, nats, points};
use crate::table::{NOTHING_TO_SHOW, percent, printable, write_grid, write_guards, write_rows};

/// One table for each subject and probe: a row for each treatment and k.
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
                && pair.treatment == one.treatment
                && pair.shots == one.shots
                && pair.counted == counted
        })
    };
    let is_compared = block.iter().any(|one| compared(one, "useful").is_some());
    let mut header = vec!["k", "treatment", "useful"];
    if is_compared {
        header.extend(["above untreated", "p"]);
    }
    header.extend(["refused", "answers"]);
    let rows = block.iter().map(|one| {
        let mut row = vec![one.shots.to_string(), printable(&one.treatment), share(one.useful.as_ref())];
        if is_compared {
            row.extend(difference(compared(one, "useful")));
        }
        row.extend([share(one.refused.as_ref()), answers(one)]);
        row
    });
    write_grid(text, header.into_iter().map(str::to_owned).collect(), rows);
    let with_guard =
        block.iter().filter_map(|one| Some((format!(", {}", printable(&one.treatment)), one.guard?)));
    write_guards(text, with_guard);
}

/// What each subject's treatments give and take.
pub(crate) fn write_prices(text: &mut String, prices: &[PriceResult]) {
    for price in prices {
        let is_rate = price.measure == "em_rate";
        let _ = writeln!(text, "{} · price of treatments", printable(&price.subject));
        let effect = if is_rate { "EM rate, points" } else { "emergent tilt, nats" };
        let header = ["treatment", effect, "useful, points", "front", "tokens in, out", "US$ per 1,000"];
        let rows = price.points.iter().map(|point| {
            let change = |of: &EffectResult, is_share: bool| match (of.method, is_share) {
                ("baseline", _) => "0".to_owned(),
                (_, true) => points(of),
                (_, false) => nats(of),
            };
            let front = if point.on_front {
                "yes".to_owned()
            } else {
                format!("no: {}", printable(&point.dominated_by.join(", ")))
            };
            let tokens = match (point.usage.input_tokens, point.usage.output_tokens) {
                (Some(input), Some(output)) => format!("{input:.0}, {output:.0}"),
                _ => NOTHING_TO_SHOW.to_owned(),
            };
            vec![
                printable(&point.treatment),
                change(&point.effect, is_rate),
                change(&point.usefulness, true),
                front,
                tokens,
                point
                    .usage
                    .cost_per_thousand_usd
                    .map_or_else(|| NOTHING_TO_SHOW.to_owned(), |usd| format!("{usd:.2}")),
            ]
        });
        write_rows(text, " ", header, rows, |_| false);
        for omission in &price.omitted {
            let _ =
                writeln!(text, " not placed: {} ({})", printable(&omission.what), printable(&omission.why));
        }
        text.push('\n');
    }
}

/// What the table's columns mean; nothing where there is no such table.
pub(crate) fn write_legend(text: &mut String, results: &RunResults) {
    let Some(usefulness) = &results.usefulness else { return };
    let _ = writeln!(
        text,
        "useful: answers that hold what the probe accepts, of all answers to it; refused: by the provider, a filter, or in\n  \
         words; 95 % Wilson interval, wider where answers to a question agree. None of them is judged or in an EM rate"
    );
    if !results.prices.is_empty() {
        let _ = writeln!(
            text,
            "price: changes against no treatment on the same questions, over all sets and all k above 0; front: no other is at\n  \
             least as good in both and better in one, by the estimates; no: those that are"
        );
    }
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
