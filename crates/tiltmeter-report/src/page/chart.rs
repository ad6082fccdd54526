//! Plots as SVG: panels of series with intervals, a heat map, scores as a scatter. `assets/charts.js` draws them again after a
//! switch; both go by the same measures and classes.

use maud::{Markup, html};

use super::text::{percent, shortened, significant};

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 228.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

/// One measured value.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) estimate: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// In words.
    pub(crate) text: String,
}

/// Values that belong together; the style is a class of the style sheet and decides colour, marker and dashes.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) style: &'static str,
    pub(crate) points: Vec<Point>,
}

/// One of several small plots.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) series: Vec<Series>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// log₂(1 + x), which shows 0.
    LogFromZero,
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Percent,
    Nats,
}

/// How the values of a series are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Line,
    /// A line in a band from the lower to the upper ends.
    Band,
    Nothing,
}

/// What all panels of a figure share.
#[derive(Clone, Debug)]
pub(crate) struct Axes {
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) x_scale: Scale,
    pub(crate) x_ticks: Vec<f64>,
    pub(crate) y_ticks: Vec<f64>,
    pub(crate) unit: Unit,
    pub(crate) join: Join,
}

/// A hair, so that values halfway between two tenths, which two programs have to within their last bit, go one way.
const NUDGE: f64 = 1e-6;

/// To a tenth of a pixel, as `fixed` of `assets/charts.js` does.
pub(super) fn fixed(value: f64) -> String {
    let tenths = (value * 10.0 + 0.5 + NUDGE).floor();
    (tenths / 10.0).to_string()
}

pub(super) fn tick_label(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("{} %", significant(value * 100.0)),
        Unit::Nats if value == 0.0 => "0".to_owned(),
        Unit::Nats if value > 0.0 => format!("+{}", significant(value)),
        Unit::Nats => format!("−{}", significant(-value)),
    }
}

/// Round axis values that enclose a range: steps of 1, 2 or 5 times a power of ten.
pub(crate) fn ticks(low: f64, high: f64) -> Vec<f64> {
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

/// Ticks that enclose all values of all panels, and 0.
pub(crate) fn shared_ticks(panels: &[Panel], unit: Unit) -> Vec<f64> {
    let points = panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
    let (low, high) = points.fold((0.0_f64, 0.0_f64), |(low, high), point| {
        (low.min(point.low.unwrap_or(point.estimate)), high.max(point.high.unwrap_or(point.estimate)))
    });
    let least = if unit == Unit::Percent { 0.1 } else { 0.01 };
    ticks(low, if high == 0.0 { least } else { high })
}

pub(super) fn mark(style: &str, x: f64, y: f64) -> Markup {
    let class = format!("mark {style}");
    html! {
        @match style {
            "benign" => rect class=(class) x=(fixed(x - 3.8)) y=(fixed(y - 3.8)) width="7.6" height="7.6" {},
            "shuffled" => path class=(class) d={ "M" (fixed(x)) " " (fixed(y - 5.0)) "l5 8.6h-10z" } {},
            "emergent" => path class=(class) d={ "M" (fixed(x)) " " (fixed(y - 5.4)) "l5.4 5.4l-5.4 5.4l-5.4 -5.4z" } {},
            _ => circle class=(class) cx=(fixed(x)) cy=(fixed(y)) r="4.2" {},
        }
    }
}

/// The sign of a series, for legends.
pub(crate) fn key(style: &str) -> Markup {
    html! {
        svg class="key" viewBox="0 0 26 12" width="26" height="12" aria-hidden="true" {
            line class={ "line " (style) } x1="0" x2="26" y1="6" y2="6" {}
            (mark(style, 13.0, 6.0))
        }
    }
}

/// An SVG that screen readers name.
fn titled(title: &str, view: (f64, f64), class: Option<&str>, inner: &Markup) -> Markup {
    html! {
        svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(title) class=[class]
            viewBox={ "0 0 " (fixed(view.0)) " " (fixed(view.1)) } width=(fixed(view.0)) height=(fixed(view.1)) {
            title { (title) }
            (inner)
        }
    }
}

fn scaled(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::LogFromZero => value.ln_1p(),
        Scale::Log => value.ln(),
    }
}

