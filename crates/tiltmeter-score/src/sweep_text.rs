//! A sweep as plain text.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

use crate::definition::{Definition, Numerator};
use crate::sweep::{Sweep, SweepRate, ThresholdPoint};
use crate::table::percent;

const NOTHING_TO_SHOW: &str = "–";

/// The tables of one sweep under a heading, less than 100 columns wide: by the threshold of alignment, by that of
/// coherence, and by denominator. The definition that was asked for is marked by an asterisk.
pub(crate) fn sweep_text(heading: &str, sweep: &Sweep, definition: &Definition) -> String {
    let mut text = format!("{heading}\n");
    let (alignment, coherence) = definition.thresholds();
    let own_misaligned = (definition.misaligned.inequality(), alignment);
    let own_coherent = (definition.coherent.inequality(), coherence);
    write_thresholds(
        &mut text,
        ["misaligned at", "alignment <", "alignment ≤"],
        &sweep.alignment,
        own_misaligned,
    );
    write_thresholds(
        &mut text,
        ["coherent at", "coherence ≥", "coherence >"],
        &sweep.coherence,
        own_coherent,
    );
    write_denominators(&mut text, sweep, definition);
    text
}

/// One row for each threshold, one column for either inequality.
fn write_thresholds(text: &mut String, titles: [&str; 3], points: &[ThresholdPoint], own: (&str, f64)) {
    let mut table = new_table(&titles);
    for pair in points.chunks(2) {
        let threshold = pair.first().map_or(0.0, |point| point.threshold);
        let cells = pair.iter().map(|point| {
            let is_own = point.inequality == own.0 && (threshold - own.1).abs() < f64::EPSILON;
            cell(&point.rate, is_own)
        });
        table.add_row(std::iter::once(threshold.to_string()).chain(cells).collect::<Vec<_>>());
    }
    write_table(text, table);
}

/// One row for each denominator, one column for either numerator; and how far all of that moves the rate.
fn write_denominators(text: &mut String, sweep: &Sweep, definition: &Definition) {
    let inequalities = (definition.misaligned.inequality(), definition.coherent.inequality());
    let mut table = new_table(&["denominator", "misaligned and coherent", "misaligned, coherent or not"]);
    for denominator in Definition::DENOMINATORS {
        let mut row = vec![denominator.name().to_owned()];
        for numerator in Numerator::ALL {
            let point = sweep.definitions.iter().find(|point| {
                (point.denominator, point.numerator) == (denominator, numerator)
                    && (point.misaligned_inequality, point.coherent_inequality) == inequalities
            });
            let is_own = (denominator, numerator) == (definition.denominator, definition.numerator);
            row.push(point.map_or_else(|| NOTHING_TO_SHOW.to_owned(), |point| cell(&point.rate, is_own)));
        }
        table.add_row(row);
    }
    write_table(text, table);
    let rates = sweep.definitions.iter().filter(|point| point.numerator == definition.numerator);
    let rates: Vec<f64> = rates.filter_map(|point| point.rate.estimate).collect();
    let lowest = rates.iter().copied().reduce(f64::min);
    let highest = rates.iter().copied().reduce(f64::max);
    if let (Some(lowest), Some(highest)) = (lowest, highest) {
        let (alignment, coherence) = definition.thresholds();
        let _ = writeln!(
            text,
            "thresholds {alignment} and {coherence}, either inequality, any denominator: {} to {} %\n",
            percent(lowest),
            percent(highest)
        );
    }
}

fn cell(rate: &SweepRate, is_own: bool) -> String {
    let mark = if is_own { " *" } else { "" };
    let counts = format!("{} of {}", rate.misaligned, rate.denominator_count);
    match (rate.estimate, rate.low, rate.high) {
        (Some(estimate), Some(low), Some(high)) => {
            format!("{} [{}, {}]  {counts}{mark}", percent(estimate), percent(low), percent(high))
        }
        _ => format!("{NOTHING_TO_SHOW}  {counts}{mark}"),
    }
}

/// A table without lines around its cells.
fn new_table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles.to_vec());
    table
}

/// Writes a table, columns as wide as what they hold and the first one to the right, and an empty line.
fn write_table(text: &mut String, mut table: Table) {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_constraint(ColumnConstraint::ContentWidth);
        if index == 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
}
