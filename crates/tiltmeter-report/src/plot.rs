//! A first plot: tilt and EM rate by number of demonstrations, as an SVG file of its own.

use maud::{Markup, PreEscaped, html};
use tiltmeter_run::{ConditionResult, RunResults, TiltResult};

use crate::table::shown;

const PANEL_WIDTH: f64 = 330.0;
const PANEL_HEIGHT: f64 = 230.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 42.0;
const LEGEND: f64 = 30.0;

/// Colour (Okabe and Ito's palette, told apart by colour-blind readers too) and marker of a series.
struct Style {
    name: &'static str,
    colour: &'static str,
    marker: Marker,
    /// Sideways shift in pixels, so that intervals at the same k do not cover each other.
    shift: f64,
}

#[derive(Clone, Copy)]
enum Marker {
    Circle,
    Square,
    Triangle,
}

/// Whose answers the demonstrations have.
const SHOWN: [Style; 3] = [
    Style { name: "misaligned", colour: "#D55E00", marker: Marker::Circle, shift: -3.0 },
    Style { name: "benign", colour: "#0072B2", marker: Marker::Square, shift: 3.0 },
    Style { name: "shuffled", colour: "#009E73", marker: Marker::Triangle, shift: 0.0 },
];

/// What misaligned answers move beyond benign ones.
const EMERGENT: [Style; 2] = [
    Style { name: "emergent tilt", colour: "#CC79A7", marker: Marker::Circle, shift: -3.0 },
    Style { name: "style alone", colour: "#666666", marker: Marker::Square, shift: 3.0 },
];

/// One measured value.
#[derive(Clone, Copy)]
struct Point {
    shots: u32,
    estimate: f64,
    low: f64,
    high: f64,
}

struct Panel {
    title: String,
    axis: &'static str,
    series: Vec<(&'static Style, Vec<Point>)>,
}

/// The plot of a run; `None` if there is nothing to plot.
pub fn plot(results: &RunResults) -> Option<String> {
    let panels = panels(results);
    if panels.is_empty() {
        return None;
    }
    let columns = if panels.len() == 1 { 1 } else { 2 };
    let rows = panels.len().div_ceil(columns);
    let width = PANEL_WIDTH * columns as f64;
    let height = PANEL_HEIGHT * rows as f64 + LEGEND;
    let title = format!("{}: tilt and EM rate by number of demonstrations", results.experiment);
    let svg = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height)
            role="img" font-family="system-ui, sans-serif" font-size="11" {
            title { (title) }
            rect width=(width) height=(height) fill="#ffffff" {}
            (legend(&panels))
            @for (index, panel) in panels.iter().enumerate() {
                g transform={ "translate(" ((index % columns) as f64 * PANEL_WIDTH) " "
                    ((index / columns) as f64 * PANEL_HEIGHT + LEGEND) ")" } {
                    (draw(panel))
                }
            }
        }
        (PreEscaped("\n"))
    };
    Some(svg.into_string())
}

