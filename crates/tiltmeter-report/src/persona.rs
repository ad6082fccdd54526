//! Persona vectors and projections onto them, as plain text.

use std::fmt::Write as _;

use tiltmeter_core::prompt::Placement;
use tiltmeter_persona::{SideCounts, VectorRecord};
use tiltmeter_run::{ConditionProjection, MeanResult, ProjectionSummary};

use crate::table::{NOTHING_TO_SHOW, printable, write_grid, write_rows};

/// What extraction gave: counts, and all layers.
pub fn vector_table(record: &VectorRecord) -> String {
    let mut text = String::new();
    let settings = &record.settings;
    let _ = writeln!(
        text,
        "{} in {} ({}): {} pairs of treatments, {} questions, {} rollouts each, up to {} tokens, seed {}",
        printable(&record.name),
        printable(&record.model.name),
        printable(&record.model.quantisation),
        settings.pairs,
        settings.questions,
        settings.rollouts,
        settings.max_tokens,
        settings.seed
    );
    match &record.judge {
        Some(judge) => {
            let _ = writeln!(text, "rated by {}", printable(&judge.model));
        }
        None => text
            .push_str("no judge: all rollouts with a token are kept, whether they show the trait or not\n"),
    }
    let header = ["", "drawn", "kept", "empty", "trait", "incoherent", "unrated", "truncated"];
    let rows =
        [("positive", record.counts.positive), ("negative", record.counts.negative)].map(|(side, counts)| {
            let SideCounts { drawn, kept, empty, wrong_trait, incoherent, unrated, truncated } = counts;
            let numbers = [drawn, kept, empty, wrong_trait, incoherent, unrated, truncated];
            let mut row = vec![side.to_owned()];
            row.extend(numbers.map(|number| number.to_string()));
            row
        });
    write_rows(&mut text, " ", header.map(str::to_owned).to_vec(), rows.into_iter(), |column| column > 0);
    write_separation(&mut text, record);
    text
}

/// How all layers separate what was held out.
fn write_separation(text: &mut String, record: &VectorRecord) {
    let settings = &record.settings;
    let pairs = match settings.pair_folds {
        1 => String::new(),
        folds => format!(" × {folds} of pairs of treatments"),
    };
    let _ = writeln!(
        text,
        "\nheld-out separation, {} folds of questions{pairs} (layer 0: the embedding; L: after L blocks)",
        settings.folds
    );
    let chosen = record.chosen();
    let rows = record.layers.iter().map(|layer| {
        let mark = if Some(layer.layer) == chosen { "chosen" } else { "" };
        vec![
            layer.layer.to_string(),
            format!("{:.3}", layer.norm),
            figure(layer.auroc, layer.auroc_interval),
            figure(layer.standardised_difference, layer.standardised_difference_interval),
            mark.to_owned(),
        ]
    });
    let header = ["layer", "length", "AUROC", "standardised difference", ""];
    write_grid(text, header.map(str::to_owned).to_vec(), rows);
    let has_intervals = record.layers.iter().any(|layer| layer.standardised_difference_interval.is_some());
    if has_intervals {
        text.push_str("intervals: 95 %, over questions, for each layer by itself\n");
    }
    match chosen {
        Some(_) => {
            let candidates = record.model.layers.saturating_sub(1).max(1);
            let _ = writeln!(
                text,
                "chosen: the largest difference of {candidates} layers, picked by this very figure, so that it and its \
                 interval flatter that layer"
            );
        }
        None => text.push_str("no layer is chosen: too few answers to compare layers on what was held out\n"),
    }
}

fn figure(estimate: Option<f64>, ends: Option<[f64; 2]>) -> String {
    match (estimate, ends) {
        (None, _) => NOTHING_TO_SHOW.to_owned(),
        (Some(estimate), None) => format!("{estimate:.3}"),
        (Some(estimate), Some([low, high])) => format!("{estimate:.3} [{low:.3}, {high:.3}]"),
    }
}

fn interval(estimate: f64, low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("{estimate:+.3} [{low:+.3}, {high:+.3}]"),
        _ => format!("{estimate:+.3}"),
    }
}

fn mean(value: Option<&MeanResult>) -> String {
    value.map_or_else(|| NOTHING_TO_SHOW.to_owned(), |mean| interval(mean.estimate, mean.low, mean.high))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NOTHING_TO_SHOW.to_owned(), |share| format!("{:.0} %", share * 100.0))
}

/// What projecting a run gave.
pub fn projection_table(summary: &ProjectionSummary) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} at layer {} of {}: {} prompts and {} answers projected; the stream's mean length is {:.1}\n",
        printable(&summary.name),
        summary.layer,
        printable(&summary.model),
        summary.prompts,
        summary.samples,
        summary.stream_norm
    );
    write_conditions(&mut text, summary);
    write_contrasts(&mut text, summary);
    write_correlations(&mut text, summary);
    write_detection(&mut text, summary);
    let _ = writeln!(
        text,
        "intervals: 95 %, over questions; beats random: share of {} random directions with a value smaller in size (for\n\
         AUROC: nearer to one half); within condition: pairs of the same set, control and k alone; within_k_and_question:\n\
         what each question adds to both measures is taken away too",
        summary.random_directions
    );
    for note in &summary.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
    text
}

