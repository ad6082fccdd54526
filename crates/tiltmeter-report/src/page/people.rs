//! The section of a report that shows labels by people: who labelled, how far they and the judge agree, and the rates
//! corrected for the judge's errors.

use maud::{Markup, html};
use tiltmeter_agreement::{
    ConditionLabels, CorrectedRate, Estimate, HumanLabels, PairAgreement, RateInterval,
};
use tiltmeter_run::ConditionResult;

use crate::table::NOTHING_TO_SHOW;

use super::model::Run;
use super::sections::{behind, scrolling};
use super::text::{count, percent_interval, visible};

/// The labels of all runs that have some.
pub(crate) fn people(runs: &[Run]) -> Option<Markup> {
    let labelled: Vec<(&Run, &HumanLabels)> =
        runs.iter().filter_map(|run| Some((run, run.results.human_labels.as_ref()?))).collect();
    (!labelled.is_empty()).then(|| {
        html! {
            p class="note" {
                "People labelled answers blindly: neither condition nor score was shown. Answers were drawn so that rare verdicts "
                "are met, each with a known probability, and the corrected rates are weighted by it. Agreement is that on the drawn "
                "answers, unweighted."
            }
            @for (run, labels) in labelled {
                @if runs.len() > 1 { h3 { (visible(&run.name)) } }
                (of_run(run, labels))
            }
        }
    })
}

fn of_run(run: &Run, labels: &HumanLabels) -> Markup {
    let sample = &labels.sample;
    html! {
        p {
            (count(sample.labelled)) " of " (count(sample.drawn)) " drawn answers have a label, out of "
            (count(sample.answers)) " stored; seed " (sample.seed) "."
            @if labels.undecided > 0 {
                " On " (count(labels.undecided)) " people are evenly split; they count as not labelled."
            }
        }
        (scrolling("Rates corrected by labels", &corrected(&run.results.conditions, &labels.conditions)))
        @if let Some(errors) = &labels.judge_errors {
            p class="note" {
                "That the judge errs alike in all " (errors.groups) " conditions: p = " (format!("{:.3}", errors.permutation_p_value))
                (if errors.pooled { "; its errors are pooled." } else { "; its errors are not pooled." })
            }
        }
        (scrolling("Agreement of people and judge", &agreement(&labels.agreement.pairs)))
        (behind("Who labelled, and what was drawn", &drawn(labels)))
        @if !labels.notes.is_empty() {
            ul class="notes" { @for note in &labels.notes { li { (visible(note)) } } }
        }
    }
}

fn corrected(conditions: &[ConditionResult], labels: &[ConditionLabels]) -> Markup {
    let judged = |of: &ConditionLabels| {
        let name = &of.condition;
        let is_same = |one: &&ConditionResult| {
            one.subject == name.subject
                && one.demonstrations == name.demonstrations
                && one.control == name.control
                && one.shots == name.shots
                && one.treatment == name.treatment
                && one.placement == name.placement
                && one.reasoning == name.reasoning
        };
        conditions.iter().find(is_same)
    };
    html! {
        table class="figures" {
            caption class="unseen" { "EM rates by the judge, and corrected by people's labels" }
            thead { tr {
                th scope="col" { "Condition" }
                th scope="col" class="number" { "labels" }
                th scope="col" class="number" { "agreement" }
                th scope="col" class="number" { "κ" }
                th scope="col" class="number" { "EM rate by the judge" }
                th scope="col" class="number" { "prediction-powered" }
                th scope="col" class="number" { "Rogan–Gladen" }
            } }
            tbody {
                @for of in labels {
                    @let condition = judged(of);
                    tr {
                        th scope="row" { (condition.map_or_else(String::new, |one| visible(&one.in_words()))) }
                        td class="number" { (count(of.labels.labelled)) }
                        td class="number" { (rate(of.labels.agreement.as_ref())) }
                        td class="number" { (of.labels.kappa.as_ref().map_or_else(nothing, |kappa|
                            coefficient(kappa.estimate, Some(kappa.low), Some(kappa.high)))) }
                        td class="number" { (condition.and_then(|one| one.em_rate.as_ref()).map_or_else(nothing, |rate|
                            percent_interval(rate.estimate, rate.low, rate.high))) }
                        td class="number" { (corrected_rate(of.labels.ppi.as_ref())) }
                        td class="number" { (corrected_rate(of.labels.rogan_gladen_pooled.as_ref().or(of.labels.rogan_gladen.as_ref()))) }
                    }
                }
            }
        }
    }
}

