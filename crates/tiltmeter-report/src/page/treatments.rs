//! What was done to requests besides showing demonstrations.

use maud::{Markup, html};
use tiltmeter_run::{InspectionResult, ScreeningResult, TreatmentResult};

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
