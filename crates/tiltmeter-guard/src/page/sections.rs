//! The sections of the page. All text in them is of others: of the configuration at best, of requests at worst.

mod answers;
mod charts;

use jiff::Timestamp;
use maud::{Markup, html};
use tiltmeter_core::shown::{count, visible};

use super::{AuditState, Live};
use crate::board::{Fate, FlaggedRow, RouteRisk, RouteTraffic};
use crate::inspection::RiskLevel;

/// All of them; the page's script replaces each by its id.
pub(super) fn all(live: &Live) -> Markup {
    html! {
        (overview(live))
        (traffic(live))
        (risk(live))
        (examples(live))
        (failures(live))
        @if !live.drift.is_empty() { (answers::section(live)) }
    }
}

fn overview(live: &Live) -> Markup {
    let hour: u64 = live.board.minutes.iter().map(crate::board::Counts::total).sum();
    let flagged: u64 =
        live.board.examples.iter().map(|row| row.count).sum::<u64>() + live.board.more_examples;
    let high: u64 = live.board.risk.values().flat_map(|risk| risk.high.values()).sum();
    let standing: Vec<&str> =
        live.drift.iter().filter(|drift| drift.alarm.is_some()).map(|drift| drift.route.as_str()).collect();
    let audit_is_broken = live.audit.as_ref().is_some_and(|audit| audit.is_broken);
    html! {
        section #overview aria-label="Overview" {
            h1 {
                @if live.is_ready { "Guarding" } @else { "Not ready" }
                span.since { " since " (time(live.board.since, live.now)) }
            }
            p.note { "As of " time datetime=(live.now) { (clock(live.now)) " UTC" } "." }
            @if audit_is_broken {
                p.alarm { strong { "The audit log cannot be written." } " Look at its disk." }
            }
            @for route in standing {
                p.alarm { strong { "Answers of " (visible(route)) " have got worse." } " " a href="#answers" { "What was seen" } }
            }
            dl.facts {
                (fact("Requests, last hour", &count(hour), false))
                (fact("Contexts at high risk", &count(high), high > 0))
                (fact("Flagged examples seen", &count(flagged), false))
                (fact("Went on unchecked", &count(live.board.failures.counted.failed_open), live.board.failures.counted.failed_open > 0))
                (fact("Audit records lost", &live.audit.as_ref().map_or_else(|| "no log".to_owned(), |audit| count(audit.lost)),
                    live.audit.as_ref().is_some_and(|audit| audit.lost > 0)))
            }
        }
    }
}

fn fact(name: &str, value: &str, is_notable: bool) -> Markup {
    html! { div.notable[is_notable] { dt { (name) } dd { (value) } } }
}

fn traffic(live: &Live) -> Markup {
    let mut names: Vec<&str> = live.routes.iter().map(|route| route.name.as_str()).collect();
    names.extend(
        live.board
            .routes
            .keys()
            .map(String::as_str)
            .filter(|name| !live.routes.iter().any(|route| route.name == *name)),
    );
    html! {
        section #traffic aria-labelledby="traffic-title" {
            h2 #traffic-title { "Requests per minute" }
            (charts::minutes(&live.board.minutes))
            (table("Requests of the last hour, by route", &html! {
                thead { tr {
                    th scope="col" { "Route" }
                    th.number scope="col" { "This minute" }
                    @for fate in Fate::ALL { th.number scope="col" { (charts::key(fate)) (title(fate)) } }
                    th.number scope="col" { "Since start" }
                } }
                tbody {
                    @for name in names {
                        (traffic_row(name, live.board.routes.get(name).copied().unwrap_or_default()))
                    }
                }
            }))
        }
    }
}

fn traffic_row(name: &str, traffic: RouteTraffic) -> Markup {
    html! {
        tr {
            th scope="row" { (route(name)) }
            td.number { (count(traffic.this_minute)) }
            @for fate in Fate::ALL { (number(traffic.last_hour.of(fate))) }
            td.number { (count(traffic.since_start.total())) }
        }
    }
}

fn title(fate: Fate) -> &'static str {
    match fate {
        Fate::Answered => "Answered",
        Fate::Blocked => "Blocked",
        Fate::Refused => "Refused",
        Fate::Failed => "Server failed",
        Fate::Left => "Client left",
    }
}

fn risk(live: &Live) -> Markup {
    html! {
        section #risk aria-labelledby="risk-title" {
            h2 #risk-title { "Risk of contexts" }
            @if live.routes.iter().all(|route| route.detectors == 0) {
                p.note { "No route has a detector: contexts are not inspected." }
            } @else {
                (table("Inspected requests since the start, by route and risk, and what was done with them", &html! {
                    thead { tr {
                        th scope="col" { "Route" }
                        th.number scope="col" { "Inspected" }
                        th scope="col" { "Share" }
                        th scope="col" { (charts::risk_key(RiskLevel::None)) "None" }
                        th scope="col" { (charts::risk_key(RiskLevel::Low)) "Low" }
                        th scope="col" { (charts::risk_key(RiskLevel::High)) "High" }
                    } }
                    tbody {
                        @for state in live.routes.iter().filter(|route| route.detectors > 0) {
                            (risk_row(&state.name, state.dry_run, live.board.risk.get(&state.name)))
                        }
                    }
                }))
            }
        }
    }
}