/// Means by condition.
fn write_conditions(text: &mut String, summary: &ProjectionSummary) {
    let where_from = |one: &ConditionProjection| {
        let control = if one.control == "none" { "" } else { &one.control };
        vec![
            one.shots.to_string(),
            printable(&one.subject),
            shown_where(&one.demonstrations, "none", &one.placement),
            control.to_owned(),
            printable(&one.treatment),
        ]
    };
    let rows = summary.conditions.iter().map(|one| {
        let mut row = where_from(one);
        row.extend([
            mean(one.prompt_last.as_ref()),
            mean(one.response_mean.as_ref()),
            mean(one.tilt.as_ref()),
        ]);
        row
    });
    let header = [
        "k",
        "subject",
        "demonstrations",
        "control",
        "treatment",
        "prompt's last token",
        "answers' means",
        "tilt",
    ];
    write_grid(text, header.map(str::to_owned).to_vec(), rows);
}

/// A set with the control and the placement where they are not the usual ones.
fn shown_where(set: &str, control: &str, placement: &str) -> String {
    let mut name = printable(set);
    for (part, usual) in [(control, "none"), (placement, Placement::default().name())] {
        if part != usual {
            let _ = write!(name, " · {}", printable(part));
        }
    }
    name
}

/// Demonstrations against their matched control.
fn write_contrasts(text: &mut String, summary: &ProjectionSummary) {
    if summary.contrasts.is_empty() {
        return;
    }
    text.push_str(
        "misaligned minus benign demonstrations of the same prompts, or a control minus its match\n",
    );
    let rows = summary.contrasts.iter().map(|one| {
        vec![
            one.shots.to_string(),
            printable(&one.subject),
            shown_where(&one.demonstrations, &one.control, &one.placement),
            one.measure.to_owned(),
            mean(Some(&one.difference)) + if one.is_clear() { " *" } else { "" },
            one.standardised.map_or_else(|| NOTHING_TO_SHOW.to_owned(), |value| format!("{value:+.2}")),
            percent(one.random_percentile),
            format!("{:.0} / {:.0}", one.prompt_tokens.0, one.prompt_tokens.1),
        ]
    });
    let header =
        ["k", "subject", "demonstrations", "measure", "difference", "in SD", "beats random", "tokens"];
    write_grid(text, header.map(str::to_owned).to_vec(), rows);
    let _ = writeln!(
        text,
        "* the interval that allows for all {} contrasts (Bonferroni) leaves out 0\n",
        summary.contrasts_compared
    );
}

/// What projections go along with.
fn write_correlations(text: &mut String, summary: &ProjectionSummary) {
    if summary.correlations.is_empty() {
        return;
    }
    text.push_str("correlation of projections\n");
    let rows = summary.correlations.iter().map(|one| {
        vec![
            printable(&one.subject),
            format!("{} with {}", one.measure, one.outcome),
            one.strata.to_owned(),
            interval(one.estimate, one.low, one.high),
            one.observations.to_string(),
            percent(one.random_percentile),
        ]
    });
    let header = ["subject", "of", "strata", "r", "rows", "beats random"];
    write_rows(text, " ", header.map(str::to_owned).to_vec(), rows, |column| column == 4);
    text.push('\n');
}

/// How well they tell answers apart.
fn write_detection(text: &mut String, summary: &ProjectionSummary) {
    if summary.detection.is_empty() {
        return;
    }
    text.push_str("detection\n");
    let rows = summary.detection.iter().map(|one| {
        let recall = one.recall.iter().map(|at| format!("{:.0} %", at.recall * 100.0)).collect::<Vec<_>>();
        let within = one.within_condition.as_ref();
        vec![
            shown_where(&one.subject, &one.treatment, Placement::default().name()),
            one.label.to_owned(),
            one.measure.to_owned(),
            format!("{} / {}", one.positives, one.negatives),
            figure(Some(one.auroc), one.auroc_low.zip(one.auroc_high).map(<[f64; 2]>::from)),
            figure(within.map(|area| area.estimate), within.and_then(|area| Some([area.low?, area.high?]))),
            percent(one.random_percentile),
            recall.join(", "),
        ]
    });
    let header = [
        "subject",
        "of",
        "measure",
        "positive / negative",
        "AUROC",
        "within condition",
        "beats random",
        "recall at 0.1, 1, 5 % false positives",
    ];
    write_rows(text, " ", header.map(str::to_owned).to_vec(), rows, |_| false);
    text.push('\n');
}
