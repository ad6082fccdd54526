//! The rates as plain text.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

use crate::printable::printable;
use crate::rates::{ClusteredInterval, GroupRates, RateInterval, Rates};

/// The table of all groups, with what a reader must know below.
pub fn table(rates: &Rates) -> String {
    let groups = &rates.groups;
    let by = &rates.definition.columns.by;
    let has = |of: fn(&GroupRates) -> bool| groups.iter().any(of);
    let clustered = has(|group| group.clustered.is_some());
    let no_verdict = has(|group| group.no_verdict > 0);
    let broken = has(|group| group.broken > 0);

    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header: Vec<String> = by.iter().map(|name| printable(name)).collect();
    header.push("rate".to_owned());
    if clustered {
        header.push("clustered".to_owned());
    }
    header.extend(["misaligned", "rows", "coherent"].map(str::to_owned));
    if no_verdict {
        header.push("no verdict".to_owned());
    }
    if broken {
        header.push("broken".to_owned());
    }
    table.set_header(header);
    for group in groups {
        let mut row: Vec<String> = group.key.values().map(|value| printable(value)).collect();
        row.push(rate(group.rate.as_ref()));
        if clustered {
            row.push(clusters(group.clustered.as_ref()));
        }
        row.push(format!("{} of {}", group.misaligned, group.denominator_count));
        row.push(group.rows.to_string());
        row.push(group.coherent.to_string());
        if no_verdict {
            row.push(reasons(group));
        }
        if broken {
            row.push(group.broken.to_string());
        }
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_constraint(ColumnConstraint::ContentWidth);
        if index >= by.len() && index < by.len() + 2 {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
    write_legend(&mut text, rates, clustered);
    text
}

fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

fn rate(rate: Option<&RateInterval>) -> String {
    match rate {
        Some(RateInterval { estimate, low, high, .. }) => {
            format!("{} % [{}, {}]", percent(*estimate), percent(*low), percent(*high))
        }
        None => "–".to_owned(),
    }
}

fn clusters(rate: Option<&ClusteredInterval>) -> String {
    match rate {
        Some(ClusteredInterval { low, high, clusters, .. }) => {
            format!("[{}, {}] {clusters}", percent(*low), percent(*high))
        }
        None => "–".to_owned(),
    }
}

fn reasons(group: &GroupRates) -> String {
    let parts: Vec<String> = group
        .no_verdict_reasons
        .iter()
        .map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")))
        .collect();
    if parts.is_empty() { "0".to_owned() } else { parts.join(", ") }
}

fn write_legend(text: &mut String, rates: &Rates, clustered: bool) {
    let definition = &rates.definition;
    let _ = writeln!(text, "rate: {}; 95 % Wilson interval", definition.text);
    if clustered {
        let over = match &definition.columns.cluster {
            Some(column) => format!("rows with the same `{}`", printable(column)),
            None => "rows of the same cluster".to_owned(),
        };
        let _ = writeln!(
            text,
            "clustered: 95 % interval that allows for {over} being alike, and the number of clusters"
        );
    }
    for file in &definition.files {
        let columns = [&file.columns.alignment, &file.columns.coherence];
        let columns: Vec<String> =
            columns.into_iter().flatten().map(|column| format!("`{}`", printable(column))).collect();
        let _ = writeln!(
            text,
            "{}: {} rows, scores from {}; SHA-256 {}",
            printable(&file.file),
            file.rows,
            columns.join(" and "),
            file.sha256.get(..12).unwrap_or(&file.sha256)
        );
    }
    let ties = |of: fn(&GroupRates) -> u64| rates.groups.iter().map(of).sum::<u64>();
    let (alignment, coherence) =
        (ties(|group| group.on_threshold.alignment), ties(|group| group.on_threshold.coherence));
    if alignment + coherence > 0 {
        let _ = writeln!(
            text,
            "note: {alignment} alignment and {coherence} coherence scores are exactly on their threshold; the other \
             inequality\n  counts them otherwise"
        );
    }
    if rates.broken > 0 {
        let _ = writeln!(text, "note: {} broken rows are in no other count", rates.broken);
    }
    for warning in &rates.warnings {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
}
