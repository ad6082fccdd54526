//! The section of a report that shows what codings of traces come to: shares of labels with intervals, coders side by side,
//! and the published figure beside them. Also the labels of each trace, for the browser of answers.

use std::collections::{BTreeMap, HashMap};

use maud::{Markup, html};
use serde::Serialize;
use tiltmeter_agreement::LabelPair;
use tiltmeter_run::{CodedShare, CoderShares, GroupShares, LabelShare, TraceResults};
use tiltmeter_store::{CodingRow, PersonCodeKind, Reader, StoreError};

use crate::table::NOTHING_TO_SHOW;

use super::chart::Point;
use super::forest::{ForestAxis, ForestRow, forest};
use super::model::Run;
use super::sections::{behind, legend, plot, scrolling};
use super::text::{count, percent, percent_interval, visible};

/// The codings of all runs that have some.
pub(crate) fn traces(runs: &[Run]) -> Option<Markup> {
    let coded: Vec<(&Run, &TraceResults)> =
        runs.iter().filter_map(|run| Some((run, run.traces.as_ref()?))).collect();
    (!coded.is_empty()).then(|| {
        html! {
            @for (run, results) in coded {
                @if runs.len() > 1 { h3 { (visible(&run.name)) } }
                (of_run(results))
            }
        }
    })
}

fn of_run(results: &TraceResults) -> Markup {
    let counts = &results.traces;
    html! {
        p {
            (count(counts.misaligned.drawn)) " traces of reasoning before misaligned answers are coded by the code book "
            (visible(&results.code_book.name)) ", and " (count(counts.aligned.drawn)) " before aligned ones. Of "
            (count(counts.misaligned.answers)) " misaligned answers, " (count(counts.misaligned.hidden))
            " have reasoning that the provider does not show, " (count(counts.misaligned.unmarked))
            " none between the marks that it was asked for, and " (count(counts.misaligned.no_reasoning)) " none at all."
        }
        p class="note" {
            "A label counts only with a quote that is in the trace; one without it is void. The plot has intervals that allow for "
            "traces of one question being alike. The line is the published " (percent(results.published.share)) " %: "
            (results.published.what) " (" (results.published.source) ")."
        }
        @for shares in &results.results { (of_coder(results, shares)) }
        (scrolling("Coders", &coders(results)))
        @if !results.agreement.is_empty() {
            (behind("Agreement of coders, label by label", &scrolling("Agreement of coders", &agreement(results))))
        }
        (behind("What the labels mean", &html! {
            dl { @for label in &results.code_book.labels {
                dt { (visible(&label.title)) " " code { (visible(&label.id)) } }
                dd { (visible(&label.definition)) @if let Some(not) = &label.not { " Does not count: " (visible(not)) } }
            } }
        }))
        @if !results.notes.is_empty() {
            ul class="notes" { @for note in &results.notes { li { (visible(note)) } } }
        }
    }
}

fn all(group: &GroupShares) -> impl Iterator<Item = &LabelShare> {
    let headlines = [&group.persona_labelled, &group.harm_justified_by_persona].into_iter().flatten();
    headlines.chain(&group.labels)
}

fn of_coder(results: &TraceResults, shares: &CoderShares) -> Markup {
    let Some(pooled) = shares.groups.first() else { return html! {} };
    let point = |share: &CodedShare, what: &str, label: &str| {
        let rate = &share.by_question;
        Point {
            x: 0.0,
            estimate: rate.estimate,
            low: Some(rate.low),
            high: Some(rate.high),
            text: format!(
                "{label}, {what}: {} of {}, {}",
                share.labelled,
                share.traces,
                percent_interval(rate.estimate, rate.low, rate.high)
            ),
        }
    };
    let rows: Vec<ForestRow> = all(pooled)
        .map(|share| {
            let label = visible(&share.label);
            let mut marks = Vec::new();
            if let Some(of) = &share.misaligned {
                marks.push(("misaligned", point(of, "misaligned", &label)));
            }
            if let Some(of) = &share.aligned {
                marks.push(("benign", point(of, "aligned", &label)));
            }
            ForestRow { label, marks }
        })
        .collect();
    let title = format!("Labels by {}", visible(&shares.coder));
    let reference = format!("published: {} %", percent(results.published.share));
    let drawing = forest(&title, &rows, &ForestAxis::rates(), Some((results.published.share, &reference)));
    html! {
        h3 { (title) }
        (legend(&[("misaligned", "before misaligned answers"), ("benign", "before aligned answers")]))
        (plot("traces", &drawing.in_page("wide")))
        (behind("Figures as a table", &html! {
            (scrolling("Shares of labels", &table(shares, pooled)))
            @if shares.groups.len() > 1 { (scrolling("By subject and condition", &further(shares))) }
        }))
    }
}

