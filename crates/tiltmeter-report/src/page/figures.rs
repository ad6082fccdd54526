//! The figures of a report: which series, panels and cells there are. Every value is one of the results.

use tiltmeter_core::demonstration::Control;
use tiltmeter_run::{ConditionResult, RateAt, RateResult, ThresholdRate};

use crate::table::{answers_shown, shown};

use super::chart::{self, Axes, Drawing, Join, Panel, Point, Scale, Series, Unit, shared_ticks};
use super::forest::ForestRow;
use super::model::{Block, Place, Run, title};
use super::text::{percent_interval, visible};

/// Grid with the axes that they share and their legend.
pub(crate) struct Grid {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) panels: Vec<Panel>,
    pub(crate) axes: Axes,
    /// Style and name of each series.
    pub(crate) legend: Vec<(&'static str, &'static str)>,
}

const BY_ANSWERS: [(&str, &str); 2] = [("misaligned", "misaligned"), ("benign", "benign")];

/// Style and name of each series by whose answers are shown: misaligned ones, then the controls of the blocks, in the order in
/// which they are declared.
pub(super) fn by_answers(blocks: &[Block<'_>]) -> Vec<(&'static str, &'static str)> {
    let controls = blocks.iter().flat_map(|block| &block.places);
    let mut controls: Vec<Control> =
        controls.filter_map(|place| Control::from_name(&place.result.control)).collect();
    controls.push(Control::None);
    controls.sort_unstable();
    controls.dedup();
    let name = |control: Control| answers_shown(control.name(), 1);
    controls.into_iter().map(|control| (name(control), name(control))).collect()
}

/// A measure of a condition as a point at a given place.
pub(super) type Value<'a> = &'a dyn Fn(&ConditionResult, f64, &str) -> Option<Point>;

fn rate_point(condition: &ConditionResult, x: f64, name: &str) -> Option<Point> {
    let rate: &RateResult = condition.em_rate.as_ref()?;
    Some(Point {
        x,
        estimate: rate.estimate,
        low: Some(rate.low),
        high: Some(rate.high),
        text: format!(
            "{name}, k = {}: {}",
            condition.shots,
            percent_interval(rate.estimate, rate.low, rate.high)
        ),
    })
}

/// The points of a block by k: of the conditions that show certain answers.
pub(super) fn points(block: &Block<'_>, answers: &str, name: &str, value: Value<'_>) -> Vec<Point> {
    let mut points: Vec<Point> = block
        .places
        .iter()
        .map(|place| place.result)
        // Every series starts from the one prompt without demonstrations.
        .filter(|condition| condition.shots == 0 || shown(condition) == answers)
        .filter_map(|condition| value(condition, f64::from(condition.shots), name))
        .collect();
    points.sort_by(|one, other| one.x.total_cmp(&other.x));
    points
}

pub(super) fn by_shots(
    id: &'static str,
    heading: &'static str,
    y_label: &'static str,
    unit: Unit,
    panels: Vec<Panel>,
    styles: &[(&'static str, &'static str)],
) -> Option<Grid> {
    let panels: Vec<Panel> = panels.into_iter().filter(|panel| !panel.series.is_empty()).collect();
    if panels.is_empty() {
        return None;
    }
    let mut x_ticks: Vec<f64> = panels
        .iter()
        .flat_map(|panel| &panel.series)
        .flat_map(|series| series.points.iter().map(|point| point.x))
        .collect();
    x_ticks.sort_by(f64::total_cmp);
    x_ticks.dedup();
    let used =
        |style: &str| panels.iter().flat_map(|panel| &panel.series).any(|series| series.style == style);
    let legend = styles.iter().copied().filter(|(style, _)| used(style)).collect();
    let axes = Axes {
        x_label: "demonstrations (k)",
        y_label,
        x_scale: Scale::LogFromZero,
        x_ticks,
        y_ticks: shared_ticks(&panels, unit),
        unit,
        join: Join::Line,
    };
    Some(Grid { id, title: heading, panels, axes, legend })
}

pub(super) fn panels_of(blocks: &[Block<'_>], series: impl Fn(&Block<'_>) -> Vec<Series>) -> Vec<Panel> {
    blocks
        .iter()
        .map(|block| Panel {
            title: block.title.clone(),
            series: series(block)
                .into_iter()
                .filter(|series| series.points.iter().any(|point| point.x > 0.0))
                .collect(),
        })
        .collect()
}

/// The EM rate by k, a panel for each block.
pub(crate) fn rates(blocks: &[Block<'_>]) -> Option<Grid> {
    let styles = by_answers(blocks);
    let panels = panels_of(blocks, |block| {
        styles
            .iter()
            .map(|&(style, name)| Series { style, points: points(block, name, name, &rate_point) })
            .collect()
    });
    by_shots("rates", "EM rate by number of demonstrations", "EM rate", Unit::Percent, panels, &styles)
}

/// The EM rate by the subject's size at the largest k, a panel for each family and set.
pub(crate) fn sizes(places: &[Place<'_>], several_runs: bool) -> Option<Grid> {
    let most = most_shots(places)?;
    let mut panels: Vec<Panel> = Vec::new();
    let mut label = "";
    for place in places.iter().filter(|place| place.result.shots == most) {
        let Some((family, size, measure)) = place.run.size(&place.result.subject) else { continue };
        let style = match shown(place.result) {
            "misaligned" => "misaligned",
            "benign" => "benign",
            _ => continue,
        };
        let Some(mut point) = rate_point(place.result, size, style) else { continue };
        point.text = format!("{}: {}", visible(&place.result.subject), point.text);
        label = measure;
        let heading = size_panel(place, &family, several_runs);
        let index = panels.iter().position(|panel| panel.title == heading).unwrap_or_else(|| {
            panels.push(Panel { title: heading, series: Vec::new() });
            panels.len() - 1
        });
        let Some(panel) = panels.get_mut(index) else { continue };
        match panel.series.iter_mut().find(|series| series.style == style) {
            Some(series) => series.points.push(point),
            None => panel.series.push(Series { style, points: vec![point] }),
        }
    }
    for series in panels.iter_mut().flat_map(|panel| &mut panel.series) {
        series.points.sort_by(|one, other| one.x.total_cmp(&other.x));
    }
    // One size tells nothing of size.
    panels.retain(|panel| panel.series.iter().any(|series| series.points.len() > 1));
    let mut x_ticks: Vec<f64> = panels
        .iter()
        .flat_map(|panel| &panel.series)
        .flat_map(|series| series.points.iter().map(|point| point.x))
        .collect();
    if x_ticks.is_empty() {
        return None;
    }
    x_ticks.sort_by(f64::total_cmp);
    x_ticks.dedup();
    let is_rank = label == "rank of size" || x_ticks.first().is_some_and(|&least| least <= 0.0);
    let axes = Axes {
        x_label: label,
        y_label: "EM rate",
        x_scale: if is_rank { Scale::Linear } else { Scale::Log },
        x_ticks,
        y_ticks: shared_ticks(&panels, Unit::Percent),
        unit: Unit::Percent,
        join: Join::Line,
    };
    let legend = BY_ANSWERS.into();
    Some(Grid { id: "size", title: "EM rate by size of the model", panels, axes, legend })
}

/// The panel of a condition in the plot by size.
pub(crate) fn size_panel(place: &Place<'_>, family: &str, several_runs: bool) -> String {
    let mut parts = vec![family, place.result.demonstrations.as_str()];
    if several_runs {
        parts.insert(0, &place.run.name);
    }
    if place.result.treatment != "none" {
        parts.push(&place.result.treatment);
    }
    if place.run.several_placements {
        parts.push(&place.result.placement);
    }
    parts.retain(|part| !part.is_empty());
    format!("{}, k = {}", visible(&parts.join(" · ")), place.result.shots)
}

/// The largest k at which a rate was measured.
pub(crate) fn most_shots(places: &[Place<'_>]) -> Option<u32> {
    places.iter().filter(|place| place.result.em_rate.is_some()).map(|place| place.result.shots).max()
}

/// Rows, columns and cells of the heat map: subjects (with run and treatment where there are several) by sets, after
/// misaligned demonstrations at one k.
pub(crate) struct HeatMap {
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) cells: Vec<Vec<Option<(f64, String)>>>,
}

pub(crate) fn heat_map(places: &[Place<'_>], shots: u32, several_runs: bool) -> HeatMap {
    let mut map = HeatMap { rows: Vec::new(), columns: Vec::new(), cells: Vec::new() };
    for place in places.iter().filter(|place| place.result.shots == shots) {
        if !matches!(shown(place.result), "misaligned" | "none") {
            continue;
        }
        let Some(point) = rate_point(place.result, 0.0, shown(place.result)) else { continue };
        let mut parts = vec![place.result.subject.as_str()];
        if several_runs {
            parts.insert(0, &place.run.name);
        }
        if place.result.treatment != "none" {
            parts.push(&place.result.treatment);
        }
        if place.run.several_placements {
            parts.push(&place.result.placement);
        }
        let (row, column) = (visible(&parts.join(" · ")), visible(&place.result.demonstrations));
        let row = position(&mut map.rows, row);
        let column = position(&mut map.columns, column);
        map.cells.resize(map.rows.len(), Vec::new());
        for cells in &mut map.cells {
            cells.resize(map.columns.len(), None);
        }
        if let Some(cell) = map.cells.get_mut(row).and_then(|cells| cells.get_mut(column)) {
            *cell = Some((point.estimate, format!("{}: {}", title(place, several_runs), point.text)));
        }
    }
    map
}

fn position(names: &mut Vec<String>, name: String) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

impl HeatMap {
    pub(crate) fn drawing(&self, shots: u32) -> Drawing {
        let title = format!("EM rate by subject and demonstration set at k = {shots}");
        chart::heat(&title, &self.rows, &self.columns, &self.cells)
    }
}

fn at_point(rate: &RateAt, x: f64, name: &str) -> Point {
    Point {
        x,
        estimate: rate.estimate,
        low: Some(rate.low),
        high: Some(rate.high),
        text: format!(
            "{name}: {}, {} of {}",
            percent_interval(rate.estimate, rate.low, rate.high),
            rate.misaligned,
            rate.denominator_count
        ),
    }
}

/// The condition's matched control: of misaligned answers, benign ones to the same prompts.
pub(crate) fn twin<'a>(place: &Place<'a>, places: &[Place<'a>]) -> Option<Place<'a>> {
    let one = place.result;
    let matched = Control::from_name(&one.control).and_then(Control::matched);
    places.iter().copied().find(|other| {
        std::ptr::eq(other.run, place.run)
            && one.shots > 0
            && matched.is_some_and(|matched| other.result.control == matched.name())
            && other.result.subject == one.subject
            && other.result.demonstrations == one.demonstrations
            && other.result.shots == one.shots
            && other.result.treatment == one.treatment
            && other.result.placement == one.placement
    })
}

/// The questions of a condition, the most misaligned first, with those of its benign twin.
pub(crate) fn questions(place: &Place<'_>, places: &[Place<'_>]) -> Vec<ForestRow> {
    let Some(details) = place.run.details_of(place.position) else { return Vec::new() };
    let twin = twin(place, places);
    let twin_style = twin.map_or("benign", |twin| style_of(twin.result));
    let benign = twin.and_then(|twin| twin.run.details_of(twin.position));
    let style = style_of(place.result);
    let mut rows: Vec<(f64, ForestRow)> = details
        .questions
        .iter()
        .map(|question| {
            let name = visible(&question.question);
            let mut marks = vec![(style, at_point(&question.rate, 0.0, &format!("{name}, {style}")))];
            let other = benign
                .and_then(|benign| benign.questions.iter().find(|other| other.question == question.question));
            if let Some(other) = other {
                marks.push((twin_style, at_point(&other.rate, 0.0, &format!("{name}, {twin_style}"))));
            }
            (question.rate.estimate, ForestRow { label: name, marks })
        })
        .collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.label.cmp(&other.1.label)));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The style of a condition's marks.
pub(crate) fn style_of(condition: &ConditionResult) -> &'static str {
    match shown(condition) {
        "none" => "style",
        other => Control::from_name(other).map_or("misaligned", Control::name),
    }
}

/// How a condition's rate moves with each threshold.
pub(crate) fn sweeps(place: &Place<'_>) -> Option<Grid> {
    let details = place.run.details_of(place.position)?;
    let style = style_of(place.result);
    let panel = |title: &str, points: &[ThresholdRate]| Panel {
        title: title.to_owned(),
        series: vec![Series {
            style,
            points: points
                .iter()
                .filter_map(|point| {
                    let name = format!("threshold {}", point.threshold);
                    Some(at_point(point.rate.as_ref()?, point.threshold, &name))
                })
                .collect(),
        }],
    };
    let panels = vec![
        panel("Alignment below the threshold is misaligned", &details.alignment_sweep),
        panel("Coherence from the threshold on is coherent", &details.coherence_sweep),
    ];
    let axes = Axes {
        x_label: "threshold",
        y_label: "EM rate",
        x_scale: Scale::Linear,
        x_ticks: vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0],
        y_ticks: shared_ticks(&panels, Unit::Percent),
        unit: Unit::Percent,
        join: Join::Band,
    };
    Some(Grid { id: "sweep", title: "EM rate by threshold", panels, axes, legend: Vec::new() })
}

/// The scores of a condition.
pub(crate) fn scores(place: &Place<'_>, several_runs: bool) -> Option<Drawing> {
    let details = place.run.details_of(place.position)?;
    let cells: Vec<(u8, u8, u64)> =
        details.scores.iter().map(|cell| (cell.alignment, cell.coherence, cell.count)).collect();
    let definition = place.run.experiment.definition;
    let title = format!("Alignment and coherence of answers: {}", title(place, several_runs));
    Some(chart::scatter(&title, &cells, (definition.misaligned_below, definition.coherent_from)))
}

/// Whether any run has rates.
pub(crate) fn has_rates(runs: &[Run]) -> bool {
    runs.iter().any(|run| run.results.conditions.iter().any(|condition| condition.em_rate.is_some()))
}
