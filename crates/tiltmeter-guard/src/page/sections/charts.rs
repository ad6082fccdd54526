//! Plots as SVG that stretches: no text is in them, so that nothing is distorted.

use maud::{Markup, html};
use tiltmeter_core::shown::count;

use crate::board::{Counts, Fate, MINUTES};
use crate::inspection::RiskLevel;

/// Bars of the last hour, a minute each, parts by what became of requests.
pub(super) fn minutes(minutes: &[Counts]) -> Markup {
    let most = minutes.iter().map(Counts::total).max().unwrap_or(0);
    let top = round_up(most);
    let busiest =
        if most == 0 { "no requests".to_owned() } else { format!("at most {} in a minute", count(most)) };
    let label = format!("Requests in each minute of the last hour: {busiest}");
    html! {
        figure.minutes {
            div.frame {
                span.most aria-hidden="true" { (count(top)) }
                svg viewBox={ "0 0 " (MINUTES) " 100" } preserveAspectRatio="none" role="img" aria-label=(label) {
                    line.grid x1="0" x2=(MINUTES) y1="0" y2="0" {}
                    line.grid x1="0" x2=(MINUTES) y1="50" y2="50" {}
                    @for (index, counts) in minutes.iter().enumerate() { (bar(index, counts, top)) }
                    line.axis x1="0" x2=(MINUTES) y1="100" y2="100" {}
                }
            }
            div.times aria-hidden="true" { span { "60 min ago" } span { "30 min" } span { "now" } }
            ul.legend { @for fate in Fate::ALL { li { (key(fate)) (super::title(fate)) } } }
        }
    }
}

fn bar(index: usize, counts: &Counts, top: u64) -> Markup {
    let mut end = 100.0;
    let parts = Fate::ALL.map(|fate| {
        let height = 100.0 * counts.of(fate) as f64 / top as f64;
        end -= height;
        (fate, height, end)
    });
    html! {
        @for (fate, height, start) in parts {
            @if height > 0.0 {
                rect class=(fate.name()) x=(format!("{:.1}", index as f64 + 0.1)) width="0.8" y=(format!("{start:.2}")) height=(format!("{height:.2}")) {}
            }
        }
    }
}

/// The next number that an axis may end at.
fn round_up(most: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        for end in [2, 4, 6, 8, 10] {
            let end = step.saturating_mul(end);
            if end >= most {
                return end;
            }
        }
        step = step.saturating_mul(10);
    }
}

/// A colour of the plot.
pub(super) fn key(fate: Fate) -> Markup {
    html! { svg.key viewBox="0 0 1 1" aria-hidden="true" { rect class=(fate.name()) width="1" height="1" {} } }
}

/// A colour of the shares.
pub(super) fn risk_key(level: RiskLevel) -> Markup {
    html! { svg.key viewBox="0 0 1 1" aria-hidden="true" { rect class={ "risk-" (level.name()) } width="1" height="1" {} } }
}

/// Shares of levels of risk.
pub(super) fn shares(totals: [(RiskLevel, u64); 3]) -> Markup {
    let all: u64 = totals.iter().map(|(_, total)| total).sum();
    let share = |total: u64| 100.0 * total as f64 / all.max(1) as f64;
    let label: Vec<String> =
        totals.iter().map(|(level, total)| format!("{:.1} % {}", share(*total), level.name())).collect();
    let label = if all == 0 { "nothing inspected yet".to_owned() } else { label.join(", ") };
    let mut end = 0.0;
    let parts = totals.map(|(level, total)| {
        let start = end;
        end += share(total);
        (level, start, share(total))
    });
    html! {
        svg.shares viewBox="0 0 100 1" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.ground width="100" height="1" {}
            @for (level, start, width) in parts {
                @if width > 0.0 { rect class={ "risk-" (level.name()) } x=(format!("{start:.2}")) width=(format!("{width:.2}")) height="1" {} }
            }
        }
    }
}

/// An interval on a scale from 0 to `top`, its estimate, and a mark.
pub(super) fn interval(
    estimate: f64,
    low: f64,
    high: f64,
    top: f64,
    mark: Option<f64>,
    label: &str,
) -> Markup {
    let at = |value: f64| format!("{:.2}", (100.0 * value / top).clamp(0.0, 100.0));
    let width = format!("{:.2}", (100.0 * (high - low) / top).clamp(0.0, 100.0));
    html! {
        svg.interval viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.ground width="100" height="10" {}
            rect.band x=(at(low)) width=(width) y="2" height="6" {}
            @if let Some(mark) = mark { line.threshold x1=(at(mark)) x2=(at(mark)) y1="0" y2="10" {} }
            line.estimate x1=(at(estimate)) x2=(at(estimate)) y1="0" y2="10" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_the_next_round_number() {
        let cases =
            [(0, 2), (2, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 20), (400, 400), (401, 600), (1001, 2000)];
        for (most, expected) in cases {
            assert_eq!(round_up(most), expected, "{most}");
        }
    }
}
