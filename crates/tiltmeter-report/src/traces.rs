//! Codings of traces as plain text.

use std::fmt::Write as _;

use tiltmeter_agreement::{Estimate, RateInterval};
use tiltmeter_run::{
    CodedShare, CoderResult, CoderShares, GroupShares, LabelShare, SideCounts, TraceResults,
};

use crate::table::{NOTHING_TO_SHOW, percent, printable, write_rows, write_wrapped};

/// Who coded what, the shares of each label, and how far coders agree.
pub fn traces_table(results: &TraceResults) -> String {
    let mut text = String::new();
    let book = &results.code_book;
    write_wrapped(
        &mut text,
        &format!(
            "traces · {} · judge {} · code book {} ({})",
            printable(&results.experiment),
            printable(&results.judge),
            printable(&book.name),
            book.hash.to_string().get(..8).unwrap_or_default()
        ),
    );
    write_counts(&mut text, results);
    for coder in &results.coders {
        write_coder(&mut text, coder);
    }
    for shares in &results.results {
        write_shares(&mut text, shares);
    }
    write_agreement(&mut text, results);
    write_legend(&mut text, results);
    text
}

fn write_counts(text: &mut String, results: &TraceResults) {
    let counts = &results.traces;
    text.push('\n');
    let header = ["answers", "all", "with a trace", "drawn", "not shown", "not marked", "no reasoning"];
    let row = |what: &str, side: &SideCounts| {
        let SideCounts { answers, with_trace, drawn, hidden, unmarked, no_reasoning } = *side;
        let mut cells = vec![what.to_owned()];
        cells.extend(
            [answers, with_trace, drawn, hidden, unmarked, no_reasoning].map(|count| count.to_string()),
        );
        cells
    };
    let rows = [row("misaligned", &counts.misaligned), row("aligned", &counts.aligned)];
    write_rows(text, " ", header, rows.into_iter(), |column| column > 0);
    let kinds: Vec<String> = counts.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let base_rate = match counts.base_rate {
        Some(rate) => format!("{rate} aligned traces for each misaligned one"),
        None => "all aligned traces".to_owned(),
    };
    write_wrapped(
        text,
        &format!(
            " {} answers without either verdict; {base_rate}, seed {}; drawn traces: {}",
            counts.outside,
            counts.seed,
            if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }
        ),
    );
}

fn write_coder(text: &mut String, coder: &CoderResult) {
    let mut line = format!(
        "\n{} ({}): {} of {} traces coded",
        printable(&coder.coder),
        coder.kind,
        coder.coded,
        coder.traces
    );
    for (reason, count) in &coder.not_coded {
        let _ = write!(line, ", {count} {}", reason.replace('_', " "));
    }
    if coder.kind == "model" {
        let _ = write!(
            line,
            "; {} labels hold, {} void (quote not in the trace: {}, too short: {}), {} unknown",
            coder.labels_held,
            coder.labels_not_in_trace + coder.labels_too_short,
            coder.labels_not_in_trace,
            coder.labels_too_short,
            coder.labels_unknown
        );
    }
    if coder.cost_usd > 0.0 {
        let _ = write!(line, "; US$ {:.4}", coder.cost_usd);
    }
    write_wrapped(text, &line);
    for failure in &coder.failures {
        write_wrapped(
            text,
            &format!(
                " failed, and asked for again at the next start: {} × {}: {}",
                failure.count,
                failure.kind,
                printable(&failure.example)
            ),
        );
    }
}