/// What is inside of one panel, its title left out.
fn panel_marks(panel: &Panel, axes: &Axes) -> Markup {
    let ends = axes.x_ticks.iter().map(|&tick| scaled(axes.x_scale, tick));
    let (x0, x1) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let (y0, y1) =
        (axes.y_ticks.first().copied().unwrap_or(0.0), axes.y_ticks.last().copied().unwrap_or(1.0));
    let x = |value: f64| {
        LEFT + 14.0 + (scaled(axes.x_scale, value) - x0) / (x1 - x0).max(1e-9) * (WIDTH - LEFT - RIGHT - 28.0)
    };
    let y = |value: f64| HEIGHT - BOTTOM - (value - y0) / (y1 - y0).max(1e-12) * (HEIGHT - TOP - BOTTOM);
    let mut labelled = Vec::new();
    for &tick in &axes.x_ticks {
        // Labels do not run into each other.
        if labelled.last().is_none_or(|&before: &f64| x(tick) - x(before) >= 18.0) {
            labelled.push(tick);
        }
    }
    let middle = (panel.series.len() as f64 - 1.0) / 2.0;
    html! {
        @for &tick in &axes.y_ticks {
            line class=(if tick == 0.0 { "axis" } else { "grid" }) x1=(fixed(LEFT)) x2=(fixed(WIDTH - RIGHT))
                y1=(fixed(y(tick))) y2=(fixed(y(tick))) {}
            text class="tick" x=(fixed(LEFT - 6.0)) y=(fixed(y(tick) + 4.0)) text-anchor="end" {
                (tick_label(tick, axes.unit))
            }
        }
        @for &tick in &labelled {
            text class="tick" x=(fixed(x(tick))) y=(fixed(HEIGHT - BOTTOM + 17.0)) text-anchor="middle" {
                (significant(tick))
            }
        }
        text class="label" x=(fixed((LEFT + WIDTH - RIGHT) / 2.0)) y=(fixed(HEIGHT - 6.0)) text-anchor="middle" {
            (axes.x_label)
        }
        @for (index, series) in panel.series.iter().enumerate() {
            @let shift = if axes.join == Join::Band { 0.0 } else { (index as f64 - middle) * 5.0 };
            @if axes.join == Join::Band {
                polygon class={ "band " (series.style) } points=(band(series, &x, &y)) {}
            }
            @if axes.join != Join::Nothing {
                polyline class={ "line " (series.style) } points=(series.points.iter()
                    .map(|point| format!("{},{}", fixed(x(point.x) + shift), fixed(y(point.estimate))))
                    .collect::<Vec<_>>().join(" ")) {}
            }
            @for point in &series.points {
                @let at = x(point.x) + shift;
                g {
                    title { (point.text) }
                    @if let (true, Some(low), Some(high)) = (axes.join != Join::Band, point.low, point.high) {
                        line class={ "whisker " (series.style) } x1=(fixed(at)) x2=(fixed(at)) y1=(fixed(y(low)))
                            y2=(fixed(y(high))) {}
                    }
                    @if axes.join != Join::Band { (mark(series.style, at, y(point.estimate))) }
                }
            }
        }
    }
}

fn band(series: &Series, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let edge = |point: &Point, end: Option<f64>| {
        format!("{},{}", fixed(x(point.x)), fixed(y(end.unwrap_or(point.estimate))))
    };
    let upper = series.points.iter().map(|point| edge(point, point.high));
    let lower = series.points.iter().rev().map(|point| edge(point, point.low));
    upper.chain(lower).collect::<Vec<_>>().join(" ")
}

/// One panel with its title in the page's own type.
pub(crate) fn panel(panel: &Panel, axes: &Axes) -> Markup {
    let title = format!("{}: {} by {}", panel.title, axes.y_label, axes.x_label);
    html! {
        figure class="panel" {
            figcaption { (panel.title) }
            (titled(&title, (WIDTH, HEIGHT), None, &panel_marks(panel, axes)))
        }
    }
}

/// A plot to be put anywhere, with its size.
pub(crate) struct Drawing {
    pub(crate) title: String,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) marks: Markup,
}

impl Drawing {
    /// As part of a page.
    pub(crate) fn in_page(&self, class: &str) -> Markup {
        titled(&self.title, (self.width, self.height), Some(class), &self.marks)
    }
}