fn panels(results: &RunResults) -> Vec<Panel> {
    let mut groups: Vec<(String, Vec<&ConditionResult>)> = Vec::new();
    for condition in &results.conditions {
        let mut title = format!("{} · {}", condition.subject, condition.demonstrations);
        if condition.instruction != "none" {
            title = format!("{title} · {}", condition.instruction);
        }
        match groups.iter_mut().find(|(known, _)| *known == title) {
            Some((_, group)) => group.push(condition),
            None => groups.push((title, vec![condition])),
        }
    }
    let mut panels = Vec::new();
    for (title, group) in groups {
        let point = |shots, tilt: &TiltResult| {
            let (low, high) = (tilt.low.unwrap_or(tilt.estimate), tilt.high.unwrap_or(tilt.estimate));
            Point { shots, estimate: tilt.estimate, low, high }
        };
        let tilt = |one: &ConditionResult| Some(point(one.shots, one.tilt.as_ref()?));
        let emergent = |one: &ConditionResult| Some(point(one.shots, one.emergent_tilt.as_ref()?));
        let decoys = |one: &ConditionResult| Some(point(one.shots, one.emergent_decoy_tilt.as_ref()?));
        let rate = |condition: &ConditionResult| {
            let rate = condition.em_rate.as_ref()?;
            let percent = |value: f64| value * 100.0;
            Some(Point {
                shots: condition.shots,
                estimate: percent(rate.estimate),
                low: percent(rate.low),
                high: percent(rate.high),
            })
        };
        let by_answers = |value: Value<'_>| {
            SHOWN.iter().map(|style| (style, points(&group, Some(style.name), value))).collect::<Vec<_>>()
        };
        let measures = [
            ("tilt, nats per token", by_answers(&tilt)),
            (
                "emergent tilt, nats per token",
                EMERGENT
                    .iter()
                    .zip([&emergent as Value<'_>, &decoys])
                    .map(|(style, value)| (style, points(&group, None, value)))
                    .collect(),
            ),
            ("EM rate, %", by_answers(&rate)),
        ];
        for (axis, mut series) in measures {
            series.retain(|(_, points)| points.iter().any(|point| point.shots > 0));
            if !series.is_empty() {
                panels.push(Panel { title: title.clone(), axis, series });
            }
        }
    }
    panels
}

/// Takes the value to plot out of a condition, if it has one.
type Value<'a> = &'a dyn Fn(&ConditionResult) -> Option<Point>;

/// The points of a series: of all conditions, or of those that show certain answers.
fn points(group: &[&ConditionResult], shown_answers: Option<&str>, value: Value<'_>) -> Vec<Point> {
    let mut points: Vec<Point> = group
        .iter()
        // Every series starts from the one prompt without demonstrations.
        .filter(|condition| {
            condition.shots == 0 || shown_answers.is_none_or(|answers| shown(condition) == answers)
        })
        .filter_map(|condition| value(condition))
        .collect();
    points.sort_by_key(|point| point.shots);
    points
}

fn legend(panels: &[Panel]) -> Markup {
    let used = SHOWN.iter().chain(&EMERGENT).filter(|style| {
        panels.iter().any(|panel| panel.series.iter().any(|(used, _)| used.name == style.name))
    });
    html! {
        @for (index, style) in used.enumerate() {
            g transform={ "translate(" (LEFT + 105.0 * index as f64) " 18)" } {
                (marker(style, 0.0, -4.0))
                text x="10" y="0" fill="#222222" { (style.name) }
            }
        }
    }
}

fn marker(style: &Style, x: f64, y: f64) -> Markup {
    html! {
        @match style.marker {
            Marker::Circle => circle cx=(fixed(x)) cy=(fixed(y)) r="4" fill=(style.colour) {},
            Marker::Square => rect x=(fixed(x - 3.6)) y=(fixed(y - 3.6)) width="7.2" height="7.2" fill=(style.colour) {},
            Marker::Triangle => path fill=(style.colour)
                d={ "M" (fixed(x)) " " (fixed(y - 4.6)) "l4.6 8h-9.2z" } {},
        }
    }
}

fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

fn draw(panel: &Panel) -> Markup {
    let all: Vec<Point> = panel.series.iter().flat_map(|(_, points)| points.iter().copied()).collect();
    let mut shots: Vec<u32> = all.iter().map(|point| point.shots).collect();
    shots.sort_unstable();
    shots.dedup();
    let (low, high) =
        all.iter().fold((0.0_f64, 0.0_f64), |(low, high), point| (low.min(point.low), high.max(point.high)));
    let ticks = ticks(low, high);
    let (bottom, top) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
    let last = f64::from(shots.last().copied().unwrap_or(1)).ln_1p().max(1e-9);
    let x = |k: u32| LEFT + 16.0 + f64::from(k).ln_1p() / last * (PANEL_WIDTH - LEFT - RIGHT - 32.0);
    let y = |value: f64| {
        PANEL_HEIGHT - BOTTOM - (value - bottom) / (top - bottom).max(1e-9) * (PANEL_HEIGHT - TOP - BOTTOM)
    };
    html! {
        text x=(LEFT) y="18" font-weight="600" fill="#222222" { (panel.title) }
        @for &tick in &ticks {
            line x1=(LEFT) x2=(PANEL_WIDTH - RIGHT) y1=(fixed(y(tick))) y2=(fixed(y(tick)))
                stroke=(if tick == 0.0 { "#777777" } else { "#e4e4e4" }) {}
            text x=(LEFT - 6.0) y=(fixed(y(tick) + 4.0)) text-anchor="end" fill="#444444" { (label(tick, top - bottom)) }
        }
        @for &k in &shots {
            text x=(fixed(x(k))) y=(PANEL_HEIGHT - BOTTOM + 16.0) text-anchor="middle" fill="#444444" { (k) }
        }
        text x=((LEFT + PANEL_WIDTH - RIGHT) / 2.0) y=(PANEL_HEIGHT - 10.0) text-anchor="middle" fill="#444444" {
            "demonstrations (k), 95 % intervals"
        }
        text transform={ "translate(14 " ((TOP + PANEL_HEIGHT - BOTTOM) / 2.0) ") rotate(-90)" } text-anchor="middle"
            fill="#444444" { (panel.axis) }
        @for (style, points) in &panel.series {
            polyline fill="none" stroke=(style.colour) stroke-width="1.6"
                points=(points.iter().map(|point| format!("{:.1},{:.1}", x(point.shots) + style.shift, y(point.estimate)))
                    .collect::<Vec<_>>().join(" ")) {}
            @for point in points {
                g {
                    title { (style.name) ", k = " (point.shots) ": " (label(point.estimate, top - bottom)) " ["
                        (label(point.low, top - bottom)) ", " (label(point.high, top - bottom)) "]" }
                    line x1=(fixed(x(point.shots) + style.shift)) x2=(fixed(x(point.shots) + style.shift))
                        y1=(fixed(y(point.low))) y2=(fixed(y(point.high))) stroke=(style.colour) stroke-width="1.6" {}
                    (marker(style, x(point.shots) + style.shift, y(point.estimate)))
                }
            }
        }
    }
}

/// A figure with as many decimals as the axis needs.
fn label(value: f64, span: f64) -> String {
    let decimals = if span < 0.05 {
        4
    } else if span < 0.5 {
        3
    } else if span < 5.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|character| matches!(character, '0' | '.')) {
        "0".to_owned()
    } else {
        text
    }
}