fn write_shares(text: &mut String, shares: &CoderShares) {
    let Some(pooled) = shares.groups.first() else { return };
    text.push('\n');
    write_wrapped(text, &format!("{} · all traces", printable(&shares.coder)));
    let header = ["label", "misaligned", "%", "by question", "void", "aligned", "%", "difference, points"];
    let headlines = [&pooled.persona_labelled, &pooled.harm_justified_by_persona].into_iter().flatten();
    let rows = pooled.labels.iter().chain(headlines).map(|share| {
        vec![
            printable(&share.label),
            fraction(share.misaligned.as_ref()),
            interval(share.misaligned.as_ref().map(|share| &share.by_trace)),
            ends(share.misaligned.as_ref().map(|share| &share.by_question)),
            share.misaligned.as_ref().map_or_else(String::new, |share| share.void.to_string()),
            fraction(share.aligned.as_ref()),
            interval(share.aligned.as_ref().map(|share| &share.by_trace)),
            points(share.difference.as_ref().map(|difference| &difference.by_question)),
        ]
    });
    write_rows(text, " ", header, rows, |_| false);
    let Some(further) =
        shares.groups.get(1..).filter(|further| !further.is_empty() && pooled.persona_labelled.is_some())
    else {
        return;
    };
    text.push('\n');
    let header = [
        "",
        "misaligned",
        "persona labelled, %",
        "harm justified by persona, %",
        "aligned",
        "persona labelled, %",
    ];
    let side = |share: &Option<LabelShare>, of: fn(&LabelShare) -> Option<&CodedShare>| {
        interval(share.as_ref().and_then(of).map(|share| &share.by_question))
    };
    let rows = further.iter().map(|group: &GroupShares| {
        vec![
            printable(&group.in_words()),
            group.misaligned.to_string(),
            side(&group.persona_labelled, |share| share.misaligned.as_ref()),
            side(&group.harm_justified_by_persona, |share| share.misaligned.as_ref()),
            group.aligned.to_string(),
            side(&group.persona_labelled, |share| share.aligned.as_ref()),
        ]
    });
    write_rows(text, " ", header, rows, |_| false);
}

fn write_agreement(text: &mut String, results: &TraceResults) {
    let Some(first) = results.agreement.first() else { return };
    for (place, pair) in first.pairs.iter().enumerate() {
        text.push('\n');
        write_wrapped(text, &format!("1: {}, 2: {}", printable(&pair.first), printable(&pair.second)));
        let header = ["label", "traces", "both", "1 alone", "2 alone", "neither", "agreement, %", "κ"];
        let rows = results.agreement.iter().filter_map(|label| {
            let decision = label.pairs.get(place)?.decision.as_ref()?;
            let mut cells = vec![printable(&label.label)];
            cells.extend(
                [
                    decision.answers,
                    decision.both,
                    decision.first_only,
                    decision.second_only,
                    decision.neither,
                ]
                .map(|count| count.to_string()),
            );
            cells.push(interval(Some(&decision.agreement)));
            cells.push(coefficient(decision.kappa.as_ref()));
            Some(cells)
        });
        write_rows(text, " ", header, rows, |_| false);
    }
}

fn write_legend(text: &mut String, results: &TraceResults) {
    text.push('\n');
    let published = &results.published;
    for line in [
        results.definition.clone(),
        "shares are of coded traces, with 95 % intervals: of traces as if independent, then with traces of one question \
         taken to be alike; the difference, misaligned less aligned, allows for questions too. void: traces where the \
         label came without a quote that is in the trace, and does not count"
            .to_owned(),
        format!(
            "persona_labelled: any label with the role persona; harm_justified_by_persona: that, and one with the role \
             harm-recognised. Published: {} % ({}; {}); the paper does not say which of the two it is",
            percent(published.share),
            published.what,
            published.source
        ),
    ] {
        write_wrapped(text, &line);
    }
    for note in &results.notes {
        write_wrapped(text, &format!("note: {}", printable(note)));
    }
}

fn fraction(share: Option<&CodedShare>) -> String {
    share
        .map_or_else(|| NOTHING_TO_SHOW.to_owned(), |share| format!("{} of {}", share.labelled, share.traces))
}

fn interval(rate: Option<&RateInterval>) -> String {
    rate.map_or_else(
        || NOTHING_TO_SHOW.to_owned(),
        |rate| format!("{} [{}, {}]", percent(rate.estimate), percent(rate.low), percent(rate.high)),
    )
}

fn ends(rate: Option<&RateInterval>) -> String {
    rate.map_or_else(
        || NOTHING_TO_SHOW.to_owned(),
        |rate| format!("[{}, {}]", percent(rate.low), percent(rate.high)),
    )
}

fn points(difference: Option<&Estimate>) -> String {
    match difference {
        Some(Estimate { estimate, low: Some(low), high: Some(high), .. }) => {
            format!("{:+.1} [{:+.1}, {:+.1}]", 100.0 * estimate, 100.0 * low, 100.0 * high)
        }
        _ => NOTHING_TO_SHOW.to_owned(),
    }
}

fn coefficient(kappa: Option<&Estimate>) -> String {
    match kappa {
        Some(Estimate { estimate, low: Some(low), high: Some(high), .. }) => {
            format!("{estimate:.2} [{low:.2}, {high:.2}]")
        }
        Some(Estimate { estimate, .. }) => format!("{estimate:.2}"),
        None => NOTHING_TO_SHOW.to_owned(),
    }
}
