//! A forest as SVG: one row for each name, with estimates and their intervals along one axis. That of rates by question is drawn
//! again by `assets/charts.js` after a switch, with the same measures and classes.

use maud::html;

use super::chart::{Drawing, Point, Unit, fixed, mark, tick_label, ticks};
use super::text::shortened;

/// From where the axis begins to the right edge.
const ACROSS: f64 = 430.0;
const RIGHT: f64 = 26.0;
const STEP: f64 = 22.0;
const TOP: f64 = 26.0;

/// Rows of a forest: a name, and for each series its style, estimate, ends and words.
#[derive(Clone, Debug)]
pub(crate) struct ForestRow {
    pub(crate) label: String,
    pub(crate) marks: Vec<(&'static str, Point)>,
}

/// The axis along which values lie, and the room for names beside it.
#[derive(Clone, Debug)]
pub(crate) struct ForestAxis {
    ticks: Vec<f64>,
    unit: Unit,
    /// Where the axis begins, in pixels.
    left: f64,
    /// Characters of a name that are shown.
    letters: usize,
}

impl ForestAxis {
    /// Of rates, from 0 to 1.
    pub(crate) fn rates() -> Self {
        Self { ticks: vec![0.0, 0.25, 0.5, 0.75, 1.0], unit: Unit::Percent, left: 190.0, letters: 24 }
    }

    /// Of measures in nats: as far as values and their intervals reach, with 0, and with room for the names.
    pub(crate) fn nats(rows: &[ForestRow]) -> Self {
        let points = rows.iter().flat_map(|row| &row.marks).map(|(_, point)| point);
        let (low, high) = points.fold((0.0_f64, 0.0_f64), |(low, high), point| {
            (low.min(point.low.unwrap_or(point.estimate)), high.max(point.high.unwrap_or(point.estimate)))
        });
        let longest = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        let letters = longest.clamp(16, 64);
        let high = if low == 0.0 && high == 0.0 { 0.01 } else { high };
        Self { ticks: ticks(low, high), unit: Unit::Nats, left: 24.0 + 6.4 * letters as f64, letters }
    }
}

/// A forest, with a line at a value that others published, and its words, if there is one.
pub(crate) fn forest(
    title: &str,
    rows: &[ForestRow],
    axis: &ForestAxis,
    reference: Option<(f64, &str)>,
) -> Drawing {
    let height = TOP + rows.len() as f64 * STEP + 14.0;
    let first = axis.ticks.first().copied().unwrap_or(0.0);
    let last = axis.ticks.last().copied().unwrap_or(1.0);
    let x = |value: f64| axis.left + (value - first) / (last - first).max(1e-12) * (ACROSS - RIGHT);
    let marks = html! {
        @for &tick in &axis.ticks {
            line class=(if tick == 0.0 { "axis" } else { "grid" }) x1=(fixed(x(tick))) x2=(fixed(x(tick)))
                y1=(fixed(TOP - 4.0)) y2=(fixed(height - 8.0)) {}
            text class="tick" x=(fixed(x(tick))) y="14" text-anchor="middle" { (tick_label(tick, axis.unit)) }
        }
        @if let Some((value, words)) = reference {
            g {
                title { (words) }
                line class="reference" x1=(fixed(x(value))) x2=(fixed(x(value))) y1=(fixed(TOP - 4.0))
                    y2=(fixed(height - 8.0)) {}
            }
        }
        @for (index, row) in rows.iter().enumerate() {
            @let middle = TOP + index as f64 * STEP + STEP / 2.0;
            text class="tick" x=(fixed(axis.left - 12.0)) y=(fixed(middle + 4.0)) text-anchor="end" {
                (shortened(&row.label, axis.letters))
            }
            @for (which, (style, point)) in row.marks.iter().enumerate() {
                @let y = middle + (which as f64 - (row.marks.len() as f64 - 1.0) / 2.0) * 8.0;
                g {
                    title { (point.text) }
                    line class={ "whisker " (style) } x1=(fixed(x(point.low.unwrap_or(point.estimate))))
                        x2=(fixed(x(point.high.unwrap_or(point.estimate)))) y1=(fixed(y)) y2=(fixed(y)) {}
                    (mark(style, x(point.estimate), y))
                }
            }
        }
    };
    Drawing { title: title.to_owned(), width: axis.left + ACROSS, height, marks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, low: f64, estimate: f64, high: f64) -> ForestRow {
        let point = Point { x: 0.0, estimate, low: Some(low), high: Some(high), text: label.to_owned() };
        ForestRow { label: label.to_owned(), marks: vec![("emergent", point)] }
    }

    #[test]
    fn values_below_nothing_lie_left_of_its_line() {
        let rows = [row("one", -0.05, -0.02, 0.01), row("other", 0.01, 0.04, 0.07)];
        let axis = ForestAxis::nats(&rows);
        assert!(axis.ticks[0] <= -0.05 && *axis.ticks.last().unwrap() >= 0.07, "{axis:?}");
        let text = forest("tilts", &rows, &axis, None).marks.into_string();
        let centres: Vec<f64> = text
            .split("class=\"mark emergent\" d=\"M")
            .skip(1)
            .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
            .collect();
        let zero: f64 =
            text.split("class=\"axis\" x1=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(centres[0] < zero && zero < centres[1], "{centres:?} {zero}");
    }

    #[test]
    fn rows_without_a_spread_are_drawn_and_names_stay_text() {
        let rows = [row("<script>", 0.0, 0.0, 0.0)];
        let text = forest("tilts", &rows, &ForestAxis::nats(&rows), None).marks.into_string();
        assert!(!text.contains("NaN") && !text.contains("inf") && !text.contains("<script"), "{text}");
    }
}