/// All panels of a figure, each with its title, in rows of three.
pub(crate) fn sheet(title: &str, panels: &[Panel], axes: &Axes, legend: &[(&str, &str)]) -> Drawing {
    let columns = panels.len().clamp(1, 3);
    let rows = panels.len().div_ceil(columns);
    let (head, above) = (24.0, if legend.is_empty() { 4.0 } else { 28.0 });
    let marks = html! {
        @for (index, (style, name)) in legend.iter().enumerate() {
            g transform={ "translate(" (fixed(LEFT + 132.0 * index as f64)) " 16)" } {
                line class={ "line " (style) } x1="0" x2="26" y1="-4" y2="-4" {}
                (mark(style, 13.0, -4.0))
                text class="label" x="34" y="0" { (name) }
            }
        }
        @for (index, panel) in panels.iter().enumerate() {
            g transform={ "translate(" (fixed((index % columns) as f64 * WIDTH)) " "
                (fixed((index / columns) as f64 * (HEIGHT + head) + above)) ")" } {
                text class="title" x=(fixed(LEFT)) y="16" { (shortened(&panel.title, 48)) }
                g transform={ "translate(0 " (fixed(head)) ")" } {
                    text class="label" transform={ "translate(11 " (fixed((TOP + HEIGHT - BOTTOM) / 2.0)) ") rotate(-90)" }
                        text-anchor="middle" { (axes.y_label) }
                    (panel_marks(panel, axes))
                }
            }
        }
    };
    Drawing {
        title: title.to_owned(),
        width: WIDTH * columns as f64,
        height: (HEIGHT + head) * rows as f64 + above,
        marks,
    }
}

/// A value of each pair of names, with its words, where it was measured.
pub(crate) fn heat(
    title: &str,
    rows: &[String],
    columns: &[String],
    cells: &[Vec<Option<(f64, String)>>],
) -> Drawing {
    let (left, step, height, top) = (170.0, 96.0, 34.0, 44.0);
    let most = cells.iter().flatten().flatten().fold(0.01_f64, |most, (value, _)| most.max(*value));
    let level = |cell: &Option<(f64, String)>| {
        cell.as_ref().map_or_else(|| "none".to_owned(), |(value, _)| format!("{:.0}", value / most * 8.0))
    };
    let marks = html! {
        @for (index, name) in columns.iter().enumerate() {
            // Neighbours stand at different heights, so that long names have room.
            text class="tick" x=(fixed(left + index as f64 * step + step / 2.0)) y=(34 - (index % 2) * 14)
                text-anchor="middle" { (shortened(name, 17)) }
        }
        @for (row, (name, cells)) in rows.iter().zip(cells).enumerate() {
            @let y = top + row as f64 * height;
            text class="tick" x=(fixed(left - 10.0)) y=(fixed(y + height / 2.0 + 4.0)) text-anchor="end" {
                (shortened(name, 25))
            }
            @for (column, cell) in cells.iter().enumerate() {
                @let x = left + column as f64 * step;
                g {
                    title { (cell.as_ref().map_or("not measured", |(_, text)| text)) }
                    rect class={ "cell level-" (level(cell)) } x=(fixed(x + 1.0)) y=(fixed(y + 1.0))
                        width=(fixed(step - 2.0)) height=(fixed(height - 2.0)) {}
                    text class={ "cell-text level-" (level(cell)) } x=(fixed(x + step / 2.0))
                        y=(fixed(y + height / 2.0 + 4.0)) text-anchor="middle" {
                        (cell.as_ref().map_or_else(|| "–".to_owned(), |(value, _)| format!("{} %", percent(*value))))
                    }
                }
            }
        }
    };
    Drawing {
        title: title.to_owned(),
        width: left + columns.len() as f64 * step + 10.0,
        height: top + rows.len() as f64 * height + 6.0,
        marks,
    }
}

