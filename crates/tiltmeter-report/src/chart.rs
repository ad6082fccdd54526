//! Small charts of intervals by number of demonstrations, in text.
//!
//! Whiskers and the mark between them are drawn to the column of their value, so that intervals can be compared by eye; the
//! figures themselves stand in the tables.

use std::fmt::Write as _;

use tiltmeter_run::{ConditionResult, TiltResult};

use crate::table::{printable, shown};

/// Columns from the lowest to the highest value.
const WIDTH: usize = 56;
/// Intervals from which on a picture shows more than their figures.
const LEAST: usize = 3;

/// An interval with its label.
struct Bar {
    shots: u32,
    shown: String,
    estimate: f64,
    low: f64,
    high: f64,
}

/// What is drawn of a block: the EM rate where there is one, else the emergent tilt.
pub(crate) fn write_chart(text: &mut String, block: &[&ConditionResult]) {
    let rates: Vec<Bar> = block
        .iter()
        .filter_map(|condition| {
            let rate = condition.em_rate.as_ref()?;
            Some(bar(condition, rate.estimate, rate.low, rate.high))
        })
        .collect();
    if rates.len() >= LEAST {
        let percent = |value: f64| format!("{:.0} %", value * 100.0);
        let highest = rates.iter().map(|bar| bar.high).fold(0.0, f64::max);
        // To whole tenths, so that blocks of one run are comparable more often than not.
        write_bars(text, "EM rate", &rates, (0.0, (highest * 10.0).ceil().clamp(1.0, 10.0) / 10.0), percent);
        return;
    }
    let tilts: Vec<Bar> = block
        .iter()
        .filter_map(|condition| {
            let TiltResult { estimate, low, high, .. } = condition.emergent_tilt.as_ref()?;
            Some(bar(condition, *estimate, (*low)?, (*high)?))
        })
        .collect();
    if tilts.len() >= LEAST {
        let lowest = tilts.iter().map(|bar| bar.low).fold(0.0, f64::min);
        let highest = tilts.iter().map(|bar| bar.high).fold(0.0, f64::max);
        write_bars(text, "emergent tilt", &tilts, (lowest, highest), |value| format!("{value:+.2}"));
    }
}

fn bar(condition: &ConditionResult, estimate: f64, low: f64, high: f64) -> Bar {
    Bar { shots: condition.shots, shown: printable(shown(condition)), estimate, low, high }
}

fn write_bars(
    text: &mut String,
    title: &str,
    bars: &[Bar],
    (from, to): (f64, f64),
    shown: impl Fn(f64) -> String,
) {
    if from >= to || !(to - from).is_finite() {
        return;
    }
    let column = |value: f64| {
        let share = ((value - from) / (to - from)).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the width"
        )]
        let column = (share * (WIDTH - 1) as f64).round() as usize;
        column
    };
    let names = bars.iter().map(|bar| bar.shown.chars().count()).max().unwrap_or(0);
    let label = names.max(title.chars().count());
    let (first, last) = (shown(from), shown(to));
    let gap = WIDTH.saturating_sub(first.chars().count() + last.chars().count());
    let _ = writeln!(text, " {:>4}  {title:<label$}  {first}{}{last}", "k", " ".repeat(gap));
    let zero = column(0.0);
    for bar in bars {
        let (low, estimate, high) = (column(bar.low), column(bar.estimate), column(bar.high));
        let cells = (0..WIDTH).map(|cell| match cell {
            cell if cell == estimate => '●',
            cell if cell == low && low < estimate => '├',
            cell if cell == high && high > estimate => '┤',
            cell if low < cell && cell < high => '─',
            cell if cell == zero => '│',
            _ => ' ',
        });
        let cells: String = cells.collect();
        let _ = writeln!(text, " {:>4}  {:<label$}  {}", bar.shots, bar.shown, cells.trim_end());
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(bars: &[Bar], range: (f64, f64)) -> String {
        let mut text = String::new();
        write_bars(&mut text, "rate", bars, range, |value| format!("{value}"));
        text
    }

    fn bar(low: f64, estimate: f64, high: f64) -> Bar {
        Bar { shots: 4, shown: "x".to_owned(), estimate, low, high }
    }

    /// The columns of whiskers and mark in a line.
    fn columns(line: &str) -> [Option<usize>; 3] {
        let cells: Vec<char> = line.chars().skip(13).collect();
        ['├', '●', '┤'].map(|mark| cells.iter().position(|&cell| cell == mark))
    }

    #[test]
    fn marks_stand_at_their_values() {
        let text = drawn(&[bar(0.0, 0.5, 1.0), bar(0.2, 0.2, 0.2)], (0.0, 1.0));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with('1') && lines[0].chars().count() == 13 + WIDTH, "{text}");
        let middle = (WIDTH as f64 - 1.0) / 2.0;
        let [low, estimate, high] = columns(lines[1]);
        assert_eq!((low, high), (Some(0), Some(WIDTH - 1)));
        assert!((estimate.unwrap() as f64 - middle).abs() <= 0.5, "{text}");
        // An interval of one column shows its mark alone.
        assert_eq!(columns(lines[2]), [None, Some(11), None], "{text}");
    }

    #[test]
    fn zero_is_marked_where_the_range_spans_it() {
        let text = drawn(&[bar(0.5, 0.75, 1.0)], (-1.0, 1.0));
        let line: Vec<char> = text.lines().nth(1).unwrap().chars().skip(13).collect();
        assert_eq!(line[28], '│', "{text}");
    }

    #[test]
    fn nothing_is_drawn_of_an_empty_range() {
        assert_eq!(drawn(&[bar(0.0, 0.0, 0.0)], (0.0, 0.0)), "");
    }
}