/// Round axis values that enclose a range: steps of 1, 2 or 5 times a power of ten.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = (high - low).max(1e-6);
    let raw = span / 4.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= raw)
        .unwrap_or(raw);
    // A value that rounding has put a little beside a tick is at that tick.
    let first = (low / step + 1e-9).floor();
    let last = (high / step - 1e-9).ceil().max(first + 1.0);
    let mut ticks = Vec::new();
    let mut index = first;
    while index <= last {
        ticks.push(index * step);
        index += 1.0;
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::results;

    #[test]
    fn ticks_are_round_and_enclose_the_range() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(-0.02, 0.1).len(), 4);
        assert_eq!(ticks(0.0, 0.0).first(), Some(&0.0));
        for (low, high) in [(-3.0, 7.0), (0.0, 58.0), (-0.004, 0.0)] {
            let ticks = ticks(low, high);
            assert!(ticks[0] <= low && *ticks.last().unwrap() >= high && ticks.len() <= 8, "{ticks:?}");
        }
    }

    #[test]
    fn the_plot_is_one_panel_per_measure_and_hostile_names_stay_text() {
        let mut results = results();
        for condition in &mut results.conditions {
            condition.subject = "<script>alert(1)</script>".to_owned();
        }
        let svg = plot(&results).unwrap();
        assert!(!svg.contains("<script"));
        assert!(svg.contains("&lt;script&gt;"));
        assert_eq!(svg.matches("demonstrations (k)").count(), 2);
        assert!(svg.contains("benign, k = 16"));
        for condition in &mut results.conditions {
            condition.emergent_tilt.clone_from(&condition.tilt);
        }
        let svg = plot(&results).unwrap();
        assert_eq!(svg.matches("demonstrations (k)").count(), 3);
        assert!(svg.contains("emergent tilt, k = 16") && !svg.contains("style alone"));
        results.conditions.clear();
        assert_eq!(plot(&results), None);
    }
}
