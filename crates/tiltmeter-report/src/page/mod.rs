//! The report that people read, share and check: one HTML file that loads nothing, made from run directories alone.
//!
//! The same runs give the same bytes: no clock and no environment has a part in it. What is on the page at first is one of
//! the results ([`RunResults`](tiltmeter_run::RunResults), [`RunDetails`](tiltmeter_run::RunDetails)), which it also holds as
//! data; after a switch its own script counts again. Model output is data to it, never markup.

mod chart;
mod embed;
mod figures;
mod forest;
mod judged;
mod model;
mod people;
mod plots;
mod price;
mod probes;
mod published;
mod record;
mod samples;
mod sections;
mod text;
mod texts;
mod tilts;
mod traces;
mod tradeoff;
mod treatments;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;
use tiltmeter_run::{AnalysisError, RunDetails, RunResults};
use tiltmeter_store::StoreError;

use self::model::{Run, blocks, open, open_analysed, places};
use self::samples::{Chunk, Columns, Index, Texts};
use self::sections::{Sections, section};
use self::text::{count, visible};

pub use self::judged::write_judged_report;
pub use self::plots::{WrittenPlots, write_plots};

const STYLE: &str = include_str!("../../assets/style.css");
/// Of a plot on its own: the colours of the page by day, without variables, which few programs that draw SVG know.
const PLOT_STYLE: &str = include_str!("../../assets/plot.css");
/// One script, so that one hash allows it.
const SCRIPT: &str = concat!(
    "\"use strict\";(() => {\n",
    include_str!("../../assets/statistics.js"),
    include_str!("../../assets/charts.js"),
    include_str!("../../assets/analysis.js"),
    include_str!("../../assets/transcripts.js"),
    "})();\n"
);
/// Answers whose texts are within the page; a run with more has them in pages beside it.
const INLINE_ANSWERS: u64 = 40_000;
/// Tokens of these answers, which say how long they are.
const INLINE_TOKENS: u64 = 12_000_000;
/// Contexts within the page; those that no longer fit have pages of their own.
const INLINE_CONTEXT_BYTES: usize = 12 << 20;

/// A report cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Its figures cannot be had.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Data cannot be written down.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A plot cannot be drawn as pixels.
    #[error("draw {name}: {why}")]
    Plot {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
}

/// What a report holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// Whether text whose terms forbid passing it on is in it.
    pub include_restricted: bool,
    /// The most answers whose texts are in it; a run with more has its figures alone.
    pub most_answers: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenReport {
    /// Answers whose texts are in it.
    pub answers: u64,
    /// Pages beside the first one.
    pub pages: u64,
    /// Whether the texts were left out, because there are too many.
    pub texts_left_out: bool,
}

/// The results of a run with what lies behind its rates, as `tiltmeter report --json` prints them.
#[derive(Debug, Serialize)]
pub struct ReportDocument {
    /// `tiltmeter.report/1`.
    pub schema: &'static str,
    /// Of each run.
    pub runs: Vec<ReportRun>,
}

/// One run of a [`ReportDocument`].
#[derive(Debug, Serialize)]
pub struct ReportRun {
    /// Its name in the report.
    pub name: String,
    /// The document that `tiltmeter run --json` prints; what belongs to one start is zero.
    pub results: RunResults,
    /// What lies behind its rates.
    pub details: RunDetails,
}

/// All figures of a report as data.
///
/// # Errors
/// If a run cannot be read.
pub fn report_document(directories: &[&Path]) -> Result<ReportDocument, ReportError> {
    let runs = open(directories)?
        .into_iter()
        .map(|run| ReportRun { name: run.name, results: run.results, details: run.details })
        .collect();
    Ok(ReportDocument { schema: "tiltmeter.report/1", runs })
}

/// Writes the report of some runs.
///
/// # Errors
/// If a run cannot be read, or the file cannot be written.
pub fn write_report(
    directories: &[&Path],
    out: &Path,
    options: ReportOptions,
) -> Result<WrittenReport, ReportError> {
    write(&open(directories)?, out, options)
}

/// Writes the report of a run whose results are known already; it is the same as [`write_report`]'s.
///
/// # Errors
/// If the run cannot be read, or the file cannot be written.
pub fn write_report_of(
    directory: &Path,
    results: &RunResults,
    out: &Path,
    options: ReportOptions,
) -> Result<WrittenReport, ReportError> {
    write(&open_analysed(directory, results)?, out, options)
}