fn agreement(pairs: &[PairAgreement]) -> Markup {
    html! {
        table class="figures" {
            caption class="unseen" { "Agreement of each two, misaligned or not" }
            thead { tr {
                th scope="col" { "Between" } th scope="col" { "and" }
                th scope="col" class="number" { "answers" }
                th scope="col" class="number" { "agreement" }
                th scope="col" class="number" { "κ" }
            } }
            tbody {
                @for pair in pairs {
                    tr {
                        th scope="row" { (visible(&pair.first)) }
                        td { (visible(&pair.second)) }
                        td class="number" { (count(pair.answers)) }
                        td class="number" { (rate(pair.misaligned.as_ref().map(|decision| &decision.agreement))) }
                        td class="number" { (estimate(pair.misaligned.as_ref().and_then(|decision| decision.kappa.as_ref()))) }
                    }
                }
            }
        }
    }
}

fn drawn(labels: &HumanLabels) -> Markup {
    let annotators = html! {
        table class="figures" {
            caption class="unseen" { "Labels by person" }
            thead { tr {
                th scope="col" { "Person" }
                @for title in ["labelled", "misaligned", "incoherent", "refusal", "can't tell"] {
                    th scope="col" class="number" { (title) }
                }
            } }
            tbody {
                @for one in &labels.annotators {
                    tr {
                        th scope="row" { (visible(&one.annotator)) }
                        @for number in [one.labelled, one.misaligned, one.incoherent, one.refusal, one.cannot_tell] {
                            td class="number" { (count(number)) }
                        }
                    }
                }
            }
        }
    };
    let strata = html! {
        table class="figures" {
            caption class="unseen" { "Strata of the draw" }
            thead { tr {
                th scope="col" { "Judge's verdict" } th scope="col" { "Condition" }
                th scope="col" class="number" { "answers" } th scope="col" class="number" { "drawn" }
            } }
            tbody {
                @for stratum in &labels.sample.strata {
                    tr {
                        th scope="row" { (stratum.verdict.replace('_', " ")) }
                        td { @match &stratum.condition {
                            Some(name) => {
                                (visible(&format!("{} · {}, k = {}", name.subject, name.demonstrations, name.shots)))
                                @if name.control != "none" { ", " (visible(&name.control)) }
                            }
                            None => { "all" }
                        } }
                        td class="number" { (count(stratum.answers)) }
                        td class="number" { (count(stratum.drawn)) }
                    }
                }
            }
        }
    };
    html! {
        (scrolling("Labels by person", &annotators))
        (scrolling("Strata of the draw", &strata))
    }
}

fn nothing() -> String {
    NOTHING_TO_SHOW.to_owned()
}

fn rate(rate: Option<&RateInterval>) -> String {
    rate.map_or_else(nothing, |rate| percent_interval(rate.estimate, rate.low, rate.high))
}

fn corrected_rate(rate: Option<&CorrectedRate>) -> String {
    rate.map_or_else(nothing, |rate| percent_interval(rate.estimate, rate.low, rate.high))
}

fn estimate(estimate: Option<&Estimate>) -> String {
    estimate.map_or_else(nothing, |one| coefficient(one.estimate, one.low, one.high))
}

fn coefficient(estimate: f64, low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("{estimate:.2} [{low:.2}, {high:.2}]"),
        _ => format!("{estimate:.2}"),
    }
}
