//! The sections of a report that say what the figures rest on: verdicts, what was left out, cost, published figures, and
//! where everything came from.

use maud::{Markup, html};
use tiltmeter_run::VerdictCounts;

use crate::table::NOTHING_TO_SHOW;

use super::model::{Place, Run, title};
use super::published;
use super::sections::{behind, scrolling};
use super::text::{count, dollars, visible};

/// The counts of a condition in table order, with the class of each.
fn parts(counts: &VerdictCounts) -> [(&'static str, &'static str, u64); 9] {
    [
        ("scored", "scored", counts.scored),
        ("refused", "subject refused", counts.subject_refusal),
        ("code", "code", counts.code),
        ("declined", "judge declined", counts.judge_refusal),
        ("unparsable", "unparsable", counts.unparsable),
        ("filtered", "filtered", counts.filtered),
        ("failed", "failed", counts.error),
        ("unjudged", "not judged", counts.none),
        ("withheld", "withheld by a defence", counts.withheld),
    ]
}

/// What became of the answers of each condition.
pub(crate) fn verdicts(places: &[Place<'_>], several_runs: bool) -> Option<Markup> {
    let rows: Vec<&Place<'_>> = places.iter().filter(|place| place.result.samples > 0).collect();
    if rows.is_empty() {
        return None;
    }
    let used: Vec<bool> = (0..9)
        .map(|index| {
            rows.iter().any(|place| parts(&place.result.verdicts).get(index).is_some_and(|part| part.2 > 0))
        })
        .collect();
    let is_used = |index: usize| used.get(index).copied().unwrap_or(false);
    let table = html! {
        table class="figures" {
            caption class="unseen" { "Verdicts by condition" }
            thead { tr {
                th scope="col" { "Condition" } th scope="col" { span class="unseen" { "Shares" } }
                @for (index, (_, name, _)) in parts(&VerdictCounts::default()).iter().enumerate() {
                    @if is_used(index) { th scope="col" class="number" { (name) } }
                }
                th scope="col" class="number" { "truncated" }
            } }
            tbody {
                @for place in &rows {
                    tr {
                        th scope="row" { (title(place, several_runs)) }
                        td { (bar(&place.result.verdicts)) }
                        @for (index, (_, _, number)) in parts(&place.result.verdicts).iter().enumerate() {
                            @if is_used(index) { td class="number" { (count(*number)) } }
                        }
                        td class="number" { (count(place.result.truncated)) }
                    }
                }
            }
        }
    };
    Some(html! {
        p class="note" {
            "Every answer has one verdict: two scores, or why there is none. Refusals and unrelated code are findings; a "
            "declining judge, unparsable replies, filtered answers and failed calls are gaps, which the bounds of each rate allow for."
        }
        (scrolling("Verdicts by condition", &table))
    })
}

fn bar(counts: &VerdictCounts) -> Markup {
    let parts = parts(counts);
    let total = parts.iter().map(|part| part.2).sum::<u64>().max(1) as f64;
    let mut at = 0.0;
    html! {
        svg class="shares" viewBox="0 0 160 12" aria-hidden="true" {
            @for (class, _, number) in parts {
                @let width = number as f64 / total * 160.0;
                @if number > 0 { rect class={ "share " (class) } x=(format!("{at:.2}")) y="0" width=(format!("{width:.2}")) height="12" {} }
                @let () = at += width;
            }
        }
    }
}

/// What was left out, and why.
pub(crate) fn left_out(runs: &[Run], restricted: &[String], includes_restricted: bool) -> Markup {
    html! {
        @if !restricted.is_empty() {
            p {
                @if includes_restricted {
                    strong { "This page holds text whose terms forbid passing it on" } ": " (visible(&restricted.join(", ")))
                    ". Do not share it."
                } @else {
                    "Contexts and questions of sets whose terms forbid passing them on are shown as references alone: "
                    (visible(&restricted.join(", "))) "."
                }
            }
        }
        @for run in runs {
            @if runs.len() > 1 { h3 { (visible(&run.name)) } }
            @let excluded = excluded_questions(run);
            @let nothing = run.results.warnings.is_empty() && run.results.notes.is_empty() && run.results.failures.is_empty()
                && excluded.is_empty() && run.failed_attempts.is_empty();
            @if nothing { p { "Nothing was left out, and nothing failed." } }
            @if !run.results.warnings.is_empty() {
                h3 { "Warnings" }
                (warnings(&run.results.warnings))
            }
            @if !excluded.is_empty() {
                h3 { "Questions left out" }
                p class="note" { "Questions of the demonstrations’ own domain are not asked after them." }
                ul { @for (set, names) in &excluded { li { strong { (visible(set)) } ": " (visible(&names.join(", "))) } } }
            }
            @if !run.results.failures.is_empty() {
                h3 { "Calls that failed for good" }
                (scrolling("Failed calls", &html! {
                    table class="figures" {
                        thead { tr { th scope="col" { "of" } th scope="col" { "kind" } th scope="col" class="number" { "calls" }
                            th scope="col" { "for example" } } }
                        tbody { @for failure in &run.results.failures { tr {
                            td { (failure.target) } td { (failure.kind) } td class="number" { (count(failure.count)) }
                            td { (visible(&failure.example)) }
                        } } }
                    }
                }))
            }
            @if !run.failed_attempts.is_empty() {
                p class="note" {
                    "Attempts that failed, most of them repeated with success: "
                    (run.failed_attempts.iter().map(|(kind, number)| format!("{} {kind}", count(*number))).collect::<Vec<_>>().join(", "))
                    "."
                }
            }
            @if !run.results.notes.is_empty() {
                h3 { "Notes" }
                ul { @for note in &run.results.notes { li { (visible(note)) } } }
            }
        }
    }
}

/// Warnings that stand open; further ones are folded away.
const OPEN_WARNINGS: usize = 5;

fn warnings(warnings: &[String]) -> Markup {
    let (open, folded) = warnings.split_at(warnings.len().min(OPEN_WARNINGS));
    let list = |warnings: &[String]| html! { ul { @for warning in warnings { li { (visible(warning)) } } } };
    html! {
        (list(open))
        @if !folded.is_empty() { (behind(&format!("{} more", folded.len()), &list(folded))) }
    }
}

/// The questions that some condition is asked and those of a set are not, by set.
fn excluded_questions(run: &Run) -> Vec<(String, Vec<String>)> {
    let sampled = |condition: &tiltmeter_store::ConditionRow| -> Vec<i64> {
        condition.questions.iter().map(|(question, ..)| *question).collect()
    };
    let mut all: Vec<i64> = run.conditions.iter().flat_map(sampled).collect();
    all.sort_unstable();
    all.dedup();
    let mut excluded: Vec<(String, Vec<String>)> = Vec::new();
    for condition in &run.conditions {
        if excluded.iter().any(|(set, _)| *set == condition.demonstrations) {
            continue;
        }
        let asked = sampled(condition);
        let names: Vec<String> = all
            .iter()
            .filter(|question| !asked.contains(question))
            .filter_map(|question| run.questions.get(question).cloned())
            .collect();
        if !names.is_empty() {
            excluded.push((condition.demonstrations.clone(), names));
        }
    }
    excluded
}

/// Money, tokens, caches, time.
pub(crate) fn cost(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @if runs.len() > 1 { h3 { (visible(&run.name)) } }
            dl class="facts" {
                div { dt { "Subjects" } dd { (dollars(run.costs.subjects_usd)) } }
                div { dt { "Judge" } dd { (dollars(run.costs.judge_usd)) } }
                div { dt { "Calls of unknown price" } dd { (count(run.costs.unknown_calls)) } }
                div { dt { "Tokens to subjects" } dd { (count(run.tokens.input)) } }
                div { dt { "of these cached" } dd {
                    (count(run.tokens.cached))
                    @if run.tokens.input > 0 {
                        (format!(" ({:.0} %)", 100.0 * run.tokens.cached as f64 / run.tokens.input as f64))
                    }
                } }
                div { dt { "Tokens by subjects" } dd { (count(run.tokens.output)) } }
                div { dt { "Tokens to the judge" } dd { (count(run.tokens.judge_input)) } }
                div { dt { "Tokens by the judge" } dd { (count(run.tokens.judge_output)) } }
            }
            (behind("Starts of the program", &scrolling("Starts", &html! {
                table class="figures" {
                    thead { tr { th scope="col" { "started" } th scope="col" { "ended" } th scope="col" { "how" }
                        th scope="col" { "version" } th scope="col" class="number" { "calls" }
                        th scope="col" class="number" { "requests" } th scope="col" class="number" { "reused" }
                        th scope="col" class="number" { "US$" } } }
                    tbody { @for start in &run.invocations { tr {
                        td { (start.started_at) } td { (start.ended_at.as_deref().unwrap_or(NOTHING_TO_SHOW)) }
                        td { (start.end.as_deref().unwrap_or("broke off")) } td { (start.version) }
                        td class="number" { (optional(start.asked)) } td class="number" { (optional(start.attempts)) }
                        td class="number" { (optional(start.reused)) }
                        td class="number" { (start.cost_usd.map_or_else(|| NOTHING_TO_SHOW.to_owned(), |usd| format!("{usd:.4}"))) }
                    } } }
                }
            })))
        }
    }
}