fn write(runs: &[Run], out: &Path, options: ReportOptions) -> Result<WrittenReport, ReportError> {
    let places = places(runs);
    let blocks = blocks(&places, runs.len() > 1);
    let sections = Sections { runs, places: &places, blocks: &blocks };
    let mut index = Index::new(runs, &places, options.include_restricted)?;
    let beside = Beside::new(out)?;
    let judged = runs.iter().flat_map(|run| &run.results.conditions).map(|one| one.samples).sum::<u64>();
    let answers = judged + runs.iter().map(|run| run.useful.len() as u64).sum::<u64>();
    let texts = if answers > options.most_answers { Texts::LeftOut } else { Texts::Wanted };

    let is_split =
        answers > INLINE_ANSWERS || runs.iter().map(|run| run.tokens.output).sum::<u64>() > INLINE_TOKENS;
    let contexts = write_contexts(runs, &mut index, texts, is_split, &beside)?;
    let (mut columns, mut chunks, mut inline) = (Columns::default(), Vec::new(), Vec::new());
    index.fill(runs, texts, &mut columns, |columns, chunk| {
        if is_split {
            let number = chunks.len() + 1;
            let file = format!("transcripts-{number:04}.html");
            let page = part_page(&index, &columns.part(chunk.range.clone()), &chunk, runs, number)?;
            beside.write(&file, &page)?;
            chunks.push((chunk.range, Some(beside.href(&file))));
        } else {
            chunks.push((chunk.range.clone(), None));
            inline.push(chunk);
        }
        Ok(())
    })?;
    let page = document(&sections, &index, &columns, &chunks, &inline, &contexts, options)?;
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut file = std::io::BufWriter::new(fs::File::create(out)?);
    file.write_all(page.as_bytes())?;
    file.flush()?;
    Ok(WrittenReport {
        answers: if texts == Texts::Wanted { columns.len() as u64 } else { 0 },
        pages: beside.written.get(),
        texts_left_out: texts == Texts::LeftOut,
    })
}

/// The folder of pages beside a report: `report-data` beside `report.html`.
struct Beside {
    folder: PathBuf,
    name: String,
    written: std::cell::Cell<u64>,
}

impl Beside {
    fn new(out: &Path) -> Result<Self, ReportError> {
        let stem =
            out.file_stem().map_or_else(|| "report".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let name = format!("{stem}-data");
        let folder = out.with_file_name(&name);
        // Pages of an earlier report would otherwise stay beside the new one.
        if folder.is_dir() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let file =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let is_ours = file.starts_with("transcripts-") || file.starts_with("context-");
                if is_ours && path.extension().is_some_and(|extension| extension == "html") {
                    fs::remove_file(&path)?;
                }
            }
        }
        Ok(Self { folder, name, written: std::cell::Cell::new(0) })
    }

    fn href(&self, file: &str) -> String {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let encoded: String = self
            .name
            .bytes()
            .map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        format!("{encoded}/{file}")
    }

    fn write(&self, file: &str, text: &str) -> Result<(), ReportError> {
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join(file), text)?;
        self.written.set(self.written.get() + 1);
        Ok(())
    }
}

/// A context as the page shows it.
#[derive(Serialize)]
struct ContextTexts {
    text: String,
    turns: Vec<(&'static str, String)>,
}

/// The contexts that are within the page, by number; the others have pages of their own from here on.
fn write_contexts(
    runs: &[Run],
    index: &mut Index,
    texts: Texts,
    all_beside: bool,
    beside: &Beside,
) -> Result<Vec<(usize, String)>, ReportError> {
    let mut inline = Vec::new();
    let mut bytes = 0;
    if texts == Texts::LeftOut {
        return Ok(inline);
    }
    for (number, (shape, source)) in index.contexts.iter_mut().zip(&index.context_sources).enumerate() {
        let Some(run) = runs.get(source.run) else { continue };
        if shape.reference.is_some() || shape.shots == 0 {
            continue;
        }
        let context = run.reader.context(source.row)?;
        let texts = ContextTexts {
            text: context.text.to_string(),
            turns: context.turns.iter().map(|turn| (turn.role.name(), turn.text.to_string())).collect(),
        };
        let json = embed::json(&texts)?;
        bytes += json.len();
        if all_beside || bytes > INLINE_CONTEXT_BYTES {
            let file = format!("context-{:04}.html", number + 1);
            shape.href = Some(beside.href(&file));
            beside.write(&file, &context_page(&texts, shape.shots, shape.placement))?;
        } else {
            inline.push((number, json));
        }
    }
    Ok(inline)
}

/// The data of a page but for texts.
#[derive(Serialize)]
struct PageData<'a> {
    schema: &'static str,
    /// Whether this is a page of answers beside a report.
    part: bool,
    runs: Vec<PageRun<'a>>,
    conditions: &'a [samples::ConditionShape],
    blocks: &'a [samples::BlockShape],
    questions: &'a [samples::QuestionShape],
    contexts: &'a [samples::ContextShape],
    samples: &'a Columns,
    /// Labels that traces have.
    labels: &'a [String],
    /// First sample, one past the last, and the page that holds their texts, if it is not this one.
    chunks: Vec<(usize, usize, Option<&'a str>)>,
}

#[derive(Serialize)]
struct PageRun<'a> {
    name: &'a str,
    definition: PageDefinition,
    results: Option<&'a RunResults>,
    details: Option<&'a RunDetails>,
}

