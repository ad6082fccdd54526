//! Each plot of a report as a file of its own, as SVG and PNG with its data: for a paper.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use fs_err as fs;
use maud::{Markup, PreEscaped, html};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::chart::{self, Drawing, Panel, Point};
use super::figures::{self, Grid};
use super::forest::{ForestAxis, ForestRow, forest};
use super::model::{Place, blocks, open, places, title};
use super::tilts::{self, SideBySide};
use super::{PLOT_STYLE, ReportError};

/// Pixels of a PNG for each unit of the SVG: some 300 to the inch at the width of a page.
const PIXELS: f32 = 3.0;

/// Plots that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPlots {
    /// Names without their endings, in order.
    pub names: Vec<String>,
    /// Whether there are PNG files too: text in them takes a font, and there may be none on this machine.
    pub as_pixels: bool,
}

/// Writes every plot of some runs to a folder, as SVG, as PNG and as CSV.
///
/// # Errors
/// If a run cannot be read, or a file cannot be written.
pub fn write_plots(directories: &[&Path], folder: &Path) -> Result<WrittenPlots, ReportError> {
    let runs = open(directories)?;
    let places = places(&runs);
    let several = runs.len() > 1;
    let blocks = blocks(&places, several);
    fs::create_dir_all(folder)?;
    let mut names = Vec::new();
    let mut fonts = fontdb::Database::new();
    fonts.load_system_fonts();
    let as_pixels = !fonts.is_empty();
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let mut write = |name: String, drawing: &Drawing, table: &str| -> Result<(), ReportError> {
        let svg = standalone(drawing).into_string();
        fs::write(folder.join(format!("{name}.svg")), &svg)?;
        fs::write(folder.join(format!("{name}.csv")), table)?;
        if as_pixels {
            fs::write(folder.join(format!("{name}.png")), pixels(&name, &svg, &options)?)?;
        }
        names.push(name);
        Ok(())
    };
    let grids = [
        figures::rates(&blocks),
        tilts::emergent_by_k(&blocks),
        tilts::by_k(&blocks),
        figures::sizes(&places, several),
    ];
    for figure in grids.iter().flatten() {
        write(figure.id.to_owned(), &sheet(figure), &panel_table(&figure.panels))?;
    }
    for beside in [SideBySide::emergent(&places), SideBySide::tilts(&places)].into_iter().flatten() {
        write(beside.id.to_owned(), &beside.drawing(), &forest_table("condition", &beside.rows))?;
    }
    if let Some(shots) = figures::most_shots(&places) {
        let map = figures::heat_map(&places, shots, several);
        let mut table = "row,column,estimate\n".to_owned();
        for (row, cells) in map.rows.iter().zip(&map.cells) {
            for (column, cell) in map.columns.iter().zip(cells) {
                let value = cell.as_ref().map(|(value, _)| value.to_string()).unwrap_or_default();
                let _ = writeln!(table, "{},{},{value}", field(row), field(column));
            }
        }
        write("subjects-and-sets".to_owned(), &map.drawing(shots), &table)?;
    }
    let judged: Vec<&Place<'_>> =
        places.iter().filter(|place| place.run.details_of(place.position).is_some()).collect();
    for (number, place) in judged.iter().enumerate() {
        let name = title(place, several);
        let rows = figures::questions(place, &places);
        if !rows.is_empty() {
            let drawing = forest(&format!("EM rate by question: {name}"), &rows, &ForestAxis::rates(), None);
            write(format!("questions-{:02}", number + 1), &drawing, &forest_table("question", &rows))?;
        }
        if let Some(sweeps) = figures::sweeps(place) {
            write(format!("thresholds-{:02}", number + 1), &sheet(&sweeps), &panel_table(&sweeps.panels))?;
        }
        if let Some(drawing) = figures::scores(place, several) {
            let mut table = "alignment,coherence,count\n".to_owned();
            for cell in place.run.details_of(place.position).iter().flat_map(|details| &details.scores) {
                let _ = writeln!(table, "{},{},{}", cell.alignment, cell.coherence, cell.count);
            }
            write(format!("scores-{:02}", number + 1), &drawing, &table)?;
        }
    }
    Ok(WrittenPlots { names, as_pixels })
}

/// A plot as PNG.
fn pixels(name: &str, svg: &str, options: &Options<'_>) -> Result<Vec<u8>, ReportError> {
    let failed = |why: String| ReportError::Plot { name: name.to_owned(), why };
    let tree = Tree::from_str(svg, options).map_err(|error| failed(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(PIXELS).ok_or_else(|| failed("it is empty".to_owned()))?;
    let mut pixmap = Pixmap::new(size.width(), size.height())
        .ok_or_else(|| failed(format!("{} × {} pixels are too many", size.width(), size.height())))?;
    resvg::render(&tree, Transform::from_scale(PIXELS, PIXELS), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| failed(error.to_string()))
}

fn sheet(figure: &Grid) -> Drawing {
    chart::sheet(figure.title, &figure.panels, &figure.axes, &figure.legend)
}

fn standalone(drawing: &Drawing) -> Markup {
    html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (drawing.width) " " (drawing.height) } width=(drawing.width)
            height=(drawing.height) role="img" {
            title { (drawing.title) }
            style { (PreEscaped(PLOT_STYLE)) }
            rect width=(drawing.width) height=(drawing.height) fill="#ffffff" {}
            (drawing.marks)
        }
        (PreEscaped("\n"))
    }
}

/// A field of a CSV file. A spreadsheet would take one that begins like a formula for one.
fn field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn ends(point: &Point) -> String {
    let end = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    format!("{},{},{}", point.estimate, end(point.low), end(point.high))
}

fn panel_table(panels: &[Panel]) -> String {
    let mut table = "panel,series,x,estimate,low,high\n".to_owned();
    for panel in panels {
        for series in &panel.series {
            for point in &series.points {
                let _ = writeln!(
                    table,
                    "{},{},{},{}",
                    field(&panel.title),
                    field(series.style),
                    point.x,
                    ends(point)
                );
            }
        }
    }
    table
}

fn forest_table(rows_are: &str, rows: &[ForestRow]) -> String {
    let mut table = format!("{rows_are},series,estimate,low,high\n");
    for row in rows {
        for (style, point) in &row.marks {
            let _ = writeln!(table, "{},{},{}", field(&row.label), field(style), ends(point));
        }
    }
    table
}
