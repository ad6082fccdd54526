//! The page of judged files of any origin: what rows show, without what only a run knows (contexts, cost, tilt).

use std::path::Path;

use fs_err as fs;
use maud::{Markup, html};
use serde_json::{Value, json};
use tiltmeter_core::verdict::NoVerdict;
use tiltmeter_score::{GroupRates, JudgedRows, Rates};

use super::sections::{scrolling, switches};
use super::text::{count, percent, percent_interval, visible};
use super::{ReportError, embed, frame, page};
use crate::table::NOTHING_TO_SHOW;

/// Estimate, lower and upper end, from 0 to 1: with clusters where there are such.
fn rate(group: &GroupRates) -> Option<(f64, f64, f64)> {
    let clustered = group.clustered.map(|rate| (rate.estimate, rate.low, rate.high));
    clustered.or_else(|| group.rate.as_ref().map(|rate| (rate.estimate, rate.low, rate.high)))
}

fn title(group: &GroupRates) -> String {
    let parts: Vec<String> = group.key.iter().map(|(column, value)| format!("{column} = {value}")).collect();
    if parts.is_empty() { "all rows".to_owned() } else { visible(&parts.join(", ")) }
}

/// Writes the report of judged files. `command` is what gives the same figures again.
///
/// # Errors
/// If the file cannot be written.
pub fn write_judged_report(
    rates: &Rates,
    rows: &JudgedRows,
    command: &str,
    out: &Path,
) -> Result<(), ReportError> {
    let definition = &rates.definition;
    let (below, from) = (definition.misaligned.threshold().value(), definition.coherent.threshold().value());
    let shown: [(&str, &str, Markup); 5] = [
        (
            "rates",
            "Rates",
            html! {
                (switches((below, from), definition.denominator, false, "Back to the default"))
                (rate_table(&rates.groups))
            },
        ),
        ("depth", "In depth", depth(&rates.groups)),
        ("verdicts", "Verdicts", verdicts(&rates.groups)),
        ("left-out", "Left out", left_out(rates)),
        ("provenance", "Provenance", provenance(rates, command)),
    ];
    let opening = html! {
        p class="kicker" { "Report of judged files" }
        h1 { (count(definition.files.len() as u64)) (if definition.files.len() == 1 { " file" } else { " files" }) }
        (summary(rates))
    };
    let body = html! {
        (frame(&opening, &shown, "the files"))
        (embed::data_block("data", &embed::json(&data(rates, rows, (below, from)))?))
    };
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    fs::write(out, page("Judged files – Tiltmeter report", &body))?;
    Ok(())
}

fn summary(rates: &Rates) -> Markup {
    let rated =
        rates.groups.iter().enumerate().filter_map(|(index, group)| Some((index, group, rate(group)?)));
    let best = rated.reduce(|best, next| if next.2.0 > best.2.0 { next } else { best });
    html! {
        @if let Some((index, group, (estimate, low, high))) = best {
            p class="lead" data-lead=(index) data-lead-words="Highest EM rate: " {
                "Highest EM rate: " strong data-lead-rate="" { (percent_interval(estimate, low, high)) }
                " — " (title(group)) "."
            }
        } @else { p class="lead" { "No rate: no row is in the denominator." } }
        dl class="facts" {
            div { dt { "Judged answers" } dd { (count(rates.groups.iter().map(|group| group.rows).sum())) } }
            div { dt { "Groups" } dd { (count(rates.groups.len() as u64)) } }
            div { dt { "Broken rows" } dd { (count(rates.broken)) } }
        }
    }
}

