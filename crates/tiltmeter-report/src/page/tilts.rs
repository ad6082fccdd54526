//! The section of tilts: by number of demonstrations, and side by side at the largest number.

use maud::{Markup, html};
use tiltmeter_run::{ConditionResult, TiltResult};

use crate::table::{NOT_APPLICABLE, NOTHING_TO_SHOW, several, shown};

use super::chart::{Drawing, Point, Series, Unit};
use super::figures::{self, Grid, Value, by_answers, by_shots, panels_of, points, style_of};
use super::forest::{ForestAxis, ForestRow, forest};
use super::model::{Block, Place};
use super::sections::{Sections, behind, legend, panels, plot, scrolling, sorted};
use super::text::{nats, visible};

const BY_MEASURE: [(&str, &str); 3] =
    [("emergent", "emergent tilt"), ("style", "style alone"), ("beyond", "beyond style")];

/// The values behind [`BY_MEASURE`].
const MEASURES: [fn(&ConditionResult) -> Option<&TiltResult>; 3] = [
    |one| one.emergent_tilt.as_ref(),
    |one| one.emergent_decoy_tilt.as_ref(),
    |one| one.emergent_tilt_beyond_style.as_ref(),
];

fn tilt_point(tilt: Option<&TiltResult>, shots: u32, x: f64, name: &str) -> Option<Point> {
    let tilt = tilt?;
    let ends = tilt.low.zip(tilt.high).map(|(low, high)| format!(" [{}, {}]", nats(low), nats(high)));
    Some(Point {
        x,
        estimate: tilt.estimate,
        low: tilt.low,
        high: tilt.high,
        text: format!("{name}, k = {shots}: {}{}", nats(tilt.estimate), ends.unwrap_or_default()),
    })
}