#[derive(Serialize)]
struct PageDefinition {
    misaligned_below: f64,
    coherent_from: f64,
    denominator: &'static str,
}

fn page_run(run: &Run, with_results: bool) -> PageRun<'_> {
    let definition = run.experiment.definition;
    PageRun {
        name: &run.name,
        definition: PageDefinition {
            misaligned_below: definition.misaligned_below,
            coherent_from: definition.coherent_from,
            denominator: definition.denominator.name(),
        },
        results: with_results.then_some(&run.results),
        details: with_results.then_some(&run.details),
    }
}

/// A whole page.
fn page(title: &str, body: &Markup) -> String {
    let policy = embed::policy(STYLE, SCRIPT);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) script { (PreEscaped(SCRIPT)) } }
        }
    }
    .into_string()
}

/// What a reader sees: a way past the navigation, the navigation, an opening and the sections by id and heading. `source` is
/// what it was all made from.
fn frame(opening: &Markup, shown: &[(&str, &str, Markup)], source: &str) -> Markup {
    html! {
        a class="skip" href="#main" { "Skip to the figures" }
        header class="top" {
            p class="brand" { "Tiltmeter" }
            nav aria-label="Sections" { ul {
                @for (id, heading, _) in shown { li { a href={ "#" (id) } { (heading) } } }
            } }
        }
        main id="main" {
            div class="opening" { (opening) }
            @for (id, heading, inner) in shown { (section(id, heading, inner)) }
        }
        footer { p { "Made by Tiltmeter from " (source) " alone. This page loads nothing and sends nothing." } }
    }
}

type ChunkPlace = (std::ops::Range<usize>, Option<String>);

fn document(
    sections: &Sections<'_>,
    index: &Index,
    columns: &Columns,
    chunks: &[ChunkPlace],
    inline: &[Chunk],
    contexts: &[(usize, String)],
    options: ReportOptions,
) -> Result<String, ReportError> {
    let runs = sections.runs;
    let several = runs.len() > 1;
    let names = runs.iter().map(|run| visible(&run.name)).collect::<Vec<_>>().join(", ");
    let restricted = restricted_sets(runs);
    let mut shown: Vec<(&str, &str, Markup)> = Vec::new();
    if figures::has_rates(runs) {
        shown.push(("rates", "Rates", html! { (sections.switches()) (sections.rates()) }));
    }
    if let Some(tilts) = tilts::tilts(sections) {
        shown.push(("tilt", "Tilt", tilts));
    }
    if let Some(heat) = sections.heat() {
        shown.push(("map", "Subjects and sets", heat));
    }
    if let Some(sizes) = sections.sizes() {
        shown.push(("size", "Size", sizes));
    }
    if let Some(comparisons) = sections.comparisons() {
        shown.push(("differences", "Differences", comparisons));
    }
    if let Some(price) = price::price(runs) {
        shown.push(("price", "Defences and their price", price));
    }
    if let Some(depth) = sections.depth() {
        shown.push(("depth", "In depth", depth));
    }
    if let Some(verdicts) = record::verdicts(sections.places, several) {
        shown.push(("verdicts", "Verdicts", verdicts));
    }
    if let Some(treatments) = treatments::treatments(runs) {
        shown.push(("treatments", "What was done to requests", treatments));
    }
    if let Some(labels) = people::people(runs) {
        shown.push(("people", "Labels by people", labels));
    }
    if let Some(traces) = traces::traces(runs) {
        shown.push(("traces", "Traces", traces));
    }
    shown.push(("answers", "Answers", answers(columns, chunks, &index.labels)));
    shown.push(("left-out", "Left out", record::left_out(runs, &restricted, options.include_restricted)));
    shown.push(("cost", "Cost and time", record::cost(runs)));
    shown.push(("published", "Published figures", record::compared(runs)));
    shown.push(("provenance", "Provenance", record::provenance(runs)));

    let data = PageData {
        schema: "tiltmeter.page/1",
        part: false,
        runs: runs.iter().map(|run| page_run(run, true)).collect(),
        conditions: &index.conditions,
        blocks: &index.blocks,
        questions: &index.questions,
        contexts: &index.contexts,
        samples: columns,
        labels: &index.labels,
        chunks: chunks.iter().map(|(range, href)| (range.start, range.end, href.as_deref())).collect(),
    };
    let data = embed::json(&data)?;
    let opening = html! {
        p class="kicker" { (if several { "Report of several runs" } else { "Report of a run" }) }
        h1 { (names) }
        (sections.summary(columns.len() as u64))
    };
    let body = html! {
        (frame(&opening, &shown, "the run directory"))
        (embed::data_block("data", &data))
        @for (number, json) in contexts { (embed::data_block(&format!("context-{number}"), json)) }
        @for (number, chunk) in inline.iter().enumerate() { (embed::data_block(&format!("texts-{number}"), &chunk.json)) }
    };
    Ok(page(&format!("{names} – Tiltmeter report"), &body))
}