fn rate_table(groups: &[GroupRates]) -> Markup {
    let cell = |text: Option<String>| text.unwrap_or_else(|| NOTHING_TO_SHOW.to_owned());
    let table = html! {
        table class="figures" id="rate-table" {
            caption class="unseen" { "EM rate of each group" }
            thead { tr {
                th scope="col" { "Group" } th scope="col" class="number" { "EM rate" }
                th scope="col" class="number" { "95 % interval" } th scope="col" class="number" { "misaligned / counted" }
                th scope="col" class="number" { "clusters" } th scope="col" class="number" { "answers" }
            } }
            tbody { @for (index, group) in groups.iter().enumerate() {
                tr data-condition=(index) {
                    th scope="row" { (title(group)) }
                    td class="number strong" data-cell="rate" { (cell(rate(group).map(|rate| format!("{} %", percent(rate.0))))) }
                    td class="number" data-cell="interval" {
                        (cell(rate(group).map(|rate| format!("[{}, {}]", percent(rate.1), percent(rate.2)))))
                    }
                    td class="number" data-cell="counts" {
                        (cell(rate(group).map(|_| format!("{} / {}", group.misaligned, group.denominator_count))))
                    }
                    td class="number" { (cell(group.clustered.map(|rate| count(rate.clusters)))) }
                    td class="number" { (count(group.rows)) }
                }
            } }
        }
    };
    html! {
        p class="note" { "95 % intervals: Wilson’s, wider where answers of one cluster resemble each other." }
        (scrolling("Rates by group", &table))
    }
}

/// What the page's script fills: clusters, thresholds, definitions, scores.
fn depth(groups: &[GroupRates]) -> Markup {
    let plot = |id: &str, label: &str| {
        html! { div class="plot" data-figure=(id) role="region" aria-label=(label) tabindex="0" {} }
    };
    html! {
        noscript { p class="note" { "These plots need JavaScript." } }
        p class="control" {
            label for="depth-condition" { "Group" } " "
            select id="depth-condition" autocomplete="off" {
                @for (index, group) in groups.iter().enumerate() { option value=(index) { (title(group)) } }
            }
        }
        h3 { "By cluster" }
        (plot("questions", "Plot: clusters"))
        (super::sections::behind("Figures as a table", &scrolling("Rates by cluster", &html! {
            table class="figures" id="question-table" {
                thead { tr { th scope="col" { "Cluster" } th scope="col" { "EM rate" } } }
                tbody {}
            }
        })))
        h3 { "By threshold" }
        div class="panels two" data-figure="sweep" {}
        (scrolling("Rate by definition", &html! {
            table class="figures" id="definition-table" {
                caption { "The rate by denominator and inequality, at these thresholds" }
                thead { tr {
                    th scope="col" { "Denominator" } th scope="col" { "Misaligned and coherent" }
                    th scope="col" class="number" { "EM rate" } th scope="col" class="number" { "misaligned / counted" }
                } }
                tbody {}
            }
        }))
        h3 { "Scores" }
        (plot("scores", "Plot: scores"))
    }
}

fn verdicts(groups: &[GroupRates]) -> Markup {
    scrolling(
        "Verdicts by group",
        &html! {
            table class="figures" {
                caption class="unseen" { "Verdicts by group" }
                thead { tr {
                    th scope="col" { "Group" } th scope="col" class="number" { "both scores" }
                    th scope="col" { "without, by reason" } th scope="col" class="number" { "broken" }
                } }
                tbody { @for group in groups { tr {
                    th scope="row" { (title(group)) }
                    td class="number" { (count(group.rows - group.no_verdict)) }
                    td { (group.no_verdict_reasons.iter().map(|(why, number)| format!("{} {}", count(*number), why.replace('_', " ")))
                        .collect::<Vec<_>>().join(", ")) }
                    td class="number" { (count(group.broken)) }
                } } }
            }
        },
    )
}