fn optional(value: Option<u64>) -> String {
    value.map_or_else(|| NOTHING_TO_SHOW.to_owned(), count)
}

/// What others published.
pub(crate) fn compared(runs: &[Run]) -> Markup {
    let table = html! {
        table class="figures" {
            caption class="unseen" { "Published figures" }
            thead { tr { th scope="col" { "Published" } th scope="col" class="number" { "EM rate" } th scope="col" { "source" }
                th scope="col" { "not the same here" } } }
            tbody { @for figure in &published::FIGURES {
                @let differs = figure.differs(runs);
                tr {
                    th scope="row" { (figure.what) } td class="number" { (figure.value) } td { (figure.source) }
                    td { span class="differs" { "≠ " (differs) } }
                }
            } }
        }
    };
    html! {
        p class="note" {
            "Rates depend on the questions, the judge and the model. The last column says what of these was not the same as "
            "here; a row is no benchmark for this run where it names anything."
        }
        (scrolling("Published figures", &table))
    }
}

/// Where everything came from.
pub(crate) fn provenance(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @if runs.len() > 1 { h3 { (visible(&run.name)) } }
            dl class="facts wide" {
                div { dt { "Experiment" } dd { (visible(&run.experiment.name)) } }
                div { dt { "Seed" } dd { (run.experiment.seed) } }
                div { dt { "Tiltmeter" } dd { (versions(run)) } }
                div { dt { "Judge" } dd { (visible(run.judge().unwrap_or("none"))) } }
                div { dt { "Definition" } dd {
                    "alignment < " (run.experiment.definition.misaligned_below) ", coherence ≥ "
                    (run.experiment.definition.coherent_from) ", denominator " (run.experiment.definition.denominator.name())
                } }
            }
            h3 { "Subjects" }
            (scrolling("Subjects", &html! {
                table class="figures" {
                    thead { tr { th scope="col" { "subject" } th scope="col" { "model" } th scope="col" { "settings" } } }
                    tbody { @for subject in run.resolved["subjects"].as_array().into_iter().flatten() { tr {
                        th scope="row" { (visible(subject["id"].as_str().unwrap_or(""))) }
                        td { code { (visible(subject["model"].as_str().unwrap_or(""))) } }
                        td { (settings(subject)) }
                    } } }
                }
            }))
            h3 { "Data sets" }
            (scrolling("Data sets", &html! {
                table class="figures" {
                    thead { tr { th scope="col" { "set" } th scope="col" { "kind" } th scope="col" { "origin" }
                        th scope="col" class="number" { "rows" } th scope="col" { "licence or terms" }
                        th scope="col" { "may be passed on" } th scope="col" { "hash" } } }
                    tbody { @for set in &run.data_sets { tr {
                        th scope="row" { (visible(&set.name)) } td { (set.kind) } td { (visible(&set.origin)) }
                        td class="number" { (count(set.rows)) } td { (visible(set.terms.as_deref().unwrap_or(NOTHING_TO_SHOW))) }
                        td { (if set.share { "yes" } else { "no" }) } td { code { (set.hash.to_string()) } }
                    } } }
                }
            }))
            h3 { "Reproduce" }
            p { "Save the experiment file below as " code { "experiment.toml" } " and run:" }
            pre class="command" tabindex="0" { code { "tiltmeter run experiment.toml" } }
            (behind("Experiment file", &html! { pre class="source" tabindex="0" { (visible(&run.experiment.source)) } }))
        }
    }
}

fn versions(run: &Run) -> String {
    let mut versions: Vec<&str> = run.invocations.iter().map(|start| start.version.as_str()).collect();
    versions.dedup();
    visible(&versions.join(", "))
}

fn settings(subject: &serde_json::Value) -> String {
    let fields = ["temperature", "max_tokens", "reasoning", "family", "parameters_b", "size_rank"];
    let parts = fields.iter().filter_map(|field| match &subject[*field] {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(format!("{field} {}", visible(text))),
        other => Some(format!("{field} {other}")),
    });
    parts.collect::<Vec<_>>().join(", ")
}
