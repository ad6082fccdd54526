//! What was done to requests besides showing demonstrations.

use maud::{Markup, html};
use tiltmeter_run::{GuardResult, InspectionResult, RunResults, ScreeningResult, TreatmentResult};

use super::model::Run;
use super::sections::{behind, scrolling};
use super::text::{count, dollars, visible};

/// The treatments of all runs; `None` where nothing was done.
pub(crate) fn treatments(runs: &[Run]) -> Option<Markup> {
    let is_any = runs.iter().any(|run| run.results.treatments.len() > 1);
    is_any.then(|| {
        html! {
            @for run in runs {
                @if runs.len() > 1 { h3 { (visible(&run.name)) } }
                (scrolling("What was done to requests", &table(&run.results.treatments)))
                @if let Some(guards) = guards(&run.results) {
                    p { "What the guard found in contexts, and what it did with them:" }
                    (scrolling("What the guard found and did", &guards))
                }
            }
        }
    })
}

fn table(treatments: &[TreatmentResult]) -> Markup {
    html! {
        table class="figures" {
            caption class="unseen" { "Treatments" }
            thead { tr {
                th scope="col" { "Treatment" } th scope="col" { "What it does" } th scope="col" { "Origin" }
                th scope="col" { "Texts" }
            } }
            tbody { @for treatment in treatments { tr {
                th scope="row" { (visible(&treatment.name)) }
                td {
                    @for line in &treatment.does { p { (visible(line)) } }
                    @if let Some(screening) = &treatment.screening { p { (screened(screening)) } }
                    @if let Some(inspection) = &treatment.inspection { p { (inspected(inspection)) } }
                }
                td { (if treatment.built_in { "built in" } else { "the experiment's own" }) }
                td { @for text in &treatment.texts {
                    (behind(&visible(&text.name), &html! { p { (visible(&text.text)) } }))
                } }
            } } }
        }
    }
}

/// What guards found in contexts, and did; `None` where none looked. All subjects are shown the same contexts.
fn guards(results: &RunResults) -> Option<Markup> {
    let mut rows: Vec<([String; 4], GuardResult)> = Vec::new();
    let measured = results.conditions.iter().filter_map(|one| {
        Some(([&*one.treatment, &*one.demonstrations, &*one.placement, &*one.control], one.guard?))
    });
    let probed = results.usefulness.iter().flat_map(|usefulness| &usefulness.conditions);
    let probed = probed.filter_map(|one| {
        Some(([&*one.treatment, &*one.probe, &*one.placement, "probe of usefulness"], one.guard?))
    });
    for (of, guard) in measured.chain(probed) {
        let of = of.map(visible);
        if rows.iter().all(|(other, known)| (other, known.of) != (&of, guard.of)) {
            rows.push((of, guard));
        }
    }
    let names = ["Treatment", "Set", "Placement", "Control"];
    let numbers = ["k", "Contexts", "Low risk", "High risk", "Mean risk", "Cut out", "Instructed", "Blocked"];
    (!rows.is_empty()).then(|| {
        html! {
            table class="figures" {
                caption class="unseen" { "What the guard found and did" }
                thead { tr {
                    @for name in names { th scope="col" { (name) } }
                    @for number in numbers { th scope="col" class="number" { (number) } }
                } }
                tbody { @for ([treatment, set, placement, control], guard) in &rows { tr {
                    th scope="row" { (treatment) } td { (set) } td { (placement) } td { (control) }
                    @for number in figures(guard) { td class="number" { (number) } }
                } } }
            }
        }
    })
}

/// Counts of contexts, but for k, the mean risk and what is cut out of a context on average.
fn figures(guard: &GuardResult) -> [String; 8] {
    let &GuardResult { contexts, low, high, score_mean, of, cut_mean, instructed, blocked } = guard;
    [
        of.to_string(),
        count(contexts),
        count(low),
        count(high),
        format!("{score_mean:.2}"),
        format!("{cut_mean:.1}"),
        count(instructed),
        count(blocked),
    ]
}

fn inspected(inspection: &InspectionResult) -> String {
    let cost = inspection.cost_usd.map_or_else(|| "cost not known".to_owned(), dollars);
    let time = inspection
        .milliseconds_mean
        .map_or_else(String::new, |time| format!(", {time:.0} milliseconds a context on average"));
    format!(
        "guard ({}): {} contexts looked at, {} of them in part only; {} calls, {} tokens sent and {} written, {cost}{time}",
        inspection.detectors.join(", "),
        count(inspection.contexts),
        count(inspection.with_gaps),
        count(inspection.calls),
        count(inspection.input_tokens),
        count(inspection.output_tokens),
    )
}

fn screened(screening: &ScreeningResult) -> String {
    let cost = screening.cost_usd.map_or_else(|| "cost not known".to_owned(), dollars);
    format!(
        "{}: {} demonstrations screened, {} without a score; {} calls, {} tokens sent and {} written, {cost}",
        visible(&screening.model),
        count(screening.demonstrations),
        count(screening.without_score),
        count(screening.calls),
        count(screening.input_tokens),
        count(screening.output_tokens),
    )
}
