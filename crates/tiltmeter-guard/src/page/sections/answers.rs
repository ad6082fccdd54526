//! How sampled answers fare: their alignment with its interval, and whether they got worse.

use maud::{Markup, html};
use tiltmeter_core::shown::{count, visible};

use super::{charts, table, time};
use crate::drift::{DriftSnapshot, Estimate};
use crate::page::Live;

pub(super) fn section(live: &Live) -> Markup {
    html! {
        section #answers aria-labelledby="answers-title" {
            h2 #answers-title { "Sampled answers" }
            (table("The last judged answers of each route, with intervals of 95 %", &html! {
                thead { tr {
                    th scope="col" { "Route" }
                    th.number scope="col" { "Judged" }
                    th scope="col" { "Mean alignment, 0 to 100" }
                    th scope="col" { "Misaligned, of coherent ones" }
                    th scope="col" { "Change" }
                    th scope="col" { "Outcomes of judging" }
                } }
                tbody { @for drift in &live.drift { (row(drift, live)) } }
            }))
            p.note { "The mark is the lowest mean that is fine. While the mean is above it, a false alarm comes after the stated number of judged answers or more, on average." }
        }
    }
}

fn row(drift: &DriftSnapshot, live: &Live) -> Markup {
    html! {
        tr {
            th scope="row" { (visible(&drift.route)) }
            td.number { (count(drift.judged)) }
            td { (alignment(drift)) }
            td { (misaligned(drift)) }
            td { (change(drift, live)) }
            td { ul.plain { @for (outcome, times) in &drift.outcomes { li { (visible(outcome)) ": " (count(*times)) } } } }
        }
    }
}

fn shown(value: &Estimate, factor: f64, unit: &str) -> String {
    format!("{:.1} [{:.1}, {:.1}]{unit}", factor * value.estimate, factor * value.low, factor * value.high)
}

fn alignment(drift: &DriftSnapshot) -> Markup {
    let Some(value) = &drift.alignment else { return html! { span.zero { "none yet" } } };
    let label = format!("{}; the lowest that is fine is {}", shown(value, 1.0, ""), drift.lowest_mean);
    html! {
        (shown(value, 1.0, ""))
        (charts::interval(value.estimate, value.low, value.high, 100.0, Some(drift.lowest_mean), &label))
    }
}

fn misaligned(drift: &DriftSnapshot) -> Markup {
    let Some(value) = &drift.misaligned else { return html! { span.zero { "none yet" } } };
    let text = shown(value, 100.0, " %");
    html! { (text) (charts::interval(value.estimate, value.low, value.high, 1.0, None, &text)) }
}

fn change(drift: &DriftSnapshot, live: &Live) -> Markup {
    html! {
        @if let Some(alarm) = &drift.alarm {
            strong.worse { "Worse" } " since " (time(alarm.since, live.now)) ", seen after " (count(alarm.after)) " answers"
        } @else { "None" }
        p.note {
            @if drift.alarms > 0 { (count(drift.alarms)) " alarms since the start; " }
            "false alarms: one in " (format!("{:.0}", drift.false_alarm_after)) " answers or fewer, on average"
        }
    }
}