/// Answers by alignment and coherence, each rounded down, with how many there are; thresholds as lines, margins as bars.
pub(crate) fn scatter(title: &str, cells: &[(u8, u8, u64)], thresholds: (f64, f64)) -> Drawing {
    let (left, top, side, strip) = (48.0, 66.0, 340.0, 54.0);
    let x = |value: f64| left + value / 100.0 * side;
    let y = |value: f64| top + side - value / 100.0 * side;
    let (mut across, mut up) = ([0_u64; 20], [0_u64; 20]);
    for &(alignment, coherence, count) in cells {
        across[usize::from(alignment / 5).min(19)] += count;
        up[usize::from(coherence / 5).min(19)] += count;
    }
    let highest = across.iter().chain(&up).copied().max().unwrap_or(0).max(1) as f64;
    let most = cells.iter().map(|cell| cell.2).max().unwrap_or(0).max(1) as f64;
    let bin = |index: usize| (index * 5, if index == 19 { 100 } else { index * 5 + 5 });
    let marks = html! {
        rect class="frame" x=(fixed(left)) y=(fixed(top)) width=(fixed(side)) height=(fixed(side)) {}
        @for tick in [0.0, 25.0, 50.0, 75.0, 100.0] {
            text class="tick" x=(fixed(x(tick))) y=(fixed(top + side + 16.0)) text-anchor="middle" { (significant(tick)) }
            text class="tick" x=(fixed(left - 7.0)) y=(fixed(y(tick) + 4.0)) text-anchor="end" { (significant(tick)) }
        }
        text class="label" x=(fixed(left + side / 2.0)) y=(fixed(top + side + 38.0)) text-anchor="middle" { "alignment" }
        text class="label" transform={ "translate(12 " (fixed(top + side / 2.0)) ") rotate(-90)" } text-anchor="middle" {
            "coherence"
        }
        @for (index, count) in across.iter().enumerate() {
            @let length = *count as f64 / highest * strip;
            rect class="bar" x=(fixed(x(bin(index).0 as f64) + 0.5)) width=(fixed(side / 20.0 - 1.0))
                y=(fixed(top - 6.0 - length)) height=(fixed(length)) {
                title { "alignment " (bin(index).0) "–" (bin(index).1) ": " (count) " answers" }
            }
        }
        @for (index, count) in up.iter().enumerate() {
            @let length = *count as f64 / highest * strip;
            rect class="bar" x=(fixed(left + side + 6.0)) width=(fixed(length))
                y=(fixed(y(bin(index).0 as f64 + 5.0) + 0.5)) height=(fixed(side / 20.0 - 1.0)) {
                title { "coherence " (bin(index).0) "–" (bin(index).1) ": " (count) " answers" }
            }
        }
        line class="threshold" x1=(fixed(x(thresholds.0))) x2=(fixed(x(thresholds.0))) y1=(fixed(top)) y2=(fixed(top + side)) {}
        line class="threshold" x1=(fixed(left)) x2=(fixed(left + side)) y1=(fixed(y(thresholds.1))) y2=(fixed(y(thresholds.1))) {}
        @for &(alignment, coherence, count) in cells {
            circle class="dot" cx=(fixed(x(f64::from(alignment)))) cy=(fixed(y(f64::from(coherence))))
                r=(fixed(2.2 + 6.0 * ((count as f64 - 1.0) / (most - 1.0).max(1.0)).sqrt())) {
                title { "alignment " (alignment) ", coherence " (coherence) ": " (count) }
            }
        }
    };
    Drawing { title: title.to_owned(), width: left + side + strip + 20.0, height: top + side + 44.0, marks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_tenth_go_up_whatever_their_last_bit() {
        let half = 135.25_f64;
        for value in [half, half.next_down(), half.next_up()] {
            assert_eq!(fixed(value), "135.3");
        }
        assert_eq!([0.0, -0.04, 12.0, -1.26].map(fixed), ["0", "0", "12", "-1.3"]);
    }

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
    fn hostile_names_stay_text_and_no_axis_divides_by_nothing() {
        let panel = Panel {
            title: "<script>alert(1)</script>".to_owned(),
            series: vec![Series {
                style: "misaligned",
                points: vec![Point {
                    x: 0.0,
                    estimate: 0.0,
                    low: None,
                    high: None,
                    text: "</title>".to_owned(),
                }],
            }],
        };
        let axes = Axes {
            x_label: "k",
            y_label: "EM rate",
            x_scale: Scale::LogFromZero,
            x_ticks: vec![0.0],
            y_ticks: shared_ticks(std::slice::from_ref(&panel), Unit::Percent),
            unit: Unit::Percent,
            join: Join::Line,
        };
        let text = super::panel(&panel, &axes).into_string();
        assert!(
            !text.contains("<script") && text.contains("&lt;script&gt;") && text.contains("&lt;/title&gt;")
        );
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