fn left_out(rates: &Rates) -> Markup {
    html! {
        @if rates.broken == 0 && rates.warnings.is_empty() { p { "Nothing was left out." } }
        @if rates.broken > 0 {
            p { (count(rates.broken)) " rows could not be used and are in no rate"
                @if rates.broken > rates.broken_rows.len() as u64 {
                    "; the first " (count(rates.broken_rows.len() as u64)) " of them"
                }
                ":" }
            ul { @for row in &rates.broken_rows { li { (visible(&row.to_string())) } } }
        }
        @if !rates.warnings.is_empty() {
            h3 { "Warnings" }
            ul { @for warning in &rates.warnings { li { (visible(warning)) } } }
        }
    }
}

fn provenance(rates: &Rates, command: &str) -> Markup {
    html! {
        p { "Definition: " (rates.definition.text) }
        (scrolling("Files", &html! {
            table class="figures" {
                thead { tr { th scope="col" { "file" } th scope="col" { "format" } th scope="col" class="number" { "rows" }
                    th scope="col" { "columns" } th scope="col" { "SHA-256" } } }
                tbody { @for file in &rates.definition.files {
                    @let columns = [&file.columns.alignment, &file.columns.coherence, &file.columns.cluster];
                    tr {
                        th scope="row" { (visible(&file.file)) } td { (file.format) } td class="number" { (count(file.rows)) }
                        td { (visible(&columns.into_iter().flatten().cloned().collect::<Vec<_>>().join(", "))) }
                        td { code { (file.sha256) } }
                    }
                } }
            }
        }))
        h3 { "Reproduce" }
        pre class="command" tabindex="0" { code { (visible(command)) } }
    }
}

/// Rows and rates as the page's script knows them: a group stands where a run has a condition.
fn data(rates: &Rates, rows: &JudgedRows, (below, from): (f64, f64)) -> Value {
    let results: Vec<Value> = rates
        .groups
        .iter()
        .map(|group| {
            let em_rate = rate(group).map(|(estimate, low, high)| {
                json!({ "estimate": estimate, "low": low, "high": high, "misaligned": group.misaligned,
                    "denominator_count": group.denominator_count })
            });
            json!({ "em_rate": em_rate, "samples": group.rows, "verdicts": { "none": 0 }, "shots": 0, "control": "none" })
        })
        .collect();
    let questions: Vec<usize> = (0..rows.clusters.len()).collect();
    let conditions = rates.groups.iter().enumerate().map(|(index, group)| {
        json!({ "run": 0, "position": index, "title": title(group), "blocks": [index], "questions": questions,
            "replicates": 1, "size": null })
    });
    let verdict = |reason: Option<&str>| match reason {
        None => 0,
        // An empty cell says as little as an answer that was not judged.
        Some(reason) => (1..)
            .zip(NoVerdict::ALL)
            .find(|(_, one)| one.name() == reason)
            .map_or(NoVerdict::ALL.len(), |(code, _)| code),
    };
    let rows_of = &rows.rows;
    json!({
        "schema": "tiltmeter.page/1",
        "part": false,
        "judged": true,
        "runs": [{ "name": "judged files", "results": { "conditions": results }, "definition": {
            "misaligned_below": below, "coherent_from": from, "denominator": rates.definition.denominator.name() } }],
        "conditions": conditions.collect::<Vec<_>>(),
        "blocks": rates.groups.iter().map(|_| json!({})).collect::<Vec<_>>(),
        "questions": rows.clusters.iter()
            .map(|name| json!({ "name": if name.is_empty() { "no cluster" } else { name } })).collect::<Vec<_>>(),
        "contexts": [],
        "samples": {
            "block": rows_of.iter().map(|row| row.group).collect::<Vec<_>>(),
            "question": rows_of.iter().map(|row| row.cluster).collect::<Vec<_>>(),
            "replicate": vec![0; rows_of.len()],
            "alignment": rows_of.iter().map(|row| row.alignment).collect::<Vec<_>>(),
            "coherence": rows_of.iter().map(|row| row.coherence).collect::<Vec<_>>(),
            "verdict": rows_of.iter().map(|row| verdict(row.reason)).collect::<Vec<_>>(),
        },
        "chunks": [],
    })
}