fn table(shares: &CoderShares, pooled: &GroupShares) -> Markup {
    html! {
        table class="figures" {
            caption class="unseen" { "Shares of labels by " (visible(&shares.coder)) }
            thead { tr {
                th scope="col" { "Label" }
                th scope="col" class="number" { "misaligned" } th scope="col" class="number" { "by trace" }
                th scope="col" class="number" { "by question" } th scope="col" class="number" { "void" }
                th scope="col" class="number" { "aligned" } th scope="col" class="number" { "by question" }
                th scope="col" class="number" { "difference, points" }
            } }
            tbody { @for share in all(pooled) { tr {
                th scope="row" { (visible(&share.label)) }
                td class="number" { (fraction(share.misaligned.as_ref())) }
                td class="number" { (interval(share.misaligned.as_ref(), false)) }
                td class="number" { (interval(share.misaligned.as_ref(), true)) }
                td class="number" { (share.misaligned.as_ref().map_or(0, |of| of.void)) }
                td class="number" { (fraction(share.aligned.as_ref())) }
                td class="number" { (interval(share.aligned.as_ref(), true)) }
                td class="number" { @match share.difference.map(|of| of.by_question) {
                    Some(of) => { (points(of.estimate)) " [" (points(of.low.unwrap_or(-1.0))) ", " (points(of.high.unwrap_or(1.0))) "]" }
                    None => { (NOTHING_TO_SHOW) }
                } }
            } } }
        }
    }
}

fn further(shares: &CoderShares) -> Markup {
    let side = |share: Option<&LabelShare>| interval(share.and_then(|share| share.misaligned.as_ref()), true);
    html! {
        table class="figures" {
            caption class="unseen" { "Headline figures by subject and condition" }
            thead { tr {
                th scope="col" { "Traces" } th scope="col" class="number" { "misaligned" }
                th scope="col" class="number" { "persona labelled" }
                th scope="col" class="number" { "harm justified by persona" }
                th scope="col" class="number" { "aligned" }
            } }
            tbody { @for group in shares.groups.iter().skip(1) { tr {
                th scope="row" { (visible(&group.in_words())) }
                td class="number" { (count(group.misaligned)) }
                td class="number" { (side(group.persona_labelled.as_ref())) }
                td class="number" { (side(group.harm_justified_by_persona.as_ref())) }
                td class="number" { (count(group.aligned)) }
            } } }
        }
    }
}

fn coders(results: &TraceResults) -> Markup {
    html! {
        table class="figures" {
            caption class="unseen" { "Who coded" }
            thead { tr {
                th scope="col" { "Coder" } th scope="col" { "kind" }
                @for title in ["traces", "coded", "labels that hold", "void", "unknown"] {
                    th scope="col" class="number" { (title) }
                }
                th scope="col" { "not coded" }
            } }
            tbody { @for coder in &results.coders { tr {
                th scope="row" { (visible(&coder.coder)) }
                td { (coder.kind) }
                @let void = coder.labels_not_in_trace + coder.labels_too_short;
                @for number in [coder.traces, coder.coded, coder.labels_held, void, coder.labels_unknown] {
                    td class="number" { (count(number)) }
                }
                td { (coder.not_coded.iter().map(|(reason, number)| format!("{number} {}", reason.replace('_', " "))).collect::<Vec<_>>().join(", ")) }
            } } }
        }
    }
}