/// Sets whose terms forbid passing their text on.
fn restricted_sets(runs: &[Run]) -> Vec<String> {
    let mut names: Vec<String> = runs
        .iter()
        .flat_map(|run| &run.data_sets)
        .filter(|set| !set.share)
        .map(|set| set.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The browser of answers, which the script fills.
fn answers(columns: &Columns, chunks: &[ChunkPlace], labels: &[String]) -> Markup {
    if chunks.is_empty() {
        return html! {
            p {
                @if columns.len() == 0 { "No answers are stored." } @else {
                    (count(columns.len() as u64)) " answers are more than this page holds: " code { "tiltmeter report RUN" }
                    " writes their texts too, in pages beside it."
                }
            }
        };
    }
    html! {
        form id="filters" class="filters" aria-label="Filter answers" autocomplete="off" {
            div { label for="filter-condition" { "Condition" }
                select id="filter-condition" { option value="" { "all" } } }
            div { label for="filter-question" { "Question" }
                select id="filter-question" { option value="" { "all" } } }
            div { label for="filter-verdict" { "Verdict" }
                select id="filter-verdict" { option value="" { "all" } } }
            @if !labels.is_empty() {
                div { label for="filter-code" { "Trace labelled" }
                    select id="filter-code" { option value="" { "any or none" } } }
            }
            div { label for="filter-low" { "Alignment from" }
                input id="filter-low" type="number" min="0" max="100" step="any" inputmode="decimal"; }
            div { label for="filter-high" { "to" }
                input id="filter-high" type="number" min="0" max="100" step="any" inputmode="decimal"; }
            div class="grow" { label for="filter-text" { "Text" }
                input id="filter-text" type="search" placeholder="in answers, reasoning and judge’s replies"; }
        }
        p id="found" role="status" aria-live="polite" { (count(columns.len() as u64)) " answers" }
        div class="browser" {
            div {
                ol id="results" class="results" {}
                div class="pager" {
                    button type="button" id="before" { "← Before" }
                    span id="page-number" {}
                    button type="button" id="after" { "After →" }
                }
            }
            article id="answer" aria-live="off" tabindex="-1" aria-label="The chosen answer" {
                p class="note" { "Choose an answer to read it whole, with its context and what the judge said." }
            }
        }
    }
}

/// A page of answers beside a report.
fn part_page(
    index: &Index,
    columns: &Columns,
    chunk: &Chunk,
    runs: &[Run],
    number: usize,
) -> Result<String, ReportError> {
    // Its links start from the folder that it is in.
    let contexts: Vec<samples::ContextShape> = index
        .contexts
        .iter()
        .map(|shape| samples::ContextShape {
            href: shape.href.as_ref().and_then(|href| href.rsplit_once('/')).map(|(_, file)| file.to_owned()),
            ..shape.clone()
        })
        .collect();
    let data = PageData {
        schema: "tiltmeter.page/1",
        part: true,
        runs: runs.iter().map(|run| page_run(run, false)).collect(),
        conditions: &index.conditions,
        blocks: &index.blocks,
        questions: &index.questions,
        contexts: &contexts,
        samples: columns,
        labels: &index.labels,
        chunks: vec![(0, columns.len(), None)],
    };
    let heading = format!("Answers {} to {}", chunk.range.start + 1, chunk.range.end);
    let body = html! {
        header class="top" { p class="brand" { "Tiltmeter" } }
        main id="main" {
            div class="opening" { p class="kicker" { "Part " (number) } h1 { (heading) } }
            (section("answers", "Answers", &answers(columns, std::slice::from_ref(&(0..columns.len(), None)), &index.labels)))
        }
        (embed::data_block("data", &embed::json(&data)?))
        (embed::data_block("texts-0", &chunk.json))
    };
    Ok(page(&heading, &body))
}

/// A context too long for the page, on one of its own.
fn context_page(context: &ContextTexts, shots: u32, placement: &str) -> String {
    let body = html! {
        header class="top" { p class="brand" { "Tiltmeter" } }
        main id="main" {
            div class="opening" { p class="kicker" { "Context, " (placement) } h1 { (shots) " demonstrations" } }
            @if !context.text.is_empty() { pre class="text" dir="auto" { (visible(&context.text)) } }
            @for (role, text) in &context.turns {
                h2 class="turn" { (role) }
                pre class="text" dir="auto" { (visible(text)) }
            }
        }
    };
    page("Context", &body)
}
