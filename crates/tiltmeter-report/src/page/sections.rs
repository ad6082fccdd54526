//! The sections of a report that show rates and tilts.

use maud::{Markup, html};
use tiltmeter_core::verdict::Denominator;
use tiltmeter_run::{Comparison, ConditionResult, EffectResult, TiltResult};

use crate::table::{NOTHING_TO_SHOW, answers_shown, shown, verdicts};

use super::chart;
use super::figures::{self, Grid};
use super::forest::{ForestAxis, ForestRow, forest};
use super::model::{Block, Place, Run, headline, title};
use super::text::{count, percent, percent_interval, visible};
use super::tilts::tilt;

/// What all sections are made from.
pub(crate) struct Sections<'a> {
    pub(crate) runs: &'a [Run],
    pub(crate) places: &'a [Place<'a>],
    pub(crate) blocks: &'a [Block<'a>],
}

/// A section with its heading, which the navigation leads to.
pub(crate) fn section(id: &str, heading: &str, inner: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-heading" } {
            h2 id={ (id) "-heading" } { (heading) }
            (inner)
        }
    }
}

/// A table that scrolls by itself where it is wider than the page; focusable, so that keys scroll it too.
pub(crate) fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div class="scroll" role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// A plot that scrolls by itself where it is wider than the page.
pub(crate) fn plot(id: &str, drawing: &Markup) -> Markup {
    html! { div class="plot" data-figure=(id) role="region" aria-label={ "Plot: " (id) } tabindex="0" { (drawing) } }
}

pub(crate) fn behind(summary: &str, inner: &Markup) -> Markup {
    html! { details class="behind" { summary { (summary) } (inner) } }
}

pub(crate) fn legend(entries: &[(&'static str, &'static str)]) -> Markup {
    html! {
        @if entries.len() > 1 {
            ul class="legend" {
                @for (style, name) in entries { li { (chart::key(style)) (name) } }
            }
        }
    }
}

pub(crate) fn panels(panels: &Grid) -> Markup {
    html! {
        (legend(&panels.legend))
        div class="panels" data-figure=(panels.id) {
            @for panel in &panels.panels { (chart::panel(panel, &panels.axes)) }
        }
    }
}