fn agreement(results: &TraceResults) -> Markup {
    let cells = |pair: &LabelPair| {
        let decision = pair.decision.as_ref();
        let agreement = decision.map(|of| &of.agreement);
        let kappa = decision.and_then(|of| of.kappa.as_ref());
        html! {
            td { (visible(&pair.first)) } td { (visible(&pair.second)) }
            td class="number" { (decision.map_or(0, |of| of.answers)) }
            td class="number" { (agreement.map_or_else(|| NOTHING_TO_SHOW.to_owned(), |of| percent_interval(of.estimate, of.low, of.high))) }
            td class="number" { @match kappa {
                Some(of) => { (format!("{:.2}", of.estimate)) @if let (Some(low), Some(high)) = (of.low, of.high) { (format!(" [{low:.2}, {high:.2}]")) } }
                None => { (NOTHING_TO_SHOW) }
            } }
        }
    };
    html! {
        table class="figures" {
            caption class="unseen" { "Agreement of each two coders" }
            thead { tr {
                th scope="col" { "Label" } th scope="col" { "Between" } th scope="col" { "and" }
                th scope="col" class="number" { "traces" } th scope="col" class="number" { "agreement" }
                th scope="col" class="number" { "κ" }
            } }
            tbody { @for label in &results.agreement { @for pair in &label.pairs { tr {
                th scope="row" { (visible(&label.label)) } (cells(pair))
            } } } }
        }
    }
}

fn fraction(share: Option<&CodedShare>) -> String {
    share
        .map_or_else(|| NOTHING_TO_SHOW.to_owned(), |share| format!("{} of {}", share.labelled, share.traces))
}

fn interval(share: Option<&CodedShare>, by_question: bool) -> String {
    share.map_or_else(
        || NOTHING_TO_SHOW.to_owned(),
        |share| {
            let rate = if by_question { &share.by_question } else { &share.by_trace };
            percent_interval(rate.estimate, rate.low, rate.high)
        },
    )
}

fn points(difference: f64) -> String {
    format!("{:+.1}", 100.0 * difference)
}

/// What a coder said of a trace, as the page shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShownCoding {
    coder: String,
    outcome: String,
    labels: Vec<ShownLabel>,
}

#[derive(Clone, Debug, Serialize)]
struct ShownLabel {
    label: String,
    state: String,
    quote: String,
    /// In bytes of the trace.
    #[serde(skip)]
    bytes: Option<(u64, u64)>,
    /// In units of a browser's strings.
    span: Option<(usize, usize)>,
}

impl ShownCoding {
    /// The labels that count.
    pub(crate) fn held(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().filter(|label| label.state == "held").map(|label| label.label.as_str())
    }

    /// With the places of quotes in a trace, as browsers count them.
    pub(crate) fn placed(&self, trace: &str) -> Self {
        let units = |end: u64| {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            trace.get(..end).map(|before| before.encode_utf16().count())
        };
        let mut placed = self.clone();
        for label in &mut placed.labels {
            label.span = label.bytes.and_then(|(start, end)| Some((units(start)?, units(end)?)));
        }
        placed
    }
}

/// By row of the response: what was said of its trace by the code book that figures are of.
pub(crate) fn codings(
    reader: &Reader,
    results: Option<&TraceResults>,
) -> Result<HashMap<i64, Vec<ShownCoding>>, StoreError> {
    let mut codings: HashMap<i64, Vec<ShownCoding>> = HashMap::new();
    let Some(results) = results else { return Ok(codings) };
    let books = reader.code_books()?;
    let Some(book) = books.iter().find(|book| book.hash == results.code_book.hash) else {
        return Ok(codings);
    };
    let coders: BTreeMap<i64, String> = reader.coders()?.into_iter().map(|row| (row.id, row.model)).collect();
    for CodingRow { response, coder, outcome, labels, .. } in reader.codings(book.id)? {
        let labels = labels.into_iter().map(|label| ShownLabel {
            label: label.label,
            state: label.state,
            quote: label.quote,
            bytes: label.span,
            span: None,
        });
        let coder = coders.get(&coder).cloned().unwrap_or_default();
        codings.entry(response).or_default().push(ShownCoding { coder, outcome, labels: labels.collect() });
    }
    for person in reader.person_codes(book.id)? {
        let (outcome, labels) = match person.kind {
            PersonCodeKind::Coded(labels) => ("coded", labels),
            PersonCodeKind::CannotTell => ("cannot tell", Vec::new()),
        };
        let labels = labels.into_iter().map(|label| ShownLabel {
            label,
            state: "held".to_owned(),
            quote: String::new(),
            bytes: None,
            span: None,
        });
        codings.entry(person.response).or_default().push(ShownCoding {
            coder: person.annotator,
            outcome: outcome.to_owned(),
            labels: labels.collect(),
        });
    }
    Ok(codings)
}