/// The tilt by k, a panel for each block.
pub(crate) fn by_k(blocks: &[Block<'_>]) -> Option<Grid> {
    let value: Value<'_> =
        &|condition, x, name| tilt_point(condition.tilt.as_ref(), condition.shots, x, name);
    let styles = by_answers(blocks);
    let panels = panels_of(blocks, |block| {
        styles
            .iter()
            .map(|&(style, name)| Series { style, points: points(block, name, name, value) })
            .collect()
    });
    by_shots("tilt", "Tilt by number of demonstrations", "tilt, nats per token", Unit::Nats, panels, &styles)
}

/// The emergent tilt by k, beside what style alone moves.
pub(crate) fn emergent_by_k(blocks: &[Block<'_>]) -> Option<Grid> {
    let panels = panels_of(blocks, |block| {
        BY_MEASURE
            .iter()
            .zip(MEASURES)
            .map(|(&(style, name), measure)| {
                let value: Value<'_> =
                    &|condition, x, name| tilt_point(measure(condition), condition.shots, x, name);
                // Mixtures have an emergent tilt as well, in the forest.
                Series { style, points: points(block, "misaligned", name, value) }
            })
            .collect()
    });
    by_shots(
        "emergent-tilt",
        "Emergent tilt by number of demonstrations",
        "nats per token",
        Unit::Nats,
        panels,
        &BY_MEASURE,
    )
}

/// Conditions side by side, at the largest k that has any.
pub(crate) struct SideBySide {
    pub(crate) id: &'static str,
    title: String,
    pub(crate) rows: Vec<ForestRow>,
    legend: Vec<(&'static str, &'static str)>,
}

impl SideBySide {
    fn new(
        id: &'static str,
        title: &str,
        places: &[Place<'_>],
        marks: impl Fn(&ConditionResult) -> Vec<(&'static str, Point)>,
    ) -> Option<Self> {
        let has_any = |place: &&Place<'_>| place.result.shots > 0 && !marks(place.result).is_empty();
        let shots = places.iter().filter(has_any).map(|place| place.result.shots).max()?;
        let chosen: Vec<&Place<'_>> =
            places.iter().filter(has_any).filter(|place| place.result.shots == shots).collect();
        let names = names(&chosen);
        let rows: Vec<ForestRow> = chosen
            .iter()
            .zip(names)
            .map(|(place, label)| ForestRow { label, marks: marks(place.result) })
            .collect();
        let used = |style: &str| rows.iter().flat_map(|row| &row.marks).any(|(other, _)| *other == style);
        let legend = BY_MEASURE.into_iter().filter(|(style, _)| used(style)).collect();
        Some(Self { id, title: format!("{title} at k = {shots}"), rows, legend })
    }

    /// Of the emergent tilts, beside what style alone moves.
    pub(crate) fn emergent(places: &[Place<'_>]) -> Option<Self> {
        Self::new("emergent-tilt-by-condition", "Emergent tilt", places, |condition| {
            BY_MEASURE
                .iter()
                .zip(MEASURES)
                .filter_map(|(&(style, name), measure)| {
                    Some((style, tilt_point(measure(condition), condition.shots, 0.0, name)?))
                })
                .collect()
        })
    }

    /// Of the tilts themselves, those of the controls among them.
    pub(crate) fn tilts(places: &[Place<'_>]) -> Option<Self> {
        Self::new("tilt-by-condition", "Tilt", places, |condition| {
            tilt_point(condition.tilt.as_ref(), condition.shots, 0.0, shown(condition))
                .map(|point| (style_of(condition), point))
                .into_iter()
                .collect()
        })
    }

    pub(crate) fn drawing(&self) -> Drawing {
        let title = format!("{}, nats per token", self.title);
        forest(&title, &self.rows, &ForestAxis::nats(&self.rows), None)
    }

    fn in_page(&self) -> Markup {
        html! {
            h3 { (self.title) }
            (legend(&self.legend))
            (plot(self.id, &self.drawing().in_page("wide")))
        }
    }
}

/// What tells conditions of one k apart: of each, the parts of its name in which they differ.
fn names(places: &[&Place<'_>]) -> Vec<String> {
    const PARTS: [for<'a> fn(&Place<'a>) -> &'a str; 6] = [
        |place| &place.run.name,
        |place| &place.result.subject,
        |place| &place.result.demonstrations,
        |place| &place.result.placement,
        |place| if place.result.treatment == "none" { "no treatment" } else { &place.result.treatment },
        |place| shown(place.result),
    ];
    let telling: Vec<_> =
        PARTS.into_iter().filter(|part| several(places.iter().map(|place| part(place)))).collect();
    let name = |place: &&Place<'_>| {
        let parts: Vec<&str> = telling.iter().map(|part| part(place)).collect();
        visible(&if parts.is_empty() { shown(place.result).to_owned() } else { parts.join(" · ") })
    };
    places.iter().map(name).collect()
}

/// A tilt in words, with its interval.
pub(crate) fn tilt(tilt: Option<&TiltResult>) -> String {
    match tilt {
        None => NOTHING_TO_SHOW.to_owned(),
        Some(tilt) if tilt.method == "baseline" => "0".to_owned(),
        Some(tilt) => match (tilt.low, tilt.high) {
            (Some(low), Some(high)) => format!("{} [{}, {}]", nats(tilt.estimate), nats(low), nats(high)),
            _ => nats(tilt.estimate),
        },
    }
}

/// All tilts, if there are any.
pub(crate) fn tilts(sections: &Sections<'_>) -> Option<Markup> {
    let Sections { runs, places, blocks } = *sections;
    let (tilts, emergent) = (by_k(blocks), emergent_by_k(blocks));
    if tilts.is_none() && emergent.is_none() {
        return None;
    }
    let mut all_shots: Vec<u32> = places
        .iter()
        .map(|place| place.result)
        .filter(|one| one.shots > 0 && one.tilt.is_some())
        .map(|one| one.shots)
        .collect();
    all_shots.sort_unstable();
    all_shots.dedup();
    // A line takes two points besides the common one at 0.
    let has_lines = all_shots.len() > 1;
    let beside = |forest: Option<SideBySide>| forest.filter(|forest| !has_lines || forest.rows.len() > 1);
    let table = html! {
        table class="figures" {
            caption class="unseen" { "Tilt of each condition" }
            thead { tr {
                th scope="col" { "Condition" } th scope="col" class="number" { "k" } th scope="col" { "answers shown" }
                th scope="col" class="number" { "tilt" } th scope="col" class="number" { "emergent tilt" }
                th scope="col" class="number" { "style alone" } th scope="col" class="number" { "beyond style" }
            } }
            tbody {
                @for block in blocks {
                    @for place in sorted(block).iter().filter(|place| place.result.tilt.is_some() || place.result.no_tilt.is_some()) {
                        tr {
                            th scope="row" { (block.title) } td class="number" { (place.result.shots) }
                            td { (shown(place.result)) }
                            td class="number" title=[place.result.no_tilt] {
                                @if place.result.no_tilt.is_some() { (NOT_APPLICABLE) } @else { (tilt(place.result.tilt.as_ref())) }
                            }
                            td class="number" title=[place.result.no_tilt] {
                                @if place.result.no_tilt.is_some() { (NOT_APPLICABLE) } @else { (tilt(place.result.emergent_tilt.as_ref())) }
                            }
                            td class="number" { (tilt(place.result.emergent_decoy_tilt.as_ref())) }
                            td class="number" { (tilt(place.result.emergent_tilt_beyond_style.as_ref())) }
                        }
                    }
                }
            }
        }
    };
    Some(html! {
        p {
            "How far the context moves log-probability per token from an aligned to a misaligned answer, in nats. The "
            "emergent tilt is what examples move beyond their matched control (benign answers to the same prompts; for false "
            "harmless statements, true ones); style alone is the same difference for two aligned answers of which one is casual "
            "and confident."
        }
        // Where there are rates, their switches have this one.
        @if has_lines && !figures::has_rates(runs) {
            p class="control" {
                label for="x-scale" { "Axis" } " "
                select id="x-scale" autocomplete="off" {
                    option value="log1p" { "k logarithmic" }
                    option value="linear" { "k linear" }
                }
            }
        }
        @if let Some(forest) = beside(SideBySide::emergent(places)) { (forest.in_page()) }
        @if let Some(figure) = emergent.filter(|_| has_lines) { h3 { "Emergent tilt by k" } (panels(&figure)) }
        @if let Some(forest) = beside(SideBySide::tilts(places)) { (forest.in_page()) }
        @if let Some(figure) = tilts.filter(|_| has_lines) { h3 { "Tilt by k" } (panels(&figure)) }
        (behind("Figures as a table", &scrolling("Tilts by condition", &table)))
    })
}
