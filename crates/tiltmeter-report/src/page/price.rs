//! The section on treatments: what each gives in usefulness for what it lowers, as a plot and a table.

use maud::{Markup, html};
use tiltmeter_run::{EffectResult, PricePoint, PriceResult, UsefulnessResult};

use crate::table::NOTHING_TO_SHOW;
use crate::usefulness::{answers, share};

use super::chart::Unit;
use super::model::Run;
use super::sections::{behind, effect, plot, scrolling};
use super::text::visible;
use super::tradeoff::{Treatment, tradeoff};

/// The section of all runs that asked probes of usefulness; `None` where none did.
pub(crate) fn price(runs: &[Run]) -> Option<Markup> {
    if runs.iter().all(|run| run.results.usefulness.is_none()) {
        return None;
    }
    Some(html! {
        p {
            "What a treatment changes in misaligned answers, against what it changes in usefulness: the share of useful answers \
             to harmless questions behind harmless examples, which no judge sees. Changes are differences from no treatment on \
             the same questions, over all sets and all k above 0, with 95 % intervals. A treatment is on the front if no other \
             is at least as good in both and better in one, by the estimates."
        }
        @for (number, run) in runs.iter().enumerate() {
            @for (index, price) in run.results.prices.iter().enumerate() {
                (of_subject(run, &format!("price-{number}-{index}"), price, runs.len() > 1))
            }
            @if let Some(usefulness) = &run.results.usefulness {
                (behind("Usefulness by probe", &probes(&usefulness.conditions, runs.len() > 1, &run.name)))
            }
        }
    })
}

fn of_subject(run: &Run, id: &str, price: &PriceResult, several: bool) -> Markup {
    let (y_label, unit, factor, decimals) = match price.measure {
        "em_rate" => ("change of EM rate", Unit::Percent, 100.0, 1),
        _ => ("change of emergent tilt (nats per token)", Unit::Nats, 1.0, 3),
    };
    let mut name = visible(&price.subject);
    if several {
        name = format!("{} · {name}", visible(&run.name));
    }
    let drawing = tradeoff(
        &format!("{name}: {y_label} by change of useful answers"),
        y_label,
        unit,
        &price.points.iter().map(|point| treatment(point, factor, decimals)).collect::<Vec<_>>(),
    );
    let probes: Vec<&str> = price
        .points
        .iter()
        .find(|point| !point.probes.is_empty())
        .map_or_else(Vec::new, |point| point.probes.iter().map(|probe| probe.probe.as_str()).collect());
    let of_probe = |point: &PricePoint, name: &str| {
        let found = point.probes.iter().find(|probe| probe.probe == name);
        found.map_or_else(|| NOTHING_TO_SHOW.to_owned(), |probe| effect(&probe.useful, 100.0, 1))
    };
    html! {
        h3 { (name) }
        (plot(id, &drawing.in_page("wide")))
        (scrolling(&format!("Price of treatments, {name}"), &html! {
            table class="figures" {
                thead { tr {
                    th scope="col" { "Treatment" }
                    th scope="col" { (if factor > 1.0 { "EM rate, points" } else { "Emergent tilt, nats" }) }
                    th scope="col" { "Useful answers, points" }
                    @for probe in &probes { th scope="col" { (visible(probe)) } }
                    th scope="col" { "On the front" }
                    th scope="col" { "Tokens in, out" }
                    th scope="col" { "US$ per 1,000 answers" }
                } }
                tbody {
                    @for point in &price.points {
                        tr {
                            th scope="row" { (visible(&point.treatment)) }
                            td class="number" { (change(&point.effect, factor, decimals)) }
                            td class="number" { (change(&point.usefulness, 100.0, 1)) }
                            @for probe in &probes { td class="number" { (of_probe(point, probe)) } }
                            td { (front(point)) }
                            td class="number" { (tokens(point)) }
                            td class="number" { (usd(point)) }
                        }
                    }
                }
            }
        }))
        @for omission in &price.omitted {
            p class="note" { "Not placed: " (visible(&omission.what)) " (" (visible(&omission.why)) ")." }
        }
    }
}

fn treatment(point: &PricePoint, factor: f64, decimals: usize) -> Treatment {
    let ends =
        |of: &EffectResult| [of.low.unwrap_or(of.estimate), of.estimate, of.high.unwrap_or(of.estimate)];
    let name = visible(&point.treatment);
    Treatment {
        text: format!(
            "{name}: {}, usefulness {}{}",
            change(&point.effect, factor, decimals),
            change(&point.usefulness, 100.0, 1),
            if point.on_front { ", on the front" } else { "" }
        ),
        label: name,
        on_front: point.on_front,
        usefulness: ends(&point.usefulness),
        effect: ends(&point.effect),
    }
}

fn change(of: &EffectResult, factor: f64, decimals: usize) -> String {
    if of.method == "baseline" { "0".to_owned() } else { effect(of, factor, decimals) }
}

fn front(point: &PricePoint) -> String {
    if point.on_front { "yes".to_owned() } else { format!("no: {}", visible(&point.dominated_by.join(", "))) }
}

fn tokens(point: &PricePoint) -> String {
    match (point.usage.input_tokens, point.usage.output_tokens) {
        (Some(input), Some(output)) => format!("{input:.0}, {output:.0}"),
        _ => NOTHING_TO_SHOW.to_owned(),
    }
}

fn usd(point: &PricePoint) -> String {
    point.usage.cost_per_thousand_usd.map_or_else(|| "not known".to_owned(), |usd| format!("{usd:.2}"))
}

fn probes(rows: &[UsefulnessResult], several: bool, run: &str) -> Markup {
    let label = if several {
        format!("Usefulness by probe, {}", visible(run))
    } else {
        "Usefulness by probe".to_owned()
    };
    scrolling(
        &label,
        &html! {
            table class="figures" {
                thead { tr {
                    @for title in ["Subject", "Probe", "k", "Treatment", "Useful", "Refused", "Answers"] {
                        th scope="col" { (title) }
                    }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { (visible(&row.subject)) }
                            td { (visible(&row.probe)) }
                            td class="number" { (row.shots) }
                            td { (visible(&row.treatment)) }
                            td class="number" { (share(row.useful.as_ref())) }
                            td class="number" { (share(row.refused.as_ref())) }
                            td { (answers(row)) }
                        }
                    }
                }
            }
        },
    )
}