fn risk_row(name: &str, dry_run: bool, risk: Option<&RouteRisk>) -> Markup {
    let empty = RouteRisk::default();
    let risk = risk.unwrap_or(&empty);
    let totals = risk.levels().map(|(level, actions)| (level, actions.values().sum::<u64>()));
    let all: u64 = totals.iter().map(|(_, total)| total).sum();
    html! {
        tr {
            th scope="row" { (route(name)) @if dry_run { " " span.badge { "dry run" } } }
            td.number { (count(all)) }
            td { (charts::shares(totals)) }
            @for ((_, actions), (_, total)) in risk.levels().into_iter().zip(totals) {
                td {
                    @if total == 0 { span.zero { "0" } } @else {
                        strong { (count(total)) }
                        ul.actions { @for (action, times) in actions { li { (visible(action)) @if actions.len() > 1 { " " span.times { "× " (count(*times)) } } } } }
                    }
                }
            }
        }
    }
}

fn examples(live: &Live) -> Markup {
    let has_texts = live.audit.as_ref().is_some_and(|audit| audit.content);
    html! {
        section #examples aria-labelledby="examples-title" {
            h2 #examples-title { "Flagged examples" }
            @if live.board.examples.is_empty() {
                p.note { "None since the start." }
            } @else {
                (table("Those seen in most requests first", &html! {
                    thead { tr {
                        th scope="col" { "Example" }
                        th.number scope="col" { "Requests" }
                        th scope="col" { "Detectors and reasons" }
                        th scope="col" { "Routes" }
                        th scope="col" { "Last seen" }
                    } }
                    tbody { @for row in &live.board.examples { (example(row, live.now)) } }
                }))
                @if live.board.more_examples > 0 {
                    p.note { "Further examples, which are not kept here, were seen " (count(live.board.more_examples)) " times. The audit log has them all." }
                }
                @if !has_texts {
                    p.note { "Texts are shown where the audit log keeps them (" code { "content = true" } ")." }
                }
            }
        }
    }
}

fn example(row: &FlaggedRow, now: Timestamp) -> Markup {
    // The beginning is enough to find it in the log.
    let short: String = row.id.chars().take(12).collect();
    html! {
        tr {
            th scope="row" {
                code title=(row.id) { (short) }
                @if let Some(text) = &row.text {
                    details id={ "text-" (short) } { summary { "Text" } pre.foreign tabindex="0" { (visible(text)) } }
                }
            }
            td.number { (count(row.count)) }
            td { ul.plain { @for (detector, code) in &row.reasons { li { (visible(detector)) ": " (visible(code)) } } } }
            td { ul.plain { @for name in &row.routes { li { (route(name)) } } } }
            td { (time(row.last, now)) }
        }
    }
}

fn failures(live: &Live) -> Markup {
    let failures = &live.board.failures;
    let detector = |name: &str| {
        if name == crate::uninspected::ALL {
            "all (no detector is for the address)".to_owned()
        } else {
            visible(name)
        }
    };
    html! {
        section #failures aria-labelledby="failures-title" {
            h2 #failures-title { "Failures, and what was not checked" }
            dl.facts {
                (fact("Went on though a check failed", &count(failures.counted.failed_open), failures.counted.failed_open > 0))
                (fact("Answers cut by a check", &count(failures.counted.cut), false))
                (fact("Bytes of answers not checked", &count(failures.counted.unchecked_bytes), false))
                @if let Some(audit) = &live.audit { (audit_facts(audit)) }
            }
            div.two {
                @if failures.unchecked.is_empty() {
                    p.note { "Every check was done." }
                } @else {
                    (table("Checks that were not done", &html! {
                        thead { tr { th scope="col" { "Detector" } th scope="col" { "Why" } th.number scope="col" { "Requests" } } }
                        tbody { @for row in &failures.unchecked {
                            tr { th scope="row" { (detector(&row.detector)) } td { (why(row.reason)) } td.number { (count(row.count)) } }
                        } }
                    }))
                }
                @if failures.refusals.is_empty() {
                    p.note { "The gateway refused nothing." }
                } @else {
                    (table("The gateway's own answers", &html! {
                        thead { tr { th scope="col" { "Code" } th.number scope="col" { "Requests" } } }
                        tbody { @for (code, times) in &failures.refusals {
                            tr { th scope="row" { code { (code) } } td.number { (count(*times)) } }
                        } }
                    }))
                }
            }
        }
    }
}

fn audit_facts(audit: &AuditState) -> Markup {
    html! {
        (fact("Audit records written", &count(audit.written), false))
        (fact("Audit records lost", &count(audit.lost), audit.lost > 0))
        (fact("Audit records waiting", &count(audit.waiting), audit.is_broken))
        (fact("Audit log behind by", &format!("{:.2} s", audit.lag_seconds), audit.lag_seconds > 5.0))
    }
}

/// A reason in words; its code stands with it, as figures and the log have that.
fn why(reason: &str) -> Markup {
    let words = match reason {
        "too-large" => "more than is inspected",
        "not-text" => "not text",
        "unknown" => "not of a known shape",
        "timed-out" => "no time was left",
        "failed" => "the detector failed",
        "shed" => "the gateway was too busy",
        "resting" => "the detector rests after failures",
        "pending" => "to be known at a later request",
        "stored-elsewhere" => "a part of the context is with the model's server",
        "uninspected" => "passed uninspected",
        other => return html! { (visible(other)) },
    };
    html! { (words) " " code { (reason) } }
}

fn table(caption: &str, inside: &Markup) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-label=(caption) {
            table { caption { (caption) } (inside) }
        }
    }
}

fn route(name: &str) -> Markup {
    html! { @if name.is_empty() { span.zero { "(no route)" } } @else { (visible(name)) } }
}

fn number(value: u64) -> Markup {
    html! { td.number { @if value == 0 { span.zero { "0" } } @else { (count(value)) } } }
}

fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A moment: of today by the clock, of another day with its date.
fn time(at: Timestamp, now: Timestamp) -> Markup {
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let shown = if day(at) == day(now) { clock(at) } else { at.strftime("%Y-%m-%d %H:%M").to_string() };
    html! { time datetime=(at) { (shown) } }
}