impl Sections<'_> {
    fn several(&self) -> bool {
        self.runs.len() > 1
    }

    /// The first screen: what was measured, and the highest rate.
    pub(crate) fn summary(&self, answers: u64) -> Markup {
        let mut subjects: Vec<&str> = Vec::new();
        let mut sets: Vec<&str> = Vec::new();
        let mut judges: Vec<&str> = Vec::new();
        for run in self.runs {
            for one in &run.results.conditions {
                if !subjects.contains(&one.subject.as_str()) {
                    subjects.push(&one.subject);
                }
                if !sets.contains(&one.demonstrations.as_str()) {
                    sets.push(&one.demonstrations);
                }
            }
            let judge = run.judge().unwrap_or("none");
            if !judges.contains(&judge) {
                judges.push(judge);
            }
        }
        html! {
            (self.lead())
            dl class="facts" {
                div { dt { "Answers" } dd { (count(answers)) } }
                div { dt { "Conditions" } dd { (count(self.places.len() as u64)) } }
                div { dt { (if subjects.len() == 1 { "Subject" } else { "Subjects" }) } dd { (visible(&subjects.join(", "))) } }
                div { dt { (if sets.len() == 1 { "Demonstration set" } else { "Demonstration sets" }) }
                    dd { (visible(&sets.join(", "))) } }
                div { dt { "Judge" } dd { (visible(&judges.join(", "))) } }
                @let known: f64 = self.runs.iter().map(|run| run.costs.subjects_usd + run.costs.judge_usd).sum();
                @let unknown: u64 = self.runs.iter().map(|run| run.costs.unknown_calls).sum();
                div { dt { "Cost" } dd {
                    @if known > 0.0 || unknown == 0 { (format!("US$ {known:.2}")) } @else { "not known" }
                } }
            }
        }
    }

    fn lead(&self) -> Markup {
        let best = headline(self.places);
        html! {
            @if let Some((place, rate)) = best.and_then(|place| Some((place, place.result.em_rate.as_ref()?))) {
                p class="lead" data-lead=(place.index) {
                    "Highest EM rate after misaligned demonstrations: "
                    strong data-lead-rate="" { (percent_interval(rate.estimate, rate.low, rate.high)) }
                    " — " (title(&place, self.several())) "."
                    @if let Some((twin, benign)) = figures::twin(&place, self.places)
                        .and_then(|twin| Some((twin, twin.result.em_rate.as_ref()?))) {
                        " After benign answers to the same prompts: "
                        strong data-lead-twin=(twin.index) { (percent_interval(benign.estimate, benign.low, benign.high)) }
                        "."
                    }
                }
            } @else if let Some((place, tilt)) = self.places.iter()
                .filter_map(|place| Some((place, place.result.emergent_tilt.as_ref()?)))
                .reduce(|best, next| if next.1.estimate > best.1.estimate { next } else { best }) {
                p class="lead" {
                    "Largest emergent tilt: "
                    strong { (tilt_in_words(tilt)) " nats per token" }
                    " — " (title(place, self.several())) "."
                }
            } @else {
                p class="lead" { "No rate and no tilt yet: answers are not judged, or have not been asked for." }
            }
        }
    }

    pub(crate) fn switches(&self) -> Markup {
        let definition = self.runs.first().map(|run| run.experiment.definition).unwrap_or_default();
        let thresholds = (definition.misaligned_below, definition.coherent_from);
        switches(thresholds, definition.denominator, true, "Back to the run’s own")
    }

    pub(crate) fn rates(&self) -> Markup {
        let figure = figures::rates(self.blocks);
        html! {
            @if let Some(figure) = &figure { (panels(figure)) }
            p class="note" {
                "95 % intervals: Wilson’s, wider where answers to one question resemble each other; confidence sequences where "
                "sampling was adaptive. Bounds: answers without a verdict all taken as aligned, or all as misaligned."
            }
            (scrolling("Rates by condition", &self.rate_table()))
        }
    }

    fn rate_table(&self) -> Markup {
        html! {
            table class="figures" id="rate-table" {
                caption class="unseen" { "EM rate of each condition" }
                thead { tr {
                    th scope="col" { "Condition" } th scope="col" class="number" { "k" } th scope="col" { "answers shown" }
                    th scope="col" class="number" { "EM rate" } th scope="col" class="number" { "95 % interval" }
                    th scope="col" class="number" { "misaligned / counted" } th scope="col" class="number" { "bounds" }
                    th scope="col" class="number" { "answers" } th scope="col" { "verdicts" }
                } }
                tbody {
                    @for block in self.blocks {
                        @for place in sorted(block).iter().filter(|place| place.result.samples > 0) {
                            (rate_row(&block.title, place))
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn sizes(&self) -> Option<Markup> {
        let figure = figures::sizes(self.places, self.several())?;
        let table = html! {
            table class="figures" {
                thead { tr { th scope="col" { "Family and set" } th scope="col" { "Value" } } }
                tbody {
                    @for panel in &figure.panels {
                        @for point in panel.series.iter().flat_map(|series| &series.points) {
                            tr { th scope="row" { (panel.title) } td { (point.text) } }
                        }
                    }
                }
            }
        };
        let scale = self.runs.iter().flat_map(|run| &run.results.across_subjects);
        Some(html! {
            (panels(&figure))
            @for across in scale {
                @if let Some(scale) = &across.scale {
                    p class="note" {
                        (visible(&across.demonstrations)) ": " (format!("{:+.3}", scale.effect.estimate))
                        @if let (Some(low), Some(high)) = (scale.effect.low, scale.effect.high) {
                            (format!(" [{low:+.3}, {high:+.3}]"))
                        }
                        " logits per "
                        (if scale.measure == "parameters_b" { "doubling of parameters" } else { "rank of size" })
                        "; " (scale.subjects.len()) " subjects as clusters, by the run’s own definition"
                    }
                }
            }
            (behind("Figures as a table", &scrolling("Rates by size", &table)))
        })
    }

    pub(crate) fn heat(&self) -> Option<Markup> {
        let most = figures::most_shots(self.places)?;
        let mut shots: Vec<u32> = self
            .places
            .iter()
            .filter(|place| place.result.em_rate.is_some())
            .map(|place| place.result.shots)
            .collect();
        shots.sort_unstable();
        shots.dedup();
        let map = figures::heat_map(self.places, most, self.several());
        Some(html! {
            p class="control" {
                label for="heat-shots" { "Demonstrations (k)" } " "
                select id="heat-shots" autocomplete="off" {
                    @for &one in &shots { option value=(one) selected[one == most] { (one) } }
                }
            }
            (plot("heat", &map.drawing(most).in_page("natural")))
        })
    }

    /// One condition in depth: its questions, how its rate moves with thresholds, its scores.
    pub(crate) fn depth(&self) -> Option<Markup> {
        let place = headline(self.places)?;
        let rows: Vec<ForestRow> = figures::questions(&place, self.places);
        let name = title(&place, self.several());
        let forest = forest(&format!("EM rate by question: {name}"), &rows, &ForestAxis::rates(), None);
        let sweeps = figures::sweeps(&place)?;
        let scores = figures::scores(&place, self.several())?;
        Some(html! {
            p class="control" {
                label for="depth-condition" { "Condition" } " "
                select id="depth-condition" autocomplete="off" {
                    @for one in self.places.iter().filter(|one| one.run.details_of(one.position).is_some()) {
                        option value=(one.index) selected[one.index == place.index] { (title(one, self.several())) }
                    }
                }
            }
            h3 id="questions" { "By question" }
            p class="note" {
                "Wilson’s interval of each question’s own answers; its matched control (benign answers to the same prompts) beside it, where that was shown."
            }
            (plot("questions", &forest.in_page("wide")))
            (behind("Figures as a table", &scrolling("Rates by question", &html! {
                table class="figures" id="question-table" { (question_rows(&rows)) }
            })))
            h3 id="thresholds" { "By threshold" }
            div class="panels two" data-figure="sweep" {
                @for panel in &sweeps.panels { (chart::panel(panel, &sweeps.axes)) }
            }
            (scrolling("Rate by definition", &html! {
                table class="figures" id="definition-table" { (definition_rows(&place)) }
            }))
            h3 id="scores" { "Scores" }
            p class="note" {
                "Each dot is the answers with these two scores, rounded down; its size says how many. Lines are the thresholds, "
                "bars the margins."
            }
            (plot("scores", &scores.in_page("square")))
        })
    }

    /// Differences between conditions, by the run's own definition.
    pub(crate) fn comparisons(&self) -> Option<Markup> {
        let pairs: Vec<(&Run, &Comparison)> = self
            .runs
            .iter()
            .flat_map(|run| run.results.comparisons.pairs.iter().map(move |pair| (run, pair)))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let has_controls = pairs.iter().any(|(_, pair)| pair.control != "none");
        let table = html! {
            table class="figures" {
                caption class="unseen" { "Misaligned demonstrations against controls" }
                thead { tr {
                    th scope="col" { "Condition" } th scope="col" class="number" { "k" }
                    @if has_controls { th scope="col" { "answers shown" } }
                    th scope="col" { "against" }
                    th scope="col" class="number" { "difference, points" } th scope="col" class="number" { "p" }
                    th scope="col" class="number" { "adjusted p" } th scope="col" class="number" { "risk ratio" }
                } }
                tbody {
                    @for (run, pair) in &pairs {
                        tr {
                            th scope="row" { (self.compared(run, pair)) }
                            td class="number" { (pair.shots) }
                            @if has_controls { td { (visible(answers_shown(&pair.control, pair.shots))) } }
                            td { (against(pair.against)) }
                            td class="number" { (effect(&pair.difference, 100.0, 1)) }
                            td class="number" { (p_value(pair.p_value)) } td class="number" { (p_value(pair.adjusted_p_value)) }
                            td class="number" {
                                (pair.risk_ratio.as_ref().map_or_else(|| NOTHING_TO_SHOW.to_owned(), |ratio| effect(ratio, 1.0, 2)))
                            }
                        }
                    }
                }
            }
        };
        Some(html! {
            p class="note" {
                "Paired by question, with the run’s own definition of the rate: switches do not change this table. Adjusted p: "
                "corrected for all differences of one family."
            }
            (scrolling("Differences between conditions", &table))
        })
    }

    fn compared(&self, run: &Run, pair: &Comparison) -> String {
        let mut parts = vec![pair.subject.as_str(), &pair.demonstrations];
        if self.several() {
            parts.insert(0, &run.name);
        }
        if pair.treatment != "none" {
            parts.push(&pair.treatment);
        }
        if run.several_placements {
            parts.push(&pair.placement);
        }
        visible(&parts.join(" · "))
    }
}

/// The switches: what counts as misaligned and coherent, over what, and how axes are drawn.
/// Axes are of k and of plots by k, which a page without k hides.
pub(crate) fn switches(
    (misaligned_below, coherent_from): (f64, f64),
    own: Denominator,
    has_axes: bool,
    back: &str,
) -> Markup {
    let denominators = [
        (Denominator::Coherent, "coherent, with an alignment score"),
        (Denominator::CoherentAny, "coherent, with or without an alignment score"),
        (Denominator::Scored, "both scores"),
        (Denominator::All, "all answers"),
    ];
    html! {
        form id="switches" class="switches" aria-label="Definition of the rate" autocomplete="off" {
            fieldset {
                legend { "Counts as misaligned" }
                label for="misaligned-op" class="unseen" { "Comparison of alignment" }
                span class="words" { "alignment" }
                select id="misaligned-op" { option value="below" { "<" } option value="at-most" { "≤" } }
                label for="misaligned-at" class="unseen" { "Alignment threshold" }
                input id="misaligned-at" type="number" min="0" max="100" step="any"
                    value=(misaligned_below) inputmode="decimal";
                span class="words" { "and coherence" }
                label for="coherent-op" class="unseen" { "Comparison of coherence" }
                select id="coherent-op" { option value="from" { "≥" } option value="above" { ">" } }
                label for="coherent-at" class="unseen" { "Coherence threshold" }
                input id="coherent-at" type="number" min="0" max="100" step="any"
                    value=(coherent_from) inputmode="decimal";
            }
            fieldset {
                legend { "Among" }
                label for="denominator" class="unseen" { "Denominator" }
                select id="denominator" {
                    @for (denominator, words) in denominators {
                        option value=(denominator.name()) selected[denominator == own] { (words) }
                    }
                }
            }
            fieldset hidden[!has_axes] {
                legend { "Axes" }
                label for="x-scale" class="unseen" { "Axis of k" }
                select id="x-scale" { option value="log1p" { "k logarithmic" } option value="linear" { "k linear" } }
                label for="y-scale" class="unseen" { "Axis of rates" }
                select id="y-scale" { option value="linear" { "rates linear" } option value="log" { "rates logarithmic" } }
            }
            button type="reset" id="reset" { (back) }
            p id="definition" role="status" aria-live="polite" {}
        }
        noscript { p class="note" {
            "Switches and the browser of answers need JavaScript; the figures below stand without it."
        } }
    }
}

fn tilt_in_words(result: &TiltResult) -> String {
    tilt(Some(result))
}

fn against(name: &str) -> &str {
    match name {
        "no-demonstrations" => "no demonstrations",
        "untreated" => "untreated",
        other => other,
    }
}

pub(super) fn effect(effect: &EffectResult, factor: f64, decimals: usize) -> String {
    let shown = |value: f64| {
        let value = value * factor;
        if factor > 1.0 { format!("{value:+.decimals$}") } else { format!("{value:.decimals$}") }
    };
    match (effect.low, effect.high) {
        (Some(low), Some(high)) => format!("{} [{}, {}]", shown(effect.estimate), shown(low), shown(high)),
        _ => shown(effect.estimate),
    }
}

fn p_value(value: f64) -> String {
    if value < 0.001 { "< 0.001".to_owned() } else { format!("{value:.3}") }
}

/// A block's conditions by k, the misaligned ones first.
pub(crate) fn sorted<'a>(block: &Block<'a>) -> Vec<Place<'a>> {
    let mut places = block.places.clone();
    places.sort_by_key(|place| place.result.shots);
    places
}

fn rate_row(block: &str, place: &Place<'_>) -> Markup {
    let condition: &ConditionResult = place.result;
    let rate = condition.em_rate.as_ref();
    let cell = |text: Option<String>| text.unwrap_or_else(|| NOTHING_TO_SHOW.to_owned());
    html! {
        tr data-condition=(place.index) {
            th scope="row" { (block) }
            td class="number" { (condition.shots) }
            td { @if shown(condition) != "none" { (chart::key(figures::style_of(condition))) } (shown(condition)) }
            td class="number strong" data-cell="rate" { (cell(rate.map(|rate| format!("{} %", percent(rate.estimate))))) }
            td class="number" data-cell="interval" {
                (cell(rate.map(|rate| format!("[{}, {}]", percent(rate.low), percent(rate.high)))))
            }
            td class="number" data-cell="counts" {
                (cell(rate.map(|rate| format!("{} / {}", rate.misaligned, rate.denominator_count))))
            }
            td class="number" data-cell="bounds" {
                (cell(rate.map(|rate| format!("{}–{}", percent(rate.bounds.low), percent(rate.bounds.high)))))
            }
            td class="number" { (count(condition.samples)) }
            td { (verdicts(&condition.verdicts)) }
        }
    }
}

fn question_rows(rows: &[ForestRow]) -> Markup {
    html! {
        thead { tr { th scope="col" { "Question" } th scope="col" { "EM rate" } } }
        tbody {
            @for row in rows {
                @for (_, point) in &row.marks { tr { th scope="row" { (row.label) } td { (point.text) } } }
            }
        }
    }
}

/// The rate under each denominator and inequality.
fn definition_rows(place: &Place<'_>) -> Markup {
    let definitions = place.run.details_of(place.position).map(|details| details.definitions.as_slice());
    let definition = place.run.experiment.definition;
    html! {
        caption { "The rate by denominator and inequality, at these thresholds" }
        thead { tr {
            th scope="col" { "Denominator" } th scope="col" { "Misaligned and coherent" }
            th scope="col" class="number" { "EM rate" } th scope="col" class="number" { "misaligned / counted" }
        } }
        tbody {
            @for one in definitions.unwrap_or_default() {
                tr {
                    th scope="row" { (one.denominator) }
                    td { "alignment " (one.misaligned) " " (definition.misaligned_below) ", coherence " (one.coherent) " "
                        (definition.coherent_from) }
                    td class="number" { (one.rate.map_or_else(|| NOTHING_TO_SHOW.to_owned(),
                        |rate| percent_interval(rate.estimate, rate.low, rate.high))) }
                    td class="number" { (one.rate.map_or_else(|| NOTHING_TO_SHOW.to_owned(),
                        |rate| format!("{} / {}", rate.misaligned, rate.denominator_count))) }
                }
            }
        }
    }
}
