//! Treatments as points: what each changes in usefulness, and in what it is there to lower.

use maud::html;

use super::chart::{Drawing, Unit, fixed, mark, tick_label, ticks};
use super::text::shortened;

const LEFT: f64 = 62.0;
const TOP: f64 = 14.0;
const WIDE: f64 = 560.0;
const HIGH: f64 = 340.0;
/// Room for a label beside the point that stands furthest to the right.
const RIGHT: f64 = 130.0;
const BOTTOM: f64 = 46.0;
/// The least distance of two labels' lines, in pixels.
const LINE: f64 = 13.0;

/// A treatment to be drawn. Ends are of 95 % intervals.
#[derive(Clone, Debug)]
pub(crate) struct Treatment {
    pub(crate) label: String,
    /// In words.
    pub(crate) text: String,
    pub(crate) on_front: bool,
    /// The change of usefulness: low, estimate, high.
    pub(crate) usefulness: [f64; 3],
    /// The change of what is to be lowered.
    pub(crate) effect: [f64; 3],
}

/// Points with whiskers both ways; a step line along those that no other betters, from the most useful to the safest.
pub(crate) fn tradeoff(title: &str, y_label: &str, unit: Unit, treatments: &[Treatment]) -> Drawing {
    let range = |of: fn(&Treatment) -> [f64; 3], least: f64| {
        let values = treatments.iter().flat_map(of);
        let (low, high) =
            values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if high - low < least { ticks(low - least / 2.0, high + least / 2.0) } else { ticks(low, high) }
    };
    let x_ticks = range(|one| one.usefulness, 0.04);
    let y_ticks = range(|one| one.effect, if unit == Unit::Percent { 0.04 } else { 0.004 });
    let ends = |ticks: &[f64]| {
        let first = ticks.first().copied().unwrap_or(0.0);
        (first, ticks.last().copied().unwrap_or(1.0).max(first + 1e-9))
    };
    let ((x0, x1), (y0, y1)) = (ends(&x_ticks), ends(&y_ticks));
    let x = |value: f64| LEFT + (value - x0) / (x1 - x0) * WIDE;
    let y = |value: f64| TOP + HIGH - (value - y0) / (y1 - y0) * HIGH;
    let labels = label_heights(treatments, &y);
    let marks = html! {
        @for &tick in &y_ticks {
            line class=(if tick == 0.0 { "axis" } else { "grid" }) x1=(fixed(LEFT)) x2=(fixed(LEFT + WIDE))
                y1=(fixed(y(tick))) y2=(fixed(y(tick))) {}
            text class="tick" x=(fixed(LEFT - 6.0)) y=(fixed(y(tick) + 4.0)) text-anchor="end" { (tick_label(tick, unit)) }
        }
        @for &tick in &x_ticks {
            line class=(if tick == 0.0 { "axis" } else { "grid" }) x1=(fixed(x(tick))) x2=(fixed(x(tick)))
                y1=(fixed(TOP)) y2=(fixed(TOP + HIGH)) {}
            text class="tick" x=(fixed(x(tick))) y=(fixed(TOP + HIGH + 17.0)) text-anchor="middle" {
                (tick_label(tick, Unit::Percent))
            }
        }
        text class="label" x=(fixed(LEFT + WIDE / 2.0)) y=(fixed(TOP + HIGH + 38.0)) text-anchor="middle" {
            "change of useful answers"
        }
        text class="label" transform={ "translate(12 " (fixed(TOP + HIGH / 2.0)) ") rotate(-90)" } text-anchor="middle" {
            (y_label)
        }
        polyline class="line emergent" points=(front(treatments, &x, &y)) {}
        @for (one, label) in treatments.iter().zip(labels) {
            @let style = if one.on_front { "emergent" } else { "style" };
            @let ([left, middle, right], [below, centre, above]) = (one.usefulness, one.effect);
            g {
                title { (one.text) }
                line class={ "whisker " (style) } x1=(fixed(x(left))) x2=(fixed(x(right))) y1=(fixed(y(centre)))
                    y2=(fixed(y(centre))) {}
                line class={ "whisker " (style) } x1=(fixed(x(middle))) x2=(fixed(x(middle))) y1=(fixed(y(below)))
                    y2=(fixed(y(above))) {}
                (mark(style, x(middle), y(centre)))
                text class="label" x=(fixed(x(middle) + 9.0)) y=(fixed(label)) { (shortened(&one.label, 22)) }
            }
        }
    };
    Drawing { title: title.to_owned(), width: LEFT + WIDE + RIGHT, height: TOP + HIGH + BOTTOM, marks }
}

/// Where labels stand: above their points, pushed down where they would run into each other.
fn label_heights(treatments: &[Treatment], y: &dyn Fn(f64) -> f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..treatments.len()).collect();
    let wanted = |place: usize| y(treatments[place].effect[1]) - 7.0;
    order.sort_by(|&one, &other| wanted(one).total_cmp(&wanted(other)));
    let mut heights = vec![0.0; treatments.len()];
    let mut last = f64::NEG_INFINITY;
    for place in order {
        last = wanted(place).max(last + LINE);
        heights[place] = last;
    }
    heights
}

/// The step line: at each usefulness the least effect that is to be had without being less useful.
fn front(treatments: &[Treatment], x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut points: Vec<(f64, f64)> =
        treatments.iter().filter(|one| one.on_front).map(|one| (one.usefulness[1], one.effect[1])).collect();
    points.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.total_cmp(&other.1)));
    let mut path: Vec<String> = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    for (across, up) in points {
        if let Some((_, height)) = before {
            path.push(format!("{},{}", fixed(x(across)), fixed(y(height))));
        }
        path.push(format!("{},{}", fixed(x(across)), fixed(y(up))));
        before = Some((across, up));
    }
    path.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(label: &str, usefulness: f64, effect: f64, on_front: bool) -> Treatment {
        let around = |value: f64| [value - 0.02, value, value + 0.02];
        let (usefulness, effect) = (around(usefulness), around(effect));
        Treatment { label: label.to_owned(), text: format!("{label} in words"), on_front, usefulness, effect }
    }

    #[test]
    fn the_front_goes_in_steps_from_the_most_useful_to_the_safest() {
        let same = |value: f64| value * 100.0;
        let points = [
            at("none", 0.0, 0.0, true),
            at("b", -0.3, -0.2, true),
            at("worse", -0.2, 0.1, false),
            at("a", -0.1, -0.1, true),
        ];
        assert_eq!(front(&points, &same, &same), "0,0 -10,0 -10,-10 -30,-10 -30,-20");
    }

    #[test]
    fn labels_do_not_run_into_each_other() {
        let points = [at("a", 0.0, 0.0, true), at("b", 0.0, 0.0, true), at("c", 0.0, 0.001, true)];
        let mut heights = label_heights(&points, &|value| 100.0 - value);
        heights.sort_by(f64::total_cmp);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 1e-9), "{heights:?}");
    }

    #[test]
    fn hostile_names_stay_text_and_no_axis_divides_by_nothing() {
        let mut lone = at("<script>alert(1)</script>", 0.0, 0.0, true);
        (lone.usefulness, lone.effect) = ([0.0; 3], [0.0; 3]);
        for treatments in [vec![], vec![lone]] {
            let drawing = tradeoff("x", "EM rate", Unit::Percent, &treatments);
            let text = drawing.marks.into_string();
            assert!(!text.contains("<script") && !text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
