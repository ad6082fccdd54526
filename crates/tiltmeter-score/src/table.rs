//! The rates as plain text.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use tiltmeter_agreement::{CorrectedRate, LabelRates, RateInterval};

use crate::definition::Definition;
use crate::printable::printable;
use crate::rates::{ClusteredInterval, GroupRates, Rates};
use crate::sweep_text::sweep_text;

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
    write_sweeps(&mut text, rates);
    write_labels(&mut text, rates);
    write_calibration(&mut text, rates);
    let mut legend = String::new();
    write_legend(&mut legend, rates, clustered);
    for line in legend.lines() {
        let options = textwrap::Options::new(WIDEST).subsequent_indent("  ").break_words(false);
        let _ = writeln!(text, "{}", textwrap::fill(line, options));
    }
    text
}

/// The widest line of a legend, in characters.
const WIDEST: usize = 100;

/// How each group's rate moves with its definition.
fn write_sweeps(text: &mut String, rates: &Rates) {
    let definition = &rates.definition;
    let asked = Definition {
        misaligned: definition.misaligned,
        coherent: definition.coherent,
        denominator: definition.denominator,
        numerator: definition.numerator,
    };
    for group in &rates.groups {
        let Some(sweep) = &group.sweep else { continue };
        let key: Vec<String> = group
            .key
            .iter()
            .map(|(column, value)| format!("{} = {}", printable(column), printable(value)))
            .collect();
        let key = if key.is_empty() { "all rows".to_owned() } else { key.join(", ") };
        let heading = format!("sweep of {key}: rates in %, 95 % intervals ({})", sweep.interval);
        text.push_str(&sweep_text(&heading, sweep, &asked));
    }
    if rates.groups.iter().any(|group| group.sweep.is_some()) {
        let _ = writeln!(
            text,
            "sweep: one part of the definition moved at a time; * is the definition below; wilson takes rows as\n  \
             independent, clustered allows for rows of a cluster being alike"
        );
    }
}

/// What labels say, as a table of its own: beside the rates it would be wider than a terminal.
fn write_labels(text: &mut String, rates: &Rates) {
    let labelled: Vec<(&GroupRates, &LabelRates)> =
        rates.groups.iter().filter_map(|group| Some((group, group.labels.as_ref()?))).collect();
    if labelled.is_empty() {
        return;
    }
    let is_pooled = labelled.iter().any(|(_, labels)| labels.rogan_gladen_pooled.is_some());
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header: Vec<String> = rates.definition.columns.by.iter().map(|name| printable(name)).collect();
    header.extend(["labelled", "agreement", "κ", "AUROC", "Rogan–Gladen"].map(str::to_owned));
    header.extend(is_pooled.then(|| "labels pooled".to_owned()));
    header.push("prediction-powered".to_owned());
    table.set_header(header);
    for (group, labels) in labelled {
        let mut row: Vec<String> = group.key.values().map(|value| printable(value)).collect();
        row.push(labels.labelled.to_string());
        row.push(rate(labels.agreement.as_ref()));
        row.push(share(labels.kappa.as_ref()));
        row.push(share(labels.auroc.as_ref()));
        row.push(corrected(labels.rogan_gladen.as_ref()));
        row.extend(is_pooled.then(|| corrected(labels.rogan_gladen_pooled.as_ref())));
        row.push(corrected(labels.ppi.as_ref()));
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
}

/// What the judge's scores mean to people, one line for each range of scores.
fn write_calibration(text: &mut String, rates: &Rates) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header: Vec<String> = rates.definition.columns.by.iter().map(|name| printable(name)).collect();
    header.extend(["judge's score", "labelled", "misaligned by people"].map(str::to_owned));
    table.set_header(header);
    for group in &rates.groups {
        let curve = group.labels.as_ref().and_then(|labels| labels.calibration.as_ref());
        for bin in curve.iter().flat_map(|curve| &curve.bins) {
            let mut row: Vec<String> = group.key.values().map(|value| printable(value)).collect();
            row.push(format!("{}–{}", bin.above, bin.up_to));
            row.push(bin.rows.to_string());
            row.push(rate(Some(&bin.misaligned)));
            table.add_row(row);
        }
    }
    if table.row_count() == 0 {
        return;
    }
    for column in table.column_iter_mut() {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
}

fn share(rate: Option<&RateInterval>) -> String {
    match rate {
        Some(RateInterval { estimate, low, high, .. }) => format!("{estimate:.2} [{low:.2}, {high:.2}]"),
        None => "–".to_owned(),
    }
}

fn corrected(rate: Option<&CorrectedRate>) -> String {
    match rate {
        Some(CorrectedRate { estimate, low, high, .. }) => {
            format!("{} % [{}, {}]", percent(*estimate), percent(*low), percent(*high))
        }
        None => "–".to_owned(),
    }
}

/// What the columns on labels mean, and whether labels were pooled.
fn write_label_legend(text: &mut String, rates: &Rates) {
    let labels: Vec<&LabelRates> = rates.groups.iter().filter_map(|group| group.labels.as_ref()).collect();
    if labels.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "labelled: rows of the denominator with a person's label; Rogan–Gladen, prediction-powered: the rate corrected by \
         them, with a 95 % interval that carries their number"
    );
    if let Some(errors) = &rates.judge_errors {
        let _ = writeln!(
            text,
            "judge's errors alike in {} groups: p = {:.3} by permutation; labels are {}pooled",
            errors.groups,
            errors.permutation_p_value,
            if errors.pooled { "" } else { "not " }
        );
    }
    let outside: u64 = labels.iter().map(|labels| labels.outside).sum();
    if outside > 0 {
        let _ =
            writeln!(text, "note: {outside} labelled rows are outside the denominator and tell nothing here");
    }
    let mut reasons: Vec<String> = Vec::new();
    for omission in labels.iter().flat_map(|labels| &labels.omitted) {
        let reason = format!("{}: {}", omission.what.replace('_', " "), omission.why);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    for reason in reasons {
        let _ = writeln!(text, "note: some groups are without {reason}");
    }
}

pub(crate) fn percent(value: f64) -> String {
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
    write_label_legend(text, rates);
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
             inequality counts them otherwise"
        );
    }
    if rates.broken > 0 {
        let _ = writeln!(text, "note: {} broken rows are in no other count", rates.broken);
    }
    for warning in &rates.warnings {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
}
